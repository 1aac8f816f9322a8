package worker

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"bellows/internal/jobs"
	"bellows/internal/rules"
)

// resultOf is what expressions see of a finished step.
func resultOf(s jobs.Step) map[string]any {
	if len(s.Result) == 0 {
		return answerOf(s)
	}
	value, err := rules.DecodeEvent(s.Result)
	if err != nil {
		return map[string]any{}
	}
	result, _ := value.(map[string]any)
	return result
}

// answerOf reads a record of the form that has no result.
func answerOf(s jobs.Step) map[string]any {
	header := make(map[string]any, len(s.Header))
	for name, value := range s.Header {
		header[name] = value
	}
	body, err := rules.DecodeEvent(s.Body)
	if err != nil || len(s.Body) == 0 {
		body = nil
	}
	return map[string]any{"status": int64(s.Status), "headers": header, "body": body}
}

// encodeResult writes a result so that reading it gives the same values: a
// number that is not a whole one by its type must not become one by its text.
func encodeResult(result map[string]any) (json.RawMessage, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(exact(result)); err != nil {
		return nil, fmt.Errorf("encoding the result: %w", err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// exact replaces the numbers with a fraction in a value by their text.
func exact(value any) any {
	switch v := value.(type) {
	case float64:
		text := strconv.FormatFloat(v, 'g', -1, 64)
		if !strings.ContainsAny(text, ".e") {
			text += ".0"
		}
		return json.Number(text)
	case []any:
		list := make([]any, len(v))
		for i, item := range v {
			list[i] = exact(item)
		}
		return list
	case map[string]any:
		members := make(map[string]any, len(v))
		for name, member := range v {
			members[name] = exact(member)
		}
		return members
	}
	return value
}
