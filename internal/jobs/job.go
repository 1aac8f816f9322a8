package jobs

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"
)

// Kind is the class of a job, the last token of its subject.
type Kind string

// The kinds of job.
const (
	KindEvent     Kind = "event"     // product, policy and app events
	KindLifecycle Kind = "lifecycle" // installed, upgraded, preUninstall
	KindScheduled Kind = "scheduled" // a run of a scheduled trigger
	KindCall      Kind = "call"      // a call from a front end or a function
)

// Event types that bellows itself gives (ce-type); all others are Forge's
// names.
const (
	TypeScheduled    = "bellows.scheduled"
	TypeCall         = "bellows.call"
	TypePreUninstall = "preUninstall"
	// TypeUnknown is the type of a body that names no event.
	TypeUnknown = "bellows.unknown"
)

// Job is one thing to do for one installation. Zero values mean "absent"
// unless a field says otherwise.
type Job struct {
	ID           string // hex; the same for every delivery of the same event
	Installation string // installation id, the last part of its ARI
	Kind         Kind

	Source      string    // app ARI
	Type        string    // event name, or one of the Type constants
	Subject     string    // installation ARI
	Time        time.Time // receipt
	ContentType string    // of Data

	Module      string // module key of the invocation
	Route       string // path of the hook or name of the route
	Trigger     string // key of the scheduled trigger
	Rule        string // name of the rule, once one is chosen
	Principal   string // account id of the user in session
	AppVersion  string
	Environment string
	Traceparent string // W3C trace context of the invocation

	Attempt    int       // from 1; an attempt that does not count leaves it
	Run        int       // 0, and one more for each replay
	Generation int       // how often the job was put back into the queue
	Deaths     int       // workers that died holding earlier copies
	Since      time.Time // when this run began: receipt, or the replay

	// Redelivered is set when the same event may have been accepted before:
	// then the worker looks for traces of an earlier copy before it runs.
	Redelivered bool
	// InstallationRevision and TokenRevision are what ingest last wrote or
	// saw for this installation, so that a worker whose view is older knows.
	InstallationRevision, TokenRevision uint64

	History []Attempt // the last attempts, oldest first, at most MaxHistory
	Data    []byte    // the body as Forge sent it, less any context token
}

// MaxHistory is how many attempts a job remembers.
const MaxHistory = 10

// maxErrorText bounds the error text of one attempt in a job's history, in
// bytes: ten of them must fit comfortably into a message's headers.
const maxErrorText = 300

// Attempt is one line of a job's history.
type Attempt struct {
	N       int       `json:"n"`
	At      time.Time `json:"at"`
	Outcome string    `json:"outcome"`
	Step    string    `json:"step,omitempty"`
	Status  int       `json:"status,omitempty"`
	Method  string    `json:"method,omitempty"`
	Path    string    `json:"path,omitempty"`
	Error   string    `json:"error,omitempty"`
	// Rules is the version of the rule file that the attempt was made with.
	Rules string `json:"rules,omitempty"`
}

// Remember adds an attempt to the history and forgets the oldest beyond
// MaxHistory. It does not change the slice that other copies of j hold.
func (j *Job) Remember(a Attempt) {
	a.Error = Clip(a.Error, maxErrorText)
	a.Path = Clip(a.Path, maxErrorText)
	kept := j.History
	if len(kept) >= MaxHistory {
		kept = kept[len(kept)-MaxHistory+1:]
	}
	j.History = append(append(make([]Attempt, 0, len(kept)+1), kept...), a)
}

// Clip returns s cut to at most n bytes, at a character boundary.
func Clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && s[n]&0xC0 == 0x80 {
		n--
	}
	return s[:n]
}

// Header names on the wire. Those with "ce-" are CloudEvents attributes.
const (
	hdrSpec         = "ce-specversion"
	hdrID           = "ce-id"
	hdrSource       = "ce-source"
	hdrType         = "ce-type"
	hdrSubject      = "ce-subject"
	hdrTime         = "ce-time"
	hdrContentType  = "content-type"
	hdrTrace        = "traceparent"
	hdrAttempt      = "bellows-attempt"
	hdrRun          = "bellows-run"
	hdrModule       = "bellows-module"
	hdrRoute        = "bellows-route"
	hdrRule         = "bellows-rule"
	hdrPrincipal    = "bellows-principal"
	hdrAppVersion   = "bellows-app-version"
	hdrEnvironment  = "bellows-environment"
	hdrTrigger      = "bellows-trigger"
	hdrGeneration   = "bellows-generation"
	hdrDeaths       = "bellows-deaths"
	hdrSince        = "bellows-since"
	hdrRedelivered  = "bellows-redelivered"
	hdrInstallation = "bellows-installation-revision"
	hdrToken        = "bellows-token-revision"
	hdrHistory      = "bellows-history"
)

// Header returns the message headers of the job. Every value is free of line
// breaks: a value with a control character is left out, because a header must
// never be able to become two.
func (j Job) Header() map[string][]string {
	h := make(map[string][]string, 20)
	set := func(name, value string) {
		if value != "" && plain(value) {
			h[name] = []string{value}
		}
	}
	number := func(name string, n int) {
		if n != 0 {
			h[name] = []string{strconv.Itoa(n)}
		}
	}
	set(hdrSpec, "1.0")
	set(hdrID, j.ID)
	set(hdrSource, j.Source)
	set(hdrType, j.Type)
	set(hdrSubject, j.Subject)
	set(hdrTime, stamp(j.Time))
	set(hdrContentType, j.ContentType)
	set(hdrTrace, j.Traceparent)
	set(hdrModule, j.Module)
	set(hdrRoute, j.Route)
	set(hdrTrigger, j.Trigger)
	set(hdrRule, j.Rule)
	set(hdrPrincipal, j.Principal)
	set(hdrAppVersion, j.AppVersion)
	set(hdrEnvironment, j.Environment)
	number(hdrAttempt, max(j.Attempt, 1))
	h[hdrRun] = []string{strconv.Itoa(j.Run)}
	number(hdrGeneration, j.Generation)
	number(hdrDeaths, j.Deaths)
	if !j.Since.Equal(j.Time) {
		set(hdrSince, stamp(j.Since))
	}
	if j.Redelivered {
		set(hdrRedelivered, "1")
	}
	number(hdrInstallation, int(j.InstallationRevision))
	number(hdrToken, int(j.TokenRevision))
	if len(j.History) > 0 {
		if text, err := json.Marshal(j.History); err == nil {
			set(hdrHistory, string(text))
		}
	}
	return h
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}

// plain reports whether value can stand in one header line.
func plain(value string) bool {
	for i := range len(value) {
		if value[i] < ' ' || value[i] == 0x7f {
			return false
		}
	}
	return true
}

// Parse reads a job from the headers and data of a message; installation and
// kind come from its subject. Errors name the header and its value.
func Parse(installation string, kind Kind, h map[string][]string, data []byte) (Job, error) {
	r := reader{h: h}
	j := Job{
		ID: r.text(hdrID), Installation: installation, Kind: kind,
		Source: r.text(hdrSource), Type: r.text(hdrType), Subject: r.text(hdrSubject),
		Time: r.time(hdrTime), ContentType: r.text(hdrContentType),
		Module: r.text(hdrModule), Route: r.text(hdrRoute), Trigger: r.text(hdrTrigger), Rule: r.text(hdrRule),
		Principal: r.text(hdrPrincipal), AppVersion: r.text(hdrAppVersion), Environment: r.text(hdrEnvironment),
		Traceparent: r.text(hdrTrace), Attempt: r.number(hdrAttempt), Run: r.number(hdrRun),
		Generation: r.number(hdrGeneration), Deaths: r.number(hdrDeaths), Since: r.time(hdrSince),
		Redelivered:          r.text(hdrRedelivered) != "",
		InstallationRevision: uint64(r.number(hdrInstallation)), TokenRevision: uint64(r.number(hdrToken)),
		Data: data,
	}
	if j.ID == "" {
		r.fail(fmt.Errorf("header %q is missing", hdrID))
	}
	j.Attempt = max(j.Attempt, 1)
	if j.Since.IsZero() {
		j.Since = j.Time
	}
	if text := r.text(hdrHistory); text != "" {
		if err := json.Unmarshal([]byte(text), &j.History); err != nil {
			r.fail(fmt.Errorf("header %q is not a list of attempts", hdrHistory))
		}
	}
	if r.err != nil {
		return j, fmt.Errorf("reading job: %w", r.err)
	}
	return j, nil
}

// reader collects what is wrong while fields are read in one expression.
type reader struct {
	h   map[string][]string
	err error
}

func (r *reader) fail(err error) { r.err = errors.Join(r.err, err) }

func (r *reader) text(name string) string {
	if v := r.h[name]; len(v) > 0 {
		return v[0]
	}
	return ""
}

func (r *reader) number(name string) int {
	text := r.text(name)
	if text == "" {
		return 0
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		r.fail(fmt.Errorf("header %q is %q, want a number", name, text))
		return 0
	}
	return n
}

func (r *reader) time(name string) time.Time {
	text := r.text(name)
	if text == "" {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		r.fail(fmt.Errorf("header %q is %q, want a time", name, text))
	}
	return t
}
