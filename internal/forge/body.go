package forge

import (
	"crypto/sha256"
	"strconv"
	"sync"
)

// Body is what one scan of a hook's body found. Nothing in it is signed:
// tenants come from the [Invocation].
type Body struct {
	// JSON is false when the body is no JSON, or nested deeper than 512. Then
	// every other field but Digest and Data is zero. An empty body counts as
	// JSON.
	JSON bool
	// EventType is the member eventType, or else type, of the event; empty if
	// it is absent or no plausible event name ([A-Za-z0-9:._/-]{1,255}).
	EventType string
	// Retry reports whether there is a retryContext, at the root or under
	// payload; RetryCount (0 when unreadable) and RetryReason are from it.
	Retry       bool
	RetryCount  int
	RetryReason string
	// Distinct reports whether the content tells two real events apart: it has
	// timestamp, eventCreatedDate, sequenceNumber, or the id of a CloudEvent.
	Distinct bool
	// ContextARI is the member context if it is a string; ContextCloudID and
	// ContextModuleKey are from it if it is an object.
	ContextARI       string
	ContextCloudID   string
	ContextModuleKey string
	// WorkspaceUUID is workspace.uuid without braces.
	WorkspaceUUID string
	// Digest is the SHA-256 of the event in canonical form: members sorted at
	// every depth, no insignificant space, strings escaped in one way, numbers
	// as written; without retryContext and context of the root and of a
	// payload wrapper, without every contextToken, and without the wrapper. It
	// is the same for all deliveries of one event. Of what is no JSON it is
	// the SHA-256 of the bytes.
	Digest [sha256.Size]byte
	// Data is the body as sent without every contextToken member. It shares
	// memory with the input when there is none to take out.
	Data []byte

	// outer is the context beside a payload wrapper that has its own.
	outer contextNames
}

// contextNames are the places that a member context may name.
type contextNames struct{ ari, cloudID, moduleKey string }

const (
	// maxBodyDepth bounds the nesting of a body; the deepest events hold
	// rich text of a few dozen levels.
	maxBodyDepth = 512
	// maxEventName is the longest plausible event name, in bytes.
	maxEventName = 255
	// maxMember bounds the other strings that a scan returns, in bytes.
	maxMember = 1024
)

// ScanBody reads a body once. It never fails; see [Body].
//
// A body whose only member, apart from retryContext, context and contextToken,
// is an object named payload counts as wrapped: Atlassian's text on redelivery
// shows such a form. Whether it has a retryContext does not matter for that,
// so that a first delivery and a second one are read alike. Data stays wrapped.
func ScanBody(data []byte) Body {
	s := scans.Get().(*bodyScan)
	defer s.giveBack()
	s.data = data
	if s.space(); s.pos == len(data) {
		return Body{JSON: true, Digest: sha256.Sum256(nil), Data: data[:0]}
	}
	ok := s.value(0, levelRoot)
	s.space()
	if !ok || s.pos != len(data) {
		return Body{Digest: sha256.Sum256(data), Data: scrub(data)}
	}
	return s.body()
}

var scans = sync.Pool{New: func() any { return new(bodyScan) }}

// maxKept is the largest buffer that is kept for later scans, in bytes.
const maxKept = 4 << 20

func (s *bodyScan) giveBack() {
	if cap(s.canon)+cap(s.spare)+cap(s.side)+cap(s.reduced) > maxKept {
		return
	}
	*s = bodyScan{
		canon: s.canon[:0], spare: s.spare[:0], side: s.side[:0], reduced: s.reduced[:0],
		members: s.members[:0], cuts: s.cuts[:0],
	}
	scans.Put(s)
}

// body puts together what the scan found.
func (s *bodyScan) body() Body {
	b := Body{JSON: true, Data: s.withoutCuts()}
	event := &s.root
	b.readRetry(s)
	context := s.contextOf(&s.root)
	if s.wrapped() {
		event = &s.payload
		b.Digest = sha256.Sum256(s.unwrapped())
		if event[fieldContext].end > 0 {
			b.outer, context = context, s.contextOf(event)
		}
	} else {
		b.Digest = sha256.Sum256(s.canon)
	}
	b.ContextARI, b.ContextCloudID, b.ContextModuleKey = context.ari, context.cloudID, context.moduleKey
	b.EventType = s.eventType(event)
	b.Distinct = s.distinct(event)
	b.WorkspaceUUID = withoutBraces(bounded(lookup(s.get(event, fieldWorkspace), "uuid")))
	return b
}

func (b *Body) readRetry(s *bodyScan) {
	value := s.get(&s.root, fieldRetry)
	if isAbsent(value) {
		value = s.get(&s.payload, fieldRetry)
	}
	if isAbsent(value) {
		return
	}
	b.Retry = true
	if count, err := strconv.Atoi(string(lookup(value, "retryCount"))); err == nil && count > 0 {
		b.RetryCount = count
	}
	b.RetryReason = bounded(lookup(value, "retryReason"))
}

func (s *bodyScan) eventType(event *captured) string {
	value := s.get(event, fieldEventType)
	if isAbsent(value) {
		value = s.get(event, fieldType)
	}
	name := bounded(value)
	if len(name) > maxEventName || !nameBytes.hold(name) {
		return ""
	}
	return name
}

func (s *bodyScan) distinct(event *captured) bool {
	for _, f := range []field{fieldTimestamp, fieldCreated, fieldSequence} {
		if saysSomething(s.get(event, f)) {
			return true
		}
	}
	return saysSomething(s.get(event, fieldSpecVersion)) && saysSomething(s.get(event, fieldID))
}

func (s *bodyScan) contextOf(event *captured) contextNames {
	value := s.get(event, fieldContext)
	return contextNames{
		ari:       bounded(value),
		cloudID:   withoutBraces(bounded(lookup(value, "cloudId"))),
		moduleKey: bounded(lookup(value, "moduleKey")),
	}
}

// isAbsent tells whether a member is missing or null.
func isAbsent(value []byte) bool { return len(value) == 0 || string(value) == "null" }

// saysSomething tells whether a value is a string that is not empty, or a
// number.
func saysSomething(value []byte) bool {
	if len(value) == 0 {
		return false
	}
	c := value[0]
	return c == '"' && len(value) > len(`""`) || c == '-' || c >= '0' && c <= '9'
}

// bounded returns what a canonical JSON string stands for, or "" when value is
// none, is unprintable or too long to be true.
func bounded(value []byte) string {
	if len(value) < len(`""`) || value[0] != '"' || len(value) > maxMember {
		return ""
	}
	text := string(decoded(value[1 : len(value)-1]))
	if !printable.hold(text) {
		return ""
	}
	return text
}

// lookup returns the value of a member of a canonical JSON object, or nil.
func lookup(object []byte, name string) []byte {
	if len(object) <= len(`{}`) || object[0] != '{' {
		return nil
	}
	var found []byte
	l := lexer{data: object, pos: 1}
	for {
		key, _, _ := l.text()
		l.pos++ // the colon
		start := l.pos
		l.skip()
		if string(object[key.start:key.end]) == name {
			found = object[start:l.pos]
		}
		if !l.eat(',') {
			return found
		}
	}
}

// skip passes over a value in text that is known to be canonical JSON.
func (l *lexer) skip() {
	for depth := 0; ; {
		switch l.peek() {
		case '"':
			l.text()
		case '{', '[':
			depth++
			l.pos++
		case '}', ']':
			depth--
			l.pos++
		case ',', ':':
			l.pos++
		default:
			l.scalar()
		}
		if depth == 0 {
			return
		}
	}
}
