package rules

import (
	"slices"

	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

const (
	// costLimit ends an evaluation, in CEL's units: about one for each
	// operation, and one for each ten bytes of text that an operation goes
	// through or makes. That is 10 MB in all, of events that have at most 200 kB
	// (Forge platform quotas, 2026-08-22).
	costLimit = 1_000_000

	bytesPerUnit = 10
)

// prices charges calls by what they are really given. cel-go's own prices go by
// the types known when an expression is compiled; nothing is known of an event,
// so that it would charge one unit for joining two texts of any length.
type prices struct{}

// CallCost returns the price of one call. It satisfies cel-go's
// ActualCostEstimator.
func (prices) CallCost(function, _ string, args []ref.Val, result ref.Val) *uint64 {
	price := uint64(1)
	switch function {
	case operators.Index, operators.OptIndex, operators.OptSelect, overloads.Size, overloads.TypeConvertType, overloads.TypeConvertDyn,
		operators.Conditional, operators.LogicalAnd, operators.LogicalOr, operators.LogicalNot, operators.NotStrictlyFalse,
		"value", "hasValue", "or", "orValue", "optional.of", "optional.none", "optional.ofNonZeroValue":
		return &price // they look at no text
	case operators.Equals, operators.NotEquals, operators.In:
		for _, arg := range args {
			price += elements(arg, costLimit)
		}
	case "split", "join", "adf.doc", "adf.paragraph", "adf.text", "ari.parse":
		for _, value := range slices.Concat(args, []ref.Val{result}) {
			price += elements(value, costLimit)
		}
	case overloads.Matches:
		if len(args) == 2 {
			price += textUnits(args[0]) * patternUnits(args[1])
		}
	}
	for _, arg := range args {
		price += textUnits(arg)
	}
	price += textUnits(result)
	return &price
}

func textUnits(value ref.Val) uint64 {
	switch v := value.(type) {
	case types.String:
		return uint64(len(v) / bytesPerUnit)
	case types.Bytes:
		return uint64(len(v) / bytesPerUnit)
	}
	return 0
}

// patternUnits is how much longer a regular expression takes than a plain pass
// over its text: a quarter for each byte, as in cel-go's own prices.
func patternUnits(pattern ref.Val) uint64 {
	text, _ := pattern.(types.String)
	return uint64(1 + len(text)/4)
}

// elements counts the elements of a value at every depth, up to most.
func elements(value ref.Val, most uint64) uint64 {
	var it traits.Iterator
	mapping, isMap := value.(traits.Mapper)
	switch list, isList := value.(traits.Lister); {
	case isMap:
		it = mapping.Iterator()
	case isList:
		it = list.Iterator()
	default:
		return 0
	}
	count := uint64(0)
	for it.HasNext() == types.True && count < most {
		element := it.Next()
		if isMap {
			element = mapping.Get(element)
		}
		count += 1 + textUnits(element) + elements(element, most-count)
	}
	return count
}
