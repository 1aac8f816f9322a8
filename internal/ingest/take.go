package ingest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"bellows/internal/forge"
	"bellows/internal/installations"
	"bellows/internal/jobs"
	"bellows/internal/manifest"
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
	// guessed is set when the endpoint has several scheduled triggers and
	// nothing says which of them it was.
	guessed bool
}

// take reads the body and stores the job.
func (s *Server) take(ctx context.Context, w http.ResponseWriter, r *http.Request, c *call) answer {
	data, err := s.read(w, r)
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return s.tooLarge()
	case err != nil:
		return refuse(http.StatusBadRequest, "body_unreadable", "the body could not be read to its end")
	}
	c.body = forge.ScanBody(data)
	if member := c.body.Mismatch(c.inv); member != "" {
		s.log.Warn("body names another site than the invocation token", "member", member, "installation", c.inv.Installation)
		return refuse(http.StatusForbidden, "tenant_mismatch", "the body's "+member+" names another site than the invocation token")
	}
	c.describe(r, s.Now().UTC())
	if c.guessed {
		s.log.Warn("nothing says which scheduled trigger of the endpoint calls: taking the first; give each an endpoint of its own",
			"endpoint", c.h.Endpoint, "trigger", c.job.Trigger, "installation", c.inv.Installation)
	}
	return s.store(ctx, c, r.Header)
}

func (s *Server) read(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	var b bytes.Buffer
	if r.ContentLength > 0 {
		b.Grow(int(r.ContentLength) + bytes.MinRead)
	}
	if _, err := b.ReadFrom(http.MaxBytesReader(w, r.Body, s.maxBody())); err != nil {
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
		ContentType: contentType(r.Header.Get("Content-Type"), c.body), Module: c.inv.ModuleKey, Route: c.h.Path, Principal: c.inv.Principal,
		AppVersion: c.inv.AppVersion, Environment: c.inv.EnvironmentType, Attempt: 1, Redelivered: c.body.Retry,
		Traceparent: forge.Traceparent(r.Header.Get(forge.HeaderTraceID), r.Header.Get(forge.HeaderSpanID), random),
		Data:        c.body.Data,
	}
	c.classify()
}

// contentType is what the data is, as the reader of a job needs to know it. The
// header decides only between forms of JSON: nothing of it is copied, so that
// no request puts text of its own into a message's headers.
func contentType(header string, body forge.Body) string {
	if !body.JSON {
		return "application/octet-stream"
	}
	if media, _, _ := strings.Cut(header, ";"); strings.EqualFold(strings.TrimSpace(media), cloudEvent) {
		return cloudEvent
	}
	return "application/json"
}

const cloudEvent = "application/cloudevents+json"

// classify says of what kind the call is. An endpoint may serve several: then
// the module key in the token tells; else the body, which is not signed, by
// its event name or module key; else what the endpoint is for.
func (c *call) classify() {
	switch {
	case c.calledBy(c.inv.ModuleKey):
	case c.body.EventType != "" || !c.body.JSON:
		c.event()
	case c.calledBy(c.body.ContextModuleKey):
	case len(c.h.Scheduled) > 0:
		c.scheduled(&c.h.Scheduled[0])
		c.guessed = len(c.h.Scheduled) > 1
	case len(c.h.PreUninstall) > 0:
		c.preUninstall()
	default:
		c.event()
	}
}

// calledBy classifies by the module with this key; false when the endpoint has
// none.
func (c *call) calledBy(key string) bool {
	for i := range c.h.Scheduled {
		if c.h.Scheduled[i].Key == key {
			c.scheduled(&c.h.Scheduled[i])
			return true
		}
	}
	for _, p := range c.h.PreUninstall {
		if p.Key == key {
			c.preUninstall()
			return true
		}
	}
	for _, t := range c.h.Triggers {
		if t.Key == key {
			c.event()
			return true
		}
	}
	return false
}

func (c *call) event() {
	c.job.Kind, c.job.Type = jobs.KindEvent, c.body.EventType
	switch {
	case c.job.Type == "" || reserved(c.job.Type):
		c.job.Type = jobs.TypeUnknown
	case strings.HasPrefix(c.job.Type, "avi:forge:"):
		c.job.Kind = jobs.KindLifecycle
	}
}

// reserved reports whether bellows itself gives the type: a body must not be
// able to pass for a call that it is not.
func reserved(eventType string) bool {
	return eventType == jobs.TypePreUninstall || strings.HasPrefix(eventType, "bellows.")
}

func (c *call) preUninstall() {
	c.job.Kind, c.job.Type = jobs.KindLifecycle, jobs.TypePreUninstall
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
	c.job.ID = id
	duplicate := gone
	if !gone {
		if duplicate, err = s.Queue.Publish(ctx, c.job); err != nil {
			return s.notStored(c, err)
		}
	}
	s.metrics.accepted(c.job.Kind, duplicate)
	s.log.Debug("job accepted", "job", id, "event", c.job.Type, "installation", c.job.Installation, "duplicate", duplicate, "trace", jobs.TraceID(c.job.Traceparent))
	return accepted(id, duplicate)
}

func (s *Server) notStored(c *call, err error) answer {
	s.log.Error("job not stored", "event", c.job.Type, "installation", c.job.Installation, "error", err, "trace", jobs.TraceID(c.job.Traceparent))
	a := refuse(http.StatusServiceUnavailable, "not_stored", "the call could not be stored; send it again")
	a.retryAfter = retryLater
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
