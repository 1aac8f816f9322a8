package egress_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"bellows/internal/secret"
	"bellows/internal/store/storetest"
)

func TestWithoutAValidTicketNothingPasses(t *testing.T) {
	b := newBench(t)
	key := b.issue(grant())
	expiring := b.issue(grant())
	b.clock.move(30 * time.Second)
	b.must(b.tickets.Extend(storetest.Context(t), secret.NewToken(key)))
	b.clock.move(40 * time.Second) // the one that nobody extended has ended
	if a := b.do(key, "GET", "/jira/x", ""); a.status != 200 {
		t.Fatalf("the extended ticket: got %+v", a)
	}
	b.upstream.only(t)
	revoked := b.issue(grant())
	b.must(b.tickets.Revoke(storetest.Context(t), secret.NewToken(revoked)))
	var bodies []string
	for name, header := range map[string][]string{
		"none": nil, "empty": {"Authorization", ""}, "no bearer": {"Authorization", "Bearer"}, "another scheme": {"Authorization", "Basic " + key},
		"unknown": {"Authorization", "Bearer " + strings.Repeat("A", 43)}, "cut": {"Authorization", "Bearer " + key[:40]}, "longer": {"Authorization", "Bearer " + key + "A"},
		"expired": {"Authorization", "Bearer " + expiring}, "revoked": {"Authorization", "Bearer " + revoked},
		"a token of Atlassian's": {"Authorization", "Bearer " + systemOne}, "two": {"Authorization", "Bearer " + key, "Authorization", "Bearer " + key},
		"joined": {"Authorization", "Bearer " + key + ", Bearer " + key}, "in another header": {"Bellows-Ticket", key}, "bare": {"Authorization", key},
	} {
		for _, path := range []string{"/jira/x", "/jobs", "/progress", "/nowhere", "/jira/../x"} {
			a := b.do("", "POST", path, "{}", header...)
			a.mustFail(t, 401, "invalid_ticket", "false")
			bodies = append(bodies, a.body)
			if strings.Contains(a.body, key[:20]) || !strings.HasPrefix(a.header.Get("Www-Authenticate"), "Bearer") {
				t.Errorf("%s: got %+v", name, a)
			}
		}
	}
	for _, body := range bodies {
		if body != bodies[0] {
			t.Errorf("refusals differ: %q and %q", body, bodies[0])
		}
	}
	b.upstream.none(t)
	if len(b.published) != 0 || len(b.reports) != 0 {
		t.Error("a job or a report passed")
	}
}

func TestATicketReachesNoOtherInstallation(t *testing.T) {
	b := newBench(t)
	g := grant()
	g.Installation, g.Principal = "two", alice
	key := b.issue(g)
	for _, path := range []string{
		"/jira/rest", "/jira/cloud-1/rest", "/jira/ex/jira/cloud-1/rest", "/storage/cloud-1", "/jira/rest?cloudId=cloud-1", "/jira/http:/x@cloud-1",
	} {
		if a := b.do(key, "GET", path, "", "Host", "cloud-1", "X-Forwarded-Host", "cloud-1"); a.status != 200 {
			t.Fatalf("%s: got %+v", path, a)
		}
		got := b.upstream.only(t)
		if !strings.HasPrefix(got.path, "/ex/jira/cloud-2/") && !strings.HasPrefix(got.path, "/forge/storage/") || got.bearer != systemTwo {
			t.Errorf("%s: led to %s with token %q", path, got.path, got.bearer)
		}
	}
	b.do(key, "GET", "/confluence/x", "").mustFail(t, 404, "not_found", "false")
	// alice has a token in the other installation, not in this one.
	b.do(key, "GET", "/jira/x", "", "Bellows-As", "user").mustFail(t, 503, "no_token", "false")
	b.do(key, "GET", "/jira/x", "", "Bellows-As", "user:"+bob).mustFail(t, 403, "exchange_refused", "false")
	g.Installation = "three"
	b.do(b.issue(g), "GET", "/jira/x", "").mustFail(t, 403, "unknown_installation", "false")
	b.upstream.none(t)
}

func TestATicketEndsWhileManyUseIt(t *testing.T) {
	b := newBench(t)
	var all sync.WaitGroup
	for n := range 8 {
		all.Go(func() {
			g := grant()
			g.Installation = []string{"one", "two"}[n%2]
			token, err := b.tickets.Issue(storetest.Context(t), g)
			if err != nil {
				t.Error(err)
				return
			}
			var calls sync.WaitGroup
			for range 8 {
				calls.Go(func() {
					if a := b.do(token.Reveal(), "GET", fmt.Sprintf("/jira/%s", g.Installation), ""); a.status != 200 {
						t.Errorf("got %+v", a)
					}
				})
			}
			calls.Wait()
			if err := b.tickets.Revoke(storetest.Context(t), token); err != nil {
				t.Error(err)
			}
			if a := b.do(token.Reveal(), "GET", "/jira/after", ""); a.status != 401 {
				t.Errorf("after the end: got %+v", a)
			}
		})
	}
	all.Wait()
	for _, got := range b.upstream.requests() {
		one := strings.HasSuffix(got.path, "/cloud-1/one") && got.bearer == systemOne
		two := strings.HasSuffix(got.path, "/cloud-2/two") && got.bearer == systemTwo
		if !one && !two {
			t.Errorf("a call of one installation was made for another: %s with %q", got.path, got.bearer)
		}
	}
	if n := len(b.upstream.requests()); n != 64 {
		t.Errorf("Atlassian got %d requests, want 64", n)
	}
}

func TestNeitherTicketsNorTokensAreLoggedOrOnTheWireOfNATS(t *testing.T) {
	b := newBench(t)
	var mu sync.Mutex
	var wire strings.Builder
	spy := storetest.Connect(t, b.nats)
	_, err := spy.Subscribe(">", func(m *nats.Msg) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintln(&wire, m.Subject, m.Header, string(m.Data))
	})
	b.must(err)
	b.must(spy.Flush())
	key := b.issue(grant())
	for _, as := range []string{"app", "user", "user:" + bob, "user:nobody"} {
		b.do(key, "POST", "/jira/x", "{}", "Bellows-As", as)
	}
	b.upstream.say(401, "your token was "+systemOne)
	b.do(key, "GET", "/jira/secret-path?q=secret-query", "")
	b.do(key, "GET", "/jira/../x", "")
	b.do(key, "POST", "/jobs", `{"name":"next"}`)
	b.must(b.tickets.Revoke(storetest.Context(t), secret.NewToken(key)))
	b.do(key, "GET", "/jira/x", "")
	b.must(spy.Flush())
	mu.Lock()
	defer mu.Unlock()
	if !strings.Contains(wire.String(), "TICKETS") || !strings.Contains(b.logged(), "egress call answered") {
		t.Fatal("the spies have seen nothing")
	}
	for _, hidden := range []string{key, systemOne, aliceOne, bobsToken, "secret-query"} {
		if strings.Contains(wire.String(), hidden) {
			t.Errorf("%q is on the wire", hidden)
		}
		if strings.Contains(b.logged(), hidden) {
			t.Errorf("%q is in the log", hidden)
		}
	}
}
