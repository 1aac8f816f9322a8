package secret

import (
	"crypto/ecdh"
	"crypto/hpke"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

const (
	publicPrefix  = "bellows-vault-public-1:"
	privatePrefix = "bellows-vault-private-1:"

	// sealedVersion is the first byte of every sealed value.
	sealedVersion = 1
	// keyIDSize is how many bytes of the public key's SHA-256 name it.
	keyIDSize = 8
	// headerSize is the version byte and the key id before the HPKE output.
	headerSize = 1 + keyIDSize
)

// ErrNoKey means that a sealed value was made for a public key whose private
// key is not in the keyring.
var ErrNoKey = errors.New("no private key for this sealed value")

// ErrNotOpened means that a sealed value is damaged, or was sealed with
// another info string: for another owner, kind or expiry.
var ErrNotOpened = errors.New("sealed value does not open")

// KeyID names a key pair by a part of its public key's SHA-256. It is no
// secret.
type KeyID [keyIDSize]byte

// PublicKey seals. The zero PublicKey cannot seal.
type PublicKey struct {
	key hpke.PublicKey
	id  KeyID
}

// PrivateKey opens what its public half sealed.
type PrivateKey struct {
	scalar *ecdh.PrivateKey
	key    hpke.PrivateKey
	public PublicKey
}

// Keyring is the private keys a process holds, newest first.
type Keyring []PrivateKey

// GenerateKey makes a new key pair from the system's randomness.
func GenerateKey() (PrivateKey, error) {
	scalar, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return PrivateKey{}, fmt.Errorf("generating vault key: %w", err)
	}
	return newPrivateKey(scalar)
}

func newPrivateKey(scalar *ecdh.PrivateKey) (PrivateKey, error) {
	key, err := hpke.NewDHKEMPrivateKey(scalar)
	if err != nil {
		return PrivateKey{}, fmt.Errorf("using vault key: %w", err)
	}
	public, err := newPublicKey(scalar.PublicKey())
	if err != nil {
		return PrivateKey{}, err
	}
	return PrivateKey{scalar: scalar, key: key, public: public}, nil
}

func newPublicKey(point *ecdh.PublicKey) (PublicKey, error) {
	key, err := hpke.NewDHKEMPublicKey(point)
	if err != nil {
		return PublicKey{}, fmt.Errorf("using vault public key: %w", err)
	}
	sum := sha256.Sum256(point.Bytes())
	return PublicKey{key: key, id: KeyID(sum[:keyIDSize])}, nil
}

// ParsePublicKey reads the one-line form that [PublicKey.Text] writes.
// Surrounding white space is ignored.
func ParsePublicKey(text string) (PublicKey, error) {
	raw, err := decodeKey(text, publicPrefix)
	if err != nil {
		return PublicKey{}, fmt.Errorf("reading vault public key: %w", err)
	}
	point, err := ecdh.X25519().NewPublicKey(raw)
	if err != nil {
		return PublicKey{}, fmt.Errorf("reading vault public key: %w", err)
	}
	return newPublicKey(point)
}

// ParseKeyring reads private keys in the form that [PrivateKey.Text] writes,
// separated by commas or line ends, newest first. It needs at least one.
func ParseKeyring(text string) (Keyring, error) {
	var ring Keyring
	for _, part := range strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == '\n' || r == '\r' }) {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		raw, err := decodeKey(part, privatePrefix)
		if err != nil {
			return nil, fmt.Errorf("reading vault key %d: %w", len(ring)+1, err)
		}
		scalar, err := ecdh.X25519().NewPrivateKey(raw)
		if err != nil {
			return nil, fmt.Errorf("reading vault key %d: %w", len(ring)+1, err)
		}
		key, err := newPrivateKey(scalar)
		if err != nil {
			return nil, err
		}
		ring = append(ring, key)
	}
	if len(ring) == 0 {
		return nil, errors.New("reading vault key: there is no key in it")
	}
	return ring, nil
}

// decodeKey never puts the text into an error: it may be a private key.
func decodeKey(text, prefix string) ([]byte, error) {
	text = strings.TrimSpace(text)
	encoded, ok := strings.CutPrefix(text, prefix)
	if !ok {
		return nil, fmt.Errorf("it does not start with %q", prefix)
	}
	raw, err := base64.RawStdEncoding.DecodeString(encoded)
	if err != nil {
		return nil, errors.New("it is not base64 after its prefix")
	}
	return raw, nil
}

// Text returns the key as one line that may be shown to anybody.
func (k PublicKey) Text() string {
	if k.key == nil {
		return ""
	}
	return publicPrefix + base64.RawStdEncoding.EncodeToString(k.key.Bytes())
}

// ID names the key pair.
func (k PublicKey) ID() KeyID { return k.id }

// IsZero reports whether k is no key.
func (k PublicKey) IsZero() bool { return k.key == nil }

// Public returns the half that seals.
func (k PrivateKey) Public() PublicKey { return k.public }

// Text returns the private key as one line, to be written to a file that only
// its owner can read. String and the like do not exist on purpose.
func (k PrivateKey) Text() string {
	return privatePrefix + base64.RawStdEncoding.EncodeToString(k.scalar.Bytes())
}

// Format hides the key from every formatting verb.
func (k PrivateKey) Format(s fmt.State, verb rune) { Token{}.Format(s, verb) }

// Seal encrypts plaintext so that only the private key opens it, and only with
// the same info. The result is a version byte, the 8-byte key id, then the
// HPKE encapsulated key and ciphertext.
func (k PublicKey) Seal(info string, plaintext []byte) ([]byte, error) {
	if k.key == nil {
		return nil, errors.New("sealing: no public key")
	}
	sealed, err := hpke.Seal(k.key, hpke.HKDFSHA256(), hpke.AES256GCM(), []byte(info), plaintext)
	if err != nil {
		return nil, fmt.Errorf("sealing: %w", err)
	}
	out := make([]byte, 0, headerSize+len(sealed))
	out = append(out, sealedVersion)
	out = append(out, k.id[:]...)
	return append(out, sealed...), nil
}

// Open decrypts what Seal made with the same info. It returns an error that
// is [ErrNoKey] or [ErrNotOpened].
func (r Keyring) Open(info string, sealed []byte) ([]byte, error) {
	if len(sealed) < headerSize || sealed[0] != sealedVersion {
		return nil, fmt.Errorf("opening: %w", ErrNotOpened)
	}
	id := KeyID(sealed[1:headerSize])
	for _, k := range r {
		if k.public.id != id {
			continue
		}
		plain, err := hpke.Open(k.key, hpke.HKDFSHA256(), hpke.AES256GCM(), []byte(info), sealed[headerSize:])
		if err != nil {
			return nil, fmt.Errorf("opening: %w", ErrNotOpened)
		}
		return plain, nil
	}
	return nil, fmt.Errorf("opening: %w (key id %x)", ErrNoKey, id)
}

// Newest returns the key that new values are sealed to, the first one.
func (r Keyring) Newest() PublicKey {
	if len(r) == 0 {
		return PublicKey{}
	}
	return r[0].public
}
