package simulator

import (
	"cmp"
	"maps"
	"net/http"
	"slices"
	"strings"

	"bellows/internal/forge"
)

// State is what GET /_sim/state answers.
type State struct {
	PublicURL     string         `json:"publicUrl"`
	Remote        string         `json:"remote"`
	AppID         string         `json:"appId"`
	TimeScale     float64        `json:"timeScale"`
	Schedules     bool           `json:"schedules"`
	Bot           string         `json:"bot"` // the app's own account id
	Installations []Installation `json:"installations"`
	Accounts      []Account      `json:"accounts"`
	Faults        []Fault        `json:"faults"`
	Keys          []string       `json:"keys"` // key ids; the last one signs
	KeySet        KeySetMode     `json:"keySet"`
	KeySetFetches int            `json:"keySetFetches"`
}

// CatalogueEvent is one line of GET /_sim/events.
type CatalogueEvent struct {
	Event   string `json:"event"`
	Product string `json:"product"`
	Scope   string `json:"scope"`
	Kind    string `json:"kind"`
}

// Catalogue lists the events that can be triggered without a body.
func Catalogue() []CatalogueEvent {
	all := []CatalogueEvent{}
	for _, e := range forge.Events() {
		all = append(all, CatalogueEvent{Event: e.Name, Product: e.Product, Scope: e.Scope, Kind: e.Kind})
	}
	return all
}

// State returns what the simulator is and has now.
func (s *Simulator) State() State {
	kids, mode, fetches := s.keys.state()
	state := State{
		PublicURL: s.cfg.PublicURL, Remote: s.remote.String(), AppID: s.cfg.Manifest.AppID, TimeScale: s.cfg.timeScale(), Bot: s.bot,
		Installations: s.Installations(), Faults: s.faults.list(), Keys: kids, KeySet: mode, KeySetFetches: fetches,
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	state.Schedules = s.schedules
	state.Accounts = slices.SortedFunc(maps.Values(s.accounts), func(a, b Account) int { return cmp.Compare(a.ID, b.ID) })
	return state
}

// Reset forgets installations, product data, tokens, faults and the ledger, and
// starts again with what New made. Keys and the row of ids go on.
func (s *Simulator) Reset() { s.clear() }

// Key names a key of the key set.
type Key struct {
	ID string `json:"kid"`
}

// RotateRequest says how to rotate.
type RotateRequest struct {
	// DropOthers leaves the new key alone in the set: tokens signed before
	// are refused by whoever asks again.
	DropOthers bool `json:"dropOthers,omitempty"`
}

// RotateKeys adds a key, which signs from now on.
func (s *Simulator) RotateKeys(r RotateRequest) (Key, error) {
	kid, err := s.keys.rotate(r.DropOthers)
	return Key{ID: kid}, err
}

// DropKey takes a key out of the set; an empty id means the oldest. The last
// one stays.
func (s *Simulator) DropKey(k Key) (Key, error) {
	kid, err := s.keys.drop(k.ID)
	if err != nil {
		return Key{}, refuse(http.StatusConflict, "%v", err)
	}
	return Key{ID: kid}, nil
}

// SetKeySetMode makes the key set misbehave, or behave again.
func (s *Simulator) SetKeySetMode(mode KeySetMode) { s.keys.setMode(mode) }

// exPath splits /ex/<product>/<cloudId>/….
func exPath(path string) (product, cloud string, ok bool) {
	rest, ok := strings.CutPrefix(path, "/ex/")
	if !ok {
		return "", "", false
	}
	parts := strings.SplitN(rest, "/", 3)
	if len(parts) < 3 {
		return "", "", false
	}
	return parts[0], parts[1], true
}
