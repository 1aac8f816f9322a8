package config_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"

	"bellows/internal/config"
)

func loadSchema(t *testing.T) schema {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "..", "docs", "bellows.schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	var root map[string]any
	if err := json.Unmarshal(data, &root); err != nil {
		t.Fatal(err)
	}
	return schema{t, root}
}

// goodFiles are what parser and schema must both take.
func goodFiles(t *testing.T) map[string]string {
	t.Helper()
	good := map[string]string{
		"nothing but a version":  "version: 1\n",
		"no rules":               "version: 1\nrules: []\nroutes: []\n",
		"one pattern":            withRule("name: a", "on: avi:cloud:ecosystem::event/8b1c/key", rest),
		"a when that is true":    withRule("name: a", "on: avi:a:b", "when: true", rest),
		"a body of one value":    withRequest("method: POST", "path: /x", "body: ${event.x}"),
		"a body that is a list":  withRequest("method: POST", "path: /x", "body: [1, {a: null}]"),
		"numbers in a query":     withRequest("method: GET", "path: /x", "query: {a: 1, b: [true, x, 2026-01-02]}"),
		"graphql":                withRequest("api: graphql", "body: {query: x}"),
		"graphql by POST":        withRequest("api: graphql", "method: POST", "body: {query: x}"),
		"storage":                withRequest("api: storage", "method: POST", "path: /v1/get", "body: {key: a}"),
		"a route of the root":    withRoute("{name: a, path: /, enqueue: {}}"),
		"a route of everything":  withRoute("{name: a, path: '/**', enqueue: {keep: 1h30m}}"),
		"a route with two stars": withRoute("{name: a, path: '/a/*/b/**', forward: {url: 'https://h:1/x', max_body: 4096, timeout: 250ms}}"),
		"an age of days":         withRule("name: a", "on: avi:a:b", "max_age: 7d", rest),
		"an alias":               withRule("name: a", "on: &on [avi:a:b]", rest) + "- name: b\n  on: *on\n  " + rest + "\n",
	}
	for _, name := range []string{"bellows.yaml", "full.yaml"} {
		data, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		good[name] = string(data)
	}
	docs, err := os.ReadFile(filepath.Join("..", "..", "docs", "rules.md"))
	if err != nil {
		t.Fatal(err)
	}
	for i, text := range strings.Split(string(docs), "```yaml\nversion:")[1:] {
		text, _, _ = strings.Cut(text, "```")
		good[fmt.Sprintf("example %d of rules.md", i+1)] = "version:" + text
	}
	return good
}

// beyondSchema are wrong files whose fault no schema can see: it lies in YAML
// itself, between members far apart, or in what a text means.
var beyondSchema = []string{
	"two documents", "a member twice", "two rules of one name", "two steps of one name", "a name that the file gives to an unnamed step",
	"an age of years", "a long timeout", "a query parameter twice", "a template as a key", "a key twice in a body", "a merge in a body",
	"infinity in a body", "a tag in a body", "two routes on one path", "two routes of one name", "a status twice",
	"a member without body", "pages of a PUT", "pages of a POST", "pages of graphql by a parameter", "pages with a probe",
	"an unsafe retry after a class", "an unsafe retry after an answer", "an unsafe retry after a lost answer", "storage as the user",
}

func TestSchemaAndParserTakeTheSameFiles(t *testing.T) {
	s := loadSchema(t)
	for name, text := range goodFiles(t) {
		if _, err := config.Parse("b.yaml", []byte(text)); err != nil {
			t.Errorf("%s: the parser refuses it: %v", name, err)
		}
		if reason := s.check(decodeYAML(t, text)); reason != "" {
			t.Errorf("%s: the schema refuses it: %s", name, reason)
		}
	}
}

func TestSchemaAndParserRefuseTheSameFiles(t *testing.T) {
	s := loadSchema(t)
	known := make(map[string]bool)
	for _, w := range wrongs {
		if w.name == "no YAML" {
			continue
		}
		known[w.name] = true
		reason := s.check(decodeYAML(t, w.text))
		if beyond := slices.Contains(beyondSchema, w.name); (reason == "") != beyond {
			t.Errorf("%s: the schema says %q, and is thought to see it: %v", w.name, reason, !beyond)
		}
	}
	for _, name := range beyondSchema {
		if !known[name] {
			t.Errorf("%q is no wrong file", name)
		}
	}
}

func TestSchemaAndParserKnowTheSameMembers(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("testdata", "full.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	parser, err := config.Members("full.yaml", data)
	if err != nil {
		t.Fatal(err)
	}
	if len(parser) < 10 {
		t.Fatalf("full.yaml meets only %d kinds of mappings", len(parser))
	}
	same(t, "members", loadSchema(t).members(), parser)
}

// TestFullFileHasEveryMember keeps full.yaml full: a kind of mapping that it
// does not have would not be compared.
func TestFullFileHasEveryMember(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("testdata", "full.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var node yaml.Node
	if err := yaml.Unmarshal(data, &node); err != nil {
		t.Fatal(err)
	}
	there := make(map[string]bool)
	var walk func(n *yaml.Node)
	walk = func(n *yaml.Node) {
		for i, child := range n.Content {
			if n.Kind == yaml.MappingNode && i%2 == 0 {
				there[child.Value] = true
			}
			walk(child)
		}
	}
	walk(&node)
	known, err := config.Members("full.yaml", data)
	if err != nil {
		t.Fatal(err)
	}
	for what, names := range known {
		for _, name := range names {
			if !there[name] {
				t.Errorf("full.yaml has no %q of %s", name, what)
			}
		}
	}
}
