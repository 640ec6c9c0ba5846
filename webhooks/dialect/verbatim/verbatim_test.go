package verbatim_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"verbatim/domain"
	"verbatim/domain/contact"
	"verbatim/domain/conversation"
	"verbatim/domain/endpoint"
	"verbatim/eventstore"
	"verbatim/webhooks"
	"verbatim/webhooks/dialect/verbatim"
	"verbatim/webhooks/webhookstest"
)

// fixture is a story in which every fact happens.
const fixture = "../../../tests/fixtures/every-fact.ndjson"

var update = flag.Bool("update", false, "rewrite the golden files")

// A golden that changed is a new version of the dialect, or a mistake.
func TestGoldens(t *testing.T) {
	t.Parallel()
	webhookstest.CompareGoldens(t, verbatim.New(), fixture, *update)
}

// What was done to an endpoint's settings and secrets is nobody's to be sent;
// what else happens to one is for those who ask for it.
func TestVocabularyIsEveryFactButSettingsOfEndpoints(t *testing.T) {
	t.Parallel()
	d := verbatim.New()
	unsaid := []string{"endpoint.registered", "endpoint.updated", "endpoint.secret_rotated"}
	described := make(map[string]bool)
	for _, e := range d.Vocabulary() {
		if e.About == "" || described[e.Name] || e.OptIn != (e.Name == verbatim.Transcript || strings.HasPrefix(e.Name, "endpoint.")) {
			t.Errorf("%s: about %q, opt-in %t", e.Name, e.About, e.OptIn)
		}
		described[e.Name] = true
	}
	said := make(map[string]bool)
	for name, e := range eventstore.Catalogue().Types() {
		want := []webhooks.Word{{Name: name}}
		switch {
		case slices.Contains(unsaid, name):
			want = nil
		case strings.HasPrefix(name, "endpoint."):
			want = []webhooks.Word{{Name: name, OptIn: true}}
		case name == "conversation.closed":
			want = append(want, webhooks.Word{Name: verbatim.Transcript, OptIn: true})
		}
		got := d.Words(e)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		for _, w := range got {
			said[w.Name] = true
		}
	}
	if diff := cmp.Diff(said, described); diff != "" {
		t.Errorf("what is said is what is described (-said +described):\n%s", diff)
	}
}

// body returns the body of the end of the story, with so many messages of
// history.
func body(t *testing.T, s *webhookstest.Story, last int) map[string]any {
	t.Helper()
	e := s.Event(s.Fact.Type)
	e.View.Last = last
	return parsed(t, webhookstest.Body(t, verbatim.New(), e))
}

func parsed(t *testing.T, raw []byte) map[string]any {
	t.Helper()
	var b map[string]any
	if err := json.Unmarshal(raw, &b); err != nil {
		t.Fatalf("%v in %s", err, raw)
	}
	return b
}

func at(t *testing.T, b any, path string) any {
	t.Helper()
	for key := range strings.SplitSeq(path, ".") {
		m, ok := b.(map[string]any)
		if !ok {
			t.Fatalf("%s: %v is no object", path, b)
		}
		if b, ok = m[key]; !ok {
			t.Fatalf("no %s", path)
		}
	}
	return b
}

func list(t *testing.T, b any, path string) []any {
	t.Helper()
	l, ok := at(t, b, path).([]any)
	if !ok {
		t.Fatalf("%s is no list", path)
	}
	return l
}

// decoded is v as JSON has it.
func decoded(t *testing.T, v any) any {
	t.Helper()
	var out any
	if err := json.Unmarshal(encoded(t, v), &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// encoded is v as encoding/json writes it, without the escapes that only HTML
// pages need.
func encoded(t *testing.T, v any) []byte {
	t.Helper()
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		t.Fatal(err)
	}
	return bytes.TrimSpace(buf.Bytes())
}

func same(t *testing.T, what string, got, want any) {
	t.Helper()
	if diff := cmp.Diff(decoded(t, want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func person(id string, role domain.Role) domain.Person {
	return domain.Person{ID: id, Role: role, Name: "A B", FirstName: "A", LastName: "B", IsBot: role == domain.Bot}
}

func said(id, text string) conversation.MessagePosted {
	return conversation.MessagePosted{MessageID: id, Author: person("c", domain.Customer), Text: text, ContentType: "text"}
}

func noted(id, text string) conversation.MessagePosted {
	m := said(id, text)
	m.Author, m.Private = person("a", domain.Agent), true
	return m
}

// fill sets everything that there is in v to something: where only a few values
// are possible, to one of them.
func fill(t *testing.T, v reflect.Value) {
	t.Helper()
	few := map[reflect.Type]any{
		reflect.TypeFor[time.Time]():                 time.Date(2026, 3, 1, 12, 0, 0, 123456000, time.UTC),
		reflect.TypeFor[domain.Role]():               domain.Agent,
		reflect.TypeFor[domain.Attributes]():         domain.Attributes{{Key: "k\n", Value: json.RawMessage(`{"<b>":[1,2.50,null]}`)}, {Key: "none"}},
		reflect.TypeFor[json.RawMessage]():           json.RawMessage(`{"a":["&"]}`),
		reflect.TypeFor[conversation.Status]():       conversation.Snoozed,
		reflect.TypeFor[conversation.Priority]():     conversation.High,
		reflect.TypeFor[conversation.StopReason]():   conversation.StopLeft,
		reflect.TypeFor[conversation.ActivityKind](): conversation.FormSubmitted,
	}
	if one, ok := few[v.Type()]; ok {
		v.Set(reflect.ValueOf(one))
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString("A \"B\" <b>\u2028\x00\xff\t")
	case reflect.Int, reflect.Int64:
		v.SetInt(7)
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(t, v.Elem())
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fill(t, v.Index(0)) // and the other one stays empty
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				fill(t, v.Field(i))
			}
		}
	default:
		t.Fatalf("a value of type %s", v.Type())
	}
}

func filled[T any](t *testing.T) (out T) {
	t.Helper()
	fill(t, reflect.ValueOf(&out).Elem())
	return out
}

// httpContact is a contact as the HTTP API answers with it.
type httpContact struct {
	ID      string `json:"id"`
	Number  int64  `json:"number"`
	Version int64  `json:"version"`
	domain.Person

	Erased    bool      `json:"erased,omitempty"`
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
}

// What is written by hand is what encoding/json makes of the same things, byte
// by byte, which is what the HTTP API answers with.
func TestShapesAreThoseOfTheAPI(t *testing.T) {
	t.Parallel()
	id := webhookstest.ID("conv", 1).String()
	c, m, k := filled[webhooks.Conversation](t), filled[webhooks.Message](t), filled[webhooks.Contact](t)
	c.ID, k.ID = id, id
	empty := webhooks.Conversation{ID: id, Status: conversation.Open, Labels: []string{}, Attributes: domain.Attributes{}}
	for _, h := range []*webhooks.History{
		{Conversation: c, Messages: []webhooks.Message{m, {}}},
		{Conversation: empty, Messages: []webhooks.Message{}},
	} {
		s := webhookstest.Tell(t, conversation.Reopened{})
		s.History = *h
		raw := s.Body(verbatim.New(), "conversation.reopened")
		for _, want := range [][]byte{
			[]byte(fmt.Sprintf(`"data":{"conversation":%s,"change":`, encoded(t, h.Conversation))),
			[]byte(fmt.Sprintf(`"items":%s,"truncated"`, encoded(t, h.Messages))),
		} {
			if !bytes.Contains(raw, want) {
				t.Errorf("no %s in %s", want, raw)
			}
		}
	}
	for _, k := range []webhooks.Contact{k, {ID: id}} {
		s := webhookstest.Tell(t, contact.Erased{})
		s.Contact = k
		raw := s.Body(verbatim.New(), "contact.erased")
		view := httpContact{k.Profile.ID, k.Number, k.Version, k.Profile, k.Erased, k.CreatedAt, k.UpdatedAt}
		if want := []byte(fmt.Sprintf(`"data":{"contact":%s,"change":`, encoded(t, view))); !bytes.Contains(raw, want) {
			t.Errorf("no %s in %s", want, raw)
		}
	}
}

// Behind what every event has, change has the members of the fact as the log has
// them, byte by byte: whatever is in them, and if nothing is.
func TestEveryFactHasItsMembersInChange(t *testing.T) {
	t.Parallel()
	snapshot := filled[webhooks.Snapshot](t)
	snapshot.Conversation.ID = webhookstest.ID("conv", 2).String()
	var none []domain.Change
	nothing, noChanges := encoded(t, none), []byte("[]")
	for name, e := range eventstore.Catalogue().Types() {
		if len(verbatim.New().Words(e)) == 0 {
			continue
		}
		full := reflect.New(reflect.TypeOf(e)).Elem()
		fill(t, full)
		if f := full.FieldByName("CurrentConversation"); f.IsValid() {
			// What is no UTF-8 was replaced when the snapshot was taken.
			f.SetBytes(bytes.ReplaceAll(encoded(t, snapshot), []byte(`\ufffd`), []byte("\ufffd")))
		}
		for _, e := range []domain.Event{full.Interface().(domain.Event), e} {
			s := webhookstest.Tell(t, e)
			// The events of no decision are strangely empty: they are held against
			// encoding/json and not against their shape.
			event := s.Event(name)
			event.Metadata = nil
			raw, err := verbatim.New().AppendBody(nil, event)
			if err != nil {
				t.Fatal(err)
			}
			change := fmt.Appendf(nil, `,"change":{"event_id":"%s","position":1,"version":1,"previous_version":0,"actor":null,`, s.Fact.ID)
			message := []byte(`"message":null,`)
			members := encoded(t, e)
			switch e := e.(type) {
			case conversation.MessagePosted:
				message = nil
				members = fmt.Appendf(nil, `{"message":%s}`, encoded(t, webhooks.NewMessage(s.Fact.Recorded, e)))
			case conversation.MessageEdited, conversation.MessageDeleted:
			case contact.Erased:
				message = nil
				// What proves an erasure is the log's, and may be long.
				members = encoded(t, contact.Erased{By: e.By, Events: e.Events})
			default:
				message = nil
			}
			if bytes.Equal(members, []byte("{}")) { // nothing behind the actor
				change = bytes.TrimSuffix(change, []byte(","))
			}
			members = bytes.ReplaceAll(members, append([]byte(`"changes":`), nothing...), append([]byte(`"changes":`), noChanges...))
			want := append(append(change, message...), members[1:]...)
			if !bytes.Contains(raw, want) {
				t.Errorf("%s: no\n%s in\n%s", name, want, raw)
			}
		}
	}
}

// What happens in the fixture fits the shapes in every view, and the notes are
// where they were asked for and nowhere else.
func TestPrivateNotesAreForThoseWhoAskForThem(t *testing.T) {
	t.Parallel()
	facts := webhookstest.Facts(t, fixture)
	for _, last := range []int{-1, 0, 1, 3} {
		for _, notes := range []bool{true, false} {
			bears := 0
			for _, r := range webhookstest.Rendered(t, verbatim.New(), facts, webhooks.View{Last: last, Notes: notes}) {
				if bytes.Contains(r.Body, []byte("Third broken mug")) {
					bears++
				}
			}
			if (bears > 0) != notes {
				t.Errorf("last %d, notes %t: %d bodies bear the text of a private note", last, notes, bears)
			}
		}
	}
}

func TestAViewWithoutNotesHasNoneOfThem(t *testing.T) {
	t.Parallel()
	s := webhookstest.Tell(t, conversation.Created{Customer: person("c", domain.Customer)}, noted("n1", "secret one"), said("m1", "Hello"), noted("n2", "secret two"))
	public := func() (map[string]any, []byte) {
		e := s.Event(s.Fact.Type)
		e.View.Notes = false
		raw := webhookstest.Body(t, verbatim.New(), e)
		if bytes.Contains(raw, []byte("secret")) {
			t.Errorf("a note in %s", raw)
		}
		return parsed(t, raw), raw
	}
	// The plan sends no event about a note. One that is rendered all the same
	// says that there is one, and nothing of what it says.
	b, _ := public()
	same(t, "text", at(t, b, "data.change.message.text"), "")
	same(t, "private", at(t, b, "data.change.message.private"), true)
	items := list(t, b, "data.history.items")
	if len(items) != 1 || at(t, items[0], "id") != "m1" {
		t.Errorf("items %v", items)
	}
	// A note that was left out is no reason to read on.
	same(t, "truncated", at(t, b, "data.history.truncated"), false)
	same(t, "from_version", at(t, b, "data.history.from_version"), 3)
	same(t, "message_count", at(t, b, "data.conversation.message_count"), 3)

	agent := person("a", domain.Agent)
	s.Then(conversation.MessageEdited{MessageID: "n2", Previous: "secret two", Text: "secret 2", Private: true, By: agent})
	b, _ = public()
	same(t, "previous", at(t, b, "data.change.previous"), "")
	same(t, "text", at(t, b, "data.change.text"), "")
	s.Then(conversation.MessageDeleted{MessageID: "n2", Private: true, By: agent})
	b, _ = public()
	same(t, "private", at(t, b, "data.change.private"), true)
	if got := s.History.Messages[0].Text; got != "secret one" {
		t.Errorf("the history was changed: %q", got)
	}
}

func TestAnEditBearsTheMessageAsItIsNow(t *testing.T) {
	t.Parallel()
	agent := person("a", domain.Agent)
	s := webhookstest.Tell(t, conversation.Created{Customer: person("c", domain.Customer)}, said("m1", "first"), said("m2", "second"), said("m3", "third"),
		conversation.MessageEdited{MessageID: "m2", Previous: "second", Text: "zweite", By: agent})
	b := body(t, s, 1)
	same(t, "message", at(t, b, "data.change.message"), *s.History.Message("m2"))
	same(t, "previous", at(t, b, "data.change.previous"), "second")
	s.Then(conversation.MessageDeleted{MessageID: "m2", By: agent})
	b = body(t, s, 1)
	same(t, "tombstone", at(t, b, "data.change.message.text"), "")
	at(t, b, "data.change.message.deleted_at")
	// A message that nobody knows is none, and no reason to fail for ever.
	s.Then(conversation.MessageDeleted{MessageID: "m9", By: agent})
	same(t, "unknown", at(t, body(t, s, 1), "data.change.message"), nil)
}

func TestHistoryIsWhatTheEndpointAskedFor(t *testing.T) {
	t.Parallel()
	s := webhookstest.Tell(t, conversation.Created{Customer: person("c", domain.Customer)}, said("m1", "first"), said("m2", "second"),
		conversation.Read{By: person("a", domain.Agent), UpTo: 3}, said("m3", "third"), conversation.Reopened{By: person("a", domain.Agent)})
	for _, c := range []struct {
		last  int
		mode  string
		from  any
		items int
		next  any
	}{
		{-1, "full", 2, 3, nil},
		{0, "none", nil, 0, nil},
		{1, "last:1", 5, 1, next(5)},
		{2, "last:2", 3, 2, next(3)},
		{3, "last:3", 2, 3, nil},
		{100, "last:100", 2, 3, nil},
	} {
		h, ok := at(t, body(t, s, c.last), "data.history").(map[string]any)
		if !ok {
			t.Fatal("history is no object")
		}
		if items := list(t, h, "items"); len(items) != c.items {
			t.Errorf("%s: %d items", c.mode, len(items))
		}
		delete(h, "items")
		same(t, c.mode, h, map[string]any{
			"mode": c.mode, "from_version": c.from, "to_version": 6, "truncated": c.next != nil, "next": c.next,
		})
	}
}

// next is where the messages before that version are.
func next(version int) string {
	_, id := eventstore.SplitStream(webhookstest.Stream(1))
	return fmt.Sprintf("/v1/conversations/%s/messages?before=%d", id, version)
}

func TestHistoryIsBounded(t *testing.T) {
	t.Parallel()
	s := webhookstest.Tell(t, conversation.Created{Customer: person("c", domain.Customer)})
	for i := range 10_000 {
		s.Then(said(webhookstest.ID("mesg", i).String(), "The quick brown fox jumps over the lazy dog."))
	}
	s.Then(conversation.Closed{ClosedType: "solved"})
	for _, name := range []string{"conversation.closed", verbatim.Transcript} {
		raw := s.Body(verbatim.New(), name)
		// Room is made once, for all there is: a body that had to be moved while it
		// grew would end in a quarter more.
		if spare := cap(raw) - len(raw); spare > len(raw)/8 {
			t.Errorf("%d bytes, and room for %d more", len(raw), spare)
		}
		if len(raw) < verbatim.MaxHistoryBytes/2 || len(raw) > verbatim.MaxHistoryBytes+8<<10 {
			t.Errorf("%d bytes", len(raw))
		}
		b := parsed(t, raw)
		items := list(t, b, "data.history.items")
		first, last := items[0], items[len(items)-1]
		same(t, "mode", at(t, b, "data.history.mode"), "full")
		same(t, "truncated", at(t, b, "data.history.truncated"), true)
		same(t, "from_version", at(t, b, "data.history.from_version"), at(t, first, "version"))
		same(t, "the newest is in it", at(t, last, "version"), 10_001)
		same(t, "next", at(t, b, "data.history.next"), next(int(at(t, first, "version").(float64))))
	}

	// One message that is larger than all goes alone.
	s.Then(said("big", strings.Repeat("x", 2*verbatim.MaxHistoryBytes)))
	if items := list(t, body(t, s, -1), "data.history.items"); len(items) != 1 {
		t.Errorf("%d items", len(items))
	}
}

// A body is no larger than its endpoint takes, for as long as anything of its
// history can be left out; what was left out can be read.
func TestHistoryIsCutToTheBytesThatTheEndpointTakes(t *testing.T) {
	t.Parallel()
	s := webhookstest.Tell(t, conversation.Created{Customer: person("c", domain.Customer)})
	for i := range 200 {
		s.Then(said(fmt.Sprint("m", i), strings.Repeat("x", 100+i)))
	}
	s.Then(conversation.Closed{ClosedType: "solved"})
	whole := len(s.Body(verbatim.New(), "conversation.closed"))
	for _, name := range []string{"conversation.closed", verbatim.Transcript} {
		for _, most := range []int{4 << 10, 5000, 5100, 10_000, 20_000, whole, whole + 1000, 8 << 20} {
			e := s.Event(name)
			e.View.MaxBytes = most
			raw := webhookstest.Body(t, verbatim.New(), e)
			if len(raw) > most {
				t.Errorf("%s: %d bytes, and %d are taken", name, len(raw), most)
			}
			// What is there before the body is no part of it.
			behind, err := verbatim.New().AppendBody(bytes.Repeat([]byte("-"), 3000), e)
			if err != nil || !bytes.Equal(behind[3000:], raw) {
				t.Errorf("%s: behind something else it is another body, error %v", name, err)
			}
			b := parsed(t, raw)
			items := list(t, b, "data.history.items")
			cut := len(items) < 200
			if cut != (most <= whole) || !cut && most > whole && len(items) != 200 {
				t.Errorf("%s: %d items in %d bytes", name, len(items), most)
			}
			// No more is left out than must be: another message would not have fitted.
			if cut && len(raw) < most-1500 {
				t.Errorf("%s: %d bytes, and %d are taken", name, len(raw), most)
			}
			same(t, "mode", at(t, b, "data.history.mode"), "full")
			same(t, "truncated", at(t, b, "data.history.truncated"), cut)
			if cut {
				same(t, "next", at(t, b, "data.history.next"), next(int(at(t, items[0], "version").(float64))))
			}
		}
	}
}

// Where not even the newest message has room, there is none, and the way to all
// of them.
func TestALargeMessageIsLeftOutOfASmallBody(t *testing.T) {
	t.Parallel()
	s := webhookstest.Tell(t, conversation.Created{Customer: person("c", domain.Customer)}, said("m1", strings.Repeat("x", 8<<10)),
		conversation.Read{By: person("a", domain.Agent), UpTo: 2})
	for last, mode := range map[int]string{-1: "full", 1: "last:1"} {
		e := s.Event("conversation.read")
		e.View = webhooks.View{Last: last, Notes: true, MaxBytes: 4 << 10}
		raw := webhookstest.Body(t, verbatim.New(), e)
		if len(raw) > 4<<10 {
			t.Errorf("%d bytes", len(raw))
		}
		same(t, "history", at(t, parsed(t, raw), "data.history"), map[string]any{
			"mode": mode, "from_version": nil, "to_version": 3, "items": []any{}, "truncated": true, "next": next(4),
		})
	}
	e := s.Event("conversation.read")
	e.View = webhooks.View{Notes: true, MaxBytes: 4 << 10}
	same(t, "nothing was asked for", at(t, parsed(t, webhookstest.Body(t, verbatim.New(), e)), "data.history"), map[string]any{
		"mode": "none", "from_version": nil, "to_version": 3, "items": []any{}, "truncated": false, "next": nil,
	})
	// What the event itself says is never cut: such a body is for nobody to send.
	posted := webhookstest.Tell(t, conversation.Created{Customer: person("c", domain.Customer)}, said("m1", strings.Repeat("x", 8<<10)))
	e = posted.Event("conversation.message_posted")
	e.View.MaxBytes = 4 << 10
	if raw := webhookstest.Body(t, verbatim.New(), e); len(raw) <= 4<<10 || len(list(t, parsed(t, raw), "data.history.items")) != 0 {
		t.Errorf("%d bytes", len(raw))
	}
}

// An endpoint is told of as of the event, and nothing of its secrets is.
func TestAnEndpointIsAsOfTheEvent(t *testing.T) {
	t.Parallel()
	settings := endpoint.Settings{URL: "https://user:pass@crm.example:8443/hooks/a%20b?token=t0p#f", Dialect: "closer@1", Headers: []string{"X-Token"}}
	s := webhookstest.Tell(t, endpoint.Registered{Settings: settings}, endpoint.Disabled{Reason: "r", Cause: endpoint.ReceiverGone})
	id := webhookstest.Endpoint(1)
	told := func(disabled bool, url string) map[string]any {
		return map[string]any{"id": id, "url": url, "dialect": "closer@1", "disabled": disabled}
	}
	b := parsed(t, s.Body(verbatim.New(), "endpoint.disabled"))
	same(t, "type", b["type"], "endpoint.disabled")
	same(t, "endpoint", at(t, b, "data.endpoint"), told(true, "https://crm.example:8443/hooks/a%20b"))
	same(t, "cause", at(t, b, "data.change.cause"), "gone")
	same(t, "previous_version", at(t, b, "data.change.previous_version"), 1)
	if data, ok := b["data"].(map[string]any); !ok || len(data) != 2 {
		t.Errorf("data is %v", data)
	}
	settings.URL = "https://other.example/?"
	s.Then(endpoint.Updated{Settings: settings}, endpoint.Enabled{}, endpoint.Failing{Outcome: endpoint.Outcome{Fault: "dns"}})
	b = parsed(t, s.Body(verbatim.New(), "endpoint.failing"))
	same(t, "endpoint", at(t, b, "data.endpoint"), told(false, "https://other.example/"))
	same(t, "fault", at(t, b, "data.change.fault"), "dns")
}

// A transcript is the body of the closing with all there is to know, whatever
// the endpoint is sent otherwise.
func TestATranscriptHasTheWholeHistory(t *testing.T) {
	t.Parallel()
	agent := person("a", domain.Agent)
	s := webhookstest.Tell(t, conversation.Created{Customer: person("c", domain.Customer)}, said("m1", "Hello"), noted("n1", "secret"), said("m2", "Bye"), conversation.Closed{ClosedType: "solved"})
	closed := parsed(t, s.Body(verbatim.New(), "conversation.closed"))
	for _, notes := range []bool{true, false} {
		e := s.Event(verbatim.Transcript)
		e.View = webhooks.View{Last: 0, Notes: notes}
		b := parsed(t, webhookstest.Body(t, verbatim.New(), e))
		same(t, "type", b["type"], "conversation.transcript")
		same(t, "revision", at(t, b, "data.revision"), 1)
		same(t, "mode", at(t, b, "data.history.mode"), "full")
		if notes {
			data, _ := b["data"].(map[string]any)
			delete(data, "revision")
			b["type"] = "conversation.closed"
			if diff := cmp.Diff(closed, b); diff != "" {
				t.Errorf("a transcript is the body of the closing (-closing +transcript):\n%s", diff)
			}
		} else if items := list(t, b, "data.history.items"); len(items) != 2 {
			t.Errorf("%d items", len(items))
		}
	}
	if _, more := closed["data"].(map[string]any)["revision"]; more {
		t.Error("a closing has no revision")
	}
	s.Then(conversation.Reopened{By: agent}, said("m3", "Wait"), conversation.Closed{ClosedType: "solved"})
	same(t, "revision", at(t, parsed(t, s.Body(verbatim.New(), verbatim.Transcript)), "data.revision"), 2)
}

func TestAContactIsAsOfTheEvent(t *testing.T) {
	t.Parallel()
	jon, renamed := person("jon", domain.Customer), person("jon", domain.Customer)
	renamed.Name = "Jon Snow"
	s := webhookstest.TellAt(t, 5, contact.Created{Account: domain.Account{ID: "a"}, Profile: jon})
	same(t, "number", at(t, body(t, s, -1), "data.contact.number"), 5)
	same(t, "id", at(t, body(t, s, -1), "data.contact.id"), "jon")
	s.Then(contact.Updated{Profile: renamed})
	same(t, "name", at(t, body(t, s, -1), "data.contact.name"), "Jon Snow")
	s.Then(contact.WidgetTriggered{Contact: renamed, CurrentConversation: json.RawMessage(`{"conversation":7}`)})
	b := body(t, s, -1)
	same(t, "name", at(t, b, "data.contact.name"), "Jon Snow")
	if _, there := at(t, b, "data.change").(map[string]any)["current_conversation"]; there {
		t.Error("a snapshot that nobody can read")
	}
	s.Then(contact.Erased{By: person("s", domain.System), Events: 3})
	b = body(t, s, -1)
	same(t, "contact", at(t, b, "data.contact"), map[string]any{
		"id": "jon", "number": 5, "version": 4, "role": "customer", "erased": true,
		"created_at": "2026-03-01T12:00:01.123456Z", "updated_at": "2026-03-01T12:00:04.123456Z",
	})
	same(t, "timestamp", b["timestamp"], "2026-03-01T12:00:04.123Z")
	if data, ok := b["data"].(map[string]any); !ok || len(data) != 2 {
		t.Errorf("data is %v", data)
	}
}

func TestThereIsNoActorWithoutMetadata(t *testing.T) {
	t.Parallel()
	s := webhookstest.Tell(t, conversation.Created{Customer: person("c", domain.Customer)})
	same(t, "actor", at(t, body(t, s, 0), "data.change.actor"), "key:1")
	s.Fact.Metadata = nil
	same(t, "actor", at(t, body(t, s, 0), "data.change.actor"), nil)
}

func TestOthersHaveNoBody(t *testing.T) {
	t.Parallel()
	ofConversation := webhookstest.Tell(t, conversation.Closed{}).Event("conversation.closed")
	ofConversation.History = nil
	ofContact := webhookstest.Tell(t, contact.Erased{}).Event("contact.erased")
	ofContact.Contact = nil
	ofEndpoint := webhookstest.Tell(t, endpoint.Deleted{}).Event("endpoint.deleted")
	ofEndpoint.Endpoint = nil
	ofNothing := webhookstest.Tell(t, conversation.Closed{}).Event("conversation.closed")
	ofNothing.Fact.Event = nil
	for _, e := range []*webhooks.PublicEvent{ofConversation, ofContact, ofEndpoint, ofNothing} {
		if _, err := verbatim.New().AppendBody(nil, e); err == nil {
			t.Errorf("a body for %s", e.Name)
		}
	}
}
