package simulator

import (
	"errors"
	"fmt"
	"net/http"
)

// Error is a refusal of the control API.
type Error struct {
	// Status is the HTTP status it is answered with.
	Status int
	// Message says what was wrong.
	Message string
}

// Error returns the message.
func (e *Error) Error() string { return e.Message }

func refuse(status int, format string, args ...any) error {
	return &Error{Status: status, Message: fmt.Sprintf(format, args...)}
}

// statusOf is the one place from an error to a status of the control API.
func statusOf(err error) int {
	var refused *Error
	if errors.As(err, &refused) {
		return refused.Status
	}
	return http.StatusInternalServerError
}
