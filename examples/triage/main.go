// Program triage is a whole app in Go: it answers a bug report as the app, and
// a hand-over in the name of the person who handed over.
package main

import (
	"context"
	"os"

	"bellows"
)

func main() {
	register(bellows.DefaultMux)
	os.Exit(bellows.Main(context.Background(), os.Args[1:]))
}

// register says which handler is for what.
func register(mux *bellows.Mux) {
	mux.Handle("avi:jira:created:issue", triage, bellows.Name("triage"))
	mux.Handle("avi:jira:assigned:issue", handOver, bellows.Name("hand-over"))
}
