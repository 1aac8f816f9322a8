package jobs_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"bellows/internal/jobs"
)

func full() jobs.Job {
	return jobs.Job{
		ID: "0af7", Installation: "c0ffee00", Kind: jobs.KindScheduled, Source: "ari:cloud:ecosystem::app/a", Type: jobs.TypeScheduled,
		Subject: "ari:cloud:ecosystem::installation/c0ffee00", Time: now, ContentType: "application/json", Module: "m", Route: "/hooks",
		Trigger: "hourly", Rule: "r", Principal: "712020:a", AppVersion: "3.0.1", Environment: "PRODUCTION",
		Traceparent: "00-463ac35c9f6413ad48485a3953bb6124-a2fb4a1d1a96d312-01", Attempt: 3, Run: 1, Generation: 7, Deaths: 2,
		Since: now.Add(time.Hour), Redelivered: true, InstallationRevision: 4, TokenRevision: 9,
		History: []jobs.Attempt{{N: 1, At: now, Outcome: "delayed", Status: 503, Method: "GET", Path: "/x", Error: "günther\r\n\"x\""}},
		Data:    []byte(`{"a":1}`),
	}
}

func TestAJobReadsBackAsItWasWritten(t *testing.T) {
	for name, job := range map[string]jobs.Job{
		"full":  full(),
		"small": {ID: "1", Installation: "i", Kind: jobs.KindEvent, Type: "e", Time: now, Since: now, Attempt: 1, Data: []byte("x")},
	} {
		got, err := jobs.Parse(job.Installation, job.Kind, job.Header(), job.Data)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !reflect.DeepEqual(got, job) {
			t.Errorf("%s:\n got %+v\nwant %+v", name, got, job)
		}
	}
}

func TestAHeaderCannotBecomeTwo(t *testing.T) {
	job := full()
	job.Type, job.Principal = "evil\r\nNats-Rollup: all", "a\nb"
	for name, values := range job.Header() {
		if strings.ContainsAny(name+values[0], "\r\n") {
			t.Errorf("header %q has a line break: %q", name, values[0])
		}
		if strings.HasPrefix(strings.ToLower(name), "nats-") {
			t.Errorf("header %q speaks to the server", name)
		}
	}
}

func TestParseNamesWhatIsWrong(t *testing.T) {
	_, err := jobs.Parse("i", jobs.KindEvent, map[string][]string{
		"bellows-attempt": {"two"}, "ce-time": {"noon"}, "bellows-history": {"{"}, "bellows-run": {"-1"},
	}, nil)
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{`"ce-id" is missing`, `"two"`, `"noon"`, "bellows-history", `"-1"`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not say %s: %v", want, err)
		}
	}
}

func TestTheHistoryIsBounded(t *testing.T) {
	job := full()
	before := job.History
	for n := range 50 {
		job.Remember(jobs.Attempt{N: n, Error: strings.Repeat("ö", 1000)})
	}
	if len(job.History) != jobs.MaxHistory || job.History[9].N != 49 || job.History[0].N != 40 {
		t.Errorf("history: %d entries from %d to %d", len(job.History), job.History[0].N, job.History[9].N)
	}
	if size := len(fmt.Sprint(job.Header())); size > 8192 {
		t.Errorf("headers take %d bytes", size)
	}
	if len(before) != 1 {
		t.Errorf("an older copy's history changed: %+v", before)
	}
}

func FuzzHeaderReadsBack(f *testing.F) {
	f.Add("id", "avi:jira:created:issue", "712020:x", "error")
	f.Add("id", "a\nb", "\x00", "\xff\xfe")
	f.Fuzz(func(t *testing.T, id, typ, principal, message string) {
		job := jobs.Job{ID: "x" + id, Type: typ, Principal: principal, Attempt: 1}
		job.Remember(jobs.Attempt{N: 1, Error: message})
		h := job.Header()
		for name, values := range h {
			for i := range len(values[0]) {
				if values[0][i] < ' ' || values[0][i] == 0x7f {
					t.Fatalf("header %q has a control character: %q", name, values[0])
				}
			}
		}
		got, err := jobs.Parse("i", jobs.KindEvent, h, nil)
		if _, ok := h["ce-id"]; !ok {
			return // an id that no header can hold is left out, and missed
		}
		if err != nil || got.ID != job.ID || len(got.History) != 1 {
			t.Fatalf("got %+v, %v", got, err)
		}
	})
}

func TestIDs(t *testing.T) {
	a, b := [32]byte{1}, [32]byte{2}
	ids := []string{
		jobs.EventID("i", "e", a), jobs.EventID("i", "e", b), jobs.EventID("i", "f", a), jobs.EventID("j", "e", a),
		jobs.CallID("i", "e", a, "j1"), jobs.CallID("i", "e", a, "j2"), jobs.ContentKey("i", "e", a), jobs.ScheduleKey("i", "e"),
		jobs.RuleID("x", "r"), jobs.RuleID("x", "s"), jobs.RuleID("y", "r"), jobs.RuleID("xr", ""),
	}
	seen := map[string]int{}
	for i, id := range ids {
		if other, ok := seen[id]; ok {
			t.Errorf("ids %d and %d are the same: %s", i, other, id)
		}
		seen[id] = i
		if len(id) != 32 || strings.Trim(id, "0123456789abcdef") != "" {
			t.Errorf("id %d is not 32 hex digits: %q", i, id)
		}
	}
	if jobs.EventID("i", "e", a) != ids[0] {
		t.Error("the same content gives another id")
	}
}

func TestALetterGivesBackTheVeryBody(t *testing.T) {
	for name, data := range map[string]string{
		"object": `{"a": 1,  "b":"<&>"}`, "a JSON string": `"text"`, "text": `{"cut`, "empty": "", "binary": "\xff\x00\xfe", "text that looks like base64": "AAAA",
	} {
		job := full()
		job.Data = []byte(data)
		l := jobs.NewLetter(job, jobs.ReasonUndecodable, jobs.Failure{Message: "x"}, jobs.Effects{}, now)
		stored, err := json.Marshal(l)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var back jobs.Letter
		if err := json.Unmarshal(stored, &back); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		again, err := back.Replay(now.Add(time.Hour))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		same := string(again.Data) == data
		if json.Valid([]byte(data)) {
			same = jsonEqual(t, again.Data, []byte(data))
		}
		if !same {
			t.Errorf("%s: got %q, want %q", name, again.Data, data)
		}
		if again.Run != 2 || again.Attempt != 1 || again.Deaths != 0 || again.Redelivered || !again.Since.Equal(now.Add(time.Hour)) || !again.Time.Equal(now) {
			t.Errorf("%s: replayed as %+v", name, again)
		}
	}
}

func TestALetterHardlyOutgrowsItsBody(t *testing.T) {
	for _, c := range []string{"<", "\x00", "\xff", "é", "a", "\""} {
		job := full()
		job.Data = []byte(strings.Repeat(c, 1<<20/len(c)))
		stored, err := json.Marshal(jobs.NewLetter(job, jobs.ReasonUndecodable, jobs.Failure{}, jobs.Effects{}, now))
		if err != nil {
			t.Fatal(err)
		}
		if len(stored) > 3<<20 {
			t.Errorf("1 MiB of %q becomes a letter of %d bytes", c, len(stored))
		}
	}
}

func jsonEqual(t *testing.T, a, b []byte) bool {
	t.Helper()
	var x, y any
	if json.Unmarshal(a, &x) != nil || json.Unmarshal(b, &y) != nil {
		t.Fatalf("not JSON: %q or %q", a, b)
	}
	return reflect.DeepEqual(x, y)
}

func TestEffectsRememberStepsInOrder(t *testing.T) {
	var e jobs.Effects
	one := e.With(jobs.Step{Name: "a", Open: true})
	two := one.With(jobs.Step{Name: "a", Status: 201}).With(jobs.Step{Name: "b", Open: true})
	if e.Open() != nil || one.Open() == nil || two.Open().Name != "b" || two.Find("a").Status != 201 || len(two.Steps) != 2 {
		t.Errorf("got %+v, %+v, %+v", e, one, two)
	}
	if three := two.Without("b"); three.Open() != nil || len(two.Steps) != 2 || len(three.Steps) != 1 {
		t.Errorf("got %+v after taking out of %+v", three, two)
	}
	if two.Find("c") != nil {
		t.Error("found a step that is not there")
	}
}

func ExampleDecide() {
	job := jobs.Job{Attempt: 2, Since: now}
	refused := &jobs.Failure{Cause: jobs.CauseLimited, RetryAfter: 30 * time.Second, HasRetryAfter: true, Status: 429}
	d := jobs.Decide(refused, job, jobs.Limits{}, now, 0)
	fmt.Println(d, "for", d.Until.Sub(now), "- counts:", d.Counts)
	// Output: delayed for 30s - counts: false
}
