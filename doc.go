// Package bellows is the server half of Atlassian Forge Remote.
//
// A Forge app may keep its logic on a backend of its own. Forge then posts
// product events, lifecycle events and scheduled triggers to it, and expects
// an answer within five seconds. bellows proves that each call came from
// Forge, stores it in NATS JetStream before it answers, and carries it out
// later against Atlassian's APIs, with the tokens that came in those calls.
// What cannot be done becomes a dead letter that a person can look at and
// replay.
//
// The programs are in cmd: ingest faces the internet, worker does the work,
// and bellows is the tool for people, with a simulator of Forge and Atlassian.
// Start with
//
//	go run ./cmd/bellows demo
//
// docs/architecture.md follows a message through the rooms.
package bellows
