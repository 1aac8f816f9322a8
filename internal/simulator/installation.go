package simulator

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"bellows/internal/secret"
)

// Products an app can be installed in.
const (
	jira       = "jira"
	confluence = "confluence"
	bitbucket  = "bitbucket"
)

// States of an installation.
const (
	stateInstalled   = "installed"
	stateUninstalled = "uninstalled"
)

// Installation is the app in one site or workspace.
type Installation struct {
	// ID is the bare UUID; the invocation token has it as
	// ari:cloud:ecosystem::installation/<ID>.
	ID string `json:"id"`
	// Products has jira and confluence in any order, or bitbucket alone.
	Products []string `json:"products"`
	// CloudID is the site's; empty for Bitbucket.
	CloudID string `json:"cloudId,omitempty"`
	// WorkspaceID is Bitbucket's, without braces; empty for the others.
	WorkspaceID string `json:"workspaceId,omitempty"`
	// Site is the host name people see.
	Site string `json:"site"`
	// Version is the app's, such as "1.0.0".
	Version string `json:"version"`
	// Environment is DEVELOPMENT, STAGING or PRODUCTION.
	Environment string `json:"environment"`
	// License is the claim app.license; absent for a free app.
	License map[string]any `json:"license,omitempty"`
	// State is "installed" or "uninstalled".
	State string `json:"state"`
	// Installer is the account id of who installed it.
	Installer string `json:"installer"`
	// InstalledAt is when.
	InstalledAt time.Time `json:"installedAt"`
	// Replaces is the installation that was uninstalled in the same place.
	Replaces string `json:"replaces,omitempty"`
}

// InstallRequest says what to install. Every field may be left out.
type InstallRequest struct {
	// Products defaults to what the manifest's triggers and scopes speak of.
	Products []string `json:"products,omitempty"`
	// CloudID or WorkspaceID puts the app into a known place; by default a
	// new one is made.
	CloudID     string         `json:"cloudId,omitempty"`
	WorkspaceID string         `json:"workspaceId,omitempty"`
	Site        string         `json:"site,omitempty"`
	Version     string         `json:"version,omitempty"`     // default 1.0.0
	Environment string         `json:"environment,omitempty"` // default PRODUCTION
	License     map[string]any `json:"license,omitempty"`
	// Silent installs without telling the backend.
	Silent bool `json:"silent,omitempty"`

	replaces string
}

// installed is an Installation with what nobody outside may see.
type installed struct {
	Installation
	system  secret.Token
	expires time.Time
}

// ari names the installation as its invocation tokens do.
func (i Installation) ari() string {
	return "ari:cloud:ecosystem::installation/" + i.ID
}

// contextARI names the place of the installation for one of its products, in
// the form that lifecycle events and the context token have.
func (i Installation) contextARI(product string) string {
	if product == bitbucket {
		return "ari:cloud:bitbucket::workspace/" + i.WorkspaceID
	}
	return "ari:cloud:" + product + "::site/" + i.CloudID
}

// in returns product if the app is installed in it, else the first product.
func (i Installation) in(product string) string {
	if slices.Contains(i.Products, product) {
		return product
	}
	return i.Products[0]
}

func (r InstallRequest) check() error {
	for _, p := range r.Products {
		if p != jira && p != confluence && p != bitbucket {
			return refuse(http.StatusBadRequest, "installing: product is %q, want jira, confluence or bitbucket", p)
		}
		if p == bitbucket && len(r.Products) > 1 {
			return refuse(http.StatusBadRequest, "installing: bitbucket goes with no other product in one installation")
		}
	}
	return nil
}

// install adds an installation. The request has been checked.
func (s *Simulator) install(r InstallRequest) Installation {
	if len(r.Products) == 0 {
		r.Products = s.defaultProducts()[0]
	}
	i := Installation{
		ID: s.random.uuid(), Products: slices.Clone(r.Products), CloudID: r.CloudID, WorkspaceID: strings.Trim(r.WorkspaceID, "{}"),
		Site: r.Site, Version: or(r.Version, "1.0.0"), Environment: or(r.Environment, "PRODUCTION"),
		License: r.License, State: stateInstalled, Installer: firstPerson, InstalledAt: s.now(), Replaces: r.replaces,
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if i.Products[0] == bitbucket {
		i.CloudID, i.WorkspaceID, i.Site = "", or(i.WorkspaceID, s.random.uuid()), or(i.Site, "bitbucket.org")
		if s.workspaces[i.WorkspaceID] == nil {
			s.workspaces[i.WorkspaceID] = newCodeHost(s.random)
		}
	} else {
		i.WorkspaceID, i.CloudID = "", or(i.CloudID, s.random.uuid())
		if s.sites[i.CloudID] == nil {
			name := or(i.Site, fmt.Sprintf("site-%d.atlassian.net", len(s.sites)+1))
			s.sites[i.CloudID] = newSite(i.CloudID, name, s.cfg.PublicURL, s.random)
		}
		i.Site = s.sites[i.CloudID].host
	}
	s.installations = append(s.installations, &installed{Installation: i})
	s.wakeLocked()
	return i
}

// wakeLocked tells Run to plan again.
func (s *Simulator) wakeLocked() {
	select {
	case s.replan <- struct{}{}:
	default: // it is told already
	}
}

// find returns an installation by id, or the newest one that is installed,
// with preference for product, if id is empty.
func (s *Simulator) find(id, product string) (Installation, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found *installed
	for _, i := range slices.Backward(s.installations) {
		switch {
		case id != "" && i.ID == id:
			return i.Installation, nil
		case id != "" || i.State != stateInstalled:
		case found == nil || slices.Contains(i.Products, product) && !slices.Contains(found.Products, product):
			found = i
		}
	}
	if found == nil && id == "" {
		return Installation{}, refuse(http.StatusConflict, "choosing installation: the app is installed nowhere")
	}
	if found == nil {
		return Installation{}, refuse(http.StatusNotFound, "choosing installation: there is no %q", id)
	}
	return found.Installation, nil
}

// change lets f alter an installation and returns what it is then.
func (s *Simulator) change(id string, f func(*installed)) Installation {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, i := range s.installations {
		if i.ID == id {
			f(i)
			return i.Installation
		}
	}
	return Installation{}
}

// Installations returns every installation there was, oldest first.
func (s *Simulator) Installations() []Installation {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]Installation, 0, len(s.installations))
	for _, i := range s.installations {
		all = append(all, i.Installation)
	}
	return all
}

// defaultProducts reads from the manifest where the app wants to be installed:
// one installation in a site, one in a Bitbucket workspace, or both.
func (s *Simulator) defaultProducts() [][]string {
	wanted := map[string]bool{}
	for _, t := range s.cfg.Manifest.Triggers {
		for _, name := range t.Events {
			wanted[productOf(name)] = true
		}
	}
	for _, scope := range s.cfg.Manifest.Scopes {
		for _, product := range []string{jira, confluence, bitbucket} {
			if strings.Contains(scope.Name, product) {
				wanted[product] = true
			}
		}
	}
	var all [][]string
	var site []string
	for _, product := range []string{jira, confluence} {
		if wanted[product] {
			site = append(site, product)
		}
	}
	if site != nil {
		all = append(all, site)
	}
	if wanted[bitbucket] {
		all = append(all, []string{bitbucket})
	}
	if all == nil {
		return [][]string{{jira}}
	}
	return all
}

// productOf returns the product that an event comes from, or "".
func productOf(event string) string {
	switch {
	case strings.HasPrefix(event, "avi:jira"), strings.HasPrefix(event, "avi:jsm"):
		return jira
	case strings.HasPrefix(event, "avi:confluence:"):
		return confluence
	case strings.HasPrefix(event, "avi:bitbucket:"):
		return bitbucket
	}
	return ""
}

// or returns text, or otherwise if text is empty.
func or(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}
