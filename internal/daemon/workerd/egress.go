package workerd

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"

	"bellows/internal/atlassian"
	"bellows/internal/daemon"
	"bellows/internal/egress"
	"bellows/internal/egress/ticket"
	"bellows/internal/impersonation"
	"bellows/internal/store"
)

// progressKept is how long the last report of a job's progress is kept.
const progressKept = 24 * time.Hour

// listen opens the port for handlers and decides what they are told of it.
func (d *service) listen() error {
	l, err := daemon.Listen("egress-listen", cmp.Or(d.o.EgressListen, "127.0.0.1:0")) // never on all interfaces unasked
	if err != nil {
		return err
	}
	d.egressPort, d.egressURL = l, cmp.Or(d.o.EgressURL, "http://"+reachable(l.Addr()))
	u, err := url.Parse(d.egressURL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		_ = l.Close()
		return &daemon.Hint{Err: errors.New("--egress-url is no http or https URL without user, query and fragment"), Hint: "give the address at which handlers reach --egress-listen, such as http://worker.internal:9466"}
	}
	return nil
}

// reachable is an address at which this machine reaches a port.
func reachable(a net.Addr) string {
	host, port, err := net.SplitHostPort(a.String())
	if err != nil {
		return a.String()
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}

// makeEgress makes what carries the calls of handlers.
func (d *service) makeEgress(client *atlassian.Client, exchanger *impersonation.Exchanger) error {
	var err error
	d.tickets = ticket.New(ticket.Config{Bucket: d.broker.Store.Bucket(store.Tickets), Logger: d.o.Log})
	d.egress, err = egress.New(egress.Config{
		Tickets: d.tickets, Call: client.Do, Token: d.tokens.Token, Exchange: exchanger.Token, Forget: exchanger.Forget,
		Installation: d.installations.Get, Publish: d.broker.Queue.PublishAt, Progress: d.progress,
		GraphQLURL: d.o.GraphQLURL, Logger: d.o.Log, Metrics: egress.NewMetrics(d.metrics),
	})
	return err
}

// serveEgress serves handlers until ctx ends.
func (d *service) serveEgress(ctx context.Context) error {
	server := &http.Server{
		Handler: d.egress.Handler(), ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute, IdleTimeout: 2 * time.Minute,
		MaxHeaderBytes: 64 << 10,
	}
	return daemon.Serve(ctx, server, d.egressPort)
}

// Progress is what is kept in the bucket RESULTS of a job that runs.
type Progress struct {
	State    string          `json:"state"` // "running"
	Progress json.RawMessage `json:"progress"`
}

// progress keeps the last report of a job. Of two at the same time either may
// be the last.
func (d *service) progress(ctx context.Context, g ticket.Grant, report json.RawMessage) error {
	value, err := json.Marshal(Progress{State: "running", Progress: report})
	if err != nil {
		return fmt.Errorf("encoding progress: %w", err)
	}
	bucket := d.broker.Store.Bucket(store.Results)
	for {
		old, err := bucket.Get(ctx, g.Job)
		switch {
		case errors.Is(err, store.ErrNotFound):
			_, err = bucket.Create(ctx, g.Job, value, progressKept)
		case err == nil:
			_, err = bucket.Update(ctx, g.Job, value, old.Revision, progressKept)
		}
		if !errors.Is(err, store.ErrExists) && !errors.Is(err, store.ErrConflict) {
			return err
		}
	}
}
