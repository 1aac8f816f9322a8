package simulator

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"sync"
)

// Fault changes the answers of the product APIs and of the GraphQL gateway to
// calls whose token they accept.
type Fault struct {
	// ID is given by the simulator.
	ID int64 `json:"id"`

	// Method, Path, Installation and Account say which calls are meant; an
	// empty one means any. Path is a pattern over the escaped path below the
	// API base, such as /rest/api/3/issue/*/comment, or /graphql: * stands for
	// anything but a slash, ** for anything. Account is who calls; for an
	// exchange it is also who is to be impersonated.
	Method       string `json:"method,omitempty"`
	Path         string `json:"path,omitempty"`
	Installation string `json:"installation,omitempty"`
	Account      string `json:"account,omitempty"`

	// Times is for how many calls it holds. Zero or less means until it is
	// removed.
	Times int `json:"times,omitempty"`

	// DelayMS is waited first, in milliseconds; it is not scaled. Negative
	// means for ever: the call hangs until the caller gives up.
	DelayMS int `json:"delayMs,omitempty"`
	// Drop closes the connection without an answer.
	Drop bool `json:"drop,omitempty"`
	// Status, Headers and Body are the answer. Status zero leaves the answer
	// to the product, with Headers added. A Body that is a JSON string is sent
	// as its text; without a Body a plain error is made up.
	Status  int               `json:"status,omitempty"`
	Headers map[string]string `json:"headers,omitempty"`
	Body    json.RawMessage   `json:"body,omitempty"`
	// Effect carries the call out before the answer is dropped or replaced:
	// the work is done and the caller cannot know.
	Effect bool `json:"effect,omitempty"`
	// Exchange makes an exchange of tokens fail inside an HTTP 200: "refused"
	// is success:false, "error" a top-level error.
	Exchange string `json:"exchange,omitempty"`
}

type faultList struct {
	mu     sync.Mutex
	lastID int64
	active []*Fault
}

func (l *faultList) add(f Fault) (Fault, error) {
	if f.Status != 0 && (f.Status < 200 || f.Status > 599) {
		return f, refuse(http.StatusBadRequest, "setting fault: status is %d, want 200 to 599", f.Status)
	}
	if f.Exchange != "" && f.Exchange != exchangeRefused && f.Exchange != exchangeError {
		return f, refuse(http.StatusBadRequest, "setting fault: exchange is %q, want %q or %q", f.Exchange, exchangeRefused, exchangeError)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lastID++
	f.ID = l.lastID
	l.active = append(l.active, &f)
	return f, nil
}

// remove reports whether the fault was there.
func (l *faultList) remove(id int64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	before := len(l.active)
	l.active = slices.DeleteFunc(l.active, func(f *Fault) bool { return f.ID == id })
	return len(l.active) < before
}

func (l *faultList) clear() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.active = nil
}

func (l *faultList) list() []Fault {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := make([]Fault, 0, len(l.active))
	for _, f := range l.active {
		all = append(all, *f)
	}
	return all
}

// take returns the oldest fault that is meant for a call, and counts it.
func (l *faultList) take(method, path, installation string, accounts ...string) (Fault, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, f := range l.active {
		if !f.meant(method, path, installation, accounts) {
			continue
		}
		taken := *f
		if f.Times > 0 {
			if f.Times--; f.Times == 0 {
				l.active = slices.Delete(l.active, i, i+1)
			}
		}
		return taken, true
	}
	return Fault{}, false
}

func (f *Fault) meant(method, path, installation string, accounts []string) bool {
	return (f.Method == "" || strings.EqualFold(f.Method, method)) &&
		(f.Installation == "" || f.Installation == installation) &&
		(f.Account == "" || slices.Contains(accounts, f.Account)) &&
		(f.Path == "" || matches(f.Path, path))
}

// matches reports whether a pattern fits a path: * is anything but a slash,
// ** is anything, any other character is itself.
func matches(pattern, path string) bool {
	before, after, wild := strings.Cut(pattern, "*")
	if !strings.HasPrefix(path, before) {
		return false
	}
	if !wild {
		return path == before
	}
	rest := path[len(before):]
	deep := strings.HasPrefix(after, "*")
	after = strings.TrimPrefix(after, "*")
	for i := 0; i <= len(rest); i++ {
		if matches(after, rest[i:]) {
			return true
		}
		if i < len(rest) && rest[i] == '/' && !deep {
			return false
		}
	}
	return false
}

// answer is the reply that a fault makes.
func (f *Fault) answer() reply {
	made := reply{status: f.Status, header: f.Headers}
	var text string
	switch {
	case len(f.Body) == 0 && f.Status >= 400:
		made.body = map[string]any{"errorMessages": []string{"the simulator was told to answer " + http.StatusText(f.Status)}, "errors": map[string]string{}}
	case len(f.Body) == 0 || string(f.Body) == "null":
	case json.Unmarshal(f.Body, &text) == nil:
		made.body = rawText(text)
	default:
		made.body = f.Body
	}
	return made
}

// rawText is a body that is sent as it stands.
type rawText string

// SetFault adds a fault and returns it with its id. A fault that was added
// earlier is taken first.
func (s *Simulator) SetFault(f Fault) (Fault, error) { return s.faults.add(f) }
