package rules

import (
	"encoding/json"
	"net/http"
	"strings"

	"bellows/internal/config"
)

// Answer is what a request was answered with.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// View is what expressions see of an answer: status, headers with their names
// in small letters, and body: decoded JSON, else the text, or nil when there is
// none.
func (a Answer) View() map[string]any {
	headers := make(map[string]any, len(a.Header))
	for name, values := range a.Header {
		headers[strings.ToLower(name)] = strings.Join(values, ", ")
	}
	return map[string]any{"status": int64(a.Status), "headers": headers, "body": a.body()}
}

func (a Answer) body() any {
	if len(a.Body) == 0 {
		return nil
	}
	if !json.Valid(a.Body) {
		return strings.ToValidUTF8(string(a.Body), "\ufffd")
	}
	body, err := DecodeEvent(a.Body)
	if err != nil {
		return nil // a number that no type holds
	}
	return body
}

// probe asks whether the effect of a step is there already.
type probe struct {
	request request
	present *expression
}

func (c *compiler) probe(p place, shape config.Unless, who identity) *probe {
	return &probe{
		request: c.request(p.in("unless."), shape.Request, who),
		present: c.when(p.in("unless.present").with(seesAnswer), shape.Present),
	}
}

// Probe makes the request that asks whether the step's effect is there
// already; ok is false when the step has none. It changes nothing, whatever its
// method, and may be sent again. The error is a [*Error].
func (s *Step) Probe(in Input) (call Call, ok bool, err error) {
	if s.probe == nil {
		return Call{}, false, nil
	}
	call, failed := s.probe.request.call(in.activation())
	if failed != nil {
		return Call{}, true, failed
	}
	return call, true, nil
}

// Tells reports whether an answer with the status says anything about the
// effect a probe asks for: a success, and a refusal like 404 that is not about
// the token, a limit or a fault of the server. Any other answer to a probe
// means what it means for any request.
func Tells(status int) bool {
	switch status {
	case 401, 403, 408, 425, 429:
		return false
	}
	return status/100 == 2 || status/100 == 4
}

// Found is the result of a step whose probe said that its effect is there: the
// view of the answer to the probe, and present, which no other result has.
func Found(answer Answer) map[string]any {
	view := answer.View()
	view["present"] = true
	return view
}

// Present reads the answer to a probe, one of those that [Tells]: true says
// that the effect is there and the step is done. The error is a [*Error], also
// when the condition asks for a member that the answer lacks.
func (s *Step) Present(in Input, answer Answer) (bool, error) {
	if s.probe == nil {
		return false, nil
	}
	vars := in.activation()
	vars["answer"] = answer.View()
	present, failed := s.probe.present.truth(vars)
	if failed != nil {
		return false, failed
	}
	return present, nil
}
