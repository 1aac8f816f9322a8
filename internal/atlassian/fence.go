package atlassian

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
)

// fence is the set of allowed hosts. A value without port stands for the
// default port of whatever scheme is used.
type fence map[hostPort]bool

type hostPort struct{ host, port string }

func newFence(hosts []string) (fence, error) {
	if len(hosts) == 0 {
		hosts = []string{"api.atlassian.com", "api.bitbucket.org"}
	}
	f := fence{}
	for _, text := range hosts {
		u, err := url.Parse("//" + text)
		if err != nil || !isHost(u, text) {
			return nil, fmt.Errorf("reading allowed hosts: %q is not a host or host:port", text)
		}
		f[hostPort{strings.ToLower(u.Hostname()), u.Port()}] = true
	}
	return f, nil
}

// isHost reports whether u, read from text, is a host with or without port and
// nothing else. An IPv6 address must be in brackets.
func isHost(u *url.URL, text string) bool {
	bare := strings.Contains(u.Hostname(), ":") && text[0] != '['
	return u.Hostname() != "" && u.Host == text && !bare && !strings.HasSuffix(text, ":") && !strings.ContainsAny(text, "*%")
}

// parse checks everything about a base URL but its query.
func (f fence) parse(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	if err != nil || u.Opaque != "" || u.Hostname() == "" {
		// The error of url.Parse repeats the URL, which may hold a password.
		return nil, errors.New("base is not an absolute URL")
	}
	switch {
	case u.User != nil:
		return nil, errors.New("base has user information")
	case u.Fragment != "" || strings.Contains(raw, "#"):
		return nil, errors.New("base has a fragment")
	}
	if err := f.checkHost(u); err != nil {
		return nil, err
	}
	return u, nil
}

func (f fence) checkHost(u *url.URL) error {
	host, port := strings.ToLower(u.Hostname()), u.Port()
	standard := "443"
	switch u.Scheme {
	case "https":
	case "http":
		if !loopback(host) {
			return fmt.Errorf("plain http to %q, which is not this machine", bounded(host, maxShort))
		}
		standard = "80"
	default:
		return fmt.Errorf("scheme %q is not https", bounded(u.Scheme, maxShort))
	}
	if port == "" {
		port = standard
	}
	if f[hostPort{host, port}] || port == standard && f[hostPort{host, ""}] {
		return nil
	}
	return fmt.Errorf("host %q is not allowed", bounded(u.Host, maxShort))
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// join checks base and path and joins them. Both are checked segment by
// segment, so the result is below the base for every server, whatever it does
// to dots, escapes and path parameters.
func (f fence) join(base, path string) (*url.URL, error) {
	u, err := f.parse(base)
	if err != nil {
		return nil, err
	}
	if u.RawQuery != "" || u.ForceQuery {
		return nil, errors.New("base has a query")
	}
	below := strings.TrimSuffix(u.EscapedPath(), "/")
	if err := checkPath(below); err != nil {
		return nil, fmt.Errorf("base: %w", err)
	}
	if strings.Contains(strings.ToLower(below), "%2f") {
		return nil, errors.New("base has an escaped slash")
	}
	if err := checkPath(path); err != nil {
		return nil, err
	}
	if u.RawPath = below + path; u.RawPath == "" {
		u.RawPath = "/"
	}
	if u.Path, err = url.PathUnescape(u.RawPath); err != nil {
		return nil, errors.New("path has a broken escape")
	}
	return u, nil
}

// checkPath accepts the empty path and "/" followed by good segments.
func checkPath(path string) error {
	if path == "" {
		return nil
	}
	if path[0] != '/' {
		return errors.New("path has no leading slash")
	}
	for i := range len(path) {
		if c := path[i]; c <= ' ' || c >= 0x7f || c == '\\' || c == '?' || c == '#' {
			return fmt.Errorf("path has %q, which must be escaped", c)
		}
	}
	segments := strings.TrimSuffix(path[1:], "/") // some of Atlassian's paths end with a slash
	for segment := range strings.SplitSeq(segments, "/") {
		if err := checkSegment(segment); err != nil {
			return err
		}
	}
	return nil
}

// maxUnescapes is how often a segment is unescaped to look for what some
// gateway behind the first may see in it.
const maxUnescapes = 4

// checkSegment refuses a segment that is, or becomes when it is unescaped once
// or more often, one that moves within the path.
func checkSegment(segment string) error {
	for range maxUnescapes {
		if err := checkPlain(segment); err != nil {
			return err
		}
		if !strings.Contains(segment, "%") {
			return nil
		}
		plain, err := url.PathUnescape(segment)
		if err != nil {
			// After the first round a lone percent sign is a literal one.
			return nil
		}
		segment = plain
	}
	return errors.New("path has a segment escaped many times over")
}

// checkPlain takes an escaped slash or backslash for a separator, as some
// gateway may: what stands between must not move within the path. It also
// looks before a semicolon: servlet containers, which Jira and Confluence are,
// drop the parameter behind it ("..;x" is "..").
func checkPlain(segment string) error {
	if segment == "" {
		return errors.New("path has an empty segment")
	}
	if strings.ContainsFunc(segment, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return errors.New("path has a control character")
	}
	for part := range strings.FieldsFuncSeq(segment, func(r rune) bool { return r == '/' || r == '\\' }) {
		name, _, _ := strings.Cut(part, ";")
		if name = strings.TrimSpace(name); name == "." || name == ".." {
			return errors.New("path has a dot segment")
		}
	}
	if name, _, _ := strings.Cut(segment, ";"); name == "" {
		return errors.New("path has an empty segment")
	}
	return nil
}
