package ingest

import (
	"encoding/json"
	"math"
	"net/http"
	"strconv"
	"time"
)

// answer is what a call is answered with.
type answer struct {
	status     int
	code       string // of an error; "" for 202
	message    string
	allow      string
	retryAfter time.Duration // zero: no header

	id        string
	duplicate bool
}

// retryLater is the Retry-After of a 503 for which nothing better is known.
const retryLater = 5 * time.Second

func refuse(status int, code, message string) answer {
	return answer{status: status, code: code, message: message}
}

func accepted(id string, duplicate bool) answer {
	return answer{status: http.StatusAccepted, id: id, duplicate: duplicate}
}

// write sends the answer. A client that has gone is no concern of ours: the
// job is stored or it is not.
func (s *Server) write(w http.ResponseWriter, a answer) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	if a.allow != "" {
		h.Set("Allow", a.allow)
	}
	if a.retryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int(math.Ceil(a.retryAfter.Seconds()))))
	}
	if a.status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", `Bearer realm="forge", error="invalid_token"`)
	}
	if a.status == http.StatusRequestEntityTooLarge {
		h.Set("Connection", "close") // the rest of the body is not worth reading
	}
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body())
}

func (a answer) body() []byte {
	if a.code == "" {
		return append(strconv.AppendBool([]byte(`{"id":"`+a.id+`","duplicate":`), a.duplicate), '}')
	}
	type inner struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}
	body, err := json.Marshal(struct {
		Error inner `json:"error"`
	}{inner{a.code, a.message}})
	if err != nil {
		return []byte(`{"error":{"code":"internal","message":"internal error"}}`)
	}
	return body
}
