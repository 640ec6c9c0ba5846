package eventstore_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"verbatim/eventstore"
)

// recordedLine is recorded() as it stands in a file.
const recordedLine = `{"position":4711,"stream":"conversation-0192f7a8-c1d2-7e5f-8a9b-0c1d2e3f4a5b","version":12,` +
	`"id":"0192f7a8-c1d2-7e5f-8a9b-0123456789ab","type":"conversation.message_edited","schema":2,` +
	`"time":"2019-06-14T08:07:44.789012Z","account":"default",` +
	`"data":{"message_id":"1","text":"Hodor & \"<Hodor>\"","by":{"id":"ü"}},"metadata":{"actor":"key:1","correlation":"r"}}`

func TestLine(t *testing.T) {
	t.Parallel()
	r := recorded()
	b, err := eventstore.AppendLine([]byte("before "), &r)
	if err != nil || string(b) != "before "+recordedLine {
		t.Errorf("the line is\n%s, %v; want\n%s", b, err, recordedLine)
	}
	got, err := eventstore.ParseLine([]byte(recordedLine))
	if err != nil {
		t.Fatal(err)
	}
	r.Digest = [32]byte{} // not part of a line
	if diff := cmp.Diff(r, got); diff != "" {
		t.Errorf("parsed (-want +got):\n%s", diff)
	}
}

// TestLineSpellings: what means the same is the same event, also in its bytes.
func TestLineSpellings(t *testing.T) {
	t.Parallel()
	want, err := eventstore.ParseLine([]byte(recordedLine))
	if err != nil {
		t.Fatal(err)
	}
	for name, line := range map[string]string{
		"white space around it":   "\t " + recordedLine + " \r\n",
		"white space in it":       strings.NewReplacer(`{"`, "{ \"", `":`, "\" :\t", `}`, "\n}").Replace(recordedLine),
		"another zone":            strings.Replace(recordedLine, "08:07:44.789012Z", "10:07:44.789012+02:00", 1),
		"nanoseconds":             strings.Replace(recordedLine, "44.789012Z", "44.789012999Z", 1),
		"an id in capitals":       strings.Replace(recordedLine, "0123456789ab", "0123456789AB", 1),
		"members in other places": `{"metadata":{"actor":"key:1","correlation":"r"},` + strings.Replace(recordedLine[1:], `,"metadata":{"actor":"key:1","correlation":"r"}`, "", 1),
	} {
		got, err := eventstore.ParseLine([]byte(line))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	// Of the values themselves nothing is changed.
	odd := strings.Replace(recordedLine, `"1"`, `"\u003c\/\ud83d\ude00",   "n":1.0,"m":1e2,"n":[ ]`, 1)
	got, err := eventstore.ParseLine([]byte(odd))
	if err != nil || !bytes.HasPrefix(got.Data, []byte(`{"message_id":"\u003c\/\ud83d\ude00","n":1.0,"m":1e2,"n":[],`)) {
		t.Errorf("%s, %v", got.Data, err)
	}
	// Without metadata it has none, which is an empty object.
	none, err := eventstore.ParseLine([]byte(strings.Replace(recordedLine, `,"metadata":{"actor":"key:1","correlation":"r"}`, "", 1)))
	if err != nil || string(none.Metadata) != "{}" {
		t.Errorf("metadata is %s, %v; want {}", none.Metadata, err)
	}
}

func TestParseLineRefuses(t *testing.T) {
	t.Parallel()
	change := func(old, other string) string {
		t.Helper()
		if strings.Count(recordedLine, old) != 1 {
			t.Fatalf("%s stands %d times in the line", old, strings.Count(recordedLine, old))
		}
		return strings.Replace(recordedLine, old, other, 1)
	}
	for _, tt := range []struct{ line, want string }{
		{``, "is not a recorded event"},
		{`null`, "position"},
		{`[]`, "is not a recorded event"},
		{`"event"`, "is not a recorded event"},
		{`{}`, "position"},
		{recordedLine[:len(recordedLine)-1], "is not a recorded event"},
		{recordedLine + "}", "behind the event"},
		{recordedLine + recordedLine, "behind the event"},
		{recordedLine + ",", "behind the event"},
		{change(`"schema"`, `"shema"`), `"shema"`},
		{change(`"account":"default"`, `"account":"default","extra":1`), `"extra"`},
		{change(`4711`, `0`), "position must be 1 or more"},
		{change(`4711`, `-1`), "position must be 1 or more"},
		{change(`4711`, `1.5`), "position"},
		{change(`4711`, `"1"`), "position"},
		{change(`4711`, `9223372036854775808`), "position"},
		{change(`"version":12`, `"version":0`), "version must be 1 or more"},
		{change(`"schema":2`, `"schema":0`), "schema must be 1 or more"},
		{change(`"conversation-0192f7a8-c1d2-7e5f-8a9b-0c1d2e3f4a5b"`, `""`), "stream must be"},
		{change(`"conversation-0192f7a8-c1d2-7e5f-8a9b-0c1d2e3f4a5b"`, `"conversation-1"`), "stream must be"},
		{change(`"conversation-0192f7a8-c1d2-7e5f-8a9b-0c1d2e3f4a5b"`, `"conversation-{0192f7a8-c1d2-7e5f-8a9b-0c1d2e3f4a5b}"`), "stream must be"},
		{change(`"0192f7a8-c1d2-7e5f-8a9b-0123456789ab"`, `""`), "is not a recorded event"},
		{change(`"0192f7a8-c1d2-7e5f-8a9b-0123456789ab"`, `null`), "id must be a UUID"},
		{change(`"0192f7a8-c1d2-7e5f-8a9b-0123456789ab"`, `"00000000-0000-0000-0000-000000000000"`), "id must be a UUID"},
		{change(`"0192f7a8-c1d2-7e5f-8a9b-0123456789ab"`, `"0192f7a8"`), "UUID"},
		{change(`"conversation.message_edited"`, `""`), "type must not be empty"},
		{change(`"default"`, `""`), "account must not be empty"},
		{change(`"default"`, `7`), "account"},
		{change(`"2019-06-14T08:07:44.789012Z"`, `null`), "time must not be empty"},
		{change(`"2019-06-14T08:07:44.789012Z"`, `"0001-01-01T00:00:00.0000009Z"`), "time must not be empty"},
		{change(`"2019-06-14T08:07:44.789012Z"`, `"14.6.2019"`), "time"},
		{change(`"2019-06-14T08:07:44.789012Z"`, `"2019-06-14T08:07:44"`), "time"},
		{change(`"2019-06-14T08:07:44.789012Z"`, `"9999-12-31T23:59:59-01:00"`), "time must be in the years 0 to 9999"},
		{change(`"2019-06-14T08:07:44.789012Z"`, `"0000-01-01T00:00:00+01:00"`), "time must be in the years 0 to 9999"},
		{change(`{"message_id":"1","text":"Hodor & \"<Hodor>\"","by":{"id":"ü"}}`, `null`), "data must be an object"},
		{change(`{"message_id":"1","text":"Hodor & \"<Hodor>\"","by":{"id":"ü"}}`, `[{}]`), "data must be an object"},
		{change(`{"message_id":"1","text":"Hodor & \"<Hodor>\"","by":{"id":"ü"}}`, `"{}"`), "data must be an object"},
		{change(`"data"`, `"metadata"`), "data must be an object"},
		{change(`{"actor":"key:1","correlation":"r"}`, `null`), "metadata must be an object"},
		{change(`{"actor":"key:1","correlation":"r"}`, `["a"]`), "metadata must be an object"},
		{change(`ü`, "\xfc"), "UTF-8"},
	} {
		r, err := eventstore.ParseLine([]byte(tt.line))
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s\n\tgives %v; want an error that says %q", tt.line, err, tt.want)
		}
		if diff := cmp.Diff(eventstore.Recorded{}, r); diff != "" {
			t.Errorf("%s\n\tgives an event beside its error", tt.line)
		}
	}
}

func TestAppendLineRefuses(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(r *eventstore.Recorded){
		"data that are no JSON":     func(r *eventstore.Recorded) { r.Data = []byte(`{"a":`) },
		"metadata that are no JSON": func(r *eventstore.Recorded) { r.Metadata = []byte(`x`) },
		"a year that has no name":   func(r *eventstore.Recorded) { r.Time = time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC) },
	} {
		r := recorded()
		change(&r)
		b, err := eventstore.AppendLine([]byte("before"), &r)
		if err == nil || !strings.Contains(err.Error(), "position 4711") || string(b) != "before" {
			t.Errorf("%s: %q, %v; want an error that says where, and nothing appended", name, b, err)
		}
	}
}

func FuzzParseLine(f *testing.F) {
	f.Add([]byte(recordedLine))
	f.Add([]byte(`{"position":1,"stream":"contact-0192f7a8-c1d2-7e5f-8a9b-0c1d2e3f4a5b","version":1,` +
		`"id":"0192f7a8-c1d2-7e5f-8a9b-0123456789ab","type":"t","schema":1,"time":"9999-12-31T23:59:59.999999999Z","account":"a","data":{ }}`))
	f.Add([]byte(`{"POSITION":1,"data":{"a":[[[{"b":null}]]]},"metadata":{"a":1}} x`))
	f.Add([]byte("\xff"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := eventstore.ParseLine(data)
		if err != nil {
			return
		}
		line, err := eventstore.AppendLine(nil, &r)
		if err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
		if bytes.IndexByte(line, '\n') >= 0 || !json.Valid(line) {
			t.Fatalf("not a line of JSON: %q", line)
		}
		again, err := eventstore.ParseLine(line)
		if err != nil {
			t.Fatalf("what was written cannot be read: %v\n%s", err, line)
		}
		if diff := cmp.Diff(r, again); diff != "" {
			t.Fatalf("it came back as another (-want +got):\n%s", diff)
		}
		if kind, id := eventstore.SplitStream(r.Stream); kind == "" || uuid.Validate(id) != nil {
			t.Fatalf("%q is no stream", r.Stream)
		}
	})
}

// TestErasedLine: what was appended is not there any more, so that its digest is
// part of the line.
func TestErasedLine(t *testing.T) {
	t.Parallel()
	r := recorded()
	r.Data = []byte(`{"left":1}`)
	r.Remains = &eventstore.Remains{Schema: 3, Digest: eventstore.Digest(r.Data)}
	b, err := eventstore.AppendLine(nil, &r)
	mark := `,"erased":{"schema":3,"digest":"` + hex.EncodeToString(r.Digest[:]) + `"}}`
	if err != nil || !strings.HasSuffix(string(b), mark) {
		t.Fatalf("the line is %s, %v; want %s at the end", b, err, mark)
	}
	got, err := eventstore.ParseLine(b)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(r, got); diff != "" {
		t.Errorf("parsed (-want +got):\n%s", diff)
	}
	digest := hex.EncodeToString(r.Digest[:])
	for name, wrong := range map[string]string{
		"no schema":          `{"digest":"` + digest + `"}`,
		"a schema below one": `{"schema":0,"digest":"` + digest + `"}`,
		"no digest":          `{"schema":1}`,
		"a short digest":     `{"schema":1,"digest":"` + digest[2:] + `"}`,
		"a long digest":      `{"schema":1,"digest":"` + digest + `00"}`,
		"no digits":          `{"schema":1,"digest":"` + strings.Repeat("x", 64) + `"}`,
		"capitals":           `{"schema":1,"digest":"` + strings.Repeat("A", 64) + `"}`,
		"more than it takes": `{"schema":1,"digest":"` + digest + `","x":1}`,
	} {
		if _, err := eventstore.ParseLine([]byte(strings.Replace(string(b), mark, `,"erased":`+wrong+"}", 1))); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
