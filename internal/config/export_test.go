package config

import "slices"

// Members returns the members that the parser knows in each kind of mapping it
// meets in a file.
func Members(name string, data []byte) (map[string][]string, error) {
	met := make(map[string][]string)
	_, err := parse(name, data, func(what string, names []string) {
		met[what] = slices.Clone(names)
	})
	return met, err
}
