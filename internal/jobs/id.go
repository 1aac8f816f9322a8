package jobs

import (
	"crypto/sha256"
	"encoding/hex"
)

// idSize is how many bytes of a SHA-256 make an id: 16, so that two of a
// billion different events share one with a chance below one in 10^20.
const idSize = 16

// EventID is the job id of an event whose content tells it from every other
// one. content is the digest of the canonical body; the endpoint is part of
// the id because two triggers may deliver one event to two endpoints, and
// both must run.
func EventID(installation, endpoint string, content [32]byte) string {
	return hash("event", installation, endpoint, string(content[:]))
}

// CallID is the job id of a delivery whose content cannot tell two real calls
// apart: the id of the invocation goes in too.
func CallID(installation, endpoint string, content [32]byte, invocation string) string {
	return hash("call", installation, endpoint, string(content[:]), invocation)
}

// ContentKey is where the job id of such a delivery is remembered, so that a
// redelivery, which comes with another invocation id, finds it.
func ContentKey(installation, endpoint string, content [32]byte) string {
	return hash("content", installation, endpoint, string(content[:]))
}

// ScheduleKey is where the last accepted run of a scheduled trigger is
// remembered.
func ScheduleKey(installation, trigger string) string {
	return hash("schedule", installation, trigger)
}

// RuleID is the id of the job that carries out one of several rules that match
// an event.
func RuleID(event, rule string) string {
	return hash("rule", event, rule)
}

// hash separates its parts by their lengths, so that no two lists of parts
// give the same text.
func hash(parts ...string) string {
	h := sha256.New()
	var size [4]byte
	for _, p := range parts {
		size[0], size[1], size[2], size[3] = byte(len(p)>>24), byte(len(p)>>16), byte(len(p)>>8), byte(len(p))
		h.Write(size[:])
		h.Write([]byte(p))
	}
	return hex.EncodeToString(h.Sum(nil)[:idSize])
}
