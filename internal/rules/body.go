package rules

import (
	"strconv"

	"bellows/internal/config"
)

// body is the template of a JSON value.
type body struct {
	kind    config.ValueKind
	json    []byte      // of a scalar
	text    template    // of a string
	whole   *expression // of a string that is one expression, whose value keeps its type
	items   []body
	keys    []string // of a mapping, as long as items
	partial part
}

// body compiles the tree of a request's body. where names the place in it.
func (c *compiler) body(p place, shape config.Value) body {
	b := body{kind: shape.Kind, json: shape.JSON, partial: p.part(shape.Pos)}
	switch shape.Kind {
	case config.StringValue:
		b.text = c.template(p, shape.Text)
		if len(b.text.pieces) == 1 {
			b.whole = b.text.pieces[0].expr
		}
	case config.ListValue:
		for i, item := range shape.Items {
			b.items = append(b.items, c.body(p.in(p.where+"["+strconv.Itoa(i)+"]"), item))
		}
	case config.MappingValue:
		for _, m := range shape.Members {
			b.keys = append(b.keys, m.Key)
			b.items = append(b.items, c.body(p.in(p.where+member(m.Key)), m.Value))
		}
	}
	return b
}

// lone compiles the body itself, where a string must be one expression.
func (c *compiler) lone(p place, shape config.Value) *body {
	b := c.body(p, shape)
	if spans, _, reason := split([]rune(shape.Text.Value)); shape.Kind == config.StringValue && reason == "" {
		if len(spans) != 1 || !spans[0].isCEL {
			c.fail(p, shape.Text, 0, "a body must be a mapping, a list or one ${expression}")
		}
	}
	return &b
}

// render returns the body in JSON.
func (b *body) render(vars activation) ([]byte, *Error) {
	var out jsonWriter
	if failed := b.write(&out, vars); failed != nil {
		return nil, failed
	}
	return out.data, nil
}

func (b *body) write(out *jsonWriter, vars activation) *Error {
	switch b.kind {
	case config.StringValue:
		return b.writeString(out, vars)
	case config.ListValue, config.MappingValue:
		return b.writeItems(out, vars)
	}
	return b.failed(out.raw(string(b.json)))
}

func (b *body) writeString(out *jsonWriter, vars activation) *Error {
	if b.whole == nil {
		text, failed := b.text.render(vars, textOf)
		if failed != nil {
			return failed
		}
		return b.failed(out.text(text))
	}
	value, failed := b.whole.value(vars)
	if failed != nil {
		return failed
	}
	return b.failed(out.value(value))
}

func (b *body) writeItems(out *jsonWriter, vars activation) *Error {
	open, end := "[", "]"
	if b.kind == config.MappingValue {
		open, end = "{", "}"
	}
	err := out.raw(open)
	for i := range b.items {
		if i > 0 && err == nil {
			err = out.raw(",")
		}
		if b.kind == config.MappingValue && err == nil {
			err = out.key(b.keys[i])
		}
		if err != nil {
			break
		}
		if failed := b.items[i].write(out, vars); failed != nil {
			return failed
		}
	}
	if err == nil {
		err = out.raw(end)
	}
	return b.failed(err)
}

// failed names the place of an error; nil stays nil.
func (b *body) failed(err error) *Error {
	if err == nil {
		return nil
	}
	return b.partial.fail("%v", err)
}

// member writes how a member is reached.
func member(key string) string {
	if keyPattern.MatchString(key) {
		return "." + key
	}
	return "[" + strconv.Quote(key) + "]"
}
