package installations

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func at(minutes int) time.Time { return noon.Add(time.Duration(minutes) * time.Minute) }

func TestWhatACallChanges(t *testing.T) {
	jira := Context{Name: "jira", APIBaseURL: "https://api.atlassian.com/ex/jira/c1", CloudID: "c1"}
	bare := Context{Name: "jira", APIBaseURL: "https://api.atlassian.com/ex/jira/c1"}
	moved := Context{Name: "jira", APIBaseURL: "https://api.atlassian.com/ex/jira/c2"}
	bitbucket := Context{Name: "bitbucket", APIBaseURL: "https://api.bitbucket.org", WorkspaceID: "w"}
	stored := Installation{
		ID: "i", ARI: "ari", AppID: "app", AppVersion: "2.0.0", EnvironmentType: "PRODUCTION", EnvironmentID: "e",
		Contexts: []Context{jira}, Site: "https://a.atlassian.net", License: json.RawMessage(`{"active":true}`),
		State: Active, AsOf: at(10), FirstSeen: at(0), LastSeen: at(10),
	}
	with := func(change func(*Installation)) Installation {
		i := stored
		change(&i)
		return i
	}
	for name, test := range map[string]struct {
		stored, called, want Installation
	}{
		"the first one makes the record": {
			Installation{}, Installation{ID: "i", AppVersion: "1", AsOf: at(1), LastSeen: at(2)},
			Installation{ID: "i", AppVersion: "1", State: Active, AsOf: at(1), FirstSeen: at(2), LastSeen: at(2)},
		},
		"a newer one says what is new": {
			stored, Installation{ID: "i", AppVersion: "3.0.0", Contexts: []Context{bitbucket}, License: json.RawMessage(`{}`), AsOf: at(11), LastSeen: at(11)},
			with(func(i *Installation) {
				i.AppVersion, i.Contexts, i.License = "3.0.0", []Context{bitbucket}, json.RawMessage(`{}`)
				i.AsOf, i.LastSeen = at(11), at(11)
			}),
		},
		"what a newer one leaves out stays": {
			stored, Installation{ID: "i", AsOf: at(11), LastSeen: at(11)},
			with(func(i *Installation) { i.AsOf, i.LastSeen = at(11), at(11) }),
		},
		"an older one that comes later changes the time only": {
			stored, Installation{ID: "i", AppVersion: "1.0.0", Contexts: []Context{bitbucket}, State: Uninstalled, AsOf: at(9), LastSeen: at(12)},
			with(func(i *Installation) { i.LastSeen = at(12) }),
		},
		"an older one may have been seen first": {
			stored, Installation{ID: "i", AsOf: at(-5), LastSeen: at(-4)},
			with(func(i *Installation) { i.FirstSeen = at(-4) }),
		},
		"an older one may tell of the install": {
			stored, Installation{ID: "i", AsOf: at(-5), LastSeen: at(1), InstalledAt: at(-5)},
			with(func(i *Installation) { i.InstalledAt = at(-5) }),
		},
		"a missing cloud id stays known": {
			stored, Installation{ID: "i", Contexts: []Context{bare}, AsOf: at(11), LastSeen: at(10)},
			with(func(i *Installation) { i.AsOf = at(11) }),
		},
		"a missing cloud id is not that of another address": {
			stored, Installation{ID: "i", Contexts: []Context{moved}, AsOf: at(11), LastSeen: at(10)},
			with(func(i *Installation) { i.AsOf, i.Contexts = at(11), []Context{moved} }),
		},
		"a suspected one that is heard of is active": {
			with(func(i *Installation) { i.State = Suspected }), Installation{ID: "i", AsOf: at(11), LastSeen: at(10)},
			with(func(i *Installation) { i.AsOf = at(11) }),
		},
		"an uninstalled one stays so": {
			with(func(i *Installation) { i.State = Uninstalled }), Installation{ID: "i", AsOf: at(11), LastSeen: at(10)},
			with(func(i *Installation) { i.State, i.AsOf = Uninstalled, at(11) }),
		},
		"unless it is said to be active": {
			with(func(i *Installation) { i.State = Uninstalled }), Installation{ID: "i", State: Active, AsOf: at(11), LastSeen: at(10)},
			with(func(i *Installation) { i.AsOf = at(11) }),
		},
	} {
		before := test.stored
		if got := merged(test.stored, test.called); !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s:\ngot  %+v\nwant %+v", name, got, test.want)
		}
		if !reflect.DeepEqual(before, test.stored) {
			t.Errorf("%s: the stored record was changed in place", name)
		}
	}
}
