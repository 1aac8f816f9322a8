package egress

import (
	"errors"
	"net/url"
	"strings"
)

// maxUnescapes is how often a segment is unescaped to look for what some
// server behind the first may see in it.
const maxUnescapes = 4

// split reads an escaped path: its first segment, which says which API is
// meant, and the rest, which has a leading slash or, for the API itself, is
// empty.
func split(path string) (api, rest string, err error) {
	if !strings.HasPrefix(path, "/") {
		return "", "", errors.New("path has no leading slash")
	}
	if err := checkPath(path); err != nil {
		return "", "", err
	}
	api, rest, _ = strings.Cut(path[1:], "/")
	if rest != "" {
		rest = "/" + rest
	}
	return api, rest, nil
}

// checkPath refuses a path that could mean another one to anybody on the way:
// one with a dot segment, an empty segment, a backslash, an escaped slash or
// backslash, or a control character, unescaped once or more often. One slash
// at the end is fine: some of Atlassian's paths have it.
func checkPath(path string) error {
	if path == "" || path == "/" {
		return nil
	}
	if path[0] != '/' {
		return errors.New("path has no leading slash")
	}
	for segment := range strings.SplitSeq(strings.TrimSuffix(path[1:], "/"), "/") {
		if err := checkSegment(segment); err != nil {
			return err
		}
	}
	return nil
}

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
	return errors.New("path has a segment that is escaped many times over")
}

// checkPlain also looks before a semicolon: servlet containers, which Jira and
// Confluence are, drop the parameter behind it ("..;x" is "..").
func checkPlain(segment string) error {
	name, _, _ := strings.Cut(segment, ";")
	switch strings.TrimSpace(name) {
	case "":
		return errors.New("path has an empty segment")
	case ".", "..":
		return errors.New("path has a dot segment")
	}
	switch {
	case strings.Contains(segment, "/"):
		return errors.New("path has an escaped slash")
	case strings.Contains(segment, `\`):
		return errors.New("path has a backslash")
	case strings.ContainsFunc(segment, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return errors.New("path has a control character")
	}
	return nil
}

// below returns what of u's path is below base, escaped, if u is the base or
// below it: same scheme, host and port, and no user information.
func below(base string, u *url.URL) (rest string, ok bool) {
	b, err := url.Parse(base)
	if err != nil || b.Host == "" || u.User != nil || u.Opaque != "" {
		return "", false
	}
	if !strings.EqualFold(b.Scheme, u.Scheme) || !strings.EqualFold(b.Hostname(), u.Hostname()) || portOf(b) != portOf(u) {
		return "", false
	}
	rest, ok = strings.CutPrefix(u.EscapedPath(), strings.TrimSuffix(b.EscapedPath(), "/"))
	return rest, ok && (rest == "" || rest[0] == '/')
}

func portOf(u *url.URL) string {
	switch {
	case u.Port() != "":
		return u.Port()
	case strings.EqualFold(u.Scheme, "http"):
		return "80"
	}
	return "443"
}
