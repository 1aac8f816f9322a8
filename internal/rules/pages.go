package rules

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"strconv"
	"strings"

	"cel.dev/cel-go/common/types"

	"bellows/internal/config"
)

const (
	// defaultMaxPages is how many pages are read unless the rule says otherwise.
	defaultMaxPages = 100

	// maxPageItems bounds the items of all pages together.
	maxPageItems = 10_000
)

// pages says how a step asks for the pages of a list.
type pages struct {
	style  string
	items  *expression
	param  string
	member []string
	more   *expression // total, cursor or next, by style; nil: where Atlassian's APIs have it
	most   int
	part
}

func (c *compiler) pages(p place, shape config.Paginate) *pages {
	p = p.with(seesPage)
	read := &pages{
		style: shape.Style, param: shape.Param, member: shape.Member, most: orDefault(shape.MaxPages, defaultMaxPages),
		items: c.typed(p.in("paginate.items"), shape.Items, "a list", types.ListType),
		part:  p.in("paginate").part(shape.Pos),
	}
	for name, text := range map[string]*config.Text{"total": shape.Total, "cursor": shape.Cursor, "next": shape.Next} {
		if text != nil {
			read.more, _ = c.expression(p.in("paginate."+name), *text, 0, text.Value)
		}
	}
	return read
}

// Paginated reports whether the step reads pages: its result is then that of
// [Pager.Result].
func (s *Step) Paginated() bool { return s.pages != nil }

// Pages returns what reads the pages of the step for an Input that Items gave,
// or nil when the step reads none.
func (s *Step) Pages(in Input) *Pager {
	if s.pages == nil {
		return nil
	}
	return &Pager{pages: s.pages, in: in, items: []any{}, asked: make(map[[sha256.Size]byte]bool)}
}

// Pager collects the items of one list, page by page.
type Pager struct {
	pages *pages
	in    Input
	items []any
	size  int // of the items in JSON, bytes
	count int
	last  map[string]any
	asked map[[sha256.Size]byte]bool
}

// Next takes the answer to call, the first of which Render makes, and returns
// the call for the next page; more is false when there is none. Only the query
// of the new call, or one member of its body, differs: whatever an answer says,
// it goes to the same path. An answer outside 2xx, which OnStatus may call
// done, has no items and ends the list. The error is a [*Error]: the answer is
// not what the rule says, or there are too many pages.
func (p *Pager) Next(call Call, answer Answer) (next Call, more bool, err error) {
	p.last = answer.View()
	if answer.Status/100 != 2 {
		return Call{}, false, nil
	}
	next, more, failed := p.next(call, answer)
	if failed != nil {
		return Call{}, false, failed
	}
	return next, more, nil
}

func (p *Pager) next(call Call, answer Answer) (next Call, more bool, failed *Error) {
	p.asked[fingerprint(call)] = true
	vars := p.in.activation()
	vars["headers"], vars["body"] = p.last["headers"], p.last["body"]
	got, failed := p.take(vars)
	if failed != nil {
		return next, false, failed
	}
	switch p.pages.style {
	case config.PagesStartAt:
		next, more, failed = p.startAt(call, vars, got)
	case config.PagesCursor:
		next, more, failed = p.cursor(call, vars)
	default:
		next, more, failed = p.link(call, vars, answer)
	}
	switch {
	case failed != nil || !more:
		return next, false, failed
	case p.asked[fingerprint(next)]:
		return next, false, p.pages.fail("page %d asks for a page that was read before", p.count)
	case p.count >= p.pages.most:
		return next, false, p.pages.fail("there are more than %d pages", p.pages.most)
	}
	return next, true, nil
}

// take adds the items of one page and returns how many there are.
func (p *Pager) take(vars activation) (int, *Error) {
	items, failed := p.pages.items.list(vars, maxPageItems-len(p.items))
	if failed != nil {
		return 0, failed
	}
	data, err := json.Marshal(items)
	if p.size += len(data); err != nil || p.size > maxBody {
		return 0, p.pages.items.fail("the items of all pages are longer than %d bytes", maxBody)
	}
	p.items, p.count = append(p.items, items...), p.count+1
	return len(items), nil
}

// Result is the result of the step: items, those of all pages; pages, how many
// were read; and status, headers and body of the last answer.
func (p *Pager) Result() map[string]any {
	result := map[string]any{"items": p.items, "pages": int64(p.count), "status": int64(0), "headers": map[string]any{}, "body": nil}
	maps.Copy(result, p.last)
	return result
}

// startAt moves on by as many items as the server says that a page has, or by
// those that came. The end is isLast, the total, or a page without items.
func (p *Pager) startAt(call Call, vars activation, got int) (Call, bool, *Error) {
	body, _ := vars["body"].(map[string]any)
	total, known := whole(body["total"])
	if p.pages.more != nil {
		value, failed := p.pages.more.value(vars)
		if failed != nil && !failed.Missing {
			return call, false, failed
		}
		n, isInt := value.(types.Int)
		total, known = int(n), isInt
	}
	step := got
	for _, name := range []string{"maxResults", "limit"} { // Jira, Confluence
		if n, ok := whole(body[name]); ok && n > got {
			step = n
		}
	}
	at, err := p.asks(call)
	if err != nil {
		return call, false, p.pages.fail("%v", err)
	}
	if last, _ := body["isLast"].(bool); last || got == 0 && !(known && step > 0) || known && at+step >= total {
		return call, false, nil
	}
	next, err := p.ask(call, int64(at+step))
	if err != nil {
		return call, false, p.pages.fail("%v", err)
	}
	return next, true, nil
}

// whole reads a number that counts something.
func whole(value any) (int, bool) {
	n, ok := value.(int64)
	return int(n), ok && n >= 0 && n < 1<<31
}

// cursor takes the text that asks for the next page; without one the list ends.
func (p *Pager) cursor(call Call, vars activation) (Call, bool, *Error) {
	var cursor any
	if body, ok := vars["body"].(map[string]any); ok {
		cursor = body["nextPageToken"]
	}
	if p.pages.more != nil {
		var failed *Error
		if cursor, failed = p.pages.more.textOrNothing(vars); failed != nil {
			return call, false, failed
		}
	}
	if cursor == nil || cursor == "" {
		return call, false, nil
	}
	next, err := p.ask(call, cursor)
	if err != nil {
		return call, false, p.pages.fail("%v", err)
	}
	return next, true, nil
}

// textOrNothing evaluates an expression for a text or a number; nil stands for
// null and for a member that is not there.
func (e *expression) textOrNothing(vars activation) (any, *Error) {
	value, failed := e.value(vars)
	if failed != nil {
		if failed.Missing {
			return nil, nil
		}
		return nil, failed
	}
	switch v := value.(type) {
	case types.Null:
		return nil, nil
	case *types.Optional:
		if !v.HasValue() {
			return nil, nil
		}
		value = v.GetValue()
	}
	switch v := value.(type) {
	case types.String:
		return string(v), nil
	case types.Int:
		return int64(v), nil
	case types.Null:
		return nil, nil
	}
	return nil, e.fail("it gives a value of type %s, want a string, a whole number or null", typeName(value))
}

// asks reads which item a call begins with; 0 where it does not say.
func (p *Pager) asks(call Call) (int, error) {
	text := call.Query.Get(p.pages.param)
	if p.pages.member != nil {
		_, at, err := memberOf(call.Body, p.pages.member)
		if err != nil {
			return 0, err
		}
		value := at[p.pages.member[len(p.pages.member)-1]]
		if text = ""; value != nil {
			text = fmt.Sprint(value)
		}
	}
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("the request begins at %q, want a whole number", shorten(text))
	}
	return int(n), nil
}

// ask makes the call for the page that value asks for.
func (p *Pager) ask(call Call, value any) (Call, error) {
	if p.pages.member == nil {
		text := fmt.Sprint(value)
		if len(text) > maxLink {
			return call, fmt.Errorf("the cursor is longer than %d bytes", maxLink)
		}
		call.Query = cloneQuery(call.Query)
		call.Query.Set(p.pages.param, text)
		return call, nil
	}
	root, at, err := memberOf(call.Body, p.pages.member)
	if err != nil {
		return call, err
	}
	at[p.pages.member[len(p.pages.member)-1]] = value
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(root); err != nil {
		return call, err
	}
	if call.Body = bytes.TrimSuffix(out.Bytes(), []byte("\n")); len(call.Body) > maxBody {
		return call, errTooLong
	}
	return call, nil
}

// memberOf decodes a body and returns the mapping that holds, or is to hold,
// the member at the end of path.
func memberOf(body []byte, path []string) (root, at map[string]any, err error) {
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	if err := decoder.Decode(&root); err != nil || root == nil {
		return nil, nil, fmt.Errorf("the body has no place for the member %q", strings.Join(path, "."))
	}
	at = root
	for _, name := range path[:len(path)-1] {
		next, isMap := at[name].(map[string]any)
		if at[name] != nil && !isMap {
			return nil, nil, fmt.Errorf("the body has no place for the member %q", strings.Join(path, "."))
		}
		if next == nil {
			next = make(map[string]any)
			at[name] = next
		}
		at = next
	}
	return root, at, nil
}

func cloneQuery(query url.Values) url.Values {
	clone := make(url.Values, len(query)+1)
	for name, values := range query {
		clone[name] = append([]string(nil), values...)
	}
	return clone
}

// fingerprint tells calls of one list apart.
func fingerprint(call Call) [sha256.Size]byte {
	return sha256.Sum256(append([]byte(call.Query.Encode()+"\n"), call.Body...))
}
