package main

import (
	"context"
	"encoding/json"
	"io/fs"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"bellows/internal/daemon"
	"bellows/internal/daemon/workerd"
	"bellows/internal/embedded"
	"bellows/internal/installations"
	"bellows/internal/jobs"
	"bellows/internal/secret"
	"bellows/internal/store"
	"bellows/internal/vault"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"bellows": main})
}

func TestTranscripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script", RequireExplicitExec: true, RequireUniqueNames: true,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"nats": startServer, "letter": storeLetter, "installation": storeInstallation, "worker": storeWorker, "mode": checkMode,
		},
	})
}

// startServer runs a NATS server for the script: nats
func startServer(ts *testscript.TestScript, _ bool, _ []string) {
	s, err := embedded.Start(embedded.Options{Dir: ts.MkAbs("jetstream"), Port: -1})
	ts.Check(err)
	ts.Defer(s.Shutdown)
	ts.Setenv("NATS", s.URL())
	ts.Setenv("BELLOWS_NATS", s.URL())
}

func broker(ts *testscript.TestScript) *daemon.Broker {
	b, err := daemon.Reach(context.Background(), daemon.NATS{NATS: ts.Getenv("NATS")}.Options("test", nil))
	ts.Check(err)
	ts.Defer(b.Queue.Close)
	return b
}

// storeLetter stores a dead letter: letter ID REASON EVENT RULE [broken]
func storeLetter(ts *testscript.TestScript, _ bool, args []string) {
	job := jobs.Job{
		ID: args[0], Installation: "inst-1", Kind: jobs.KindEvent, Type: args[2], Rule: args[3], Time: time.Now(), Attempt: 1,
		Traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", Data: []byte(`{"summary": "` + args[0] + `"}`),
	}
	failure := jobs.Failure{Status: 404, Method: "POST", Path: "/rest/api/3/issue/P-1/comment", Message: "there is no such issue"}
	job.Remember(jobs.Attempt{N: 1, At: time.Now(), Outcome: "dead", Error: failure.Message})
	l := jobs.NewLetter(job, jobs.Reason(args[1]), failure, jobs.Effects{}, time.Now())
	if len(args) > 4 {
		l.Header = map[string]string{} // of a message that was no job
	}
	ts.Check(broker(ts).Queue.SaveLetter(context.Background(), l))
}

// storeInstallation notes an installation whose token lives so long, or which
// has none: installation ID DURATION
func storeInstallation(ts *testscript.TestScript, _ bool, args []string) {
	ctx, b := context.Background(), broker(ts)
	bucket := b.Store.Bucket
	_, err := installations.NewWriter(installations.WriterConfig{Bucket: bucket(store.Installations)}).Note(ctx, installations.Installation{
		ID: args[0], AppVersion: "1.2.3", EnvironmentType: "PRODUCTION", Site: args[0] + ".atlassian.net", LastSeen: time.Now(),
		Contexts: []installations.Context{{Name: "jira", CloudID: "c-1"}}, License: json.RawMessage(`{"active":true}`),
	})
	ts.Check(err)
	life, err := time.ParseDuration(args[1])
	ts.Check(err)
	if life == 0 {
		return
	}
	key, err := secret.GenerateKey()
	ts.Check(err)
	w := vault.NewWriter(vault.WriterConfig{Tokens: bucket(store.Tokens), Meta: bucket(store.TokensMeta), Key: key.Public()})
	_, err = w.Keep(ctx, vault.Owner{Installation: args[0]}, secret.NewToken(unsignedToken(time.Now().Add(life))))
	ts.Check(err)
}

// storeWorker notes a worker: worker ID RUNNING
func storeWorker(ts *testscript.TestScript, _ bool, args []string) {
	running, err := strconv.Atoi(args[1])
	ts.Check(err)
	value, err := json.Marshal(workerd.Node{ID: args[0], Running: running, Since: time.Now()})
	ts.Check(err)
	_, err = broker(ts).Store.Bucket(store.Nodes).Create(context.Background(), args[0], value, time.Minute)
	ts.Check(err)
}

// checkMode compares the permissions of a file: mode FILE OCTAL
func checkMode(ts *testscript.TestScript, _ bool, args []string) {
	info, err := os.Stat(ts.MkAbs(args[0]))
	ts.Check(err)
	want, err := strconv.ParseUint(args[1], 8, 32)
	ts.Check(err)
	if got := info.Mode().Perm(); got != fs.FileMode(want) {
		ts.Fatalf("%s: got mode %o, want %o", args[0], got, want)
	}
}
