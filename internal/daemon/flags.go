package daemon

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"bellows/internal/config"
	"bellows/internal/queue"
)

// NATS are the flags that say how to reach NATS.
type NATS struct {
	NATS   string `name:"nats" default:"nats://127.0.0.1:4222" placeholder:"URL" help:"NATS servers, comma separated."`
	Creds  string `name:"nats-creds" placeholder:"FILE" help:"Credentials file for NATS."`
	CA     string `name:"nats-ca" placeholder:"FILE" help:"CA certificates to trust for NATS."`
	Cert   string `name:"nats-cert" placeholder:"FILE" help:"Client certificate for NATS."`
	Key    string `name:"nats-key" placeholder:"FILE" help:"Key of the client certificate."`
	Prefix string `name:"prefix" default:"bellows" help:"Prefix of subjects, streams and buckets, so that several apps can share a NATS account."`
}

// Replicas is the flag for new streams and buckets.
type Replicas struct {
	Replicas int `name:"replicas" default:"1" help:"Replicas of streams and buckets that have to be created: 1, 3 or 5."`
}

// Log are the flags for logs.
type Log struct {
	Format string `name:"log-format" default:"text" enum:"text,json" help:"Form of log lines: text or json."`
	Level  string `name:"log-level" default:"info" enum:"debug,info,warn,error" help:"Least level that is logged: debug, info, warn or error."`
}

// Logger makes the logger that the flags ask for.
func (l Log) Logger(w io.Writer) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(l.Level)); err != nil {
		level = slog.LevelInfo
	}
	options := &slog.HandlerOptions{Level: level}
	if l.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// Options are those of a connection called name.
func (n NATS) Options(name string, log *slog.Logger) queue.Options {
	return queue.Options{
		URL: n.NATS, Name: name, Prefix: n.Prefix, Credentials: n.Creds, CA: n.CA, Cert: n.Cert, Key: n.Key, Logger: log,
	}
}

// Size is a number of bytes as a flag, such as 1MiB.
type Size int64

// UnmarshalText reads a size with a unit.
func (s *Size) UnmarshalText(text []byte) error {
	n, err := config.ParseSize(string(text))
	if err != nil {
		return err
	}
	*s = Size(n)
	return nil
}

// Hint is an error that a person can mend, with the remedy.
type Hint struct {
	Err  error
	Hint string
}

// Error returns the error without the remedy, which [Report] writes on a line of its own.
func (h *Hint) Error() string { return h.Err.Error() }

// Unwrap returns the error without the remedy.
func (h *Hint) Unwrap() error { return h.Err }

// KeygenHint is the remedy for a missing or broken vault key.
const KeygenHint = `make a key pair with "bellows keygen --out DIR"; ingest takes vault.pub, workers take vault.key`

// Either gives the value of a flag or of the file that its sibling names.
func Either(value, file, flag string) (string, error) {
	switch {
	case value != "" && file != "":
		return "", fmt.Errorf("--%s and --%s-file are both given, want one", flag, flag)
	case value != "":
		return value, nil
	case file == "":
		return "", &Hint{Err: fmt.Errorf("--%s-file is missing", flag), Hint: KeygenHint}
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return "", &Hint{Err: fmt.Errorf("reading --%s-file: %w", flag, err), Hint: KeygenHint}
	}
	return strings.TrimSpace(string(data)), nil
}

// Report writes an error and its remedy the way all bellows programs do.
func Report(w io.Writer, program string, err error) {
	for line := range strings.Lines(err.Error()) {
		_, _ = fmt.Fprintf(w, "%s: error: %s\n", program, strings.TrimRight(line, "\n"))
	}
	var hint *Hint
	if errors.As(err, &hint) {
		_, _ = fmt.Fprintf(w, "%s: hint: %s\n", program, hint.Hint)
	}
}
