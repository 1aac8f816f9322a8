package forge_test

import (
	"crypto/sha256"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"bellows/internal/forge"
)

func scanFile(t testing.TB, name string) forge.Body {
	t.Helper()
	return forge.ScanBody(readFile(t, filepath.Join("testdata", "body", name+".json")))
}

func TestWhatTheScanFinds(t *testing.T) {
	type body = forge.Body
	for name, want := range map[string]body{
		"jira-issue-updated":               {EventType: "avi:jira:updated:issue", Distinct: true},
		"jira-issue-updated.retry-root":    {EventType: "avi:jira:updated:issue", Distinct: true, Retry: true, RetryCount: 2, RetryReason: "TIMEOUT_ERROR"},
		"jira-issue-updated.retry-wrapped": {EventType: "avi:jira:updated:issue", Distinct: true, Retry: true, RetryCount: 2, RetryReason: "TIMEOUT_ERROR"},
		"forge-installed":                  {EventType: "avi:forge:installed:app", ContextARI: "ari:cloud:confluence::site/" + cloudID},
		"scheduled-trigger":                {ContextCloudID: cloudID, ContextModuleKey: "nightly"},
		"bitbucket-push":                   {EventType: "avi:bitbucket:push:repository", Distinct: true, WorkspaceUUID: workspaceID},
		"policy-objects-blocked":           {EventType: "avi:ecosystem.app_policy:blocked:app_access_to_objects.v2", Distinct: true},
		"app-event":                        {EventType: "avi:cloud:ecosystem::event/0b6f2a9c-51d7-4e83-9c1a-7d20e4b8f611/invoice-sent", ContextCloudID: cloudID, ContextModuleKey: "on-invoice"},
		"sprint-updated":                   {EventType: "avi:jira-software:updated:sprint"},
		"jsm-request-type":                 {EventType: "avi:jsm-entity:updated:request-type", Distinct: true},
	} {
		expectBody(t, name, scanFile(t, name), want)
	}
}

// expectBody compares all but Digest and Data.
func expectBody(t *testing.T, name string, got, want forge.Body) {
	t.Helper()
	if !got.JSON {
		t.Errorf("%s: not taken for JSON", name)
	}
	if got.EventType != want.EventType || got.Retry != want.Retry || got.RetryCount != want.RetryCount ||
		got.RetryReason != want.RetryReason || got.Distinct != want.Distinct || got.ContextARI != want.ContextARI ||
		got.ContextCloudID != want.ContextCloudID || got.ContextModuleKey != want.ContextModuleKey || got.WorkspaceUUID != want.WorkspaceUUID {
		t.Errorf("%s: got %+v, want %+v", name, got, want)
	}
}

func TestMembersInOddForms(t *testing.T) {
	type body = forge.Body
	for text, want := range map[string]body{
		`{}`:                                {},
		`[{"eventType":"a"}]`:               {},
		`"eventType"`:                       {},
		`null`:                              {},
		`{"type":"a"}`:                      {EventType: "a"},
		`{"eventType":null,"type":"a"}`:     {EventType: "a"},
		`{"eventType":7,"type":"a"}`:        {},
		`{"eventType":"a b"}`:               {},
		`{"eventType":""}`:                  {},
		`{"\u0065ventType":"\u0061"}`:       {EventType: "a"},
		`{"EventType":"a"}`:                 {},
		`{"eventType":"a","eventType":"b"}`: {EventType: "b"},
		`{"eventType":"` + strings.Repeat("a", 255) + `"}`: {EventType: strings.Repeat("a", 255)},
		`{"eventType":"` + strings.Repeat("a", 256) + `"}`: {},
		`{"data":{"eventType":"a","timestamp":"1"}}`:       {},

		`{"timestamp":""}`:                    {},
		`{"timestamp":null}`:                  {},
		`{"timestamp":1800000000}`:            {Distinct: true},
		`{"eventCreatedDate":"2027"}`:         {Distinct: true},
		`{"sequenceNumber":0}`:                {Distinct: true},
		`{"id":"7"}`:                          {},
		`{"specversion":"1.0","id":"7"}`:      {Distinct: true},
		`{"specversion":"1.0","id":""}`:       {},
		`{"payload":{"timestamp":"1"}}`:       {Distinct: true},
		`{"payload":{"timestamp":"1"},"x":1}`: {},

		`{"retryContext":null}`:                                             {},
		`{"retryContext":{}}`:                                               {Retry: true},
		`{"retryContext":{"retryCount":"2","retryReason":7}}`:               {Retry: true},
		`{"retryContext":{"retryCount":-2}}`:                                {Retry: true},
		`{"retryContext":{"x":[{"retryCount":1}],"retryCount":4,"y":"}"}}`:  {Retry: true, RetryCount: 4},
		`{"payload":{"eventType":"a"},"retryContext":{"retryCount":1}}`:     {EventType: "a", Retry: true, RetryCount: 1},
		`{"payload":{"a":1,"retryContext":{"retryCount":1}},"x":1}`:         {Retry: true, RetryCount: 1},
		`{"payload":[{"retryContext":{"retryCount":1}}]}`:                   {},
		`{"context":"ari:a","payload":{"eventType":"a","context":"ari:b"}}`: {EventType: "a", ContextARI: "ari:b"},
		`{"context":"ari:a","payload":{"eventType":"a"}}`:                   {EventType: "a", ContextARI: "ari:a"},
		`{"context":{"cloudId":"{x}","moduleKey":["k"]}}`:                   {ContextCloudID: "x"},
		`{"context":"` + strings.Repeat("a", 2000) + `"}`:                   {},
		`{"workspace":{"uuid":"x"}}`:                                        {WorkspaceUUID: "x"},
		`{"workspace":"x"}`:                                                 {},
	} {
		expectBody(t, text, forge.ScanBody([]byte(text)), want)
	}
}

func TestAnEmptyBodyIsLegal(t *testing.T) {
	for _, text := range []string{"", " \r\n\t"} {
		got := forge.ScanBody([]byte(text))
		if !got.JSON || len(got.Data) != 0 || got.Digest != sha256.Sum256(nil) {
			t.Errorf("%q: got %+v", text, got)
		}
	}
}

func TestNestingHasALimit(t *testing.T) {
	for depth, want := range map[int]bool{512: true, 513: false, 100000: false} {
		for _, pair := range []string{"[]", `{"a":}`} {
			inner := "1"
			text := strings.Repeat(pair[:len(pair)-1], depth) + inner + strings.Repeat(pair[len(pair)-1:], depth)
			if got := forge.ScanBody([]byte(text)); got.JSON != want {
				t.Errorf("%d times %s: got %v", depth, pair, got.JSON)
			}
		}
	}
}

func TestContextTokensAreCutOut(t *testing.T) {
	for in, want := range map[string]string{
		`{"contextToken":"t"}`:                                  `{}`,
		`{ "contextToken" : "t" }`:                              `{ }`,
		`{"contextToken":"t","a":1}`:                            `{"a":1}`,
		`{"a":1 , "contextToken":"t"}`:                          `{"a":1}`,
		`{"a":1, "contextToken":"t", "b":2}`:                    `{"a":1, "b":2}`,
		`{"a":1,"contextToken":"t","contextToken":"u"}`:         `{"a":1}`,
		`{"contextToken":"t","contextToken":"u"}`:               `{}`,
		`{"contextToken":"t","a":1,"contextToken":"u"}`:         `{"a":1}`,
		`{"payload":{"contextToken":"t"},"contextToken":"u"}`:   `{"payload":{}}`,
		`[{"x":[{"contextToken":"t","y":1}]},"contextToken"]`:   `[{"x":[{"y":1}]},"contextToken"]`,
		`{"contextToken":{"a":[1,{"contextToken":"t"}]},"b":1}`: `{"b":1}`,
		`{"a":1,"contextToken":{"contextToken":"t","b":2}}`:     `{"a":1}`,
		`{"contextT\u006fken":"t","a":1}`:                       `{"a":1}`,
		`{"contexttoken":"t"}`:                                  `{"contexttoken":"t"}`,
	} {
		got := forge.ScanBody([]byte(in))
		if string(got.Data) != want || !got.JSON {
			t.Errorf("%s: got %s, want %s", in, got.Data, want)
		}
	}
	plain := []byte(` {"a": 1}` + "\n")
	if got := forge.ScanBody(plain); &got.Data[0] != &plain[0] || len(got.Data) != len(plain) {
		t.Error("a body without contextToken is copied or changed")
	}
}

func TestWhatIsNoJSONKeepsItsBytes(t *testing.T) {
	for in, want := range map[string]string{
		`plain text`:                               `plain text`,
		`{"a":1`:                                   `{"a":1`,
		`{"a":01}`:                                 `{"a":01}`,
		`{"a":1}}`:                                 `{"a":1}}`,
		"\xef\xbb\xbf{}":                           "\xef\xbb\xbf{}",
		"{\"a\":\"\n\"}":                           "{\"a\":\"\n\"}",
		`{"contextToken":"secret","a":1`:           `{"contextToken":"","a":1`,
		`{"contextToken" : "sec\"ret","a":1`:       `{"contextToken" : "","a":1`,
		`{"contextToken":"secret`:                  `{"contextToken":"`,
		`{'contextToken':'secret',}`:               `{'contextToken':'',}`,
		`{contextToken: secret}`:                   `{contextToken: }`,
		`a=1&contextToken=secret&b=2`:              `a=1&contextToken=&b=2`,
		`{\"contextToken\":\"secret\",\"a\":1`:     `{\"contextToken\":\"\",\"a\":1`,
		`contextToken contextToken="secret" tail`:  `contextToken contextToken="" tail`,
		`the contextToken is secret to all of us.`: `the contextToken is secret to all of us.`,
		`{"contextToken":`:                         `{"contextToken":`,
	} {
		got := forge.ScanBody([]byte(in))
		if got.JSON || got.Digest != sha256.Sum256([]byte(in)) || got.EventType != "" {
			t.Errorf("%q: got %+v", in, got)
		}
		if string(got.Data) != want {
			t.Errorf("%q: got %q, want %q", in, got.Data, want)
		}
	}
}

func BenchmarkScanBody(b *testing.B) {
	for _, name := range []string{"jira-issue-updated", "jira-issue-updated.retry-wrapped", "scheduled-trigger"} {
		b.Run(name, func(b *testing.B) { benchmarkScan(b, readFile(b, "testdata/body/"+name+".json")) })
	}
	big := object{}
	if err := json.Unmarshal(readFile(b, "testdata/body/jira-issue-updated.json"), &big); err != nil {
		b.Fatal(err)
	}
	items := []any{}
	for range 1000 {
		items = append(items, big["issue"])
	}
	b.Run("200kB", func(b *testing.B) { benchmarkScan(b, []byte(text(with(big, "changelog", items)))) })
}

func benchmarkScan(b *testing.B, body []byte) {
	b.ReportAllocs()
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		if !forge.ScanBody(body).JSON {
			b.Fatal("no JSON")
		}
	}
}
