// Package daemon puts the rooms together: the flags, the start and the stop
// that cmd/ingest, cmd/worker and cmd/bellows share.
//
// A daemon starts in this order: what can be wrong without any network (flags,
// manifest, rules, keys) is checked first and refused; then the ports open;
// then NATS is awaited and what is missing there is created. Until that is
// done /readyz says what is missing, and ingest answers 503.
package daemon
