package rules

import (
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	celast "cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"

	"bellows/internal/config"
)

// maxFaults is how many faults of one expression are told: a parser that has
// lost its way finds many.
const maxFaults = 3

// compiler turns the shape of a file into rules and collects what is wrong.
type compiler struct {
	failed    config.Error
	scheduled []string             // keys of the manifest; nil: no manifest
	compiled  map[source]*compiled // :: text of an expression → what became of it
	catalogue catalogue
	examples  []examples // of the rule at hand
	warned    config.Error
}

// source is what makes two expressions the same.
type source struct {
	text string
	sees scope
}

// compiled is an expression, or the faults found in it.
type compiled struct {
	program cel.Program
	output  *cel.Type
	faults  []fault
	uses    []stepUse
	reads   []memberRead
}

// fault is one thing wrong with an expression, at a character of it.
type fault struct {
	offset  int
	message string
}

// stepUse is a place in an expression where it reads the answer of a step.
type stepUse struct {
	offset int
	name   string
}

func newCompiler(name string, options Options) *compiler {
	c := &compiler{
		failed: config.Error{File: name}, warned: config.Error{File: name}, compiled: make(map[source]*compiled),
		catalogue: catalogue{options.Events, options.Examples},
	}
	if m := options.Manifest; m != nil {
		c.scheduled = make([]string, 0, len(m.Scheduled))
		for _, trigger := range m.Scheduled {
			c.scheduled = append(c.scheduled, trigger.Key)
		}
	}
	return c
}

// place is where in the rules an expression or a template stands.
type place struct {
	rule, step, where string
	earlier           []string // steps whose answers can be read; nil outside steps
	sees              scope
}

func (p place) in(where string) place {
	p.where = where
	return p
}

// with is the place with more in sight.
func (p place) with(more scope) place {
	p.sees |= more
	return p
}

func (p place) part(pos config.Pos) part { return part{p.rule, p.step, p.where, pos} }

// String begins the message of a fault.
func (p place) String() string {
	if p.step == "" {
		return "rule \"" + p.rule + "\": " + p.where
	}
	return "rule \"" + p.rule + "\", step \"" + p.step + "\": " + p.where
}

// fail reports something wrong at a character of text.
func (c *compiler) fail(p place, text config.Text, offset int, message string) {
	c.failed.Add(text.At(offset), "%s: %s", p, message)
}

// expression compiles the characters of text from start on that src holds. It
// returns nil after reporting what is wrong with them.
func (c *compiler) expression(p place, text config.Text, start int, src string) (*expression, *cel.Type) {
	result := c.compile(source{src, p.sees})
	for _, fault := range result.faults {
		c.fail(p, text, start+fault.offset, fault.message)
	}
	for _, use := range result.uses {
		if !slices.Contains(p.earlier, use.name) {
			c.fail(p, text, start+use.offset, "no step before this one is named \""+use.name+"\"")
		}
	}
	if len(result.faults) > 0 {
		return nil, nil
	}
	c.compare(p, text, start, result.reads)
	return &expression{result.program, p.part(text.At(start))}, result.output
}

// compile compiles an expression, or finds what became of the same one before.
func (c *compiler) compile(src source) *compiled {
	if done, ok := c.compiled[src]; ok {
		return done
	}
	done := compileCEL(src)
	c.compiled[src] = done
	return done
}

func compileCEL(src source) *compiled {
	env, err := environments[src.sees]()
	if err != nil {
		return &compiled{faults: []fault{{0, err.Error()}}}
	}
	checked, issues := env.Compile(src.text)
	if issues.Err() != nil {
		return &compiled{faults: faults(src.text, issues.Errors())}
	}
	program, err := env.Program(checked,
		cel.EvalOptions(cel.OptOptimize), cel.CostTracking(prices{}), cel.CostLimit(costLimit),
		cel.InterruptCheckFrequency(checkEvery))
	if err != nil {
		return &compiled{faults: []fault{{0, oneLine(err.Error())}}}
	}
	native := checked.NativeRep()
	return &compiled{program: program, output: checked.OutputType(), uses: stepUses(src.text, native), reads: memberReads(src.text, native)}
}

// faults tells CEL's errors by the character they stand at.
func faults(src string, errs []*cel.Error) []fault {
	var all []fault
	for _, err := range errs[:min(len(errs), maxFaults)] {
		offset := offsetOf(src, err.Location.Line(), err.Location.Column())
		all = append(all, fault{offset, oneLine(err.Message)})
	}
	return all
}

// offsetOf counts the characters of src before a line, from 1, and column,
// from 0.
func offsetOf(src string, line, column int) int {
	runes := []rune(src)
	offset := 0
	for ; line > 1 && offset < len(runes); offset++ {
		if runes[offset] == '\n' {
			line--
		}
	}
	return min(offset+max(column, 0), len(runes))
}

func oneLine(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	if runes := []rune(text); len(runes) > maxReason {
		return string(runes[:maxReason]) + "…"
	}
	return text
}

// stepUses finds steps.NAME, steps.?NAME and steps["NAME"].
func stepUses(src string, checked *celast.AST) []stepUse {
	var uses []stepUse
	visit := celast.NewExprVisitor(func(e celast.Expr) {
		name, operand, ok := selected(e)
		if !ok || operand.Kind() != celast.IdentKind || operand.AsIdent() != "steps" {
			return
		}
		at := checked.SourceInfo().GetStartLocation(operand.ID())
		uses = append(uses, stepUse{offsetOf(src, at.Line(), at.Column()), name})
	})
	celast.PostOrderVisit(checked.Expr(), visit)
	return uses
}

// selected takes apart an expression that reads a member by a literal name.
func selected(e celast.Expr) (name string, operand celast.Expr, ok bool) {
	if e.Kind() == celast.SelectKind {
		return e.AsSelect().FieldName(), e.AsSelect().Operand(), true
	}
	if e.Kind() != celast.CallKind {
		return "", nil, false
	}
	call := e.AsCall()
	switch call.FunctionName() {
	case operators.Index, operators.OptIndex, operators.OptSelect:
	default:
		return "", nil, false
	}
	args := call.Args()
	if len(args) != 2 || args[1].Kind() != celast.LiteralKind {
		return "", nil, false
	}
	literal, isText := args[1].AsLiteral().(types.String)
	return string(literal), args[0], isText
}
