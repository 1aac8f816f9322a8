package simulator

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

// largestRequest is what the APIs read of a request: 10 MiB.
const largestRequest = 10 << 20

// reasonHeader tells a person why the simulator refuses a call, where the real
// gateway says no more than "Unauthorized".
const reasonHeader = "X-Simulator-Reason"

// apiCall is a call on its way through the gateway.
type apiCall struct {
	entry APICall
	grant grant
	body  []byte
	fault Fault
}

// product serves /ex/<product>/<cloudId>/….
func (s *Simulator) product(w http.ResponseWriter, r *http.Request, product, cloudID string) {
	base := "/ex/" + product + "/" + cloudID
	path := strings.TrimPrefix(r.URL.EscapedPath(), base)
	version := jiraVersion(path)
	routes := map[string][]route{jira: jiraRoutes, confluence: wikiRoutes}[product]
	if version == "" {
		routes = nil
	}
	s.gate(w, r, path, func(c *apiCall) string {
		return s.foreign(c.grant, product, cloudID)
	}, nil, func(c *apiCall) reply {
		s.mu.Lock()
		st := s.sites[cloudID]
		s.mu.Unlock()
		actor, _ := s.account(c.grant.actor)
		q := &apiRequest{
			site: st, actor: actor, people: s.account, method: r.Method, path: path, base: s.cfg.PublicURL + base,
			version: version, query: r.URL.Query(), body: c.body, now: s.now(),
		}
		answer, others := dispatch(routes, q)
		if answer.status == 0 {
			return unknownRoute(r.Method, path, others)
		}
		c.entry.Carried = true
		return answer
	})
}

// jiraVersion is the segment after /rest/api: "2" or "3". The alias "latest"
// is version 2; another one is "".
func jiraVersion(path string) string {
	rest, ok := strings.CutPrefix(path, "/rest/api/")
	version, _, _ := strings.Cut(rest, "/")
	switch {
	case !ok || version == "latest":
		return "2"
	case version == "2" || version == "3":
		return version
	}
	return ""
}

// unknownRoute says that the simulator, not Atlassian, lacks something.
func unknownRoute(method, path string, others []string) reply {
	status, hint := http.StatusNotFound, ""
	if len(others) > 0 {
		status, hint = http.StatusMethodNotAllowed, "; it has "+strings.Join(others, ", ")
	}
	answer := jiraError(status, fmt.Sprintf("the simulator does not have %s %s%s", method, path, hint))
	answer.header = map[string]string{reasonHeader: "unknown route"}
	return answer
}

// gate reads a call, refuses it if its token does not do or refused says so,
// lets faults have their way, and serves it.
// accounts, which may be nil, names more accounts that a fault may be for.
func (s *Simulator) gate(w http.ResponseWriter, r *http.Request, path string,
	refused func(*apiCall) string, accounts func(*apiCall) []string, serve func(*apiCall) reply,
) {
	c := &apiCall{entry: APICall{At: s.now(), Method: r.Method, Path: r.URL.EscapedPath(), Query: r.URL.RawQuery}}
	var err error
	if c.body, err = io.ReadAll(http.MaxBytesReader(w, r.Body, largestRequest)); err != nil {
		s.answer(w, c, reply{status: http.StatusRequestEntityTooLarge, body: map[string]any{"code": http.StatusRequestEntityTooLarge, "message": "Request body is too large or was cut off"}})
		return
	}
	c.entry.Body = string(c.body[:min(len(c.body), ledgerBody)])
	c.grant, c.entry.Refused = s.authorize(r)
	if c.entry.Refused == "" {
		c.entry.Refused = refused(c)
	}
	c.entry.Installation, c.entry.Actor = c.grant.installation, c.grant.actor
	c.entry.Token, c.entry.TokenDigest = c.grant.kind, c.grant.digest
	if c.entry.Refused != "" {
		s.log.Info("refused API call", "method", r.Method, "path", path, "why", c.entry.Refused)
		s.answer(w, c, reply{
			status: http.StatusUnauthorized, header: map[string]string{reasonHeader: c.entry.Refused, "WWW-Authenticate": "Bearer"},
			body: map[string]any{"code": http.StatusUnauthorized, "message": "Unauthorized"},
		})
		return
	}
	meant := []string{c.grant.actor}
	if accounts != nil {
		meant = append(meant, accounts(c)...)
	}
	c.fault, _ = s.faults.take(r.Method, path, c.grant.installation, meant...)
	c.entry.Fault = c.fault.ID
	s.serveFaulty(w, r, c, serve)
}

// serveFaulty serves a call as its fault says; the zero fault says nothing.
func (s *Simulator) serveFaulty(w http.ResponseWriter, r *http.Request, c *apiCall, serve func(*apiCall) reply) {
	f := c.fault
	replaced := f.Drop || f.Status != 0
	var answer reply
	if f.Effect {
		answer = serve(c)
	}
	if !pause(r.Context(), time.Duration(f.DelayMS)*time.Millisecond) || f.Drop {
		s.ledger.addCall(c.entry)
		panic(http.ErrAbortHandler) // net/http's way to close a connection without an answer
	}
	switch {
	case replaced:
		answer = f.answer()
	case !f.Effect:
		answer = serve(c)
	}
	if !replaced && f.Headers != nil {
		answer.header = maps.Clone(answer.header)
		if answer.header == nil {
			answer.header = map[string]string{}
		}
		maps.Copy(answer.header, f.Headers)
	}
	s.answer(w, c, answer)
}

// answer writes the call into the ledger, so that whoever has the answer finds
// it there, and sends the reply.
func (s *Simulator) answer(w http.ResponseWriter, c *apiCall, r reply) {
	c.entry.Status = r.status
	s.ledger.addCall(c.entry)
	for _, name := range slices.Sorted(maps.Keys(r.header)) {
		w.Header().Set(name, r.header[name])
	}
	if text, raw := r.body.(rawText); raw {
		w.WriteHeader(r.status)
		_, _ = io.WriteString(w, string(text)) // the caller has gone: nobody is left to tell
		return
	}
	writeJSON(w, r.status, r.body)
}
