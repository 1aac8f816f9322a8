package simulator

import (
	"context"
	"net/http"
	"slices"
	"strconv"

	"bellows/internal/secret"
)

// Names of the lifecycle events, and of the call before an uninstall.
const (
	eventInstalled = "avi:forge:installed:app"
	eventUpgraded  = "avi:forge:upgraded:app"
	preUninstall   = "preUninstall"
)

// LifecycleResult is an installation as it is afterwards, and what the backend
// was told.
type LifecycleResult struct {
	Installation Installation `json:"installation"`
	Deliveries   []Delivery   `json:"deliveries"`
}

// Install installs the app and delivers avi:forge:installed:app if the
// manifest asks for it.
func (s *Simulator) Install(ctx context.Context, r InstallRequest) (LifecycleResult, error) {
	if err := r.check(); err != nil {
		return LifecycleResult{}, err
	}
	i := s.install(r)
	result := LifecycleResult{Installation: i, Deliveries: []Delivery{}}
	if r.Silent {
		return result, nil
	}
	return result, s.tell(ctx, &result, eventInstalled)
}

// tell delivers a lifecycle event; that nobody wants it is no error.
func (s *Simulator) tell(ctx context.Context, result *LifecycleResult, event string) error {
	if !s.wanted(event) {
		return nil
	}
	told, err := s.Trigger(ctx, TriggerRequest{Event: event, Installation: result.Installation.ID})
	result.Deliveries = append(result.Deliveries, told.Deliveries...)
	return err
}

// wanted reports whether a trigger that calls an endpoint names event.
func (s *Simulator) wanted(event string) bool {
	for _, h := range s.hooks {
		for _, t := range h.Triggers {
			if slices.Contains(t.Events, event) {
				return true
			}
		}
	}
	return false
}

// Upgrade gives an installation a version; empty means the next major one.
// Forge tells the backend of major upgrades only, and so does this.
func (s *Simulator) Upgrade(ctx context.Context, id, version string) (LifecycleResult, error) {
	before, err := s.alive(id)
	if err != nil {
		return LifecycleResult{}, err
	}
	if version == "" {
		major, _ := strconv.Atoi(majorOf(before.Version)) // what is no number counts as 0
		version = strconv.Itoa(major+1) + ".0.0"
	}
	i := s.change(before.ID, func(i *installed) { i.Version = version })
	result := LifecycleResult{Installation: i, Deliveries: []Delivery{}}
	if majorOf(version) == majorOf(before.Version) {
		return result, nil
	}
	return result, s.tell(ctx, &result, eventUpgraded)
}

// PreUninstall calls the manifest's preUninstall modules as an uninstall does
// when it starts: each has 55 seconds to answer, once, and may fail.
func (s *Simulator) PreUninstall(ctx context.Context, id string) (LifecycleResult, error) {
	i, err := s.alive(id)
	if err != nil {
		return LifecycleResult{}, err
	}
	result := LifecycleResult{Installation: i, Deliveries: []Delivery{}}
	for _, h := range s.hooks {
		for _, t := range h.PreUninstall {
			result.Deliveries = append(result.Deliveries, s.deliver(ctx, call{
				Delivery:        Delivery{Event: preUninstall, Installation: i.ID, Endpoint: h.Endpoint, Trigger: t.Key, URL: urlOf(s.remote, h, false)},
				DeliveryOptions: DeliveryOptions{Once: true},
				product:         i.Products[0], systemToken: h.SystemToken, limit: uninstallLimit, body: contextBody(i, t.Key),
			}))
		}
	}
	return result, nil
}

// Uninstall calls the preUninstall modules and then removes the installation:
// its tokens are refused from then on. Silent leaves the calls out.
func (s *Simulator) Uninstall(ctx context.Context, id string, silent bool) (LifecycleResult, error) {
	i, err := s.alive(id)
	if err != nil {
		return LifecycleResult{}, err
	}
	result := LifecycleResult{Deliveries: []Delivery{}}
	if !silent {
		if result, err = s.PreUninstall(ctx, i.ID); err != nil {
			return result, err
		}
	}
	result.Installation = s.change(i.ID, func(i *installed) {
		i.State, i.system = stateUninstalled, secret.Token{}
	})
	return result, nil
}

// Reinstall installs the app again where it was uninstalled: a new
// installation id in the same place.
func (s *Simulator) Reinstall(ctx context.Context, id string) (LifecycleResult, error) {
	i, err := s.find(id, "")
	if err != nil {
		return LifecycleResult{}, err
	}
	if i.State == stateInstalled {
		return LifecycleResult{}, refuse(http.StatusConflict, "reinstalling: %q is still installed", i.ID)
	}
	return s.Install(ctx, InstallRequest{
		Products: i.Products, CloudID: i.CloudID, WorkspaceID: i.WorkspaceID, Site: i.Site,
		Version: i.Version, Environment: i.Environment, License: i.License, replaces: i.ID,
	})
}

// alive returns an installation that is not uninstalled.
func (s *Simulator) alive(id string) (Installation, error) {
	i, err := s.find(id, "")
	if err == nil && i.State != stateInstalled {
		err = refuse(http.StatusConflict, "finding installation: %q is uninstalled", i.ID)
	}
	return i, err
}
