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
	call, failed := s.call(in.activation())
	if failed != nil {
		return Call{}, failed
	}
	return call, nil
}

func (s *Step) call(vars activation) (call Call, failed *Error) {
	call = Call{API: s.api, Method: s.method, AsInvoking: s.as == config.AsUser}
	if s.account != nil {
		if call.User, failed = s.accountID(vars); failed != nil {
			return call, failed
		}
	}
	if s.api != config.APIGraphQL {
		if call.Path, failed = s.path.render(vars); failed != nil {
			return call, failed
		}
	}
	if call.Query, failed = s.values(vars); failed != nil {
		return call, failed
	}
	if call.Header, failed = s.header(vars); failed != nil {
		return call, failed
	}
	if s.body != nil {
		call.Body, failed = s.body.render(vars)
	}
	return call, failed
}
