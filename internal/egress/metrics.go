package egress

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics are the counters of egress. None has a label that grows with
// tenants.
type Metrics struct {
	// Requests by api (product, storage, forge, graphql, jobs, progress, or
	// none where it did not come so far) and the first digit of the status.
	Requests *prometheus.CounterVec
}

// NewMetrics registers the metrics of egress. With a nil registerer they count
// into nothing.
func NewMetrics(r prometheus.Registerer) *Metrics {
	m := &Metrics{Requests: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "bellows_egress_requests_total", Help: "Requests of handlers to the egress port, by API and class of the answer's status."}, []string{"api", "class"})}
	if r != nil {
		r.MustRegister(m.Requests)
	}
	return m
}

func (m *Metrics) count(api string, status int) {
	if api == "" {
		api = "none"
	}
	m.Requests.WithLabelValues(api, strconv.Itoa(status/100)+"xx").Inc()
}
