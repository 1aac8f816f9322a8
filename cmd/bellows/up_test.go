package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bellows/internal/daemon"
)

const ownManifest = `
app: {id: "` + appID + `", runtime: {name: nodejs22.x}}
remotes:
  - {key: backend, baseUrl: "https://backend.example.com"}
permissions: {scopes: {"read:app-system-token": {}}}
modules:
  endpoint:
    - {key: events, remote: backend, route: {path: /events}, auth: {appSystemToken: {enabled: true}}}
  trigger:
    - {key: on-issue, endpoint: events, events: ["avi:jira:created:issue"]}
`

const ownRules = `
version: 1
rules:
  - name: comment
    on: avi:jira:created:issue
    steps:
      - request: {method: POST, path: "/rest/api/3/issue/${event.issue.key}/comment", body: {note: seen}}
`

// apiCall is what the stub API got.
type apiCall struct{ path, authorization string }

// stubAPI answers 201 to everything and tells what it got.
func stubAPI(t *testing.T) (url string, calls <-chan apiCall) {
	t.Helper()
	got := make(chan apiCall, 100)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got <- apiCall{r.URL.Path, r.Header.Get("Authorization")}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, `{"id":"1"}`)
	}))
	t.Cleanup(s.Close)
	return s.URL, got
}

// upArgs are the flags of a machine on free ports in dir.
func upArgs(t *testing.T, dir, keys, api string) []string {
	t.Helper()
	files := map[string]string{"manifest.yml": ownManifest, "bellows.yaml": ownRules}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return []string{
		"up", "--data", filepath.Join(dir, "data"), "--manifest", filepath.Join(dir, "manifest.yml"), "--config", filepath.Join(dir, "bellows.yaml"),
		"--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0", "--worker-ops-listen", "127.0.0.1:0", "--egress-listen", "127.0.0.1:0", "--nats", "nats://127.0.0.1:0",
		"--jwks-url", keys, "--api-host", strings.TrimPrefix(api, "http://"), "--drain-timeout", "5s",
	}
}

type answer struct {
	ID        string
	Duplicate bool
}

// deliver posts an event as Forge does and expects 202.
func deliver(t *testing.T, ingest, fit, system, body string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, ingest+"/events", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+fit)
	req.Header.Set("x-forge-oauth-system", system)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusAccepted {
		t.Fatalf("got status %d, %s, %v", res.StatusCode, data, err)
	}
	var a answer
	if err := json.Unmarshal(data, &a); err != nil {
		t.Fatal(err)
	}
	return a
}

// awaitReady waits for both private ports.
func awaitReady(t *testing.T, r *running) {
	t.Helper()
	if err := ready(t.Context(), r.find(t, `ingest .*\(private: (http://[^)]+)\)`), r.find(t, `worker .*\(private: (http://[^)]+)\)`)); err != nil {
		t.Fatal(err)
	}
}

func TestUpTakesAnEventAndMakesTheCallAlsoAfterARestart(t *testing.T) {
	dir, forge := t.TempDir(), newSigner(t)
	api, calls := stubAPI(t)
	args := upArgs(t, dir, forge.keys.URL, api)
	system := unsignedToken(time.Now().Add(4 * time.Hour))
	const event = `{"eventType":"avi:jira:created:issue","timestamp":"1700000000000","issue":{"key":"PEL-1"}`

	up := start(t, args...)
	ingest := up.find(t, `ingest +(http://\S+)`)
	awaitReady(t, up)
	first := deliver(t, ingest, forge.sign(t, "inst-1", api+"/ex/jira/c-1"), system, event+"}")
	if first.Duplicate {
		t.Error("the first delivery is called a duplicate")
	}
	expectCall(t, calls, apiCall{"/ex/jira/c-1/rest/api/3/issue/PEL-1/comment", "Bearer " + system})
	expectIdle(t, up.find(t, `NATS +(nats://\S+)`))
	if err := up.finish(t); err != nil {
		t.Fatalf("stopping: %v", err)
	}

	up = start(t, args...)
	ingest = up.find(t, `ingest +(http://\S+)`)
	awaitReady(t, up)
	fit := forge.sign(t, "inst-1", api+"/ex/jira/c-1")
	again := deliver(t, ingest, fit, "", event+`,"retryContext":{"retryCount":1,"retryReason":"TIMEOUT_ERROR","retryData":null}}`)
	if !again.Duplicate || again.ID != first.ID {
		t.Errorf("sent again after the restart: got %+v, want a duplicate of %q", again, first.ID)
	}
	deliver(t, ingest, fit, "", strings.Replace(event, "PEL-1", "PEL-2", 1)+"}")
	expectCall(t, calls, apiCall{"/ex/jira/c-1/rest/api/3/issue/PEL-2/comment", "Bearer " + system}) // with the token kept from before
	expectIdle(t, up.find(t, `NATS +(nats://\S+)`))
	if len(calls) != 0 {
		t.Errorf("%d more calls were made", len(calls))
	}
	if err := up.finish(t); err != nil {
		t.Fatalf("stopping: %v", err)
	}
	if log, _ := up.errs.read(); strings.Contains(log, system) {
		t.Error("the log has the system token")
	}
}

func expectCall(t *testing.T, calls <-chan apiCall, want apiCall) {
	t.Helper()
	select {
	case got := <-calls:
		if got != want {
			t.Errorf("call: got %v, want %v", got, want)
		}
	case <-time.After(20 * time.Second):
		t.Fatalf("the call %v was not made", want.path)
	}
}

// readStatusOf is what "bellows status --json" says.
func readStatusOf(t *testing.T, nats string) (s status) {
	t.Helper()
	code, stdout, stderr := call(t, "status", "--json", "--nats", nats)
	if code != daemon.ExitDone {
		t.Fatalf("status: exit code %d: %s", code, stderr)
	}
	if err := json.NewDecoder(bytes.NewBufferString(stdout)).Decode(&s); err != nil {
		t.Fatal(err)
	}
	return s
}

// expectIdle waits until no job is left.
func expectIdle(t *testing.T, nats string) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; {
		s := readStatusOf(t, nats)
		if s.Jobs == (jobCounts{}) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("jobs are left: %+v", s.Jobs)
		}
		time.Sleep(readyPause) // between two looks
	}
}

func TestUpStopsAsAWholeWhenAPartCannotStart(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	dir := t.TempDir()
	for _, flag := range []string{"--listen", "--ops-listen", "--worker-ops-listen", "--egress-listen"} {
		args := append(upArgs(t, dir, "http://127.0.0.1:1", "http://127.0.0.1:1"), flag, taken.Addr().String())
		code, _, stderr := call(t, args...)
		if code != daemon.ExitFailed || !strings.Contains(stderr, "bellows: error: listening at "+flag+": ") ||
			!strings.Contains(stderr, "bellows: hint: choose another address with "+flag) {
			t.Errorf("%s is taken: exit code %d, %s", flag, code, stderr)
		}
	}
}

func TestUpKeepsTwoProcessesOutOfOneFolder(t *testing.T) {
	args := upArgs(t, t.TempDir(), "http://127.0.0.1:1", "http://127.0.0.1:1")
	first := start(t, args...)
	first.find(t, `data +(\S+)`)
	code, _, stderr := call(t, args...)
	if code != daemon.ExitFailed || !strings.Contains(stderr, "is used by another process") {
		t.Errorf("exit code %d, %s", code, stderr)
	}
}

func TestAPublicKeyFileThatWasLostIsWrittenAgain(t *testing.T) {
	dir := t.TempDir()
	key, err := makeKeys(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, publicFile)); err != nil {
		t.Fatal(err)
	}
	_, public, err := keepKeys(dir)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(public)
	if err != nil || strings.TrimSpace(string(text)) != key.Public().Text() {
		t.Errorf("got %q, %v, want the public half of the key that is there", text, err)
	}
}

func TestWhereTheEmbeddedServerListens(t *testing.T) {
	for address, want := range map[string]struct {
		host string
		port int
	}{
		"nats://127.0.0.1:4222": {"127.0.0.1", 4222},
		"nats://localhost":      {"localhost", 4222},
		"nats://0.0.0.0:0":      {"0.0.0.0", -1},
		"nats://[::1]:5000":     {"::1", 5000},
	} {
		host, port, err := listenAt(address)
		if err != nil || host != want.host || port != want.port {
			t.Errorf("%s: got %q %d %v, want %v", address, host, port, err, want)
		}
	}
	for _, address := range []string{"", "127.0.0.1:4222", "tls://a:1", "nats://me:secret@a:1", "nats://a:99999", "nats://a/x"} {
		if _, _, err := listenAt(address); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: got %v, want a refusal", address, err)
		}
	}
}
