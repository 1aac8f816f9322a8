package ticket_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"bellows/internal/egress/ticket"
	"bellows/internal/embedded/embeddedtest"
	"bellows/internal/secret"
	"bellows/internal/store"
	"bellows/internal/store/storetest"
)

type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func grant() ticket.Grant {
	return ticket.Grant{
		Owner: ticket.OwnerJob, Installation: "one", Principal: "712020:alice", Job: "0a1b2c", Run: 1, Attempt: 2, Product: "jira",
		InstallationRevision: 7, TokenRevision: 9, Traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
	}
}

func mustIssue(t *testing.T, tickets *ticket.Tickets, g ticket.Grant) secret.Token {
	t.Helper()
	token, err := tickets.Issue(storetest.Context(t), g)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func mustBeRefused(t *testing.T, tickets *ticket.Tickets, token secret.Token) {
	t.Helper()
	if g, err := tickets.Check(storetest.Context(t), token); !errors.Is(err, ticket.ErrRefused) {
		t.Fatalf("got %+v, %v; want ErrRefused", g, err)
	}
}

func mustBeValid(t *testing.T, tickets *ticket.Tickets, token secret.Token) ticket.Grant {
	t.Helper()
	g, err := tickets.Check(storetest.Context(t), token)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func TestATicketGrantsWhatItWasIssuedForInEveryProcess(t *testing.T) {
	bucket := storetest.Open(t).Bucket(store.Tickets)
	clock := &clock{now: time.Date(2026, 9, 14, 12, 0, 0, 0, time.UTC)}
	here, there := ticket.New(ticket.Config{Bucket: bucket, Now: clock.Now}), ticket.New(ticket.Config{Bucket: bucket, Now: clock.Now})
	token := mustIssue(t, here, grant())
	want := grant()
	want.Life, want.Expires = ticket.DefaultLife, clock.Now().Add(ticket.DefaultLife)
	if got := mustBeValid(t, there, token); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if other := mustIssue(t, here, grant()); other == token {
		t.Error("two tickets are the same")
	}
	if n := len(token.Reveal()); n != 43 {
		t.Errorf("a ticket has %d characters, want 43 for 32 bytes", n)
	}
}

func TestATicketEndsWithItsLifeAndIsExtendedForAnotherOne(t *testing.T) {
	clock := &clock{now: time.Now()}
	tickets := ticket.New(ticket.Config{Bucket: storetest.Open(t).Bucket(store.Tickets), Now: clock.Now})
	g := grant()
	g.Life = 30 * time.Second
	token := mustIssue(t, tickets, g)
	for range 3 {
		clock.move(20 * time.Second)
		if err := tickets.Extend(storetest.Context(t), token); err != nil {
			t.Fatal(err)
		}
	}
	clock.move(30*time.Second - time.Millisecond)
	mustBeValid(t, tickets, token)
	clock.move(time.Millisecond)
	mustBeRefused(t, tickets, token)
	if err := tickets.Extend(storetest.Context(t), token); !errors.Is(err, ticket.ErrRefused) {
		t.Errorf("extending an expired ticket: got %v, want ErrRefused", err)
	}
	clock.move(-time.Hour)
	g.Life = 100 * time.Hour
	if got := mustBeValid(t, tickets, mustIssue(t, tickets, g)); got.Life != ticket.MaxLife {
		t.Errorf("life is %v, want at most %v", got.Life, ticket.MaxLife)
	}
}

func TestTheBucketForgetsATicketByItself(t *testing.T) {
	bucket := storetest.Open(t).Bucket(store.Tickets)
	gone := make(chan struct{})
	ready, err := bucket.Watch(storetest.Context(t), func(e store.Entry) {
		if e.Deleted {
			close(gone)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	<-ready
	still := &clock{now: time.Now()} // a clock that stands still: only the bucket can end it
	tickets := ticket.New(ticket.Config{Bucket: bucket, Now: still.Now})
	g := grant()
	g.Life = time.Second
	token := mustIssue(t, tickets, g)
	if err := tickets.Extend(storetest.Context(t), token); err != nil {
		t.Fatal(err)
	}
	<-gone
	mustBeRefused(t, tickets, token)
}

func TestARevokedTicketIsRefusedEverywhereAndCannotBeExtended(t *testing.T) {
	bucket := storetest.Open(t).Bucket(store.Tickets)
	here, there := ticket.New(ticket.Config{Bucket: bucket}), ticket.New(ticket.Config{Bucket: bucket})
	token, other := mustIssue(t, here, grant()), mustIssue(t, here, grant())
	if err := here.Revoke(storetest.Context(t), token); err != nil {
		t.Fatal(err)
	}
	for _, tickets := range []*ticket.Tickets{here, there} {
		mustBeRefused(t, tickets, token)
		if err := tickets.Extend(storetest.Context(t), token); !errors.Is(err, ticket.ErrRefused) {
			t.Errorf("extending: got %v, want ErrRefused", err)
		}
		mustBeRefused(t, tickets, token)
		mustBeValid(t, tickets, other)
	}
	if err := here.Revoke(storetest.Context(t), token); err != nil {
		t.Errorf("revoking again: %v", err)
	}
}

func TestARevocationThatCannotBeStoredHoldsInThisProcess(t *testing.T) {
	s := embeddedtest.Run(t)
	tickets := ticket.New(ticket.Config{Bucket: storetest.On(t, s).Bucket(store.Tickets)})
	token, other := mustIssue(t, tickets, grant()), mustIssue(t, tickets, grant())
	s.Shutdown()
	short, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := tickets.Revoke(short, token); err == nil {
		t.Error("revoking without NATS succeeds")
	}
	mustBeRefused(t, tickets, token)
	short, cancel = context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := tickets.Check(short, other); err == nil || errors.Is(err, ticket.ErrRefused) {
		t.Errorf("checking without NATS: got %v, want an error that is not ErrRefused", err)
	}
}

func TestWhatIsNoTicketIsRefused(t *testing.T) {
	var log bytes.Buffer
	bucket := storetest.Open(t).Bucket(store.Tickets)
	tickets := ticket.New(ticket.Config{Bucket: bucket, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	token := mustIssue(t, tickets, grant()).Reveal()
	entries, err := bucket.List(storetest.Context(t))
	if err != nil || len(entries) != 1 {
		t.Fatalf("got %d entries, %v", len(entries), err)
	}
	last := token[:42] + string(token[42]+1) // the last character has two bits that base64 ignores
	for name, text := range map[string]string{
		"nothing": "", "the digest": entries[0].Key, "cut": token[:42], "longer": token + "A", "padded": token + "=", "with a line end": token + "\n",
		"another spelling of the same bytes": last, "unknown": strings.Repeat("A", 43), "a wild card": "*", "very long": strings.Repeat("A", 1<<16),
	} {
		t.Run(name, func(t *testing.T) { mustBeRefused(t, tickets, secret.NewToken(text)) })
	}
	if _, err := bucket.Put(storetest.Context(t), entries[0].Key, []byte(`{"installation":"one"`)); err != nil {
		t.Fatal(err)
	}
	mustBeRefused(t, tickets, secret.NewToken(token))
	if !strings.Contains(log.String(), "reading a ticket's record failed") {
		t.Errorf("a damaged record is not logged: %q", log.String())
	}
}

func TestAGrantThatLacksSomethingIsNotIssued(t *testing.T) {
	tickets := ticket.New(ticket.Config{Bucket: storetest.Open(t).Bucket(store.Tickets)})
	for want, change := range map[string]func(*ticket.Grant){
		"owner":              func(g *ticket.Grant) { g.Owner = "" },
		"no installation id": func(g *ticket.Grant) { g.Installation = "a.b" },
		"job is missing":     func(g *ticket.Grant) { g.Job = "" },
	} {
		g := grant()
		change(&g)
		if _, err := tickets.Issue(storetest.Context(t), g); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want it to say %q", err, want)
		}
	}
}

func TestATicketIsNowhereInNATSNorInTheLog(t *testing.T) {
	s := embeddedtest.Run(t)
	var mu sync.Mutex
	var wire, log bytes.Buffer
	spy := storetest.Connect(t, s)
	if _, err := spy.Subscribe(">", func(m *nats.Msg) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintln(&wire, m.Subject, m.Header, string(m.Data))
	}); err != nil {
		t.Fatal(err)
	}
	if err := spy.Flush(); err != nil {
		t.Fatal(err)
	}
	tickets := ticket.New(ticket.Config{
		Bucket: storetest.On(t, s).Bucket(store.Tickets),
		Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	token := mustIssue(t, tickets, grant())
	mustBeValid(t, tickets, token)
	if err := tickets.Extend(storetest.Context(t), token); err != nil {
		t.Fatal(err)
	}
	stored := everything(t, s.URL())
	if err := tickets.Revoke(storetest.Context(t), token); err != nil {
		t.Fatal(err)
	}
	if err := spy.Flush(); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	for name, text := range map[string]string{"streams": stored, "wire": wire.String()} {
		if !strings.Contains(text, `"installation":"one"`) {
			t.Errorf("the spy on the %s has seen no record: %q", name, text)
		}
		if strings.Contains(text, token.Reveal()) {
			t.Errorf("the ticket is on the %s", name)
		}
	}
	if strings.Contains(log.String(), token.Reveal()) {
		t.Error("the ticket is in the log")
	}
}

// everything is all that the streams hold.
func everything(t *testing.T, url string) string {
	t.Helper()
	nc, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	names := js.StreamNames(storetest.Context(t))
	for name := range names.Name() {
		stream, err := js.Stream(storetest.Context(t), name)
		if err != nil {
			t.Fatal(err)
		}
		for n := stream.CachedInfo().State.FirstSeq; n <= stream.CachedInfo().State.LastSeq; n++ {
			if m, err := stream.GetMsg(storetest.Context(t), n); err == nil {
				fmt.Fprintln(&all, m.Subject, m.Header, string(m.Data))
			}
		}
	}
	return all.String()
}

func TestManyUseTicketsAtOnce(t *testing.T) {
	tickets := ticket.New(ticket.Config{Bucket: storetest.Open(t).Bucket(store.Tickets)})
	ctx := storetest.Context(t)
	var all sync.WaitGroup
	for n := range 16 {
		all.Go(func() {
			g := grant()
			g.Job = fmt.Sprint("job-", n)
			token, err := tickets.Issue(ctx, g)
			if err != nil {
				t.Error(err)
				return
			}
			var beats sync.WaitGroup
			for range 4 {
				beats.Go(func() {
					if err := tickets.Extend(ctx, token); err != nil {
						t.Errorf("extending at once with others: %v", err)
					}
				})
			}
			if got, err := tickets.Check(ctx, token); err != nil || got.Job != g.Job {
				t.Errorf("got %+v, %v; want job %q", got, err, g.Job)
			}
			beats.Wait()
			// However Revoke and Extend meet, the ticket has ended.
			beats.Go(func() { _ = tickets.Extend(ctx, token) })
			if err := tickets.Revoke(ctx, token); err != nil {
				t.Error(err)
			}
			beats.Wait()
			if _, err := tickets.Check(ctx, token); !errors.Is(err, ticket.ErrRefused) {
				t.Errorf("after its end: got %v, want ErrRefused", err)
			}
		})
	}
	all.Wait()
}
