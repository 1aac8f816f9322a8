package embedded_test

import (
	"net"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"bellows/internal/embedded"
	"bellows/internal/embedded/embeddedtest"
)

func TestAServerKeepsWhatItAcknowledgedOverARestart(t *testing.T) {
	dir := t.TempDir()
	s := embeddedtest.RunIn(t, dir, -1)
	js, err := embeddedtest.Connect(t, s).JetStream()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.AddStream(&nats.StreamConfig{Name: "S", Subjects: []string{"s.>"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish("s.1", []byte("kept")); err != nil {
		t.Fatal(err)
	}
	s.Shutdown()

	js, err = embeddedtest.Connect(t, embeddedtest.RunIn(t, dir, -1)).JetStream()
	if err != nil {
		t.Fatal(err)
	}
	m, err := js.GetLastMsg("S", "s.1")
	if err != nil || string(m.Data) != "kept" {
		t.Errorf("after the restart: got %v, %v", m, err)
	}
}

func TestAServerWithoutAPortIsReachedInProcess(t *testing.T) {
	s, err := embedded.Start(embedded.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Shutdown()
	if s.URL() != "" {
		t.Errorf("URL: got %q, want none", s.URL())
	}
	nc, err := nats.Connect("", s.InProcess())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if got := nc.MaxPayload(); got != embedded.MaxPayload {
		t.Errorf("MaxPayload: got %d, want %d", got, embedded.MaxPayload)
	}
}

func TestATakenPortIsAnError(t *testing.T) {
	taken := embeddedtest.Run(t)
	u, err := url.Parse(taken.URL())
	if err != nil {
		t.Fatal(err)
	}
	_, p, err := net.SplitHostPort(u.Host)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(p)
	if err != nil {
		t.Fatal(err)
	}
	_, err = embedded.Start(embedded.Options{Dir: t.TempDir(), Port: port})
	if err == nil || !strings.Contains(err.Error(), p) {
		t.Errorf("got %v, want an error that names port %s", err, p)
	}
}
