package config_test

import (
	"strings"
	"testing"
	"unicode"

	"bellows/internal/config"
)

// whenOf puts the raw text of a scalar behind "when: " on line 5 and returns
// what was read.
func whenOf(raw string) (config.Text, string, error) {
	file := "version: 1\nrules:\n- name: a\n  on: avi:a:b\n  when: " + raw + "\n  " + rest + "\n"
	parsed, err := config.Parse("b", []byte(file))
	if err != nil {
		return config.Text{}, file, err
	}
	return *parsed.Rules[0].When, file, nil
}

func TestAPlaceInsideAScalarIsFound(t *testing.T) {
	for name, raw := range map[string]string{
		"plain":                    "event.a == §",
		"plain behind wide text":   "event.é == '日本' && §",
		"plain over lines":         "event.a ==\n    event.b\n    && §",
		"single quotes":            "'event.a == §'",
		"doubled single quotes":    "'event.a == ''x'' && §'",
		"double quotes":            "\"event.a == §\"",
		"escapes":                  `"event.a == \"\x41\u00e9\U0001F600\t\\\" && §"`,
		"double quotes over lines": "\"event.a\n    == \\\n    §\"",
		"a block":                  "|\n    event.a\n      == event.b\n\n    && §",
		"a stripped block":         "|-\n    §",
		"a folded block":           ">\n    event.a\n    == event.b\n\n      && §",
		"behind an anchor":         "&x event.a == §",
		"behind a tag":             "!!str event.a == §",
		"behind both, in quotes":   "!!str &x 'event.a == §'",
		"behind a line break":      "\n    event.a == §",
	} {
		t.Run(name, func(t *testing.T) {
			text, file, err := whenOf(raw)
			if err != nil {
				t.Fatal(err)
			}
			before, _, found := strings.Cut(text.Value, "§")
			if !found {
				t.Fatalf("no § in %q", text.Value)
			}
			if got, want := text.At(len([]rune(before))), placeOf(file); got != want {
				t.Errorf("got %v, want %v", got, want)
			}
		})
	}
}

// placeOf finds § in a file.
func placeOf(file string) config.Pos {
	before, _, _ := strings.Cut(file, "§")
	lines := strings.Split(before, "\n")
	return config.Pos{Line: len(lines), Column: len([]rune(lines[len(lines)-1])) + 1}
}

func TestPlacesOutsideAScalarAreItsEnds(t *testing.T) {
	text, _, err := whenOf("'abc'")
	if err != nil {
		t.Fatal(err)
	}
	same(t, "before", text.At(-1), config.Pos{Line: 5, Column: 10})
	same(t, "end", text.At(3), config.Pos{Line: 5, Column: 13})
	same(t, "behind", text.At(99), config.Pos{Line: 5, Column: 13})
	same(t, "of no file", config.Text{Value: "x"}.At(0), config.Pos{})
}

func TestWindowsLineEndsDoNotMovePlaces(t *testing.T) {
	file := "\ufeffversion: 1\r\nrules:\r\n- name: a\r\n  on: avi:a:b\r\n  when: |\r\n    a ==\r\n    §\r\n  " + rest + "\r\n"
	parsed, err := config.Parse("b", []byte(file))
	if err != nil {
		t.Fatal(err)
	}
	same(t, "place", parsed.Rules[0].When.At(5), config.Pos{Line: 7, Column: 5})
}

// FuzzAt checks that every visible character of a value is found where the
// same character, or an escape, stands in the file.
func FuzzAt(f *testing.F) {
	seeds := []string{"a b", "'a ''b'", `"a\tb\u00e9"`, "|\n    a\n    b", ">-\n    a\n\n    b", "a\n    b", "!!str 'x'", "\"a\n\n    b\""}
	if len(seeds) == 0 {
		f.Fatal("no seeds")
	}
	for _, seed := range seeds {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		text, file, err := whenOf(raw)
		if err != nil || strings.ContainsAny(raw, "\r\u0085\u2028\u2029\ufeff") {
			return
		}
		lines := strings.Split(file, "\n")
		for i, c := range []rune(text.Value) {
			if unicode.IsSpace(c) {
				continue
			}
			place := text.At(i)
			line := []rune(lines[place.Line-1])
			if at := line[place.Column-1]; at != c && at != '\\' {
				t.Errorf("%q of %q: found %q at %v", c, text.Value, at, place)
			}
		}
	})
}
