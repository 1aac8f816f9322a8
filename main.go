package bellows

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"bellows/internal/daemon"
	"bellows/internal/daemon/workerd"
)

// Main runs a worker with the handlers given to [Handle] until ctx ends or the
// process is told to stop by SIGINT or SIGTERM; then it lets running jobs end,
// as far as --drain-timeout allows. It is all that a program of handlers needs:
//
//	func main() {
//		bellows.Handle("avi:jira:created:issue", triage)
//		os.Exit(bellows.Main(context.Background(), os.Args[1:]))
//	}
//
// args are the flags of cmd/worker, and each has its environment variable,
// BELLOWS_<FLAG>; --help lists them. --config names a rule file whose rules run
// beside the handlers; without it there are none. The result is the exit code:
// 0 stopped as told, 1 failed, 2 wrong flags. Errors and logs go to standard
// error.
func Main(ctx context.Context, args []string) int {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	return DefaultMux.Main(ctx, args, os.Stdout, os.Stderr)
}

const about = `Takes jobs from NATS JetStream and carries them out with the handlers in this program, and by the rules of ` +
	`--config where it is given. What cannot be done becomes a dead letter.`

type mainFlags struct {
	workerd.Flags
	OpsListen string `name:"ops-listen" default:"127.0.0.1:9465" help:"Private address for /livez, /readyz, /metrics and profiles."`
	Config    string `name:"config" placeholder:"FILE" help:"A rule file, whose rules run beside the handlers."`
	daemon.NATS
	daemon.Replicas
	daemon.Log
}

// Main is [Main] for the handlers of m alone, without signals: it runs until
// ctx ends, and writes to where it is told.
func (m *Mux) Main(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	name := filepath.Base(os.Args[0])
	return daemon.Exit(stderr, name, m.main(ctx, name, args, stdout, stderr))
}

func (m *Mux) main(ctx context.Context, name string, args []string, stdout, stderr io.Writer) error {
	var f mainFlags
	if _, err := daemon.Parse(&f, name, about, args, stdout, stderr); err != nil {
		return err
	}
	handlers := m.registered()
	if len(handlers) == 0 && f.Config == "" {
		return &daemon.Hint{Err: fmt.Errorf("there are no handlers and no rule file"), Hint: "call bellows.Handle before bellows.Main, or give --config"}
	}
	log := f.Logger(stderr)
	return workerd.Run(ctx, workerd.Options{
		Flags: f.Flags, NATS: f.Options("bellows-worker", log), Replicas: f.Replicas.Replicas,
		OpsListen: f.OpsListen, Config: f.Config, Handlers: handlers, Log: log,
	})
}
