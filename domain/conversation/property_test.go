package conversation_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"verbatim/domain"
	"verbatim/domain/conversation"
)

// TestProperties asks commands at random, sensible and not, and holds each
// answer against what must be true of all of them. A history may begin with a
// crowd, so that the limits on people are near.
func TestProperties(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		h := newHistory(t)
		if rapid.IntRange(0, 7).Draw(t, "crowd") == 7 {
			h.append(created)
			for _, e := range slices.Concat(crowd(domain.Agent, 48), crowd(domain.Customer, 49)) {
				h.append(e)
			}
		}
		for range rapid.IntRange(1, 80).Draw(t, "steps") {
			h.ask(drawCommand(t, h))
		}
		h.checkUnchanged()
	})
}

// A history is one conversation: what the rules remember of it and, learned
// from the events alone, what is true of it.
type history struct {
	t       *rapid.T
	now     time.Time
	state   conversation.State
	decoded conversation.State // the same, from events that were stored and read
	past    []remembered       // every state there was

	events   int64
	status   conversation.Status
	assignee string
	typing   map[string]bool
	horizons map[string]int64
	messages []conversation.Message
}

// remembered is a state and what it encoded to when it was made.
type remembered struct {
	state   conversation.State
	encoded string
}

func newHistory(t *rapid.T) *history {
	return &history{t: t, now: noon, typing: map[string]bool{}, horizons: map[string]int64{}}
}

// ask decides c, checks the answer and takes it into the history.
func (h *history) ask(c conversation.Command) {
	h.t.Helper()
	h.now = h.now.Add(time.Duration(rapid.IntRange(0, 12).Draw(h.t, "seconds")) * time.Second)
	asked, before := encoded(h.t, c), encoded(h.t, h.state)

	events, err := conversation.Decide(h.state, c, h.now)
	if encoded(h.t, h.state) != before {
		h.t.Fatalf("%T changed the state it was asked of", c)
	}
	if encoded(h.t, c) != asked {
		h.t.Fatalf("%T was changed by being asked", c)
	}
	if err != nil {
		h.checkError(c, events, err)
	}
	for from, s := range map[string]conversation.State{
		"the same state":        h.state,
		"its snapshot":          restored(h.t, h.state),
		"the events as stored":  h.decoded,
		"a snapshot of the log": restored(h.t, h.decoded),
	} {
		again, errAgain := conversation.Decide(s, c, h.now)
		if diff := cmp.Diff(encoded(h.t, events), encoded(h.t, again)); diff != "" || !cmp.Equal(err, errAgain) {
			h.t.Fatalf("%+v decided again on %s came to error %v, was %v; events (-first +again):\n%s",
				c, from, errAgain, err, diff)
		}
	}
	h.checkTogether(c, events)
	for _, e := range events {
		h.append(e)
	}
}

// append takes one event that was decided into the history.
func (h *history) append(e conversation.Event) {
	h.t.Helper()
	h.check(e)
	h.state = conversation.Evolve(h.state, e)
	h.decoded = conversation.Evolve(h.decoded, stored(h.t, e))
	h.checkState()
	h.past = append(h.past, remembered{h.state, encoded(h.t, h.state)})
}

func (h *history) checkError(c conversation.Command, events []conversation.Event, err error) {
	h.t.Helper()
	if len(events) != 0 {
		h.t.Fatalf("%+v was refused with %v and yet came to %+v", c, err, events)
	}
	_, refused := errors.AsType[domain.Refusal](err)
	fault, bad := errors.AsType[*domain.FieldError](err)
	if !refused && !bad || bad && (fault.Field == "" || fault.Rule == "") {
		h.t.Fatalf("%+v was answered with %#v; want a refusal or a complaint about a field", c, err)
	}
}

// checkTogether checks what must be true of the events of one command.
func (h *history) checkTogether(c conversation.Command, events []conversation.Event) {
	h.t.Helper()
	for i, e := range events {
		if stop, ok := e.(conversation.TypingStopped); ok {
			_, closes := events[len(events)-1].(conversation.Closed)
			if closes != (stop.Reason == conversation.StopLeft) {
				h.t.Fatalf("%+v: typing stopped as %s among %+v", c, stop.Reason, events)
			}
			if stop.Reason != conversation.StopMessage {
				continue
			}
			if next, ok := events[i+1].(conversation.MessagePosted); !ok || next.Author.ID != stop.Author.ID {
				h.t.Fatalf("%+v: typing stopped by a message, but then came %+v", c, events[i+1])
			}
		}
		if m, ok := e.(conversation.MessagePosted); ok {
			asleep := h.status != "" && h.status != conversation.Open
			if reopens := len(events) > i+1; reopens != (asleep && m.Author.Role == domain.Customer) {
				h.t.Fatalf("a message by %s while %s came to %+v", m.Author.Role, h.status, events)
			}
		}
	}
}

// check checks e against what has happened before it, and learns from it.
func (h *history) check(e conversation.Event) {
	h.t.Helper()
	if _, ok := e.(conversation.Reopened); h.status == conversation.StatusEnded && !ok {
		h.t.Fatalf("%s after closed", e.EventType())
	}
	if _, ok := e.(conversation.Created); ok != (h.events == 0) {
		h.t.Fatalf("%s is event %d", e.EventType(), h.events+1)
	}
	for _, p := range named(e) {
		if err := p.Validate(); err != nil || p.Role == "" {
			h.t.Fatalf("%s names %+v: %v", e.EventType(), p, err)
		}
		if customer := h.state.Customer.ID; p.ID == customer && p.Role != domain.Customer {
			h.t.Fatalf("%s names the customer as %s", e.EventType(), p.Role)
		}
	}
	h.events++
	switch e := e.(type) {
	case conversation.Created:
		h.status = conversation.Open
	case conversation.MessagePosted:
		h.messages = append(h.messages, conversation.Message{
			ID: e.MessageID, AuthorID: e.Author.ID, Text: e.Text, Private: e.Private,
			Playable: conversation.Playable(e.Author.Role, e.ContentType, e.Attachments),
		})
	case conversation.MessageEdited:
		m := h.message(e.MessageID)
		if m.Deleted || e.Previous != m.Text || e.Text == m.Text ||
			e.By.Role != domain.Agent && e.By.ID != m.AuthorID {
			h.t.Fatalf("%+v edited by %+v", m, e)
		}
		m.Text = e.Text
	case conversation.MessageDeleted:
		m := h.message(e.MessageID)
		if m.Deleted || e.By.Role != domain.Agent && e.By.ID != m.AuthorID {
			h.t.Fatalf("%+v deleted by %+v", m, e)
		}
		m.Deleted = true
	case conversation.TypingStarted:
		if h.typing[e.Author.ID] || !e.ExpiresAt.After(h.now) {
			h.t.Fatalf("%s started typing until %s; typed already: %t", e.Author.ID, e.ExpiresAt, h.typing[e.Author.ID])
		}
		h.typing[e.Author.ID] = true
	case conversation.TypingStopped:
		if !h.typing[e.Author.ID] {
			h.t.Fatalf("%s stopped typing without having started", e.Author.ID)
		}
		delete(h.typing, e.Author.ID)
	case conversation.StatusChanged:
		if e.From != h.status || e.To == h.status || e.To == conversation.StatusEnded {
			h.t.Fatalf("status changed from %s to %s while it was %s", e.From, e.To, h.status)
		}
		h.status = e.To
	case conversation.Closed:
		if len(h.typing) != 0 {
			h.t.Fatalf("closed while these type: %v", h.typing)
		}
		h.status = conversation.StatusEnded
	case conversation.Reopened:
		if h.status != conversation.StatusEnded || e.By.Role != domain.Agent {
			h.t.Fatalf("reopened by %s while %s", e.By.Role, h.status)
		}
		h.status = conversation.Open
	case conversation.AttributesChanged:
		h.checkChanges(e.Changes)
	case conversation.CustomerUpdated:
		h.checkChanges(e.Changes)
	case conversation.Read:
		if e.UpTo <= h.horizons[e.By.ID] || e.UpTo >= h.events {
			h.t.Fatalf("%s read up to %d in event %d, before up to %d", e.By.ID, e.UpTo, h.events, h.horizons[e.By.ID])
		}
		h.horizons[e.By.ID] = e.UpTo
	case conversation.Assigned:
		if e.Previous != nil != (h.assignee != "") || e.Agent.ID == h.assignee {
			h.t.Fatalf("assigned to %s while %q had it: %+v", e.Agent.ID, h.assignee, e.Previous)
		}
		h.assignee = e.Agent.ID
	case conversation.Unassigned:
		if h.assignee == "" || e.Previous.ID != h.assignee {
			h.t.Fatalf("taken from %s while %q had it", e.Previous.ID, h.assignee)
		}
		h.assignee = ""
	case conversation.MessagePlayed:
		m := h.message(e.MessageID)
		if m.Deleted || !m.Playable || m.Private != e.Private || slices.Contains(m.PlayedBy, e.Viewer.ID) {
			h.t.Fatalf("%+v played by %+v", m, e)
		}
		m.PlayedBy = append(m.PlayedBy, e.Viewer.ID)
		if limit := 1 + conversation.MaxAgents + conversation.MaxCustomers; len(m.PlayedBy) > limit {
			h.t.Fatalf("%s was played by %d people; only %d can take part", m.ID, len(m.PlayedBy), limit)
		}
	case conversation.ActivityRecorded:
	}
}

func (h *history) checkChanges(changes []domain.Change) {
	h.t.Helper()
	if len(changes) == 0 {
		h.t.Fatalf("an event says that something changed, but not what")
	}
	for _, c := range changes {
		if bytes.Equal(c.Previous, c.Current) || !json.Valid(c.Previous) || !json.Valid(c.Current) {
			h.t.Fatalf("%s changed from %s to %s", c.Key, c.Previous, c.Current)
		}
	}
}

func (h *history) checkState() {
	h.t.Helper()
	s := h.state
	if s.Version != h.events || s.Status != h.status {
		h.t.Fatalf("the state is at version %d and %s after %d events and %s", s.Version, s.Status, h.events, h.status)
	}
	agents, customers := 0, 0
	for _, p := range s.People {
		switch p.Role {
		case domain.Customer:
			customers++
		case domain.System:
			h.t.Fatalf("the state remembers the system: %+v", p)
		default:
			agents++
		}
	}
	if agents > conversation.MaxAgents || customers > conversation.MaxCustomers {
		h.t.Fatalf("the state has %d agents and %d customers", agents, customers)
	}
	if len(s.Typing) != len(h.typing) || len(s.Typing) > 1+len(s.People) {
		h.t.Fatalf("the state has %d typists of %d people; want %d", len(s.Typing), len(s.People), len(h.typing))
	}
	if len(s.Horizons) != len(h.horizons) || len(s.Horizons) > 1+len(s.People) {
		h.t.Fatalf("the state has %d horizons of %d people; want %d", len(s.Horizons), len(s.People), len(h.horizons))
	}
	if len(s.Labels) > conversation.MaxLabels || len([]rune(s.Subject)) > conversation.MaxSubjectLength {
		h.t.Fatalf("the state has %d labels and a subject of %d bytes", len(s.Labels), len(s.Subject))
	}
	if err := s.Attributes.Validate("attributes"); err != nil {
		h.t.Fatalf("the state's %v", err)
	}
}

// checkUnchanged checks that no later event changed an earlier state: they
// share memory.
func (h *history) checkUnchanged() {
	h.t.Helper()
	for _, r := range h.past {
		if diff := cmp.Diff(r.encoded, encoded(h.t, r.state)); diff != "" {
			h.t.Fatalf("the state at version %d was changed by a later event (-then +now):\n%s", r.state.Version, diff)
		}
	}
}

func (h *history) message(id string) *conversation.Message {
	i := slices.IndexFunc(h.messages, func(m conversation.Message) bool { return m.ID == id })
	if i < 0 {
		h.t.Fatalf("there is no message %q", id)
	}
	return &h.messages[i]
}

// named returns everybody an event names. It looks at all fields, so that it
// cannot forget one of a new event.
func named(e conversation.Event) []domain.Person {
	var out []domain.Person
	for _, v := range reflect.ValueOf(e).Fields() {
		switch f := v.Interface().(type) {
		case domain.Person:
			out = append(out, f)
		case *domain.Person:
			if f != nil {
				out = append(out, *f)
			}
		}
	}
	return out
}

// stored returns e as it comes back from the log, which does not escape what
// only HTML needs escaped.
func stored(t *rapid.T, e conversation.Event) conversation.Event {
	t.Helper()
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(e); err != nil {
		t.Fatalf("%s does not encode: %v", e.EventType(), err)
	}
	out := reflect.New(reflect.TypeOf(e))
	if err := json.Unmarshal(buf.Bytes(), out.Interface()); err != nil {
		t.Fatalf("%s does not decode: %v", e.EventType(), err)
	}
	back := out.Elem().Interface().(conversation.Event)
	if diff := cmp.Diff(encoded(t, e), encoded(t, back)); diff != "" {
		t.Fatalf("%s comes back from the log as something else (-then +now):\n%s", e.EventType(), diff)
	}
	return back
}

// encoded is what tells two values apart for the log: nil and empty lists that
// are stored alike are the same.
func encoded(t *rapid.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatalf("%T does not encode: %v", v, err)
	}
	return string(b)
}

// drawCommand draws a command that mostly makes sense in this history.
func drawCommand(t *rapid.T, h *history) conversation.Command {
	if h.status == "" && rapid.IntRange(0, 9).Draw(t, "open") > 0 {
		return drawCreate(t)
	}
	if h.status == conversation.StatusEnded && rapid.Bool().Draw(t, "reopen") {
		return conversation.Reopen{By: drawPerson(t)}
	}
	switch rapid.IntRange(0, 24).Draw(t, "command") {
	default:
		return drawMessage(t, h)
	case 5:
		return drawCreate(t)
	case 6, 7:
		return conversation.EditMessage{Message: drawKnown(t, h), Text: drawText(t), By: drawPerson(t)}
	case 8:
		return conversation.DeleteMessage{Message: drawKnown(t, h), By: drawPerson(t)}
	case 9, 10, 11:
		return conversation.SetTyping{
			Author: drawPerson(t), On: rapid.IntRange(0, 2).Draw(t, "on") > 0, Private: rapid.Bool().Draw(t, "private"),
			TTL: time.Duration(rapid.IntRange(0, 31).Draw(t, "ttl")) * time.Second,
		}
	case 12:
		return conversation.ExpireTyping{AuthorID: drawPerson(t).ID}
	case 13, 14:
		c := conversation.ChangeStatus{
			To: rapid.SampledFrom([]conversation.Status{
				conversation.Open, conversation.Pending, conversation.Snoozed, conversation.Resolved,
				conversation.StatusEnded, "asleep",
			}).Draw(t, "to"),
			Reason: drawText(t), By: drawOptional(t),
		}
		if rapid.Bool().Draw(t, "snooze") {
			until := h.now.Add(time.Duration(rapid.IntRange(-1, 9).Draw(t, "until")) * time.Hour)
			c.SnoozedUntil = &until
		}
		return c
	case 15:
		return conversation.Close{Type: drawText(t), By: drawOptional(t)}
	case 16:
		return conversation.Reopen{By: drawPerson(t)}
	case 17, 18:
		return conversation.Assign{Agent: drawOptional(t), By: drawOptional(t)}
	case 19, 20:
		return conversation.ChangeAttributes{
			Subject: drawPatch(t, rapid.Custom(drawText)),
			Priority: drawPatch(t, rapid.SampledFrom([]conversation.Priority{
				"", conversation.Low, conversation.Medium, conversation.High, conversation.Urgent, "asap",
			})),
			Labels: drawPatch(t, rapid.SliceOfN(rapid.Custom(drawText), 0, 4)),
			Team: drawPatch(t, rapid.Map(rapid.Custom(drawText), func(s string) conversation.Team {
				return conversation.Team{ID: s, Name: s, Number: int64(len(s))}
			})),
			Attributes: drawAttributes(t), By: drawOptional(t),
		}
	case 21:
		text := rapid.Custom(drawText)
		return conversation.UpdateCustomer{By: drawOptional(t), Patch: domain.PersonPatch{
			Name: drawPatch(t, text), FirstName: drawPatch(t, text), LastName: drawPatch(t, text),
			Email: drawPatch(t, text), Phone: drawPatch(t, text), AvatarURL: drawPatch(t, text),
			Identifier: drawPatch(t, text), Attributes: drawAttributes(t),
		}}
	case 22, 23:
		return conversation.MarkRead{By: drawPerson(t), UpTo: rapid.Int64Range(-1, h.events+1).Draw(t, "up to")}
	case 24:
		if rapid.Bool().Draw(t, "play") {
			return conversation.PlayMessage{Message: drawKnown(t, h), Viewer: drawPerson(t)}
		}
		return conversation.RecordActivity{
			Kind: rapid.SampledFrom([]conversation.ActivityKind{
				conversation.AppointmentScheduled, conversation.ProductPurchased,
				conversation.FormSubmitted, conversation.TaskCompleted, "danced",
			}).Draw(t, "kind"),
			Data: drawAttributes(t), By: drawOptional(t),
		}
	}
}

func drawCreate(t *rapid.T) conversation.Create {
	c := conversation.Create{
		Account: account, Inbox: inbox, Channel: drawText(t), Customer: ann,
		Subject: drawText(t), Attributes: drawAttributes(t),
	}
	c.Customer.Attributes = drawAttributes(t)
	if rapid.Bool().Draw(t, "with a message") {
		m := drawMessage(t, &history{})
		c.Message = &m
	}
	return c
}

func drawMessage(t *rapid.T, h *history) conversation.PostMessage {
	c := conversation.PostMessage{
		MessageID: "m" + strconv.Itoa(len(h.messages)), Author: drawPerson(t), Text: drawText(t),
		ContentType: drawText(t), ContentAttributes: drawAttributes(t), Private: rapid.Bool().Draw(t, "private"),
		ReplyTo: drawText(t), ExternalID: drawText(t), Attributes: drawAttributes(t),
	}
	for range rapid.SampledFrom([]int{0, 0, 1, 2, 16}).Draw(t, "attachments") {
		c.Attachments = append(c.Attachments, conversation.Attachment{
			URL: "https://example.com/a?b&c", Size: rapid.Int64Range(0, 9).Draw(t, "size"),
			FileType: rapid.SampledFrom([]string{"", "image", "audio", "video"}).Draw(t, "file type"),
		})
	}
	return c
}

// drawPerson draws one of a few people, of whom more or less is said, or one of
// a crowd.
func drawPerson(t *rapid.T) domain.Person {
	if rapid.IntRange(0, 5).Draw(t, "of the crowd") == 5 {
		role := rapid.SampledFrom([]domain.Role{domain.Agent, domain.Customer}).Draw(t, "crowd's role")
		n := rapid.IntRange(40, 55).Draw(t, "which of the crowd")
		return domain.Person{
			ID:   string(role) + "-" + strconv.Itoa(n),
			Role: rapid.SampledFrom([]domain.Role{"", role, domain.Agent, domain.Customer, domain.Bot}).Draw(t, "role"),
		}
	}
	p := rapid.SampledFrom([]domain.Person{{}, ann, ben, amy, amy, joe, rex, system}).Draw(t, "person")
	switch rapid.IntRange(0, 7).Draw(t, "said of them") {
	case 0, 1, 2:
		return id(p)
	case 3:
		p.Role = rapid.SampledFrom([]domain.Role{
			"", domain.Customer, domain.Agent, domain.Bot, domain.System, "boss",
		}).Draw(t, "role")
	case 4:
		p.Name, p.FirstName, p.LastName = "", drawText(t), drawText(t)
		p.Attributes = drawAttributes(t)
	}
	return p
}

func drawOptional(t *rapid.T) *domain.Person {
	if rapid.Bool().Draw(t, "nobody") {
		return nil
	}
	p := drawPerson(t)
	return &p
}

// drawKnown draws a message that was posted, or one that was not.
func drawKnown(t *rapid.T, h *history) conversation.Message {
	if len(h.messages) == 0 || rapid.IntRange(0, 9).Draw(t, "unknown") == 9 {
		return conversation.Message{}
	}
	return rapid.SampledFrom(h.messages).Draw(t, "message")
}

// drawText draws from few texts, so that values repeat. Now and then it is one
// that is refused, for most fields because it is too long.
func drawText(t *rapid.T) string {
	if rapid.IntRange(0, 39).Draw(t, "bad text") == 39 {
		return rapid.SampledFrom([]string{broken, runes(501)}).Draw(t, "text")
	}
	return rapid.SampledFrom([]string{"", "a", "a", "b", "c d", "<é&\u2028>", `"\`}).Draw(t, "text")
}

func drawPatch[T any](t *rapid.T, value *rapid.Generator[T]) domain.Patch[T] {
	switch rapid.IntRange(0, 4).Draw(t, "patch") {
	case 0:
		return set(value.Draw(t, "value"))
	case 1:
		return removed[T]()
	default:
		return domain.Patch[T]{}
	}
}

// drawAttributes draws nothing, mostly, or an object as a client would send it.
func drawAttributes(t *rapid.T) domain.Attributes {
	if rapid.IntRange(0, 39).Draw(t, "bad attributes") == 39 {
		return attributes("{\"a\":\"" + broken + "\"}")
	}
	return attributes(rapid.SampledFrom([]string{
		`null`, `null`, `null`, `null`, `{}`,
		`{"a":1}`, `{"a":null}`, `{"b":2,"a":1.0}`, `{"a":{"b":1,"c":[1,{"d":null}]}}`,
		`{"a":{"b":null,"e":{"f":null}}}`, `{"a":{"<b>":"<&>\u003c\u2028"}}`,
		`{"<a>":"<&>","b":"\u003C\u0026\\u003c\u2029"}`, `{"":"é","a":"\ud83d\ude00"}`,
	}).Draw(t, "attributes"))
}
