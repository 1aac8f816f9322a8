package acceptance

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"bellows/internal/jobs"
)

// keyed is an issue event whose key is any text.
func keyed(key string) string { return issueEvent("avi:jira:created:issue", key) }

// done is the end of a job without a dead letter.
const done = jobs.Reason("done")

// ending is a body and how its job must end.
type ending struct {
	name, body string
	want       jobs.Reason
}

func hostileContent() []ending {
	event := func(more string) string {
		return strings.Replace(keyed("CONTENT-1"), "{", "{"+more+",", 1)
	}
	return []ending{
		{"nothing", "", done},
		{"what is not JSON", "<issue/>", jobs.ReasonUndecodable},
		{"JSON cut short", keyed("CUT-1")[:40], jobs.ReasonUndecodable},
		{"JSON with something behind it", keyed("TWO-1") + "{}", jobs.ReasonUndecodable},
		{"bytes", "\x00\x01\xff\xfe", jobs.ReasonUndecodable},
		{"a long text of what JSON escapes", strings.Repeat("<\x01", 400<<10), jobs.ReasonUndecodable},
		{"brackets without end", strings.Repeat("[", 900<<10), jobs.ReasonUndecodable},
		{"a number beyond all range", event(`"n":1e999999`), jobs.ReasonUndecodable},
		{"a number of 5000 digits", event(`"n":` + strings.Repeat("9", 5000)), jobs.ReasonUndecodable},
		{"nesting beyond reason", event(`"n":` + strings.Repeat("[", 600) + strings.Repeat("]", 600)), done},
		{"an event that nobody knows", `{"eventType":"avi:made:up:thing"}`, done},
		{"members that nobody knows", event(`"more":{"__proto__":null},"":[]`), done},
		{"members twice", event(`"eventType":"avi:jira:viewed:issue"`), done},
		{"bytes that are not UTF-8", event("\"n\":\"\xff\xfe\""), done},
		{"a NUL in a string", event(`"n":"\u0000"`), done},
		{"a key that leaves its path", keyed("../../../admin"), jobs.ReasonFatal},
		{"a key with a slash", keyed("A/B"), done},
		{"a key with a query", keyed("A?admin=true#x"), done},
		{"a key with a line end", keyed("A\r\nX-Injected: yes\r\n\r\n"), jobs.ReasonFatal},
		{"a key of two dots", keyed(".."), jobs.ReasonFatal},
		{"a key of one dot", keyed("."), jobs.ReasonFatal},
		{"an empty key", keyed(""), jobs.ReasonFatal},
		{"no key", `{"eventType":"avi:jira:created:issue","timestamp":"1"}`, jobs.ReasonFatal},
		{"an event that says it is an uninstall", `{"eventType":"preUninstall"}`, done},
		{"an event that says it is a schedule", `{"eventType":"bellows.scheduled","context":{"moduleKey":"nightly"}}`, done},
		{"an expression in a value", keyed("${job.id}"), done},
	}
}

func TestHostileContentEndsWhereItShould(t *testing.T) {
	h := newHouse(t, setup{Rules: mixedRules})
	in, worker := h.ingest(), h.worker()
	s := h.newSite()
	token := h.forge.systemToken(s, time.Now().Add(time.Hour))
	rows := hostileContent()
	ids := map[string]int{}
	for n, row := range rows {
		a := h.deliver(in, delivery{Site: s, Token: token, Body: row.body})
		if a.Status != http.StatusAccepted {
			t.Errorf("%s: got %d %s", row.name, a.Status, a.Text)
			continue
		}
		ids[a.ID] = n
	}
	eventually(t, 10*time.Second, h.quiet)
	letters := h.letters()
	for id, n := range ids {
		got := done
		if l, ok := letters[id]; ok {
			got = l.Reason
		}
		if got != rows[n].want {
			t.Errorf("%s: ended as %q, want %q", rows[n].name, got, rows[n].want)
		}
	}
	for _, call := range h.api.made("") {
		base := "/ex/jira/" + s.CloudID + "/rest/api/3/issue/"
		key, ok := strings.CutPrefix(call.Path, base)
		key, ends := strings.CutSuffix(key, "/comment")
		if !ok || !ends || strings.Contains(key, "/") || call.Query != "" || call.Header.Get("X-Injected") != "" {
			t.Errorf("called %s %s?%s", call.Method, call.Path, call.Query)
		}
	}
	for _, p := range []*process{in, worker} {
		p.alive()
		everyLineIsJSON(t, p)
	}
}

// everyLineIsJSON fails the test when some text has broken out of a log line.
func everyLineIsJSON(t *testing.T, p *process) {
	t.Helper()
	lines := bufio.NewScanner(strings.NewReader(p.logs()))
	lines.Buffer(nil, 8<<20)
	for lines.Scan() {
		if !json.Valid(lines.Bytes()) {
			t.Errorf("%s logs a line that is no JSON: %s", p.name, tail(lines.Text(), 300))
		}
	}
	must(t, lines.Err())
}

func TestHeadersOfARequestGetNowhere(t *testing.T) {
	h := newHouse(t, setup{Rules: mixedRules})
	in := h.ingest()
	h.worker()
	s := h.newSite()
	const hostile = "hostile-header-value"
	header := http.Header{}
	for _, name := range []string{"Ce-Id", "Ce-Type", "Nats-Msg-Id", "Nats-Schedule", "Nats-Rollup", "Bellows-Attempt", "Bellows-Principal", "Bellows-Rule",
		"Traceparent", "Tracestate", "X-B3-Traceid", "X-B3-Spanid", "Cookie", "User-Agent", "Content-Type", "X-Forwarded-For", "Baggage", "X-Job"} {
		header[name] = []string{hostile}
	}
	a := h.deliver(in, delivery{Site: s, Token: h.forge.systemToken(s, time.Now().Add(time.Hour)), Body: keyed("HEAD-1"), Header: header})
	if a.Status != http.StatusAccepted {
		t.Fatalf("got %d %s", a.Status, a.Text)
	}
	eventually(t, 5*time.Second, func() string { return expect("calls", len(h.api.made("/HEAD-1/comment")), 1) })
	found := h.stored()
	found["the call"] = fmt.Sprint(h.api.made("/HEAD-1/comment"))
	found["the log"] = in.logs()
	for where, text := range found {
		if strings.Contains(text, hostile) {
			t.Errorf("a header of the request is in %s", where)
		}
	}
}
