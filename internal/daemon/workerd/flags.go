package workerd

import (
	"time"

	"bellows/internal/daemon"
	"bellows/internal/secret"
)

// Flags are the flags of the worker alone.
type Flags struct {
	VaultKey               string        `name:"vault-key" placeholder:"KEYS" help:"Private keys that open tokens, comma separated, newest first; see bellows keygen."`
	VaultKeyFile           string        `name:"vault-key-file" placeholder:"FILE" help:"File with those keys (vault.key)."`
	Concurrency            int           `name:"concurrency" default:"64" help:"Jobs that run at once."`
	GraphQLURL             string        `name:"graphql-url" default:"https://api.atlassian.com/graphql" placeholder:"URL" help:"Atlassian's GraphQL gateway."`
	APIHost                []string      `name:"api-host" default:"api.atlassian.com,api.bitbucket.org" placeholder:"HOST" help:"Host or host:port that may be called (repeatable); others are refused."`
	ImpersonationPerMinute int           `name:"impersonation-per-minute" default:"1000" help:"Token exchanges in any 60 s."`
	DrainTimeout           time.Duration `name:"drain-timeout" default:"30s" help:"How long running jobs may go on after SIGTERM."`
	EgressListen           string        `name:"egress-listen" default:"127.0.0.1:9466" placeholder:"ADDRESS" help:"Private address where handlers in other processes reach Atlassian through bellows. Port 0 is any free one."`
	EgressURL              string        `name:"egress-url" placeholder:"URL" help:"What those handlers are told of that address, where it is another to them. Without it, http:// and the address."`
}

// keyring reads the keys that open tokens.
func (f Flags) keyring() (secret.Keyring, error) {
	text, err := daemon.Either(f.VaultKey, f.VaultKeyFile, "vault-key")
	if err != nil {
		return nil, err
	}
	ring, err := secret.ParseKeyring(text)
	if err != nil {
		return nil, &daemon.Hint{Err: err, Hint: daemon.KeygenHint}
	}
	return ring, nil
}
