package simulator

import (
	"context"
	"sync"
	"time"
)

const (
	// ledgerSize is how many calls, and how many deliveries, are remembered:
	// the newest ones. The counts go on.
	ledgerSize = 10_000
	// ledgerBody is how much of a call's body is kept.
	ledgerBody = 4096
)

// APICall is a call that a product API, or the GraphQL gateway, received.
type APICall struct {
	Sequence int64     `json:"sequence"`
	At       time.Time `json:"at"`
	Method   string    `json:"method"`
	// Path is the whole path, escaped, without the query.
	Path  string `json:"path"`
	Query string `json:"query,omitempty"`
	// Body is the beginning of what was sent.
	Body string `json:"body,omitempty"`
	// Installation and Actor are whose token it was, if it was known: the
	// app's bot account or the impersonated one.
	Installation string `json:"installation,omitempty"`
	Actor        string `json:"actor,omitempty"`
	// Token is "system" or "exchanged"; TokenDigest names it without showing it.
	Token       string `json:"token,omitempty"`
	TokenDigest string `json:"tokenDigest,omitempty"`
	// Status is what was answered; 0 when the connection was dropped.
	Status int `json:"status"`
	// Refused says why the gateway refused the call.
	Refused string `json:"refused,omitempty"`
	// Fault is the id of the fault that changed the answer.
	Fault int64 `json:"fault,omitempty"`
	// Carried says that the product carried the call out, whatever was answered.
	Carried bool `json:"carried"`
}

// Ledger is what the simulator has seen, oldest first.
type Ledger struct {
	// CallsTotal and DeliveriesTotal count since the start or the last reset,
	// also what is no longer in the lists.
	CallsTotal      int64      `json:"callsTotal"`
	DeliveriesTotal int64      `json:"deliveriesTotal"`
	Calls           []APICall  `json:"calls"`
	Deliveries      []Delivery `json:"deliveries"`
}

// LedgerQuery narrows a Ledger down.
type LedgerQuery struct {
	// After leaves out calls and deliveries up to this sequence number. Calls
	// and deliveries are counted in one row.
	After int64
	// Installation, if not empty, leaves out those of others.
	Installation string
	// Wait is how long to wait for something to be in the answer. Zero or
	// less does not wait.
	Wait time.Duration
}

type ledger struct {
	mu         sync.Mutex
	sequence   int64
	total      Ledger // its lists are the whole of what is remembered
	calls      []APICall
	deliveries []Delivery
	changed    chan struct{} // closed and replaced by every addition
}

func newLedger() *ledger {
	return &ledger{changed: make(chan struct{})}
}

// clear forgets everything but the row of sequence numbers.
func (l *ledger) clear() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls, l.deliveries, l.total = nil, nil, Ledger{}
}

func (l *ledger) addCall(c APICall) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.total.CallsTotal++
	c.Sequence = l.nextLocked()
	l.calls = keepNewest(append(l.calls, c))
}

func (l *ledger) addDelivery(d Delivery) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.total.DeliveriesTotal++
	d.Sequence = l.nextLocked()
	l.deliveries = keepNewest(append(l.deliveries, d))
	return d.Sequence
}

func (l *ledger) nextLocked() int64 {
	l.sequence++
	close(l.changed)
	l.changed = make(chan struct{})
	return l.sequence
}

// keepNewest drops the oldest half when a list is twice too long, so that it
// is moved seldom.
func keepNewest[T any](list []T) []T {
	if len(list) < 2*ledgerSize {
		return list
	}
	return append([]T(nil), list[ledgerSize:]...)
}

// read returns what matches q, waiting as q says.
func (l *ledger) read(ctx context.Context, q LedgerQuery) Ledger {
	if q.Wait > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, q.Wait)
		defer cancel()
	}
	for {
		found, changed := l.look(q)
		if q.Wait <= 0 || len(found.Calls)+len(found.Deliveries) > 0 {
			return found
		}
		select {
		case <-ctx.Done():
			return found
		case <-changed:
		}
	}
}

func (l *ledger) look(q LedgerQuery) (Ledger, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	found := Ledger{
		CallsTotal: l.total.CallsTotal, DeliveriesTotal: l.total.DeliveriesTotal,
		Calls: []APICall{}, Deliveries: []Delivery{},
	}
	for _, c := range l.calls {
		if c.Sequence > q.After && (q.Installation == "" || c.Installation == q.Installation) {
			found.Calls = append(found.Calls, c)
		}
	}
	for _, d := range l.deliveries {
		if d.Sequence > q.After && (q.Installation == "" || d.Installation == q.Installation) {
			found.Deliveries = append(found.Deliveries, d)
		}
	}
	return found, l.changed
}

// Ledger returns what the simulator has seen. It waits as q says, and not
// longer than ctx lasts.
func (s *Simulator) Ledger(ctx context.Context, q LedgerQuery) Ledger {
	return s.ledger.read(ctx, q)
}
