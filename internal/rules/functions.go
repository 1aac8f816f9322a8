package rules

import (
	"fmt"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

// maxMade bounds what one function may make, in bytes. A call is charged when
// it is over, so that what one call can make has to be bounded beforehand.
const maxMade = 1 << 20

var errMade = fmt.Errorf("the text becomes longer than %d bytes", maxMade)

// functions are those that rules have beside the standard ones of CEL.
func functions() []cel.EnvOption {
	text, number := cel.StringType, cel.IntType
	options := []cel.EnvOption{
		method("split", cel.ListType(text), splitText, text, text),
		method("replace", text, replace, text, text, text),
		method("trim", text, func(args []ref.Val) (any, error) { return strings.TrimSpace(str(args[0])), nil }, text),
		method("lowerAscii", text, func(args []ref.Val) (any, error) { return ascii(str(args[0]), 'A', 'a'), nil }, text),
		method("upperAscii", text, func(args []ref.Val) (any, error) { return ascii(str(args[0]), 'a', 'A'), nil }, text),
		method("indexOf", number, indexOf, text, text),
		cel.Function("substring",
			overload("substring_from", text, substring, text, number),
			overload("substring_from_to", text, substring, text, number, number)),
		cel.Function("join",
			overload("join_plain", text, join, cel.ListType(cel.DynType)),
			overload("join_separator", text, join, cel.ListType(cel.DynType), text)),
	}
	return append(append(options, documentFunctions()...), timeFunctions()...)
}

// binding computes a call; its error fails the expression.
type binding func(args []ref.Val) (any, error)

// method declares a function that is called on its first argument.
func method(name string, result *cel.Type, run binding, args ...*cel.Type) cel.EnvOption {
	return cel.Function(name, overload(name+"_member", result, run, args...))
}

// global declares a function with its own full name.
func global(name string, result *cel.Type, run binding, args ...*cel.Type) cel.EnvOption {
	return cel.Function(name, cel.Overload(strings.ReplaceAll(name, ".", "_"), args, result, bound(run)))
}

func overload(id string, result *cel.Type, run binding, args ...*cel.Type) cel.FunctionOpt {
	return cel.MemberOverload("bellows_"+id, args, result, bound(run))
}

func bound(run binding) cel.OverloadOpt {
	return cel.FunctionBinding(func(args ...ref.Val) ref.Val {
		value, err := run(args)
		if err != nil {
			return types.NewErr("%v", err)
		}
		return types.DefaultTypeAdapter.NativeToValue(value)
	})
}

// str reads an argument that the declaration says is a string.
func str(value ref.Val) string {
	text, _ := value.(types.String)
	return string(text)
}

func splitText(args []ref.Val) (any, error) {
	return strings.Split(str(args[0]), str(args[1])), nil
}

func replace(args []ref.Val) (any, error) {
	text, old, with := str(args[0]), str(args[1]), str(args[2])
	if count := strings.Count(text, old); len(text)+count*len(with) > maxMade {
		return nil, errMade
	}
	return strings.ReplaceAll(text, old, with), nil
}

// ascii moves the letters from first on to those from to on.
func ascii(text string, first, to byte) string {
	return strings.Map(func(c rune) rune {
		if rune(first) <= c && c < rune(first)+26 {
			return c - rune(first) + rune(to)
		}
		return c
	}, text)
}

// indexOf counts characters, as CEL's size does; -1 when there is none.
func indexOf(args []ref.Val) (any, error) {
	text := str(args[0])
	at := strings.Index(text, str(args[1]))
	if at < 0 {
		return int64(-1), nil
	}
	return int64(len([]rune(text[:at]))), nil
}

// substring takes the characters from one index to before another, or to the
// end. Indexes past the end are the end.
func substring(args []ref.Val) (any, error) {
	text := []rune(str(args[0]))
	from, _ := args[1].(types.Int)
	to := types.Int(len(text))
	if len(args) > 2 {
		to, _ = args[2].(types.Int)
	}
	if from < 0 || len(args) > 2 && to < from {
		return nil, fmt.Errorf("substring from %d to %d: want 0 <= from <= to", from, to)
	}
	to = min(to, types.Int(len(text)))
	return string(text[min(from, to):to]), nil
}

// join writes strings, numbers and booleans one behind another.
func join(args []ref.Val) (any, error) {
	list, isList := args[0].(traits.Lister)
	if !isList {
		return nil, fmt.Errorf("join of a value of type %s, want a list", typeName(args[0]))
	}
	separator := ""
	if len(args) > 1 {
		separator = str(args[1])
	}
	var out strings.Builder
	for i, it := 0, list.Iterator(); it.HasNext() == types.True; i++ {
		if i > 0 {
			out.WriteString(separator)
		}
		text, err := textOf(it.Next())
		if err != nil {
			return nil, fmt.Errorf("join of an element: %w", err)
		}
		if out.WriteString(text); out.Len() > maxMade {
			return nil, errMade
		}
	}
	return out.String(), nil
}
