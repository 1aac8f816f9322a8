package ruletest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"bellows/internal/config"
	"bellows/internal/rules"
)

// shape is a test as it is written.
type shape struct {
	Name         string         `yaml:"name"`
	On           string         `yaml:"on"`   // kind of job; the event's own type when absent
	Rule         string         `yaml:"rule"` // which of several that match
	Event        any            `yaml:"event"`
	EventFile    string         `yaml:"event_file"`
	Installation map[string]any `yaml:"installation"`
	Invocation   map[string]any `yaml:"invocation"`
	Job          map[string]any `yaml:"job"`
	Answers      []answerShape  `yaml:"answers"`
	Expect       expectShape    `yaml:"expect"`
}

type answerShape struct {
	Request string            `yaml:"request"`
	Status  int               `yaml:"status"` // 200 when absent
	Headers map[string]string `yaml:"headers"`
	Body    any               `yaml:"body"`
}

type expectShape struct {
	Calls   *[]callShape `yaml:"calls"`   // nil: not looked at
	Outcome string       `yaml:"outcome"` // done when absent
	Reason  string       `yaml:"reason"`  // a part of why a job is dead or delayed
	Delay   string       `yaml:"delay"`   // the least time
}

type callShape struct {
	Request string            `yaml:"request"`
	API     string            `yaml:"api"`
	As      string            `yaml:"as"`
	Query   map[string]any    `yaml:"query"`
	Headers map[string]string `yaml:"headers"`
	Body    any               `yaml:"body"`
	Exact   bool              `yaml:"exact"`
}

// test is one test, read and checked.
type test struct {
	shape
	file  string
	line  int
	event any
	delay time.Duration
}

// outcomes are what a test may expect.
var outcomes = map[string]bool{"done": true, "no match": true, "dead": true, "delay": true}

var requestPattern = regexp.MustCompile(`^[A-Z]+ \S+$`)

func readFile(name string) ([]test, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("reading tests: %w", err)
	}
	return parse(name, text)
}

// parse reads a test file. Tests that are right are returned also when others
// are wrong.
func parse(name string, text []byte) ([]test, error) {
	var root struct {
		Tests []yaml.Node `yaml:"tests"`
	}
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	decoder.KnownFields(true)
	if err := decoder.Decode(&root); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: reading tests: %w", name, err)
	}
	if len(root.Tests) == 0 {
		return nil, fmt.Errorf("%s: reading tests: there are none, want a list under \"tests\"", name)
	}
	var tests []test
	var errs []error
	for i := range root.Tests {
		one, err := readTest(name, &root.Tests[i])
		if err != nil {
			errs = append(errs, fmt.Errorf("%s:%d: reading test %q: %w", name, root.Tests[i].Line, one.Name, err))
			continue
		}
		tests = append(tests, one)
	}
	return tests, errors.Join(errs...)
}

func readTest(file string, node *yaml.Node) (test, error) {
	t := test{file: file, line: node.Line}
	if err := node.Load(&t.shape, yaml.WithKnownFields()); err != nil {
		return t, err
	}
	if t.Name == "" {
		return t, errors.New("it needs a \"name\"")
	}
	for _, check := range []func() error{t.checkEvent, t.checkCalls, t.checkExpect} {
		if err := check(); err != nil {
			return t, err
		}
	}
	return t, nil
}

// checkEvent reads the event, and the maps beside it, as a worker would.
func (t *test) checkEvent() error {
	if t.EventFile != "" && t.Event != nil {
		return errors.New("it has \"event\" and \"event_file\", want one of them")
	}
	var err error
	if t.EventFile != "" {
		data, readErr := os.ReadFile(filepath.Join(filepath.Dir(t.file), t.EventFile))
		if readErr != nil {
			return readErr
		}
		t.event, err = rules.DecodeEvent(data)
	} else if t.event, err = plain(t.Event); t.event == nil {
		t.event = map[string]any{}
	}
	if err != nil {
		return err
	}
	event, _ := t.event.(map[string]any)
	if kind, ok := event["eventType"].(string); ok && t.On == "" {
		t.On = kind
	}
	if t.On == "" {
		return errors.New("it needs \"on\", the event has no eventType")
	}
	for _, m := range []*map[string]any{&t.Installation, &t.Invocation, &t.Job} {
		value, err := plain(*m)
		if err != nil {
			return err
		}
		*m, _ = value.(map[string]any)
	}
	return nil
}

func (t *test) checkCalls() error {
	var requests []string
	for _, answer := range t.Answers {
		requests = append(requests, answer.Request)
		if answer.Status != 0 && (answer.Status < 100 || answer.Status > 599) {
			return fmt.Errorf("an answer has the status %d", answer.Status)
		}
	}
	if t.Expect.Calls != nil {
		for _, call := range *t.Expect.Calls {
			requests = append(requests, call.Request)
		}
	}
	for _, request := range requests {
		if !requestPattern.MatchString(request) {
			return fmt.Errorf("request is %q, want a method and a path, like \"GET /rest/api/3/myself\"", request)
		}
	}
	return nil
}

func (t *test) checkExpect() error {
	e := &t.Expect
	if e.Calls == nil && e.Outcome == "" && e.Reason == "" && e.Delay == "" {
		return errors.New("it expects nothing, want \"calls\" or \"outcome\" under \"expect\"")
	}
	if e.Delay != "" {
		var err error
		if t.delay, err = config.ParseDuration(e.Delay); err != nil {
			return fmt.Errorf("delay is %q, %w", e.Delay, err)
		}
	}
	switch {
	case e.Outcome == "" && e.Delay != "":
		e.Outcome = "delay"
	case e.Outcome == "" && e.Reason != "":
		e.Outcome = "dead"
	case e.Outcome == "":
		e.Outcome = "done"
	}
	if !outcomes[e.Outcome] {
		return fmt.Errorf("outcome is %q, want done, no match, dead or delay", e.Outcome)
	}
	if e.Delay != "" && e.Outcome != "delay" {
		return fmt.Errorf("a job that is expected to be %q has no delay", e.Outcome)
	}
	return nil
}

// plain makes values of YAML those of JSON, as rules see them.
func plain(value any) (any, error) {
	data, err := json.Marshal(value)
	if err != nil {
		return nil, fmt.Errorf("a value cannot be written in JSON: %s", strings.TrimPrefix(err.Error(), "json: "))
	}
	return rules.DecodeEvent(data)
}
