package worker

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"bellows/internal/config"
	"bellows/internal/jobs"
	"bellows/internal/rules"
)

// ruleset is the rules of the file and the handlers beside them. It never
// changes: a job that has begun with one ends with it.
type ruleset struct {
	file     *rules.Set // nil: there is no file
	handlers *rules.Set // the patterns of the handlers, as rules
	run      map[string]Handler
	longest  time.Duration // the greatest age that any rule allows
}

// CheckHandlers tells everything that is wrong with handlers: a name or a
// pattern that is none, two of one name, or the name of a rule in set, which
// may be nil. A worker with such handlers does not run.
func CheckHandlers(handlers []Handler, set *rules.Set) error {
	_, err := newRuleset(handlers, set)
	return err
}

func newRuleset(handlers []Handler, file *rules.Set) (*ruleset, error) {
	s := &ruleset{file: file, run: make(map[string]Handler, len(handlers)), longest: jobs.DefaultMaxAge}
	var failed error
	// A rule with nothing to do stands for each handler, so that whatever is
	// asked of rules can be asked of handlers.
	stand := &config.File{Name: "handlers"}
	for _, h := range handlers {
		failed = errors.Join(failed, s.check(h))
		s.run[h.Name] = h
		r := config.Rule{Name: h.Name, MaxAttempts: max(h.MaxAttempts, 0), MaxAge: max(h.MaxAge, 0)}
		for _, pattern := range h.On {
			r.On = append(r.On, config.Text{Value: pattern})
		}
		stand.Rules = append(stand.Rules, r)
	}
	compiled, err := rules.Compile(stand, nil)
	if err != nil {
		failed = errors.Join(failed, err)
		compiled, _ = rules.Compile(&config.File{}, nil)
	}
	s.handlers = compiled
	for _, r := range s.rules() {
		s.longest = max(s.longest, r.MaxAge())
	}
	return s, failed
}

func (s *ruleset) check(h Handler) error {
	switch {
	case !validName.MatchString(h.Name):
		return fmt.Errorf("handler name %q is not 1 to 64 letters, digits, \"_\" or \"-\"", h.Name)
	case s.run[h.Name].Name != "":
		return fmt.Errorf("there are two handlers named %q", h.Name)
	case len(h.On) == 0:
		return fmt.Errorf("handler %q has no pattern", h.Name)
	case h.Run == nil:
		return fmt.Errorf("handler %q has nothing to run", h.Name)
	}
	if s.file != nil {
		if _, ok := s.file.Rule(h.Name); ok {
			return fmt.Errorf("handler %q has the name of a rule: call one of them otherwise", h.Name)
		}
	}
	return nil
}

func (s *ruleset) rules() []*rules.Rule {
	all := s.handlers.Rules()
	if s.file != nil {
		all = append(all, s.file.Rules()...)
	}
	return all
}

// rule finds the rule or the handler of that name.
func (s *ruleset) rule(name string) (*rules.Rule, bool) {
	if r, ok := s.handlers.Rule(name); ok || s.file == nil {
		return r, ok
	}
	return s.file.Rule(name)
}

// match finds the rules of a job, and after them its handlers.
func (s *ruleset) match(job jobs.Job, in rules.Input) (matched []rules.Matched, skipped []rules.Skipped) {
	route := ""
	if job.Kind == jobs.KindCall {
		route = job.Route
	}
	if s.file != nil {
		matched, skipped = s.file.Match(job.Type, job.Trigger, route, in)
		matched = slices.DeleteFunc(matched, func(m rules.Matched) bool { return s.run[m.Rule.Name()].Name != "" })
	}
	also, _ := s.handlers.Match(job.Type, job.Trigger, route, in)
	return append(matched, also...), skipped
}

// version is that of the rule file.
func (s *ruleset) version() string {
	if s.file == nil {
		return ""
	}
	return s.file.Version()
}

// SetRules has jobs that begin from now on use these rules, beside the same
// handlers. Jobs in hand end with those they began with. Where a rule has the
// name of a handler, the handler is it; see [CheckHandlers].
func (w *Worker) SetRules(set *rules.Set) {
	next, err := newRuleset(w.Handlers, set)
	if err != nil {
		w.log.Error("rules and handlers do not fit together", "error", err)
	}
	w.current.Store(next)
}
