package simulator

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"bellows/internal/forge"
)

const (
	// redeliveries follow the first delivery: retryCount goes from 1 to 4
	// (remote essentials page, as of 2026-08-22).
	redeliveries = 4
	// largestBody is what an event may have (invocation limits page, August
	// 2026): a larger one is never delivered.
	largestBody = 200_000
	// answerShown is how much of an answer is kept for people.
	answerShown = 2048
)

// Reasons of a redelivery, as documented for remotes.
const (
	reasonFailed  = "INVALID_REMOTE_INVOCATION_ERROR"
	reasonTimeout = "TIMEOUT_ERROR"
	reasonToken   = "INVALID_FORGE_INVOCATION_TOKEN"
)

// Outcomes of a delivery.
const (
	// OutcomeDelivered means that the last attempt was answered with 2xx.
	OutcomeDelivered = "delivered"
	// OutcomeLost means that no attempt was: Forge has given up.
	OutcomeLost = "lost"
	// OutcomeTooLarge means that the body was over 200 kB and never sent.
	OutcomeTooLarge = "too large"
	// OutcomeStopped means that the caller, or the simulator, went away
	// before the last attempt.
	OutcomeStopped = "stopped"
)

// DeliveryOptions change how Forge delivers.
type DeliveryOptions struct {
	// Faults are names of FITFaults.
	Faults []string `json:"faults,omitempty"`
	// Wrapped puts a redelivery into {"payload": …}, the other form that the
	// documents show.
	Wrapped bool `json:"wrapped,omitempty"`
	// LoseAnswers is how many good answers are lost on their way back, so that
	// the backend gets again what it has accepted.
	LoseAnswers int `json:"loseAnswers,omitempty"`
	// Once sends no redelivery.
	Once bool `json:"once,omitempty"`
}

// Attempt is one request to the backend.
type Attempt struct {
	// Number is the retryCount: 0 for the first delivery.
	Number int       `json:"number"`
	At     time.Time `json:"at"`
	// Status is the answer's; 0 when there was none.
	Status int `json:"status"`
	// DurationMS is how long the answer took, in milliseconds.
	DurationMS float64 `json:"durationMs"`
	// Reason is what Forge would call the failure; empty when it was none.
	Reason string `json:"reason,omitempty"`
	// Error says why there was no answer.
	Error string `json:"error,omitempty"`
	// Answer is the beginning of the answer's body.
	Answer string `json:"answer,omitempty"`
	// TraceID is the value of x-b3-traceid.
	TraceID string `json:"traceId"`
}

// Delivery is one call of Forge's with all its attempts.
type Delivery struct {
	Sequence     int64     `json:"sequence"`
	Event        string    `json:"event"` // "scheduled" and "preUninstall" for these
	Installation string    `json:"installation"`
	Endpoint     string    `json:"endpoint"`
	Trigger      string    `json:"trigger,omitempty"`
	URL          string    `json:"url"`
	Outcome      string    `json:"outcome"`
	Attempts     []Attempt `json:"attempts"`
}

// Last returns the last attempt, or the zero Attempt if there was none.
func (d Delivery) Last() Attempt {
	if len(d.Attempts) == 0 {
		return Attempt{}
	}
	return d.Attempts[len(d.Attempts)-1]
}

// call is something that Forge is about to deliver.
type call struct {
	Delivery
	DeliveryOptions
	product     string
	body        []byte
	contentType string
	limit       time.Duration // for one answer; zero means the usual one
	systemToken bool
	fit         FITOptions // more than the delivery itself knows
}

// deliver makes the attempts of one call and keeps them in the ledger.
func (s *Simulator) deliver(ctx context.Context, c call) Delivery {
	d := c.Delivery
	d.Attempts = []Attempt{}
	switch {
	case len(c.body) > largestBody:
		d.Outcome = OutcomeTooLarge
	default:
		s.attempts(ctx, c, &d)
	}
	d.Sequence = s.ledger.addDelivery(d)
	last := d.Last()
	level := slog.LevelDebug
	if d.Outcome != OutcomeDelivered {
		level = slog.LevelWarn
	}
	s.log.Log(ctx, level, "delivery ended", "event", d.Event, "installation", d.Installation, "outcome", d.Outcome,
		"attempts", len(d.Attempts), "status", last.Status, "error", last.Error)
	return d
}

func (s *Simulator) attempts(ctx context.Context, c call, d *Delivery) {
	d.Outcome = OutcomeLost
	reason := ""
	for n := 0; n <= redeliveries; n++ {
		if n > 0 && !pause(ctx, s.cfg.scaled(redeliveryDelay)) || ctx.Err() != nil {
			d.Outcome = OutcomeStopped
			return
		}
		body := c.body
		if n > 0 {
			body = withRetry(body, n, reason, c.Wrapped)
		}
		a := s.attempt(ctx, c, body)
		a.Number = n
		if a.Reason == "" && c.LoseAnswers > 0 {
			c.LoseAnswers--
			a.Reason = reasonTimeout
		}
		d.Attempts = append(d.Attempts, a)
		if reason = a.Reason; reason == "" {
			d.Outcome = OutcomeDelivered
			return
		}
		if c.Once {
			return
		}
	}
}

// attempt sends one request with a fresh invocation token.
func (s *Simulator) attempt(ctx context.Context, c call, body []byte) Attempt {
	a := Attempt{At: s.now(), TraceID: s.random.hex(16)}
	ctx, cancel := context.WithTimeout(ctx, limitOf(c.limit, s.answerLimit))
	defer cancel()
	req, err := s.request(ctx, c, body, a.TraceID)
	if err != nil {
		a.Reason, a.Error = reasonFailed, err.Error()
		return a
	}
	start := time.Now()
	res, err := s.client.Do(req)
	if err == nil {
		a.Status = res.StatusCode
		a.Answer, err = readAnswer(res.Body)
	}
	a.DurationMS = float64(time.Since(start).Microseconds()) / 1000
	a.Reason = reasonOf(a.Status, err)
	if err != nil {
		a.Error = unwrapURL(err).Error()
	}
	return a
}

func limitOf(own, usual time.Duration) time.Duration {
	if own == 0 {
		return usual
	}
	return own
}

// readAnswer reads an answer to its end, as the time limit is for all of it.
func readAnswer(body io.ReadCloser) (string, error) {
	defer body.Close()
	shown, err := io.ReadAll(io.LimitReader(body, answerShown))
	if err == nil {
		_, err = io.Copy(io.Discard, body)
	}
	return strings.ToValidUTF8(string(shown), "\uFFFD"), err
}

// reasonOf names the failure of an attempt as Forge does, or returns "".
//
//   - If time ran out, it is TIMEOUT_ERROR.
//   - If the backend said 401, it is INVALID_FORGE_INVOCATION_TOKEN.
//   - If the status is 2xx and the answer came whole, there is none.
//   - Otherwise it is INVALID_REMOTE_INVOCATION_ERROR; redirects are among these.
func reasonOf(status int, err error) string {
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return reasonTimeout
	case status == http.StatusUnauthorized:
		return reasonToken
	case err == nil && status >= 200 && status <= 299:
		return ""
	}
	return reasonFailed
}

// request builds the request of one attempt.
func (s *Simulator) request(ctx context.Context, c call, body []byte, trace string) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.URL, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("building request: %w", err)
	}
	o := c.fit
	o.Installation, o.Product, o.Module = c.Installation, c.product, or(o.Module, c.Endpoint)
	o.Faults = c.Faults
	fit, err := s.FIT(o)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(c.Faults, faultNoAuthorization) {
		req.Header.Add("Authorization", "Bearer "+fit)
	}
	if slices.Contains(c.Faults, faultTwice) {
		req.Header.Add("Authorization", "Bearer "+fit)
	}
	switch {
	case !c.systemToken || slices.Contains(c.Faults, faultNoSystemToken):
	case slices.Contains(c.Faults, faultExpiredSystem):
		req.Header.Set(forge.HeaderSystemToken, s.expiredToken(c.Installation).Reveal())
	default:
		req.Header.Set(forge.HeaderSystemToken, s.systemToken(c.Installation).Reveal())
	}
	req.Header.Set(forge.HeaderTraceID, trace)
	req.Header.Set(forge.HeaderSpanID, s.random.hex(16))
	req.Header.Set("Content-Type", or(c.contentType, "application/json"))
	return req, nil
}

// withRetry adds retryContext to a body that is a JSON object and leaves the
// rest of its bytes alone, since a redelivery repeats the payload. Another
// body is sent again as it is.
func withRetry(body []byte, count int, reason string, wrapped bool) []byte {
	trimmed := bytes.TrimSpace(body)
	if !json.Valid(trimmed) || len(trimmed) == 0 || trimmed[0] != '{' {
		return body
	}
	inner := bytes.TrimRight(trimmed[:len(trimmed)-1], " \t\r\n")
	comma := ","
	if inner[len(inner)-1] == '{' {
		comma = ""
	}
	again := fmt.Sprintf(`%s%s"retryContext":{"retryCount":%d,"retryReason":%q,"retryData":null}}`, inner, comma, count, reason)
	if wrapped {
		again = `{"payload":` + again + `}`
	}
	return []byte(again)
}
