package forge_test

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"bellows/internal/forge"
)

func digest(text string) [32]byte { return forge.ScanBody([]byte(text)).Digest }

func TestAllDeliveriesOfOneEventHaveOneDigest(t *testing.T) {
	first := scanFile(t, "jira-issue-updated")
	for _, again := range []string{"jira-issue-updated.retry-root", "jira-issue-updated.retry-wrapped"} {
		if scanFile(t, again).Digest != first.Digest {
			t.Errorf("%s: another digest than the first delivery", again)
		}
	}
	const want = `{"a":{"b":[1,2.50],"c":"\"\\/\u0001é😀"},"d":null}`
	for _, same := range []string{
		` { "d" : null , "a" : { "c":"\u0022\u005c\/\u0001\u00e9\ud83d\ude00" , "b":[ 1 , 2.50 ] } } `,
		`{"a":{"b":[1,2.50],"c":"\"\\\/\u0001é😀"},"d":null,"contextToken":"t"}`,
		`{"context":"ari","a":{"b":[1,2.50],"contextToken":"t","c":"\"\\/\u0001é😀"},"d":null}`,
		`{"payload":` + want + `}`,
		`{"p\u0061yload":` + want + `,"retryContext":{"retryCount":1}}`,
		`{"payload":{"context":{"x":1},"retryContext":{},"contextToken":"t",` + want[1:] + `,"contextToken":"t","context":"x"}`,
	} {
		if digest(same) != sha256.Sum256([]byte(want)) {
			t.Errorf("another digest: %s", same)
		}
	}
	if digest(`{"context":{}}`) != sha256.Sum256([]byte(`{}`)) || digest(`{"payload":{"context":1}}`) != sha256.Sum256([]byte(`{}`)) {
		t.Error("an event of a context alone is not the empty object")
	}
}

func TestDifferentEventsHaveDifferentDigests(t *testing.T) {
	seen := map[[32]byte]string{}
	for _, text := range []string{
		`{}`, `[]`, `""`, `null`, `0`, `{"a":1}`, `{"a":1.0}`, `{"a":10e-1}`, `{"a":"1"}`, `{"a":null}`, `{"A":1}`, `{"a":-1}`,
		`{"a":1,"a":2}`, `{"a":2,"a":1}`, `{"a":2}`, `[1,2]`, `[2,1]`, `{"a":{"b":1}}`, `{"a":["b",1]}`, `{"a":"\\u0062"}`, `{"a":"b"}`,
		`{"a":"\ud800"}`, `{"a":"\udc00"}`, `{"a":"` + "\ufffd" + `"}`, `{"a":"` + "\xff" + `"}`, `{"a":"` + "\xed\xa0\x80" + `"}`, `{"a":"\\ud800"}`,
		`{"x":{"retryContext":1}}`, `{"x":{"context":1}}`, `{"payload":1}`, `{"payload":{"context":1},"x":1}`, `{"payload":{"context":2},"x":1}`,
		`{"payload":{"a":1},"payload":{"a":1}}`, `{"payload":{"payload":{}}}`, `{"a":"\""}`, `{"a":"\u0000"}`, `{"":1}`,
	} {
		d := digest(text)
		if other, ok := seen[d]; ok {
			t.Errorf("one digest for %s and %s", text, other)
		}
		seen[d] = text
	}
}

// member is one member of an object in the reference reading of JSON, which
// keeps their order.
type member struct {
	name  string
	value any
}

// reference reads JSON by means of encoding/json alone.
func reference(t testing.TB, text []byte) any {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	return readValue(t, d)
}

func next(t testing.TB, d *json.Decoder) json.Token {
	token, err := d.Token()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func readValue(t testing.TB, d *json.Decoder) any {
	switch token := next(t, d); token {
	case json.Delim('{'):
		members := []member{}
		for d.More() {
			members = append(members, member{next(t, d).(string), readValue(t, d)})
		}
		next(t, d)
		return members
	case json.Delim('['):
		list := []any{}
		for d.More() {
			list = append(list, readValue(t, d))
		}
		next(t, d)
		return list
	default:
		return token
	}
}

// event takes away what a redelivery may add: the wrapper, and members.
func event(v any) any {
	root, ok := v.([]member)
	if !ok {
		return v
	}
	isNoise := func(m member) bool {
		return slices.Contains([]string{"retryContext", "context", "contextToken"}, m.name)
	}
	root = slices.DeleteFunc(slices.Clone(root), isNoise)
	if len(root) == 1 && root[0].name == "payload" {
		if payload, ok := root[0].value.([]member); ok {
			return slices.DeleteFunc(slices.Clone(payload), isNoise)
		}
	}
	for i, m := range root {
		if payload, ok := m.value.([]member); ok && m.name == "payload" {
			isRetry := func(m member) bool { return m.name == "retryContext" }
			root[i].value = slices.DeleteFunc(slices.Clone(payload), isRetry)
		}
	}
	return root
}

func quote(s string) string {
	var out strings.Builder
	out.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			out.WriteString(`\` + string(r))
		case r < ' ':
			fmt.Fprintf(&out, `\u%04x`, r)
		default:
			out.WriteRune(r)
		}
	}
	return out.String() + `"`
}

func canonical(v any) string {
	switch v := v.(type) {
	case []member:
		v = slices.DeleteFunc(slices.Clone(v), func(m member) bool { return m.name == "contextToken" })
		slices.SortStableFunc(v, func(a, b member) int {
			return cmp.Compare(quote(a.name)[1:len(quote(a.name))-1], quote(b.name)[1:len(quote(b.name))-1])
		})
		parts := []string{}
		for _, m := range v {
			parts = append(parts, quote(m.name)+":"+canonical(m.value))
		}
		return "{" + strings.Join(parts, ",") + "}"
	case []any:
		parts := []string{}
		for _, e := range v {
			parts = append(parts, canonical(e))
		}
		return "[" + strings.Join(parts, ",") + "]"
	case string:
		return quote(v)
	case nil:
		return "null"
	default:
		return fmt.Sprint(v)
	}
}

// rewrite prints the same JSON in another form: members in another order
// (unless a name occurs twice), white space, escapes.
func rewrite(v any, r *rand.Rand) string {
	space := func() string { return strings.Repeat(" ", r.IntN(2)) + strings.Repeat("\n", r.IntN(2)) }
	switch v := v.(type) {
	case []member:
		v = slices.Clone(v)
		names := map[string]bool{}
		for _, m := range v {
			names[m.name] = true
		}
		if len(names) == len(v) {
			r.Shuffle(len(v), func(i, j int) { v[i], v[j] = v[j], v[i] })
		}
		parts := []string{}
		for _, m := range v {
			parts = append(parts, space()+escape(m.name, r)+space()+":"+space()+rewrite(m.value, r)+space())
		}
		return "{" + space() + strings.Join(parts, ",") + "}"
	case []any:
		parts := []string{}
		for _, e := range v {
			parts = append(parts, space()+rewrite(e, r)+space())
		}
		return "[" + space() + strings.Join(parts, ",") + "]"
	case string:
		return escape(v, r)
	default:
		return canonical(v)
	}
}

func escape(s string, r *rand.Rand) string {
	out := `"`
	for _, c := range s {
		if c < 0x10000 && r.IntN(3) == 0 {
			out += fmt.Sprintf([]string{`\u%04x`, `\u%04X`}[r.IntN(2)], c)
		} else {
			q := quote(string(c))
			out += q[1 : len(q)-1]
		}
	}
	return out + `"`
}

func FuzzScanBody(f *testing.F) {
	paths, err := filepath.Glob("testdata/body/*.json")
	if err != nil || len(paths) == 0 {
		f.Fatalf("no seeds: %v", err)
	}
	for _, path := range paths {
		seed, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(seed, uint64(1))
	}
	for _, seed := range []string{`{"contextToken":1,"b":[{"contextToken":{}}],"a":"\ud83d\ude00","payload":{"context":1}}`, `{"b":1,"a":1,"b":2}`, `"\ud800"`, `[1e5,-0.1,01]`, `{`} {
		f.Add([]byte(seed), uint64(2))
	}
	f.Fuzz(func(t *testing.T, text []byte, seed uint64) {
		input := bytes.Clone(text)
		got := forge.ScanBody(text)
		if !bytes.Equal(text, input) {
			t.Fatal("the input was changed")
		}
		if len(text) > 0 && got.JSON != json.Valid(text) && len(bytes.TrimLeft(text, " \t\r\n")) > 0 && bytes.Count(text, []byte("["))+bytes.Count(text, []byte("{")) <= 512 {
			t.Fatalf("JSON is %v, encoding/json says otherwise: %q", got.JSON, text)
		}
		if got.JSON && len(got.Data) > 0 {
			checkScan(t, text, got, rand.New(rand.NewPCG(seed, 7)))
		}
	})
}

func checkScan(t *testing.T, text []byte, got forge.Body, r *rand.Rand) {
	if !json.Valid(got.Data) {
		t.Fatalf("Data is no JSON: %q", got.Data)
	}
	if again := forge.ScanBody(got.Data); again.Digest != got.Digest || &again.Data[0] != &got.Data[0] {
		t.Fatalf("Data still has a contextToken, or another digest: %q", got.Data)
	}
	if !utf8.Valid(text) || bytes.Contains(text, []byte(`\u`)) && bytes.ContainsRune(bytes.ToValidUTF8([]byte(canonical(reference(t, text))), nil), utf8.RuneError) {
		return // encoding/json replaces what is not Unicode; the scan keeps it apart
	}
	tree := reference(t, text)
	if want := canonical(event(tree)); sha256.Sum256([]byte(want)) != got.Digest {
		t.Fatalf("the canonical form of %q is not %s", text, want)
	}
	if other := rewrite(tree, r); digest(other) != got.Digest {
		t.Fatalf("%q has another digest than %q", other, text)
	}
	if root, ok := tree.([]member); ok {
		noise := member{[]string{"retryContext", "contextToken", "context"}[r.IntN(3)], "x"}
		root = slices.Insert(slices.Clone(root), r.IntN(len(root)+1), noise)
		if other := rewrite(root, r); digest(other) != got.Digest {
			t.Fatalf("%q has another digest than %q", other, text)
		}
	}
}
