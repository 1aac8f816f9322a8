package simulator

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// ParseSet reads PATH=VALUE as "bellows trigger --set" takes it. A value that
// is JSON is that JSON value; any other text is a string.
func ParseSet(text string) (path string, value any, err error) {
	path, written, ok := strings.Cut(text, "=")
	if !ok || path == "" {
		return "", nil, fmt.Errorf("reading %q: want path=value", text)
	}
	if json.Unmarshal([]byte(written), &value) != nil {
		value = written
	}
	return path, value, nil
}

// setAll returns root with every path set. Shorter paths go first, so that
// one may set an object and another a member of it.
func setAll(root any, values map[string]any) (any, error) {
	for _, path := range slices.Sorted(maps.Keys(values)) {
		var err error
		if root, err = setPath(root, splitPath(path), values[path]); err != nil {
			return nil, refuse(http.StatusBadRequest, "setting %q: %v", path, err)
		}
	}
	return root, nil
}

// splitPath splits at dots that have no backslash before them.
func splitPath(path string) []string {
	const dot = "\x00"
	parts := strings.Split(strings.ReplaceAll(path, `\.`, dot), ".")
	for i, p := range parts {
		parts[i] = strings.ReplaceAll(p, dot, ".")
	}
	return parts
}

// setPath returns node with the value at a path, and makes the objects on the
// way that are not there. A list may be extended by its next index.
func setPath(node any, path []string, value any) (any, error) {
	if len(path) == 0 {
		return value, nil
	}
	switch node := node.(type) {
	case map[string]any:
		inner, err := setPath(node[path[0]], path[1:], value)
		node[path[0]] = inner
		return node, err
	case []any:
		i, err := strconv.Atoi(path[0])
		if err != nil || i < 0 || i > len(node) {
			return nil, fmt.Errorf("a list of %d has no place %q", len(node), path[0])
		}
		if i == len(node) {
			node = append(node, nil)
		}
		node[i], err = setPath(node[i], path[1:], value)
		return node, err
	case nil:
		inner, err := setPath(nil, path[1:], value)
		return map[string]any{path[0]: inner}, err
	}
	return nil, fmt.Errorf("%q is in something that is neither an object nor a list", path[0])
}

// at returns what a dotted path leads to in nested objects, or nil.
func at(node any, path string) any {
	for _, name := range strings.Split(path, ".") {
		object, ok := node.(map[string]any)
		if !ok {
			return nil
		}
		node = object[name]
	}
	return node
}

// textAt returns a string or number at a path as text, or "".
func textAt(node any, path string) string {
	switch v := at(node, path).(type) {
	case string:
		return v
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	return ""
}

// clone copies a JSON value, so that a payload and the store never share one.
func clone(v any) any {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err) // the stores hold JSON values only
	}
	var copied any
	if err := json.Unmarshal(data, &copied); err != nil {
		panic(err)
	}
	return copied
}

// object is clone for an object.
func object(v map[string]any) map[string]any {
	copied, _ := clone(v).(map[string]any)
	return copied
}
