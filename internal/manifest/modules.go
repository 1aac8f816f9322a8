package manifest

import (
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// keys remembers the keys of one kind of thing, to report the second use.
type keys struct {
	kind string
	seen map[string]int // :: key → line of first use
}

func (r *reader) newKeys(kind string) keys { return keys{kind, make(map[string]int)} }

// key reads the key of an entry and notes it.
func (r *reader) key(node *yaml.Node, known keys) string {
	found := find(node, "key")
	key := r.text(node, "key")
	if key == "" {
		r.fail(at(node), "a %s has no key, give it one", known.kind)
		return ""
	}
	if line, twice := known.seen[key]; twice {
		r.fail(at(found), "%s key %q is taken (line %d), give each its own", known.kind, key, line)
		return key
	}
	known.seen[key] = found.Line
	return key
}

// target is what a module calls.
type target struct {
	key      string
	endpoint string // "" unless it is an endpoint of a remote
	pos      Pos    // of the name of the endpoint
}

// endpoints knows every endpoint by its key.
type endpoints struct {
	remote  map[string]Endpoint
	service map[string]bool
}

// modules reads every module. Keys are unique over all modules, whatever their
// type (@forge/manifest 13.7.0, read 2026-11-22).
func (r *reader) modules(m *Manifest, node *yaml.Node) {
	if isNull(node) {
		return
	}
	if node.Kind != yaml.MappingNode {
		r.fail(at(node), "modules is no mapping, it has one list for each type of module")
		return
	}
	known := r.newKeys("module")
	all := r.endpoints(m, node, known)
	for _, entry := range members(node) {
		switch kind := entry.key.Value; kind {
		case "endpoint":
		case "trigger":
			r.triggers(m, node, known, all)
		case "scheduledTrigger":
			r.scheduled(m, node, known, all)
		case "preUninstall":
			r.preUninstall(m, node, known, all)
		default:
			r.resolvers(m, kind, entry.value, known, all)
		}
	}
	r.samePaths(m)
}

func (r *reader) endpoints(m *Manifest, node *yaml.Node, known keys) endpoints {
	all := endpoints{make(map[string]Endpoint), make(map[string]bool)}
	remotes := make(map[string]bool)
	for _, remote := range m.Remotes {
		remotes[remote.Key] = true
	}
	for _, node := range r.list(node, "modules.endpoint", "endpoint") {
		key := r.key(node, known)
		if !isNull(find(node, "service")) {
			all.service[key] = true
			continue
		}
		endpoint := r.endpoint(node, key, remotes)
		all.remote[key] = endpoint
		m.Endpoints = append(m.Endpoints, endpoint)
	}
	return all
}

func (r *reader) endpoint(node *yaml.Node, key string, remotes map[string]bool) Endpoint {
	endpoint := Endpoint{
		Key:         key,
		Remote:      r.text(node, "remote"),
		Route:       r.text(node, "route", "path"),
		SystemToken: r.flag(node, "auth", "appSystemToken", "enabled"),
		UserToken:   r.flag(node, "auth", "appUserToken", "enabled"),
		Pos:         at(node),
	}
	switch remote := find(node, "remote"); {
	case isNull(remote):
		r.fail(at(node), "endpoint %q names neither a remote nor a service, add \"remote: KEY\"", key)
	case !remotes[endpoint.Remote] && remote.Kind == yaml.ScalarNode:
		r.fail(at(remote), "endpoint %q names remote %q which is not there, add it to remotes", key, endpoint.Remote)
	}
	if reason := badRoute(endpoint.Route); reason != "" {
		r.fail(at(find(node, "route", "path")), "route.path %q %s", endpoint.Route, reason)
	}
	return endpoint
}

// target reads which endpoint a module calls, by its own "endpoint" member or
// that under "resolver". ok is false when it calls none of a remote's.
func (r *reader) target(node *yaml.Node, kind string, known keys, all endpoints, path ...string) (t target, ok bool) {
	t.key = r.key(node, known)
	found := find(node, path...)
	if isNull(found) {
		if !callsFunction(node, path) {
			r.fail(at(node), "%s %q names neither an endpoint nor a function, add \"endpoint: KEY\"", kind, t.key)
		}
		return t, false
	}
	name := r.text(node, path...)
	if name == "" || all.service[name] {
		return t, false
	}
	if _, there := all.remote[name]; !there {
		r.fail(at(found), "%s %q names endpoint %q which is not there, add it to modules.endpoint", kind, t.key, name)
		return t, false
	}
	t.endpoint, t.pos = name, at(found)
	return t, true
}

// callsFunction reports whether a function stands where path has an endpoint.
func callsFunction(node *yaml.Node, path []string) bool {
	function := append(slices.Clone(path[:len(path)-1]), "function")
	return !isNull(find(node, function...))
}

func (r *reader) triggers(m *Manifest, modules *yaml.Node, known keys, all endpoints) {
	for _, node := range r.list(modules, "modules.trigger", "trigger") {
		t, ok := r.target(node, "trigger", known, all, "endpoint")
		if !ok {
			continue
		}
		if all.remote[t.endpoint].Route == "" {
			r.fail(t.pos, "trigger %q calls endpoint %q which has no route.path, add \"route: {path: /…}\" to it", t.key, t.endpoint)
		}
		m.Triggers = append(m.Triggers, Trigger{Key: t.key, Endpoint: t.endpoint, Events: r.events(node, t.key), Pos: at(node)})
	}
}

// events reads the names of a trigger's events, which are strings or mappings
// with an eventType.
func (r *reader) events(node *yaml.Node, key string) []string {
	found := find(node, "events")
	if isNull(found) || found.Kind != yaml.SequenceNode || len(found.Content) == 0 {
		r.fail(at(node), "trigger %q has no list of events, add \"events: [avi:…]\"", key)
		return nil
	}
	var names []string
	for _, entry := range found.Content {
		name := real(entry)
		if name.Kind == yaml.MappingNode {
			name = find(name, "eventType")
		}
		if isNull(name) || name.Kind != yaml.ScalarNode {
			r.fail(at(entry), "an event of trigger %q has no name, give a string or an eventType", key)
			continue
		}
		names = append(names, name.Value)
	}
	return names
}

func (r *reader) scheduled(m *Manifest, modules *yaml.Node, known keys, all endpoints) {
	for _, node := range r.list(modules, "modules.scheduledTrigger", "scheduledTrigger") {
		interval := r.text(node, "interval")
		if _, there := intervals[interval]; !there {
			names := slices.SortedFunc(maps.Keys(intervals), func(a, b string) int { return int(intervals[a] - intervals[b]) })
			pos := at(node)
			if found := find(node, "interval"); found != nil {
				pos = at(found)
			}
			r.fail(pos, "interval %q of a scheduledTrigger is not known, use one of %s", interval, strings.Join(names, ", "))
		}
		if t, ok := r.target(node, "scheduledTrigger", known, all, "endpoint"); ok {
			m.Scheduled = append(m.Scheduled, ScheduledTrigger{Key: t.key, Endpoint: t.endpoint, Interval: interval, Pos: at(node)})
		}
	}
}

func (r *reader) preUninstall(m *Manifest, modules *yaml.Node, known keys, all endpoints) {
	for _, node := range r.list(modules, "modules.preUninstall", "preUninstall") {
		if t, ok := r.target(node, "preUninstall", known, all, "endpoint"); ok {
			m.PreUninstall = append(m.PreUninstall, PreUninstall{Key: t.key, Endpoint: t.endpoint, Pos: at(node)})
		}
	}
}

// resolvers notes the modules of one type that have a resolver. Modules of
// types that are no list are left to the Forge CLI.
func (r *reader) resolvers(m *Manifest, kind string, list *yaml.Node, known keys, all endpoints) {
	if isNull(list) || list.Kind != yaml.SequenceNode {
		return
	}
	for _, node := range list.Content {
		node = real(node)
		if isNull(find(node, "resolver")) {
			if !isNull(find(node, "key")) {
				r.key(node, known)
			}
			continue
		}
		t, _ := r.target(node, kind, known, all, "resolver", "endpoint")
		m.Modules = append(m.Modules, Module{Type: kind, Key: t.key, Endpoint: t.endpoint, Pos: at(node)})
	}
}
