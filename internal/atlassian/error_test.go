package atlassian_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"bellows/internal/atlassian"
)

func TestErrorsSayWhatAtlassianSaid(t *testing.T) {
	for _, row := range []struct{ name, body, want string }{
		{"Jira, messages", `{"errorMessages":["Issue does not exist or you do not have permission to see it.","b"],"errors":{}}`, "Issue does not exist or you do not have permission to see it.; b"},
		{"Jira, fields", `{"errorMessages":[],"errors":{"summary":"is required","project":"unknown"}}`, "project: unknown; summary: is required"},
		{"Confluence v1", `{"statusCode":404,"data":{},"message":"No content found"}`, "No content found"},
		{"Confluence v2", `{"errors":[{"status":404,"code":"NOT_FOUND","title":"Not Found","detail":null}]}`, "Not Found"},
		{"Bitbucket", `{"type":"error","error":{"message":"Repository gone"}}`, "Repository gone"},
		{"the gateway", `{"code":401,"message":"Unauthorized; scope does not match"}`, "Unauthorized; scope does not match"},
		{"OAuth", `{"error":"invalid_grant","error_description":"expired"}`, "expired"},
		{"OAuth, short", `{"error":"invalid_grant"}`, "invalid_grant"},
		{"a list of texts", `{"errors":["one","two"]}`, "one; two"},
		{"text", "  upstream\n\tconnect error\x00\xff ", "upstream connect error"},
		{"JSON of another kind", `[1,2]`, "[1,2]"},
		{"nothing", "", ""},
	} {
		server, _ := counting(t, answer(400, row.body))
		_, err := newClient(t, server).Do(t.Context(), call(server.URL, "POST", "/x"))
		if e := asError(t, err); e.Message != row.want {
			t.Errorf("%s: got %q, want %q", row.name, e.Message, row.want)
		}
	}
}

func TestErrorsAreShort(t *testing.T) {
	server, _ := counting(t, answer(400, strings.Repeat("ä", 1<<20), "RateLimit-Reason", strings.Repeat("r", 1000)))
	_, err := newClient(t, server).Do(t.Context(), call(server.URL, "POST", "/"+strings.Repeat("p", 1000)))
	e := asError(t, err)
	if len(err.Error()) > 800 || len(e.Message) > 310 || len(e.RateLimitReason) > 110 || len(e.Path) > 310 || !utf8.ValidString(err.Error()) {
		t.Errorf("%d bytes: %v", len(err.Error()), err)
	}
}

func TestErrorsShowNeitherTokenNorQuery(t *testing.T) {
	signature := firstToken[strings.LastIndex(firstToken, ".")+1:]
	long := strings.Repeat("x", 250) + firstToken // the bound cuts through it
	for name, handler := range map[string]http.HandlerFunc{
		"in a text":          answer(400, "Bearer "+firstToken),
		"in JSON":            answer(400, `{"message":"bad token `+firstToken+`"}`),
		"escaped in JSON":    answer(400, `{"message":"`+strings.ReplaceAll(firstToken, "e", `\u0065`)+`"}`),
		"at the bound":       answer(400, long),
		"its signature":      answer(400, signature),
		"in the reason":      answer(429, "", "RateLimit-Reason", firstToken),
		"in a second answer": answer(401, firstToken+" "+secondToken),
	} {
		server, _ := counting(t, handler)
		c := call(server.URL, "POST", "/x")
		c.Query = map[string][]string{"jql": {"swordfish"}}
		c.Token = tokens(time.Time{}, firstToken, secondToken)
		_, err := newClient(t, server).Do(t.Context(), c)
		text := fmt.Sprintf("%v %+v", err, *asError(t, err))
		for _, hidden := range []string{firstToken, secondToken, signature[:20], firstToken[:40], "swordfish"} {
			if strings.Contains(text, hidden) {
				t.Errorf("%s: %s", name, text)
			}
		}
	}
}

func TestErrorTexts(t *testing.T) {
	at := time.Date(2026, 9, 14, 12, 0, 0, 0, time.UTC)
	for _, row := range []struct {
		e    atlassian.Error
		want string
	}{
		{atlassian.Error{Stage: atlassian.Answered, Status: 404, Message: "no such issue"}, `calling GET "/x": status 404: no such issue`},
		{atlassian.Error{Stage: atlassian.Answered, Status: 401, TokenExpired: true}, `calling GET "/x": status 401 to an expired token`},
		{atlassian.Error{Stage: atlassian.BreakerOpen, Until: at}, `calling GET "/x": circuit breaker is open until 2026-09-14T12:00:00Z`},
		{atlassian.Error{Stage: atlassian.Unreadable, Status: 200, Err: atlassian.ErrTooLong}, `calling GET "/x": status 200 with an unreadable answer: answer is longer than allowed`},
	} {
		row.e.Method, row.e.Path = "GET", "/x"
		if got := row.e.Error(); got != row.want {
			t.Errorf("got  %s\nwant %s", got, row.want)
		}
	}
	for stage := atlassian.Fenced; stage <= atlassian.Unreadable; stage++ {
		if strings.HasPrefix(stage.String(), "stage") {
			t.Errorf("stage %d has no name", stage)
		}
	}
}

func TestWhenToComeBack(t *testing.T) {
	const absent = -1 * time.Second
	for _, row := range []struct {
		name   string
		status int
		header []string
		want   time.Duration
	}{
		{"seconds", 429, []string{"Retry-After", "1847"}, 1847 * time.Second},
		{"zero", 429, []string{"Retry-After", "0"}, 0},
		{"on a 503", 503, []string{"Retry-After", " 7 "}, 7 * time.Second},
		{"on a 404", 404, []string{"Retry-After", "7"}, 7 * time.Second},
		{"a date", 429, []string{"Retry-After", "Mon, 14 Sep 2026 12:01:30 GMT"}, 90 * time.Second},
		{"a date in the past", 429, []string{"Retry-After", "Mon, 14 Sep 2026 11:59:30 GMT"}, 0},
		{"a year", 429, []string{"Retry-After", "31536000"}, 7 * 24 * time.Hour},
		{"more than a number holds", 429, []string{"Retry-After", "99999999999999999999"}, 7 * 24 * time.Hour},
		{"negative", 429, []string{"Retry-After", "-5"}, absent},
		{"garbage", 429, []string{"Retry-After", "soon"}, absent},
		{"a fraction", 429, []string{"Retry-After", "1.5"}, absent},
		{"none", 429, nil, absent},
		{"a reset", 429, []string{"X-RateLimit-Reset", "2026-09-14T12:01:00Z"}, time.Minute},
		{"a reset without seconds", 429, []string{"X-RateLimit-Reset", "2026-09-14T12:01Z"}, time.Minute},
		{"a reset with an offset", 429, []string{"X-RateLimit-Reset", "2026-09-14T14:02+02:00"}, 2 * time.Minute},
		{"a reset in the past", 429, []string{"X-RateLimit-Reset", "2026-09-14T11:59:00Z"}, absent},
		{"a reset of garbage", 429, []string{"X-RateLimit-Reset", "noon"}, absent},
		{"a reset on a 503", 503, []string{"X-RateLimit-Reset", "2026-09-14T12:01:00Z"}, absent},
		{"both", 429, []string{"Retry-After", "3", "X-RateLimit-Reset", "2026-09-14T12:01:00Z"}, 3 * time.Second},
		{"a reset beside garbage", 429, []string{"Retry-After", "-1", "X-RateLimit-Reset", "2026-09-14T12:01:00Z"}, time.Minute},
	} {
		server, _ := counting(t, answer(row.status, "", append(row.header, "RateLimit-Reason", "jira-burst-based")...))
		_, err := newClient(t, server).Do(t.Context(), call(server.URL, "POST", "/x"))
		e := asError(t, err)
		if got := e.RetryAfter; e.HasRetryAfter != (row.want != absent) || e.HasRetryAfter && got != row.want || e.RateLimitReason != "jira-burst-based" {
			t.Errorf("%s: got %v %s, want %s", row.name, e.HasRetryAfter, got, row.want)
		}
	}
}
