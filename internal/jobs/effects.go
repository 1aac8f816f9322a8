package jobs

import (
	"encoding/json"
	"time"
)

// Effects is what bellows remembers of a job outside its message. It is one
// record a job, always written as a whole and with compare-and-set, so that
// two copies of a job cannot both begin an unsafe call.
type Effects struct {
	// Run is the run that the record speaks of. A later run may go on behind
	// finished steps of an earlier one.
	Run int `json:"run,omitempty"`
	// Generation is the highest generation of the job that has begun an
	// effect or was set aside: a copy with a lower one is stale.
	Generation int `json:"generation,omitempty"`
	// Done says that the job has ended well; Dead, that it is a dead letter.
	Done bool `json:"done,omitempty"`
	Dead bool `json:"dead,omitempty"`
	// Steps are intents and finished steps in the order they began.
	Steps []Step `json:"steps,omitempty"`
	// Job and At make the record of a delivery without distinct content:
	// which job it became, and when.
	Job string    `json:"job,omitempty"`
	At  time.Time `json:"at,omitzero"`
}

// Step is the record of one step of a job.
type Step struct {
	Name string `json:"name"`
	// Open is an intent: the call was begun, and nobody has seen it end.
	Open    bool      `json:"open,omitempty"`
	Attempt int       `json:"attempt"`
	At      time.Time `json:"at"`
	Worker  string    `json:"worker,omitempty"`
	Method  string    `json:"method,omitempty"`
	Path    string    `json:"path,omitempty"`
	// Result is what later steps see of a finished one, and what a handler's
	// step returned. It is absent when nobody can need it any more.
	Result json.RawMessage `json:"result,omitempty"`
	// Partial is a step that is done for each item of a list, and not for all
	// of them yet: its first Items are finished, with these Results. An item
	// that was begun has an intent of its own.
	Partial bool              `json:"partial,omitempty"`
	Items   int               `json:"items,omitempty"`
	Results []json.RawMessage `json:"results,omitempty"`
	// Status is that of a finished step's answer. Header and Body are the rest
	// of it in records of versions that had no Result.
	Status int               `json:"status,omitempty"`
	Header map[string]string `json:"header,omitempty"`
	Body   json.RawMessage   `json:"body,omitempty"`
}

// Find returns the record of the step called name, or nil.
func (e *Effects) Find(name string) *Step {
	for i := range e.Steps {
		if e.Steps[i].Name == name {
			return &e.Steps[i]
		}
	}
	return nil
}

// Open returns the intent that has no end, or nil.
func (e *Effects) Open() *Step {
	for i := range e.Steps {
		if e.Steps[i].Open {
			return &e.Steps[i]
		}
	}
	return nil
}

// With returns e with the record of s put in or replaced; e is left as it is.
func (e Effects) With(s Step) Effects {
	steps := make([]Step, 0, len(e.Steps)+1)
	found := false
	for _, old := range e.Steps {
		if old.Name == s.Name {
			old, found = s, true
		}
		steps = append(steps, old)
	}
	if !found {
		steps = append(steps, s)
	}
	e.Steps = steps
	return e
}

// Without returns e less the record of the step called name: a call that was
// begun and certainly had no effect.
func (e Effects) Without(name string) Effects {
	steps := make([]Step, 0, len(e.Steps))
	for _, old := range e.Steps {
		if old.Name != name {
			steps = append(steps, old)
		}
	}
	e.Steps = steps
	return e
}
