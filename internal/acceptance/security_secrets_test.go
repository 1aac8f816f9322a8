package acceptance

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// loudRules make every sort of call: as the app and as a user, in one step and
// in several.
const loudRules = `version: 1
rules:
  - name: comment
    on: avi:jira:created:issue
    max_attempts: 2
    steps:
      - request: {method: POST, path: "/rest/api/3/issue/${event.issue.key}/comment", body: {job: "${job.id}"}}
  - name: as-user
    on: avi:jira:deleted:issue
    as: {user: event.atlassianId}
    steps:
      - request: {method: PUT, path: "/rest/api/3/issue/${event.issue.key}/watch"}
  - name: look-and-tell
    on: avi:jira:updated:issue
    steps:
      - name: look
        request: {method: GET, path: "/rest/api/3/issue/${event.issue.key}"}
      - name: tell
        request: {method: POST, path: "/rest/api/3/issue/${event.issue.key}/tell", body: {seen: "${steps.look.status}"}}
`

// echo answers as a proxy does that shows what it was sent: the status is the
// number at the end of the issue's key, and the body and a header hold the
// Authorization header. ECHO-400-PAD-300 puts 300 letters before it, so that
// wherever a text is cut, it is once cut inside a token.
func echo(w http.ResponseWriter, r *http.Request, call apiCall) bool {
	code, pad := 200, 0
	for _, part := range strings.Split(call.Path, "/") {
		if n, _ := fmt.Sscanf(part, "ECHO-%d-PAD-%d", &code, &pad); n > 0 {
			break
		}
	}
	if strings.HasSuffix(call.Path, "-X/tell") { // a second step that fails behind a first that did not
		code = http.StatusUnprocessableEntity
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Echo", r.Header.Get("Authorization"))
	if code == http.StatusTooManyRequests {
		w.Header().Set("Retry-After", "600")
	}
	w.WriteHeader(code)
	_, _ = io.WriteString(w, jsonText(object{"errorMessages": []string{strings.Repeat("p", pad) + "request was: Authorization: " + r.Header.Get("Authorization")}}))
	return true
}

// crowd is what TestNoTokenIsSeenAnywhere sends and keeps.
type crowd struct {
	*house
	in      *process
	site    site
	hidden  secrets
	answers []string
}

// say sends an event with tokens of its own, and remembers them.
func (c *crowd) say(what, body string, header http.Header) answer {
	c.t.Helper()
	fit := c.hidden.token("the invocation token of "+what, sign(c.forge.key, fitHeader(), c.site.fitClaims("events")))
	oauth := c.hidden.token("the system token of "+what, c.forge.systemToken(c.site, time.Now().Add(time.Hour+time.Duration(len(c.hidden))*time.Second)))
	a := c.deliver(c.in, delivery{Site: c.site, FIT: fit, Token: oauth, Body: body, Header: header})
	c.answers = append(c.answers, a.Text+fmt.Sprint(a.Header))
	return a
}

// accepted is say for an event that must be stored; it returns the job's id.
func (c *crowd) accepted(what, body string) string {
	c.t.Helper()
	a := c.say(what, body, nil)
	if a.Status != http.StatusAccepted {
		c.t.Fatalf("%s: got %d %s", what, a.Status, a.Text)
	}
	return a.ID
}

// refused sends what ingest refuses in one way or another.
func (c *crowd) refused() {
	c.t.Helper()
	contextToken := c.hidden.token("a context token", sign(c.forge.key, object{"alg": "RS256"}, object{"iss": "forge/context-token", "jti": randomHex(40)}))
	elsewhere := `{"context":"ari:cloud:jira::site/elsewhere","contextToken":"` + contextToken + `"}`
	if a := c.say("another tenant", elsewhere, nil); a.Status != http.StatusForbidden {
		c.t.Errorf("another tenant: got %d", a.Status)
	}
	c.accepted("an event with a context token", strings.Replace(issueEvent("avi:jira:created:issue", "ECHO-200"), "{", `{"contextToken":"`+contextToken+`","a":{"contextToken":"`+contextToken+`"},`, 1))
	c.accepted("text with a context token", `{"contextToken":"`+contextToken+`"`)
	user := c.hidden.token("a user token", c.forge.systemToken(c.site, time.Now().Add(time.Hour)))
	c.say("a call with a user token", issueEvent("avi:jira:viewed:issue", "X-1"), http.Header{"X-Forge-Oauth-User": {user}, "Cookie": {"session=" + user}, "X-Forwarded-Authorization": {"Bearer " + user}})
	for what, change := range map[string]func(object) object{
		"an expired token":        func(o object) object { return with(o, "exp", 1) },
		"a token of another app":  func(o object) object { return with(o, "aud", "other") },
		"a token of a front end":  func(o object) object { return with(o, "principal", "somebody") },
		"a token with a long jti": func(o object) object { return with(o, "jti", strings.Repeat("long-jti-", 300)) },
	} {
		fit := c.hidden.token(what, sign(c.forge.key, fitHeader(), change(c.site.fitClaims("events"))))
		a := c.post(c.in, "/forge/events", bearer(fit), "{}", c.hidden.token("the system token of "+what, c.forge.systemToken(c.site, time.Now().Add(time.Hour))))
		c.answers = append(c.answers, a.Text+fmt.Sprint(a.Header))
	}
	broken := c.hidden.token("a token that is none", randomHex(40)+"."+randomHex(40)+"."+randomHex(40))
	a := c.post(c.in, "/forge/events?token="+broken, []string{"Basic " + broken}, "{}", broken)
	c.answers = append(c.answers, a.Text+fmt.Sprint(a.Header))
}

// exchangesEcho hides the tokens that accounts get, and has two accounts refused in
// words that show the token it was asked with.
func (c *crowd) exchangesEcho() {
	const account = "557058:user-1"
	for n := 1; n < 10; n++ {
		c.hidden[fmt.Sprintf("exchanged token %d", n)] = userToken(account, n)
	}
	c.api.exchangeWith(func(w http.ResponseWriter, asked string, n int) {
		exchanges := c.api.exchanged()
		asking := exchanges[len(exchanges)-1].Header.Get("Authorization")
		w.Header().Set("Content-Type", "application/json")
		switch asked {
		case "refused":
			_, _ = io.WriteString(w, jsonText(object{"data": object{"offlineUserAuthToken": object{
				"success": false, "errors": []any{object{"message": "no: " + asking}}, "authToken": nil}}}))
		case "broken":
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, jsonText(object{"errors": []any{object{"message": "no: " + asking}}}))
		default:
			_, _ = io.WriteString(w, jsonText(object{"data": object{"offlineUserAuthToken": object{
				"success": true, "errors": []any{}, "authToken": object{"token": userToken(asked, n), "ttl": 3600}}}}))
		}
	})
}

func newCrowd(t *testing.T) *crowd {
	h := newHouse(t, setup{Rules: loudRules})
	c := &crowd{house: h, in: h.ingest(), site: h.newSite(), hidden: secrets{}}
	key, err := os.ReadFile(h.vaultKey)
	must(t, err)
	c.hidden["the vault's private key"] = strings.TrimSpace(string(key))
	c.exchangesEcho()
	h.api.answerWith(echo)
	return c
}

func TestNoTokenIsSeenAnywhere(t *testing.T) {
	c := newCrowd(t)
	worker := c.worker()
	var dead []string
	for _, status := range []int{400, 401, 403, 404, 409, 501} {
		dead = append(dead, c.accepted(fmt.Sprintf("a call answered %d", status), issueEvent("avi:jira:created:issue", fmt.Sprintf("ECHO-%d", status))))
	}
	dead = append(dead, c.accepted("a call whose answer is lost", issueEvent("avi:jira:created:issue", "ECHO-502")))
	dead = append(dead, c.accepted("a user's call answered 400", issueEvent("avi:jira:deleted:issue", "ECHO-400")))
	for _, account := range []string{"refused", "broken"} {
		dead = append(dead, c.accepted("an exchange "+account, strings.Replace(issueEvent("avi:jira:deleted:issue", "ECHO-200"), "557058:user-1", account, 1)))
	}
	for pad := 100; pad <= 2500; pad += 200 {
		dead = append(dead, c.accepted(fmt.Sprintf("a call whose answer is cut, %d", pad), issueEvent("avi:jira:created:issue", fmt.Sprintf("ECHO-400-PAD-%d", pad))))
	}
	c.accepted("a call answered 429", issueEvent("avi:jira:created:issue", "ECHO-429"))
	c.accepted("two steps", issueEvent("avi:jira:updated:issue", "ECHO-200"))
	dead = append(dead, c.accepted("two steps, the first dead", issueEvent("avi:jira:updated:issue", "ECHO-422")))
	dead = append(dead, c.accepted("two steps, the second dead", issueEvent("avi:jira:updated:issue", "ECHO-200-X")))
	c.accepted("a user's call", issueEvent("avi:jira:deleted:issue", "ECHO-201"))
	c.accepted("a call done", issueEvent("avi:jira:created:issue", "ECHO-201"))
	c.refused()
	for _, id := range dead {
		c.letterOf(id, 10*time.Second)
	}
	eventually(t, 10*time.Second, func() string {
		s := c.stats()
		return expect("jobs that wait or run", s.Waiting+s.Running, 0)
	})

	found := c.stored()
	for n, text := range c.answers {
		found[fmt.Sprintf("answer %d", n)] = text
	}
	for _, p := range []*process{c.in, worker} {
		for where, text := range p.shown() {
			found[where] = text
		}
	}
	for where, text := range c.told(dead) {
		found[where] = text
	}
	for where, text := range found {
		c.hidden.in(t, where, text)
	}
	c.checkThatTheScanSees(found, dead)
}

// told is what the tool says of it all, in both forms.
func (c *crowd) told(dead []string) map[string]string {
	c.t.Helper()
	found := map[string]string{}
	commands := [][]string{{"dlq", "list"}, {"status"}, {"installations"}, {"dlq", "replay", "--all", "--dry-run"}}
	for _, id := range dead {
		commands = append(commands, []string{"dlq", "show", id})
	}
	if _, err := os.Stat(filepath.Join(binaries, "bellows")); err != nil {
		c.t.Errorf("the tool was not built: %v", err)
		return found
	}
	for _, command := range commands {
		for _, form := range [][]string{command, append(append([]string(nil), command...), "--json")} {
			stdout, stderr, code := c.bellows(form...)
			if code != 0 {
				c.t.Errorf("bellows %v ended with %d: %s", form, code, stderr)
			}
			found["bellows "+strings.Join(form, " ")] = stdout + stderr
		}
	}
	return found
}

// checkThatTheScanSees makes sure that what was searched holds what it should:
// a search of nothing finds nothing.
func (c *crowd) checkThatTheScanSees(found map[string]string, dead []string) {
	c.t.Helper()
	all := strings.Builder{}
	for _, text := range found {
		all.WriteString(text)
	}
	for _, id := range dead {
		if !strings.Contains(all.String(), id) {
			c.t.Errorf("job %s is nowhere to be seen", id)
		}
	}
	for _, want := range []string{"KV_BELLOWS_TOKENS message", "KV_BELLOWS_EXCHANGED message", "BELLOWS_DLQ message", "BELLOWS_EFFECTS message", "ingest's /metrics", "worker's log"} {
		seen := false
		for where := range found {
			seen = seen || strings.Contains(where, want)
		}
		if !seen {
			c.t.Errorf("nothing of %q was searched", want)
		}
	}
	echoed := 0
	for _, call := range c.api.made("") {
		if strings.Contains(fmt.Sprint(c.hidden), call.Token) {
			echoed++
		}
	}
	if echoed < 10 {
		c.t.Errorf("only %d calls used a token that was searched for", echoed)
	}
}
