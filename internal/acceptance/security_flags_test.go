package acceptance

import (
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// What is given to the wrong flag, or broken, is a secret all the same.
func TestKeysGivenWronglyAreRefusedAndNotRepeated(t *testing.T) {
	h := newHouse(t, setup{Rules: mixedRules})
	text, err := os.ReadFile(h.vaultKey)
	must(t, err)
	private := strings.TrimSpace(string(text))
	hidden := secrets{"the private key": private, "the middle of the private key": private[len(private)-30 : len(private)-5]}
	broken := write(t, filepath.Join(h.dir, "broken.key"), private[:len(private)-3])
	common := []string{"--ops-listen", "127.0.0.1:0", "--nats", h.natsURL()}
	in := append([]string{"--listen", "127.0.0.1:0", "--manifest", h.manifest, "--jwks-url", h.forge.keySetURL()}, common...)
	work := append([]string{"--config", h.rules, "--api-host", h.api.host()}, common...)
	for _, row := range []struct {
		name, program string
		args          []string
		code          int
	}{
		{"a private key for ingest", "ingest", append([]string{"--vault-public-key", private}, in...), 1},
		{"a private key in a file for ingest", "ingest", append([]string{"--vault-public-key-file", h.vaultKey}, in...), 1},
		{"a private key to a flag that ingest does not have", "ingest", append([]string{"--vault-key", private}, in...), 2},
		{"the same with an equals sign", "ingest", append([]string{"--vault-key=" + private}, in...), 2},
		{"both forms at once", "ingest", append([]string{"--vault-public-key", private, "--vault-public-key-file", h.vaultPub}, in...), 1},
		{"a key cut short for a worker", "worker", append([]string{"--vault-key-file", broken}, work...), 1},
		{"a key cut short in a flag", "worker", append([]string{"--vault-key", private[:len(private)-3]}, work...), 1},
		{"a good key and a broken one", "worker", append([]string{"--vault-key", private + "," + private[3:]}, work...), 1},
		{"a public key for a worker", "worker", append([]string{"--vault-key-file", h.vaultPub}, work...), 1},
	} {
		stdout, stderr, code := runTool(t, filepath.Join(binaries, row.program), row.args)
		if code != row.code || !strings.Contains(stderr, "error: ") {
			t.Errorf("%s: ended with %d and %q, want %d and an error", row.name, code, stderr, row.code)
		}
		hidden.in(t, row.name, stdout+stderr)
	}
}

// A password in the address of NATS is for NATS alone.
func TestAPasswordInTheAddressOfNATSIsNotLogged(t *testing.T) {
	h := newHouse(t, setup{Rules: mixedRules})
	u, err := url.Parse(h.natsURL())
	must(t, err)
	u.User = url.UserPassword("bellows", "correct-horse-battery")
	in := h.ingest("--nats", u.String())
	worker := h.worker("--nats", u.String())
	s := h.newSite()
	h.deliver(in, delivery{Site: s, Body: keyed("PASS-1"), Token: h.forge.systemToken(s, time.Now().Add(time.Hour))})
	h.nats.kill()
	eventually(t, 10*time.Second, func() string {
		if !strings.Contains(in.logs(), "NATS connection lost") || !strings.Contains(worker.logs(), "NATS connection lost") {
			return "the loss of NATS is not logged"
		}
		return ""
	})
	h.deliver(in, delivery{Site: s, Body: keyed("PASS-2")})
	h.startNATS()
	eventually(t, 10*time.Second, func() string {
		if !strings.Contains(in.logs(), "NATS connection regained") || !strings.Contains(worker.logs(), "NATS connection regained") {
			return "the return of NATS is not logged"
		}
		return ""
	})
	hidden := secrets{"the password": "correct-horse-battery"}
	for _, p := range []*process{in, worker} {
		hidden.in(t, p.name+"'s log", p.logs())
		_, metrics := p.get("/metrics")
		hidden.in(t, p.name+"'s metrics", metrics)
	}
}
