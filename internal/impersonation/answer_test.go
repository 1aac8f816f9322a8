package impersonation_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"bellows/internal/atlassian"
	"bellows/internal/impersonation"
)

func refusal(messages ...string) string {
	var errs []map[string]string
	for _, m := range messages {
		errs = append(errs, map[string]string{"message": m})
	}
	text, _ := json.Marshal(map[string]any{
		"data":       map[string]any{"offlineUserAuthToken": map[string]any{"success": false, "errors": errs, "authToken": nil}},
		"extensions": map[string]any{"gateway": map[string]any{"request_id": "1"}},
	})
	return string(text)
}

func topLevel(extensions string) string {
	return `{"errors":[{"path":["offlineUserAuthToken"],"message":"denied","extensions":{` + extensions + `}}],"data":{"offlineUserAuthToken":null}}`
}

// Each row is an answer and the error in short: "refused MESSAGE", "limited
// WAIT", or "status N".
func TestEveryAnswerWithoutATokenHasItsError(t *testing.T) {
	for _, row := range []struct {
		name   string
		status int
		header []string
		body   string
		want   string
	}{
		{"refused", 200, nil, refusal("no access", "ask"), "refused no access; ask"},
		{"refused without a reason", 200, nil, `{"data":{"offlineUserAuthToken":{"success":false,"errors":null,"authToken":null}}}`, "refused the gateway gave no reason"},
		{"refused, with a strange error", 200, nil, `{"data":{"offlineUserAuthToken":{"success":false,"errors":["x"],"authToken":null}}}`, "refused the gateway gave no reason"},
		{"refused because of a limit", 200, nil, `{"data":{"offlineUserAuthToken":{"success":false,"errors":[{"message":"slow","extensions":{"statusCode":429}}],"authToken":null}}}`, "limited 15s"},
		{"refused because of a fault", 200, nil, `{"data":{"offlineUserAuthToken":{"success":false,"errors":[{"message":"down","extensions":{"statusCode":503}}],"authToken":null}}}`, "status 503"},
		{"top level, forbidden", 200, nil, topLevel(`"statusCode":403,"errorType":"FORBIDDEN"`), "status 403"},
		{"top level, unauthorized", 200, nil, topLevel(`"statusCode":401`), "status 401"},
		{"top level, by type alone", 200, nil, topLevel(`"errorType":"UNAUTHORIZED"`), "status 401"},
		{"top level, status as text", 200, nil, topLevel(`"statusCode":"500"`), "status 500"},
		{"top level, limit", 200, []string{"Retry-After", "9"}, topLevel(`"statusCode":429`), "limited 9s"},
		{"top level, limit by type", 200, nil, topLevel(`"errorType":"RATE_LIMITED"`), "limited 15s"},
		{"top level, nothing known", 200, nil, topLevel(``), "status 200"},
		{"success without a token", 200, nil, `{"data":{"offlineUserAuthToken":{"success":true,"errors":null,"authToken":null}}}`, "status 200"},
		{"success with an empty token", 200, nil, `{"data":{"offlineUserAuthToken":{"success":true,"authToken":{"token":"","ttl":3600}}}}`, "status 200"},
		{"a token without success", 200, nil, `{"data":{"offlineUserAuthToken":{"authToken":{"token":"t","ttl":3600}}}}`, "status 200"},
		{"no data", 200, nil, `{"data":null}`, "status 200"},
		{"a list", 200, nil, `[]`, "status 200"},
		{"no JSON", 200, nil, `<html>sign in</html>`, "status 200"},
		{"nothing", 200, nil, ``, "status 200"},
		{"a redirect", 302, []string{"Location", "https://evil.example"}, ``, "status 302"},
		{"bad query", 400, nil, `{"errors":[{"message":"Validation error"}]}`, "status 400"},
		{"bad token", 401, nil, `{"code":401,"message":"Unauthorized"}`, "status 401"},
		{"limit", 429, []string{"Retry-After", "0"}, ``, "limited 0s"},
		{"limit without a wait", 429, nil, `slow down`, "limited 15s"},
		{"limit with a broken wait", 429, []string{"Retry-After", "-3"}, ``, "limited 15s"},
		{"limit with a long wait", 429, []string{"Retry-After", "999999999999999999999"}, ``, "limited 1h0m0s"},
		{"down", 500, nil, `{"message":"down"}`, "status 500"},
		{"down, with a token in the answer", 500, nil, `{"data":{"offlineUserAuthToken":{"success":true,"authToken":{"token":"` + userToken(1) + `","ttl":1}}},"errors":[{"message":"` + userToken(1) + " " + systemToken + `"}]}`, "status 500"},
		{"down for a while", 503, []string{"Retry-After", "4"}, `<html>`, "status 503 again in 4s"},
	} {
		b := newBench(t)
		b.gateway.say(row.status, row.body, row.header...)
		_, _, err := b.worker(t).Token(t.Context(), request())
		if got := inShort(err); got != row.want {
			t.Errorf("%s: got %q (%v), want %q", row.name, got, err, row.want)
		}
		if text := fmt.Sprintf("%v", err); strings.Contains(text, systemToken) || strings.Contains(text, userToken(1)) {
			t.Errorf("%s: the error shows a token: %s", row.name, text)
		}
	}
}

func inShort(err error) string {
	var refused *impersonation.RefusedError
	var limited *impersonation.LimitedError
	var upstream *impersonation.UpstreamError
	switch {
	case errors.As(err, &refused):
		return "refused " + refused.Message
	case errors.As(err, &limited):
		return "limited " + limited.RetryAfter.String()
	case errors.As(err, &upstream) && upstream.Sent:
		text := fmt.Sprintf("status %d", upstream.Status)
		if upstream.HasRetryAfter {
			text += " again in " + upstream.RetryAfter.String()
		}
		return text
	}
	return fmt.Sprint(err)
}

func TestAMessageIsBounded(t *testing.T) {
	b := newBench(t)
	b.gateway.say(200, refusal(strings.Repeat("ä\n", 10_000)+systemToken))
	_, _, err := b.worker(t).Token(t.Context(), request())
	if !isRefused(err) || len(err.Error()) > 400 || strings.Contains(err.Error(), "\n") {
		t.Errorf("got %d bytes: %v", len(err.Error()), err)
	}
}

func TestAGatewayThatIsAwayIsNotSent(t *testing.T) {
	for name, break_ := range map[string]struct {
		do   func(*gateway)
		sent bool
	}{
		"nobody listens": {func(g *gateway) { g.Close() }, false},
		"cut off": {func(g *gateway) {
			g.behave(func(asked, int) (int, map[string]string, string) { panic(http.ErrAbortHandler) })
		}, true},
	} {
		b := newBench(t)
		break_.do(b.gateway)
		started := time.Now()
		_, _, err := b.worker(t).Token(t.Context(), request())
		var upstream *impersonation.UpstreamError
		var cause *atlassian.Error
		if !errors.As(err, &upstream) || upstream.Sent != break_.sent || upstream.Status != 0 || !errors.As(err, &cause) || time.Since(started) > 5*time.Second {
			t.Errorf("%s: got %v after %s", name, err, time.Since(started))
		}
	}
}
