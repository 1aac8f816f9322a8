package acceptance

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"bellows/internal/secret"
	"bellows/internal/store"
	"bellows/internal/vault"
)

// trap is an address that nobody may call.
type trap struct {
	*httptest.Server
	calls atomic.Int64
}

func newTrap(t testing.TB) *trap {
	s := &trap{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { s.calls.Add(1) }))
	t.Cleanup(s.Close)
	return s
}

// streamState tells whether anything was written to a stream, or taken away.
type streamState struct {
	Messages uint64 `json:"messages"`
	First    uint64 `json:"first_seq"`
	Last     uint64 `json:"last_seq"`
}

// jetStream asks the JetStream API.
func (h *house) jetStream(subject string, request, answer any) {
	h.t.Helper()
	var body []byte
	if request != nil {
		body = []byte(jsonText(request))
	}
	m, err := h.jobQueue().NATS().Request("$JS.API."+subject, body, 5*time.Second)
	must(h.t, err)
	must(h.t, json.Unmarshal(m.Data, answer))
}

// streams is the state of every stream there is, those of buckets included.
func (h *house) streams() map[string]streamState {
	h.t.Helper()
	var names struct{ Streams []string }
	h.jetStream("STREAM.NAMES", nil, &names)
	if len(names.Streams) < 8 {
		h.t.Fatalf("there are only the streams %v", names.Streams)
	}
	states := map[string]streamState{}
	for _, name := range names.Streams {
		var info struct{ State streamState }
		h.jetStream("STREAM.INFO."+name, nil, &info)
		states[name] = info.State
	}
	return states
}

// stored is every message of every stream: subject, headers and data.
func (h *house) stored() map[string]string {
	h.t.Helper()
	found := map[string]string{}
	for name, state := range h.streams() {
		for n := state.First; n <= state.Last; n++ {
			var m struct {
				Message struct {
					Subject string
					Hdrs    []byte
					Data    []byte
				}
			}
			h.jetStream("STREAM.MSG.GET."+name, object{"seq": n}, &m)
			if m.Message.Subject != "" {
				found[fmt.Sprintf("%s message %d", name, n)] = m.Message.Subject + "\n" + string(m.Message.Hdrs) + "\n" + string(m.Message.Data)
			}
		}
	}
	return found
}

// unchanged fails the test when anything was written since before.
func (h *house) unchanged(before map[string]streamState, after string) {
	h.t.Helper()
	now := h.streams()
	for name, state := range now {
		if state != before[name] {
			h.t.Errorf("%s: stream %s is %+v, was %+v", after, name, state, before[name])
		}
	}
	if len(now) != len(before) {
		h.t.Errorf("%s: there are %d streams, were %d", after, len(now), len(before))
	}
}

// secrets are texts that must not be seen, by what they are.
type secrets map[string]string

// token adds a token: as a whole, the parts that nobody else has, and the
// beginning of one, which is what is left of it where a text was cut.
func (s secrets) token(what, text string) string {
	s[what] = text
	parts := strings.Split(text, ".")
	if len(parts) == 3 && len(parts[1]) > 40 && len(parts[2]) > 40 {
		s[what+" (claims)"], s[what+" (signature)"], s[what+" (beginning of claims)"] = parts[1], parts[2], parts[1][:40]
	}
	return text
}

// in fails the test for each secret that text shows, as it is or in another
// spelling.
func (s secrets) in(t testing.TB, where, text string) {
	t.Helper()
	for _, what := range slices.Sorted(maps.Keys(s)) {
		for spelling, form := range spellings(s[what]) {
			if at := strings.Index(text, form); at >= 0 {
				t.Errorf("%s shows %s (%s), after …%s", where, what, spelling, tail(text[:at], 120))
				break
			}
		}
	}
}

func spellings(text string) map[string]string {
	return map[string]string{
		"as it is": text, "base64": base64.RawStdEncoding.EncodeToString([]byte(text)),
		"base64url": base64.RawURLEncoding.EncodeToString([]byte(text)), "hex": hex.EncodeToString([]byte(text)),
	}
}

// shown is everything a daemon shows of itself.
func (p *process) shown() map[string]string {
	found := map[string]string{p.name + "'s log": p.logs()}
	for _, path := range []string{"/metrics", "/readyz", "/livez", "/debug/pprof/goroutine?debug=2"} {
		status, body := p.get(path)
		if status != http.StatusOK {
			p.t.Errorf("%s answers %d at %s", p.name, status, path)
		}
		found[p.name+"'s "+path] = body
	}
	return found
}

// reader opens the vault with keys; it asks NATS each time.
func (h *house) reader(keys ...secret.PrivateKey) *vault.Reader {
	h.t.Helper()
	st, err := store.New(h.jobQueue().NATS(), "bellows")
	must(h.t, err)
	return vault.NewReader(vault.ReaderConfig{Tokens: st.Bucket(store.Tokens), Meta: st.Bucket(store.TokensMeta), Keys: keys})
}

// everyHook are the paths that defaultManifest has Forge call.
var everyHook = []string{"/forge/events", "/forge/nightly"}
