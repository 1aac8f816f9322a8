package main

import (
	"runtime"
	"runtime/debug"
)

type versionCmd struct {
	JSON bool `name:"json" help:"As JSON."`
}

// version is what is known of this program.
type version struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"`
	Modified bool   `json:"modified,omitempty"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

// Run prints the version.
func (c *versionCmd) Run(t terminal) error {
	v := version{Version: "devel", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	if build, ok := debug.ReadBuildInfo(); ok {
		v.read(build)
	}
	if c.JSON {
		return t.json(v)
	}
	t.print("bellows %s\n", v)
	return nil
}

func (v *version) read(build *debug.BuildInfo) {
	if name := build.Main.Version; name != "" && name != "(devel)" {
		v.Version = name
	}
	for _, s := range build.Settings {
		switch s.Key {
		case "vcs.revision":
			v.Revision = s.Value
		case "vcs.modified":
			v.Modified = s.Value == "true"
		}
	}
}

// String is the version on one line.
func (v version) String() string {
	text := v.Version
	if v.Revision != "" {
		text += " (" + v.Revision[:min(len(v.Revision), 12)]
		if v.Modified {
			text += ", modified"
		}
		text += ")"
	}
	return text + " " + v.Go + " " + v.Platform
}
