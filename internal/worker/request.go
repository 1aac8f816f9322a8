package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"bellows/internal/atlassian"
	"bellows/internal/impersonation"
	"bellows/internal/installations"
	"bellows/internal/rules"
	"bellows/internal/secret"
	"bellows/internal/vault"
)

const (
	// storageBase and forgeBase are Forge's own APIs, which take the system
	// token ("Accessing Forge storage from a remote", 2026-08-22).
	storageBase = "https://api.atlassian.com/forge/storage"
	forgeBase   = "https://api.atlassian.com/forge"
)

// errNoPrincipal means that a rule acts as the invoking user where there is
// none.
var errNoPrincipal = errors.New("the job has no user in session to act as")

// request says where a call goes and as whom. Only what goes to a product, or
// acts as an account in one, needs to know which.
func (a *attempt) request(step *rules.Step, call rules.Call, safe bool) (atlassian.Call, error) {
	request := atlassian.Call{
		Installation: a.job.Installation, Method: call.Method, Path: call.Path, Query: call.Query, Header: call.Header, Body: call.Body,
		Safe: safe, Timeout: step.Timeout(),
	}
	var place installations.Context
	var err error
	if call.API == "" || call.API == "product" || call.User != "" {
		if place, err = contextFor(a.installation, step.Product(), a.job); err != nil {
			return request, err
		}
	}
	switch call.API {
	case "", "product":
		request.Base = place.APIBaseURL
	case "storage":
		request.Base = storageBase
	case "forge":
		request.Base = forgeBase
	case "graphql":
		request.Base, request.Path = a.w.GraphQLURL, ""
	default:
		return request, fmt.Errorf("api %q is none of product, storage, forge, graphql", call.API)
	}
	a.asUser = call.AsInvoking
	request.Token, err = a.tokens(call, place)
	return request, err
}

// tokens gives the function by which the client asks for the token of a call.
func (a *attempt) tokens(call rules.Call, place installations.Context) (func(context.Context, secret.Token) (secret.Token, time.Time, error), error) {
	switch {
	case call.AsInvoking && a.job.Principal == "":
		return nil, errNoPrincipal
	case call.AsInvoking:
		return a.userToken, nil
	case call.User != "":
		return a.accountToken(call.User, place), nil
	}
	return func(ctx context.Context, _ secret.Token) (secret.Token, time.Time, error) { return a.systemToken(ctx) }, nil
}

// systemToken asks the vault at each call: it has the newest one there is.
func (a *attempt) systemToken(ctx context.Context) (secret.Token, time.Time, error) {
	return a.held(ctx, vault.Owner{Installation: a.job.Installation})
}

func (a *attempt) held(ctx context.Context, owner vault.Owner) (secret.Token, time.Time, error) {
	held, err := a.w.Tokens.Token(ctx, owner, a.job.TokenRevision)
	return held.Token, held.Expires, err
}

// userToken is the token of the user in session while it lives.
func (a *attempt) userToken(ctx context.Context, _ secret.Token) (secret.Token, time.Time, error) {
	return a.held(ctx, vault.Owner{Installation: a.job.Installation, Principal: a.job.Principal})
}

// accountToken exchanges the system token for one of an account. A refused one
// is forgotten, so that the next is a new one.
func (a *attempt) accountToken(account string, place installations.Context) func(context.Context, secret.Token) (secret.Token, time.Time, error) {
	request := impersonation.Request{
		Installation: a.job.Installation, Account: account,
		Context:  place.ARI(),
		Fallback: place.WorkspaceARI(),
		System: func(ctx context.Context) (secret.Token, error) {
			token, _, err := a.systemToken(ctx)
			return token, err
		},
	}
	return func(ctx context.Context, refused secret.Token) (secret.Token, time.Time, error) {
		if !refused.IsZero() {
			a.w.Forget(ctx, request, refused.Digest())
		}
		return a.w.Exchange(ctx, request)
	}
}
