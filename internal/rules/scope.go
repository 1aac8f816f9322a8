package rules

import (
	"sync"
	"time"

	"cel.dev/cel-go/cel"
)

// scope is what an expression sees besides event, installation, invocation and
// job.
type scope uint8

const (
	seesSteps  scope       = 1 << iota // steps
	seesItem                           // item and index
	seesPage                           // status, headers and body of a page
	seesAnswer                         // answer, of a probe
	scopes     = 1 << iota             // how many combinations there are
)

// scopeNames are the variables of each.
var scopeNames = []struct {
	scope scope
	names []string
}{
	{0, []string{"event", "installation", "invocation", "job"}},
	{seesSteps, []string{"steps"}},
	{seesItem, []string{"item"}},
	{seesPage, []string{"headers", "body"}},
	{seesAnswer, []string{"answer"}},
}

// environments declare what expressions of each scope see. They are made when
// they are first needed.
var environments = func() (all [scopes]func() (*cel.Env, error)) {
	for i := range all {
		all[i] = sync.OnceValues(func() (*cel.Env, error) { return newEnvironment(scope(i)) })
	}
	return all
}()

func newEnvironment(sees scope) (*cel.Env, error) {
	options := []cel.EnvOption{
		cel.OptionalTypes(),
		cel.ASTValidators(cel.ValidateRegexLiterals(), cel.ValidateTimestampLiterals(), cel.ValidateDurationLiterals()),
	}
	options = append(options, functions()...)
	for _, s := range scopeNames {
		if s.scope&^sees != 0 {
			continue
		}
		for _, name := range s.names {
			options = append(options, cel.Variable(name, cel.DynType))
		}
	}
	if sees&seesItem != 0 {
		options = append(options, cel.Variable("index", cel.IntType))
	}
	return cel.NewEnv(options...)
}

// activation is an Input by the names that expressions use.
type activation map[string]any

func (in Input) activation() activation {
	return activation{
		"event": in.Event, "installation": in.Installation, "invocation": in.Invocation,
		"job": timed(in.Job), "steps": in.Steps, "item": in.Item, "index": in.Index,
	}
}

// timed makes the time at which a job was received a timestamp, also where it
// came as text.
func timed(job map[string]any) map[string]any {
	text, isText := job["received"].(string)
	at, err := time.Parse(time.RFC3339Nano, text)
	if !isText || err != nil {
		return job
	}
	with := make(map[string]any, len(job))
	for name, value := range job {
		with[name] = value
	}
	with["received"] = at
	return with
}
