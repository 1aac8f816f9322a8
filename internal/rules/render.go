package rules

import (
	"net/http"
	"net/url"

	"bellows/internal/config"
)

// Call is one request to make.
type Call struct {
	// API says what Path is relative to: one of config.APIProduct, APIStorage,
	// APIForge and APIGraphQL.
	API string

	Method string

	// Path is escaped and has a leading slash. Joined to any base it stays
	// below it. It is "" for APIGraphQL.
	Path string

	Query  url.Values
	Header http.Header
	Body   []byte // JSON; nil when there is none

	// User is the account to act as; "" for the app, and where AsInvoking is
	// set.
	User string

	// AsInvoking says to act as the user who caused the job.
	AsInvoking bool
}

// Render makes the request of the step for a job. The error is a [*Error].
func (s *Step) Render(in Input) (Call, error) {
	call, failed := s.request.call(in.activation())
	if failed != nil {
		return Call{}, failed
	}
	return call, nil
}

func (r *request) call(vars activation) (call Call, failed *Error) {
	call = Call{API: r.api, Method: r.method, AsInvoking: r.as == config.AsUser}
	if r.account != nil {
		if call.User, failed = r.accountID(vars); failed != nil {
			return call, failed
		}
	}
	if r.api != config.APIGraphQL {
		if call.Path, failed = r.path.render(vars); failed != nil {
			return call, failed
		}
	}
	if call.Query, failed = r.values(vars); failed != nil {
		return call, failed
	}
	if call.Header, failed = r.header(vars); failed != nil {
		return call, failed
	}
	if r.body != nil {
		call.Body, failed = r.body.render(vars)
	}
	return call, failed
}
