package bellows

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"bellows/internal/jobs"
)

func nothing(context.Context, *Job) error { return nil }

func TestAHandlerIsNamedAfterItsPattern(t *testing.T) {
	t.Parallel()
	for pattern, want := range map[string]string{
		"avi:jira:created:issue": "avi-jira-created-issue",
		"avi:jira:*:issue":       "avi-jira-any-issue",
		"scheduled:nightly":      "scheduled-nightly",
		"preUninstall":           "preUninstall",
	} {
		var mux Mux
		mux.Handle(pattern, nothing)
		if got := mux.registered()[0].Name; got != want {
			t.Errorf("%q: got the name %q, want %q", pattern, got, want)
		}
	}
}

func TestOptionsSayMoreAboutAHandler(t *testing.T) {
	t.Parallel()
	var mux Mux
	mux.Handle("call:a", nothing, Name("both"), On("call:b"), MaxAttempts(3), MaxAge(time.Hour))
	h := mux.registered()[0]
	if h.Name != "both" || strings.Join(h.On, " ") != "call:a call:b" || h.MaxAttempts != 3 || h.MaxAge != time.Hour {
		t.Errorf("got %+v", h)
	}
}

func TestHandlePanicsOnMistakesInTheProgram(t *testing.T) {
	t.Parallel()
	var mux Mux
	mux.Handle("call:a", nothing)
	for _, test := range []struct {
		name, want string
		handle     func()
	}{
		{"no handler", `no handler for "call:b"`, func() { mux.Handle("call:b", nil) }},
		{"the same pattern twice", `two handlers named "call-a"`, func() { mux.Handle("call:a", nothing) }},
		{"no pattern", "is not 1 to 64", func() { mux.Handle("", nothing) }},
		{"a name with a space", "is not 1 to 64", func() { mux.Handle("call:c", nothing, Name("a b")) }},
		{"a long pattern", "is not 1 to 64", func() { mux.Handle("call:"+strings.Repeat("x", 60), nothing) }},
	} {
		func() {
			defer func() {
				if said, _ := recover().(string); !strings.Contains(said, test.want) {
					t.Errorf("%s: it said %q, want %q", test.name, said, test.want)
				}
			}()
			test.handle()
		}()
	}
	if n := len(mux.registered()); n != 1 {
		t.Errorf("there are %d handlers, want the first alone", n)
	}
}

func TestPathfKeepsEachValueInItsSegment(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ value, want string }{
		{"PEL-1", "/issue/PEL-1/comment"},
		{"a b?c#d", "/issue/a%20b%3Fc%23d/comment"},
		{"../x", "/issue/..%2Fx/comment"}, // refused by the fence, as are the next two
		{"", "/issue/./comment"},
		{"..", "/issue/../comment"},
		{"100%", "/issue/100%25/comment"},
	} {
		if got := Pathf("/issue/%s/comment", test.value); got != test.want {
			t.Errorf("%q: got %q, want %q", test.value, got, test.want)
		}
	}
	if got := Pathf("/issue/%v", 7); got != "/issue/7" {
		t.Errorf("a number: got %q", got)
	}
}

func TestARequestKeepsItsPathAsWritten(t *testing.T) {
	t.Parallel()
	r, err := newRequest(t.Context(), http.MethodPost, "//evil.example/a%2Fb?x=1", map[string]int{"n": 1})
	if err != nil {
		t.Fatal(err)
	}
	if r.URL.Host != "" || r.URL.EscapedPath() != "//evil.example/a%2Fb" || r.URL.RawQuery != "x=1" || r.Header.Get("Content-Type") != "application/json" {
		t.Errorf("got host %q, path %q, query %q, header %v", r.URL.Host, r.URL.EscapedPath(), r.URL.RawQuery, r.Header)
	}
	for _, path := range []string{"", "rest", "https://evil.example/", "/%zz"} {
		if _, err := newRequest(t.Context(), http.MethodGet, path, nil); err == nil {
			t.Errorf("path %q was taken", path)
		}
	}
	if _, err := newRequest(t.Context(), http.MethodPost, "/a", func() {}); err == nil {
		t.Error("a body that is no JSON was taken")
	}
}

func TestErrorsOfAHandlerAreFoundWhenWrapped(t *testing.T) {
	t.Parallel()
	var again *jobs.RetryAfterError
	if err := errors.Join(errors.New("busy"), RetryAfter(time.Minute)); !errors.As(err, &again) || again.After != time.Minute {
		t.Errorf("got %v", err)
	}
	var fatal *jobs.FatalError
	cause := errors.New("no template")
	if err := Fatal(cause); !errors.As(err, &fatal) || !errors.Is(err, cause) || err.Error() != "no template" {
		t.Errorf("got %v", err)
	}
	if Fatal(nil).Error() == "" {
		t.Error("Fatal(nil) says nothing")
	}
}

func TestMainTellsWhatIsWrongAndItsExitCode(t *testing.T) {
	t.Setenv("BELLOWS_CONFIG", "")
	full := new(Mux)
	full.Handle("call:a", nothing)
	for _, test := range []struct {
		name string
		mux  *Mux
		args []string
		code int
		want string
	}{
		{"help", full, []string{"--help"}, 0, "--egress-listen"},
		{"an unknown flag", full, []string{"--nope"}, 2, "unknown flag --nope"},
		{"no handlers and no rules", new(Mux), nil, 1, "there are no handlers and no rule file"},
		{"no key", full, []string{"--vault-key=", "--vault-key-file="}, 1, "--vault-key-file is missing"},
		{"a rule file that is not there", full, []string{"--config", t.TempDir() + "/none.yaml", "--vault-key=x"}, 1, "vault"},
	} {
		var out, errs bytes.Buffer
		code := test.mux.Main(t.Context(), test.args, &out, &errs)
		if said := out.String() + errs.String(); code != test.code || !strings.Contains(said, test.want) {
			t.Errorf("%s: exit code %d, want %d; it said %s", test.name, code, test.code, said)
		}
	}
}
