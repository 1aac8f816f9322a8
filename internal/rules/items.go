package rules

import (
	"fmt"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

// defaultMaxItems is how many items a for_each may give unless the rule says
// otherwise.
const defaultMaxItems = 1000

// Each reports whether the step has a for_each: its result is then that of
// [Collect].
func (s *Step) Each() bool { return s.each != nil }

// Items returns an Input for each time that the step's request is to be made,
// in order: in itself for a step without for_each, else one for each item of
// its list, which may be none. The same job gives the same items as long as
// its earlier results are the same. The error is a [*Error].
func (s *Step) Items(in Input) ([]Input, error) {
	if s.each == nil {
		return []Input{in}, nil
	}
	items, failed := s.each.list(in.activation(), s.maxItems)
	if failed != nil {
		return nil, failed
	}
	all := make([]Input, len(items))
	for i, item := range items {
		all[i] = in
		all[i].Item, all[i].Index = item, i
	}
	return all, nil
}

// list evaluates an expression that must give a list, and returns its values
// as those of JSON.
func (e *expression) list(vars activation, most int) ([]any, *Error) {
	value, failed := e.value(vars)
	if failed != nil {
		return nil, failed
	}
	list, isList := value.(traits.Lister)
	if !isList {
		return nil, e.fail("it gives a value of type %s, want a list", typeName(value))
	}
	if size, _ := list.Size().(types.Int); int(size) > most {
		return nil, e.fail("it gives %d items, at most %d are allowed", size, most)
	}
	items, err := nativeList(list)
	if err != nil {
		return nil, e.fail("%v", err)
	}
	return items, nil
}

// nativeList makes the values of a list those of JSON.
func nativeList(list ref.Val) ([]any, error) {
	var out jsonWriter
	if err := out.value(list); err != nil {
		return nil, fmt.Errorf("its items: %w", err)
	}
	value, err := DecodeEvent(out.data)
	if err != nil {
		return nil, err
	}
	items, _ := value.([]any)
	return items, nil
}

// Collect makes the result of a step with for_each of those of its items, in
// their order: answers, count, and items where the step also reads pages, all
// pages of all items in one list.
func Collect(results []map[string]any) map[string]any {
	answers, items, paged := make([]any, len(results)), []any{}, false
	for i, result := range results {
		answers[i] = result
		if list, ok := result["items"].([]any); ok {
			items, paged = append(items, list...), true
		}
	}
	all := map[string]any{"answers": answers, "count": int64(len(answers))}
	if paged {
		all["items"] = items
	}
	return all
}
