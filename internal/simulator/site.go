package simulator

import (
	"strconv"
	"sync"
	"time"
)

// site is the data of one cloud id: what Jira and Confluence have stored.
type site struct {
	cloudID string
	host    string
	public  string // PublicURL of the simulator
	random  *source

	mu       sync.Mutex
	lastID   int
	projects []*project
	issues   []*issue
	versions int
	spaces   []*space
	contents []*content
}

func newSite(cloudID, host, public string, random *source) *site {
	st := &site{cloudID: cloudID, host: host, public: public, random: random, lastID: 10_000}
	st.projects = []*project{{id: st.newID(), key: "SIM", name: "Simulated"}}
	st.spaces = []*space{{id: 524_290, key: "SIM", name: "Simulated space"}}
	return st
}

// newID returns the next numeric id; ids of all kinds come from one row, as
// nothing depends on their being dense.
func (st *site) newID() string {
	st.lastID++
	return strconv.Itoa(st.lastID)
}

// knowID keeps newID from giving out an id that an event has brought.
func (st *site) knowID(id string) {
	if n, err := strconv.Atoi(id); err == nil && n > st.lastID && n < 1<<40 {
		st.lastID = n
	}
}

// jiraTime is the form of times in Jira's REST API and events.
func jiraTime(t time.Time) string {
	return t.UTC().Format("2006-01-02T15:04:05.000-0700")
}

// wikiTime is the form of times in Confluence's.
func wikiTime(t time.Time) string {
	return t.UTC().Format("2006-01-02T15:04:05.000Z")
}

// person is how Jira's events name an account.
func person(account string) map[string]any {
	return map[string]any{"accountId": account}
}
