// Package quickstart holds the two files that an app with a bellows backend
// starts from, as they lie in this folder: "bellows dev" and "bellows demo" run
// them, so that what a reader sees here is what runs.
package quickstart

import _ "embed"

// Manifest is manifest.yml.
//
//go:embed manifest.yml
var Manifest []byte

// Rules is bellows.yaml.
//
//go:embed bellows.yaml
var Rules []byte
