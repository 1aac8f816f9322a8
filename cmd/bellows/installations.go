package main

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"bellows/internal/daemon"
	"bellows/internal/installations"
)

type installationsCmd struct {
	JSON bool `name:"json" help:"As JSON."`
	daemon.NATS
}

// Help is shown after the one-line help.
func (installationsCmd) Help() string {
	return `    bellows installations
    bellows installations --json | jq -r '.[] | select(.tokenExpires == null) | .installation'

TOKEN is how long the newest system token lives on; "none" means that jobs of this installation wait for the
next call of Forge's.`
}

// installationLine is one installation, in the shape of --json.
type installationLine struct {
	Installation string          `json:"installation"`
	Product      string          `json:"product"` // comma separated where there are several
	Site         string          `json:"site"`
	AppVersion   string          `json:"appVersion"`
	Environment  string          `json:"environment"`
	License      json.RawMessage `json:"license,omitempty"`
	TokenExpires *time.Time      `json:"tokenExpires"` // null: none is known
	LastSeen     time.Time       `json:"lastSeen"`
	State        string          `json:"state"`
}

// Run lists installations.
func (c *installationsCmd) Run(ctx context.Context, t terminal) error {
	return withNATS(ctx, c.NATS, func(b *daemon.Broker) error {
		known, err := readInstalled(ctx, b.Store)
		if err != nil {
			return err
		}
		lines := make([]installationLine, 0, len(known))
		for _, i := range known {
			lines = append(lines, i.line())
		}
		if c.JSON {
			return t.json(lines)
		}
		return printInstallations(t, lines, time.Now())
	})
}

func (i installed) line() installationLine {
	l := installationLine{
		Installation: i.ID, Product: productsOf(i.Contexts), Site: siteOf(i.Installation), AppVersion: i.AppVersion,
		Environment: i.EnvironmentType, License: i.License, LastSeen: i.LastSeen, State: i.State,
	}
	if !i.expires.IsZero() {
		expires := i.expires.UTC()
		l.TokenExpires = &expires
	}
	return l
}

func productsOf(contexts []installations.Context) string {
	names := make([]string, 0, len(contexts))
	for _, c := range contexts {
		names = append(names, c.Name)
	}
	return strings.Join(names, ",")
}

// siteOf names the place as well as it is known: the site's address, or the
// id of its cloud or workspace.
func siteOf(i installations.Installation) string {
	if i.Site != "" {
		return i.Site
	}
	for _, c := range i.Contexts {
		if c.CloudID != "" {
			return c.CloudID
		}
		if c.WorkspaceID != "" {
			return c.WorkspaceID
		}
	}
	return ""
}

func printInstallations(t terminal, lines []installationLine, now time.Time) error {
	if len(lines) == 0 {
		t.say("no installation has called yet")
		return nil
	}
	list := t.table("INSTALLATION", "PRODUCT", "SITE", "VERSION", "ENVIRONMENT", "LICENCE", "TOKEN", "LAST SEEN", "STATE")
	for _, l := range lines {
		list.row(l.Installation, l.Product, l.Site, l.AppVersion, strings.ToLower(l.Environment), licence(l.License),
			tokenLeft(l.TokenExpires, now), ago(l.LastSeen, now), l.State)
	}
	return list.flush()
}

// licence reads active, or isActive in tokens of before 2026-10-17 (Forge
// changelog).
func licence(raw json.RawMessage) string {
	var l struct {
		Active   *bool `json:"active"`
		IsActive *bool `json:"isActive"`
	}
	if len(raw) == 0 || json.Unmarshal(raw, &l) != nil {
		return ""
	}
	for _, active := range []*bool{l.Active, l.IsActive} {
		switch {
		case active != nil && *active:
			return "active"
		case active != nil:
			return "inactive"
		}
	}
	return ""
}

func tokenLeft(expires *time.Time, now time.Time) string {
	if expires == nil || !expires.After(now) {
		return "none"
	}
	return span(expires.Sub(now))
}
