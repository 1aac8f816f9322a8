package worker

import (
	"encoding/json"
	"regexp"
	"testing"
	"time"

	"bellows/internal/jobs"
)

func TestAJobIsACloudEvent(t *testing.T) {
	job := jobs.Job{
		ID: "j", Installation: "i", Kind: jobs.KindCall, Source: "s", Type: "t", Subject: "su", Time: time.Unix(1, 5).UTC(), ContentType: "text/plain",
		Module: "m", Route: "r", Trigger: "tr", Rule: "ru", Principal: "p", AppVersion: "1", Environment: "e", Traceparent: "00-a-b-01", Attempt: 2, Run: 3,
	}
	// Names of attributes: CloudEvents 1.0.2, "Naming conventions".
	name := regexp.MustCompile(`^([a-z0-9]{1,20}|data_base64)$`)
	for text, want := range map[string]map[string]any{
		`{"a":"<"}`: {"data": map[string]any{"a": "<"}, "data_base64": nil, "datacontenttype": "application/json"},
		"\x00\xff":  {"data": nil, "data_base64": "AP8=", "datacontenttype": "text/plain"},
		"":          {"data": nil, "data_base64": nil, "datacontenttype": nil},
	} {
		job.Data = []byte(text)
		body, err := cloudEvent(job)
		if err != nil {
			t.Fatal(err)
		}
		var event map[string]any
		if err := json.Unmarshal(body, &event); err != nil {
			t.Fatal(err)
		}
		for member := range event {
			if !name.MatchString(member) {
				t.Errorf("%q is no name of an attribute", member)
			}
		}
		if event["time"] != "1970-01-01T00:00:01.000000005Z" || event["attempt"] != 2.0 || event["run"] != 3.0 || event["appversion"] != "1" {
			t.Errorf("got %s", body)
		}
		for member, value := range want {
			got, _ := json.Marshal(event[member])
			if wanted, _ := json.Marshal(value); string(got) != string(wanted) {
				t.Errorf("%q: %s: got %s, want %s", text, member, got, wanted)
			}
		}
	}
}
