package config

import (
	"errors"
	"math"
	"strconv"
	"strings"
	"time"
)

// ParseDuration reads a positive time like "30s", "1h30m" or "7d". The units
// are those of [time.ParseDuration] and d, a day of 24 hours, which stands
// alone.
func ParseDuration(text string) (time.Duration, error) {
	wrong := errors.New("want a time above zero, like 30s, 1h30m or 7d")
	d, err := time.ParseDuration(text)
	if digits, isDays := strings.CutSuffix(text, "d"); isDays {
		var days uint64
		days, err = strconv.ParseUint(digits, 10, 16) // 179 years at most
		d = time.Duration(days) * 24 * time.Hour
	}
	if err != nil || d <= 0 {
		return 0, wrong
	}
	return d, nil
}

// sizeUnits are the units of ParseSize; no suffix is bytes.
var sizeUnits = []struct {
	suffix string
	bytes  int64
}{
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30},
	{"kB", 1e3}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"B", 1}, {"", 1},
}

// ParseSize reads a positive number of bytes like "25MiB", "500kB" or "4096".
func ParseSize(text string) (int64, error) {
	for _, unit := range sizeUnits {
		digits, has := strings.CutSuffix(text, unit.suffix)
		if !has {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSpace(digits), 10, 64)
		if err != nil || n <= 0 || digits[0] == '+' || n > math.MaxInt64/unit.bytes {
			break
		}
		return n * unit.bytes, nil
	}
	return 0, errors.New("want a size above zero, like 25MiB, 500kB or 4096")
}
