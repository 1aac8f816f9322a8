package rules_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"bellows/internal/rules"
)

// valueOf evaluates an expression of a body for an event.
func valueOf(tb testing.TB, expression string, in rules.Input) (string, error) {
	tb.Helper()
	quoted := strings.ReplaceAll(expression, "'", "''")
	call, err := render(tb, request(`method: POST, path: /x, body: {v: '${`+quoted+`}'}`), in)
	return strings.TrimSuffix(strings.TrimPrefix(string(call.Body), `{"v":`), "}"), err
}

func functionInput() rules.Input {
	return rules.Input{
		Event: map[string]any{
			"s": "a,b,,c", "l": []any{"x", int64(1), true}, "empty": []any{}, "text": "Line one\nline two\n\nNext part",
			"nil": nil, "n": int64(5), "at": "2026-09-14T08:02:11.412+0000", "ms": "1789372931412", "m": map[string]any{},
			"doc": map[string]any{"type": "doc", "version": int64(1), "content": []any{
				map[string]any{"type": "paragraph", "content": []any{
					map[string]any{"type": "text", "text": "Hello "},
					map[string]any{"type": "mention", "attrs": map[string]any{"text": "@Mara"}},
				}},
				map[string]any{"type": "rule"},
				map[string]any{"type": "paragraph", "content": []any{map[string]any{"type": "text", "text": "Bye"}}},
			}},
		},
		Job: map[string]any{"received": "2026-11-22T13:06:10.5Z"},
	}
}

func TestTextsAreTakenApartAndJoined(t *testing.T) {
	for expression, want := range map[string]string{
		`event.s.split(',')`:                                       `["a","b","","c"]`,
		`'日本'.split('')`:                                           `["日","本"]`,
		`event.l.join('-')`:                                        `"x-1-true"`,
		`event.l.join()`:                                           `"x1true"`,
		`event.empty.join(',')`:                                    `""`,
		`['a', 'b'].join(', ')`:                                    `"a, b"`,
		`event.s.split(',').join(';')`:                             `"a;b;;c"`,
		`event.s.replace(',', '')`:                                 `"abc"`,
		`'  a b '.trim()`:                                          `"a b"`,
		`'ÄbC'.lowerAscii()`:                                       `"Äbc"`,
		`'äbC'.upperAscii()`:                                       `"äBC"`,
		`'日本語'.indexOf('語')`:                                       `2`,
		`'abc'.indexOf('x')`:                                       `-1`,
		`'日本語'.substring(1)`:                                       `"本語"`,
		`'abc'.substring(1, 2)`:                                    `"b"`,
		`'abc'.substring(2, 99)`:                                   `"c"`,
		`'abc'.substring(99)`:                                      `""`,
		`event.l.map(x, string(x)).join('|')`:                      `"x|1|true"`,
		`event.s.split(',').filter(x, x != '')`:                    `["a","b","c"]`,
		`event.?none.orValue('a b').split(' ')`:                    `["a","b"]`,
		`ari.parse('ari:cloud:jira::site/7e57')`:                   `{"cloud":"cloud","id":"7e57","owner":"jira","site":"","type":"site"}`,
		`ari.parse('ari:cloud:jira:7e57:issue/10417').id`:          `"10417"`,
		`ari.parse('ari:cloud:ecosystem::environment/app/env').id`: `"app/env"`,
	} {
		got, err := valueOf(t, expression, functionInput())
		if err != nil || got != want {
			t.Errorf("%s: got %s, %v, want %s", expression, got, err, want)
		}
	}
}

func TestDocumentsAreMadeOfTexts(t *testing.T) {
	paragraph := func(content string) string { return `{"content":[` + content + `],"type":"paragraph"}` }
	doc := func(content string) string { return `{"content":[` + content + `],"type":"doc","version":1}` }
	text := func(s string) string { return `{"text":"` + s + `","type":"text"}` }
	for expression, want := range map[string]string{
		`adf.paragraph('Hello')`:                     paragraph(text("Hello")),
		`adf.paragraph('')`:                          paragraph(""),
		`adf.paragraph('a\r\nb')`:                    paragraph(text("a") + `,{"type":"hardBreak"},` + text("b")),
		`adf.doc(event.text)`:                        doc(paragraph(text("Line one")+`,{"type":"hardBreak"},`+text("line two")) + "," + paragraph(text("Next part"))),
		`adf.doc('')`:                                doc(""),
		`adf.doc([])`:                                doc(""),
		`adf.doc(['a', {'type': 'rule'}])`:           doc(paragraph(text("a")) + `,{"type":"rule"}`),
		`adf.doc([adf.paragraph('a')])`:              doc(paragraph(text("a"))),
		`adf.text(event.doc)`:                        `"Hello @Mara\nBye"`,
		`adf.text(adf.doc(event.text))`:              `"Line one\nline two\nNext part"`,
		`adf.text('plain')`:                          `"plain"`,
		`adf.text(event.nil)`:                        `""`,
		`adf.text(event.m)`:                          `""`,
		`adf.text({'content': 'none', 'type': 1})`:   `""`,
		`adf.text({'type': 'emoji', 'attrs': null})`: `""`,
	} {
		got, err := valueOf(t, expression, functionInput())
		if err != nil || got != want {
			t.Errorf("%s: got %s, %v, want %s", expression, got, err, want)
		}
	}
}

func TestTimesAreReadAndWritten(t *testing.T) {
	for expression, want := range map[string]string{
		`time.parse(event.at)`:                                         `"2026-09-14T08:02:11.412Z"`,
		`time.parse(event.ms)`:                                         `"2026-09-14T08:02:11.412Z"`,
		`time.parse(0)`:                                                `"1970-01-01T00:00:00Z"`,
		`time.parse('2026-01-02')`:                                     `"2026-01-02T00:00:00Z"`,
		`time.parse('2026-01-02T10:00+02:00')`:                         `"2026-01-02T08:00:00Z"`,
		`time.parse(job.received)`:                                     `"2026-11-22T13:06:10.5Z"`,
		`time.parse('2026-04-01T10:00:00.123456+00:00')`:               `"2026-04-01T10:00:00.123456Z"`,
		`time.millis(time.parse(event.at))`:                            `1789372931412`,
		`time.format(job.received, '%Y-%m-%d %H:%M:%S.%L %a %b %j%%')`: `"2026-11-22 13:06:10.500 Sun Nov 326%"`,
		`time.format(time.parse(1500), '%s')`:                          `"1"`,
		`time.format(job.received + duration('24h'), '%d')`:            `"23"`,
		`job.received - time.parse(event.at) > duration('24h')`:        `true`,
		`job.received.getFullYear()`:                                   `2026`,
	} {
		got, err := valueOf(t, expression, functionInput())
		if err != nil || got != want {
			t.Errorf("%s: got %s, %v, want %s", expression, got, err, want)
		}
	}
}

func TestFunctionsSayWhatTheyWereGivenWrongly(t *testing.T) {
	for expression, want := range map[string]string{
		`event.l.join(1)`:                    "overload",
		`event.n.split(',')`:                 "no such overload",
		`[[1]].join()`:                       "join of an element: it gives a value of type list",
		`'abc'.substring(2, 1)`:              "substring from 2 to 1: want 0 <= from <= to",
		`'abc'.substring(-1)`:                "substring from -1 to 3",
		`adf.doc(event.n)`:                   "adf.doc of a value of type int, want a string or a list",
		`adf.text(event.n)`:                  "adf.text of a value of type int, want a document",
		`ari.parse(event.s)`:                 `"a,b,,c" is no ARI`,
		`ari.parse('ari:cloud:jira::site')`:  "is no ARI",
		`time.parse(event.s)`:                `"a,b,,c" is no time`,
		`time.parse(event.m)`:                "time.parse of a value of type map",
		`time.parse(9223372036854775807)`:    "are no time from year 1 to 9999",
		`time.format(time.parse(0), '%Q')`:   "has a % that is not one of",
		`time.format(time.parse(0), '100%')`: "has a % that is not one of",
	} {
		set, err := compile(request(`method: POST, path: /x, body: {v: '${`+strings.ReplaceAll(expression, "'", "''")+`}'}`), nil)
		if err == nil {
			r, _ := set.Rule("r")
			_, err = r.Steps()[0].Render(functionInput())
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", expression, err, want)
		}
	}
}

// hostileInput has what makes much of little.
func hostileInput() rules.Input {
	list := make([]any, 1000)
	for i := range list {
		list[i] = int64(i)
	}
	deep := map[string]any{"type": "text", "text": "x"}
	for range 5000 {
		deep = map[string]any{"type": "p", "content": []any{deep}}
	}
	return rules.Input{Event: map[string]any{
		"l": list, "s": strings.Repeat("a", 200_000), "nl": strings.Repeat("a\n", 100_000), "pp": strings.Repeat("a\n\n", 60_000), "deep": deep,
	}}
}

func TestHostileCallsAreStopped(t *testing.T) {
	in := hostileInput()
	for _, expression := range []string{
		`event.l.map(x, event.s).join()`,
		`event.s.replace('a', event.s)`,
		`event.s.replace('', event.s)`,
		`event.l.map(x, event.s.split(''))`,
		`event.l.map(x, event.s.replace('b', 'c'))`,
		`event.l.map(x, event.s.upperAscii())`,
		`event.l.map(x, event.s.indexOf('b'))`,
		`event.l.map(x, event.s.substring(x))`,
		`event.l.map(x, event.s.trim())`,
		`adf.paragraph(event.nl)`,
		`adf.doc(event.pp)`,
		`adf.doc(event.nl.split('\n'))`,
		`adf.text(event.deep)`,
		`event.l.map(x, adf.doc(event.s))`,
		`event.l.map(x, adf.text(adf.doc(event.s)))`,
		`event.l.map(x, ari.parse('ari:cloud:a::b/' + event.s))`,
		`event.l.map(x, time.parse(event.s))`,
		`event.l.map(a, event.l.map(b, event.l.map(c, [a, b, c])))`,
	} {
		start := time.Now()
		got, err := valueOf(t, expression, in)
		if err == nil {
			t.Errorf("%s: got %d bytes, want an error", expression, len(got))
		}
		if took := time.Since(start); took > 4*time.Second {
			t.Errorf("%s: took %v", expression, took)
		}
	}
}

func FuzzLenientReaders(f *testing.F) {
	seeds := []string{"2026-09-14T08:02:11.412+0000", "1789372931412", "-1", "ari:cloud:jira::site/x", "a\n\nb", "", "\x00", "9999-12-31", "0001-01-01T00:00:00+14:00"}
	if len(seeds) == 0 {
		f.Fatal("no seeds")
	}
	set := mustCompile(f, request(`method: POST, path: /x, body: ["${adf.doc(event.s)}", "${adf.text(adf.paragraph(event.s))}", "${event.s.split(event.s).join(event.s)}"]`))
	readers := mustCompile(f, request(`method: POST, path: /x, body: ["${time.parse(event.s)}", "${ari.parse(event.s)}", "${time.format(time.parse(0), event.s)}"]`))
	for _, seed := range seeds {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		text = strings.ToValidUTF8(text, "")
		in := rules.Input{Event: map[string]any{"s": text}}
		r, _ := set.Rule("r")
		if _, err := r.Steps()[0].Render(in); err != nil && len(text) < 1000 {
			t.Error(err)
		}
		r, _ = readers.Rule("r")
		if _, err := r.Steps()[0].Render(in); err != nil && len(fmt.Sprint(err)) > 600 {
			t.Errorf("a long error: %v", err)
		}
	})
}
