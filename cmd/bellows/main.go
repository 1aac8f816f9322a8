// Program bellows is the tool for the people who run bellows and who write
// rules for it: everything on one machine, a simulator of Forge and Atlassian,
// and a view into the queue, the dead letters and the installations.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"

	"bellows/internal/daemon"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	os.Exit(daemon.Exit(os.Stderr, "bellows", run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)))
}

const about = `The server half of Atlassian Forge Remote: events of Forge go in, calls to Atlassian come out. ` +
	`New here? "bellows demo" shows it at work, "bellows dev" runs all of it on this machine.`

type commands struct {
	Up        upCmd        `cmd:"" group:"Run it" help:"One machine for real: NATS JetStream, ingest and a worker in one process."`
	Keygen    keygenCmd    `cmd:"" group:"Run it" help:"Make the key pair that seals tokens: vault.key and vault.pub."`
	Setup     setupCmd     `cmd:"" group:"Run it" help:"Create the streams and buckets in NATS that are missing."`
	Demo      demoCmd      `cmd:"" group:"Develop with it" help:"Run the real parts against the simulator and show what happens."`
	Dev       devCmd       `cmd:"" group:"Develop with it" help:"Everything on this machine, with a simulator of Forge and Atlassian."`
	Simulator simulatorCmd `cmd:"" group:"Develop with it" help:"The simulator alone, for a backend in any language."`
	Trigger   triggerCmd   `cmd:"" group:"Develop with it" help:"Have the simulator make an event and deliver it as Forge would."`
	Rules     rulesCmd     `cmd:"" group:"Develop with it" help:"Check a rule file, and run its tests."`

	Status        statusCmd        `cmd:"" group:"Look after it" help:"Backlog, dead letters, workers and health of tokens."`
	DLQ           dlqCmd           `cmd:"" name:"dlq" group:"Look after it" help:"Dead letters: jobs that could not be done."`
	Installations installationsCmd `cmd:"" group:"Look after it" help:"Who has installed the app."`
	Version       versionCmd       `cmd:"" group:"Look after it" help:"Which version this is."`
}

// run carries out one command.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) error {
	var c commands
	parsed, err := daemon.Parse(&c, "bellows", about, args, stdout, stderr)
	if err != nil {
		return err
	}
	parsed.BindTo(ctx, (*context.Context)(nil))
	return parsed.Run(terminal{in: stdin, out: stdout, err: stderr})
}
