package simulator

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// Client calls the control API of a simulator over HTTP. Methods return an
// [*Error] when the simulator refuses, and another error when it cannot be
// reached.
type Client struct {
	// URL is the simulator's, such as http://127.0.0.1:9470.
	URL string
	// HTTP makes the calls. Nil means http.DefaultClient. It needs no time
	// limit: Trigger lasts as long as the deliveries do.
	HTTP *http.Client
}

// State returns what the simulator is and has now.
func (c Client) State(ctx context.Context) (State, error) {
	return ask[State](ctx, c, http.MethodGet, "state", nil)
}

// Events lists the events that can be triggered without a body.
func (c Client) Events(ctx context.Context) ([]CatalogueEvent, error) {
	return ask[[]CatalogueEvent](ctx, c, http.MethodGet, "events", nil)
}

// Trigger makes an event and waits for its deliveries.
func (c Client) Trigger(ctx context.Context, r TriggerRequest) (TriggerResult, error) {
	return ask[TriggerResult](ctx, c, http.MethodPost, "trigger", r)
}

// RunScheduled runs a scheduled trigger now and waits for its delivery.
func (c Client) RunScheduled(ctx context.Context, r ScheduledRequest) (TriggerResult, error) {
	return ask[TriggerResult](ctx, c, http.MethodPost, "scheduled", r)
}

// SetSchedules switches scheduled triggers on or off.
func (c Client) SetSchedules(ctx context.Context, to Schedules) (Schedules, error) {
	return ask[Schedules](ctx, c, http.MethodPost, "schedules", to)
}

// Install installs the app and waits for the backend to be told.
func (c Client) Install(ctx context.Context, r InstallRequest) (LifecycleResult, error) {
	return ask[LifecycleResult](ctx, c, http.MethodPost, "installations", r)
}

// Lifecycle does something to an installation: upgrade, preUninstall,
// uninstall, reinstall or revoke.
func (c Client) Lifecycle(ctx context.Context, id, action string, r LifecycleRequest) (LifecycleResult, error) {
	return ask[LifecycleResult](ctx, c, http.MethodPost, "installations/"+url.PathEscape(id)+"/"+url.PathEscape(action), r)
}

// FIT makes an invocation token.
func (c Client) FIT(ctx context.Context, o FITOptions) (string, error) {
	result, err := ask[FITResult](ctx, c, http.MethodPost, "fit", o)
	return result.Token, err
}

// AddAccount makes an account known, or changes it.
func (c Client) AddAccount(ctx context.Context, a Account) (Account, error) {
	return ask[Account](ctx, c, http.MethodPost, "accounts", a)
}

// SetFault adds a fault and returns it with its id.
func (c Client) SetFault(ctx context.Context, f Fault) (Fault, error) {
	return ask[Fault](ctx, c, http.MethodPost, "faults", f)
}

// RemoveFault removes one fault.
func (c Client) RemoveFault(ctx context.Context, id int64) error {
	_, err := ask[[]Fault](ctx, c, http.MethodDelete, "faults/"+strconv.FormatInt(id, 10), nil)
	return err
}

// ClearFaults removes all faults.
func (c Client) ClearFaults(ctx context.Context) error {
	_, err := ask[[]Fault](ctx, c, http.MethodDelete, "faults", nil)
	return err
}

// SetKeySetMode makes the key set misbehave, or behave again.
func (c Client) SetKeySetMode(ctx context.Context, mode KeySetMode) error {
	_, err := ask[State](ctx, c, http.MethodPost, "keys", mode)
	return err
}

// RotateKeys adds a key, which signs from now on.
func (c Client) RotateKeys(ctx context.Context, r RotateRequest) (Key, error) {
	return ask[Key](ctx, c, http.MethodPost, "keys/rotate", r)
}

// DropKey takes a key out of the set; the zero Key means the oldest.
func (c Client) DropKey(ctx context.Context, k Key) (Key, error) {
	return ask[Key](ctx, c, http.MethodPost, "keys/drop", k)
}

// Ledger returns what the simulator has seen, waiting as q says.
func (c Client) Ledger(ctx context.Context, q LedgerQuery) (Ledger, error) {
	values := url.Values{"after": {strconv.FormatInt(q.After, 10)}, "installation": {q.Installation}, "wait": {q.Wait.String()}}
	return ask[Ledger](ctx, c, http.MethodGet, "ledger?"+values.Encode(), nil)
}

// Reset starts the simulator again with what it had at first.
func (c Client) Reset(ctx context.Context) (State, error) {
	return ask[State](ctx, c, http.MethodPost, "reset", nil)
}

// ask makes one control call and decodes its answer.
func ask[Out any](ctx context.Context, c Client, method, path string, in any) (out Out, err error) {
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return out, fmt.Errorf("encoding request to the simulator: %w", err)
		}
		body = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(c.URL, "/")+"/_sim/"+path, body)
	if err != nil {
		return out, fmt.Errorf("calling simulator: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	client := c.HTTP
	if client == nil {
		client = http.DefaultClient
	}
	res, err := client.Do(req)
	if err != nil {
		return out, fmt.Errorf("calling simulator: %w", unwrapURL(err))
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		return out, fmt.Errorf("reading the simulator's answer: %w", err)
	}
	if res.StatusCode != http.StatusOK {
		return out, refusalOf(res.StatusCode, data)
	}
	if err := json.Unmarshal(data, &out); err != nil {
		return out, fmt.Errorf("reading the simulator's answer: %w", err)
	}
	return out, nil
}

// refusalOf reads the error that sendError wrote; another server's answer
// becomes a plain one.
func refusalOf(status int, data []byte) error {
	var answer struct {
		Error struct {
			Message string `json:"message"`
		} `json:"error"`
	}
	if json.Unmarshal(data, &answer) != nil || answer.Error.Message == "" {
		return refuse(status, "calling simulator: status is %d, is it a simulator?", status)
	}
	return refuse(status, "%s", answer.Error.Message)
}
