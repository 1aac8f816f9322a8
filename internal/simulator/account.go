package simulator

// firstPerson and secondPerson are the accounts that every simulator knows:
// one acts, the other is acted upon.
const (
	firstPerson  = "712020:5f0c6a10-0001-4d3e-9b7a-000000000001"
	secondPerson = "712020:5f0c6a10-0002-4d3e-9b7a-000000000002"
)

// Account is a person, or the app's own bot user.
type Account struct {
	// ID is the Atlassian account id.
	ID string `json:"accountId"`
	// Name is the display name.
	Name string `json:"displayName"`
	// Type is "atlassian", "customer" or "app".
	Type string `json:"accountType"`
	// NoImpersonation makes offlineUserAuthToken answer success:false.
	NoImpersonation bool `json:"noImpersonation,omitempty"`
}

func (s *Simulator) firstAccounts() map[string]Account {
	return map[string]Account{
		firstPerson:  {ID: firstPerson, Name: "Ada Simulated", Type: "atlassian"},
		secondPerson: {ID: secondPerson, Name: "Ben Simulated", Type: "atlassian"},
		s.bot:        {ID: s.bot, Name: "App (bot)", Type: "app"},
	}
}

// AddAccount makes an account known, or changes it. An empty Type means
// "atlassian", an empty Name the id.
func (s *Simulator) AddAccount(a Account) {
	a.Name, a.Type = or(a.Name, a.ID), or(a.Type, "atlassian")
	s.mu.Lock()
	defer s.mu.Unlock()
	s.accounts[a.ID] = a
}

// knowPerson makes the account of an event's actor known if it is not yet.
func (s *Simulator) knowPerson(id string) {
	if id == "" {
		return
	}
	s.mu.Lock()
	_, known := s.accounts[id]
	s.mu.Unlock()
	if !known {
		s.AddAccount(Account{ID: id})
	}
}

func (s *Simulator) account(id string) (Account, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, ok := s.accounts[id]
	return a, ok
}
