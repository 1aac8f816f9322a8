package atlassian

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// notForwarded are headers a call may not set: those of the connection, those
// that carry credentials, and Accept-Encoding, which net/http sets itself and
// then undoes the compression.
var notForwarded = map[string]bool{
	"Authorization": true, "Proxy-Authorization": true, "Cookie": true, "Accept-Encoding": true,
	"Connection": true, "Proxy-Connection": true, "Keep-Alive": true, "Upgrade": true, "Te": true, "Trailer": true,
	"Transfer-Encoding": true, "Content-Length": true, "Host": true, "Expect": true,
}

// requestHeader makes the header that every send of the call has, less the
// token.
func requestHeader(call Call) (http.Header, error) {
	header := http.Header{}
	for name, values := range call.Header {
		if !isToken(name) {
			return nil, fmt.Errorf("header name %q is not valid", bounded(name, maxShort))
		}
		canonical := http.CanonicalHeaderKey(name)
		if notForwarded[canonical] {
			continue
		}
		for _, value := range values {
			if strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
				return nil, fmt.Errorf("header %q has a control character", bounded(name, maxShort))
			}
			header.Add(canonical, value)
		}
	}
	setDefault(header, "Accept", "application/json")
	setDefault(header, "User-Agent", "bellows")
	if len(call.Body) > 0 {
		setDefault(header, "Content-Type", "application/json")
	}
	return header, nil
}

func setDefault(header http.Header, name, value string) {
	if len(header[name]) == 0 {
		header.Set(name, value)
	}
}

func checkMethod(method string) error {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
		return nil
	}
	return errors.New("method is not one of GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")
}

// isToken reports whether text is a token of RFC 9110, as header names are.
func isToken(text string) bool {
	return text != "" && strings.Trim(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$%&'*+-.^_`|~") == ""
}
