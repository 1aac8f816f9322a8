// Package jobs says what a job is, how it is written on the wire, and what
// becomes of it after an attempt. It is pure: no I/O, no clock, no randomness;
// all of those come in as values.
//
// A [Job] is one thing to do for one installation: a product event, a
// lifecycle event, a run of a scheduled trigger, or a call. On the wire it is
// a CloudEvent in the binary mode of the NATS binding: attributes in headers
// (see [Job.Header]), the body as data. It carries no token.
//
// The life of a job:
//
//	                 ┌────────── Delay(until) ──────────┐
//	                 │   ┌────── Wait (for a token) ────┤
//	                 ▼   ▼                              │
//	stored ──────▶ queue ──▶ one attempt ──▶ Decide ────┼──▶ Done
//	                 ▲                          │       │
//	                 └──────── Return ◀─────────┘       └──▶ Dead(reason) = a dead letter
//	                 └──────── replay, run + 1 ◀───────────────┘
//
// [Decide] is the only place that chooses. Between attempts a job is written
// anew, and its generation counts how often: of two copies that a crash left
// behind, the one with the lower generation is stale.
//
// [Effects] is what must be remembered beside the message: calls that were
// begun and not ended (intents), finished steps, and that the job is done.
package jobs
