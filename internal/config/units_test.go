package config_test

import (
	"testing"
	"time"

	"bellows/internal/config"
)

func TestDurations(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"30s": 30 * time.Second, "1h30m": 90 * time.Minute, "7d": 168 * time.Hour, "250ms": 250 * time.Millisecond,
		"": 0, "30": 0, "s": 0, "d": 0, "-1s": 0, "0s": 0, "0d": 0, "-1d": 0, "1.5d": 0, "1h1d": 0, "99999d": 0, "1 h": 0,
	} {
		got, err := config.ParseDuration(text)
		if got != want || (err != nil) != (want == 0) {
			t.Errorf("%q: got %v, %v, want %v", text, got, err, want)
		}
	}
}

func TestSizes(t *testing.T) {
	for text, want := range map[string]int64{
		"25MiB": 25 << 20, "500kB": 500_000, "4096": 4096, "1 GiB": 1 << 30, "2KB": 2000, "3MB": 3e6, "1GB": 1e9, "7B": 7, "64KiB": 64 << 10,
		"": 0, "MiB": 0, "0": 0, "-1": 0, "+1": 0, "1.5MiB": 0, "1TiB": 0, "99999999999GiB": 0, "1mib": 0,
	} {
		got, err := config.ParseSize(text)
		if got != want || (err != nil) != (want == 0) {
			t.Errorf("%q: got %v, %v, want %v", text, got, err, want)
		}
	}
}
