package ingest_test

import (
	"net/http"
	"strings"
	"testing"

	"bellows/internal/forge"
	"bellows/internal/jobs"
)

func TestOfWhatKindACallIs(t *testing.T) {
	h := newHouse(t, nil)
	const wrapped = `{"context":{"cloudId":"` + cloudID + `","moduleKey":`
	type kind struct {
		kind    jobs.Kind
		event   string
		trigger string
	}
	event := func(name string) kind { return kind{jobs.KindEvent, name, ""} }
	scheduled := func(trigger string) kind { return kind{jobs.KindScheduled, jobs.TypeScheduled, trigger} }
	lifecycle := func(name string) kind { return kind{jobs.KindLifecycle, name, ""} }
	unknown, uninstall := event(jobs.TypeUnknown), lifecycle(jobs.TypePreUninstall)
	for _, row := range []struct {
		name string
		call call
		want kind
	}{
		{"an event", call{body: `{"eventType":"avi:jira:created:issue"}`}, event("avi:jira:created:issue")},
		{"an event of a trigger", call{module: "on-issue", body: `{"eventType":"avi:jira:created:issue"}`}, event("avi:jira:created:issue")},
		{"an event of another trigger of the endpoint", call{module: "on-page", body: `{"eventType":"avi:confluence:created:page"}`}, event("avi:confluence:created:page")},
		{"an event that nobody knows", call{body: `{"eventType":"avi:new:made:thing"}`}, event("avi:new:made:thing")},
		{"a policy event", call{body: `{"specversion":"1.0","id":"1","type":"avi:ecosystem.app_policy:blocked:app_access_to_objects.v2"}`}, event("avi:ecosystem.app_policy:blocked:app_access_to_objects.v2")},
		{"an app event", call{body: `{"eventType":"avi:cloud:ecosystem::event/5d0f/my-event"}`}, event("avi:cloud:ecosystem::event/5d0f/my-event")},
		{"an install", call{body: `{"eventType":"avi:forge:installed:app","context":"ari:cloud:jira::site/` + cloudID + `"}`}, lifecycle("avi:forge:installed:app")},
		{"an event wrapped in a payload", call{body: `{"payload":{"eventType":"avi:jira:created:issue"}}`}, event("avi:jira:created:issue")},
		{"no name", call{body: `{"issue":{}}`}, unknown},
		{"an empty body", call{}, unknown},
		{"an array", call{body: `[1]`}, unknown},
		{"what is not JSON", call{body: `<xml/>`}, unknown},
		{"a name with a line end", call{body: `{"eventType":"avi:jira:created:issue\r\nce-id: x"}`}, unknown},
		{"a name with a NUL", call{body: `{"eventType":"avi:jira\u0000"}`}, unknown},
		{"a name with a wildcard", call{body: `{"eventType":"avi.>"}`}, unknown},
		{"a name of 300 characters", call{body: `{"eventType":"` + strings.Repeat("a", 300) + `"}`}, unknown},
		{"a name that is a number", call{body: `{"eventType":7}`}, unknown},
		{"a body that says preUninstall", call{body: `{"eventType":"preUninstall"}`}, unknown},
		{"a body that says it is scheduled", call{body: `{"eventType":"bellows.scheduled"}`}, unknown},
		{"a body that says it is a call", call{body: `{"type":"bellows.call"}`}, unknown},
		{"a tick of the only trigger, empty", call{path: "/base/hourly", module: "hourly-endpoint"}, scheduled("hourly")},
		{"a tick by the token's module", call{path: "/base/ticks", module: "weekly", body: wrapped + `"daily"}}`}, scheduled("weekly")},
		{"a tick by the body's module", call{path: "/base/ticks", module: "ticks", body: wrapped + `"daily"}}`}, scheduled("daily")},
		{"a tick of a mixed endpoint by the token", call{path: "/base/mixed", module: "often", body: `{}`}, scheduled("often")},
		{"an event at a mixed endpoint", call{path: "/base/mixed", module: "mixed", body: `{"eventType":"avi:jira-software:created:sprint"}`}, event("avi:jira-software:created:sprint")},
		{"an event that says it is a tick", call{path: "/base/mixed", module: "mixed", body: `{"eventType":"avi:jira-software:created:sprint","context":{"moduleKey":"often"}}`}, event("avi:jira-software:created:sprint")},
		{"a trigger's call that says it is a tick", call{path: "/base/mixed", module: "on-sprint", body: wrapped + `"often"}}`}, unknown},
		{"what is not JSON at a mixed endpoint", call{path: "/base/mixed", module: "mixed", body: `{{`}, unknown},
		{"an uninstall", call{path: "/base/bye", module: "bye-endpoint", body: wrapped + `"bye"}}`}, uninstall},
		{"an uninstall, empty", call{path: "/base/bye", module: "bye-endpoint"}, uninstall},
		{"an uninstall of a mixed endpoint by the token", call{path: "/base/mixed", module: "mixed-bye"}, uninstall},
		{"an uninstall of a mixed endpoint by the body", call{path: "/base/mixed", module: "mixed", body: wrapped + `"mixed-bye"}}`}, uninstall},
	} {
		t.Run(row.name, func(t *testing.T) {
			defer h.clock.pass(40 * 24 * 3600e9) // no tick is the same as another row's
			job := h.job(row.call)
			if got := (kind{job.Kind, job.Type, job.Trigger}); got != row.want {
				t.Errorf("got %+v, want %+v", got, row.want)
			}
			same(t, "data", string(job.Data), row.call.body)
		})
	}
}

func TestATickThatFitsSeveralTriggersIsTakenForTheFirstAndLogged(t *testing.T) {
	h := newHouse(t, nil)
	job := h.job(call{path: "/base/ticks", module: "ticks", body: `{}`})
	same(t, "trigger", job.Trigger, "daily")
	if !strings.Contains(h.logs.String(), "nothing says which scheduled trigger") {
		t.Error("it is not logged")
	}
}

func TestWhatAJobSaysOfItsCall(t *testing.T) {
	h := newHouse(t, nil)
	job := h.job(call{module: "on-issue", body: `{"eventType":"avi:jira:created:issue"}`, header: http.Header{
		forge.HeaderTraceID: {"463ac35c9f6413ad48485a3953bb6124"}, forge.HeaderSpanID: {"a2fb4a1d1a96d312"}}})
	same(t, "installation", job.Installation, installation)
	same(t, "source", job.Source, appID)
	same(t, "subject", job.Subject, "ari:cloud:ecosystem::installation/"+installation)
	same(t, "content type", job.ContentType, "application/json")
	same(t, "module", job.Module, "on-issue")
	same(t, "route", job.Route, "/base/events")
	same(t, "principal", job.Principal, "")
	same(t, "app version", job.AppVersion, "2.4.0")
	same(t, "environment", job.Environment, "PRODUCTION")
	same(t, "trace", job.Traceparent, "00-463ac35c9f6413ad48485a3953bb6124-a2fb4a1d1a96d312-01")
	same(t, "attempt", job.Attempt, 1)
	same(t, "run", job.Run, 0)
	same(t, "redelivered", job.Redelivered, false)
	if job.Time.IsZero() || !job.Since.Equal(job.Time) || job.InstallationRevision == 0 {
		t.Errorf("time %v, since %v, installation revision %d", job.Time, job.Since, job.InstallationRevision)
	}
}

func TestContentTypesComeFromAClosedSet(t *testing.T) {
	h := newHouse(t, nil)
	for _, row := range []struct{ sent, body, want string }{
		{"application/json; charset=utf-8", `{}`, "application/json"},
		{"Application/CloudEvents+JSON; charset=utf-8", `{"id":"x"}`, "application/cloudevents+json"},
		{"text/plain; x=hostile-text", `{"n":1}`, "application/json"},
		{"", `{"n":2}`, "application/json"},
		{"", "", "application/json"},
		{"application/json", `<xml/>`, "application/octet-stream"},
		{"application/cloudevents+json", `<xml/>`, "application/octet-stream"},
		{"multipart/form-data; boundary=hostile-text", "--x", "application/octet-stream"},
	} {
		job := h.job(call{body: row.body, header: http.Header{"Content-Type": {row.sent}}})
		same(t, row.sent+" "+row.body, job.ContentType, row.want)
	}
	if text := strings.Join(h.messages("BELLOWS_JOBS"), "\n"); strings.Contains(text, "hostile-text") {
		t.Error("a request's header was copied into a message")
	}
}

// hostile is a header value that would be found again wherever it went.
const hostile = "hostile-header-value"

func TestNoRequestHeaderGetsIntoNATS(t *testing.T) {
	h := newHouse(t, nil)
	header := http.Header{}
	for _, name := range []string{"Ce-Id", "Ce-Type", "Ce-Source", "Nats-Msg-Id", "Nats-Schedule", "Nats-Expected-Stream", "Nats-Rollup", "Nats-Ttl",
		"Bellows-Attempt", "Bellows-Run", "Bellows-Principal", "Bellows-History", "Traceparent", "Tracestate", "Cookie", "X-Forwarded-For",
		"User-Agent", "X-B3-Traceid", "X-B3-Spanid", "X-B3-Sampled", "Baggage", "X-Forge-Oauth-User"} {
		header[name] = []string{hostile}
	}
	h.accept(call{body: `{"eventType":"avi:jira:created:issue"}`, header: header}, false)
	for _, stream := range []string{"BELLOWS_JOBS", "BELLOWS_EFFECTS", "KV_BELLOWS_INSTALLATIONS", "KV_BELLOWS_TOKENS"} {
		if strings.Contains(strings.Join(h.messages(stream), "\n"), hostile) {
			t.Errorf("a request's header is in %s", stream)
		}
	}
	if strings.Contains(h.logs.String(), hostile) {
		t.Error("a request's header is in the log")
	}
	if job := h.finish(h.take()); job.Principal != "" || job.Type != "avi:jira:created:issue" || len(job.Traceparent) != 55 {
		t.Errorf("got %+v", job)
	}
}

func TestHostileContentIsKeptAsItCame(t *testing.T) {
	h := newHouse(t, nil)
	deep := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	for name, body := range map[string]string{
		"a number beyond all range":      `{"timestamp":` + strings.Repeat("9", 5000) + `}`,
		"a number with a huge exponent":  `{"timestamp":1e999999999}`,
		"nesting at the limit":           deep(512),
		"nesting beyond the limit":       deep(513),
		"nesting as far as the body":     deep(500_000),
		"open brackets only":             strings.Repeat("[", 1<<20),
		"members twice":                  `{"eventType":"avi:a","eventType":"avi:b","timestamp":1,"timestamp":2}`,
		"bytes that are not UTF-8":       "{\"eventType\":\"avi:a\",\"x\":\"\xff\xfe\"}",
		"a NUL in a string":              `{"eventType":"avi:a","x":"\u0000"}`,
		"a raw NUL":                      "{\"x\":\"\x00\"}",
		"half a surrogate pair":          `{"x":"\ud800"}`,
		"a byte order mark":              "\xef\xbb\xbf{}",
		"line ends that look like NATS":  "\r\nPUB bellows.jobs.x 0\r\n\r\n",
		"text that looks like a header":  "NATS/1.0\r\nNats-Msg-Id: x\r\n\r\n",
		"a retry count beyond all range": `{"retryContext":{"retryCount":1e300,"retryReason":"x\r\ny"},"timestamp":"1"}`,
		"a context of the wrong kind":    `{"context":[{"moduleKey":"hourly"}],"workspace":{"uuid":7},"timestamp":{"a":1}}`,
		"names that JavaScript knows":    `{"__proto__":{"eventType":"avi:x"},"constructor":1}`,
		"a member without a name":        `{"":1}`,
		"many members":                   `{"m":[` + strings.TrimSuffix(strings.Repeat(`{"a":1},`, 20_000), ",") + `]}`,
	} {
		t.Run(name, func(t *testing.T) {
			job := h.job(call{body: body})
			if string(job.Data) != body {
				t.Errorf("the data has %d bytes, not the %d sent", len(job.Data), len(body))
			}
		})
	}
}

func TestAContextTokenIsNeverStored(t *testing.T) {
	h := newHouse(t, nil)
	const secret = "eyJhbGciOiJSUzI1NiJ9.context-token-text.c2ln"
	for name, row := range map[string]struct{ sent, kept string }{
		"at the root":        {`{"eventType":"avi:a","contextToken":"` + secret + `","n":1}`, `{"eventType":"avi:a","n":1}`},
		"the only member":    {`{"contextToken":"` + secret + `"}`, `{}`},
		"deep inside":        {`{"n":2,"a":[{"contextToken":{"x":"` + secret + `"}}]}`, `{"n":2,"a":[{}]}`},
		"in escapes":         {`{"n":3,"c\u006fntextToken":"` + secret + `"}`, `{"n":3}`},
		"twice":              {`{"contextToken":"` + secret + `","n":4,"contextToken":"` + secret + `"}`, `{"n":4}`},
		"in what is no JSON": {`{"n":5,"contextToken":"` + secret + `"`, `{"n":5,"contextToken":""`},
	} {
		t.Run(name, func(t *testing.T) {
			h.accept(call{body: row.sent}, false)
			if text := strings.Join(h.messages("BELLOWS_JOBS"), "\n"); strings.Contains(text, secret) {
				t.Error("the context token is in NATS")
			}
			same(t, "data", string(h.finish(h.take()).Data), row.kept)
		})
	}
	if strings.Contains(h.logs.String(), secret) {
		t.Error("the context token is in the log")
	}
}
