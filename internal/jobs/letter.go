package jobs

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// Letter is a dead letter: the job, why it died, and what is needed to mend
// and replay it. It holds no token.
type Letter struct {
	ID           string    `json:"id"`
	Reason       Reason    `json:"reason"`
	Event        string    `json:"event"`
	Kind         Kind      `json:"kind"`
	Rule         string    `json:"rule"`
	Installation string    `json:"installation"`
	Step         string    `json:"step,omitempty"`
	Status       int       `json:"status"`
	Method       string    `json:"method"`
	Path         string    `json:"path"`
	Error        string    `json:"error"`
	Attempts     int       `json:"attempts"`
	Run          int       `json:"run"`
	At           time.Time `json:"at"`
	Trace        string    `json:"trace"`
	History      []Attempt `json:"history"`
	Steps        []Step    `json:"steps"`
	// Data is the body: as it is when it is JSON, otherwise in a JSON string.
	Data json.RawMessage `json:"data"`
	// Encoding says what the string in Data holds: "text" or "base64". It is
	// empty when Data is the body as it is.
	Encoding string `json:"encoding,omitempty"`
	// Header is the job's own message headers, from which a replay is made.
	Header map[string]string `json:"header"`
}

// NewLetter makes the dead letter of job, which died at now.
func NewLetter(job Job, reason Reason, f Failure, effects Effects, now time.Time) Letter {
	l := Letter{
		ID: job.ID, Reason: reason, Event: job.Type, Kind: job.Kind, Rule: job.Rule, Installation: job.Installation,
		Step: f.Step, Status: f.Status, Method: f.Method, Path: f.Path, Error: Clip(f.Message, maxLetterError),
		Attempts: job.Attempt, Run: job.Run, At: now.UTC(), Trace: TraceID(job.Traceparent),
		History: job.History, Steps: effects.Steps, Header: map[string]string{},
	}
	for name, values := range job.Header() {
		l.Header[name] = values[0]
	}
	l.Data, l.Encoding = dataAsJSON(job.Data)
	return l
}

// maxLetterError bounds the error text of a letter, in bytes.
const maxLetterError = 2000

// TraceID returns the trace id of a W3C traceparent, or "".
func TraceID(traceparent string) string {
	parts := strings.Split(traceparent, "-")
	if len(parts) != 4 {
		return ""
	}
	return parts[1]
}

// dataAsJSON takes whichever form of a body that is not JSON is shorter: text
// full of control characters would grow sixfold, and a letter must fit into a
// message.
func dataAsJSON(data []byte) (body json.RawMessage, encoding string) {
	if json.Valid(data) && utf8.Valid(data) {
		return json.RawMessage(data), ""
	}
	binary, _ := json.Marshal(data) // []byte marshals as base64
	if !utf8.Valid(data) {
		return binary, "base64"
	}
	text, _ := json.Marshal(string(data)) // a valid string always marshals
	if len(text) > 2*len(binary) {
		return binary, "base64"
	}
	return text, "text"
}

// Replay returns the job to publish for the next run of the letter, begun at
// now. Finished steps are kept in the effects record, not here.
func (l Letter) Replay(now time.Time) (Job, error) {
	h := make(map[string][]string, len(l.Header))
	for name, value := range l.Header {
		h[name] = []string{value}
	}
	data, err := l.body()
	if err != nil {
		return Job{}, fmt.Errorf("reading dead letter %q: %w", l.ID, err)
	}
	job, err := Parse(l.Installation, l.Kind, h, data)
	if err != nil {
		return Job{}, fmt.Errorf("reading dead letter %q: %w", l.ID, err)
	}
	job.Attempt, job.Run, job.Deaths, job.Since, job.Redelivered = 1, l.Run+1, 0, now.UTC(), false
	job.Generation++
	return job, nil
}

// body undoes what dataAsJSON did.
func (l Letter) body() ([]byte, error) {
	switch l.Encoding {
	case "base64":
		var raw []byte
		err := json.Unmarshal(l.Data, &raw)
		return raw, err
	case "text":
		var text string
		err := json.Unmarshal(l.Data, &text)
		return []byte(text), err
	}
	return l.Data, nil
}
