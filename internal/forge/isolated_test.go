package forge_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"bellows/internal/forge"
)

// clouds is a verifier with an address for Isolated Clouds and a clock to set.
type clouds struct {
	*house
	mu    sync.Mutex
	clock time.Time
}

func (c *clouds) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.clock
}

func (c *clouds) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.clock = c.clock.Add(d)
}

// newClouds serves otherKey to every label that starts with heron.
func newClouds(t *testing.T) *clouds {
	c := &clouds{clock: issued}
	commercial, isolated := keySetText(jwk(kid, &signingKey().PublicKey)), keySetText(jwk(kid, &otherKey().PublicKey))
	server := newKeyServer(t, "")
	server.handle(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/jwks":
			fmt.Fprint(w, commercial)
		case strings.HasPrefix(r.URL.Path, "/ic/heron"):
			fmt.Fprint(w, isolated)
		default:
			http.NotFound(w, r)
		}
	})
	c.house = newHouse(t, func(config *forge.VerifierConfig) {
		config.IsolatedCloud = server.URL + "/ic/{IC_LABEL}"
		config.Now = c.now
	})
	c.server = server
	return c
}

func (c *clouds) verify(t *testing.T, label, id string, heron bool) string {
	t.Helper()
	key := signingKey()
	if heron {
		key = otherKey()
	}
	body := with(claims(t, "isolated-cloud"), "icLabel", label)
	seconds := c.now().Unix()
	body = with(with(with(body, "iat", seconds), "nbf", seconds), "exp", seconds+25)
	got, err := c.Verify(t.Context(), bearer(sign(key, text(with(header(), "kid", id)), text(body))))
	if err == nil && got.ICLabel != label {
		t.Errorf("label: got %q, want %q", got.ICLabel, label)
	}
	return outcome(err)
}

func TestATokenOfAnIsolatedCloudIsCheckedWithItsOwnKeys(t *testing.T) {
	c := newClouds(t)
	expect(t, "its own key", c.verify(t, "heron-7", kid, true), "found")
	expect(t, "the commercial key", c.verify(t, "heron-7", kid, false), "unknown")
	expect(t, "a cloud without keys", c.verify(t, "crane", kid, true), "unavailable for 1s")
	if got := fmt.Sprint(c.server.fetches()); got != "[/ic/heron-7 /ic/crane]" {
		t.Errorf("fetched %s", got)
	}
	token := sign(otherKey(), text(header()), text(claims(t, "trigger-jira")))
	if _, err := c.Verify(t.Context(), bearer(token)); outcome(err) != "unknown" {
		t.Errorf("a token without label, signed in an isolated cloud: got %v", err)
	}
}

func TestBadLabelsFetchNothing(t *testing.T) {
	c := newClouds(t)
	for _, label := range []string{"", "HERON", "a.b", "a/b", "..", "heron%2f", "heron\n", strings.Repeat("a", 51)} {
		expect(t, label, c.verify(t, label, kid, true), "unknown")
	}
	if got := c.server.fetches(); len(got) != 0 {
		t.Errorf("fetched %q", got)
	}
}

func TestForgedLabelsShareOneBudget(t *testing.T) {
	c := newClouds(t)
	expect(t, "a cloud we serve", c.verify(t, "heron", kid, true), "found")
	for i := range 50 {
		c.verify(t, fmt.Sprintf("forged-%d", i), kid, false)
	}
	if got := c.server.fetches(); len(got) != 6 {
		t.Errorf("%d fetches, want the 6 of the budget", len(got))
	}
	expect(t, "a cloud we serve, in the flood", c.verify(t, "heron", kid, true), "found")
	expect(t, "its rotated key, on its own budget", c.verify(t, "heron", "next", true), "unknown")
	if got := c.server.fetches(); len(got) != 7 || got[6] != "/ic/heron" {
		t.Errorf("fetched %q", got)
	}
	expect(t, "another cloud, in the flood", c.verify(t, "heron-2", kid, true), "unavailable for 1m0s")
	c.pass(time.Minute)
	expect(t, "another cloud, after it", c.verify(t, "heron-2", kid, true), "found")
}

func TestOnlySoManyIsolatedClouds(t *testing.T) {
	c := newClouds(t)
	for i := range 16 {
		expect(t, "one that is verified", c.verify(t, fmt.Sprintf("heron-%d", i), kid, true), "found")
		c.pass(time.Minute)
	}
	fetched := len(c.server.fetches())
	expect(t, "one too many", c.verify(t, "heron-16", kid, true), "unknown")
	if got := len(c.server.fetches()); got != fetched {
		t.Errorf("fetched %q", c.server.fetches()[fetched:])
	}
	expect(t, "the first", c.verify(t, "heron-0", kid, true), "found")
}

func TestKeysOfAnIsolatedCloudGrowOld(t *testing.T) {
	c := newClouds(t)
	expect(t, "at first", c.verify(t, "heron", kid, true), "found")
	c.server.serve(keySetText(jwk("next", &otherKey().PublicKey)))
	expect(t, "within the hour", c.verify(t, "heron", kid, true), "found")
	c.pass(time.Hour)
	deadline := time.Now().Add(5 * time.Second)
	for c.verify(t, "heron", kid, true) == "found" {
		if time.Now().After(deadline) {
			t.Fatal("a key that was withdrawn is accepted for ever")
		}
	}
	expect(t, "the new key", c.verify(t, "heron", "next", true), "found")
}
