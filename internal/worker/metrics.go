package worker

import (
	"github.com/prometheus/client_golang/prometheus"

	"bellows/internal/jobs"
)

// Metrics are the counters of a worker. None has a label that grows with
// tenants.
type Metrics struct {
	Running   prometheus.Gauge       // jobs in hand
	Outcomes  *prometheus.CounterVec // attempts by outcome: done, delayed, …, and reason when dead
	Unmatched prometheus.Counter     // jobs that no rule matches
	Skipped   *prometheus.CounterVec // by rule: a "when" met a missing member
}

// NewMetrics registers the metrics of a worker. With a nil registerer they
// count into nothing.
func NewMetrics(r prometheus.Registerer) *Metrics {
	m := &Metrics{
		Running: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "bellows_worker_running_jobs", Help: "Jobs that this worker has in hand."}),
		Outcomes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "bellows_worker_attempts_total", Help: "Attempts by what became of the job."}, []string{"outcome", "reason"}),
		Unmatched: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "bellows_worker_unmatched_jobs_total", Help: "Jobs that no rule matches: done without a call."}),
		Skipped: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "bellows_worker_skipped_rules_total", Help: "Times that a rule's condition met a member the event lacks."}, []string{"rule"}),
	}
	if r != nil {
		r.MustRegister(m.Running, m.Outcomes, m.Unmatched, m.Skipped)
	}
	return m
}

func (m *Metrics) outcome(d jobs.Decision) {
	names := map[jobs.Action]string{
		jobs.ActionDone: "done", jobs.ActionDelay: "delayed", jobs.ActionWait: "waiting", jobs.ActionReturn: "returned", jobs.ActionDead: "dead",
	}
	m.Outcomes.WithLabelValues(names[d.Action], string(d.Reason)).Inc()
}

func (m *Metrics) skip(rule string) { m.Skipped.WithLabelValues(rule).Inc() }
