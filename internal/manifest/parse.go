package manifest

import (
	"net/url"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v4"
)

// appID is the form of app.id. Atlassian's own pattern is the same without its
// ends tied (@forge/manifest 13.7.0, read 2026-11-22); the audience of a token
// is compared with the whole, so a longer string could never match.
var appID = regexp.MustCompile(`^ari:cloud:ecosystem::app/[^\s/]+$`)

// Parse reads and checks the manifest in data. name stands for the file in
// errors, which are of type [*Error].
func Parse(name string, data []byte) (*Manifest, error) {
	r := &reader{name: name}
	m := &Manifest{name: name}
	if root := r.document(data); root != nil {
		r.manifest(m, root)
	}
	if len(r.issues) > 0 {
		return nil, (&Error{File: name, Issues: r.issues}).sorted()
	}
	return m, nil
}

func (r *reader) manifest(m *Manifest, root *yaml.Node) {
	if root.Kind != yaml.MappingNode {
		r.fail(at(root), "the manifest is no mapping, it needs at least app.id and modules")
		return
	}
	m.AppID = r.app(root)
	m.Remotes = r.remotes(root)
	m.Scopes = r.scopes(root)
	r.modules(m, find(root, "modules"))
}

func (r *reader) app(root *yaml.Node) string {
	node := find(root, "app", "id")
	if isNull(node) {
		r.fail(at(root), "app.id is missing, \"forge register\" writes it")
		return ""
	}
	id := r.text(root, "app", "id")
	if node.Kind == yaml.ScalarNode && !appID.MatchString(id) {
		r.fail(at(node), "app.id %q is no app, it must be ari:cloud:ecosystem::app/<id>", id)
	}
	return id
}

func (r *reader) remotes(root *yaml.Node) []Remote {
	var remotes []Remote
	keys := r.newKeys("remote")
	for _, node := range r.list(root, "remotes", "remotes") {
		remote := Remote{Key: r.key(node, keys), Pos: at(node)}
		remote.Configurable = !isNull(find(node, "configurable"))
		r.baseURL(&remote, node)
		remotes = append(remotes, remote)
	}
	return remotes
}

// baseURL reads the address of a remote: one string, or a map of regions.
func (r *reader) baseURL(remote *Remote, node *yaml.Node) {
	base := find(node, "baseUrl")
	switch {
	case isNull(base):
		if !remote.Configurable {
			r.fail(at(node), "remote %q has no baseUrl, give one or make it configurable", remote.Key)
		}
	case base.Kind == yaml.ScalarNode:
		remote.BaseURL = r.address(base)
	case base.Kind == yaml.MappingNode:
		r.regions(remote, base)
	default:
		r.fail(at(base), "baseUrl is neither a URL nor a map of regions, give one of them")
	}
}

func (r *reader) regions(remote *Remote, base *yaml.Node) {
	remote.Regions = make(map[string]string)
	for _, m := range members(base) {
		if m.value.Kind != yaml.ScalarNode || isNull(m.value) {
			r.fail(at(m.value), "baseUrl for %q is no URL, give one", m.key.Value)
			continue
		}
		if m.key.Value == "default" {
			remote.BaseURL = r.address(m.value)
			continue
		}
		remote.Regions[m.key.Value] = r.address(m.value)
	}
	if isNull(find(base, "default")) {
		r.fail(at(base), "baseUrl has no default region, add \"default: https://…\"")
	}
}

// address checks one base URL. One that holds a variable (${NAME}) is filled in
// by the Forge CLI when it deploys and cannot be judged here.
func (r *reader) address(node *yaml.Node) string {
	text := node.Value
	if hasVariable(text) {
		return text
	}
	parsed, err := url.Parse(text)
	if err != nil || parsed.Host == "" || parsed.Scheme != "https" && parsed.Scheme != "http" {
		r.fail(at(node), "baseUrl %q is no absolute URL, write https://host/path", text)
	}
	return text
}

func hasVariable(text string) bool { return strings.Contains(text, "${") }

// scopes reads permissions.scopes, a list of names or a map from name to its
// settings.
func (r *reader) scopes(root *yaml.Node) []Scope {
	node := find(root, "permissions", "scopes")
	var scopes []Scope
	switch {
	case isNull(node):
	case node.Kind == yaml.SequenceNode:
		for _, entry := range node.Content {
			if entry = real(entry); entry.Kind == yaml.ScalarNode {
				scopes = append(scopes, Scope{Name: entry.Value})
				continue
			}
			r.fail(at(entry), "a scope in a list is no name, use the map form for settings")
		}
	case node.Kind == yaml.MappingNode:
		for _, m := range members(node) {
			scopes = append(scopes, Scope{Name: m.key.Value, AllowImpersonation: r.flag(m.value, "allowImpersonation")})
		}
	default:
		r.fail(at(node), "permissions.scopes is neither a list nor a map, give one of them")
	}
	return scopes
}
