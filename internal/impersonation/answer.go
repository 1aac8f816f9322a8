package impersonation

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"bellows/internal/secret"
)

// mutation is the documented one, in one line.
const mutation = "mutation forge_remote_offlineUserAuthToken($input: OfflineUserAuthTokenInput!) " +
	"{ offlineUserAuthToken(input: $input) { success errors { message } authToken { token ttl } } }"

// wrongContext is how the gateway's message begins when it does not know the
// form of the context (Atlassian developer community, thread 94615).
const wrongContext = "could not load permissions for app user"

// maxTTL bounds the life of a token as the gateway tells it. Forge's own
// tokens live 4 hours at most (developer.atlassian.com changelog, CHANGE-2160).
const maxTTL = 24 * time.Hour

type input struct {
	ContextIDs []string `json:"contextIds"`
	UserID     string   `json:"userId"`
}

func requestBody(contextARI, account string) []byte {
	var request struct {
		Query     string `json:"query"`
		Variables struct {
			Input input `json:"input"`
		} `json:"variables"`
	}
	request.Query = mutation
	request.Variables.Input = input{ContextIDs: []string{contextARI}, UserID: account}
	body, err := json.Marshal(request)
	if err != nil {
		panic(err) // strings always marshal
	}
	return body
}

// answer is the gateway's. Members are read loosely: one of an unexpected type
// must not hide what the others say.
type answer struct {
	Data struct {
		Result *struct {
			Success   *bool          `json:"success"`
			Errors    []gatewayError `json:"errors"`
			AuthToken *struct {
				Token string          `json:"token"`
				TTL   json.RawMessage `json:"ttl"`
			} `json:"authToken"`
		} `json:"offlineUserAuthToken"`
	} `json:"data"`
	Errors  []gatewayError `json:"errors"`
	Message string         `json:"message"` // of the API gateway in front
}

type gatewayError struct {
	Message    string `json:"message"`
	Extensions struct {
		StatusCode json.RawMessage `json:"statusCode"`
		ErrorType  string          `json:"errorType"`
	} `json:"extensions"`
}

// granted is what a successful exchange gave. A ttl of zero means that the
// gateway did not say how long the token lives.
type granted struct {
	token secret.Token
	ttl   time.Duration
}

// readAnswer turns a whole answer into a token or one of the package's errors.
// used is hidden in texts from the gateway.
func readAnswer(status int, header http.Header, body []byte, used secret.Token, now time.Time) (granted, error) {
	fine := status >= 200 && status <= 299
	var a answer
	var odd *json.UnmarshalTypeError // the other members are read all the same
	if err := json.Unmarshal(body, &a); err != nil && !errors.As(err, &odd) && fine {
		return granted{}, &UpstreamError{Status: status, Sent: true, Err: errors.New("answer is not JSON")}
	}
	if fine {
		got, err := a.result(used)
		if err != nil || !got.token.IsZero() {
			return got, err
		}
		if named := statusOf(a.all()); named != 0 {
			status = named
		}
	}
	return granted{}, failure(status, header, now, a.text(a.all(), used))
}

// result returns the token or the refusal, if the answer has one.
func (a *answer) result(used secret.Token) (granted, error) {
	r := a.Data.Result
	switch {
	case r == nil || r.Success == nil:
		return granted{}, nil
	case *r.Success && r.AuthToken != nil:
		return granted{secret.NewToken(r.AuthToken.Token), lifeOf(r.AuthToken.TTL)}, nil
	case !*r.Success && statusOf(a.all()) == 0:
		return granted{}, &RefusedError{Message: a.text(a.all(), used)}
	}
	return granted{}, nil
}

// all returns the errors of the request and of the mutation.
func (a *answer) all() []gatewayError {
	if a.Data.Result == nil {
		return a.Errors
	}
	return slices.Concat(a.Errors, a.Data.Result.Errors)
}

// failure makes the error of an answer without token and without refusal.
func failure(status int, header http.Header, now time.Time, message string) error {
	wait, ok := retryAfter(header, now)
	if status == http.StatusTooManyRequests {
		if !ok {
			wait = unknownWait
		}
		return &LimitedError{RetryAfter: wait}
	}
	return &UpstreamError{Status: status, HasRetryAfter: ok, RetryAfter: wait, Sent: true, Err: errors.New(message)}
}

// statusOf returns the first status that the errors name, or 0.
func statusOf(errs []gatewayError) int {
	for _, e := range errs {
		text := strings.Trim(string(e.Extensions.StatusCode), `"`)
		if status, err := strconv.Atoi(text); err == nil && status >= 400 && status <= 599 {
			return status
		}
		switch kind := strings.ToUpper(e.Extensions.ErrorType); {
		case strings.Contains(kind, "RATE_LIMIT"), strings.Contains(kind, "TOO_MANY_REQUESTS"):
			return http.StatusTooManyRequests
		case kind == "UNAUTHORIZED", kind == "UNAUTHENTICATED":
			return http.StatusUnauthorized
		case kind == "FORBIDDEN":
			return http.StatusForbidden
		}
	}
	return 0
}

// text joins the messages of errs. Nothing else of the answer is ever shown:
// it may hold a token.
func (a *answer) text(errs []gatewayError, used secret.Token) string {
	var texts []string
	for _, e := range errs {
		if e.Message != "" {
			texts = append(texts, e.Message)
		}
	}
	if len(texts) == 0 {
		texts = []string{a.Message}
	}
	text := used.Scrub(strings.Join(texts, "; "))
	if r := a.Data.Result; r != nil && r.AuthToken != nil {
		text = secret.NewToken(r.AuthToken.Token).Scrub(text)
	}
	if text = bounded(text); text == "" {
		return "the gateway gave no reason"
	}
	return text
}

// lifeOf reads a ttl in seconds. What is missing, not a number, zero or
// negative is zero: nothing is known, so the token must not be kept.
func lifeOf(raw json.RawMessage) time.Duration {
	seconds, err := strconv.ParseFloat(strings.Trim(string(raw), `"`), 64)
	if err != nil || !(seconds > 0) {
		return 0
	}
	return time.Duration(min(seconds, maxTTL.Seconds()) * float64(time.Second))
}

// isWrongContext reports whether another form of the context may do better.
func isWrongContext(err error) bool {
	var refused *RefusedError
	return errors.As(err, &refused) && strings.Contains(strings.ToLower(refused.Message), wrongContext)
}

// bothRefused says that neither form was taken.
func bothRefused(first, second error) error {
	var a, b *RefusedError
	if errors.As(first, &a) && errors.As(second, &b) && a.Message != b.Message {
		return &RefusedError{Message: bounded(fmt.Sprintf("%s; with another form of the context: %s", a.Message, b.Message))}
	}
	return second
}
