package forge

import (
	"encoding/json"
	"testing"
)

// FuzzDocument compares the parser of tokens with encoding/json: what it
// accepts is an object that means the same.
func FuzzDocument(f *testing.F) {
	for _, seed := range []string{
		`{}`, `{"a":"\u00e9\ud83d\ude00\n","b":[1,{"c":null}],"d":-1.5e+3}`, `{"a":1,"\u0061":2}`, ` {"":{}} `, `{"a":[[],{}],"b":{}}`, `{"a":"\ud800"}`, "{\"a\":\"\xff\"}", `{"a":1}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var d document
		if d.parse(text) != nil {
			return
		}
		var want map[string]any
		if err := json.Unmarshal(text, &want); err != nil {
			t.Fatalf("accepted %q, encoding/json says %v", text, err)
		}
		found := 0
		for i := d.firstOf(0); i > 0; i = d.nodes[i].next {
			found++
			value, ok := want[d.key(i)]
			if !ok || d.member(0, d.key(i)) != i {
				t.Fatalf("%q: found the member %q", text, d.key(i))
			}
			compare(t, &d, i, value)
		}
		if found != len(want) {
			t.Fatalf("%q: found %d members, want %d", text, found, len(want))
		}
	})
}

func compare(t *testing.T, d *document, at int, want any) {
	switch want := want.(type) {
	case string:
		if d.nodes[at].kind != kindString || d.stringAt(at) != want {
			t.Fatalf("got %q, want %q", d.stringAt(at), want)
		}
	case []any:
		i := d.firstOf(at)
		for _, element := range want {
			compare(t, d, i, element)
			i = d.nodes[i].next
		}
		if i != 0 || d.nodes[at].kind != kindArray {
			t.Fatalf("an array of %d elements has more, or is none", len(want))
		}
	case nil:
		if !d.isNull(at) {
			t.Fatalf("got %q, want null", d.raw(at))
		}
	}
}
