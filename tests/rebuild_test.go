package tests_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"verbatim/adapters/sqlite"
	"verbatim/domain"
	"verbatim/domain/contact"
	"verbatim/domain/conversation"
	"verbatim/domain/endpoint"
	"verbatim/eventstore"
	"verbatim/projections"
	"verbatim/webhooks"
	"verbatim/webhooks/dialect"
)

// A seededLog is a log in a folder of its own, filled by import.
type seededLog struct {
	tb       testing.TB
	folder   string
	rows     []eventstore.Recorded
	versions map[string]int64
}

func newSeededLog(tb testing.TB) *seededLog {
	tb.Helper()
	return &seededLog{tb: tb, folder: tb.TempDir(), versions: make(map[string]int64)}
}

// add records an event and returns its position.
func (l *seededLog) add(stream string, e domain.Event) int64 {
	l.tb.Helper()
	name, schema, data, err := eventstore.Catalogue().Encode(e)
	if err != nil {
		l.tb.Fatal(err)
	}
	return l.addRaw(stream, name, schema, data)
}

func (l *seededLog) addRaw(stream, name string, schema int, data []byte) int64 {
	l.tb.Helper()
	l.versions[stream]++
	l.rows = append(l.rows, eventstore.Recorded{
		Position: int64(len(l.rows) + 1), Stream: stream, Version: l.versions[stream], ID: uuidV7(l.tb), Type: name, Schema: schema,
		Time: time.Unix(1_700_000_000+int64(len(l.rows)), 0).UTC(), Account: "default", Data: data, Metadata: []byte(`{"actor":"key:1"}`),
	})
	return int64(len(l.rows))
}

// keep writes the log to its folder.
func (l *seededLog) keep() {
	l.tb.Helper()
	var file bytes.Buffer
	for i := range l.rows {
		line, err := eventstore.AppendLine(nil, &l.rows[i])
		if err != nil {
			l.tb.Fatal(err)
		}
		file.Write(append(line, '\n'))
	}
	if r := runCommand(l.tb, file.String(), "import", "-database", "sqlite:"+l.folder, "-"); r.code != 0 {
		l.tb.Fatalf("import: %d %s", r.code, r.errors)
	}
}

// keepAnyway writes a log to its folder that import refuses: how it may come to
// be there, only a fault of the program or of the disk would know.
func (l *seededLog) keepAnyway() {
	l.tb.Helper()
	store, err := sqlite.Open(l.tb.Context(), l.folder, sqlite.Options{})
	if err != nil {
		l.tb.Fatal(err)
	}
	_, err = store.Import(l.tb.Context(), func(yield func(eventstore.Recorded, error) bool) {
		for _, r := range l.rows {
			if !yield(r, nil) {
				return
			}
		}
	})
	if err != nil {
		l.tb.Fatal(err)
	}
	if err := store.Close(); err != nil {
		l.tb.Fatal(err)
	}
}

// open opens the log to be read.
func (l *seededLog) open() *sqlite.Store {
	l.tb.Helper()
	store, err := sqlite.Open(l.tb.Context(), l.folder, sqlite.Options{ReadOnly: true})
	if err != nil {
		l.tb.Fatal(err)
	}
	l.tb.Cleanup(func() {
		if err := store.Close(); err != nil {
			l.tb.Error(err)
		}
	})
	return store
}

func (l *seededLog) rebuild(args ...string) result {
	l.tb.Helper()
	return runCommand(l.tb, "", append([]string{"rebuild", "-database", "sqlite:" + l.folder}, args...)...)
}

// talk is several conversations and contacts side by side, with every kind of
// thing that changes what was said before. It is larger than what a rebuild
// reads, and its bodies than what a worker may write, at a time.
func (l *seededLog) talk(conversations, rounds int) (streams []string) {
	l.tb.Helper()
	bob := domain.Person{ID: newID(l.tb), Role: domain.Agent, Name: "Bob Holmes", Email: "bob.holmes@closer.app"}
	people := make([]domain.Person, conversations)
	for i := range people {
		people[i] = domain.Person{
			ID: newID(l.tb), Role: domain.Customer, Name: fmt.Sprintf("Customer <%d> & sons", i), Email: fmt.Sprintf("c%d@example.com", i),
		}
		account := domain.Account{ID: "default", Number: 1, Name: "Default"}
		known := eventstore.StreamName("contact", people[i].ID)
		l.add(known, contact.Created{Account: account, Profile: people[i]})
		streams = append(streams, eventstore.StreamName("conversation", newID(l.tb)))
		l.add(streams[i], conversation.Created{
			Account: account, Inbox: domain.Inbox{ID: "default", Number: 1, Name: "Default"}, Channel: "web", Customer: people[i],
		})
	}
	said := make([][]string, conversations)
	for round := range rounds {
		for i, stream := range streams {
			id := newID(l.tb)
			author := people[i]
			if round%2 == 1 {
				author = bob
			}
			switch {
			case round%10 == 7:
				l.add(stream, conversation.MessageEdited{MessageID: said[i][2], Previous: "…", Text: strconv.Itoa(round), By: bob})
			case round%10 == 8:
				l.add(stream, conversation.MessageDeleted{MessageID: said[i][round/3], By: bob})
			case round%10 == 9:
				moved := people[i]
				moved.Phone = strconv.Itoa(round)
				l.add(eventstore.StreamName("contact", people[i].ID), contact.Updated{Profile: moved})
			case round == rounds/2:
				l.add(stream, conversation.Closed{ClosedType: "solved"})
				l.add(stream, conversation.Reopened{By: bob})
			default:
				said[i] = append(said[i], id)
				l.add(stream, conversation.MessagePosted{
					MessageID: id, Author: author, Text: strings.Repeat("Hello \u2028 ", 1+(round+i)%60), ContentType: "text", Private: round%10 == 5,
				})
			}
		}
	}
	for _, stream := range streams {
		l.add(stream, conversation.Closed{ClosedType: "solved"})
	}
	return streams
}

// lines returns what a rebuild has to write, made body by body, each from
// nothing.
func (l *seededLog) lines(store *sqlite.Store, name string, events ...string) (lines []string) {
	l.tb.Helper()
	codec := eventstore.Catalogue()
	d, err := dialect.All().Find(name)
	if err != nil {
		l.tb.Fatal(err)
	}
	for i := range l.rows {
		r := &l.rows[i]
		e, err := codec.Decode(r)
		if err != nil {
			l.tb.Fatal(err)
		}
		kind, id := eventstore.SplitStream(r.Stream)
		about := strconv.Quote(id)
		if kind != "conversation" {
			about = "null"
		}
		for _, word := range d.Words(e) {
			if !webhooks.Wants(events, r.Type, word) {
				continue
			}
			body, err := projections.NewTranscripts(store, codec, dialect.All(), 0).Body(l.tb.Context(), &webhooks.Delivery{
				Stream: r.Stream, Version: r.Version, Dialect: d.Name(), Name: word.Name, History: "full",
			})
			if err != nil {
				l.tb.Fatal(err)
			}
			lines = append(lines, fmt.Sprintf(`{"position":%d,"event":%q,"conversation":%s,"body":%s}`+"\n", r.Position, word.Name, about, body))
		}
	}
	return lines
}

// TestRebuildIsTheSameForAnyNumberOfWorkers renders a log by one, two and eight
// workers, with memory for every history and for none: it is the bytes of the
// bodies made one by one, in every dialect.
func TestRebuildIsTheSameForAnyNumberOfWorkers(t *testing.T) {
	t.Parallel()
	l := newSeededLog(t)
	l.talk(7, 60)
	l.keep()
	store := l.open()
	for _, name := range dialect.All().Names() {
		want := strings.Join(l.lines(store, name, "*"), "")
		for _, args := range [][]string{
			{"--workers", "1"}, {"--workers", "2"}, {"--workers", "8"}, {}, {"--workers", "2", "--history-memory", "0"},
		} {
			r := l.rebuild(append(args, "--dialect", name)...)
			if r.code != 0 || r.out != want {
				t.Errorf("%s %v: exit %d, %d bytes instead of %d, the same up to %d\n%s",
					name, args, r.code, len(r.out), len(want), common(r.out, want), r.errors)
			}
		}
	}
}

// common is how many bytes two texts begin with that are the same.
func common(a, b string) int {
	n := 0
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	return n
}

func TestRebuildOfSomeEvents(t *testing.T) {
	t.Parallel()
	l := newSeededLog(t)
	streams := l.talk(2, 30)
	l.keep()
	store := l.open()
	_, first := eventstore.SplitStream(streams[0])
	for _, test := range []struct {
		dialect string
		events  string // none if empty
		args    []string
		pass    func(line string) bool
	}{
		{"verbatim", "conversation.created,conversation.closed", nil, nil},
		{"verbatim", "contact.*", nil, nil},
		{"verbatim", "contact.*,conversation.message_deleted", nil, nil},
		{"verbatim", "*", nil, nil},
		{"closer", "conversation.created", nil, nil},
		{"closer", "ThreadClosedEvent", nil, nil},
		{"closer", "conversation.*", nil, nil},
		{"verbatim", "", []string{"--from", "20", "--to", "40"}, func(line string) bool {
			p := positionOf(t, line)
			return p >= 20 && p <= 40
		}},
		{"verbatim", "conversation.*", []string{"--conversation", first, "--from", "20"}, func(line string) bool {
			return positionOf(t, line) >= 20 && strings.Contains(line, `"conversation":"`+first+`"`)
		}},
	} {
		args := append([]string{"--dialect", test.dialect}, test.args...)
		names := []string{"*"}
		if test.events != "" {
			args, names = append(args, "--events", test.events), strings.Split(test.events, ",")
		}
		want := l.lines(store, test.dialect, names...)
		if test.pass != nil {
			want = slices.DeleteFunc(want, func(line string) bool { return !test.pass(line) })
		}
		if len(want) == 0 {
			t.Fatalf("%v: the test tests nothing", args)
		}
		if r := l.rebuild(args...); r.code != 0 || r.out != strings.Join(want, "") {
			t.Errorf("%v: exit %d, %d lines instead of %d\n%s", args, r.code, strings.Count(r.out, "\n"), len(want), r.errors)
		}
	}
	// What a format never had is sent only to those who ask for it by name.
	for _, name := range dialect.All().Names() {
		d, err := dialect.All().Find(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, event := range d.Vocabulary() {
			if !event.OptIn {
				continue
			}
			want := strings.Join(l.lines(store, name, event.Name), "")
			if r := l.rebuild("--dialect", name, "--events", event.Name); r.code != 0 || r.out != want {
				t.Errorf("%s %s: exit %d: %s", name, event.Name, r.code, r.errors)
			}
		}
	}
}

func positionOf(tb testing.TB, line string) int64 {
	tb.Helper()
	var l struct{ Position int64 }
	if err := json.Unmarshal([]byte(line), &l); err != nil {
		tb.Fatal(err)
	}
	return l.Position
}

// TestRebuildForAnEndpoint renders what an endpoint was sent: as it asked at the
// time, under the webhook-ids that its deliveries had.
func TestRebuildForAnEndpoint(t *testing.T) {
	t.Parallel()
	l := newSeededLog(t)
	l.talk(2, 4)
	id, other := newID(t), newID(t)
	settings := endpoint.Settings{URL: "https://example.com/", Dialect: "verbatim@1", Events: []string{"conversation.*"}, History: "last:2"}
	registered := l.add(eventstore.StreamName("endpoint", id), endpoint.Registered{Account: domain.Account{ID: "default"}, Settings: settings})
	l.add(eventstore.StreamName("endpoint", other), endpoint.Registered{Account: domain.Account{ID: "default"}, Settings: settings})
	l.talk(3, 25)
	settings.Events = []string{"contact.*"}
	updated := l.add(eventstore.StreamName("endpoint", id), endpoint.Updated{Settings: settings})
	l.talk(3, 25)
	deleted := l.add(eventstore.StreamName("endpoint", id), endpoint.Deleted{})
	l.talk(1, 5)
	l.keep()
	store := l.open()
	transcripts := projections.NewTranscripts(store, eventstore.Catalogue(), dialect.All(), projections.TranscriptMemory)
	expected := func(pass func(r *eventstore.Recorded) bool) string {
		var b bytes.Buffer
		for i := range l.rows {
			r := &l.rows[i]
			kind, about := eventstore.SplitStream(r.Stream)
			wanted := r.Position > registered && r.Position < updated && kind == "conversation" ||
				r.Position > updated && r.Position < deleted && kind == "contact"
			if !wanted || !pass(r) {
				continue
			}
			body, err := transcripts.Body(t.Context(), &webhooks.Delivery{
				Stream: r.Stream, Version: r.Version, Dialect: "verbatim@1", Name: r.Type, History: "last:2",
			})
			if err != nil {
				t.Fatal(err)
			}
			about = strconv.Quote(about)
			if kind == "contact" {
				about = "null"
			}
			fmt.Fprintf(&b, `{"position":%d,"event":%q,"webhook_id":%q,"conversation":%s,"body":%s}`+"\n",
				r.Position, r.Type, webhooks.ID(id, r.ID, r.Type), about, body)
		}
		return b.String()
	}
	everything := expected(func(*eventstore.Recorded) bool { return true })
	for _, workers := range []string{"1", "2", "8"} {
		if r := l.rebuild("--endpoint", id, "--workers", workers); r.code != 0 || r.out != everything || r.out == "" {
			t.Errorf("%s workers: exit %d, %d bytes, want %d\n%s", workers, r.code, len(r.out), len(everything), r.errors)
		}
	}
	want := expected(func(r *eventstore.Recorded) bool {
		return r.Type == "conversation.closed" || strings.HasPrefix(r.Type, "contact.")
	})
	if r := l.rebuild("--endpoint", id, "--events", "conversation.closed,contact.*"); r.code != 0 || r.out != want || r.out == "" {
		t.Errorf("some events: exit %d, %d bytes, want %d\n%s", r.code, len(r.out), len(want), r.errors)
	}
	from := updated - 20
	want = expected(func(r *eventstore.Recorded) bool { return r.Position >= from && r.Position <= updated+40 })
	r := l.rebuild("--endpoint", id, "--from", strconv.FormatInt(from, 10), "--to", strconv.FormatInt(updated+40, 10))
	if r.code != 0 || r.out != want || r.out == "" {
		t.Errorf("some positions: exit %d, %d bytes, want %d\n%s", r.code, len(r.out), len(want), r.errors)
	}
}

// TestRebuildThatCannotBe comes upon an event that does not decode: what stands
// before it is written, whoever rendered it, and the position is named.
func TestRebuildThatCannotBe(t *testing.T) {
	t.Parallel()
	l := newSeededLog(t)
	streams := l.talk(6, 40)
	bad := l.addRaw(streams[3], "conversation.message_posted", 1, []byte(`{"message_id":7}`))
	l.talk(6, 40)
	after := l.add(streams[3], conversation.Closed{ClosedType: "solved"})
	l.addRaw(streams[1], "conversation.message_posted", 99, []byte(`{}`))
	l.keepAnyway()
	store := l.open()
	id := newID(t)
	good := *l
	good.rows = l.rows[:bad-1]
	want := strings.Join(good.lines(store, "verbatim", "*"), "")
	for _, workers := range []string{"1", "2", "8"} {
		r := l.rebuild("--dialect", "verbatim", "--workers", workers, "--json")
		var problem struct{ Code, Error string }
		if err := json.Unmarshal([]byte(r.errors), &problem); err != nil {
			t.Fatalf("%v: %s", err, r.errors)
		}
		if r.code != 1 || r.out != want || !strings.HasPrefix(problem.Error, fmt.Sprintf("position %d: ", bad)) {
			t.Errorf("%s workers: exit %d, %d bytes, want %d: %s", workers, r.code, len(r.out), len(want), problem.Error)
		}
	}
	// What comes later in the stream cannot be either, and it is said why.
	r := l.rebuild("--dialect", "closer", "--from", strconv.FormatInt(after, 10))
	if r.code != 1 || r.out != "" || !strings.Contains(r.errors, fmt.Sprintf("position %d: ", after)) ||
		!strings.Contains(r.errors, fmt.Sprintf("position %d: ", bad)) {
		t.Errorf("behind it: exit %d: %s%s", r.code, r.out, r.errors)
	}
	for _, test := range []struct {
		args []string
		code int
	}{
		{[]string{"--dialect", "morse"}, 2},
		{[]string{"--dialect", "verbatim", "--endpoint", id}, 2},
		{[]string{}, 2},
		{[]string{"--dialect", "verbatim", "--workers", "0"}, 2},
		{[]string{"--dialect", "verbatim", "--workers", "100000"}, 2},
		{[]string{"--dialect", "verbatim", "--events", "conversation.exploded"}, 2},
		{[]string{"--dialect", "closer", "--events", "message_created"}, 2},
		{[]string{"--dialect", "closer", "--events", ""}, 2},
		{[]string{"--endpoint", id}, 1},
		{[]string{"--dialect", "closer", "-database", "sqlite:" + l.folder + "/nothing"}, 1},
	} {
		if r := l.rebuild(test.args...); r.code != test.code || r.out != "" || r.errors == "" {
			t.Errorf("%v: exit %d, want %d: %s%s", test.args, r.code, test.code, r.out, r.errors)
		}
	}
}
