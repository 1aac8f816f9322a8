package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// The rules of what bellows says to a person:
//
//   - What was asked for goes to stdout; what happens meanwhile, errors and the
//     audit trail go to stderr, with the program's name in front.
//   - Lists are tables with a line of headings; with --json they are one array.
//   - An empty cell is "-". Times in tables are local and short, in JSON they
//     are RFC 3339.
//   - No capitals at the start, no full stop at the end, never a token.

// terminal is the streams of one command.
type terminal struct {
	in       io.Reader
	out, err io.Writer
}

// say tells what happens, on stderr.
func (t terminal) say(format string, args ...any) {
	_, _ = fmt.Fprintf(t.err, "bellows: "+format+"\n", args...)
}

// print writes to stdout. That the reader has gone is no concern of a command.
func (t terminal) print(format string, args ...any) {
	_, _ = fmt.Fprintf(t.out, format, args...)
}

// json writes v to stdout, indented.
func (t terminal) json(v any) error {
	e := json.NewEncoder(t.out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		return fmt.Errorf("writing JSON: %w", err)
	}
	return nil
}

// table is a list for people. Rows come out when it is flushed.
type table struct{ w *tabwriter.Writer }

func (t terminal) table(headings ...string) table {
	out := table{tabwriter.NewWriter(t.out, 0, 8, 2, ' ', 0)}
	out.row(headings...)
	return out
}

func (t table) row(cells ...string) {
	for i, c := range cells {
		cells[i] = cell(c)
	}
	_, _ = fmt.Fprintln(t.w, strings.TrimRight(strings.Join(cells, "\t"), "\t"))
}

func (t table) flush() error { return t.w.Flush() }

// cell keeps a text in its cell and says "-" for nothing.
func cell(text string) string {
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, text)
	if strings.TrimSpace(text) == "" {
		return "-"
	}
	return text
}

// clip cuts text for a table.
func clip(text string, n int) string {
	runes := []rune(text)
	if len(runes) <= n {
		return text
	}
	return string(runes[:n-1]) + "…"
}

// ago tells how long before now something was, in one unit.
func ago(at, now time.Time) string {
	if at.IsZero() {
		return ""
	}
	return span(now.Sub(at)) + " ago"
}

// span tells a length of time in the largest unit that it fills.
func span(d time.Duration) string {
	switch d = d.Round(time.Second); {
	case d < 0:
		return "0s"
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}

// count puts a number before its noun.
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
