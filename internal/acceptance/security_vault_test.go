package acceptance

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"bellows/internal/secret"
	"bellows/internal/vault"
)

func TestTokensInNATSOpenOnlyWithThePrivateKey(t *testing.T) {
	h := newHouse(t, setup{Rules: mixedRules})
	text, err := os.ReadFile(h.vaultKey)
	must(t, err)
	must(t, os.Remove(h.vaultKey)) // ingest runs where no private key is
	in := h.ingest()
	s, other := h.newSite(), h.newSite()
	token := h.forge.systemToken(s, time.Now().Add(time.Hour))
	if a := h.deliver(in, delivery{Site: s, Token: token, Body: issueEvent("avi:jira:created:issue", "KEY-1")}); a.Status != http.StatusAccepted {
		t.Fatalf("without a private key: got %d %s", a.Status, a.Text)
	}
	h.deliver(in, delivery{Site: other, Token: h.forge.systemToken(other, time.Now().Add(time.Hour)), Body: "{}"})

	ours, err := secret.ParseKeyring(strings.TrimSpace(string(text)))
	must(t, err)
	theirs, err := secret.GenerateKey()
	must(t, err)
	ctx, owner := context.Background(), vault.Owner{Installation: s.ID}
	if _, err := h.reader(theirs).Token(ctx, owner, 1<<40); !errors.Is(err, vault.ErrUnreadable) {
		t.Errorf("with another key: got %v, want ErrUnreadable", err)
	}
	if _, err := h.reader().Token(ctx, owner, 1<<40); !errors.Is(err, vault.ErrUnreadable) {
		t.Errorf("without a key: got %v, want ErrUnreadable", err)
	}
	held, err := h.reader(ours...).Token(ctx, owner, 1<<40)
	must(t, err)
	if held.Token.Reveal() != token {
		t.Error("the private key opens another token than was sent")
	}
	must(t, os.WriteFile(h.vaultKey, text, 0o600))
	h.worker()
	eventually(t, 5*time.Second, func() string { return expect("calls", len(h.api.made("/issue/KEY-1/comment")), 1) })
	if got := h.api.made("/issue/KEY-1/comment")[0].Token; got != token {
		t.Error("the worker called with another token")
	}
}

// A sealed token that somebody copies to another installation's place does not
// open there.
func TestASealedTokenIsOfNoUseElsewhere(t *testing.T) {
	h := newHouse(t, setup{Rules: mixedRules})
	in := h.ingest()
	mine, victim := h.newSite(), h.newSite()
	h.deliver(in, delivery{Site: victim, Token: h.forge.systemToken(victim, time.Now().Add(2*time.Hour)), Body: "{}"})
	h.deliver(in, delivery{Site: mine, Token: h.forge.systemToken(mine, time.Now().Add(time.Hour)), Body: "{}"})
	for _, bucket := range []string{"TOKENS", "TOKENS_META"} {
		var m struct{ Message struct{ Data []byte } }
		h.jetStream("STREAM.MSG.GET.KV_BELLOWS_"+bucket, object{"last_by_subj": "$KV.BELLOWS_" + bucket + "." + victim.ID + ".system"}, &m)
		if len(m.Message.Data) == 0 {
			t.Fatalf("there is nothing of the victim in %s", bucket)
		}
		_, err := h.jobQueue().NATS().Request("$KV.BELLOWS_"+bucket+"."+mine.ID+".system", m.Message.Data, 5*time.Second)
		must(t, err)
	}
	h.worker()
	h.deliver(in, delivery{Site: mine, Body: issueEvent("avi:jira:created:issue", "COPY-1")})
	eventually(t, 10*time.Second, func() string {
		if s := h.stats(); s.Held+s.Delayed+s.Dead == 0 {
			return fmt.Sprintf("the job is %+v", s)
		}
		return ""
	})
	if calls := h.api.made(""); len(calls) != 0 {
		t.Errorf("called with a token of another installation: %s %s", calls[0].Method, calls[0].Path)
	}
}

func TestAnEventIsCalledWithTheNewestSystemToken(t *testing.T) {
	h := newHouse(t, setup{Rules: mixedRules})
	in := h.ingest()
	h.worker()
	s := h.newSite()
	now := time.Now()
	at := func(d time.Duration) string { return h.forge.systemToken(s, now.Add(d)) }
	first, older, later, same := at(2*time.Hour), at(time.Hour), at(3*time.Hour), at(3*time.Hour)
	for n, row := range []struct{ name, token, want string }{
		{"the first", first, first},
		{"an absent header leaves it", "", first},
		{"an older one does not replace it", older, first},
		{"a later one does", later, later},
		{"an absent header leaves that", "", later},
		{"the first does not come back", first, later},
		{"one that ends at the same time does not replace it", same, later},
		{"one that is no JWT counts for an hour", "opaque-token", later},
		{"a scheme alone is no token", "Bearer ", later},
	} {
		key := fmt.Sprintf("NEW-%d", n)
		a := h.deliver(in, delivery{Site: s, Token: row.token, Body: issueEvent("avi:jira:created:issue", key)})
		if a.Status != http.StatusAccepted {
			t.Fatalf("%s: got %d %s", row.name, a.Status, a.Text)
		}
		eventually(t, 5*time.Second, func() string { return expect("calls", len(h.api.made("/issue/"+key+"/comment")), 1) })
		if h.api.made("/issue/" + key + "/comment")[0].Token != row.want {
			t.Errorf("%s: called with another token", row.name)
		}
	}
}
