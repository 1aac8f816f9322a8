package rules

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

// timeFunctions read and write times. What time it is is none of them: the
// same job must give the same requests whenever it is tried again, so that
// job.received is all the time there is.
func timeFunctions() []cel.EnvOption {
	return []cel.EnvOption{
		global("time.parse", cel.TimestampType, parseTime, cel.DynType),
		global("time.format", cel.StringType, formatTime, cel.TimestampType, cel.StringType),
		global("time.millis", cel.IntType, func(args []ref.Val) (any, error) {
			at, _ := args[0].(types.Timestamp)
			return at.UnixMilli(), nil
		}, cel.TimestampType),
	}
}

// layouts are the forms of times in Atlassian's events and answers: RFC 3339,
// Jira's zones without a colon, Confluence and Bitbucket with fractions, which
// time.Parse takes anyway, and dates.
var layouts = []string{time.RFC3339, "2006-01-02T15:04:05Z0700", "2006-01-02T15:04Z07:00", "2006-01-02"}

// Bounds of CEL's timestamps, seconds since 1970: the years 1 to 9999.
const minSeconds, maxSeconds = -62135596800, 253402300799

// parseTime reads a time: text in one of the forms of Atlassian's APIs, or
// milliseconds since 1970, as a number or as text.
func parseTime(args []ref.Val) (any, error) {
	var millis int64
	switch v := args[0].(type) {
	case types.Timestamp:
		return v.Time, nil
	case types.Int:
		millis = int64(v)
	case types.String:
		text := string(v)
		for _, layout := range layouts {
			if at, err := time.Parse(layout, text); err == nil && at.Year() >= 1 && at.Year() <= 9999 {
				return at.UTC(), nil
			}
		}
		var err error
		if millis, err = strconv.ParseInt(text, 10, 64); err != nil {
			return nil, fmt.Errorf("%q is no time", shorten(text))
		}
	default:
		return nil, fmt.Errorf("time.parse of a value of type %s, want a string or milliseconds", typeName(args[0]))
	}
	if at := time.UnixMilli(millis).UTC(); at.Unix() >= minSeconds && at.Unix() <= maxSeconds {
		return at, nil
	}
	return nil, fmt.Errorf("%d milliseconds are no time from year 1 to 9999", millis)
}

// directives are those of strftime that name one thing each.
var directives = map[byte]string{
	'Y': "2006", 'm': "01", 'd': "02", 'H': "15", 'M': "04", 'S': "05", 'L': ".000", 'a': "Mon", 'b': "Jan", 'j': "002",
}

// formatTime writes a time in UTC in a form like %Y-%m-%d.
func formatTime(args []ref.Val) (any, error) {
	at, _ := args[0].(types.Timestamp)
	form := str(args[1])
	if len(form) > 256 {
		return nil, fmt.Errorf("the form of a time is longer than 256 bytes")
	}
	var out strings.Builder
	for i := 0; i < len(form); i++ {
		if form[i] != '%' {
			out.WriteByte(form[i])
			continue
		}
		i++
		switch {
		case i < len(form) && form[i] == '%':
			out.WriteByte('%')
		case i < len(form) && form[i] == 's':
			out.WriteString(strconv.FormatInt(at.Unix(), 10))
		case i < len(form) && directives[form[i]] != "":
			out.WriteString(strings.TrimPrefix(at.UTC().Format(directives[form[i]]), "."))
		default:
			return nil, fmt.Errorf("the form %q has a %% that is not one of %%Y %%m %%d %%H %%M %%S %%L %%a %%b %%j %%s %%%%", shorten(form))
		}
	}
	return out.String(), nil
}
