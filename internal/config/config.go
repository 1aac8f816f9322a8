// Package config reads bellows.yaml into a checked shape that still knows where
// in the file everything stands.
//
// It is strict: a member it does not know is refused, with the nearest known
// name where there is one, and so is a member that this version cannot carry
// out. Everything wrong with a file is reported at once, as one [*Error] whose
// text has a line FILE:LINE:COL: REASON for each [Issue].
//
// Expressions and templates are kept as [Text], unread: package rules compiles
// them and asks [Text.At] where a fault inside one stands in the file.
package config

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"
)

// File is one bellows.yaml.
type File struct {
	Name    string // as given to Load or Parse
	Version int    // always 1
	Rules   []Rule
	Routes  []Route
}

// Rule says what to do for jobs of certain kinds.
type Rule struct {
	Name string // unique in the file; [A-Za-z0-9_-]{1,64}

	// On are the patterns of jobs it is for; at least one.
	On []Text

	// When is a CEL expression that must hold; nil when it always does.
	When *Text

	As As

	// Product is the product to call where the app is installed in several;
	// "" for the only one.
	Product string

	// MaxAttempts is 0 when the file does not say.
	MaxAttempts int

	// MaxAge is 0 when the file does not say.
	MaxAge time.Duration

	Steps []Step // at least one
	Pos   Pos    // of the rule
}

// AsKind says on whose behalf a rule calls Atlassian.
type AsKind int

const (
	AsApp     AsKind = iota // the app itself; also when the file does not say
	AsUser                  // the user who caused the job
	AsAccount               // the account that an expression names
)

// As is a rule's "as".
type As struct {
	Kind AsKind

	// Account is the CEL expression for the account id; nil unless Kind is
	// AsAccount.
	Account *Text

	Pos Pos // zero when the file does not say
}

// Step is one request of a rule.
type Step struct {
	Name string // unique in the rule; "step-1" and so on where the file does not say

	// Repeatable says that the request may be sent again when its answer was
	// lost.
	Repeatable bool

	// Timeout is 0 when the file does not say.
	Timeout time.Duration

	Request Request
	Pos     Pos
}

// The values of a request's api.
const (
	APIProduct = "product" // the REST API of the product; also when the file does not say
	APIStorage = "storage" // Forge storage
	APIForge   = "forge"   // other Forge REST APIs
	APIGraphQL = "graphql" // Atlassian's GraphQL gateway, which has one address
)

// Request is the template of one HTTP request.
type Request struct {
	API    string // one of the constants
	Method string // in capitals

	// Path is a template; its Value is "" for APIGraphQL without one.
	Path Text

	// Query and Headers hold templates, in the order of the file. A query
	// parameter may come several times.
	Query, Headers []Param

	// Body is nil when there is none.
	Body *Value

	Pos Pos
}

// Param is one query parameter or header.
type Param struct {
	Name, Value Text
}

// ValueKind is the kind of a Value.
type ValueKind int

const (
	ScalarValue  ValueKind = iota // null, a boolean or a number
	StringValue                   // a string, which may be a template
	ListValue                     // a list of values
	MappingValue                  // a mapping with literal keys
)

// Value is a tree for a JSON body.
type Value struct {
	Kind    ValueKind
	JSON    json.RawMessage // of a ScalarValue
	Text    Text            // of a StringValue
	Items   []Value         // of a ListValue
	Members []Member        // of a MappingValue, in the order of the file
	Pos     Pos
}

// Member is one entry of a MappingValue.
type Member struct {
	Key   string
	Value Value
}

// Route is one path for calls from front ends and Forge functions. Exactly one
// of Enqueue and Forward is set.
type Route struct {
	Name string // unique in the file; [A-Za-z0-9_-]{1,64}

	// Path begins with a slash; a segment "*" stands for any one segment, a
	// last segment "**" for any number, also none.
	Path string

	Methods []string // in capitals; at least one
	Enqueue *Enqueue
	Forward *Forward
	Pos     Pos
}

// Enqueue makes a job of each call to a route.
type Enqueue struct {
	// Keep is how long the result can be asked for; 0 when the file does not
	// say.
	Keep time.Duration
}

// Forward passes each call to a route on to another server.
type Forward struct {
	URL     string        // absolute, http or https, without user and query
	Timeout time.Duration // 0 when the file does not say
	MaxBody int64         // bytes; 0 when the file does not say
}

// Issue is one thing wrong with a file. Line and Column count from 1, columns
// in characters.
type Issue struct {
	Line, Column int
	Message      string
}

// Error is everything wrong with one file, in its order.
type Error struct {
	File   string
	Issues []Issue
}

// Error returns a line FILE:LINE:COL: MESSAGE for each issue.
func (e *Error) Error() string {
	lines := make([]string, len(e.Issues))
	for i, issue := range e.Issues {
		lines[i] = fmt.Sprintf("%s:%d:%d: %s", e.File, issue.Line, issue.Column, issue.Message)
	}
	return strings.Join(lines, "\n")
}

// Add notes one more issue.
func (e *Error) Add(pos Pos, format string, args ...any) {
	e.Issues = append(e.Issues, Issue{Line: pos.Line, Column: pos.Column, Message: fmt.Sprintf(format, args...)})
}

// Err returns e with its issues in the order of the file, or nil when there are
// none.
func (e *Error) Err() error {
	if len(e.Issues) == 0 {
		return nil
	}
	slices.SortStableFunc(e.Issues, func(a, b Issue) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return e
}

// Load reads and checks the file at path. A file that cannot be read is an
// error that wraps the cause; a file that is wrong is a [*Error].
func Load(path string) (*File, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading configuration %q: %w", path, cause(err))
	}
	return Parse(path, data)
}

// cause leaves out the path and the system call, which Load has said already.
func cause(err error) error {
	if pathErr := (*fs.PathError)(nil); errors.As(err, &pathErr) {
		return pathErr.Err
	}
	return err
}
