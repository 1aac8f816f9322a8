package forge

import (
	"context"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"net/url"
	"strings"
)

const (
	// maxKeySet bounds the answer of a key set's address, in bytes. The real
	// one held six keys on 2026-08-25.
	maxKeySet = 1 << 20
	// maxKeyID bounds a key id, in bytes; those of Forge have 62.
	maxKeyID = 256
	// minModulus and maxModulus bound an RSA key, in bits: RFC 7518 section
	// 3.3 asks for 2048, and what is far above it only costs time.
	minModulus, maxModulus = 2048, 8192
	// minExponent and maxExponent bound the public exponent: FIPS 186-5
	// appendix A.1.1 asks for more than 2^16, crypto/rsa for less than 2^31.
	minExponent, maxExponent = 1<<16 + 1, 1<<31 - 1
)

// download reads the key set at address: keys by their id, at least one.
func download(ctx context.Context, client *http.Client, address string, logger *slog.Logger) (map[string]*rsa.PublicKey, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, errors.New("fetching key set: its address is not a URL")
	}
	request.Header.Set("Accept", "application/json")
	answer, err := client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("fetching key set: %w", withoutURL(err))
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("fetching key set: status is %d, want 200", answer.StatusCode)
	}
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxKeySet+1))
	if err != nil {
		return nil, fmt.Errorf("reading key set: %w", err)
	}
	if len(text) > maxKeySet {
		return nil, fmt.Errorf("reading key set: it is larger than %d bytes", maxKeySet)
	}
	return parseKeySet(text, logger)
}

// withoutURL keeps a query string in the address out of errors and logs.
func withoutURL(err error) error {
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		return wrapped.Err
	}
	return err
}

// jsonWebKey is the part of RFC 7517 that concerns an RSA signing key.
type jsonWebKey struct {
	Type      string `json:"kty"`
	Use       string `json:"use"`
	Algorithm string `json:"alg"`
	ID        string `json:"kid"`
	Modulus   string `json:"n"`
	Exponent  string `json:"e"`
}

// parseKeySet leaves out what is not a usable key; a set without any usable
// key is an error.
func parseKeySet(text []byte, logger *slog.Logger) (map[string]*rsa.PublicKey, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(text, &set); err != nil {
		return nil, fmt.Errorf("reading key set: %w", err)
	}
	keys := make(map[string]*rsa.PublicKey, len(set.Keys))
	for i, raw := range set.Keys {
		id, key, err := parseKey(raw)
		if err == nil && keys[id] != nil {
			err = errors.New("its kid occurs twice")
		}
		if err != nil {
			logger.Warn("skipping a key of the key set", "position", i, "error", err)
			continue
		}
		keys[id] = key
	}
	if len(keys) == 0 {
		return nil, errors.New("reading key set: it has no usable key")
	}
	return keys, nil
}

func parseKey(raw []byte) (id string, key *rsa.PublicKey, err error) {
	var k jsonWebKey
	if err := json.Unmarshal(raw, &k); err != nil {
		return "", nil, errors.New("it is not a JSON Web Key")
	}
	if err := k.check(); err != nil {
		return "", nil, err
	}
	modulus, err := keyNumber(k.Modulus)
	if err != nil {
		return "", nil, fmt.Errorf("its modulus %w", err)
	}
	exponent, err := keyNumber(k.Exponent)
	if err != nil {
		return "", nil, fmt.Errorf("its exponent %w", err)
	}
	key, err = newKey(modulus, exponent)
	return k.ID, key, err
}

func (k jsonWebKey) check() error {
	switch {
	case k.Type != "RSA":
		return errors.New("its kty is not RSA")
	case k.Use != "" && k.Use != "sig":
		return errors.New("its use is not sig")
	case k.Algorithm != "" && k.Algorithm != "RS256":
		return errors.New("its alg is not RS256")
	case k.ID == "" || len(k.ID) > maxKeyID:
		return errors.New("its kid is empty or too long")
	}
	return nil
}

// keyNumber reads Base64urlUInt. Atlassian's set has been seen with base64
// padding, which RFC 7518 does not have.
func keyNumber(text string) (*big.Int, error) {
	raw, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(text, "="))
	if err != nil || len(raw) == 0 {
		return nil, errors.New("is not base64url")
	}
	return new(big.Int).SetBytes(raw), nil
}

func newKey(modulus, exponent *big.Int) (*rsa.PublicKey, error) {
	if bits := modulus.BitLen(); bits < minModulus || bits > maxModulus || modulus.Bit(0) == 0 {
		return nil, fmt.Errorf("its modulus of %d bits is not acceptable", bits)
	}
	if !exponent.IsInt64() || exponent.Int64() < minExponent || exponent.Int64() > maxExponent || exponent.Bit(0) == 0 {
		return nil, errors.New("its exponent is not acceptable")
	}
	return &rsa.PublicKey{N: modulus, E: int(exponent.Int64())}, nil
}
