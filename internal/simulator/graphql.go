package simulator

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"bellows/internal/manifest"
)

// Ways an exchange can fail inside an HTTP 200, see Fault.
const (
	exchangeRefused = "refused"
	exchangeError   = "error"
)

// exchangeInput is OfflineUserAuthTokenInput.
type exchangeInput struct {
	ContextIDs []string `json:"contextIds"`
	UserID     string   `json:"userId"`
}

// graphql serves /graphql: the one mutation that a remote needs.
func (s *Simulator) graphql(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		writeJSON(w, http.StatusMethodNotAllowed, map[string]any{"message": "POST only"})
		return
	}
	s.gate(w, r, "/graphql", func(c *apiCall) string {
		if c.grant.kind != kindSystem {
			return "not a system token"
		}
		return ""
	}, func(c *apiCall) []string {
		in, _ := readExchange(c.body)
		return []string{in.UserID}
	}, s.exchange)
}

// readExchange finds the input among the variables, whatever its name there.
func readExchange(body []byte) (exchangeInput, error) {
	var request struct {
		Query     string                     `json:"query"`
		Variables map[string]json.RawMessage `json:"variables"`
	}
	if err := json.Unmarshal(body, &request); err != nil {
		return exchangeInput{}, fmt.Errorf("the body is not a GraphQL request: %w", err)
	}
	if !strings.Contains(request.Query, "offlineUserAuthToken") {
		return exchangeInput{}, fmt.Errorf("the simulator has the mutation offlineUserAuthToken only")
	}
	for _, value := range request.Variables {
		var in exchangeInput
		if json.Unmarshal(value, &in) == nil && in.UserID != "" && len(in.ContextIDs) > 0 {
			return in, nil
		}
	}
	return exchangeInput{}, fmt.Errorf("variables have no input with contextIds and userId")
}

// exchange answers offlineUserAuthToken.
func (s *Simulator) exchange(c *apiCall) reply {
	in, err := readExchange(c.body)
	if err != nil {
		return reply{status: http.StatusBadRequest, body: map[string]any{"errors": []any{map[string]any{"message": err.Error()}}}}
	}
	if !s.admitExchange() {
		return reply{
			status: http.StatusTooManyRequests, header: map[string]string{"Retry-After": "60"},
			body: map[string]any{"code": http.StatusTooManyRequests, "message": "Rate limit exceeded"},
		}
	}
	i, err := s.find(c.grant.installation, "")
	if err != nil {
		return s.exchangeRefusal(err.Error())
	}
	switch account, known := s.account(in.UserID); {
	case c.fault.Exchange == exchangeError:
		return ok(map[string]any{
			"errors": []any{map[string]any{
				"path": []string{"offlineUserAuthToken"}, "message": "denied",
				"extensions": map[string]any{"statusCode": http.StatusForbidden, "errorType": "FORBIDDEN"},
			}},
			"data": map[string]any{"offlineUserAuthToken": nil},
		})
	case c.fault.Exchange == exchangeRefused, !known, account.NoImpersonation, account.Type == "app":
		return s.exchangeRefusal("User " + in.UserID + " cannot be impersonated by this app")
	case !slices.ContainsFunc(s.cfg.Manifest.Scopes, func(scope manifest.Scope) bool { return scope.AllowImpersonation }):
		return s.exchangeRefusal("No scope of the app allows impersonation (the simulator found no allowImpersonation: true in the manifest)")
	case !i.knowsContexts(in.ContextIDs):
		return s.exchangeRefusal(fmt.Sprintf("Could not load permissions for app user in the provided contextIds of [%s]", strings.Join(in.ContextIDs, ", ")))
	}
	c.entry.Carried = true
	return ok(s.exchanged(i, in.UserID))
}

// exchanged makes the token of another account.
func (s *Simulator) exchanged(i Installation, account string) map[string]any {
	life := s.cfg.life(exchangedLife)
	s.mu.Lock()
	expires := s.now().Add(life)
	token := s.newTokenLocked(grant{kind: kindExchanged, installation: i.ID, actor: account, expires: expires})
	s.mu.Unlock()
	return map[string]any{"data": map[string]any{"offlineUserAuthToken": map[string]any{
		"success": true, "errors": nil,
		"authToken": map[string]any{"token": token.Reveal(), "ttl": int(life / time.Second)},
	}}}
}

// exchangeRefusal is success:false in the shape seen in the field.
func (s *Simulator) exchangeRefusal(message string) reply {
	trace := s.random.hex(32)
	return ok(map[string]any{
		"data": map[string]any{"offlineUserAuthToken": map[string]any{
			"success": false, "errors": []any{map[string]any{"message": message}}, "authToken": nil,
		}},
		"extensions": map[string]any{"gateway": map[string]any{"request_id": s.random.uuid(), "trace_id": trace, "crossRegion": false, "edgeCrossRegion": false}},
	})
}

// knowsContexts reports whether every context is the installation's own, in
// one of the two forms that work in the field: ari:cloud:jira::site/<cloudId>
// and ari:cloud:jira:<cloudId>:workspace/<id>.
func (i Installation) knowsContexts(contexts []string) bool {
	for _, context := range contexts {
		if !slices.ContainsFunc(i.Products, func(product string) bool {
			return context == i.contextARI(product) ||
				i.CloudID != "" && strings.HasPrefix(context, "ari:cloud:"+product+":"+i.CloudID+":workspace/")
		}) {
			return false
		}
	}
	return true
}

// admitExchange counts an exchange unless the limit of the last minute is
// reached.
func (s *Simulator) admitExchange() bool {
	limit := s.cfg.exchangesPerMinute()
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	s.exchanges = slices.DeleteFunc(s.exchanges, func(at time.Time) bool { return now.Sub(at) >= time.Minute })
	if limit >= 0 && len(s.exchanges) >= limit {
		return false
	}
	s.exchanges = append(s.exchanges, now)
	return true
}
