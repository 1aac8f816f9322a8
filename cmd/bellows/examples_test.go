package main

import "testing"

func TestEveryEventOfTheCatalogueHasAnExample(t *testing.T) {
	e, err := newExamples(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer e.close()
	names := eventNames()
	if len(names) < 150 {
		t.Errorf("the catalogue has %d events", len(names))
	}
	for _, name := range names {
		body, _ := e.of(t.Context(), name)
		members, _ := body.(map[string]any)
		if members["eventType"] != name && members["type"] != name {
			t.Errorf("the example of %s is %v", name, body)
		}
	}
	if body, ok := e.of(t.Context(), "avi:jira:nothing:here"); ok {
		t.Errorf("an event that is in no catalogue has the example %v", body)
	}
}
