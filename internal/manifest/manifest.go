// Package manifest reads the parts of a Forge manifest.yml that a remote
// backend has to know: the app's id, its remotes and endpoints, and which
// trigger, scheduled trigger or pre-uninstall module calls which endpoint.
//
// [Load] and [Parse] report everything they find wrong as one [*Error] whose
// text has a line FILE:LINE:COL: WHAT, REMEDY for each finding. Members they do
// not know are left alone: the Forge CLI judges those. A module that names a
// function, or an endpoint of a container service, never reaches a remote and
// is left out of the lists here.
//
// [Manifest.Hooks] turns the lists into the paths that must be served.
package manifest

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

// Manifest is what a remote backend needs of a manifest.yml.
type Manifest struct {
	// AppID is app.id in full: ari:cloud:ecosystem::app/<id>.
	AppID string

	// Remotes are in the order of the file.
	Remotes []Remote

	// Endpoints are the endpoints that name a remote, in the order of the
	// file. Endpoints of container services are not among them.
	Endpoints []Endpoint

	// Triggers, Scheduled and PreUninstall are the modules that call one of
	// Endpoints, in the order of the file.
	Triggers     []Trigger
	Scheduled    []ScheduledTrigger
	PreUninstall []PreUninstall

	// Modules are the modules with a resolver: those whose invocation tokens
	// a browser may hold.
	Modules []Module

	// Scopes are the permissions the app asks for.
	Scopes []Scope

	name string // of the file, for errors
}

// Pos is a place in the manifest. Line and Column count from 1, columns in
// characters. The zero Pos is no place.
type Pos struct{ Line, Column int }

// Remote is an entry of remotes.
type Remote struct {
	Key string

	// BaseURL is baseUrl, or its "default" entry when it is a map of regions.
	// It is "" for a configurable remote without one, whose address each
	// customer sets.
	BaseURL string

	// Regions are the other entries of a baseUrl map by region; nil when
	// baseUrl is one string.
	Regions map[string]string

	// Configurable says that a customer's administrator may set the address.
	Configurable bool

	Pos Pos
}

// Endpoint is an entry of modules.endpoint that names a remote.
type Endpoint struct {
	Key, Remote string

	// Route is route.path as written; "" when there is none.
	Route string

	// SystemToken and UserToken are auth.appSystemToken.enabled and
	// auth.appUserToken.enabled: which OAuth tokens Forge sends along.
	SystemToken, UserToken bool

	Pos Pos
}

// Trigger is an entry of modules.trigger that calls an endpoint.
type Trigger struct {
	Key      string
	Endpoint string   // key of an Endpoint
	Events   []string // event names, without their filters
	Pos      Pos
}

// ScheduledTrigger is an entry of modules.scheduledTrigger that calls an
// endpoint.
type ScheduledTrigger struct {
	Key      string
	Endpoint string // key of an Endpoint
	Interval string // fiveMinute, hour, day or week
	Pos      Pos
}

// intervals are the values of a scheduledTrigger's interval
// (@forge/manifest 13.7.0, read 2026-11-22).
var intervals = map[string]time.Duration{
	"fiveMinute": 5 * time.Minute,
	"hour":       time.Hour,
	"day":        24 * time.Hour,
	"week":       7 * 24 * time.Hour,
}

// Every returns the time between two calls. It is zero for an Interval that
// [Parse] would refuse.
func (s ScheduledTrigger) Every() time.Duration { return intervals[s.Interval] }

// PreUninstall is an entry of modules.preUninstall that calls an endpoint.
type PreUninstall struct {
	Key      string
	Endpoint string // key of an Endpoint
	Pos      Pos
}

// Module is a module with a resolver.
type Module struct {
	Type string // e.g. jira:issuePanel
	Key  string

	// Endpoint is resolver.endpoint; "" when the resolver is a function.
	Endpoint string

	Pos Pos
}

// Scope is an entry of permissions.scopes.
type Scope struct {
	Name string

	// AllowImpersonation says that the app may use the scope as a user who is
	// not there. Only the map form of scopes can say so.
	AllowImpersonation bool
}

// Issue is one finding: where, and what with its remedy.
type Issue struct {
	Line, Column int
	Message      string
}

// Error is everything found wrong with one manifest, in the order of the file.
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

// sorted puts the issues in the order of the file.
func (e *Error) sorted() *Error {
	slices.SortStableFunc(e.Issues, func(a, b Issue) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return e
}

// Load reads and checks the manifest at path. A file that cannot be read is an
// error that wraps the cause; a file that is wrong is a [*Error].
func Load(path string) (*Manifest, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading manifest %q: %w", path, cause(err))
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
