package ingestd

import (
	"time"

	"bellows/internal/daemon"
	"bellows/internal/secret"
)

// Flags are the flags of ingest alone.
type Flags struct {
	Listen             string        `name:"listen" default:":8080" help:"Address for Forge's calls."`
	Manifest           string        `name:"manifest" default:"manifest.yml" placeholder:"FILE" help:"The Forge app's manifest."`
	VaultPublicKey     string        `name:"vault-public-key" placeholder:"KEY" help:"Public key that tokens are sealed to; see bellows keygen."`
	VaultPublicKeyFile string        `name:"vault-public-key-file" placeholder:"FILE" help:"File with that key (vault.pub)."`
	JWKSURL            string        `name:"jwks-url" default:"https://forge.cdn.prod.atlassian-dev.net/.well-known/jwks.json" placeholder:"URL" help:"Key set that invocation tokens are verified with."`
	IsolatedCloudJWKS  string        `name:"isolated-cloud-jwks" placeholder:"URL" help:"Key set of Isolated Clouds, with {IC_LABEL} in it. Without it their tokens are refused."`
	Environment        []string      `name:"environment" default:"PRODUCTION" enum:"PRODUCTION,STAGING,DEVELOPMENT" help:"Forge environment that may call (repeatable): PRODUCTION, STAGING, DEVELOPMENT."`
	AllowedOrigin      []string      `name:"allowed-origin" default:"https://*.atlassian.net,https://bitbucket.org" placeholder:"ORIGIN" hidden:"" help:"Origin of front ends that may call routes (repeatable)."`
	MaxBody            daemon.Size   `name:"max-body" default:"1MiB" help:"Largest body that is accepted."`
	BasePath           *string       `name:"base-path" placeholder:"PATH" help:"Path before every endpoint's route. Default: the path of the remote's baseUrl."`
	StrictModules      bool          `name:"strict-modules" help:"Refuse calls whose module key fits no module of the endpoint, instead of logging them."`
	StoreTimeout       time.Duration `name:"store-timeout" hidden:"" default:"4s" help:"How long storing a call may take before 503."`
}

// publicKey reads the key that tokens are sealed to.
func (f Flags) publicKey() (secret.PublicKey, error) {
	text, err := daemon.Either(f.VaultPublicKey, f.VaultPublicKeyFile, "vault-public-key")
	if err != nil {
		return secret.PublicKey{}, err
	}
	key, err := secret.ParsePublicKey(text)
	if err != nil {
		return key, &daemon.Hint{Err: err, Hint: daemon.KeygenHint}
	}
	return key, nil
}
