package rules

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"bellows/internal/config"
)

const (
	// timeLimit ends an evaluation that its cost has not. It is far above what
	// costLimit takes, so that load does not decide what becomes of a job.
	timeLimit = 5 * time.Second

	// checkEvery is how many turns of a loop pass between looks at timeLimit.
	checkEvery = 1000

	// maxReason is how many characters of CEL's words an error keeps.
	maxReason = 300
)

// expression is compiled CEL and where it came from.
type expression struct {
	program cel.Program
	part
}

// part is a piece of a rule that can fail while a job runs.
type part struct {
	rule, step, where string
	pos               config.Pos
}

func (p part) fail(format string, args ...any) *Error {
	reason := []rune(fmt.Sprintf(format, args...))
	if len(reason) > maxReason {
		reason = append(reason[:maxReason], '…')
	}
	return &Error{Rule: p.rule, Step: p.step, Where: p.where, Pos: p.pos, Reason: string(reason)}
}

// value evaluates the expression.
func (e *expression) value(vars activation) (ref.Val, *Error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeLimit)
	defer cancel()
	value, _, err := e.program.ContextEval(ctx, map[string]any(vars))
	switch {
	case err != nil:
		failed := e.fail("%v", err)
		failed.Missing = isMissing(err)
		return nil, failed
	case types.IsUnknownOrError(value):
		return nil, e.fail("%v", value)
	}
	return value, nil
}

// truth evaluates an expression that must give true or false.
func (e *expression) truth(vars activation) (bool, *Error) {
	value, err := e.value(vars)
	if err != nil {
		return false, err
	}
	truth, ok := value.(types.Bool)
	if !ok {
		return false, e.fail("it gives a value of type %s, want true or false", typeName(value))
	}
	return bool(truth), nil
}

// missingWords begin what cel-go v0.33.2 says when a value lacks a member: the
// types of these errors are not exported. TestMissingMembers holds them.
var missingWords = []string{
	"no such key: ", "no such attribute", "index out of bounds: ", "index '", "optional.none() dereference",
}

// isMissing reports whether err says that a member or an element is not there.
func isMissing(err error) bool {
	var celErr *types.Err
	if !errors.As(err, &celErr) {
		return false
	}
	for _, words := range missingWords {
		if strings.HasPrefix(celErr.Error(), words) {
			return true
		}
	}
	return false
}

// typeName names the type of a value as CEL's documentation does.
func typeName(value ref.Val) string { return value.Type().TypeName() }
