package ingest

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"bellows/internal/jobs"
)

// Metrics are the counters of ingest. None has a label that grows with
// tenants.
type Metrics struct {
	Requests       *prometheus.CounterVec // by status and error code
	Seconds        prometheus.Histogram   // from the headers to the answer
	Accepted       *prometheus.CounterVec // jobs by kind, and whether they were known
	Refused        *prometheus.CounterVec // tokens by the check that failed
	StrangeModules prometheus.Counter     // module keys that fit no module of the endpoint
}

// NewMetrics registers the metrics of ingest. With a nil registerer they count
// into nothing.
func NewMetrics(r prometheus.Registerer) *Metrics {
	m := &Metrics{
		Requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "bellows_ingest_requests_total", Help: "Answers by HTTP status and error code."}, []string{"status", "code"}),
		Seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "bellows_ingest_request_seconds", Help: "Time from a call's headers to its answer.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5}}),
		Accepted: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "bellows_ingest_accepted_total", Help: "Calls stored, by kind and whether the job was known."}, []string{"kind", "duplicate"}),
		Refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "bellows_ingest_refused_tokens_total", Help: "Invocation tokens refused, by the check that failed."}, []string{"check"}),
		StrangeModules: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "bellows_ingest_strange_modules_total", Help: "Calls whose module key fits no module of the endpoint."}),
	}
	if r != nil {
		r.MustRegister(m.Requests, m.Seconds, m.Accepted, m.Refused, m.StrangeModules)
	}
	return m
}

func (m *Metrics) answered(status int, code string, took time.Duration) {
	m.Requests.WithLabelValues(strconv.Itoa(status), code).Inc()
	m.Seconds.Observe(took.Seconds())
}

func (m *Metrics) accepted(kind jobs.Kind, duplicate bool) {
	m.Accepted.WithLabelValues(string(kind), strconv.FormatBool(duplicate)).Inc()
}
