package simulator

import (
	crand "crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"sync"
)

// source gives ids. The same seed gives the same ids in the same order.
type source struct {
	mu sync.Mutex
	r  *rand.ChaCha8
}

func newSource(seed uint64) *source {
	var full [32]byte
	if seed == 0 {
		_, _ = crand.Read(full[:]) // never fails, see crypto/rand
	} else {
		binary.LittleEndian.PutUint64(full[:], seed)
	}
	return &source{r: rand.NewChaCha8(full)}
}

func (s *source) bytes(n int) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := make([]byte, n)
	_, _ = s.r.Read(b) // never fails, see math/rand/v2
	return b
}

// hex returns n hexadecimal digits; n is even.
func (s *source) hex(n int) string {
	return hex.EncodeToString(s.bytes(n / 2))
}

func (s *source) uuid() string {
	b := s.bytes(16)
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
