package clarityflow

import (
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"time"

	"verbatim/domain"
)

// given returns what is said to this format alone: the values that it would
// otherwise derive. A value of another type than the format has is as good as
// none.
func given(a domain.Attributes) domain.Attributes { return a.Object("clarityflow") }

// whole returns the whole number, not negative, that a JSON value is.
func whole(v json.RawMessage) (int64, bool) {
	n, err := strconv.ParseInt(string(v), 10, 64)
	return n, err == nil && n >= 0
}

// wholeOr returns the whole number under key, or otherwise.
func wholeOr(a domain.Attributes, key string, otherwise int64) int64 {
	if n, ok := whole(a.Get(key)); ok {
		return n
	}
	return otherwise
}

// seconds returns a number of seconds as a whole one.
func seconds(v json.RawMessage) (int64, bool) {
	const most = 1 << 53 // beyond, numbers of JSON are not exact
	f, err := strconv.ParseFloat(string(v), 64)
	if err != nil || !(f >= 0 && f < most) {
		return 0, false
	}
	return int64(math.Round(f)), true
}

// timeOr returns the time under key, written as the format writes it or as in
// RFC 3339, or otherwise.
func timeOr(a domain.Attributes, key string, otherwise time.Time) time.Time {
	s := a.String(key)
	if s == "" {
		return otherwise
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		n, err := strconv.ParseInt(s[strings.LastIndexByte(s, ':')+1:], 10, 64)
		if t = time.Unix(n, 0); err != nil || string(appendSlipped(nil, t)) != `"`+s+`"` {
			return otherwise
		}
	}
	if year := t.UTC().Year(); year < 0 || year > 9999 {
		return otherwise
	}
	return t
}

// appendSlipped appends t as Clarityflow writes the times within a payload: in
// UTC, with the seconds since 1970 where those of the minute should stand
// ("%s" for "%S"), "2022-04-01 14:23:1648823039". A receiver that parses the
// string expects that.
func appendSlipped(dst []byte, t time.Time) []byte {
	dst = t.UTC().AppendFormat(dst, `"2006-01-02 15:04:`)
	dst = strconv.AppendInt(dst, t.Unix(), 10)
	return append(dst, '"')
}
