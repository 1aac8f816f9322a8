package simulator_test

import (
	"crypto"
	"crypto/hmac"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"strings"
	"testing"
	"time"

	"bellows/internal/forge"
	"bellows/internal/simulator"
)

// wrong says what a strict verifier finds wrong with a token, or "".
func wrong(t *testing.T, d *desk, token string) string {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return "parts"
	}
	if strings.Contains(token, "=") {
		return "padding"
	}
	var header, claims map[string]any
	if json.Unmarshal(decode(t, parts[0]), &header) != nil || json.Unmarshal(decode(t, parts[1]), &claims) != nil {
		return "json"
	}
	if header["alg"] != "RS256" || header["jku"] != nil || header["x5u"] != nil {
		return "header"
	}
	kid, _ := header["kid"].(string)
	key := d.keySet(t)[kid]
	if key == nil {
		return "kid"
	}
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if rsa.VerifyPKCS1v15(key, crypto.SHA256, sum[:], decode(t, parts[2])) != nil {
		return "signature"
	}
	return wrongClaims(claims)
}

func wrongClaims(claims map[string]any) string {
	now := float64(time.Now().Unix())
	exp, _ := claims["exp"].(float64)
	nbf, _ := claims["nbf"].(float64)
	contexts, _ := dig(claims, "app.installation.contexts").([]any)
	switch {
	case exp < now-5, nbf > now+5, claims["iat"] == nil:
		return "times"
	case claims["iss"] != "forge/invocation-token", claims["aud"] != appID, dig(claims, "app.id") != appID:
		return "who"
	case claims["jti"] == nil, len(contexts) == 0, claims["icLabel"] != nil:
		return "claims"
	case claims["principal"] != nil:
		return "front end"
	}
	return ""
}

// legal are the faults that a strict verifier accepts.
var legal = map[string]bool{
	"no-cloud-id": true, "no-context": true, "old-license": true, "inactive-license": true, "development": true,
	"no-authorization": true, "authorization-twice": true, "no-system-token": true, "expired-system-token": true,
}

func TestEveryFaultIsFoundByAStrictVerifier(t *testing.T) {
	d := newDesk(t, nil)
	healthy, err := d.FIT(simulator.FITOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if problem := wrong(t, d, healthy); problem != "" {
		t.Fatalf("a healthy token has a wrong %s", problem)
	}
	for _, fault := range simulator.FITFaults() {
		token, err := d.FIT(simulator.FITOptions{Faults: []string{fault.Name}})
		if err != nil {
			t.Errorf("%s: %v", fault.Name, err)
			continue
		}
		if problem := wrong(t, d, token); (problem == "") != legal[fault.Name] {
			t.Errorf("%s: verifier finds %q wrong", fault.Name, problem)
		}
	}
}

func TestHS256IsSignedWithThePublicKey(t *testing.T) {
	d := newDesk(t, nil)
	token, err := d.FIT(simulator.FITOptions{Faults: []string{"hs256"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range d.keySet(t) {
		der, err := x509.MarshalPKIXPublicKey(key)
		if err != nil {
			t.Fatal(err)
		}
		mac := hmac.New(sha256.New, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
		mac.Write([]byte(token[:strings.LastIndexByte(token, '.')]))
		if !hmac.Equal(mac.Sum(nil), decode(t, token[strings.LastIndexByte(token, '.')+1:])) {
			t.Error("the confusion of HMAC and RSA would not succeed against a careless verifier")
		}
	}
}

func TestFaultsOfHeaders(t *testing.T) {
	d := newDesk(t, nil)
	with := func(fault string) http.Header {
		d.trigger(t, simulator.TriggerRequest{Event: created, DeliveryOptions: simulator.DeliveryOptions{Faults: []string{fault}}})
		return d.backend.next(t).header
	}
	if h := with("no-authorization"); len(h["Authorization"]) != 0 {
		t.Error("authorization is there")
	}
	if h := with("authorization-twice"); len(h["Authorization"]) != 2 {
		t.Errorf("authorization comes %d times", len(h["Authorization"]))
	}
	if h := with("no-system-token"); h.Get("X-Forge-Oauth-System") != "" {
		t.Error("system token is there")
	}
	token := with("expired-system-token").Get("X-Forge-Oauth-System")
	res, _ := d.api(t, token, "GET", d.base("jira")+"/rest/api/3/myself", "")
	if res.StatusCode != 401 || res.Header.Get("X-Simulator-Reason") != "token expired" {
		t.Errorf("expired token: %d, %q", res.StatusCode, res.Header.Get("X-Simulator-Reason"))
	}
}

func TestAFrontEndsToken(t *testing.T) {
	d := newDesk(t, nil)
	token, err := d.FIT(simulator.FITOptions{
		Principal: "someone", Module: "panel", ModuleType: "jira:issuePanel", ICLabel: "orange",
		Context: map[string]any{"extension": map[string]any{"type": "jira:issuePanel"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	claims := d.claimsOf(t, token)
	if claims["principal"] != "someone" || dig(claims, "app.module.key") != "panel" || claims["icLabel"] != "orange" || dig(claims, "context.extension.type") != "jira:issuePanel" {
		t.Errorf("claims are %v", claims)
	}
	if _, err := d.FIT(simulator.FITOptions{Faults: []string{"made-up"}}); err == nil {
		t.Error("an unknown fault is accepted")
	}
}

func TestABitbucketTokenHasBracesInOnePlaceOnly(t *testing.T) {
	d := newDesk(t, nil)
	made, err := d.client.Install(t.Context(), simulator.InstallRequest{Products: []string{"bitbucket"}, Silent: true})
	if err != nil {
		t.Fatal(err)
	}
	token, err := d.FIT(simulator.FITOptions{Product: "bitbucket"})
	if err != nil {
		t.Fatal(err)
	}
	claims := d.claimsOf(t, token)
	contexts, _ := dig(claims, "app.installation.contexts").([]any)
	id := made.Installation.WorkspaceID
	if len(contexts) != 1 || dig(contexts[0], "workspaceId") != id || dig(contexts[0], "cloudId") != nil || dig(claims, "context.workspaceId") != "{"+id+"}" {
		t.Errorf("claims are %v", claims)
	}
}

func TestTheKeySetOnCommand(t *testing.T) {
	d := newDesk(t, func(c *simulator.Config) { c.Keys = 2 })
	ctx := t.Context()
	before := d.keySet(t)
	if len(before) != 2 {
		t.Fatalf("there are %d keys", len(before))
	}
	old, err := d.FIT(simulator.FITOptions{})
	if err != nil {
		t.Fatal(err)
	}
	key, err := d.client.RotateKeys(ctx, simulator.RotateRequest{})
	if err != nil {
		t.Fatal(err)
	}
	fresh, err := d.client.FIT(ctx, simulator.FITOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if before[key.ID] != nil || len(d.keySet(t)) != 3 || wrong(t, d, fresh) != "" || wrong(t, d, old) != "" {
		t.Error("after a rotation both tokens should do")
	}
	if _, err := d.client.RotateKeys(ctx, simulator.RotateRequest{DropOthers: true}); err != nil {
		t.Fatal(err)
	}
	if wrong(t, d, fresh) != "kid" || len(d.keySet(t)) != 1 {
		t.Error("old keys should be gone")
	}
	if _, err := d.client.DropKey(ctx, simulator.Key{}); err == nil {
		t.Error("the only key was dropped")
	}
	if err := d.client.SetKeySetMode(ctx, simulator.KeySetMode{Status: 503}); err != nil {
		t.Fatal(err)
	}
	d.must(t, "", 503, "GET", d.client.URL+"/.well-known/jwks.json", "")
	if err := d.client.SetKeySetMode(ctx, simulator.KeySetMode{Padded: true}); err != nil {
		t.Fatal(err)
	}
	set := d.must(t, "", 200, "GET", d.client.URL+"/.well-known/jwks.json", "")
	if keys, _ := set["keys"].([]any); len(keys) != 1 || !strings.HasSuffix(dig(keys[0], "n").(string), "==") {
		t.Errorf("padded set is %v", set)
	}
	if state, err := d.client.State(ctx); err != nil || state.KeySetFetches == 0 || !state.KeySet.Padded {
		t.Errorf("state is %+v, %v", state, err)
	}
}

func TestBellowsOwnVerifierAgrees(t *testing.T) {
	d := newDesk(t, nil)
	keys := forge.NewKeySet(forge.KeySetConfig{URL: d.client.URL + "/.well-known/jwks.json"})
	verifier, err := forge.NewVerifier(forge.VerifierConfig{AppID: appID, Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	verify := func(faults ...string) (forge.Invocation, error) {
		token, err := d.FIT(simulator.FITOptions{Faults: faults})
		if err != nil {
			t.Fatal(err)
		}
		return verifier.Verify(t.Context(), []string{"Bearer " + token})
	}
	invocation, err := verify()
	if err != nil || invocation.Installation != d.Installations()[0].ID || invocation.FrontEnd() {
		t.Fatalf("invocation is %+v, %v", invocation, err)
	}
	for _, fault := range simulator.FITFaults() {
		invocation, err := verify(fault.Name)
		switch {
		case fault.Name == "front-end": // genuine, but not to be let in on a hook
			if err != nil || !invocation.FrontEnd() {
				t.Errorf("front-end: %v", err)
			}
		case (err == nil) != legal[fault.Name]:
			t.Errorf("%s: error is %v", fault.Name, err)
		}
	}
}
