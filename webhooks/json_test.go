package webhooks_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"verbatim/domain"
	"verbatim/webhooks"
)

// encodingJSON is what encoding/json makes of s when it does not escape HTML.
func encodingJSON(t *testing.T, s string) string {
	t.Helper()
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(s); err != nil {
		t.Fatal(err)
	}
	return strings.TrimSuffix(buf.String(), "\n")
}

func checkString(t *testing.T, s string) {
	t.Helper()
	got := string(webhooks.AppendString([]byte("x"), s))
	if want := "x" + encodingJSON(t, s); got != want {
		t.Errorf("%q: got %s, want %s", s, got, want)
	}
	if !utf8.ValidString(got) {
		t.Errorf("%q: not UTF-8: %q", s, got)
	}
}

func TestAppendString(t *testing.T) {
	t.Parallel()
	for _, s := range []string{
		"", "plain", `"\/`, "\b\f\n\r\t", "\x00\x01\x1f\x7f", "<b>&</b>", "ä€😀", "\u2028\u2029\u2027\u202a",
		"\xff", "a\xc3", "\xe2\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\ufffd", "x\xffy\"z\n\u2028",
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

func FuzzAppendString(f *testing.F) {
	for _, s := range []string{"", "a\xffb", "\u2028", "\"\\\x00", "<é>", "\xf0\x9f\x98"} {
		f.Add(s)
	}
	f.Fuzz(checkString)
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
