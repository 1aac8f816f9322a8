package rules_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"bellows/internal/config"
	"bellows/internal/rules"
)

// reader is a step that reads pages.
func reader(tb testing.TB, paginate string, members ...string) *rules.Step {
	tb.Helper()
	if len(members) == 0 {
		members = []string{"request: {method: GET, path: /rest/api/3/list, query: {expand: all}}"}
	}
	return stepOf(tb, "avi:a:b", append([]string{"paginate: {" + paginate + "}"}, members...)...)
}

// read reads pages from a server that answers in turn, and returns the query
// or body of each call after the first.
func read(tb testing.TB, step *rules.Step, answers ...rules.Answer) (asked []string, result map[string]any, err error) {
	tb.Helper()
	in := rules.Input{Event: map[string]any{}}
	call, err := step.Render(in)
	if err != nil {
		tb.Fatal(err)
	}
	pager := step.Pages(in)
	for i := 0; ; i++ {
		if i == len(answers) {
			tb.Fatalf("asked for a page %d: %v", i+1, call.Query)
		}
		next, more, err := pager.Next(call, answers[i])
		if err != nil || !more {
			return asked, pager.Result(), err
		}
		if next.Path != call.Path || next.Method != call.Method {
			tb.Errorf("the next page is at %s %s", next.Method, next.Path)
		}
		next.Query.Del("expand")
		asked = append(asked, strings.TrimSpace(next.Query.Encode()+" "+string(next.Body)))
		call = next
	}
}

func page(body string) rules.Answer { return rules.Answer{Status: 200, Body: []byte(body)} }

func linked(body, link string) rules.Answer {
	return rules.Answer{Status: 200, Header: http.Header{"Link": {link}}, Body: []byte(body)}
}

func checkPages(t *testing.T, step *rules.Step, answers []rules.Answer, asked []string, items ...any) {
	t.Helper()
	got, result, err := read(t, step, answers...)
	if err != nil {
		t.Error(err)
	}
	same(t, "asked", got, asked)
	same(t, "items", result["items"], items)
	same(t, "pages", result["pages"], int64(len(answers)))
}

func TestPagesByStartAt(t *testing.T) {
	plain := "style: start_at, items: body.values"
	for name, c := range map[string]struct {
		paginate string
		answers  []rules.Answer
		asked    []string
		items    []any
	}{
		"a total":                  {plain, []rules.Answer{page(`{"values": ["a", "b"], "total": 3}`), page(`{"values": ["c"], "total": 3}`)}, []string{"startAt=2"}, []any{"a", "b", "c"}},
		"isLast":                   {plain, []rules.Answer{page(`{"values": ["a"], "isLast": false}`), page(`{"values": ["b"], "isLast": true}`)}, []string{"startAt=1"}, []any{"a", "b"}},
		"neither":                  {plain, []rules.Answer{page(`{"values": ["a"]}`), page(`{"values": ["b"]}`), page(`{"values": []}`)}, []string{"startAt=1", "startAt=2"}, []any{"a", "b"}},
		"a page with hidden items": {plain, []rules.Answer{page(`{"values": [], "maxResults": 50, "total": 60}`), page(`{"values": ["b"], "maxResults": 50, "total": 60}`)}, []string{"startAt=50"}, []any{"b"}},
		"a total elsewhere":        {plain + ", total: body.page.totalElements, param: start", []rules.Answer{page(`{"values": ["a"], "page": {"totalElements": 2}}`), page(`{"values": ["b"], "page": {"totalElements": 2}}`)}, []string{"start=1"}, []any{"a", "b"}},
		"a total that is missing":  {plain + ", total: body.n", []rules.Answer{page(`{"values": ["a"]}`), page(`{"values": []}`)}, []string{"startAt=1"}, []any{"a"}},
		"one page":                 {plain, []rules.Answer{page(`{"values": ["a"], "total": 1}`)}, nil, []any{"a"}},
		"items made smaller":       {"style: start_at, items: 'body.values.map(v, v.key)'", []rules.Answer{page(`{"values": [{"key": 1}], "total": 1}`)}, nil, []any{int64(1)}},
	} {
		t.Run(name, func(t *testing.T) { checkPages(t, reader(t, c.paginate), c.answers, c.asked, c.items...) })
	}
}

func TestPagesByStartAtBeginWhereTheRequestSays(t *testing.T) {
	step := reader(t, "style: start_at, items: body.values", "request: {method: GET, path: /x, query: {startAt: 10}}")
	checkPages(t, step, []rules.Answer{page(`{"values": [1], "total": 12}`), page(`{"values": [2], "total": 12}`)}, []string{"startAt=11"}, int64(1), int64(2))
}

func TestPagesByAMemberOfTheBody(t *testing.T) {
	step := reader(t, "style: start_at, items: body.issues, member: page.startAt", "repeatable: true",
		`request: {method: POST, path: /x, body: {jql: "a < b", page: {maxResults: 1}, n: 9007199254740993}}`)
	checkPages(t, step, []rules.Answer{page(`{"issues": [1], "total": 2}`), page(`{"issues": [2], "total": 2}`)},
		[]string{`{"jql":"a < b","n":9007199254740993,"page":{"maxResults":1,"startAt":1}}`}, int64(1), int64(2))
}

func TestPagesByCursor(t *testing.T) {
	step := reader(t, "style: cursor, items: body.issues")
	checkPages(t, step, []rules.Answer{page(`{"issues": ["a"], "nextPageToken": "t1"}`), page(`{"issues": ["b"], "nextPageToken": "t&2"}`), page(`{"issues": ["c"], "isLast": true}`)},
		[]string{"nextPageToken=t1", "nextPageToken=t%262"}, "a", "b", "c")
	own := reader(t, "style: cursor, items: body.results, cursor: body.?meta.cursor, param: after")
	checkPages(t, own, []rules.Answer{page(`{"results": [], "meta": {"cursor": 5}}`), page(`{"results": [], "meta": {"cursor": null}}`)}, []string{"after=5"}, []any{}...)
	missing := reader(t, "style: cursor, items: body.results, cursor: body.meta.cursor, param: after")
	checkPages(t, missing, []rules.Answer{page(`{"results": ["a"]}`)}, nil, "a")
}

func TestPagesOfGraphQL(t *testing.T) {
	step := reader(t, "style: cursor, items: body.data.all.nodes, member: variables.after, cursor: \"body.data.all.pageInfo.hasNextPage ? body.data.all.pageInfo.endCursor : ''\"",
		"repeatable: true", `request: {api: graphql, body: {query: "query($after: String) { all(after: $after) }"}}`)
	checkPages(t, step, []rules.Answer{
		page(`{"data": {"all": {"nodes": [1], "pageInfo": {"hasNextPage": true, "endCursor": "c1"}}}}`),
		page(`{"data": {"all": {"nodes": [2], "pageInfo": {"hasNextPage": false, "endCursor": "c2"}}}}`),
	}, []string{`{"query":"query($after: String) { all(after: $after) }","variables":{"after":"c1"}}`}, int64(1), int64(2))
}

func TestPagesByLink(t *testing.T) {
	step := reader(t, "style: link, items: body.results")
	checkPages(t, step, []rules.Answer{
		linked(`{"results": ["a"]}`, `</rest/api/3/list?cursor=c1&limit=2>; rel="next", </rest/api/3/list>; rel="self"`),
		linked(`{"results": ["b"]}`, `<https://site.example/rest/api/3/list?cursor=c2>; rel=next`),
		linked(`{"results": ["c"]}`, `</rest/api/3/list?cursor=c1>; rel="prev"`),
	}, []string{"cursor=c1&limit=2", "cursor=c2&limit=2"}, "a", "b", "c")
	body := reader(t, "style: link, items: body.results, next: body._links.next")
	checkPages(t, body, []rules.Answer{page(`{"results": ["a"], "_links": {"next": "/list?start=1"}}`), page(`{"results": ["b"], "_links": {}}`)}, []string{"start=1"}, "a", "b")
}

func TestPagesThatCannotBeReadAreFatal(t *testing.T) {
	more := page(`{"values": ["a"], "nextPageToken": "t"}`)
	for name, c := range map[string]struct {
		paginate string
		answers  []rules.Answer
		want     string
	}{
		"too many pages":         {"style: start_at, items: body.values, max_pages: 2", []rules.Answer{more, more}, "there are more than 2 pages"},
		"a page again":           {"style: cursor, items: body.values", []rules.Answer{more, more}, "page 2 asks for a page that was read before"},
		"no items":               {"style: cursor, items: body.issues", []rules.Answer{more}, "evaluating paginate.items (line 9, column 38): no such key: issues"},
		"items that are no list": {"style: cursor, items: body.nextPageToken", []rules.Answer{more}, "it gives a value of type string, want a list"},
		"a cursor of no text":    {"style: cursor, items: body.values, cursor: body.values", []rules.Answer{more}, "it gives a value of type list, want a string, a whole number or null"},
		"a cursor without end":   {"style: cursor, items: body.values, cursor: body.c", []rules.Answer{page(`{"values": [], "c": "` + strings.Repeat("x", 9000) + `"}`)}, "the cursor is longer than 8192 bytes"},
		"a link elsewhere":       {"style: link, items: body.values", []rules.Answer{linked(`{"values": []}`, `</rest/api/3/other?a=b>; rel=next`)}, "it goes to another path"},
		"a link with a user":     {"style: link, items: body.values", []rules.Answer{linked(`{"values": []}`, `<https://u@evil.example/list?a=b>; rel=next`)}, "it is no address of a page"},
		"a link of a script":     {"style: link, items: body.values, next: body.n", []rules.Answer{page(`{"values": [], "n": "javascript:alert(1)"}`)}, "it is no address of a page"},
		"a link without query":   {"style: link, items: body.values", []rules.Answer{linked(`{"values": []}`, `</rest/api/3/list>; rel=next`)}, "it has no query"},
		"a link of two lines":    {"style: link, items: body.values, next: body.n", []rules.Answer{page(`{"values": [], "n": "/list?a\r\nb"}`)}, "it has a control character"},
		"a failing total":        {"style: start_at, items: body.values, total: 1 / 0", []rules.Answer{more}, "division by zero"},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := read(t, reader(t, c.paginate), c.answers...)
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), `rule "r", step "s": evaluating paginate`) {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}

func TestTheItemsOfAllPagesAreBounded(t *testing.T) {
	big := `{"values": ["` + strings.Repeat("x", 2<<20) + `"]}`
	_, _, err := read(t, reader(t, "style: start_at, items: body.values"), page(big), page(big), page(big))
	if err == nil || !strings.Contains(err.Error(), "the items of all pages are longer than") {
		t.Errorf("got %v", err)
	}
	many := `{"values": [` + strings.Repeat("1,", 5000) + `1]}`
	_, _, err = read(t, reader(t, "style: start_at, items: body.values"), page(many), page(many))
	if err == nil || !strings.Contains(err.Error(), "at most 4999 are allowed") {
		t.Errorf("got %v", err)
	}
}

func TestAnAnswerThatIsNoSuccessEndsTheList(t *testing.T) {
	step := reader(t, "style: cursor, items: body.issues")
	_, result, err := read(t, step, rules.Answer{Status: 404, Body: []byte(`{"m": 1}`)})
	if err != nil {
		t.Fatal(err)
	}
	same(t, "result", result, map[string]any{"items": []any{}, "pages": int64(0), "status": int64(404), "headers": map[string]any{}, "body": map[string]any{"m": int64(1)}})
}

func ExampleStep_Pages() {
	parsed, _ := config.Parse("bellows.yaml", []byte(`
version: 1
rules:
  - name: sweep
    on: scheduled:nightly
    steps:
      - name: stale
        paginate: {style: cursor, items: "body.issues.map(i, i.key)"}
        request: {method: GET, path: /rest/api/3/search/jql}
`))
	set, err := rules.Compile(parsed, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	step := set.Rules()[0].Steps()[0]
	answers := []string{`{"issues": [{"key": "PEL-1"}], "nextPageToken": "t1"}`, `{"issues": [{"key": "PEL-2"}]}`}
	pager := step.Pages(rules.Input{})
	call, err := step.Render(rules.Input{})
	for more := true; more && err == nil; {
		fmt.Printf("%s %s?%s\n", call.Method, call.Path, call.Query.Encode())
		answer := rules.Answer{Status: 200, Body: []byte(answers[0])}
		answers = answers[1:]
		call, more, err = pager.Next(call, answer)
	}
	fmt.Println(pager.Result()["items"], err)
	// Output:
	// GET /rest/api/3/search/jql?
	// GET /rest/api/3/search/jql?nextPageToken=t1
	// [PEL-1 PEL-2] <nil>
}

func TestAPlainStepHasNoPages(t *testing.T) {
	step := stepOf(t, "avi:a:b", "request: {method: GET, path: /x}")
	if step.Paginated() || step.Pages(rules.Input{}) != nil {
		t.Error("got a pager")
	}
}

// FuzzNextPage gives a link that somebody hostile wrote: the next call stays
// at the path of the step, below its base.
func FuzzNextPage(f *testing.F) {
	seeds := []string{
		"/rest/api/3/list?cursor=a", "https://evil.example/list?a=b", "//evil.example/list?a=b", "list?a", "?a=b", "../../list?x=1", "/rest/../list?x=1",
		"/%2e%2e/list?x", "https://u:p@h/list?x=1", "http:list?x", "/list?a=%0d%0aX: 1", "/list?a=b#c", "/list;x?a=b", "/list/?a=b", `\\evil\list?a=b`, "</list?a=b>; rel=next",
		`<a>; rel="prev", <?b=c>; title=", <"; rel="x next"`, "<", "<>;rel=next", "<?a=b>;rel=next;rel=prev", "<?a=b>;title=\"\\\"", strings.Repeat("<", 9000),
	}
	if len(seeds) == 0 {
		f.Fatal("no seeds")
	}
	for _, seed := range seeds {
		f.Add(seed, true)
		f.Add(seed, false)
	}
	header := reader(f, "style: link, items: '[]'")
	body := reader(f, "style: link, items: '[]', next: body")
	f.Fuzz(func(t *testing.T, link string, inHeader bool) {
		step, answer := body, page(fmt.Sprintf("%q", link))
		if inHeader {
			step, answer = header, linked("", link)
		}
		in := rules.Input{}
		call, err := step.Render(in)
		if err != nil {
			t.Fatal(err)
		}
		next, more, err := step.Pages(in).Next(call, answer)
		if err != nil || !more {
			return
		}
		if next.Path != call.Path || next.API != call.API || next.Method != call.Method || next.User != call.User || fmt.Sprint(next.Header) != fmt.Sprint(call.Header) {
			t.Errorf("%q leads from %+v to %+v", link, call, next)
		}
		checkBelow(t, next.Path, 4)
		parsed, err := url.Parse(base + next.Path + "?" + next.Query.Encode())
		if err != nil || parsed.Path != "/ex/jira/7e57c10d/rest/api/3/list" || parsed.Fragment != "" {
			t.Errorf("%q makes %v, %v", link, parsed, err)
		}
	})
}
