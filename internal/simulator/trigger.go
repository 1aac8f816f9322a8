package simulator

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"

	"bellows/internal/manifest"
)

// TriggerRequest asks for an event to be made and delivered. Only Event is
// needed.
type TriggerRequest struct {
	// Event is a name such as avi:jira:created:issue.
	Event string `json:"event"`
	// Installation is an id; empty means the newest one in the event's product.
	Installation string `json:"installation,omitempty"`
	// Set changes the payload: dotted path (an index in a list is a number, a
	// dot in a name is written \.) to value.
	Set map[string]any `json:"set,omitempty"`
	// Body is sent instead of a made payload, with Set applied if it is an
	// object.
	Body json.RawMessage `json:"body,omitempty"`
	// Raw is sent as it is, whatever it is; it wins over Body.
	Raw *string `json:"raw,omitempty"`
	// ContentType defaults to application/json.
	ContentType string `json:"contentType,omitempty"`
	// Times is how many events are made one after the other. Zero means 1.
	Times int `json:"times,omitempty"`
	// Target delivers to another backend. A URL with a path is called as it
	// stands; otherwise the manifest's paths are used under it.
	Target string `json:"target,omitempty"`
	// FIT sets claims of the invocation token that calls of this kind do not
	// usually have; its Installation, Product and Faults are ignored.
	FIT FITOptions `json:"fit,omitzero"`

	DeliveryOptions
}

// TriggerResult says what became of the deliveries: one for every trigger
// module that wants the event, times Times.
type TriggerResult struct {
	Deliveries []Delivery `json:"deliveries"`
}

// Delivered reports whether there was a delivery and every one of them was
// answered with 2xx in the end.
func (r TriggerResult) Delivered() bool {
	for _, d := range r.Deliveries {
		if d.Outcome != OutcomeDelivered {
			return false
		}
	}
	return len(r.Deliveries) > 0
}

// Trigger makes an event and delivers it as Forge would. It returns when every
// delivery has got a 2xx or has been given up, or when ctx ends. Errors are
// about the request; a backend that refuses is in the result.
func (s *Simulator) Trigger(ctx context.Context, r TriggerRequest) (TriggerResult, error) {
	var result TriggerResult
	i, err := s.find(r.Installation, productOf(r.Event))
	if err != nil {
		return result, err
	}
	calls, err := s.callsFor(r, i)
	if err != nil {
		return result, err
	}
	for range max(r.Times, 1) {
		body, err := s.payload(r, i)
		if err != nil {
			return result, err
		}
		for _, c := range calls {
			c.body = body
			result.Deliveries = append(result.Deliveries, s.deliver(ctx, c))
		}
		if ctx.Err() != nil {
			break
		}
	}
	return result, nil
}

// callsFor finds who wants an event: a call without body for each trigger
// module, or one for a target that is a whole URL.
func (s *Simulator) callsFor(r TriggerRequest, i Installation) ([]call, error) {
	for _, name := range r.Faults {
		if _, ok := findFault(name); !ok {
			return nil, refuse(http.StatusBadRequest, "triggering: there is no fault %q", name)
		}
	}
	hooks, remote, exact, err := s.hooksAt(r.Target)
	if err != nil {
		return nil, err
	}
	plain := call{
		Delivery:        Delivery{Event: r.Event, Installation: i.ID},
		DeliveryOptions: r.DeliveryOptions, contentType: r.ContentType, product: i.in(productOf(r.Event)), fit: r.FIT,
	}
	var calls []call
	for _, h := range hooks {
		for _, t := range h.Triggers {
			if !slices.Contains(t.Events, r.Event) {
				continue
			}
			c := plain
			c.Endpoint, c.Trigger, c.systemToken = h.Endpoint, t.Key, h.SystemToken
			c.URL = urlOf(remote, h, exact)
			calls = append(calls, c)
		}
	}
	if calls == nil && exact {
		plain.Endpoint, plain.URL, plain.systemToken = "endpoint", remote.String(), true
		calls = []call{plain}
	}
	if calls == nil {
		return nil, refuse(http.StatusConflict, "triggering %q: no trigger of the manifest names it", r.Event)
	}
	return calls, nil
}

// hooksAt returns the hooks and the base they are at: the backend's, or the
// target's. exact says that the target is to be called as it stands.
func (s *Simulator) hooksAt(target string) (hooks []manifest.Hook, remote *url.URL, exact bool, err error) {
	if target == "" {
		return s.hooks, s.remote, false, nil
	}
	u, err := url.Parse(target)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil {
		return nil, nil, false, refuse(http.StatusBadRequest, "reading target: want http(s)://host[:port][/path] without a user")
	}
	if ownPath(u) != nil || u.RawQuery != "" {
		return s.hooks, u, true, nil
	}
	hooks, err = s.cfg.Manifest.Hooks(nil)
	if err != nil {
		return nil, nil, false, refuse(http.StatusConflict, "reading paths of the manifest: %v", err)
	}
	return hooks, u, false, nil
}

// urlOf puts the path of a hook under a remote.
func urlOf(remote *url.URL, h manifest.Hook, exact bool) string {
	u := *remote
	if !exact {
		u.Path, u.RawPath = h.Path, ""
	}
	return u.String()
}

// payload makes the body of one event.
func (s *Simulator) payload(r TriggerRequest, i Installation) ([]byte, error) {
	if r.Raw != nil {
		return []byte(*r.Raw), nil
	}
	if len(r.Body) == 0 {
		event, err := s.makeEvent(r.Event, i, r.Set)
		if err != nil {
			return nil, err
		}
		return json.Marshal(event)
	}
	if len(r.Set) == 0 {
		return r.Body, nil
	}
	var body any
	if err := json.Unmarshal(r.Body, &body); err != nil {
		return nil, refuse(http.StatusBadRequest, "reading body: %v", err)
	}
	body, err := setAll(body, r.Set)
	if err != nil {
		return nil, err
	}
	return json.Marshal(body)
}

// ScheduledRequest asks for a scheduled trigger to be run now.
type ScheduledRequest struct {
	// Key is the scheduled trigger's; it may be empty if there is only one.
	Key string `json:"key,omitempty"`
	// Installation is an id; empty means the newest one.
	Installation string `json:"installation,omitempty"`
	// Empty sends an empty body instead of an object with the context; both
	// are plausible, as no document shows what a remote gets.
	Empty bool `json:"empty,omitempty"`

	DeliveryOptions
}

// RunScheduled runs a scheduled trigger now and returns when its delivery has
// ended.
func (s *Simulator) RunScheduled(ctx context.Context, r ScheduledRequest) (TriggerResult, error) {
	i, err := s.find(r.Installation, "")
	if err != nil {
		return TriggerResult{}, err
	}
	var calls []call
	for _, h := range s.hooks {
		for _, t := range h.Scheduled {
			if r.Key == "" || r.Key == t.Key {
				calls = append(calls, s.scheduledCall(h, t.Key, i, r))
			}
		}
	}
	switch {
	case len(calls) == 0:
		return TriggerResult{}, refuse(http.StatusNotFound, "running scheduled trigger: the manifest has no %q that calls an endpoint", r.Key)
	case len(calls) > 1:
		return TriggerResult{}, refuse(http.StatusBadRequest, "running scheduled trigger: the manifest has %d, name one", len(calls))
	}
	return TriggerResult{Deliveries: []Delivery{s.deliver(ctx, calls[0])}}, nil
}

func (s *Simulator) scheduledCall(h manifest.Hook, key string, i Installation, r ScheduledRequest) call {
	c := call{
		Delivery:        Delivery{Event: "scheduled", Installation: i.ID, Endpoint: h.Endpoint, Trigger: key, URL: urlOf(s.remote, h, false)},
		DeliveryOptions: r.DeliveryOptions, product: i.Products[0], systemToken: h.SystemToken,
	}
	if !r.Empty {
		c.body = contextBody(i, key)
	}
	return c
}

// contextBody is what functions are documented to get for schedules and
// uninstalls, less the context token, which is of no use to a remote.
func contextBody(i Installation, moduleKey string) []byte {
	inner := map[string]any{"moduleKey": moduleKey}
	if i.CloudID != "" {
		inner["cloudId"] = i.CloudID
	}
	body, err := json.Marshal(map[string]any{"context": inner})
	if err != nil {
		panic(err) // strings are always encodable
	}
	return body
}

// unwrapURL leaves out the URL that net/http puts into its errors: a target
// may have a query.
func unwrapURL(err error) error {
	var inner *url.Error
	if errors.As(err, &inner) {
		return inner.Err
	}
	return err
}
