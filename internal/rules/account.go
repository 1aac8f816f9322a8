package rules

import (
	"fmt"
	"strings"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"bellows/internal/config"
)

// account compiles an expression for an account id.
func (c *compiler) account(p place, text config.Text) *expression {
	return c.typed(p, text, "an account id", types.StringType)
}

// accountID evaluates the account to act as. Atlassian's ids are at most 128
// characters (Jira REST API, User, 2026-08-22).
func (i identity) accountID(vars activation) (string, *Error) {
	value, failed := i.account.value(vars)
	if failed != nil {
		return "", failed
	}
	id, err := accountText(value)
	if err != nil {
		return "", i.account.fail("%v", err)
	}
	return id, nil
}

func accountText(value ref.Val) (string, error) {
	id, isText := value.Value().(string)
	switch {
	case !isText || typeName(value) != "string":
		return "", fmt.Errorf("it gives a value of type %s, want an account id", typeName(value))
	case id == "":
		return "", fmt.Errorf("it gives an empty account id")
	case len(id) > 128 || strings.ContainsFunc(id, func(c rune) bool { return c <= ' ' || c > '~' }):
		return "", fmt.Errorf("it gives a text that is no account id")
	}
	return id, nil
}
