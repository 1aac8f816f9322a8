package ingest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"bellows/internal/forge"
	"bellows/internal/installations"
	"bellows/internal/jobs"
	"bellows/internal/manifest"
	"bellows/internal/secret"
	"bellows/internal/vault"
)

// call is one call of a hook on its way into the queue.
type call struct {
	h    *hook
	inv  forge.Invocation
	body forge.Body
	job  jobs.Job
	// schedule is the trigger of a scheduled call.
	schedule *manifest.ScheduledTrigger
}

// take reads the body and stores the job.
func (s *Server) take(w http.ResponseWriter, r *http.Request, h *hook, inv forge.Invocation) answer {
	data, err := s.read(w, r)
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return s.tooLarge()
	case err != nil:
		return refuse(http.StatusBadRequest, "body_unreadable", "the body ended before its declared length")
	}
	c := &call{h: h, inv: inv, body: forge.ScanBody(data)}
	if member := c.body.Mismatch(inv); member != "" {
		s.log.Warn("body names another site than the invocation token", "member", member, "installation", inv.Installation)
		return refuse(http.StatusForbidden, "tenant_mismatch", "the body's "+member+" names another site than the invocation token")
	}
	c.describe(r, s.Now().UTC())
	ctx, cancel := context.WithTimeout(r.Context(), s.storeTimeout())
	defer cancel()
	return s.store(ctx, c, r.Header)
}

func (s *Server) read(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	var b bytes.Buffer
	if r.ContentLength > 0 {
		b.Grow(int(r.ContentLength) + bytes.MinRead)
	}
	if _, err := b.ReadFrom(http.MaxBytesReader(w, r.Body, s.maxBody())); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("reading body: %w", err)
	}
	return b.Bytes(), nil
}

// describe fills in what the job is, all but its id.
func (c *call) describe(r *http.Request, now time.Time) {
	var random [24]byte
	_, _ = rand.Read(random[:]) // never fails, see crypto/rand
	c.job = jobs.Job{
		Installation: c.inv.Installation, Source: c.inv.AppID, Subject: c.inv.InstallationARI, Time: now, Since: now,
		ContentType: contentType(r, c.body), Module: c.inv.ModuleKey, Route: c.h.Path, Principal: c.inv.Principal,
		AppVersion: c.inv.AppVersion, Environment: c.inv.EnvironmentType, Attempt: 1, Redelivered: c.body.Retry,
		Traceparent: forge.Traceparent(r.Header.Get(forge.HeaderTraceID), r.Header.Get(forge.HeaderSpanID), random),
		Data:        c.body.Data,
	}
	c.classify()
}

func contentType(r *http.Request, body forge.Body) string {
	if ct := r.Header.Get("Content-Type"); ct != "" && len(ct) <= 200 {
		return ct
	}
	if body.JSON {
		return "application/json"
	}
	return "application/octet-stream"
}

// classify says of what kind the call is. An endpoint may serve several: then
// the module key tells, in the token or in the body, and else the event name.
func (c *call) classify() {
	named := func(key string) bool { return key != "" && (key == c.inv.ModuleKey || key == c.body.ContextModuleKey) }
	for i := range c.h.Scheduled {
		if named(c.h.Scheduled[i].Key) {
			c.scheduled(&c.h.Scheduled[i])
			return
		}
	}
	for _, p := range c.h.PreUninstall {
		if named(p.Key) {
			c.job.Kind, c.job.Type = jobs.KindLifecycle, jobs.TypePreUninstall
			return
		}
	}
	switch {
	case c.body.EventType != "":
		c.job.Kind, c.job.Type = jobs.KindEvent, c.body.EventType
		if strings.HasPrefix(c.body.EventType, "avi:forge:") {
			c.job.Kind = jobs.KindLifecycle
		}
	case len(c.h.Scheduled) > 0:
		c.scheduled(&c.h.Scheduled[0])
	case len(c.h.PreUninstall) > 0:
		c.job.Kind, c.job.Type = jobs.KindLifecycle, jobs.TypePreUninstall
	default:
		c.job.Kind, c.job.Type = jobs.KindEvent, jobs.TypeUnknown
	}
}

func (c *call) scheduled(t *manifest.ScheduledTrigger) {
	c.schedule = t
	c.job.Kind, c.job.Type, c.job.Trigger = jobs.KindScheduled, jobs.TypeScheduled, t.Key
}

// store keeps token and installation, finds the job's id and publishes it. The
// token goes first: the job that came with it must find it.
func (s *Server) store(ctx context.Context, c *call, header http.Header) answer {
	if err := s.keep(ctx, c, header); err != nil {
		return s.notStored(c, err)
	}
	id, gone, err := s.identify(ctx, c)
	if err != nil {
		return s.notStored(c, err)
	}
	if gone {
		return accepted(id, true)
	}
	c.job.ID = id
	duplicate, err := s.Queue.Publish(ctx, c.job)
	if err != nil {
		return s.notStored(c, err)
	}
	s.metrics.accepted(c.job.Kind, duplicate)
	s.log.Debug("job accepted", "job", id, "event", c.job.Type, "installation", c.job.Installation, "duplicate", duplicate, "trace", jobs.TraceID(c.job.Traceparent))
	return accepted(id, duplicate)
}

func (s *Server) notStored(c *call, err error) answer {
	s.log.Error("job not stored", "event", c.job.Type, "installation", c.job.Installation, "error", err, "trace", jobs.TraceID(c.job.Traceparent))
	a := refuse(http.StatusServiceUnavailable, "not_stored", "the call could not be stored; send it again")
	a.retryAfter = 5 * time.Second
	return a
}

// keep puts the tokens of the call into the vault and notes the installation.
// A header that is absent changes nothing.
func (s *Server) keep(ctx context.Context, c *call, header http.Header) error {
	revision, err := s.Installations.Note(ctx, describe(c, s.Now().UTC()))
	if err != nil {
		return fmt.Errorf("noting installation: %w", err)
	}
	c.job.InstallationRevision = revision
	system := tokenFrom(header, forge.HeaderSystemToken)
	if c.job.TokenRevision, err = s.Tokens.Keep(ctx, vault.Owner{Installation: c.inv.Installation}, system); err != nil {
		return fmt.Errorf("keeping system token: %w", err)
	}
	return nil
}

// tokenFrom reads a token header; one code base in the field saw a scheme
// before the token, so that is taken off.
func tokenFrom(header http.Header, name string) secret.Token {
	text := strings.TrimSpace(header.Get(name))
	if scheme, rest, ok := strings.Cut(text, " "); ok && strings.EqualFold(scheme, "Bearer") {
		text = strings.TrimSpace(rest)
	}
	return secret.NewToken(text)
}

// describe is what a call says of its installation.
func describe(c *call, now time.Time) installations.Installation {
	i := installations.Installation{
		ID: c.inv.Installation, ARI: c.inv.InstallationARI, AppID: c.inv.AppID, AppVersion: c.inv.AppVersion,
		EnvironmentType: c.inv.EnvironmentType, EnvironmentID: c.inv.EnvironmentID, Site: c.inv.Module.SiteURL,
		AsOf: c.inv.IssuedAt, LastSeen: now,
	}
	for _, p := range c.inv.Contexts {
		i.Contexts = append(i.Contexts, installations.Context{Name: p.Name, APIBaseURL: p.APIBaseURL, CloudID: p.CloudID, WorkspaceID: p.WorkspaceID})
	}
	if c.inv.License != nil {
		i.License = c.inv.License.Raw
	}
	if c.body.EventType == "avi:forge:installed:app" {
		i.InstalledAt = now
	}
	return i
}
