package config_test

import (
	"fmt"
	"math"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
)

// schema checks values against a JSON Schema (2020-12), by the keywords that
// docs/bellows.schema.json uses. Any other keyword fails the test.
type schema struct {
	t    *testing.T
	root map[string]any
}

// check returns why the value is refused, or "".
func (s schema) check(value any) string { return s.against(s.root, value, "") }

func (s schema) against(node any, value any, at string) string {
	if truth, isBool := node.(bool); isBool {
		if truth {
			return ""
		}
		return at + " is not allowed"
	}
	rules, ok := node.(map[string]any)
	if !ok {
		s.t.Fatalf("%s: a schema is %T", at, node)
	}
	for keyword, argument := range rules {
		if reason := s.keyword(rules, keyword, argument, value, at); reason != "" {
			return reason
		}
	}
	return ""
}

func (s schema) keyword(rules map[string]any, keyword string, argument, value any, at string) string {
	switch keyword {
	case "$schema", "$defs", "title", "description", "then", "else":
		return ""
	case "$ref":
		name := strings.TrimPrefix(argument.(string), "#/$defs/")
		return s.against(s.root["$defs"].(map[string]any)[name], value, at)
	case "allOf", "anyOf", "oneOf", "not", "if":
		return s.logic(rules, keyword, argument, value, at)
	case "type", "const", "enum", "pattern", "minLength", "minimum", "maximum":
		return s.scalar(keyword, argument, value, at)
	case "items", "minItems", "uniqueItems":
		return s.list(keyword, argument, value, at)
	case "properties", "additionalProperties", "required", "dependentRequired", "propertyNames":
		return s.object(rules, keyword, argument, value, at)
	}
	s.t.Fatalf("%s: the keyword %q is not known to this test", at, keyword)
	return ""
}

func (s schema) logic(rules map[string]any, keyword string, argument, value any, at string) string {
	var reasons []string
	fits := 0
	if list, isList := argument.([]any); isList {
		for _, one := range list {
			if reason := s.against(one, value, at); reason != "" {
				reasons = append(reasons, reason)
				continue
			}
			fits++
		}
		if keyword == "allOf" && fits < len(list) || keyword == "anyOf" && fits == 0 || keyword == "oneOf" && fits != 1 {
			return fmt.Sprintf("%s: %s: %d fit (%s)", at, keyword, fits, strings.Join(reasons, "; "))
		}
		return ""
	}
	holds := s.against(argument, value, at) == ""
	if keyword == "not" {
		if holds {
			return at + ": not"
		}
		return ""
	}
	branch := "else"
	if holds {
		branch = "then"
	}
	if next, ok := rules[branch]; ok {
		return s.against(next, value, at)
	}
	return ""
}

func (s schema) scalar(keyword string, argument, value any, at string) string {
	ok := true
	switch keyword {
	case "type":
		types, isList := argument.([]any)
		if !isList {
			types = []any{argument}
		}
		ok = slices.ContainsFunc(types, func(name any) bool { return isType(name.(string), value) })
	case "const":
		ok = reflect.DeepEqual(argument, value)
	case "enum":
		ok = slices.ContainsFunc(argument.([]any), func(one any) bool { return reflect.DeepEqual(one, value) })
	case "pattern":
		text, isText := value.(string)
		ok = !isText || regexp.MustCompile(argument.(string)).MatchString(text)
	case "minLength":
		text, isText := value.(string)
		ok = !isText || float64(utf8.RuneCountInString(text)) >= argument.(float64)
	case "minimum":
		n, isNumber := value.(float64)
		ok = !isNumber || n >= argument.(float64)
	case "maximum":
		n, isNumber := value.(float64)
		ok = !isNumber || n <= argument.(float64)
	}
	if ok {
		return ""
	}
	return fmt.Sprintf("%s: %v is not of %s %v", at, value, keyword, argument)
}

func isType(name string, value any) bool {
	switch v := value.(type) {
	case nil:
		return name == "null"
	case bool:
		return name == "boolean"
	case string:
		return name == "string"
	case float64:
		return name == "number" || name == "integer" && v == math.Trunc(v)
	case []any:
		return name == "array"
	case map[string]any:
		return name == "object"
	}
	return false
}

func (s schema) list(keyword string, argument, value any, at string) string {
	list, isList := value.([]any)
	if !isList {
		return ""
	}
	for i, item := range list {
		twice := slices.ContainsFunc(list[:i], func(other any) bool { return reflect.DeepEqual(other, item) })
		if keyword == "uniqueItems" && twice {
			return at + ": an item stands twice"
		}
		if keyword == "items" {
			if reason := s.against(argument, item, fmt.Sprintf("%s[%d]", at, i)); reason != "" {
				return reason
			}
		}
	}
	if keyword == "minItems" && float64(len(list)) < argument.(float64) {
		return at + ": too few items"
	}
	return ""
}

func (s schema) object(rules map[string]any, keyword string, argument, value any, at string) string {
	object, isObject := value.(map[string]any)
	if !isObject {
		return ""
	}
	if keyword == "required" {
		for _, name := range argument.([]any) {
			if _, ok := object[name.(string)]; !ok {
				return fmt.Sprintf("%s: %v is missing", at, name)
			}
		}
		return ""
	}
	known, _ := rules["properties"].(map[string]any)
	for name, member := range object {
		reason, place := "", at+"."+name
		_, isKnown := known[name]
		switch {
		case keyword == "properties" && isKnown:
			reason = s.against(known[name], member, place)
		case keyword == "additionalProperties" && !isKnown:
			reason = s.against(argument, member, place)
		case keyword == "propertyNames":
			reason = s.against(argument, name, place)
		case keyword == "dependentRequired":
			if needs, ok := argument.(map[string]any)[name]; ok {
				reason = s.object(rules, "required", needs, value, at)
			}
		}
		if reason != "" {
			return reason
		}
	}
	return ""
}

// members returns the members of each closed mapping of the schema by its
// title.
func (s schema) members() map[string][]string {
	all := make(map[string][]string)
	var walk func(node any)
	walk = func(node any) {
		switch v := node.(type) {
		case []any:
			for _, one := range v {
				walk(one)
			}
		case map[string]any:
			known, _ := v["properties"].(map[string]any)
			if title, ok := v["title"].(string); ok && v["additionalProperties"] == false {
				for name := range known {
					all[title] = append(all[title], name)
				}
				slices.Sort(all[title])
			}
			for _, one := range v {
				walk(one)
			}
		}
	}
	walk(s.root)
	return all
}

// decodeYAML reads a file as an editor's schema checker does: keys are texts,
// numbers are those of JSON.
func decodeYAML(t *testing.T, text string) any {
	t.Helper()
	var node yaml.Node
	if err := yaml.NewDecoder(strings.NewReader(text)).Decode(&node); err != nil || len(node.Content) == 0 {
		return nil
	}
	return plainYAML(node.Content[0])
}

func plainYAML(node *yaml.Node) any {
	switch node.Kind {
	case yaml.AliasNode:
		return plainYAML(node.Alias)
	case yaml.SequenceNode:
		list := []any{}
		for _, item := range node.Content {
			list = append(list, plainYAML(item))
		}
		return list
	case yaml.MappingNode:
		mapping := make(map[string]any)
		for i := 0; i+1 < len(node.Content); i += 2 {
			mapping[node.Content[i].Value] = plainYAML(node.Content[i+1])
		}
		return mapping
	}
	switch node.ShortTag() {
	case "!!null":
		return nil
	case "!!bool":
		truth, _ := strconv.ParseBool(node.Value)
		return truth
	case "!!int", "!!float":
		var n float64
		if err := node.Decode(&n); err == nil {
			return n
		}
	}
	return node.Value
}
