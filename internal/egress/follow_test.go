package egress_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"bellows/internal/egress"
	"bellows/internal/egress/ticket"
	"bellows/internal/jobs"
)

// enqueue asks for a follow-up job and wants its id.
func (b *bench) enqueue(bearer, body string, header ...string) (id string, duplicate bool) {
	b.t.Helper()
	a := b.do(bearer, "POST", "/jobs", body, header...)
	var got struct {
		ID        string
		Duplicate bool
	}
	if err := json.Unmarshal([]byte(a.body), &got); a.status != 202 || err != nil || got.ID == "" {
		b.t.Fatalf("got %+v", a)
	}
	return got.ID, got.Duplicate
}

func TestAFollowUpIsAJobOfTheSameInstallationAndUser(t *testing.T) {
	b := newBench(t)
	g := grant()
	g.TokenRevision, g.InstallationRevision = 1, 2
	id, duplicate := b.enqueue(b.issue(g), `{"name":"report","data":{"b":1,"a":[2.50]}}`)
	if duplicate || len(b.published) != 1 {
		t.Fatalf("got duplicate %v, %d jobs", duplicate, len(b.published))
	}
	got, now := b.published[0], b.clock.Now()
	want := jobs.Job{
		ID: id, Installation: "one", Kind: jobs.KindCall, Source: "ari:cloud:ecosystem::app/a", Type: jobs.TypeCall,
		Subject: "ari:cloud:ecosystem::installation/one", Time: now, Since: now, ContentType: "application/json", Route: "report", Principal: alice,
		AppVersion: "3.1.0", Environment: "PRODUCTION", Traceparent: trace, Attempt: 1, Redelivered: true, TokenRevision: 1, InstallationRevision: 2,
	}
	if string(got.job.Data) != `{"b":1,"a":[2.50]}` || !got.at.IsZero() {
		t.Errorf("got data %s at %v", got.job.Data, got.at)
	}
	got.job.Data = nil
	gotText, _ := json.Marshal(got.job)
	wantText, _ := json.Marshal(want)
	if string(gotText) != string(wantText) {
		t.Errorf("got  %s\nwant %s", gotText, wantText)
	}
	if _, err := jobs.Parse("one", jobs.KindCall, want.Header(), nil); err != nil {
		t.Errorf("the job cannot be read back: %v", err)
	}
}

func TestTheSameFollowUpIsOneJobAndAnotherIsNot(t *testing.T) {
	b := newBench(t)
	key := b.issue(grant())
	first, _ := b.enqueue(key, `{"name":"report","data":{"a":1,"b":[1,2]}}`)
	retried := grant()
	retried.Attempt, retried.Run = 2, 1
	for name, row := range map[string]struct{ bearer, body string }{
		"asked again":                {key, `{"name":"report","data":{"a":1,"b":[1,2]}}`},
		"members in another order":   {key, `{"data":{"b":[1,2], "a":1},"name":"report"}`},
		"with a delay":               {key, `{"name":"report","data":{"a":1,"b":[1,2]},"delay":5}`},
		"in a later attempt and run": {b.issue(retried), `{"name":"report","data":{"a":1,"b":[1,2]}}`},
	} {
		if id, duplicate := b.enqueue(row.bearer, row.body); id != first || !duplicate {
			t.Errorf("%s: got another job", name)
		}
	}
	another, elsewhere, call := grant(), grant(), grant()
	another.Job, elsewhere.Installation = "ffff", "two"
	call.Owner, call.Job = ticket.OwnerCall, "call-1"
	ids := map[string]string{"the first": first}
	for name, row := range map[string]struct {
		bearer, body string
		header       []string
	}{
		"other data":              {key, `{"name":"report","data":{"a":1,"b":[2,1]}}`, nil},
		"another name":            {key, `{"name":"other","data":{"a":1,"b":[1,2]}}`, nil},
		"no data":                 {key, `{"name":"report"}`, nil},
		"another job":             {b.issue(another), `{"name":"report","data":{"a":1,"b":[1,2]}}`, nil},
		"another installation":    {b.issue(elsewhere), `{"name":"report","data":{"a":1,"b":[1,2]}}`, nil},
		"a call's":                {b.issue(call), `{"name":"report","data":{"a":1,"b":[1,2]}}`, nil},
		"with a key":              {key, `{"name":"report","data":{"a":1,"b":[1,2]}}`, []string{"Idempotency-Key", "1"}},
		"with another key":        {key, `{"name":"report","data":{"a":1,"b":[1,2]}}`, []string{"Idempotency-Key", "2"}},
		"a key like some content": {key, `{"name":"report"}`, []string{"Idempotency-Key", `{"a":1,"b":[1,2]}`}},
	} {
		id, _ := b.enqueue(row.bearer, row.body, row.header...)
		for other, taken := range ids {
			if id == taken {
				t.Errorf("%q and %q are one job", name, other)
			}
		}
		ids[name] = id
	}
	if id, duplicate := b.enqueue(key, `{"name":"report","data":"other"}`, "Idempotency-Key", "1"); id != ids["with a key"] || !duplicate {
		t.Error("the same key with other content is another job")
	}
}

func TestAFollowUpMayWait(t *testing.T) {
	b := newBench(t)
	key := b.issue(grant())
	for delay, want := range map[string]time.Duration{`90`: 90 * time.Second, `"1m30s"`: 90 * time.Second, `0.25`: 250 * time.Millisecond, `2592000`: 720 * time.Hour} {
		b.published = nil
		b.enqueue(key, `{"name":"report","delay":`+delay+`}`)
		got := b.published[0]
		if at := b.clock.Now().Add(want); !got.at.Equal(at) || !got.job.Since.Equal(at) || !got.job.Time.Equal(b.clock.Now()) {
			t.Errorf("delay %s: runs at %v since %v, want %v", delay, got.at, got.job.Since, at)
		}
	}
	for _, none := range []string{`0`, `null`, `"0s"`} {
		b.published = nil
		b.enqueue(key, `{"name":"report","delay":`+none+`}`)
		if !b.published[0].at.IsZero() || string(b.published[0].job.Data) != "{}" {
			t.Errorf("delay %s: got %+v", none, b.published[0])
		}
	}
}

func TestWhatIsNoFollowUpIsRefused(t *testing.T) {
	b := newBench(t)
	key := b.issue(grant())
	for _, body := range []string{
		``, `[]`, `"x"`, `{}`, `{"name":""}`, `{"name":"a b"}`, `{"name":"a.b"}`, `{"name":"a\nb"}`, `{"name":"` + strings.Repeat("a", 65) + `"}`, `{"name":1}`,
		`{"name":"a","delay":-1}`, `{"name":"a","delay":"-1s"}`, `{"name":"a","delay":2592001}`, `{"name":"a","delay":"721h"}`, `{"name":"a","delay":true}`,
		`{"name":"a","delay":"soon"}`, `{"name":"a","delay":1e300}`, `{"name":"a","dealy":1}`, `{"name":"a"}{}`, `{"name":"a","data":}`,
	} {
		b.do(key, "POST", "/jobs", body).mustFail(t, 400, "bad_job", "false")
	}
	b.do(key, "POST", "/jobs", `{"name":"a"}`, "Idempotency-Key", strings.Repeat("k", 256)).mustFail(t, 400, "bad_job", "false")
	if len(b.published) != 0 {
		t.Errorf("stored %+v", b.published)
	}
	_, _, err := b.server.Enqueue(t.Context(), grant(), egress.FollowUp{Name: "a", Data: json.RawMessage(`1 2`)})
	if err == nil || !strings.Contains(err.Error(), "data is not JSON") {
		t.Errorf("got %v", err)
	}
}

func TestAFollowUpThatCannotBeStoredMayBeAskedForAgain(t *testing.T) {
	b := newBench(t, func(c *egress.Config) {
		c.Publish = func(context.Context, jobs.Job, time.Time) (bool, error) {
			return false, errors.New("nats at 10.0.0.7 is away")
		}
	})
	a := b.do(b.issue(grant()), "POST", "/jobs", `{"name":"a"}`)
	a.mustFail(t, 503, "unavailable", "false")
	if strings.Contains(a.body, "10.0.0.7") || !strings.Contains(b.logged(), "10.0.0.7") {
		t.Errorf("the cause belongs in the log alone: %s", a.body)
	}
}

func TestProgressIsAnyJSON(t *testing.T) {
	b := newBench(t)
	key := b.issue(grant())
	if a := b.do(key, "PUT", "/progress", `{"percent":40}`); a.status != 204 || a.body != "" {
		t.Errorf("got %+v", a)
	}
	for _, body := range []string{"", "{", "half"} {
		b.do(key, "PUT", "/progress", body).mustFail(t, 400, "bad_progress", "false")
	}
	if len(b.reports) != 1 || b.reports[0] != `0a1b2c {"percent":40}` {
		t.Errorf("got %q", b.reports)
	}
}

func TestWhereThereAreNoFollowUpsNorProgressTheyAreNotFound(t *testing.T) {
	b := newBench(t, func(c *egress.Config) { c.Publish, c.Progress = nil, nil })
	key := b.issue(grant())
	b.do(key, "POST", "/jobs", `{"name":"a"}`).mustFail(t, 404, "not_found", "false")
	b.do(key, "PUT", "/progress", `1`).mustFail(t, 404, "not_found", "false")
}
