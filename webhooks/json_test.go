package webhooks_test

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"verbatim/domain"
	"verbatim/webhooks"
)

// encodingJSON is what encoding/json makes of s.
func encodingJSON(t *testing.T, s string, escapeHTML bool) string {
	t.Helper()
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(escapeHTML)
	if err := enc.Encode(s); err != nil {
		t.Fatal(err)
	}
	return strings.TrimSuffix(buf.String(), "\n")
}

// stringified is what JSON.stringify makes of s: what encoding/json does, but for
// the two line ends that it leaves as they are.
func stringified(t *testing.T, s string) string {
	t.Helper()
	for _, line := range []string{"\u2028", "\u2029"} {
		if before, after, found := strings.Cut(s, line); found {
			return strings.TrimSuffix(stringified(t, before), `"`) + line + strings.TrimPrefix(stringified(t, after), `"`)
		}
	}
	return encodingJSON(t, s, false)
}

// checkString holds the three ways to escape a string against encoding/json, and
// reads what they wrote again.
func checkString(t *testing.T, s string) {
	t.Helper()
	for _, way := range []struct {
		name   string
		append func([]byte, string) []byte
		want   string
	}{
		{"AppendString", webhooks.AppendString, encodingJSON(t, s, false)},
		{"AppendStringHTML", webhooks.AppendStringHTML, encodingJSON(t, s, true)},
		{"AppendStringPlain", webhooks.AppendStringPlain, stringified(t, s)},
	} {
		got := string(way.append([]byte("x"), s))
		if got != "x"+way.want {
			t.Errorf("%s: %q: got %s, want x%s", way.name, s, got, way.want)
		}
		if !utf8.ValidString(got) {
			t.Errorf("%s: %q: not UTF-8: %q", way.name, s, got)
		}
		var back string
		if err := json.Unmarshal([]byte(got[1:]), &back); err != nil || back != string([]rune(s)) {
			t.Errorf("%s: %q: reads as %q, %v", way.name, s, back, err)
		}
	}
}

func TestAppendString(t *testing.T) {
	t.Parallel()
	for _, s := range []string{
		"", "plain", `"\/`, "\b\f\n\r\t", "\x00\x01\x1f\x7f", "<b>&</b>", "ä€😀", "\u2028\u2029\u2027\u202a",
		"\\u2028", "a\u2028\u2029\u2028b", "\xe2\u2028\x80", "\xff", "a\xc3", "\xe2\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\ufffd", "x\xffy\"z\n\u2028",
	} {
		checkString(t, s)
	}
	for c := range 256 {
		checkString(t, string([]byte{'a', byte(c), 'b'}))
	}
	for r := range rune(0x10ffff) {
		if r%7 == 0 || r < 0x3000 {
			checkString(t, string(r))
		}
	}
}

// TestAppendStringEverywhere puts every byte at every place of a string that is
// looked at by the piece.
func TestAppendStringEverywhere(t *testing.T) {
	t.Parallel()
	const around = "abcdefghijklmnopqrst"
	for at := range around {
		for c := range 256 {
			checkString(t, around[:at]+string([]byte{byte(c)})+around[at:])
			checkString(t, around[:at]+string([]byte{byte(c), byte(c), ' '})+around[at:])
		}
		checkString(t, around[:at]+"\u2028 é 😀"+around[at:])
	}
}

func FuzzAppendString(f *testing.F) {
	for _, s := range []string{"", "a\xffb", "\u2028", "\"\\\x00", "<é>", "\xf0\x9f\x98"} {
		f.Add(s)
	}
	f.Fuzz(checkString)
}

// checkRawHTML holds AppendRawHTML of a JSON value against encoding/json, and
// reads what it wrote again.
func checkRawHTML(t *testing.T, raw string) {
	t.Helper()
	got := webhooks.AppendRawHTML([]byte("<"), json.RawMessage(raw))
	var want bytes.Buffer
	json.HTMLEscape(&want, []byte(raw))
	if got := string(got); got != "<"+want.String() {
		t.Errorf("%q: got %s, want <%s", raw, got, &want)
	}
	if bytes.ContainsAny(got[1:], "<>&\u2028\u2029") {
		t.Errorf("%q: %s is not escaped", raw, got)
	}
	var before, after any
	if json.Unmarshal([]byte(raw), &before) != nil {
		return // only what is JSON can be read again
	}
	if err := json.Unmarshal(got[1:], &after); err != nil {
		t.Errorf("%q: %v in %s", raw, err, got)
	}
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("%q: %s", raw, diff)
	}
}

func TestAppendRawHTML(t *testing.T) {
	t.Parallel()
	for _, raw := range []string{
		`null`, `true`, `-1.5e3`, `""`, `"plain"`, `[]`, `{"a":{"b":[1,"c"]}}`, `"<b>&</b>"`, `{"<k>":"&","l":["\u003c","\\u003c"]}`,
		"\"\u2028\"", "{\"\u2029\":\"ä€😀\"}", `"\"<\""`,
	} {
		checkRawHTML(t, raw)
	}
	for _, c := range []struct{ raw, want string }{
		{"", "null"},
		{"\"a\xff<\xe2\x80\"", `"a` + "\ufffd" + `\u003c` + "\ufffd" + `"`},
	} {
		got := webhooks.AppendRawHTML(nil, json.RawMessage(c.raw))
		if string(got) != c.want || !json.Valid(got) {
			t.Errorf("%q: got %s, want %s", c.raw, got, c.want)
		}
	}
}

func FuzzAppendRawHTML(f *testing.F) {
	for _, s := range []string{`{"a":"<&>"}`, "\"\u2028\"", `[1,"\u0026"]`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		if !utf8.ValidString(raw) || !json.Valid([]byte(raw)) {
			if got := webhooks.AppendRawHTML(nil, json.RawMessage(raw)); !utf8.Valid(got) {
				t.Errorf("%q: not UTF-8: %q", raw, got)
			}
			return
		}
		checkRawHTML(t, raw)
	})
}

func TestAppendAttributesIsValidWhateverTheyHold(t *testing.T) {
	t.Parallel()
	got := webhooks.AppendAttributes(nil, domain.Attributes{
		{Key: "a\xff\"", Value: json.RawMessage("{\"k\":\"v\xff\"}")}, {Key: "b", Value: nil}, {Key: "c", Value: json.RawMessage(`[1, 2]`)},
	})
	if want := `{"a\ufffd\"":{"k":"v` + "\ufffd" + `"},"b":null,"c":[1, 2]}`; string(got) != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if !utf8.Valid(got) || !json.Valid(got) {
		t.Errorf("%q", got)
	}
	if got := string(webhooks.AppendAttributes(nil, nil)); got != "{}" {
		t.Errorf("got %s", got)
	}
}

func TestAppendMillis(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ in, want string }{
		{"2019-06-14T08:07:44.789Z", `"2019-06-14T08:07:44.789Z"`},
		{"2019-06-14T10:07:44.789999+02:00", `"2019-06-14T08:07:44.789Z"`},
		{"2019-06-14T08:07:44Z", `"2019-06-14T08:07:44.000Z"`},
	} {
		at, err := time.Parse(time.RFC3339Nano, c.in)
		if err != nil {
			t.Fatal(err)
		}
		if got := string(webhooks.AppendMillis(nil, at)); got != c.want {
			t.Errorf("%s: got %s", c.in, got)
		}
	}
	draw := rand.New(rand.NewPCG(1, 2))
	for range 10_000 {
		// From some 290 years before the first year to as many behind the last one of four digits.
		at := time.Unix(-71_300_000_000+draw.Int64N(333_900_000_000), draw.Int64N(1_000_000_000))
		if got, want := string(webhooks.AppendMillis(nil, at)), at.UTC().Format(`"2006-01-02T15:04:05.000Z"`); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestAppendUUID(t *testing.T) {
	t.Parallel()
	for range 100 {
		id := uuid.New()
		if got := string(webhooks.AppendUUID([]byte("a"), id)); got != "a"+id.String() {
			t.Errorf("%s: got %s", id, got)
		}
	}
}

func TestAsUUID(t *testing.T) {
	t.Parallel()
	const id = "5B1E7A0E-3f5e-4a52-9a3c-0c1f0a6c7d01"
	if got := webhooks.AsUUID(id); got != id {
		t.Errorf("a UUID stays as it is; got %s", got)
	}
	seen := map[string]string{}
	for _, s := range []string{"", "cust-1", "5b1e7a0e3f5e4a529a3c0c1f0a6c7d01", "{" + id + "}", "urn:uuid:" + id, strings.Repeat("x", 36), "ü"} {
		got := webhooks.AsUUID(s)
		if u, err := uuid.Parse(got); err != nil || u.Version() != 5 || len(got) != 36 {
			t.Errorf("%q: %s is no UUIDv5", s, got)
		}
		if webhooks.AsUUID(s) != got || seen[got] != "" {
			t.Errorf("%q: %s is not its own", s, got)
		}
		seen[got] = s + "!"
	}
	if got := webhooks.AsUUID("cust-1"); got != "44d9217e-9ea2-5254-9810-ddc15555a8e8" {
		t.Errorf("the namespace has changed: %s", got)
	}
}

func BenchmarkAppendString(b *testing.B) {
	s := strings.Repeat("The quick brown fox jumps over the \"lazy\" dog. Größe zählt.\n", 4)
	b.Run("ours", func(b *testing.B) {
		b.SetBytes(int64(len(s)))
		b.ReportAllocs()
		var dst []byte
		for b.Loop() {
			dst = webhooks.AppendString(dst[:0], s)
		}
	})
	b.Run("encoding/json", func(b *testing.B) {
		b.SetBytes(int64(len(s)))
		b.ReportAllocs()
		for b.Loop() {
			_, _ = json.Marshal(s)
		}
	})
}
