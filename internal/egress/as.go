package egress

import (
	"context"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"

	"bellows/internal/egress/ticket"
	"bellows/internal/impersonation"
	"bellows/internal/installations"
	"bellows/internal/secret"
	"bellows/internal/vault"
)

// As says as whom to call. The zero As is the app.
type As struct {
	// User means the user in session.
	User bool
	// Account is the account to impersonate. Empty means none. It wins over
	// User.
	Account string
}

// validAccount is wider than any account id of Atlassian's, which has at most
// 128 characters (User, Jira Cloud REST API v3, October 2026), and has neither
// a space nor a comma, with which a proxy joins two headers.
var validAccount = regexp.MustCompile(`^[!-+\--~]{1,255}$`)

// ParseAs reads the values of the header Bellows-As: none or "app", "user", or
// "user:<account id>".
func ParseAs(values []string) (As, error) {
	if len(values) == 0 {
		return As{}, nil
	}
	if len(values) > 1 {
		return As{}, fmt.Errorf("reading %s: it is there %d times", HeaderAs, len(values))
	}
	switch text := strings.TrimSpace(values[0]); text {
	case "", "app":
		return As{}, nil
	case "user":
		return As{User: true}, nil
	default:
		account, ok := strings.CutPrefix(text, "user:")
		if !ok || !validAccount.MatchString(account) {
			return As{}, fmt.Errorf("reading %s: it is none of app, user, user:<account id>", HeaderAs)
		}
		return As{Account: account}, nil
	}
}

// tokenFunc is how the client asks for the token of a call.
type tokenFunc = func(ctx context.Context, refused secret.Token) (secret.Token, time.Time, error)

// tokens chooses the token of a call, and refuses what cannot have one.
func (s *Server) tokens(g ticket.Grant, as As, i installations.Installation, o outgoing) (tokenFunc, error) {
	switch {
	case as.Account != "":
		if !validAccount.MatchString(as.Account) {
			return nil, &problem{status: http.StatusBadRequest, code: "bad_account", message: "this is no account id"}
		}
		place, err := placeOf(i, o, g)
		if err != nil {
			return nil, err
		}
		return s.accountToken(g, as.Account, place), nil
	case as.User && g.Principal == "":
		return nil, &problem{status: http.StatusForbidden, code: "no_principal", message: "there is no user in session to call as"}
	case as.User:
		return s.heldToken(g, g.Principal), nil
	}
	return s.heldToken(g, ""), nil
}

// heldToken asks the vault each time: it has the newest token there is.
func (s *Server) heldToken(g ticket.Grant, principal string) tokenFunc {
	return func(ctx context.Context, _ secret.Token) (secret.Token, time.Time, error) {
		held, err := s.config.Token(ctx, vault.Owner{Installation: g.Installation, Principal: principal}, g.TokenRevision)
		return held.Token, held.Expires, err
	}
}

// accountToken exchanges the system token for one of the account. A refused
// one is forgotten, so that the next is a new one.
func (s *Server) accountToken(g ticket.Grant, account string, place installations.Context) tokenFunc {
	system := s.heldToken(g, "")
	request := impersonation.Request{
		Installation: g.Installation, Account: account, Context: place.ARI(), Fallback: place.WorkspaceARI(),
		System: func(ctx context.Context) (secret.Token, error) {
			token, _, err := system(ctx, secret.Token{})
			return token, err
		},
	}
	return func(ctx context.Context, refused secret.Token) (secret.Token, time.Time, error) {
		if !refused.IsZero() {
			s.config.Forget(ctx, request, refused.Digest())
		}
		return s.config.Exchange(ctx, request)
	}
}

// placeOf is the product in whose context an account is impersonated: the one
// that is called, and for APIs of no product the one that the ticket means.
func placeOf(i installations.Installation, o outgoing, g ticket.Grant) (installations.Context, error) {
	if o.place.Name != "" {
		return o.place, nil
	}
	return defaultPlace(i, g)
}
