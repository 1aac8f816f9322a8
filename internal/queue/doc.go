// Package queue keeps jobs in NATS JetStream: it publishes them, hands them to
// workers, puts them back for later, and keeps dead letters. It knows nothing
// of what a job does.
//
// Three streams, named after the prefix (here "bellows"):
//
//	BELLOWS_JOBS     work queue   bellows.jobs.<installation>.<kind>   runnable, one shared consumer
//	                              bellows.held.<installation>.<kind>   waiting for a token
//	                              bellows.delay.<job>                  a schedule that fires into jobs
//	BELLOWS_EFFECTS  limits       bellows.effects.<job>                one record a job
//	BELLOWS_DLQ      limits       bellows.dlq.<installation>.<kind>.<job>   one dead letter a job, 30 days
//
// No limit of a stream ever drops a job: BELLOWS_JOBS has none.
//
// Putting a job elsewhere is always two steps, store the new copy and then
// acknowledge the old one. A crash between them leaves two copies and never
// none. [Queue.Trace] tells a worker that the copy in its hand is the older
// one; it costs requests, so it is asked only when there is a reason: a second
// delivery, or a job marked as redelivered.
//
// When NATS cannot be reached every call fails within its context's time;
// nothing is buffered, so a caller always knows whether a job is stored.
package queue
