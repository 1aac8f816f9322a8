package secret_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"bellows/internal/secret"
)

const plain = "eyJ-super-private"

func TestATokenShowsNothing(t *testing.T) {
	token := secret.NewToken(plain)
	holder := struct{ T secret.Token }{token}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "token", token, "holder", holder)
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "token", token, "holder", holder)
	asJSON, err := json.Marshal(map[string]any{"token": token, "holder": &holder})
	if err != nil {
		t.Fatal(err)
	}
	views := map[string]string{
		"Sprint": fmt.Sprint(token), "v": fmt.Sprintf("%v", holder), "+v": fmt.Sprintf("%+v", &holder),
		"#v": fmt.Sprintf("%#v", holder), "s": fmt.Sprintf("%s", token), "q": fmt.Sprintf("%q", token),
		"x": fmt.Sprintf("%x", holder), "d": fmt.Sprintf("%d", token), "log": log.String(), "json": string(asJSON),
	}
	for name, view := range views {
		if strings.Contains(view, plain) || strings.Contains(view, fmt.Sprintf("%x", plain)) {
			t.Errorf("%s shows the token: %s", name, view)
		}
		if !strings.Contains(view, "[secret]") {
			t.Errorf("%s does not say that a secret is there: %s", name, view)
		}
	}
}

func TestDigestAndScrub(t *testing.T) {
	token := secret.NewToken(plain)
	if got := token.Scrub("refused " + plain + "."); got != "refused [secret]." {
		t.Errorf("Scrub: got %q", got)
	}
	if got := (secret.Token{}).Scrub("abc"); got != "abc" {
		t.Errorf("Scrub by no token: got %q", got)
	}
	if (secret.Token{}).Digest() != "" || len(token.Digest()) != 32 {
		t.Errorf("Digest: got %q and %q", secret.Token{}.Digest(), token.Digest())
	}
}

func mustKey(t *testing.T) secret.PrivateKey {
	t.Helper()
	key, err := secret.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestSealedValuesOpenOnlyForTheirOwner(t *testing.T) {
	old, recent, foreign := mustKey(t), mustKey(t), mustKey(t)
	public, err := secret.ParsePublicKey(" " + old.Public().Text() + "\n")
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := public.Seal("owner-a", []byte(plain))
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(sealed, []byte(plain)) {
		t.Fatal("the sealed value shows the token")
	}
	ring, err := secret.ParseKeyring(recent.Text() + "," + old.Text())
	if err != nil {
		t.Fatal(err)
	}
	got, err := ring.Open("owner-a", sealed)
	if err != nil || string(got) != plain {
		t.Errorf("Open: got %q, %v", got, err)
	}
	if ring.Newest().ID() != recent.Public().ID() {
		t.Error("Newest is not the first key")
	}
	damaged := bytes.Clone(sealed)
	damaged[len(damaged)-1] ^= 1
	for _, test := range []struct {
		name   string
		ring   secret.Keyring
		info   string
		sealed []byte
		want   error
	}{
		{"another owner", ring, "owner-b", sealed, secret.ErrNotOpened},
		{"another key", secret.Keyring{foreign}, "owner-a", sealed, secret.ErrNoKey},
		{"no key", nil, "owner-a", sealed, secret.ErrNoKey},
		{"damaged", ring, "owner-a", damaged, secret.ErrNotOpened},
		{"cut short", ring, "owner-a", sealed[:20], secret.ErrNotOpened},
		{"empty", ring, "owner-a", nil, secret.ErrNotOpened},
	} {
		if _, err := test.ring.Open(test.info, test.sealed); !errors.Is(err, test.want) {
			t.Errorf("%s: got %v, want %v", test.name, err, test.want)
		}
	}
}

func TestBrokenKeysAreRefusedWithoutShowingThem(t *testing.T) {
	key := mustKey(t)
	for name, text := range map[string]string{
		"empty": "", "public as private": key.Public().Text(), "not base64": "bellows-vault-private-1:***" + plain,
		"too short": "bellows-vault-private-1:" + "AAAA", "garbage": plain,
	} {
		_, err := secret.ParseKeyring(text)
		if err == nil {
			t.Errorf("%s: accepted", name)
		} else if strings.Contains(err.Error(), plain) {
			t.Errorf("%s: the error shows the key: %v", name, err)
		}
	}
	if _, err := secret.ParsePublicKey(key.Text()); err == nil {
		t.Error("a private key is accepted as a public one")
	} else if strings.Contains(err.Error(), key.Text()) {
		t.Error("the error shows the private key")
	}
	if got := fmt.Sprintf("%v %+v %#v %s", key, key, key, key); strings.Contains(got, "AAAA") || !strings.Contains(got, "[secret]") {
		t.Errorf("a private key formats as %q", got)
	}
	if _, err := (secret.PublicKey{}).Seal("x", nil); err == nil {
		t.Error("the zero public key seals")
	}
}
