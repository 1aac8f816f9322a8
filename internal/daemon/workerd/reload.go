package workerd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"bellows/internal/config"
	"bellows/internal/rules"
	"bellows/internal/worker"
)

// reload takes edits of the rule file into use until ctx ends.
func (d *service) reload(ctx context.Context) {
	r := reloader{path: d.o.Config, version: d.rules.Version(), use: d.worker.SetRules, log: d.o.Log}
	r.fits = func(set *rules.Set) error { return worker.CheckHandlers(d.o.Handlers, set) }
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.o.Look:
			r.look()
		}
	}
}

// reloader compares a rule file with what it held before. It compares the
// content: a time of change is too coarse for two edits in one tick of a file
// system, and says nothing about a file that was put in the place of another.
type reloader struct {
	path    string
	version string                 // of the rules in use
	fits    func(*rules.Set) error // beside the handlers in Go
	use     func(*rules.Set)
	log     *slog.Logger

	looked bool
	seen   []byte // what the file held at the last look, or why it could not be read
	wrong  bool   // seen is not what is in use
}

// look takes the file into use if it has changed and is right. What is wrong
// with it is told once for each content; the rules stay as they are.
func (r *reloader) look() {
	data, err := os.ReadFile(r.path)
	if err != nil {
		data = []byte(err.Error())
	}
	if r.looked && bytes.Equal(data, r.seen) {
		return
	}
	r.looked, r.seen = true, data
	var set *rules.Set
	if err == nil {
		set, err = compileText(r.path, data)
	}
	if err == nil {
		err = r.fits(set)
	}
	if err != nil {
		r.refuse(err)
		return
	}
	if set.Version() == r.version && !r.wrong {
		return // the first look
	}
	r.version, r.wrong = set.Version(), false
	r.use(set)
	r.log.Info("rules are reloaded", "file", r.path, "version", r.version, "rules", len(set.Rules()))
}

// refuse tells what is wrong, a line for each fault with its place.
func (r *reloader) refuse(err error) {
	r.wrong = true
	if wrong := (*config.Error)(nil); errors.As(err, &wrong) {
		for _, i := range wrong.Issues {
			r.log.Error("rule file is wrong", "at", fmt.Sprintf("%s:%d:%d", wrong.File, i.Line, i.Column), "error", i.Message)
		}
	} else {
		r.log.Error("rule file cannot be used", "error", err)
	}
	r.log.Warn("rules are not reloaded, the old ones stay in use", "file", r.path, "version", r.version)
}

// compileText reads and compiles the text of a rule file.
func compileText(name string, data []byte) (*rules.Set, error) {
	file, err := config.Parse(name, data)
	if err != nil {
		return nil, err
	}
	return rules.Compile(file, nil)
}
