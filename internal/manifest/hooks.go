package manifest

import (
	"cmp"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// Hook is one path that Forge calls with POST, and who calls it.
type Hook struct {
	// Path is unescaped and has a leading slash and no trailing one; the root
	// is "/".
	Path string

	// Endpoint and Remote are keys of the manifest.
	Endpoint, Remote string

	// The modules that call the endpoint; at least one in all.
	Triggers     []Trigger
	Scheduled    []ScheduledTrigger
	PreUninstall []PreUninstall

	// SystemToken and UserToken say which OAuth tokens Forge sends along.
	SystemToken, UserToken bool

	// Modules are the module keys that an invocation token for this hook may
	// carry: the endpoint's and those of the modules that call it.
	Modules []string
}

// Hooks returns the paths to serve, sorted by path: those of endpoints which a
// trigger, scheduled trigger or pre-uninstall module calls, each once.
//
// basePath stands before every route. When it is nil, the path of each
// remote's (default) baseUrl does; a configurable remote without one has none.
// Two endpoints on one path are an error, of type [*Error], since an invocation
// could not be told to be for either.
func (m *Manifest) Hooks(basePath *string) ([]Hook, error) {
	var hooks []Hook
	failed := &Error{File: m.name}
	taken := make(map[string]Endpoint)
	for _, endpoint := range m.Endpoints {
		hook := m.hook(endpoint)
		if len(hook.Modules) == 1 {
			continue
		}
		base, err := m.base(endpoint.Remote, basePath)
		if err == nil {
			hook.Path, err = join(base, endpoint.Route)
		}
		if other, there := taken[hook.Path]; there && err == nil {
			err = fmt.Errorf("endpoints %q and %q share the path %q, give each its own", other.Key, endpoint.Key, hook.Path)
		}
		if err != nil {
			failed.Issues = append(failed.Issues, Issue{endpoint.Pos.Line, endpoint.Pos.Column, err.Error()})
			continue
		}
		taken[hook.Path] = endpoint
		hooks = append(hooks, hook)
	}
	if len(failed.Issues) > 0 {
		return nil, failed.sorted()
	}
	slices.SortFunc(hooks, func(a, b Hook) int { return cmp.Compare(a.Path, b.Path) })
	return hooks, nil
}

// hook gathers who calls endpoint.
func (m *Manifest) hook(endpoint Endpoint) Hook {
	hook := Hook{
		Endpoint: endpoint.Key, Remote: endpoint.Remote,
		SystemToken: endpoint.SystemToken, UserToken: endpoint.UserToken,
		Modules: []string{endpoint.Key},
	}
	for _, t := range m.Triggers {
		if t.Endpoint == endpoint.Key {
			hook.Triggers, hook.Modules = append(hook.Triggers, t), append(hook.Modules, t.Key)
		}
	}
	for _, t := range m.Scheduled {
		if t.Endpoint == endpoint.Key {
			hook.Scheduled, hook.Modules = append(hook.Scheduled, t), append(hook.Modules, t.Key)
		}
	}
	for _, t := range m.PreUninstall {
		if t.Endpoint == endpoint.Key {
			hook.PreUninstall, hook.Modules = append(hook.PreUninstall, t), append(hook.Modules, t.Key)
		}
	}
	return hook
}

// base returns the path that stands before the routes of a remote.
func (m *Manifest) base(remote string, override *string) (string, error) {
	if override != nil {
		return *override, nil
	}
	i := slices.IndexFunc(m.Remotes, func(r Remote) bool { return r.Key == remote })
	if i < 0 || m.Remotes[i].BaseURL == "" {
		return "", nil
	}
	if hasVariable(m.Remotes[i].BaseURL) {
		return "", fmt.Errorf("baseUrl of remote %q holds a variable, so its path is not known, give the base path", remote)
	}
	parsed, err := url.Parse(m.Remotes[i].BaseURL)
	if err != nil {
		return "", fmt.Errorf("baseUrl of remote %q is no URL, mend it", remote)
	}
	return parsed.EscapedPath(), nil
}

// join puts a route behind a base path. Both are as written in a URL, with or
// without slashes at their ends.
func join(base, route string) (string, error) {
	joined := "/" + strings.Trim(strings.Trim(base, "/")+"/"+strings.Trim(route, "/"), "/")
	if reason := badRoute(joined); reason != "" {
		return "", fmt.Errorf("path %q %s", joined, reason)
	}
	return url.PathUnescape(joined)
}

// badRoute says what is wrong with a path as a place for a hook, and the
// remedy; "" when nothing is.
func badRoute(route string) string {
	if strings.ContainsAny(route, "?#") {
		return "has a query or a fragment, leave it out"
	}
	plain, err := url.PathUnescape(route)
	if err != nil {
		return "is wrongly escaped, write % as %25"
	}
	if strings.Contains(strings.ToLower(route), "%2f") || strings.ContainsAny(plain, "\\") {
		return "has a slash in disguise, write a plain one"
	}
	for segment := range strings.SplitSeq(strings.Trim(plain, "/"), "/") {
		if segment == "." || segment == ".." || segment == "" && strings.Trim(plain, "/") != "" {
			return "has an empty, \".\" or \"..\" segment, write it without"
		}
	}
	for _, c := range plain {
		if c < ' ' || c == 0x7f {
			return "has a control character, leave it out"
		}
	}
	return ""
}

// samePaths reports hooks of one remote on one path, which no base path can
// set apart.
func (r *reader) samePaths(m *Manifest) {
	taken := make(map[[2]string]string)
	for _, endpoint := range m.Endpoints {
		if len(m.hook(endpoint).Modules) == 1 {
			continue
		}
		path, err := join("", endpoint.Route)
		if err != nil {
			continue // reported where it stands
		}
		place := [2]string{endpoint.Remote, path}
		if other, there := taken[place]; there {
			r.fail(endpoint.Pos, "endpoints %q and %q share the path %q, give each its own", other, endpoint.Key, path)
			continue
		}
		taken[place] = endpoint.Key
	}
}
