package vault

import (
	"encoding/base64"
	"fmt"
	"testing"
	"time"

	"bellows/internal/secret"
)

func FuzzLifeOf(f *testing.F) {
	now := time.Unix(1_790_000_000, 0)
	for _, payload := range []string{
		``, `{}`, `{"exp":1790003600}`, `{"exp":1790003600.5}`, `{"exp":"1790003600"}`, `{"exp":null}`, `{"exp":-5}`,
		`{"exp":1e18}`, `{"exp":1e300}`, `{"exp":1e999}`, `{"exp":[1]}`, `[1]`, `{"exp":1}{`, `{"exp":0.5}`,
	} {
		f.Add([]byte(payload))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		for _, encoded := range []string{
			base64.RawURLEncoding.EncodeToString(payload), base64.URLEncoding.EncodeToString(payload), string(payload),
		} {
			text := "e30." + encoded + ".c2ln"
			ends := lifeOf(secret.NewToken(text), now)
			if ends.After(now.Add(MaxLife)) || ends.Unix() < 1 {
				t.Errorf("payload %q ends at %v", payload, ends)
			}
			if exp, ok := readExpiry(text); !ok && !ends.Equal(now.Add(OpaqueLife)) {
				t.Errorf("payload %q is unreadable and ends at %v", payload, ends)
			} else if ok && exp < float64(now.Add(MaxLife).Unix()) && ends.Unix() != int64(exp) {
				t.Errorf("payload %q says %v and ends at %v", payload, exp, ends)
			}
		}
	})
}

func TestExpiryIsReadBackAsWritten(t *testing.T) {
	for _, exp := range []int64{1, 1_790_003_600, 4_000_000_000} {
		for _, encoding := range []*base64.Encoding{base64.RawURLEncoding, base64.URLEncoding} {
			text := "e30." + encoding.EncodeToString(fmt.Appendf(nil, `{"exp":%d,"aud":"ü"}`, exp)) + ".c2ln"
			if got, ok := readExpiry(text); !ok || got != float64(exp) {
				t.Errorf("%d: got %v, %v", exp, got, ok)
			}
		}
	}
}
