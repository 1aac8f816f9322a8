package simulator_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"bellows/internal/simulator"
)

func TestAPIsRefuseTokensThatDoNotDo(t *testing.T) {
	c := newClock()
	d := newDesk(t, func(cfg *simulator.Config) { cfg.Now, cfg.TokenLife = c.now, time.Hour })
	token := d.systemToken(t)
	if again := d.systemToken(t); again != token {
		t.Error("a token with its life before it was not delivered again")
	}
	url := d.base("jira") + "/rest/api/3/myself"
	me := d.must(t, token, 200, "GET", url, "")
	if state := d.State(); me["accountId"] != state.Bot || me["accountType"] != "app" {
		t.Errorf("the app is %v", me)
	}
	other, err := d.client.Install(t.Context(), simulator.InstallRequest{Products: []string{"jira"}})
	if err != nil {
		t.Fatal(err)
	}
	refusedAs := func(reason, token, url string) {
		t.Helper()
		res, answer := d.api(t, token, "GET", url, "")
		if res.StatusCode != 401 || answer["message"] != "Unauthorized" || res.Header.Get("X-Simulator-Reason") != reason {
			t.Errorf("%s: %d %v %q", reason, res.StatusCode, answer, res.Header.Get("X-Simulator-Reason"))
		}
	}
	refusedAs("no bearer token", "", url)
	refusedAs("unknown token", token+"x", url)
	refusedAs("token of another site", token, strings.Replace(url, d.Installations()[0].CloudID, other.Installation.CloudID, 1))
	refusedAs("app is not installed in this product", token, strings.Replace(url, "/ex/jira/", "/ex/compass/", 1))

	c.move(31 * time.Minute)
	d.trigger(t, simulator.TriggerRequest{Event: created, Installation: d.Installations()[0].ID})
	d.backend.next(t) // the installation of other
	next := d.backend.next(t).header.Get("X-Forge-Oauth-System")
	if next == token {
		t.Error("a token with less than half of its life was delivered")
	}
	d.must(t, token, 200, "GET", url, "")
	c.move(30 * time.Minute)
	refusedAs("token expired", token, url)
	d.must(t, next, 200, "GET", url, "")

	d.RevokeTokens(d.Installations()[0].ID)
	refusedAs("token revoked", next, url)
	if _, err := d.client.Lifecycle(t.Context(), d.Installations()[0].ID, "uninstall", simulator.LifecycleRequest{Silent: true}); err != nil {
		t.Fatal(err)
	}
	refusedAs("token revoked", next, url)
}

func TestATokenSaysWhenItExpires(t *testing.T) {
	c := newClock()
	d := newDesk(t, func(cfg *simulator.Config) { cfg.Now, cfg.TimeScale = c.now, 1 })
	token := d.systemToken(t)
	var claims map[string]any
	if err := json.Unmarshal(decode(t, strings.Split(token, ".")[1]), &claims); err != nil {
		t.Fatal(err)
	}
	if left := time.Duration(claims["exp"].(float64)-float64(c.now().Unix())) * time.Second; left != 4*time.Hour {
		t.Errorf("%v are left", left)
	}
}

func TestAnIssueOfAnEventIsFoundByREST(t *testing.T) {
	d := newDesk(t, nil)
	token := ""
	d.trigger(t, simulator.TriggerRequest{Event: created, Set: map[string]any{
		"issue.key": "PEL-42", "issue.fields.summary": "Crate labels print twice", "issue.fields.labels": []any{"crate"},
	}})
	g := d.backend.next(t)
	token = g.header.Get("X-Forge-Oauth-System")
	event := g.event(t)
	if dig(event, "issue.fields.project.key") != "PEL" || dig(event, "issue.fields.summary") != "Crate labels print twice" {
		t.Errorf("event is %v", event)
	}
	url := d.base("jira") + "/rest/api/3/issue/PEL-42"
	found := d.must(t, token, 200, "GET", url, "")
	if found["id"] != dig(event, "issue.id") || dig(found, "fields.summary") != "Crate labels print twice" || dig(found, "fields.issuetype.name") != "Bug" {
		t.Errorf("issue is %v", found)
	}
	d.trigger(t, simulator.TriggerRequest{Event: updated})
	event = d.backend.next(t).event(t)
	if dig(event, "issue.key") != "PEL-42" || dig(event, "issue.fields.status.name") != "In Progress" {
		t.Errorf("updated event is %v", event)
	}
	found = d.must(t, token, 200, "GET", url+"?fields=status,labels", "")
	if dig(found, "fields.status.name") != "In Progress" || dig(found, "fields.summary") != nil || len(dig(found, "fields.labels").([]any)) != 1 {
		t.Errorf("issue is %v", found)
	}
}

const adf = `{"type":"doc","version":1,"content":[{"type":"paragraph","content":[{"type":"text","text":"%s"}]}]}`

func adfOf(text string) string { return strings.Replace(adf, "%s", text, 1) }

func TestJiraIssuesAndComments(t *testing.T) {
	d := newDesk(t, nil)
	token := d.systemToken(t)
	base := d.base("jira") + "/rest/api/3"
	bot := d.State().Bot
	made := d.must(t, token, 201, "POST", base+"/issue", `{"fields":{"project":{"key":"SIM"},"issuetype":{"name":"Task"},"summary":"New","labels":["a"]}}`)
	issue := base + "/issue/" + made["key"].(string)
	d.must(t, token, 204, "PUT", issue, `{"fields":{"summary":"Newer"},"update":{"labels":[{"add":"b"},{"remove":"a"}]}}`)
	d.must(t, token, 204, "POST", issue+"/transitions", `{"transition":{"id":"31"}}`)
	comment := d.must(t, token, 201, "POST", issue+"/comment", `{"body":`+adfOf("first")+`}`)
	if dig(comment, "author.accountId") != bot {
		t.Errorf("comment is %v", comment)
	}
	d.must(t, token, 200, "PUT", issue+"/comment/"+comment["id"].(string), `{"body":`+adfOf("second")+`}`)
	list := d.must(t, token, 200, "GET", strings.Replace(issue, "/3/", "/2/", 1)+"/comment", "")
	if list["total"] != 1.0 || dig(list["comments"].([]any)[0], "body") != "second" {
		t.Errorf("comments are %v", list)
	}
	d.must(t, token, 201, "PUT", issue+"/properties/mark", `{"n":1}`)
	d.must(t, token, 200, "PUT", issue+"/properties/mark", `{"n":2}`)
	if p := d.must(t, token, 200, "GET", issue+"/properties/mark", ""); dig(p, "value.n") != 2.0 {
		t.Errorf("property is %v", p)
	}
	d.must(t, token, 204, "DELETE", issue+"/properties/mark", "")
	d.must(t, token, 404, "GET", issue+"/properties/mark", "")
	found := d.must(t, token, 200, "GET", issue, "")
	labels, _ := dig(found, "fields.labels").([]any)
	if dig(found, "fields.summary") != "Newer" || len(labels) != 1 || labels[0] != "b" || dig(found, "fields.status.name") != "Done" || dig(found, "fields.creator.accountId") != bot {
		t.Errorf("issue is %v", found)
	}
	d.must(t, token, 204, "DELETE", issue+"/comment/"+comment["id"].(string), "")
	d.must(t, token, 204, "DELETE", issue, "")
	d.must(t, token, 404, "GET", issue, "")
}

func TestJiraSaysWhatIsWrong(t *testing.T) {
	d := newDesk(t, nil)
	token := d.systemToken(t)
	base := d.base("jira") + "/rest/api/3"
	missing := d.must(t, token, 404, "GET", base+"/issue/SIM-999", "")
	if text, _ := missing["errorMessages"].([]any); len(text) != 1 || text[0] != "Issue does not exist or you do not have permission to see it." {
		t.Errorf("answer is %v", missing)
	}
	bad := d.must(t, token, 400, "POST", base+"/issue", `{"fields":{"issuetype":{"name":"Bug"},"description":"plain"}}`)
	for _, field := range []string{"project", "summary", "description"} {
		if dig(bad, "errors."+field) == nil {
			t.Errorf("no error for %s: %v", field, bad)
		}
	}
	text := d.must(t, token, 400, "POST", base+"/issue/SIM-1/comment", `{"body":"plain"}`)
	if dig(text, "errors.comment") == nil {
		t.Errorf("answer is %v", text)
	}
	d.must(t, token, 400, "POST", base+"/issue/SIM-1/comment", `{}`)
	d.must(t, token, 400, "PUT", base+"/issue/SIM-1", `{"fields":{"issuetype":{"name":"Unheard"}}}`)
	for _, row := range []struct {
		status       int
		method, path string
	}{
		{404, "GET", "/rest/api/3/nothing"},
		{404, "GET", "/rest/api/9/myself"},
		{405, "PATCH", "/rest/api/3/issue/SIM-1"},
		{404, "GET", "/rest/api/3/issue/SIM-1/../SIM-1"},
		{404, "GET", "/rest/api/3/issue//comment"},
	} {
		res, answer := d.api(t, token, row.method, d.base("jira")+row.path, "")
		message, _ := json.Marshal(answer["errorMessages"])
		if res.StatusCode != row.status || !strings.Contains(string(message), "the simulator does not have "+row.method+" "+row.path) {
			t.Errorf("%s %s: %d %s", row.method, row.path, res.StatusCode, message)
		}
	}
}

func TestConfluenceVersion1(t *testing.T) {
	d := newDesk(t, nil)
	token := d.systemToken(t)
	base := d.base("confluence") + "/wiki/rest/api"
	page := d.must(t, token, 200, "POST", base+"/content", `{"type":"page","title":"Dock","space":{"key":"SIM"},"body":{"storage":{"value":"<p>1</p>","representation":"storage"}}}`)
	url := base + "/content/" + page["id"].(string)
	d.must(t, token, 409, "PUT", url, `{"version":{"number":1},"title":"Dock","type":"page"}`)
	d.must(t, token, 200, "PUT", url, `{"version":{"number":2},"title":"Dock 2","type":"page","body":{"storage":{"value":"<p>2</p>","representation":"storage"}}}`)
	found := d.must(t, token, 200, "GET", url+"?expand=body.storage,version", "")
	if found["title"] != "Dock 2" || dig(found, "version.number") != 2.0 || dig(found, "body.storage.value") != "<p>2</p>" {
		t.Errorf("page is %v", found)
	}
	d.must(t, token, 200, "POST", base+"/content", `{"type":"comment","container":{"id":"`+page["id"].(string)+`","type":"page"},"body":{"storage":{"value":"<p>c</p>","representation":"storage"}}}`)
	if list := d.must(t, token, 200, "GET", url+"/child/comment", ""); list["size"] != 1.0 {
		t.Errorf("comments are %v", list)
	}
	d.must(t, token, 200, "POST", url+"/property", `{"key":"mark","value":1}`)
	d.must(t, token, 409, "PUT", url+"/property/mark", `{"key":"mark","value":2,"version":{"number":1}}`)
	d.must(t, token, 200, "PUT", url+"/property/mark", `{"key":"mark","value":2,"version":{"number":2}}`)
	d.must(t, token, 204, "DELETE", url, "")
	gone := d.must(t, token, 404, "GET", url, "")
	if gone["statusCode"] != 404.0 {
		t.Errorf("answer is %v", gone)
	}
	d.must(t, token, 200, "GET", base+"/space", "")
	d.must(t, token, 404, "POST", base+"/content", `{"type":"page","title":"x","space":{"key":"NO"}}`)
}

func TestConfluenceVersion2(t *testing.T) {
	d := newDesk(t, nil)
	token := d.systemToken(t)
	base := d.base("confluence") + "/wiki/api/v2"
	spaces := d.must(t, token, 200, "GET", base+"/spaces?keys=SIM", "")
	space := dig(spaces["results"].([]any)[0], "id").(string)
	page := d.must(t, token, 200, "POST", base+"/pages", `{"spaceId":"`+space+`","status":"current","title":"Dock","body":{"representation":"storage","value":"<p>1</p>"}}`)
	url := base + "/pages/" + page["id"].(string)
	d.must(t, token, 409, "PUT", url, `{"id":"1","title":"Dock","version":{"number":7},"body":{"representation":"storage","value":"x"}}`)
	d.must(t, token, 200, "PUT", url, `{"id":"1","title":"Dock","version":{"number":2},"body":{"representation":"storage","value":"<p>2</p>"}}`)
	if found := d.must(t, token, 200, "GET", url+"?body-format=storage", ""); dig(found, "body.storage.value") != "<p>2</p>" {
		t.Errorf("page is %v", found)
	}
	comment := d.must(t, token, 201, "POST", base+"/footer-comments", `{"pageId":"`+page["id"].(string)+`","body":{"representation":"storage","value":"hello"}}`)
	if comment["pageId"] != page["id"] || dig(comment, "version.authorId") != d.State().Bot {
		t.Errorf("comment is %v", comment)
	}
	if list := d.must(t, token, 200, "GET", url+"/footer-comments", ""); len(list["results"].([]any)) != 1 {
		t.Errorf("comments are %v", list)
	}
	property := d.must(t, token, 200, "POST", url+"/properties", `{"key":"mark","value":{"n":1}}`)
	d.must(t, token, 200, "PUT", url+"/properties/"+property["id"].(string), `{"key":"mark","value":{"n":2},"version":{"number":2}}`)
	d.must(t, token, 204, "DELETE", base+"/footer-comments/"+comment["id"].(string), "")
	d.must(t, token, 204, "DELETE", url, "")
	d.must(t, token, 404, "GET", url, "")
}

func TestFaultsOfTheAPIs(t *testing.T) {
	d := newDesk(t, nil)
	token := d.systemToken(t)
	url := d.base("jira") + "/rest/api/3/issue/SIM-1/comment"
	set := func(f simulator.Fault) {
		t.Helper()
		if _, err := d.client.SetFault(t.Context(), f); err != nil {
			t.Fatal(err)
		}
	}
	set(simulator.Fault{Method: "POST", Path: "/rest/api/*/issue/*/comment", Times: 1, Status: 429, Headers: map[string]string{"Retry-After": "1"}})
	d.must(t, token, 200, "GET", url, "")
	res, _ := d.api(t, token, "POST", url, `{"body":`+adfOf("a")+`}`)
	if res.StatusCode != 429 || res.Header.Get("Retry-After") != "1" {
		t.Errorf("status is %d", res.StatusCode)
	}
	d.must(t, token, 201, "POST", url, `{"body":`+adfOf("a")+`}`)

	set(simulator.Fault{Path: "/rest/**", Times: 1, Drop: true, Effect: true})
	req, err := http.NewRequest("POST", url, strings.NewReader(`{"body":`+adfOf("b")+`}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	if res, err := http.DefaultClient.Do(req); err == nil {
		t.Errorf("a dropped connection answered %d", res.StatusCode)
	}
	set(simulator.Fault{Times: 1, Headers: map[string]string{"X-RateLimit-NearLimit": "true"}})
	res, list := d.api(t, token, "GET", url, "")
	if list["total"] != 2.0 || res.Header.Get("X-RateLimit-NearLimit") != "true" {
		t.Errorf("after a lost answer there are %v comments", list["total"])
	}
	set(simulator.Fault{Installation: "another", Status: 500})
	set(simulator.Fault{Account: "another", Status: 500})
	d.must(t, token, 200, "GET", url, "")
	if err := d.client.ClearFaults(t.Context()); err != nil {
		t.Fatal(err)
	}
	if left := d.State().Faults; len(left) != 0 {
		t.Errorf("faults are %v", left)
	}
	if _, err := d.client.SetFault(t.Context(), simulator.Fault{Status: 99}); err == nil {
		t.Error("status 99 is accepted")
	}
}

func TestPatternsOfFaults(t *testing.T) {
	rows := []struct {
		pattern, path string
		fits          bool
	}{
		{"/graphql", "/graphql", true},
		{"/graphql", "/graphql/", false},
		{"/issue/*", "/issue/SIM-1", true},
		{"/issue/*", "/issue/SIM-1/comment", false},
		{"/issue/*/comment", "/issue/SIM-1/comment", true},
		{"/issue/**", "/issue/SIM-1/comment", true},
		{"**/comment", "/issue/SIM-1/comment", true},
		{"*/comment", "/issue/SIM-1/comment", false},
		{"**", "", true},
	}
	for _, row := range rows {
		if got := simulator.Matches(row.pattern, row.path); got != row.fits {
			t.Errorf("%q fits %q: %v, want %v", row.pattern, row.path, got, row.fits)
		}
	}
}
