// Package config reads bellows.yaml into a checked shape that still knows where
// in the file everything stands.
//
// It is strict: a member it does not know is refused, with the nearest known
// name where there is one, and so is a member that stands in the wrong place.
// Everything wrong with a file is reported at once, as one [*Error] whose
// text has a line FILE:LINE:COL: REASON for each [Issue].
//
// Expressions and templates are kept as [Text], unread: package rules compiles
// them and asks [Text.At] where a fault inside one stands in the file.
package config

import (
	"cmp"
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

	// Stamp is a short hash of the file's content, in hex: equal for equal
	// files. "" for a File that was not read from text.
	Stamp string

	Rules  []Rule
	Routes []Route
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

// Forward passes the calls to a route, or the jobs of a rule, on to another
// server.
type Forward struct {
	// URL is absolute, http or https, without user and fragment; that of a
	// route has no query.
	URL string

	Timeout time.Duration // 0 when the file does not say
	MaxBody int64         // bytes; 0 when the file does not say; a rule has none
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
