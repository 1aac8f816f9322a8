package acceptance

import (
	"context"
	"crypto/rsa"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// signer is a key of Forge's under its id.
type signer struct {
	id  string
	key *rsa.PrivateKey
}

func (s signer) jwk() object { return jwk(s.id, &s.key.PublicKey) }

// fit is a good token of this key.
func (s signer) fit(of site) string {
	return sign(s.key, object{"alg": "RS256", "kid": s.id}, of.fitClaims("events"))
}

// traffic sends events with good tokens of whichever key Forge signs with, from
// several senders, until it is stopped. It keeps what was answered.
type traffic struct {
	h       *house
	in      *process
	site    site
	current atomic.Pointer[signer]
	n       atomic.Int64
	stop    context.CancelFunc
	group   sync.WaitGroup

	mu      sync.Mutex
	answers map[string]map[int]int // :: key id → status → how often
	bad     answer                 // an answer that is neither 202 nor 503
}

func (h *house) traffic(in *process, first *signer, senders int) *traffic {
	ctx, stop := context.WithCancel(h.t.Context())
	x := &traffic{h: h, in: in, site: h.newSite(), stop: stop, answers: map[string]map[int]int{}}
	x.current.Store(first)
	for range senders {
		x.group.Go(func() {
			for ctx.Err() == nil {
				x.send()
			}
		})
	}
	h.t.Cleanup(x.end)
	return x
}

func (x *traffic) send() answer {
	with := x.current.Load()
	a := x.h.deliver(x.in, delivery{Site: x.site, FIT: with.fit(x.site), Body: issueEvent("avi:jira:updated:issue", fmt.Sprintf("ROT-%d", x.n.Add(1)))})
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.answers[with.id] == nil {
		x.answers[with.id] = map[int]int{}
	}
	x.answers[with.id][a.Status]++
	if a.Status != http.StatusAccepted && a.Status != http.StatusServiceUnavailable {
		x.bad = a
	}
	return a
}

func (x *traffic) end() {
	x.stop()
	x.group.Wait()
}

// got is how often events of a key were answered so.
func (x *traffic) got(id string, status int) int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.answers[id][status]
}

// only fails the test when a good token of a key was answered with anything but
// these statuses, or none was.
func (x *traffic) only(id string, allowed ...int) {
	x.h.t.Helper()
	x.mu.Lock()
	defer x.mu.Unlock()
	total, fine := 0, 0
	for status, n := range x.answers[id] {
		total += n
		for _, a := range allowed {
			if status == a {
				fine += n
			}
		}
	}
	if total == 0 || fine != total {
		x.h.t.Errorf("good tokens of %s were answered %v (last bad: %d %s), want %v alone", id, x.answers[id], x.bad.Status, x.bad.Text, allowed)
	}
}

// flood sends forged tokens, each with a key id of its own, until the test
// ends; it returns how often it was answered so, by status.
func (h *house) flood(in *process, senders int) (stop func() map[int]int) {
	ctx, cancel := context.WithCancel(h.t.Context())
	forged, s := newKey(), h.newSite()
	var mu sync.Mutex
	var group sync.WaitGroup
	answers := map[int]int{}
	for range senders {
		group.Go(func() {
			for ctx.Err() == nil {
				a := h.post(in, "/forge/events", bearer(signer{id: "forged-" + randomHex(8), key: forged}.fit(s)), "{}", "planted")
				mu.Lock()
				answers[a.Status]++
				mu.Unlock()
			}
		})
	}
	h.t.Cleanup(func() { cancel(); group.Wait() })
	return func() map[int]int {
		cancel()
		group.Wait()
		return answers
	}
}

func TestKeysRotateUnderLoadWithoutA401(t *testing.T) {
	h := newHouse(t, setup{Rules: mixedRules})
	in := h.ingest()
	first, second := signer{keyID, h.forge.key}, signer{"forge/invocation-token/second", newKey()}
	x := h.traffic(in, &first, 3)
	awaitTraffic(t, x, first.id)

	h.forge.publish(http.StatusOK, first.jwk(), second.jwk())
	x.current.Store(&second)
	awaitTraffic(t, x, second.id)
	h.forge.publish(http.StatusOK, second.jwk()) // Forge drops the old one; what is known goes on
	x.current.Store(&first)
	before := x.got(first.id, http.StatusAccepted)
	eventually(t, 5*time.Second, func() string {
		if x.got(first.id, http.StatusAccepted) < before+10 {
			return "the old key does not serve on"
		}
		return ""
	})
	x.end()
	x.only(first.id, http.StatusAccepted)
	x.only(second.id, http.StatusAccepted)
}

// awaitTraffic waits until some events of a key were accepted.
func awaitTraffic(t *testing.T, x *traffic, id string) {
	t.Helper()
	eventually(t, 5*time.Second, func() string {
		if x.got(id, http.StatusAccepted) < 10 {
			return "few events of key " + id + " are accepted"
		}
		return ""
	})
}

func TestKeysRotateUnderAFloodOfForgedKeysWithoutA401(t *testing.T) {
	h := newHouse(t, setup{Rules: mixedRules})
	in := h.ingest()
	first, second := signer{keyID, h.forge.key}, signer{"forge/invocation-token/second", newKey()}
	x := h.traffic(in, &first, 2)
	awaitTraffic(t, x, first.id)
	stop := h.flood(in, 4)
	eventually(t, 5*time.Second, func() string { // the flood has used up the fetches of this minute
		if h.forge.fetched() < 7 {
			return fmt.Sprintf("the key set was asked for %d times", h.forge.fetched())
		}
		return ""
	})
	h.forge.publish(http.StatusOK, first.jwk(), second.jwk())
	before := x.got(first.id, http.StatusAccepted)
	x.current.Store(&second)
	eventually(t, 5*time.Second, func() string {
		if x.got(second.id, http.StatusServiceUnavailable)+x.got(second.id, http.StatusAccepted) < 10 {
			return "few events of the new key are answered"
		}
		return ""
	})
	if a := x.send(); a.Status == http.StatusServiceUnavailable {
		if n, err := strconv.Atoi(a.Header.Get("Retry-After")); err != nil || n < 1 || n > 60 {
			t.Errorf("Retry-After is %q, want 1 to 60", a.Header.Get("Retry-After"))
		}
	}
	x.current.Store(&first)
	eventually(t, 5*time.Second, func() string {
		if x.got(first.id, http.StatusAccepted) < before+10 {
			return "the known key does not serve on"
		}
		return ""
	})
	if soak() {
		x.current.Store(&second)
		eventually(t, 70*time.Second, func() string {
			if x.got(second.id, http.StatusAccepted) == 0 {
				return "the new key is never accepted"
			}
			return ""
		})
	}
	x.end()
	x.only(first.id, http.StatusAccepted)
	x.only(second.id, http.StatusAccepted, http.StatusServiceUnavailable)
	for status, n := range stop() {
		if status != http.StatusUnauthorized && status != http.StatusServiceUnavailable {
			t.Errorf("%d forged tokens were answered %d", n, status)
		}
	}
	if n := h.forge.fetched(); n > 7 && !soak() {
		t.Errorf("the key set was asked for %d times within a minute, want one load and six at most", n)
	}
}

func TestAKeySetOutageChangesNothingForKnownKeys(t *testing.T) {
	h := newHouse(t, setup{Rules: mixedRules})
	in := h.ingest()
	known, other := signer{keyID, h.forge.key}, signer{"forge/invocation-token/other", newKey()}
	s := h.newSite()
	for name, fail := range map[string]func(){
		"status 500":         func() { h.forge.publish(http.StatusInternalServerError) },
		"no keys":            func() { h.forge.publish(http.StatusOK) },
		"keys of other uses": func() { h.forge.publish(http.StatusOK, object{"kty": "oct", "k": "c2VjcmV0", "kid": keyID}) },
		"a redirect":         func() { h.forge.publish(http.StatusFound) },
	} {
		fail()
		unknown := h.deliver(in, delivery{Site: s, FIT: other.fit(s), Body: issueEvent("avi:jira:updated:issue", "OUT-1")})
		if unknown.Status != http.StatusServiceUnavailable || unknown.Header.Get("Retry-After") == "" {
			t.Errorf("%s: a key that cannot be looked up: got %d %s", name, unknown.Status, unknown.Text)
		}
		if a := h.deliver(in, delivery{Site: s, FIT: known.fit(s), Body: issueEvent("avi:jira:updated:issue", "OUT-2")}); a.Status != http.StatusAccepted {
			t.Errorf("%s: a known key: got %d %s", name, a.Status, a.Text)
		}
	}
	h.forge.publish(http.StatusOK, known.jwk(), other.jwk())
	if a := h.deliver(in, delivery{Site: s, FIT: other.fit(s), Body: issueEvent("avi:jira:updated:issue", "OUT-3")}); a.Status != http.StatusAccepted {
		t.Errorf("after it: got %d %s", a.Status, a.Text)
	}
}
