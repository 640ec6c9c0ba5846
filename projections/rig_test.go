package projections_test

import (
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"verbatim/domain"
	"verbatim/domain/conversation"
	"verbatim/domain/endpoint"
	"verbatim/eventstore"
	"verbatim/eventstore/eventstoretest"
	"verbatim/projections"
	"verbatim/webhooks"
	"verbatim/webhooks/dialect"
)

// noon is when everything in these tests happens.
var noon = time.Date(2026, 8, 3, 12, 0, 0, 0, time.UTC)

// clockStep is how long after that every event is decided.
const clockStep = time.Minute

func clock() time.Time { return noon }

var silent = slog.New(slog.DiscardHandler)

// tester is what *testing.T and *rapid.T have in common.
type tester interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

// rig is a log in memory and the rows that are made of it.
type rig struct {
	log   *eventstoretest.Memory
	codec *eventstore.Codec
	store *rows

	mu  sync.Mutex
	ids uint64
}

func newRig() *rig {
	return &rig{log: eventstoretest.NewMemory(), codec: eventstore.Catalogue(), store: newRows()}
}

func (g *rig) group(ps ...projections.Projection) *projections.Group {
	return projections.NewGroup(g.log, g.codec, g.store, clock, silent, ps...)
}

// id returns a UUID, another one each time and the same ones in each run.
func (g *rig) id() uuid.UUID {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.ids++
	id := uuid.UUID{6: 0x70, 8: 0x80}
	binary.BigEndian.PutUint64(id[8:], g.ids|1<<63)
	return id
}

func (g *rig) stream(kind string) string { return eventstore.StreamName(kind, g.id().String()) }

// add appends events to a stream, whatever its version, and returns the position
// of the last.
func (g *rig) add(t tester, stream string, events ...domain.Event) int64 {
	t.Helper()
	drafts := make([]eventstore.Draft, len(events))
	for i, e := range events {
		name, schema, data, err := g.codec.Encode(e)
		if err != nil {
			t.Fatal(err)
		}
		drafts[i] = eventstore.Draft{ID: g.id(), Type: name, Schema: schema, Time: noon.Add(clockStep), Data: data}
	}
	return g.append(t, "default", stream, drafts...)
}

func (g *rig) append(t tester, account, stream string, drafts ...eventstore.Draft) int64 {
	t.Helper()
	version := int64(0)
	for r, err := range g.log.ReadStream(context.Background(), stream, 0) {
		if err != nil {
			t.Fatal(err)
		}
		version = r.Version
	}
	first, err := g.log.Append(context.Background(), eventstore.Commit{
		Account: account, Appends: []eventstore.Append{{Stream: stream, Expected: version, Events: drafts}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return first + int64(len(drafts)) - 1
}

func (g *rig) head(t tester) int64 {
	t.Helper()
	head, err := g.log.Head(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return head
}

// catchUp loads the group and takes it to the head.
func catchUp(t tester, group *projections.Group) {
	t.Helper()
	if err := group.Load(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := group.CatchUp(context.Background()); err != nil {
		t.Fatal(err)
	}
}

// rows keeps what projections.Store keeps, in memory. As a database would, it
// keeps no memory of those who hand it rows. A delivery that is handed twice is
// there twice, so that it can be seen.
type rows struct {
	mu          sync.Mutex
	checkpoints map[string]int64
	inbox       map[string][]byte
	typing      map[projections.TypingKey]projections.TypingRow
	endpoints   map[string][]byte
	deliveries  []webhooks.Delivery
	parked      map[[2]string]projections.Parked
	wanted      map[[2]string]bool
	pages       int

	// Faults, if not nil. commit is asked before a page is committed, and may
	// have it committed all the same; read is asked before anything is read but
	// the row of a conversation.
	commit func(p *projections.Page) (committed bool, err error)
	read   func() error
}

var _ projections.Store = (*rows)(nil)

func newRows() *rows {
	return &rows{
		checkpoints: make(map[string]int64), inbox: make(map[string][]byte), endpoints: make(map[string][]byte),
		typing: make(map[projections.TypingKey]projections.TypingRow),
		parked: make(map[[2]string]projections.Parked), wanted: make(map[[2]string]bool),
	}
}

func (s *rows) ask(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.read == nil {
		return nil
	}
	return s.read()
}

func (s *rows) Checkpoints(ctx context.Context) (map[string]int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.checkpoints), s.ask(ctx)
}

func (s *rows) Parked(ctx context.Context) ([]projections.Parked, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sortedParked(), s.ask(ctx)
}

func (s *rows) sortedParked() []projections.Parked {
	return slices.SortedFunc(maps.Values(s.parked), func(a, b projections.Parked) int {
		return cmp.Or(cmp.Compare(a.Position, b.Position), cmp.Compare(a.Projection, b.Projection))
	})
}

func (s *rows) RetryWanted(ctx context.Context) ([]projections.Parked, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(s.sortedParked(), func(p projections.Parked) bool {
		return !s.wanted[[2]string{p.Projection, p.Stream}]
	}), s.ask(ctx)
}

// Erasures says that nobody is ever erased here.
func (s *rows) Erasures() int64 { return 0 }

func (s *rows) CommitPage(ctx context.Context, p *projections.Page) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	if !p.At.Equal(clock()) {
		return fmt.Errorf("the page was made at %v, not when its group has the time", p.At)
	}
	committed, err := true, error(nil)
	if s.commit != nil {
		committed, err = s.commit(p)
	}
	if !committed {
		return err
	}
	for _, c := range p.Checkpoints {
		if s.checkpoints[c.Projection] != c.From {
			return fmt.Errorf("%s: %w", c.Projection, projections.ErrLostCheckpoint)
		}
	}
	s.pages++
	for _, c := range p.Checkpoints {
		s.checkpoints[c.Projection] = c.To
	}
	for id, row := range p.Rows.Inbox {
		s.inbox[id] = encoded(row)
	}
	for key, row := range p.Rows.Typing {
		if s.typing[key] = row; row.Until.IsZero() {
			delete(s.typing, key)
		}
	}
	for id, row := range p.Rows.Endpoints {
		s.endpoints[id] = encoded(row)
	}
	s.deliveries = append(s.deliveries, p.Rows.Deliveries...)
	for _, r := range p.Released {
		delete(s.parked, [2]string{r.Projection, r.Stream})
	}
	for _, r := range p.Parked {
		s.parked[[2]string{r.Projection, r.Stream}] = r
		delete(s.wanted, [2]string{r.Projection, r.Stream})
	}
	return err
}

// Holds has no backfill: they are tested where they are kept.
func (s *rows) Holds(ctx context.Context) ([]projections.Hold, error) { return nil, s.ask(ctx) }

func encoded(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

func decoded[T any](b []byte) (v T) {
	if err := json.Unmarshal(b, &v); err != nil {
		panic(err)
	}
	return v
}

func (s *rows) InboxRow(ctx context.Context, id string) (row projections.InboxRow, found bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return row, false, err
	}
	b, ok := s.inbox[id]
	if !ok {
		return row, false, nil
	}
	return decoded[projections.InboxRow](b), true, nil
}

func (s *rows) EndpointRows(ctx context.Context) ([]projections.EndpointRow, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []projections.EndpointRow
	for _, b := range s.endpoints {
		out = append(out, decoded[projections.EndpointRow](b))
	}
	return out, s.ask(ctx)
}

func (s *rows) TypingDue(ctx context.Context, at time.Time, limit int) ([]projections.DueTyping, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []projections.DueTyping
	for key, row := range s.typing {
		if !row.Until.After(at) {
			out = append(out, projections.DueTyping{TypingKey: key, TypingRow: row})
		}
	}
	slices.SortFunc(out, func(a, b projections.DueTyping) int {
		return cmp.Or(a.Until.Compare(b.Until), cmp.Compare(a.AuthorID, b.AuthorID))
	})
	return out[:min(limit, len(out))], s.ask(ctx)
}

func (s *rows) NextTyping(ctx context.Context) (time.Time, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var next time.Time
	for _, row := range s.typing {
		if next.IsZero() || row.Until.Before(next) {
			next = row.Until
		}
	}
	return next, s.ask(ctx)
}

// inboxRow returns the row of a conversation as the store has it.
func (s *rows) inboxRow(t tester, stream string) projections.InboxRow {
	t.Helper()
	_, id := eventstore.SplitStream(stream)
	row, found, err := s.InboxRow(context.Background(), id)
	if err != nil || !found {
		t.Fatalf("no inbox row of %s: %v", stream, err)
	}
	return row
}

// counting writes a row for each event it is shown.
type counting struct {
	name   string
	poison func(r *eventstore.Recorded) error // may panic
	// project and settle are told of each call, if not nil.
	project func(r *eventstore.Recorded)
	settle  func(committed bool)
}

func (p *counting) Name() string                      { return p.name }
func (p *counting) Load(context.Context, int64) error { return nil }

func (p *counting) Settle(committed bool) {
	if p.settle != nil {
		p.settle(committed)
	}
}

func (p *counting) Project(_ context.Context, f webhooks.Fact, rows *projections.Rows) error {
	if p.project != nil {
		p.project(f.Recorded)
	}
	rows.Deliveries = append(rows.Deliveries, webhooks.Delivery{
		EndpointID: p.name, Stream: f.Stream, Version: f.Version, Position: f.Position,
	})
	if p.poison != nil {
		return p.poison(f.Recorded) // behind the row, which must be taken back
	}
	return nil
}

// seen returns the positions that a counting projection wrote, in the order in
// which it did.
func (s *rows) seen(name string) []int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []int64
	for _, d := range s.deliveries {
		if d.EndpointID == name {
			out = append(out, d.Position)
		}
	}
	return out
}

// upTo returns 1, 2, 3, … n, without some.
func upTo(n int64, without ...int64) []int64 {
	var out []int64
	for i := int64(1); i <= n; i++ {
		if !slices.Contains(without, i) {
			out = append(out, i)
		}
	}
	return out
}

// People of the tests.
var (
	jon  = domain.Person{ID: "jon", Role: domain.Customer, Name: "Jon Snow", FirstName: "Jon", LastName: "Snow"}
	arya = domain.Person{ID: "arya", Role: domain.Agent, Name: "Arya Stark", FirstName: "Arya", LastName: "Stark"}
	hal  = domain.Person{ID: "hal", Role: domain.Bot, Name: "Hal", IsBot: true}
)

func created() conversation.Created {
	return conversation.Created{
		Account: domain.Account{ID: "default", Number: 1}, Inbox: domain.Inbox{ID: "shop", Number: 1}, Channel: "web", Customer: jon,
	}
}

func posted(id string, author domain.Person, text string) conversation.MessagePosted {
	return conversation.MessagePosted{MessageID: id, Author: author, Text: text, ContentType: "text"}
}

func note(id, text string) conversation.MessagePosted {
	m := posted(id, arya, text)
	m.Private = true
	return m
}

// talk is a conversation at random, as the rules would have it.
type talk struct {
	state    conversation.State
	messages []conversation.Message
	at       time.Time
}

func newTalk() *talk { return &talk{at: noon} }

// next returns what follows from some command, which may be nothing.
func (c *talk) next(t *rapid.T) []domain.Event {
	c.at = c.at.Add(time.Duration(rapid.IntRange(0, 12).Draw(t, "seconds")) * time.Second)
	command := c.draw(t)
	events, err := conversation.Decide(c.state, command, c.at)
	if err != nil {
		return nil
	}
	out := make([]domain.Event, len(events))
	for i, e := range events {
		out[i] = e
		c.state = conversation.Evolve(c.state, e)
		switch e := e.(type) {
		case conversation.MessagePosted:
			c.messages = append(c.messages, conversation.Message{
				ID: e.MessageID, AuthorID: e.Author.ID, Text: e.Text, Private: e.Private,
				Playable: conversation.Playable(e.Author.Role, e.ContentType, e.Attachments),
			})
		case conversation.MessageEdited:
			c.message(e.MessageID).Text = e.Text
		case conversation.MessageDeleted:
			c.message(e.MessageID).Deleted = true
		case conversation.MessagePlayed:
			m := c.message(e.MessageID)
			m.PlayedBy = append(m.PlayedBy, e.Viewer.ID)
		}
	}
	return out
}

func (c *talk) message(id string) *conversation.Message {
	i := slices.IndexFunc(c.messages, func(m conversation.Message) bool { return m.ID == id })
	return &c.messages[i]
}

func (c *talk) draw(t *rapid.T) conversation.Command {
	if c.state.Status == "" {
		return conversation.Create{
			Account: domain.Account{ID: "default", Number: 1},
			Inbox:   domain.Inbox{ID: rapid.SampledFrom([]string{"shop", "site"}).Draw(t, "inbox"), Number: 1},
			Channel: rapid.SampledFrom([]string{"web", "mail"}).Draw(t, "channel"), Customer: jon,
			Attributes: domain.Attributes{{Key: "referer", Value: json.RawMessage(`"a"`)}},
		}
	}
	who := rapid.SampledFrom([]domain.Person{jon, arya, hal}).Draw(t, "who")
	if rapid.IntRange(0, 9).Draw(t, "dressed") == 0 {
		who.Email = rapid.SampledFrom([]string{"a@b.c", "d@e.f"}).Draw(t, "e-mail")
	}
	text := rapid.SampledFrom([]string{"hello", "no", "łódź 🛶", "a <b> & \"c\"\n", ""}).Draw(t, "text")
	id := fmt.Sprintf("00000000-0000-7000-8000-%012d", len(c.messages)+1)
	some := conversation.Message{}
	if len(c.messages) > 0 {
		some = rapid.SampledFrom(c.messages).Draw(t, "message")
	}
	switch rapid.IntRange(0, 18).Draw(t, "command") {
	case 0:
		return conversation.EditMessage{Message: some, Text: text, By: who}
	case 1:
		return conversation.DeleteMessage{Message: some, By: who}
	case 2, 3:
		return conversation.SetTyping{
			Author: who, On: rapid.Bool().Draw(t, "on"), Private: who.Role == domain.Agent && rapid.Bool().Draw(t, "private"),
		}
	case 4:
		return conversation.ChangeStatus{To: rapid.SampledFrom([]conversation.Status{
			conversation.Open, conversation.Pending, conversation.Resolved,
		}).Draw(t, "status")}
	case 5:
		return conversation.Assign{Agent: &arya}
	case 6:
		return conversation.Assign{}
	case 7:
		return conversation.MarkRead{By: who, UpTo: rapid.Int64Range(1, c.state.Version).Draw(t, "up to")}
	case 8:
		return conversation.ChangeAttributes{
			Subject:    domain.Patch[string]{Set: true, Value: &text},
			Attributes: domain.Attributes{{Key: "page", Value: json.RawMessage(`"` + id + `"`)}},
		}
	case 9:
		if rapid.IntRange(0, 3).Draw(t, "closed") == 0 {
			return conversation.Close{By: &arya}
		}
		return conversation.Reopen{By: arya}
	case 10:
		return conversation.PlayMessage{Message: some, Viewer: who}
	case 11, 12:
		labels := rapid.SampledFrom([][]string{{"vip"}, {"late", "vip"}, {"new"}, {}}).Draw(t, "labels")
		return conversation.ChangeAttributes{Labels: domain.Patch[[]string]{Set: true, Value: &labels}, By: &arya}
	case 13:
		return conversation.RecordActivity{
			Kind: rapid.SampledFrom([]conversation.ActivityKind{
				conversation.ProductPurchased, conversation.FormSubmitted, conversation.TaskCompleted,
			}).Draw(t, "activity"),
			Data: decoded[domain.Attributes]([]byte(rapid.SampledFrom([]string{
				`{}`, `{"product_id":17,"form_id":"f"}`, `{"product":{"id":"17"}}`, `{"product_ids":["a",18]}`,
				`{"products":[{"id":17},{"x":1},5,"17"]}`, `{"form":{"id":7}}`, `{"form":7,"product":"17","product_ids":17,"products":{"id":17}}`,
			}).Draw(t, "data"))),
		}
	default:
		return conversation.PostMessage{
			MessageID: id, Author: who, Text: text, Private: who.Role == domain.Agent && rapid.Bool().Draw(t, "private"),
			ContentType: rapid.SampledFrom([]string{"text", "audio"}).Draw(t, "content type"),
		}
	}
}

// registered is an endpoint as it begins.
func registered(s endpoint.Settings) endpoint.Registered {
	return endpoint.Registered{Account: domain.Account{ID: "default"}, Settings: s}
}

// formats are the formats of the program, made once: their descriptions are long.
var formats = sync.OnceValue(dialect.All)
