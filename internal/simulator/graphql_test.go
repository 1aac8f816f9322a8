package simulator_test

import (
	"fmt"
	"testing"

	"bellows/internal/simulator"
)

const mutation = `{"query":"mutation forge_remote_offlineUserAuthToken($input: OfflineUserAuthTokenInput!) { offlineUserAuthToken(input: $input) { success errors { message } authToken { token ttl } } }","variables":{"input":{"contextIds":[%q],"userId":%q}}}`

const ada = "712020:5f0c6a10-0001-4d3e-9b7a-000000000001"

// exchange asks for a token and returns the member offlineUserAuthToken.
func (d *desk) exchange(t *testing.T, token, contextID, account string) any {
	t.Helper()
	answer := d.must(t, token, 200, "POST", d.client.URL+"/graphql", fmt.Sprintf(mutation, contextID, account))
	return dig(answer, "data.offlineUserAuthToken")
}

func TestAnExchangedTokenActsAsTheAccount(t *testing.T) {
	d := newDesk(t, nil)
	token := d.systemToken(t)
	cloudID := d.Installations()[0].CloudID
	for _, context := range []string{"ari:cloud:jira::site/" + cloudID, "ari:cloud:confluence:" + cloudID + ":workspace/1"} {
		result := d.exchange(t, token, context, ada)
		if dig(result, "success") != true || dig(result, "authToken.ttl") != 45.0 {
			t.Fatalf("result is %v", result)
		}
		text := dig(result, "authToken.token").(string)
		comment := d.must(t, text, 201, "POST", d.base("jira")+"/rest/api/3/issue/SIM-1/comment", `{"body":`+adfOf("as Ada")+`}`)
		if dig(comment, "author.accountId") != ada {
			t.Errorf("comment is %v", comment)
		}
		d.must(t, text, 401, "POST", d.client.URL+"/graphql", fmt.Sprintf(mutation, context, ada))
	}
}

func TestAnExchangeThatIsRefused(t *testing.T) {
	d := newDesk(t, nil)
	token := d.systemToken(t)
	context := "ari:cloud:jira::site/" + d.Installations()[0].CloudID
	refused := func(why, contextID, account string) {
		t.Helper()
		result := d.exchange(t, token, contextID, account)
		problems, _ := dig(result, "errors").([]any)
		if dig(result, "success") != false || dig(result, "authToken") != nil || len(problems) != 1 || dig(problems[0], "message") == nil {
			t.Errorf("%s: result is %v", why, result)
		}
	}
	refused("unknown account", context, "nobody")
	refused("the app itself", context, d.State().Bot)
	refused("another site", "ari:cloud:jira::site/another", ada)
	refused("not an account's context", "ari:cloud:ecosystem::installation/"+d.Installations()[0].ID, ada)
	d.AddAccount(simulator.Account{ID: "closed", NoImpersonation: true})
	refused("an account that may not", context, "closed")

	fault := simulator.Fault{Path: "/graphql", Account: ada, Times: 1, Exchange: "refused"}
	if _, err := d.client.SetFault(t.Context(), fault); err != nil {
		t.Fatal(err)
	}
	refused("a fault", context, ada)
	fault.Exchange = "error"
	if _, err := d.client.SetFault(t.Context(), fault); err != nil {
		t.Fatal(err)
	}
	body := fmt.Sprintf(mutation, context, ada)
	answer := d.must(t, token, 200, "POST", d.client.URL+"/graphql", body)
	if problems, _ := answer["errors"].([]any); len(problems) != 1 || dig(answer, "data.offlineUserAuthToken") != nil {
		t.Errorf("answer is %v", answer)
	}
	d.must(t, "", 401, "POST", d.client.URL+"/graphql", body)
	d.must(t, token, 400, "POST", d.client.URL+"/graphql", `{"query":"{ me { id } }"}`)
	d.must(t, token, 405, "GET", d.client.URL+"/graphql", "")
}

func TestExchangesAreLimited(t *testing.T) {
	c := newClock()
	d := newDesk(t, func(cfg *simulator.Config) { cfg.Now, cfg.ExchangesPerMinute = c.now, 2 })
	token := d.systemToken(t)
	body := fmt.Sprintf(mutation, "ari:cloud:jira::site/"+d.Installations()[0].CloudID, ada)
	url := d.client.URL + "/graphql"
	d.must(t, token, 200, "POST", url, body)
	d.must(t, token, 200, "POST", url, body)
	d.must(t, token, 429, "POST", url, body)
	c.move(60e9)
	d.trigger(t, simulator.TriggerRequest{Event: created})
	d.backend.next(t)
	d.must(t, d.systemToken(t), 200, "POST", url, body)
}
