package tests_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"verbatim/adapters/sqlite"
	"verbatim/domain"
	"verbatim/domain/conversation"
	"verbatim/domain/endpoint"
	"verbatim/eventstore"
	"verbatim/projections"
	"verbatim/webhooks"
)

// seamsEnv says how many runs TestBackfillsHaveNoSeam makes, if not a few.
const seamsEnv = "VERBATIM_SEAMS"

// TestBackfillsHaveNoSeam lets appends, pages of the projections, steps of the
// replays, attempts, crashes, changes of the endpoint, parked streams, pauses and
// new beginnings come in any order, drawn from a seed. Whatever it was: each
// event reaches the receiver once, each conversation in order, and none is missing
// behind where the endpoint began.
func TestBackfillsHaveNoSeam(t *testing.T) {
	t.Parallel()
	runs := 24
	if n, err := strconv.Atoi(os.Getenv(seamsEnv)); err == nil {
		runs = n
	}
	if testing.Short() {
		runs = 6
	}
	for seed := range uint64(runs) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			newSeam(t, seed).run()
		})
	}
}

// seam is one run.
type seam struct {
	t      *testing.T
	chance *rand.Rand
	dir    string
	store  *sqlite.Store
	codec  *eventstore.Codec
	log    *slog.Logger
	now    time.Time

	dialects *webhooks.Dialects
	sick     *atomic.Bool // the dialect cannot take sick messages
	group    *projections.Group
	replays  *projections.Replays
	seen     int64 // the last event that was handed to the group

	streams    []string
	versions   map[string]int64
	endpoint   string // stream
	id         string
	disabled   bool
	registered int64
	from       int64            // the first event that it is sent
	ahead      []beginning      // it will begin there, once that is projected
	wants      map[int64]bool   // by position of an event: it was wanted when it happened, or when the endpoint was registered
	events     map[int64]string // conversation events by position
	filtered   bool
	epoch      map[string]int64 // last position received by lane, since the endpoint last began
	received   map[string]bool  // webhook-ids
	at         map[int64]int    // webhooks received by position
	within     bool             // amid something
	settling   bool
}

// A beginning is an event by which an endpoint begins from a position on, or
// behind the event.
type beginning struct{ at, from int64 }

// sickly has one name for everything, and panics at sick messages while it is ill.
type sickly struct{ ill *atomic.Bool }

func (sickly) Name() string { return "sickly@1" }
func (sickly) Vocabulary() []webhooks.EventType {
	return []webhooks.EventType{{Word: webhooks.Word{Name: "said"}}, {Word: webhooks.Word{Name: "heard"}}}
}
func (sickly) Guide() string { return "" }

func (d sickly) Words(e domain.Event) []webhooks.Word {
	m, ok := e.(conversation.MessagePosted)
	if !ok {
		return nil
	}
	if m.Text == "sick" && d.ill.Load() {
		panic("sick")
	}
	return []webhooks.Word{{Name: "said"}, {Name: "heard"}}
}

func (sickly) AppendBody(dst []byte, e *webhooks.PublicEvent) ([]byte, error) {
	return append(dst, e.Name...), nil
}

func newSeam(t *testing.T, seed uint64) *seam {
	t.Helper()
	s := &seam{
		t: t, chance: rand.New(rand.NewPCG(seed, 17)), dir: t.TempDir(), codec: eventstore.Catalogue(),
		log: slog.New(slog.DiscardHandler), now: time.Date(2026, 8, 3, 12, 0, 0, 0, time.UTC), sick: &atomic.Bool{},
		versions: make(map[string]int64), wants: make(map[int64]bool), events: make(map[int64]string),
		epoch: make(map[string]int64), received: make(map[string]bool), at: make(map[int64]int),
	}
	s.dialects = webhooks.NewDialects(sickly{s.sick})
	s.open()
	t.Cleanup(func() { s.must(s.store.Close()) })
	for range 3 {
		s.streams = append(s.streams, eventstore.StreamName("conversation", newID(t)))
	}
	s.id = newID(t)
	s.endpoint = eventstore.StreamName("endpoint", s.id)
	// Another endpoint is sent everything as it happens: what the dialect cannot
	// take then is parked while the one that counts is in its history.
	s.append(eventstore.StreamName("endpoint", newID(t)), endpoint.Registered{Account: domain.Account{ID: "default"}, Settings: s.settings()})
	return s
}

func (s *seam) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// Reload and Wake need not tell anybody: attempts are made from the queue.
func (*seam) Reload(webhooks.Lane) {}
func (*seam) Wake(string)          {}

func (s *seam) open() {
	s.t.Helper()
	store, err := sqlite.Open(context.Background(), s.dir, sqlite.Options{})
	s.must(err)
	s.store = store
	s.remember()
}

// remember begins anew with nothing in memory.
func (s *seam) remember() {
	s.t.Helper()
	clock := func() time.Time { return s.now }
	pages := betweenPages{s.store, s}
	s.group = projections.NewGroup(s.store, s.codec, pages, clock, s.log,
		projections.NewEndpoints(s.store, nil), projections.NewPlan(s.store, s.codec, s.store, s.dialects, nil))
	s.must(s.group.Load(context.Background()))
	s.projected()
	transcripts := projections.NewTranscripts(s.store, s.codec, s.dialects, projections.TranscriptMemory)
	s.replays = projections.NewReplays(s.store, s.codec, s.dialects, betweenSteps{s.store, s}, transcripts, s, clock, s.log)
}

// betweenPages has replays step just before a page is committed.
type betweenPages struct {
	projections.Store
	s *seam
}

func (b betweenPages) CommitPage(ctx context.Context, p *projections.Page) error {
	b.s.amid(func() { b.s.step() })
	return b.Store.CommitPage(ctx, p)
}

// betweenSteps has the projections go on just before a step of a replay is
// committed.
type betweenSteps struct {
	webhooks.ReplayStore
	s *seam
}

func (b betweenSteps) StepReplay(
	ctx context.Context, before webhooks.Replay, step webhooks.ReplayStep, at time.Time,
) (webhooks.Replay, []webhooks.Lane, error) {
	b.s.amid(func() {
		b.s.say()
		if b.s.chance.IntN(2) == 0 {
			b.s.sick.Store(false)
		}
		err := b.s.group.CatchUp(ctx)
		if err == nil {
			err = b.s.group.Retry(ctx, true)
		}
		b.s.expected(err)
	})
	return b.ReplayStore.StepReplay(ctx, before, step, at)
}

// amid does something between other things at times, but not within itself.
func (s *seam) amid(do func()) {
	if s.within || s.settling || s.registered == 0 || s.chance.IntN(3) > 0 {
		return
	}
	s.within = true
	do()
	s.within = false
}

func (s *seam) append(stream string, e domain.Event) int64 {
	s.t.Helper()
	name, schema, data, err := s.codec.Encode(e)
	s.must(err)
	at, err := s.store.Append(context.Background(), eventstore.Commit{
		Account: "default",
		Appends: []eventstore.Append{{Stream: stream, Expected: s.versions[stream], Events: []eventstore.Draft{
			{ID: uuidV7(s.t), Type: name, Schema: schema, Time: s.now, Data: data},
		}}},
	})
	s.must(err)
	s.versions[stream]++
	return at
}

func (s *seam) say() {
	stream := s.streams[s.chance.IntN(len(s.streams))]
	if s.versions[stream] == 0 {
		s.append(stream, conversation.Created{Account: domain.Account{ID: "default"}, Customer: domain.Person{ID: "jon"}})
	}
	text := "well"
	if s.chance.IntN(8) == 0 {
		text = "sick"
	}
	at := s.append(stream, conversation.MessagePosted{MessageID: newID(s.t), Author: domain.Person{ID: "jon", Role: domain.Customer}, Text: text})
	s.events[at], s.wants[at] = stream, !s.filtered
}

func (s *seam) settings() endpoint.Settings {
	set := endpoint.Settings{URL: "https://example.com/", Dialect: "sickly@1", Events: []string{"*"}, Ordering: endpoint.PerConversation}
	if s.filtered {
		set.Events = []string{"conversation.closed"}
	}
	return set
}

// start draws where the endpoint begins; head is the last position there is.
func (s *seam) start(head int64) *endpoint.Start {
	switch s.chance.IntN(4) {
	case 0:
		return nil
	case 1:
		return &endpoint.Start{From: 1}
	case 2:
		return &endpoint.Start{}
	default:
		return &endpoint.Start{From: 1 + s.chance.Int64N(head+1)}
	}
}

// begins notes where the endpoint begins as soon as an event at that position is
// projected.
func (s *seam) begins(at int64, start *endpoint.Start) {
	if start != nil {
		s.ahead = append(s.ahead, beginning{at, start.From})
	}
}

// projected takes up where the endpoint begins now.
func (s *seam) projected() {
	for s.seen = s.group.Position(); len(s.ahead) > 0 && s.ahead[0].at <= s.seen; s.ahead = s.ahead[1:] {
		if s.from = s.ahead[0].from; s.from == 0 {
			s.from = s.ahead[0].at + 1
		}
		clear(s.epoch)
	}
}

func (s *seam) register() {
	s.t.Helper()
	head, err := s.store.Head(context.Background())
	s.must(err)
	start := s.start(head)
	s.must(s.store.AddSecret(context.Background(), s.id, "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=", s.now, s.now))
	at := s.append(s.endpoint, endpoint.Registered{Account: domain.Account{ID: "default"}, Settings: s.settings(), Start: start})
	s.registered, s.from = at, at
	s.begins(at, start)
}

func (s *seam) enable(start *endpoint.Start) {
	at := s.append(s.endpoint, endpoint.Enabled{Start: start})
	s.disabled = false
	s.begins(at, start)
}

// project hands some events to the open page.
func (s *seam) project() {
	s.t.Helper()
	n := 1 + s.chance.IntN(6)
	for r, err := range s.store.ReadLog(context.Background(), s.seen) {
		s.must(err)
		if n--; n < 0 {
			break
		}
		s.group.Project(context.Background(), &r)
		s.seen = r.Position
	}
}

// expected are the errors after which a page comes again.
func (s *seam) expected(err error) {
	s.t.Helper()
	if err != nil && !errors.Is(err, projections.ErrOvertaken) {
		s.t.Fatal(err)
	}
	s.projected()
}

func (s *seam) step() bool {
	s.t.Helper()
	s.now = s.now.Add(10 * time.Second) // whatever rests is due
	worked, _, err := s.replays.Step(context.Background())
	s.must(err)
	return worked
}

// send makes attempts, as a dispatcher does that knows nothing but the queue.
func (s *seam) send(all bool) (sent bool) {
	s.t.Helper()
	target, err := s.store.Target(context.Background(), s.id)
	if errors.Is(err, webhooks.ErrNoTarget) || err == nil && target.Disabled {
		return false
	}
	s.must(err)
	heads, err := s.store.Heads(context.Background(), webhooks.Lane{}, 100)
	s.must(err)
	for _, d := range heads {
		if d.EndpointID != s.id || d.DueAt.After(s.now) || !all && s.chance.IntN(2) == 0 {
			continue
		}
		if s.received[d.WebhookID] {
			s.t.Errorf("%s is sent twice", d.WebhookID)
		}
		if d.Position < s.epoch[d.Lane] {
			s.t.Errorf("%d of %s comes behind %d", d.Position, d.Lane, s.epoch[d.Lane])
		}
		if d.Position < s.from {
			s.t.Errorf("%d is sent to an endpoint that begins at %d", d.Position, s.from)
		}
		s.received[d.WebhookID], s.epoch[d.Lane], sent = true, d.Position, true
		s.at[d.Position]++
		a := webhooks.Attempt{Number: d.Attempts + 1, At: s.now, Outcome: webhooks.Outcome{Status: 200}, Digest: make([]byte, 32), Bytes: 1}
		s.must(s.store.Record(context.Background(), []webhooks.Report{
			{Delivery: d.After(a, webhooks.Next{State: webhooks.Delivered}, s.now), Attempt: a},
		}))
	}
	return sent
}

func (s *seam) open1() (webhooks.Replay, bool) {
	s.t.Helper()
	open, err := s.store.OpenReplays(context.Background())
	s.must(err)
	for _, r := range open {
		if r.State == webhooks.ReplayRunning || r.State == webhooks.ReplayPaused {
			return r, true
		}
	}
	return webhooks.Replay{}, false
}

func (s *seam) run() {
	s.t.Helper()
	ctx := context.Background()
	for range s.chance.IntN(30) {
		s.say()
	}
	if s.chance.IntN(2) == 0 {
		s.expected(s.group.CatchUp(ctx))
	}
	s.register()
	for range 150 {
		s.now = s.now.Add(time.Second)
		switch draw := s.chance.IntN(100); {
		case draw < 30:
			s.say()
		case draw < 45:
			s.project()
		case draw < 58:
			s.expected(s.group.Commit(ctx))
		case draw < 75:
			s.step()
		case draw < 84:
			s.send(false)
		case draw < 87: // a crash
			s.remember()
		case draw < 88: // with the file closed
			s.must(s.store.Close())
			s.open()
		case draw < 91:
			s.sick.Store(!s.sick.Load())
		case draw < 93:
			s.expected(s.group.Retry(ctx, true))
		case draw < 94:
			s.filtered = !s.filtered
			s.append(s.endpoint, endpoint.Updated{Settings: s.settings()})
		case draw < 97:
			head, err := s.store.Head(ctx)
			s.must(err)
			if s.disabled {
				s.enable(s.start(head))
			} else {
				s.append(s.endpoint, endpoint.Disabled{})
				s.disabled = true
			}
		default:
			r, found := s.open1()
			if found && r.State == webhooks.ReplayPaused {
				_, err := s.store.ResumeReplay(ctx, r.ID)
				s.must(err)
			} else if found {
				_, err := s.store.PauseReplay(ctx, r.ID)
				s.must(err)
			}
		}
	}
	s.settle()
	s.check()
}

// settle lets everything come to its end.
func (s *seam) settle() {
	s.t.Helper()
	ctx := context.Background()
	s.settling = true
	s.sick.Store(false)
	if s.disabled {
		s.enable(nil)
	}
	for quiet, rounds := 0, 0; quiet < 5; rounds++ {
		if rounds > 10_000 {
			open, err := s.store.OpenReplays(ctx)
			s.t.Fatalf("it does not come to an end: %+v %v", open, err)
		}
		for { // a backfill takes a page back once
			err := s.group.CatchUp(ctx)
			if err == nil {
				err = s.group.Retry(ctx, true)
			}
			if s.expected(err); err == nil {
				break
			}
		}
		if r, found := s.open1(); found && r.State == webhooks.ReplayPaused {
			_, err := s.store.ResumeReplay(ctx, r.ID)
			s.must(err)
		}
		worked := s.step()
		if sent := s.send(true); sent || worked {
			quiet = 0
		} else {
			quiet++
		}
	}
}

func (s *seam) check() {
	s.t.Helper()
	if r, found := s.open1(); found {
		s.t.Errorf("it has not ended: %+v", r)
	}
	if parked := s.group.Parked(); len(parked) > 0 {
		s.t.Errorf("parked: %v", parked)
	}
	var missing, extra []int64
	for at := range s.events {
		// What happened before the endpoint was registered is wanted as it was then.
		wanted := s.wants[at]
		if at < s.registered {
			wanted = true
		}
		switch {
		case wanted && at >= s.from && s.at[at] != 2:
			missing = append(missing, at)
		case !wanted && s.at[at] > 0:
			extra = append(extra, at)
		}
	}
	slices.Sort(missing)
	slices.Sort(extra)
	if len(missing) > 0 || len(extra) > 0 {
		s.t.Errorf("it begins at %d; missing %v, not wanted %v", s.from, missing, extra)
	}
	if off := s.offRecord(); len(off) > 0 {
		s.t.Errorf("owed and not on record: %v", off)
	}
	ds, _, err := s.store.Deliveries(context.Background(), s.id, webhooks.Selection{States: []webhooks.State{webhooks.Pending}}, webhooks.Mark{}, 10)
	s.must(err)
	if len(ds) > 0 {
		s.t.Errorf("pending: %+v", ds)
	}
}

// offRecord returns what the endpoint was owed at any time and has no two deliveries
// of, whatever became of them: also what it has skipped since is on record.
func (s *seam) offRecord() (off []int64) {
	s.t.Helper()
	backfills, err := s.store.Replays(context.Background(), "default", s.id, "", 1000)
	s.must(err)
	slices.SortFunc(backfills, func(a, b webhooks.Replay) int { return cmp.Compare(a.Begun, b.Begun) })
	for at := range s.events {
		owed, left := at > s.registered, false
		for _, b := range backfills {
			if b.Begun < at {
				left = at <= b.To // which it has not come to
			}
		}
		owed = owed && !left
		for _, b := range backfills {
			owed = owed || b.Selection.From <= at && at <= b.Cursor.Position
		}
		if wanted := s.wants[at] || at < s.registered; !wanted || !owed {
			continue
		}
		ds, err := s.store.DeliveriesAt(context.Background(), s.id, []int64{at})
		s.must(err)
		if len(ds) != 2 {
			off = append(off, at)
		}
	}
	slices.Sort(off)
	return off
}
