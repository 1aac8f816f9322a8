package egress

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"time"

	"bellows/internal/atlassian"
	"bellows/internal/egress/ticket"
	"bellows/internal/installations"
	"bellows/internal/jobs"
)

// maxDelay bounds how far ahead a follow-up job may be put: as long as a dead
// letter is kept.
const maxDelay = 30 * 24 * time.Hour

// maxKey bounds an Idempotency-Key in bytes.
const maxKey = 255

var validName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// FollowUp is a job that a handler asks for. It is seen as "on: call:<name>".
type FollowUp struct {
	// Name is 1 to 64 letters, digits, "_" or "-".
	Name string
	// Data is the job's body, any JSON. Empty means an empty object.
	Data json.RawMessage
	// Delay is how long the job waits. Zero means not at all; it is at most 30
	// days.
	Delay time.Duration
	// Key tells this job from others of the same owner and name. Empty means
	// that the content of Data does.
	Key string
}

// Enqueue stores a follow-up job of the grant's owner and returns its id. Asking
// again, in this attempt or a later one, for a job of the same name and key, or
// content, is the same job: duplicate, as far as it is still known. Numbers
// count as written, the order of members and white space do not.
//
// The error says what is wrong with the request, or is what Publish said.
func (s *Server) Enqueue(ctx context.Context, g ticket.Grant, f FollowUp) (id string, duplicate bool, err error) {
	if s.config.Publish == nil {
		return "", false, notFound("there are no follow-up jobs here")
	}
	canonical, err := f.check()
	if err != nil {
		return "", false, &problem{status: http.StatusBadRequest, code: "bad_job", message: err.Error()}
	}
	i, err := s.installation(ctx, g)
	if err != nil {
		return "", false, err
	}
	now := s.config.Now()
	job := followUp(g, i, f, canonical, now)
	at := time.Time{}
	if f.Delay > 0 {
		at = now.Add(f.Delay)
		job.Since = at // its age counts from when it may run
	}
	if duplicate, err = s.config.Publish(ctx, job, at); err != nil {
		return "", false, unavailable("storing the job", err)
	}
	return job.ID, duplicate, nil
}

// check returns the data in its canonical form.
func (f FollowUp) check() (canonical []byte, err error) {
	switch {
	case !validName.MatchString(f.Name):
		return nil, errors.New("name is not 1 to 64 letters, digits, \"_\" or \"-\"")
	case f.Delay < 0 || f.Delay > maxDelay:
		return nil, fmt.Errorf("delay is not between 0 and %s", maxDelay)
	case len(f.Key) > maxKey:
		return nil, fmt.Errorf("key is longer than %d bytes", maxKey)
	}
	if !json.Valid(f.data()) {
		return nil, errors.New("data is not JSON")
	}
	d := json.NewDecoder(bytes.NewReader(f.data()))
	d.UseNumber()
	var value any
	if err := d.Decode(&value); err != nil {
		return nil, fmt.Errorf("reading data: %w", err)
	}
	return json.Marshal(value) // members in order
}

func (f FollowUp) data() []byte {
	if len(f.Data) == 0 {
		return []byte("{}")
	}
	return f.Data
}

func followUp(g ticket.Grant, i installations.Installation, f FollowUp, canonical []byte, now time.Time) jobs.Job {
	kind, what := "content", string(canonical)
	if f.Key != "" {
		kind, what = "key", f.Key
	}
	return jobs.Job{
		ID: followID(g.Installation, g.Job, f.Name, kind, what), Installation: g.Installation, Kind: jobs.KindCall,
		Source: i.AppID, Type: jobs.TypeCall, Subject: i.ARI, Time: now, Since: now, ContentType: "application/json",
		Route: f.Name, Principal: g.Principal, AppVersion: i.AppVersion, Environment: i.EnvironmentType, Traceparent: g.Traceparent,
		// An earlier attempt may have asked for it, and it may have run.
		Attempt: 1, Redelivered: true,
		InstallationRevision: g.InstallationRevision, TokenRevision: g.TokenRevision,
		Data: f.data(),
	}
}

// followID is a job id of the usual form, made from parts that their lengths
// keep apart.
func followID(parts ...string) string {
	h := sha256.New()
	for _, p := range append([]string{"follow-up"}, parts...) {
		fmt.Fprintf(h, "%d:%s", len(p), p)
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// enqueue answers POST /jobs.
func (v *visit) enqueue(ctx context.Context) (*atlassian.Answer, error) {
	if err := checkMethod(v.r.Method, []string{"POST"}); err != nil {
		return nil, err
	}
	body, err := v.body(ctx, v.s.config.MaxJob)
	if err != nil {
		return nil, err
	}
	f, err := readFollowUp(body)
	if err != nil {
		return nil, &problem{status: http.StatusBadRequest, code: "bad_job", message: err.Error()}
	}
	f.Key = v.r.Header.Get("Idempotency-Key")
	id, duplicate, err := v.s.Enqueue(ctx, v.grant, f)
	if err != nil {
		return nil, err
	}
	return answerJSON(http.StatusAccepted, map[string]any{"id": id, "duplicate": duplicate})
}

// readFollowUp reads {"name", "data", "delay"}; a delay is a number of seconds
// or a text such as "1m30s".
func readFollowUp(body []byte) (FollowUp, error) {
	var asked struct {
		Name  string          `json:"name"`
		Data  json.RawMessage `json:"data"`
		Delay json.RawMessage `json:"delay"`
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(&asked); err != nil {
		return FollowUp{}, errors.New("the body is not an object of name, data and delay")
	}
	if _, err := d.Token(); err != io.EOF {
		return FollowUp{}, errors.New("the body has something after its object")
	}
	delay, err := readDelay(asked.Delay)
	return FollowUp{Name: asked.Name, Data: asked.Data, Delay: delay}, err
}

func readDelay(raw json.RawMessage) (time.Duration, error) {
	var seconds float64
	var text string
	switch {
	case len(raw) == 0 || string(raw) == "null":
		return 0, nil
	case json.Unmarshal(raw, &seconds) == nil:
		if seconds < 0 || seconds > maxDelay.Seconds() {
			return 0, fmt.Errorf("delay is not between 0 and %s", maxDelay)
		}
		return time.Duration(seconds * float64(time.Second)), nil
	case json.Unmarshal(raw, &text) == nil:
		if d, err := time.ParseDuration(text); err == nil {
			return d, nil
		}
	}
	return 0, errors.New("delay is neither a number of seconds nor a text such as \"90s\"")
}

// progress answers PUT /progress.
func (v *visit) progress(ctx context.Context) (*atlassian.Answer, error) {
	if err := checkMethod(v.r.Method, []string{"PUT"}); err != nil {
		return nil, err
	}
	body, err := v.body(ctx, maxProgress)
	if err != nil {
		return nil, err
	}
	if err := v.s.Report(ctx, v.grant, body); err != nil {
		return nil, err
	}
	return &atlassian.Answer{Status: http.StatusNoContent}, nil
}

// Report tells how far the grant's owner is: report is any JSON of at most 16
// KiB. The error says what is wrong with it, or is what Progress said.
func (s *Server) Report(ctx context.Context, g ticket.Grant, report json.RawMessage) error {
	switch {
	case s.config.Progress == nil:
		return notFound("there are no reports of progress here")
	case len(report) > maxProgress:
		return &problem{status: http.StatusRequestEntityTooLarge, code: "too_long", message: fmt.Sprintf("the report is longer than %d bytes", maxProgress)}
	case !json.Valid(report):
		return &problem{status: http.StatusBadRequest, code: "bad_progress", message: "the report is not JSON"}
	}
	if err := s.config.Progress(ctx, g, report); err != nil {
		return unavailable("storing the report", err)
	}
	return nil
}

func answerJSON(status int, value any) (*atlassian.Answer, error) {
	body, err := json.Marshal(value)
	if err != nil {
		return nil, unavailable("encoding the answer", err)
	}
	return &atlassian.Answer{Status: status, Header: http.Header{"Content-Type": {"application/json"}}, Body: body}, nil
}
