package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	// TokenMaxAge is how long a sealed token stays in the bucket. Forge's
	// tokens live four hours at most (developer.atlassian.com changelog,
	// CHANGE-2160) and are counted as living five at most, so none is dropped
	// while it is of use, and none is kept much longer than that.
	TokenMaxAge = 6 * time.Hour

	// TokenMetaMaxAge is how long it is known that there was a token. It must
	// exceed TokenMaxAge, since the record leads to the token. A day is long
	// enough to say "the last one ended at four this morning" where nothing
	// arrives any more, and short enough that the users of all installations
	// do not pile up.
	TokenMetaMaxAge = 24 * time.Hour

	// tokenHistory is how many sealed tokens of one owner are kept. A reader
	// wants the one that the record names, also when processes that race have
	// written others after it.
	tokenHistory = 8

	// markerTTL is how long the server shows that a key was purged or has
	// expired. A watch that was away for longer finds out by comparison.
	markerTTL = 5 * time.Minute
)

// layout is what a bucket must be like.
type layout struct {
	name    string
	history int64
	maxAge  time.Duration // 0: values stay
	expires bool          // single keys may expire
}

var layouts = []layout{
	{name: Tokens, history: tokenHistory, maxAge: TokenMaxAge},
	{name: TokensMeta, history: 1, maxAge: TokenMetaMaxAge, expires: true},
	{name: Exchanged, history: 1, expires: true},
	{name: Installations, history: 1, expires: true},
	{name: Holds, history: 1, expires: true},
	{name: Results, history: 1, expires: true},
	{name: Tickets, history: 1, expires: true},
	{name: Nodes, history: 1, expires: true},
}

// Setup creates the buckets that are missing, with so many replicas (zero
// means one). It never changes or deletes a bucket that exists; one that
// bellows could not work with is an error that names it, what is wrong and the
// remedy. Several processes may call it at once.
func (s *Store) Setup(ctx context.Context, replicas int) error {
	if replicas < 0 {
		return fmt.Errorf("setting up buckets: %d replicas are not possible", replicas)
	}
	var errs []error
	for _, l := range layouts {
		if err := s.ensure(ctx, l.config(s.prefix, max(replicas, 1))); err != nil {
			errs = append(errs, err)
		}
		if ctx.Err() != nil {
			break
		}
	}
	return errors.Join(errs...)
}

func (l layout) config(prefix string, replicas int) jetstream.StreamConfig {
	bucket := prefix + "_" + l.name
	c := jetstream.StreamConfig{
		Name:              "KV_" + bucket,
		Subjects:          []string{"$KV." + bucket + ".>"},
		Storage:           jetstream.FileStorage,
		Retention:         jetstream.LimitsPolicy,
		Replicas:          replicas,
		MaxMsgsPerSubject: l.history,
		MaxMsgs:           -1,
		MaxBytes:          -1,
		MaxMsgSize:        -1,
		MaxConsumers:      -1,
		MaxAge:            l.maxAge,
		Discard:           jetstream.DiscardNew,
		AllowRollup:       true,
		DenyDelete:        true,
		AllowDirect:       true,
	}
	if l.expires {
		c.AllowMsgTTL = true
		c.SubjectDeleteMarkerTTL = markerTTL
	}
	return c
}

func (s *Store) ensure(ctx context.Context, want jetstream.StreamConfig) error {
	have, err := s.js.Stream(ctx, want.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		_, err = s.js.CreateStream(ctx, want)
		if err == nil {
			return nil
		}
		if !errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
			return fmt.Errorf("creating bucket %q: %w%s", bucketOf(want), err, deniedHint(err, "CREATE", want.Name))
		}
		// Another process was faster.
		have, err = s.js.Stream(ctx, want.Name)
	}
	if err != nil {
		return fmt.Errorf("looking for bucket %q: %w%s", bucketOf(want), err, deniedHint(err, "INFO", want.Name))
	}
	return check(have.CachedInfo().Config, want)
}

func bucketOf(c jetstream.StreamConfig) string { return c.Name[len("KV_"):] }

// deniedHint explains the silence that NATS gives to what it does not permit.
func deniedHint(err error, verb, stream string) string {
	if !errors.Is(err, context.DeadlineExceeded) {
		return ""
	}
	return fmt.Sprintf(" (no answer: is the connection up, and may this user publish to \"$JS.API.STREAM.%s.%s\"?)", verb, stream)
}

// check reports what would break bellows in a bucket that somebody else made.
// Anything else is the operator's choice.
func check(have, want jetstream.StreamConfig) error {
	var errs []error
	refuse := func(ok bool, field string, is, must any, remedy string) {
		if !ok {
			errs = append(errs, fmt.Errorf("checking bucket %q: %s is %v, want %v; %s", bucketOf(want), field, is, must, remedy))
		}
	}
	edit := fmt.Sprintf("change it with \"nats stream edit %s\"", want.Name)
	again := fmt.Sprintf("it cannot be changed: back up and delete stream %q, and it is made anew", want.Name)

	refuse(slices.Contains(have.Subjects, want.Subjects[0]), "subjects", have.Subjects, want.Subjects, edit)
	refuse(have.Retention == want.Retention, "retention", have.Retention, want.Retention, again)
	refuse(have.Storage == want.Storage || want.Storage == jetstream.MemoryStorage, "storage", have.Storage, want.Storage, again)
	refuse(have.MaxMsgsPerSubject >= want.MaxMsgsPerSubject, "history", have.MaxMsgsPerSubject, atLeast(want.MaxMsgsPerSubject), edit)
	refuse(have.MaxAge == 0 || want.MaxAge > 0 && have.MaxAge >= want.MaxAge, "max age", have.MaxAge, wantedAge(want.MaxAge), edit)
	refuse(have.AllowRollup, "allow rollup", have.AllowRollup, true, edit)
	refuse(have.AllowMsgTTL || !want.AllowMsgTTL, "allow message TTL", have.AllowMsgTTL, true, edit)
	refuse(have.SubjectDeleteMarkerTTL > 0 || want.SubjectDeleteMarkerTTL == 0, "subject delete marker TTL",
		have.SubjectDeleteMarkerTTL, want.SubjectDeleteMarkerTTL, edit)
	return errors.Join(errs...)
}

func atLeast(n any) string { return fmt.Sprintf("at least %v", n) }

func wantedAge(d time.Duration) string {
	if d == 0 {
		return "none"
	}
	return atLeast(d)
}
