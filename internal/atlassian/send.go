package atlassian

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"bellows/internal/secret"
)

// maxErrorBody is how much of a failed call's answer is looked at for a
// message, in bytes.
const maxErrorBody = 64 << 10

// send writes the request once and reads the answer.
func (f *flight) send(ctx context.Context, h held) (*Answer, *Error) {
	wire, traced, cancel := watch(ctx, f.call.Safe)
	defer cancel()
	response, err := f.client.transport.RoundTrip(f.request(traced, h.token))
	if err != nil {
		return nil, f.lost(ctx, wire, err)
	}
	defer response.Body.Close()
	if response.StatusCode < 200 || response.StatusCode > 299 {
		return nil, f.refused(response, h)
	}
	body, err := readAnswer(response, f.client.maxAnswer)
	if err != nil {
		return nil, f.unreadable(ctx, response.StatusCode, err)
	}
	return &Answer{Status: response.StatusCode, Header: f.used.header(response.Header), Body: f.used.body(body)}, nil
}

// lost makes the Error of a request that got no answer.
func (f *flight) lost(ctx context.Context, wire *wire, err error) *Error {
	stage := Unanswered
	if wire.unsent(err, f.client.traced) {
		stage = NotSent
	}
	byCaller := false
	switch {
	case ctx.Err() != nil:
		err, byCaller = ctxError(ctx)
	case wire.stopped.Load():
		err = errReplay
	}
	e := f.fail(stage, err)
	e.byCaller = byCaller
	return e
}

func (f *flight) unreadable(ctx context.Context, status int, err error) *Error {
	byCaller := false
	if ctx.Err() != nil && !errors.Is(err, ErrTooLong) {
		err, byCaller = ctxError(ctx)
	}
	e := f.fail(Unreadable, err)
	e.Status, e.byCaller = status, byCaller
	return e
}

// refused makes the Error of an answer outside 2xx. A body that breaks off
// only costs the message.
func (f *flight) refused(response *http.Response, h held) *Error {
	var body []byte
	if response.StatusCode >= 200 { // the body of a 101 is the connection
		body, _ = io.ReadAll(io.LimitReader(response.Body, maxErrorBody))
	}
	e := f.fail(Answered, nil)
	e.Status = response.StatusCode
	e.RetryAfter, e.HasRetryAfter = retryAfter(response.StatusCode, response.Header, f.client.now())
	e.RateLimitReason = bounded(f.used.text(response.Header.Get("RateLimit-Reason")), maxShort)
	e.Message = f.used.message(body)
	e.Header, e.Body = f.used.header(response.Header), f.used.body(body)
	switch e.Status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound:
		e.TokenExpired = f.expired(h)
	}
	return e
}

// readAnswer reads the whole body, or fails with ErrTooLong.
func readAnswer(response *http.Response, limit int64) ([]byte, error) {
	if response.StatusCode < 200 { // the body of a 101 is the connection
		return nil, nil
	}
	tooLong := fmt.Errorf("%w (%d bytes)", ErrTooLong, limit)
	if response.ContentLength > limit && response.Request.Method != http.MethodHead {
		return nil, tooLong
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, limit+1))
	switch {
	case int64(len(body)) > limit:
		return nil, tooLong
	case err != nil:
		return nil, fmt.Errorf("reading the answer: %w", err)
	}
	return body, nil
}

// header returns what of an answer's header is worth keeping.
func (s scrubber) header(header http.Header) http.Header {
	kept := http.Header{}
	for name, values := range header {
		if name == "Set-Cookie" {
			continue
		}
		for _, value := range values {
			kept[name] = append(kept[name], s.text(value))
		}
	}
	return kept
}

// body hides the tokens in an answer's body, which may be stored.
func (s scrubber) body(body []byte) []byte {
	for _, token := range s {
		if !token.IsZero() && bytes.Contains(body, []byte(token.Reveal())) {
			body = []byte(token.Scrub(string(body)))
		}
	}
	return body
}

// request makes the request. For net/http an unsafe one is nothing that could
// be sent again by itself: it has no GetBody, no header that says otherwise,
// and never is a GET with nothing to read.
func (f *flight) request(ctx context.Context, bearer secret.Token) *http.Request {
	request := &http.Request{
		Method: f.call.Method, URL: f.url, Host: f.url.Host, Header: f.header.Clone(),
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}
	request.Header.Set("Authorization", "Bearer "+bearer.Reveal())
	open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(f.call.Body)), nil }
	if len(f.call.Body) > 0 || !f.call.Safe && replayed(f.call.Method) {
		request.Body, _ = open()
		request.ContentLength = int64(len(f.call.Body))
	}
	if f.call.Safe {
		request.GetBody = open
	} else {
		hideIdempotencyKey(request.Header)
	}
	return request.WithContext(ctx)
}

// replayed reports whether net/http takes the method for one that may always
// be sent again.
func replayed(method string) bool {
	return method == http.MethodGet || method == http.MethodHead || method == http.MethodOptions
}

// hideIdempotencyKey respells two headers that make net/http believe that any
// request may be replayed. Header names have no case on the wire; Atlassian
// documents no such key, so sending twice would act twice.
func hideIdempotencyKey(header http.Header) {
	for _, name := range []string{"Idempotency-Key", "X-Idempotency-Key"} {
		if values, ok := header[name]; ok {
			delete(header, name)
			header[strings.ToLower(name)] = values
		}
	}
}
