// Package installations keeps a record of every installation that called: which
// products it is in, versions, environment, licence, state, and when it was
// last heard of.
//
// Ingest notes each verified call with a [Writer]; workers and tools look
// records up with a [Reader]. A record is a JSON value in the bucket
// INSTALLATIONS under the installation's id. What the newest invocation token
// says holds: calls arrive out of order, and a record remembers as of when it
// is ([Installation.AsOf]), so that an older call never undoes a newer one. What
// a call leaves out stays as it was, because not every call carries everything.
//
// A change of anything but the time of the last call is stored before
// [Writer.Note] returns, so that the job that came with it finds it. The time
// alone is stored in the background, at most once a minute for each
// installation. A call that changes nothing costs no I/O.
//
// # Failure handling
//
// Several writers may race: each writes only over the revision it has read,
// and reads and decides again when it was too late. Note fails when NATS does;
// then the event must not be accepted, and comes again. When NATS is away in
// the background, the times wait in memory. A reader that has lost NATS serves
// what it knows.
package installations

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"
)

// ErrUnknown means that there is no record of an installation.
var ErrUnknown = errors.New("installation is not known")

// States of an installation.
const (
	Active      = "active"
	Uninstalled = "uninstalled" // it said so before it left
	Suspected   = "suspected"   // probably uninstalled: silent, and its calls are refused
)

// Installation is one installation of the app.
type Installation struct {
	// ID is 1 to 64 letters, digits, "-" or "_".
	ID              string    `json:"id"`
	ARI             string    `json:"ari,omitempty"`
	AppID           string    `json:"appId,omitempty"`
	AppVersion      string    `json:"appVersion,omitempty"`
	EnvironmentType string    `json:"environmentType,omitempty"`
	EnvironmentID   string    `json:"environmentId,omitempty"`
	Contexts        []Context `json:"contexts,omitempty"`
	// Site is the address of the site, where a call named it.
	Site string `json:"site,omitempty"`
	// License is what the invocation token says of it, as it is. Nil where
	// none was seen.
	License json.RawMessage `json:"license,omitempty"`
	// State is [Active], [Uninstalled] or [Suspected].
	State string `json:"state"`
	// AsOf is when the invocation token was issued that the record follows.
	AsOf time.Time `json:"asOf"`
	// InstalledAt is zero where the lifecycle event was not seen.
	InstalledAt time.Time `json:"installedAt,omitzero"`
	FirstSeen   time.Time `json:"firstSeen"`
	// LastSeen may be a minute old.
	LastSeen time.Time `json:"lastSeen"`
}

// Context is one product that an installation is in.
type Context struct {
	Name        string `json:"name"`
	APIBaseURL  string `json:"apiBaseUrl"`
	CloudID     string `json:"cloudId,omitempty"`
	WorkspaceID string `json:"workspaceId,omitempty"`
}

// ARI names the product's place for an exchange of tokens: it is the form in the documents' context token, and in two code
// bases seen in the field (2026).
func (c Context) ARI() string {
	if c.WorkspaceID != "" {
		return "ari:cloud:" + c.Name + "::workspace/" + c.WorkspaceID
	}
	return "ari:cloud:" + c.Name + "::site/" + c.CloudID
}

// WorkspaceARI is the form that Atlassian's staff named in
// community.developer.atlassian.com 94615, for when the first is refused.
func (c Context) WorkspaceARI() string {
	if c.CloudID == "" {
		return ""
	}
	return "ari:cloud:" + c.Name + ":" + c.CloudID + ":workspace/" + c.CloudID
}

var validID = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

func checkID(id string) error {
	if !validID.MatchString(id) {
		return fmt.Errorf("%q is no installation id", id)
	}
	return nil
}

// merged returns the record after a call was noted. stored is the zero
// Installation where there is none.
func merged(stored, called Installation) Installation {
	if stored.ID == "" {
		return first(called)
	}
	out := stored
	if !called.AsOf.Before(stored.AsOf) {
		out = overlaid(stored, called)
	}
	if out.InstalledAt.IsZero() {
		out.InstalledAt = called.InstalledAt
	}
	if called.LastSeen.After(out.LastSeen) {
		out.LastSeen = called.LastSeen
	}
	if called.LastSeen.Before(out.FirstSeen) {
		out.FirstSeen = called.LastSeen
	}
	return out
}

func first(called Installation) Installation {
	if called.FirstSeen.IsZero() {
		called.FirstSeen = called.LastSeen
	}
	if called.State == "" {
		called.State = Active
	}
	return called
}

// overlaid lets a call that is no older say what it has to say.
func overlaid(stored, called Installation) Installation {
	out := stored
	out.AsOf = called.AsOf
	for _, member := range []struct {
		to   *string
		from string
	}{
		{&out.ARI, called.ARI}, {&out.AppID, called.AppID}, {&out.AppVersion, called.AppVersion},
		{&out.EnvironmentType, called.EnvironmentType}, {&out.EnvironmentID, called.EnvironmentID},
		{&out.Site, called.Site},
	} {
		if member.from != "" {
			*member.to = member.from
		}
	}
	if len(called.License) > 0 {
		out.License = called.License
	}
	if len(called.Contexts) > 0 {
		out.Contexts = filled(called.Contexts, stored.Contexts)
	}
	if called.InstalledAt.After(stored.InstalledAt) {
		out.InstalledAt = called.InstalledAt
	}
	switch {
	case called.State != "":
		out.State = called.State
	case stored.State == Suspected:
		out.State = Active // it is heard of
	}
	return out
}

// filled returns the contexts of a call. A real invocation token of October
// 2025 lacked the cloud id that others of its installation have: it stays known
// as long as the address is the same.
func filled(called, stored []Context) []Context {
	out := slices.Clone(called)
	for i, c := range out {
		for _, s := range stored {
			if c.Name != s.Name || c.APIBaseURL != s.APIBaseURL {
				continue
			}
			if c.CloudID == "" {
				out[i].CloudID = s.CloudID
			}
			if c.WorkspaceID == "" {
				out[i].WorkspaceID = s.WorkspaceID
			}
		}
	}
	return out
}

// sameButTime reports whether a and b differ at most in AsOf and LastSeen.
func sameButTime(a, b Installation) bool {
	return a.ID == b.ID && a.ARI == b.ARI && a.AppID == b.AppID && a.AppVersion == b.AppVersion &&
		a.EnvironmentType == b.EnvironmentType && a.EnvironmentID == b.EnvironmentID &&
		a.Site == b.Site && a.State == b.State &&
		a.InstalledAt.Equal(b.InstalledAt) && a.FirstSeen.Equal(b.FirstSeen) &&
		bytes.Equal(a.License, b.License) && slices.Equal(a.Contexts, b.Contexts)
}

func decode(value []byte) (Installation, error) {
	var i Installation
	if err := json.Unmarshal(value, &i); err != nil {
		return Installation{}, fmt.Errorf("reading record: %w", err)
	}
	return i, nil
}

// normalized makes equal what means the same: times in UTC without a monotonic
// part, and the licence in one spelling.
func normalized(i Installation) (Installation, error) {
	if err := checkID(i.ID); err != nil {
		return Installation{}, err
	}
	for _, at := range []*time.Time{&i.AsOf, &i.InstalledAt, &i.FirstSeen, &i.LastSeen} {
		*at = at.UTC().Round(0)
	}
	if i.AsOf.IsZero() {
		i.AsOf = i.LastSeen
	}
	i.Contexts = slices.Clone(i.Contexts)
	if len(i.License) > 0 {
		// As it will stand in the record, white space and escapes included.
		license, err := json.Marshal(i.License)
		if err != nil {
			return Installation{}, fmt.Errorf("reading licence: %w", err)
		}
		i.License = license
	}
	return i, nil
}
