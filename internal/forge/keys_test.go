package forge_test

import (
	"encoding/base64"
	"fmt"
	"math/big"
	"net/http"
	"strings"
	"testing"

	"bellows/internal/forge"
)

func serverKeys(s *keyServer) *forge.KeySet {
	return forge.NewKeySet(forge.KeySetConfig{URL: s.URL + "/jwks", FetchesPerMinute: 100})
}

func TestKeysInOddButUsableForms(t *testing.T) {
	public := &signingKey().PublicKey
	plain := jwk("k", public)
	padded := base64.URLEncoding.EncodeToString(public.N.Bytes())
	for name, set := range map[string]string{
		"as published":         keySetText(plain),
		"padded":               keySetText(with(with(plain, "n", padded), "e", "AQAB====")),
		"with leading zeros":   keySetText(with(plain, "n", base64.RawURLEncoding.EncodeToString(append([]byte{0}, public.N.Bytes()...)))),
		"without use and alg":  keySetText(with(with(plain, "use", gone), "alg", gone)),
		"with foreign members": keySetText(with(plain, "x5t", "abc")),
	} {
		s := newKeyServer(t, set)
		key, err := serverKeys(s).Key(t.Context(), "k")
		if err != nil || !key.Equal(public) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestUnusableKeysAreSkipped(t *testing.T) {
	fine, small := &signingKey().PublicKey, mustGenerate(1024).PublicKey
	k := jwk("k", fine)
	number := func(n *big.Int) string { return base64.RawURLEncoding.EncodeToString(n.Bytes()) }
	for name, bad := range map[string]any{
		"an EC key":                   with(k, "kty", "EC"),
		"an encryption key":           with(k, "use", "enc"),
		"another algorithm":           with(k, "alg", "RS512"),
		"no kid":                      with(k, "kid", gone),
		"a kid too long":              with(k, "kid", strings.Repeat("k", 257)),
		"a small modulus":             jwk("k", &small),
		"an even modulus":             with(k, "n", number(new(big.Int).Sub(fine.N, big.NewInt(1)))),
		"a huge modulus":              with(k, "n", strings.Repeat("_", 1<<14)),
		"no modulus":                  with(k, "n", ""),
		"a modulus in base64":         with(k, "n", "+/+/"),
		"exponent 1":                  with(k, "e", "AQ"),
		"exponent 3":                  with(k, "e", "Aw"),
		"an even exponent":            with(k, "e", number(big.NewInt(65538))),
		"a huge exponent":             with(k, "e", number(new(big.Int).Lsh(big.NewInt(1), 80))),
		"a modulus that is no string": with(k, "n", 7),
		"a string":                    "key",
		"null":                        nil,
	} {
		s := newKeyServer(t, text(object{"keys": []any{bad, jwk("good", fine)}}))
		keys := serverKeys(s)
		if _, err := keys.Key(t.Context(), "good"); err != nil {
			t.Errorf("%s spoils the set: %v", name, err)
		}
		if _, err := keys.Key(t.Context(), "k"); outcome(err) != "unknown" {
			t.Errorf("%s: got %v", name, err)
		}
	}
	s := newKeyServer(t, keySetText(jwk("k", fine), jwk("k", &otherKey().PublicKey)))
	if key, err := serverKeys(s).Key(t.Context(), "k"); err != nil || !key.Equal(fine) {
		t.Errorf("a kid twice: got %v, want the first", err)
	}
}

func TestAnswersThatAreNoKeySet(t *testing.T) {
	set := keySetText(jwk("k", &signingKey().PublicKey))
	write := func(status int, text string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status); fmt.Fprint(w, text) }
	}
	for name, answer := range map[string]http.HandlerFunc{
		"no JSON":         write(200, "<html>"),
		"empty":           write(200, ""),
		"no keys":         write(200, `{"keys":[]}`),
		"no member keys":  write(200, `{}`),
		"a list":          write(200, `[]`),
		"only bad keys":   write(200, `{"keys":[{"kty":"RSA","kid":"k"}]}`),
		"status 201":      write(201, set),
		"status 404":      write(404, set),
		"status 500":      write(500, set),
		"too large":       write(200, strings.Repeat(" ", 1<<20)+set),
		"a redirect":      func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) },
		"a broken answer": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newKeyServer(t, "")
			s.handle(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/elsewhere" {
					fmt.Fprint(w, set)
					return
				}
				answer(w, r)
			})
			keys := serverKeys(s)
			if _, err := keys.Key(t.Context(), "k"); !strings.HasPrefix(outcome(err), "unavailable") || keys.Loaded() {
				t.Errorf("got %v", err)
			}
			s.serve(set)
			if _, err := keys.Key(t.Context(), "k"); err != nil {
				t.Errorf("afterwards: %v", err)
			}
			for _, path := range s.fetches() {
				if path != "/jwks" {
					t.Errorf("fetched %q", path)
				}
			}
		})
	}
	almost := newKeyServer(t, strings.Repeat(" ", 1<<20-len(set))+set)
	if _, err := serverKeys(almost).Key(t.Context(), "k"); err != nil {
		t.Errorf("a set of exactly the largest size: %v", err)
	}
}
