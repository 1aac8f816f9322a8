package rules

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

const (
	// maxBody bounds a request's body, in bytes: what Forge allows for a
	// request (Forge platform quotas, 2026-08-22), and more than any resource
	// of Atlassian's takes as JSON.
	maxBody = 5 << 20

	// maxDepth bounds how deep a body is nested.
	maxDepth = 200
)

var (
	errTooLong = fmt.Errorf("it is longer than %d bytes", maxBody)
	errTooDeep = fmt.Errorf("it is nested more than %d deep", maxDepth)
)

// jsonWriter writes CEL values as JSON, up to maxBody.
type jsonWriter struct {
	data  []byte
	depth int
}

func (w *jsonWriter) raw(text string) error {
	if len(w.data)+len(text) > maxBody {
		return errTooLong
	}
	w.data = append(w.data, text...)
	return nil
}

// text writes a JSON string.
func (w *jsonWriter) text(s string) error {
	if len(w.data)+len(s) > maxBody {
		return errTooLong
	}
	var buf bytes.Buffer
	encoder := json.NewEncoder(&buf)
	encoder.SetEscapeHTML(false) // it is not for a page, and escapes would make it longer
	if err := encoder.Encode(s); err != nil {
		return err
	}
	return w.raw(string(bytes.TrimSuffix(buf.Bytes(), []byte("\n"))))
}

func (w *jsonWriter) key(key string) error {
	if err := w.text(key); err != nil {
		return err
	}
	return w.raw(":")
}

// value writes a value: numbers stay what they are, a timestamp becomes RFC
// 3339, a duration seconds with an "s", bytes base64; the same as CEL's own
// conversion to JSON, but for 64-bit integers, which stay numbers.
func (w *jsonWriter) value(value ref.Val) error {
	switch v := value.(type) {
	case types.Null:
		return w.raw("null")
	case types.String:
		return w.text(string(v))
	case types.Double:
		return w.number(float64(v))
	case types.Bool, types.Int, types.Uint:
		text, err := textOf(value)
		return errors.Join(err, w.raw(text))
	case types.Timestamp:
		return w.text(v.UTC().Format(time.RFC3339Nano))
	case types.Duration:
		return w.text(strconv.FormatFloat(v.Seconds(), 'f', -1, 64) + "s")
	case types.Bytes:
		return w.text(base64.StdEncoding.EncodeToString(v))
	case *types.Optional:
		if v.HasValue() {
			return w.value(v.GetValue())
		}
		return errors.New("it gives an optional without a value, use orValue to say what then")
	}
	return w.nested(value)
}

func (w *jsonWriter) number(f float64) error {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return errors.New("it gives a number that is not finite")
	}
	data, err := json.Marshal(f)
	return errors.Join(err, w.raw(string(data)))
}

func (w *jsonWriter) nested(value ref.Val) error {
	if w.depth++; w.depth > maxDepth {
		return errTooDeep
	}
	defer func() { w.depth-- }()
	switch v := value.(type) {
	case traits.Lister:
		return w.list(v)
	case traits.Mapper:
		return w.mapping(v)
	}
	return fmt.Errorf("it gives a value of type %s, which JSON does not have", typeName(value))
}

func (w *jsonWriter) list(list traits.Lister) error {
	err := w.raw("[")
	for i, it := 0, list.Iterator(); err == nil && it.HasNext() == types.True; i++ {
		if i > 0 {
			err = w.raw(",")
		}
		err = errors.Join(err, w.value(it.Next()))
	}
	return errors.Join(err, w.raw("]"))
}

// mapping writes the members sorted by key, so that the same values make the
// same body.
func (w *jsonWriter) mapping(m traits.Mapper) error {
	values := make(map[string]ref.Val)
	var keys []string
	for it := m.Iterator(); it.HasNext() == types.True; {
		key := it.Next()
		text, err := textOf(key)
		if err != nil {
			return err
		}
		if _, twice := values[text]; twice {
			return fmt.Errorf("it gives a map with two keys that are %q in JSON", text)
		}
		keys, values[text] = append(keys, text), m.Get(key)
	}
	slices.Sort(keys)
	err := w.raw("{")
	for i, key := range keys {
		if i > 0 && err == nil {
			err = w.raw(",")
		}
		if err == nil {
			err = w.key(key)
		}
		if err == nil {
			err = w.value(values[key])
		}
	}
	return errors.Join(err, w.raw("}"))
}
