package tests_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"verbatim/domain"
	"verbatim/domain/contact"
	"verbatim/domain/conversation"
	"verbatim/eventstore"
	"verbatim/webhooks"
)

// TestFixturesAreOfNobody records every conversation of every fixture and looks
// for anybody who was in it: nothing that somebody was called, wrote or had is
// left. What happened is the same, it can be imported, and every dialect has the
// same bodies to render.
func TestFixturesAreOfNobody(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("fixtures/*.ndjson")
	if err != nil || len(files) < 7 {
		t.Fatalf("%d fixtures, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			database := imported(t, file)
			source := recordedLines(t, run(t, "export", "-database", database, "-"))
			for _, r := range source {
				if r.Type == "conversation.created" {
					recordedAs(t, database, source, r)
				}
			}
		})
	}
}

func recordedAs(t *testing.T, database string, source []eventstore.Recorded, created eventstore.Recorded) {
	t.Helper()
	_, id := eventstore.SplitStream(created.Stream)
	args := []string{"fixtures", "record", "-database", database, "-conversation", id}
	seeded := run(t, append(args, "-seed", "winter")...)
	if again := run(t, append(args, "-seed", "winter")...); again != seeded {
		t.Errorf("%s: one seed makes two fixtures", id)
	}
	drawn := run(t, args...)
	if drawn == seeded || drawn == run(t, args...) {
		t.Errorf("%s: without a seed the pseudonyms are the same", id)
	}

	var was conversation.Created
	decodeInto(t, created.Data, &was)
	contacts := eventstore.StreamName("contact", webhooks.AsUUID(was.Customer.ID))
	var events []eventstore.Recorded
	for _, r := range source {
		if r.Stream == created.Stream || r.Stream == contacts {
			events = append(events, r)
		}
	}
	got := recordedLines(t, seeded)
	if len(got) != len(events) {
		t.Fatalf("%s: %d events, want %d", id, len(got), len(events))
	}
	for i := range got {
		kind, _ := eventstore.SplitStream(got[i].Stream)
		if got[i].Type != events[i].Type || got[i].Version != events[i].Version || got[i].Position != int64(i)+1 ||
			!strings.HasPrefix(events[i].Stream, kind) || got[i].Time.Sub(got[0].Time) != events[i].Time.Sub(events[0].Time) ||
			len(got[i].Metadata) > 2 != (len(events[i].Metadata) > 2) || keysOf(t, got[i].Data) != keysOf(t, events[i].Data) {
			t.Errorf("%s: event %d is %s, version %d, with\n%s\nand was %s, version %d, with\n%s",
				id, i+1, got[i].Type, got[i].Version, got[i].Data, events[i].Type, events[i].Version, events[i].Data)
		}
	}
	var left []string
	seen := wordsOf(t, got)
	for word := range wordsOf(t, events) {
		if seen[word] && !allowed(word) {
			left = append(left, word)
		}
	}
	if len(left) > 0 {
		t.Errorf("%s: left of it are %q", id, left)
	}

	// The customer is the contact that was made of them.
	var now conversation.Created
	var profile contact.Created
	for _, r := range got {
		switch r.Type {
		case "conversation.created":
			decodeInto(t, r.Data, &now)
		case "contact.created":
			decodeInto(t, r.Data, &profile)
			if want := eventstore.StreamName("contact", webhooks.AsUUID(profile.Profile.ID)); r.Stream != want {
				t.Errorf("%s: the contact is %s; its person makes it %s", id, r.Stream, want)
			}
		}
	}
	if profile.Profile.ID != "" && now.Customer.ID != profile.Profile.ID {
		t.Errorf("%s: the customer is %s and their contact %s", id, now.Customer.ID, profile.Profile.ID)
	}

	file := filepath.Join(t.TempDir(), "recorded.ndjson.zst")
	run(t, append(args, "-seed", "winter", "-out", file)...)
	copied := imported(t, file)
	if out := run(t, "export", "-database", copied, "-"); out != seeded {
		t.Errorf("%s: imported, it is another", id)
	}
	for _, d := range dialects(t) {
		bodies := strings.Count(rebuilt(t, copied, d), "\n")
		want := 0
		for line := range strings.Lines(rebuilt(t, database, d)) {
			p := positionOf(t, line)
			if s := source[p-1].Stream; s == created.Stream || s == contacts {
				want++
			}
		}
		if bodies != want {
			t.Errorf("%s: %d bodies of %s, want %d", id, bodies, d.Name(), want)
		}
	}
}

// TestRecordBesideAServer records what was said a moment ago, by somebody whose
// id is not a UUID, and is told of what is not there.
func TestRecordBesideAServer(t *testing.T) {
	t.Parallel()
	folder := filepath.Join(t.TempDir(), "data")
	s := startServer(t, folder)
	var created struct{ ID string }
	s.call("POST", "/v1/conversations", s.key, `{"customer":{"id":"visitor-4711","name":"Arya Stark"},"message":{"text":"Valar morghulis"}}`, &created)
	database := "sqlite:" + folder
	out := run(t, "fixtures", "record", "-database", database, "-conversation", created.ID)
	if strings.Contains(out, "Arya") || strings.Contains(out, "4711") || strings.Contains(out, "morghulis") || strings.Contains(out, created.ID) {
		t.Errorf("recorded\n%s", out)
	}
	file := filepath.Join(t.TempDir(), "recorded.ndjson")
	if r := runCommand(t, "", "fixtures", "record", "--json", "-database", database, "-conversation", created.ID, "-out", file); r.code != 0 || r.out != `{"recorded":3}`+"\n" {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.errors)
	}
	if _, err := os.Stat(file); err != nil {
		t.Error(err)
	}
	for _, test := range []struct {
		args []string
		code int
	}{
		{[]string{"fixtures"}, 2},
		{[]string{"fixtures", "play"}, 2},
		{[]string{"fixtures", "record", "-database", database}, 2},
		{[]string{"fixtures", "record", "-database", database, "-conversation", "x"}, 2},
		{[]string{"fixtures", "record", "-database", database, "-conversation", newID(t)}, 1},
		{[]string{"fixtures", "record", "-database", database + "/nothing", "-conversation", created.ID}, 1},
	} {
		if r := runCommand(t, "", test.args...); r.code != test.code || r.out != "" || r.errors == "" {
			t.Errorf("%v: exit %d, want %d: %s%s", test.args, r.code, test.code, r.out, r.errors)
		}
	}
}

func recordedLines(t *testing.T, text string) []eventstore.Recorded {
	t.Helper()
	var all []eventstore.Recorded
	for line := range strings.Lines(text) {
		r, err := eventstore.ParseLine([]byte(line))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
	}
	return all
}

func decodeInto(t *testing.T, data []byte, v any) {
	t.Helper()
	if err := json.Unmarshal(data, v); err != nil {
		t.Fatal(err)
	}
}

// wordsOf returns every word of some length that is in a value: in what an event
// says, in who asked for it, and in what it is called. Short ones, and the parts
// of UUIDs, are the same by chance.
func wordsOf(t *testing.T, events []eventstore.Recorded) map[string]bool {
	t.Helper()
	words := make(map[string]bool)
	add := func(s string) {
		for word := range strings.FieldsFuncSeq(s, func(c rune) bool { return !unicode.IsLetter(c) && !unicode.IsDigit(c) }) {
			word = strings.ToLower(word)
			if n := utf8.RuneCountInString(word); n > 4 || n == 4 && strings.Trim(word, "0123456789abcdef") != "" {
				words[word] = true
			}
		}
	}
	for _, r := range events {
		eachValue(t, r.Data, add)
		eachValue(t, r.Metadata, add)
		add(r.Stream)
		add(r.ID.String())
	}
	return words
}

// eachValue hands over every value of a JSON document, not the keys.
func eachValue(t *testing.T, data []byte, to func(string)) {
	t.Helper()
	var v any
	decodeInto(t, data, &v)
	var walk func(any)
	walk = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			for key, inner := range v {
				// Keys of attributes stay, and how large a file is.
				s, _ := inner.(string)
				if key == "key" && strings.HasPrefix(s, "attributes.") || key == "size" || key == "width" || key == "height" {
					continue
				}
				walk(inner)
			}
		case []any:
			for _, inner := range v {
				walk(inner)
			}
		case string:
			to(v)
		case float64:
			to(fmt.Sprint(int64(v)))
		}
	}
	walk(v)
}

// allowed reports whether a word is one of our own, or the name of a program or a
// kind of file: it is of nobody.
func allowed(word string) bool {
	const ours = " customer agent system open pending snoozed resolved closed high medium urgent explicit expired message left default " +
		"appointment_scheduled appointment scheduled product_purchased product purchased form_submitted form submitted task_completed task completed " +
		"customer_message solved email phone whatsapp text html image video audio file jpeg mpeg webm application input_select input select cards " +
		"firefox chrome safari opera edge linux windows android https http example key " +
		"subject priority labels team name first_name last_name first last avatar identifier avatar_url deliveries typing 1280x720 " +
		"conversation import article csat quicktime octet stream json word msword plain location contact widget "
	return strings.Contains(ours, " "+word+" ")
}

// keysOf returns the keys of a JSON document, in order, and of a change what it
// is of.
func keysOf(t *testing.T, data []byte) string {
	t.Helper()
	switch data[0] {
	case '{':
		var all domain.Attributes
		decodeInto(t, data, &all)
		var b strings.Builder
		for _, at := range all {
			fmt.Fprintf(&b, "%s:%s,", at.Key, keysOf(t, at.Value))
			if at.Key == "key" {
				b.Write(at.Value)
			}
		}
		return "{" + b.String() + "}"
	case '[':
		var all []json.RawMessage
		decodeInto(t, data, &all)
		var b strings.Builder
		for _, v := range all {
			b.WriteString(keysOf(t, v) + ",")
		}
		return "[" + b.String() + "]"
	default:
		return string(data[0] & 0x60) // a kind of value: numbers are alike
	}
}
