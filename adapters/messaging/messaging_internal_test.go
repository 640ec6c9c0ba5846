package messaging

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	wsql "github.com/ThreeDotsLabs/watermill-sql/v4/pkg/sql"
	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"verbatim/adapters/sqlite"
	"verbatim/domain"
	"verbatim/domain/conversation"
	"verbatim/eventstore"
	"verbatim/projections"
	"verbatim/webhooks"
)

var errInjected = errors.New("injected")

// rig is a log on a real file, and projections that follow it.
type rig struct {
	*sqlite.Store
	codec *eventstore.Codec
	// fail, if not nil, may refuse a page before it is committed.
	fail atomic.Pointer[func() error]
	// project, if not nil, is told of each event before it counts, and may
	// refuse it.
	project atomic.Pointer[func(r *eventstore.Recorded) error]
	errors  *errorLog
}

func openRig(t *testing.T) *rig {
	t.Helper()
	store, err := sqlite.Open(context.Background(), t.TempDir(), sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return &rig{Store: store, codec: eventstore.Catalogue(), errors: &errorLog{}}
}

// CommitPage commits a page, unless it is to fail.
func (g *rig) CommitPage(ctx context.Context, p *projections.Page) error {
	if fail := g.fail.Load(); fail != nil {
		if err := (*fail)(); err != nil {
			return err
		}
	}
	return g.Store.CommitPage(ctx, p)
}

// errorLog keeps what is logged as an error: an orderly run logs none.
type errorLog struct {
	mu      sync.Mutex
	records []string
}

func (*errorLog) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelError }

func (l *errorLog) Handle(_ context.Context, r slog.Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	line := r.Message
	r.Attrs(func(a slog.Attr) bool { line += " " + a.String(); return true })
	l.records = append(l.records, line)
	return nil
}

func (l *errorLog) WithAttrs([]slog.Attr) slog.Handler { return l }
func (l *errorLog) WithGroup(string) slog.Handler      { return l }

func (l *errorLog) check(t *testing.T) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range l.records {
		t.Error("logged:", r)
	}
}

// counting keeps a row with the positions of all events, in the order in which
// it was shown them: one that came twice is there twice.
type counting struct {
	rig *rig
	row projections.InboxRow
}

const countRow = "count"

func (*counting) Name() string { return "count" }

func (p *counting) Load(ctx context.Context, _ int64) (err error) {
	p.row, _, err = p.rig.InboxRow(ctx, countRow)
	return err
}

func (*counting) Settle(bool) {}

func (p *counting) Project(_ context.Context, f webhooks.Fact, rows *projections.Rows) error {
	if project := p.rig.project.Load(); project != nil {
		if err := (*project)(f.Recorded); err != nil {
			return err
		}
	}
	p.row.Conversation.ID, p.row.ActiveAt = countRow, f.Position
	p.row.Attention.Unread = append(slices.Clip(p.row.Attention.Unread), f.Position)
	rows.Inbox[countRow] = p.row
	return nil
}

func (g *rig) counted(t *testing.T) []int64 {
	t.Helper()
	row, _, err := g.InboxRow(context.Background(), countRow)
	if err != nil {
		t.Fatal(err)
	}
	return row.Attention.Unread
}

// checkCounted compares the rows with a log of n events, each projected once and
// in its place.
func (g *rig) checkCounted(t *testing.T, n int64) {
	t.Helper()
	want := make([]int64, n)
	for i := range want {
		want[i] = int64(i) + 1
	}
	if diff := cmp.Diff(want, g.counted(t)); diff != "" {
		t.Errorf("what was projected of %d events (-want +got):\n%s", n, diff)
	}
}

// subscription returns one with nothing in memory. Nothing but the bell wakes
// it, unless the test does.
func (g *rig) subscription() (*Subscription, *projections.Group) {
	logger := slog.New(g.errors)
	group := projections.NewGroup(g.Store, g.codec, g, time.Now, logger, projections.NewInbox(g), &counting{rig: g})
	s := New(Topic{DB: g.Readers(), Select: sqlite.SelectLog, Scan: sqlite.ScanEvent}, group, g.Events(), logger)
	s.polls, s.pause = make(chan time.Time), time.Microsecond
	return s, group
}

// run runs s; stop ends it and returns what Run came to.
func run(s *Subscription) (stop func() error) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	return func() error {
		cancel()
		return <-ended
	}
}

// follow runs a subscription until the test ends.
func (g *rig) follow(t *testing.T) *projections.Group {
	t.Helper()
	s, group := g.subscription()
	stop := run(s)
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	return group
}

// talk appends n events to a stream of its own in one commit and returns the
// position of the last.
func (g *rig) talk(t *testing.T, n int) int64 {
	t.Helper()
	position, err := g.say(eventstore.StreamName("conversation", newID(t).String()), 0, n)
	if err != nil {
		t.Fatal(err)
	}
	return position
}

func (g *rig) say(stream string, version int64, n int) (int64, error) {
	jon := domain.Person{ID: "jon", Role: domain.Customer, Name: "Jon Snow"}
	drafts := make([]eventstore.Draft, n)
	for i := range drafts {
		var e domain.Event = conversation.MessagePosted{MessageID: fmt.Sprint(i), Author: jon, Text: "hello", ContentType: "text"}
		if version == 0 && i == 0 {
			e = conversation.Created{Account: domain.Account{ID: "default"}, Customer: jon}
		}
		name, schema, data, err := g.codec.Encode(e)
		if err != nil {
			return 0, err
		}
		id, err := uuid.NewV7()
		if err != nil {
			return 0, err
		}
		drafts[i] = eventstore.Draft{ID: id, Type: name, Schema: schema, Time: time.Now(), Data: data}
	}
	first, err := g.Append(context.Background(), eventstore.Commit{
		Account: "default", Appends: []eventstore.Append{{Stream: stream, Expected: version, Events: drafts}},
	})
	return first + int64(n) - 1, err
}

func newID(t *testing.T) uuid.UUID {
	t.Helper()
	id, err := uuid.NewV7()
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func wait(t *testing.T, group *projections.Group, position int64) {
	t.Helper()
	if err := group.Wait(t.Context(), position); err != nil {
		t.Fatal(err)
	}
}

// TestFollows appends, event by event, and waits for each: only the bell can
// have woken the subscription.
func TestFollows(t *testing.T) {
	t.Parallel()
	g := openRig(t)
	group := g.follow(t)
	for range 20 {
		wait(t, group, g.talk(t, 1))
	}
	g.checkCounted(t, 20)
	g.errors.check(t)
}

// TestCatchesUp begins with a log of several pages, and then follows.
func TestCatchesUp(t *testing.T) {
	t.Parallel()
	g := openRig(t)
	for range 5 {
		g.talk(t, projections.PageSize/2+1)
	}
	group := g.follow(t)
	last := g.talk(t, 2)
	wait(t, group, last)
	g.checkCounted(t, last)
	g.errors.check(t)
}

// TestBusyLogKeepsItsOrder appends from several sides while the subscription
// goes back and forth between following and reading straight.
func TestBusyLogKeepsItsOrder(t *testing.T) {
	t.Parallel()
	g := openRig(t)
	group := g.follow(t)
	var writers sync.WaitGroup
	for writer := range 4 {
		writers.Go(func() {
			id, err := uuid.NewV7()
			if err != nil {
				t.Error(err)
				return
			}
			stream, version := eventstore.StreamName("conversation", id.String()), int64(0)
			for i := range 30 {
				n := 1 + (i*(writer+1))%(3*busyPage)
				if _, err := g.say(stream, version, n); err != nil {
					t.Error(err)
					return
				}
				version += int64(n)
			}
		})
	}
	writers.Wait()
	for _, n := range []int{1, busyPage, 100 * busyPage, 1, 1} {
		wait(t, group, g.talk(t, n))
	}
	head, err := g.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	g.checkCounted(t, head)
	g.errors.check(t)
}

// TestBetweenPages stops the projections again and again while the log is written
// to: in between all rows are exactly as of the checkpoints, and no event is lost
// or comes twice.
func TestBetweenPages(t *testing.T) {
	t.Parallel()
	g := openRig(t)
	s, group := g.subscription()
	stop := run(s)
	var talking sync.WaitGroup
	for range 3 {
		stream := eventstore.StreamName("conversation", newID(t).String())
		talking.Go(func() {
			for version := range int64(60) {
				if _, err := g.say(stream, version, 1); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 50 {
		err := s.Between(t.Context(), func(ctx context.Context) error {
			at, err := g.Checkpoints(ctx)
			if n := len(g.counted(t)); int64(n) != at["count"] {
				t.Errorf("%d events are in the rows as of %d", n, at["count"])
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Between(t.Context(), func(context.Context) error { return errInjected }); !errors.Is(err, errInjected) {
		t.Errorf("error %v", err)
	}
	talking.Wait()
	wait(t, group, 180)
	g.checkCounted(t, 180)
	if err := stop(); err != nil {
		t.Error(err)
	}
	g.errors.check(t)
}

// TestAFailedPageComesAgain lets pages fail, small ones that are followed and
// large ones that are read straight.
func TestAFailedPageComesAgain(t *testing.T) {
	t.Parallel()
	for _, fault := range []error{
		errInjected, projections.ErrLostCheckpoint, projections.ErrOvertaken, errors.Join(projections.ErrVoid, projections.ErrLostCheckpoint),
	} {
		for _, size := range []int{1, busyPage + 1, 3 * projections.PageSize / 4} {
			t.Run(fmt.Sprint(fault, " of ", size), func(t *testing.T) {
				t.Parallel()
				g := openRig(t)
				group := g.follow(t)
				wait(t, group, g.talk(t, 1))
				var asked atomic.Int64
				fail := func() error {
					if asked.Add(1)%2 == 1 { // each page fails once
						return fault
					}
					return nil
				}
				g.fail.Store(&fail)
				for range 4 {
					wait(t, group, g.talk(t, size))
				}
				if asked.Load() < 8 {
					t.Errorf("%d pages were committed or failed, want 8 or more", asked.Load())
				}
				g.checkCounted(t, int64(4*size)+1)
			})
		}
	}
}

// TestAPageThatBreaksOffComesAgain fails while the page is being read.
func TestAPageThatBreaksOffComesAgain(t *testing.T) {
	t.Parallel()
	g := openRig(t)
	s, group := g.subscription()
	var failed atomic.Bool
	s.topic.Scan = func(row interface{ Scan(...any) error }, r *eventstore.Recorded) error {
		if err := sqlite.ScanEvent(row, r); err != nil {
			return err
		}
		if r.Position == 3 && !failed.Swap(true) {
			return errInjected
		}
		return nil
	}
	stop := run(s)
	wait(t, group, g.talk(t, 1))
	wait(t, group, g.talk(t, 3))
	if err := stop(); err != nil {
		t.Error(err)
	}
	if !failed.Load() {
		t.Error("the page did not break off")
	}
	g.checkCounted(t, 4)
}

// TestStopAndStartInABurst stops the subscription again and again while events
// are appended, and starts it with nothing in memory. Nothing is lost, doubled
// or parked for it, and nobody is told of errors.
func TestStopAndStartInABurst(t *testing.T) {
	t.Parallel()
	g := openRig(t)
	const bursts = 300
	var writer sync.WaitGroup
	writer.Go(func() {
		id, err := uuid.NewV7()
		if err != nil {
			t.Error(err)
			return
		}
		stream, version := eventstore.StreamName("conversation", id.String()), int64(0)
		for i := range bursts {
			n := 1 + i%(busyPage+2)
			if _, err := g.say(stream, version, n); err != nil {
				t.Error(err)
				return
			}
			version += int64(n)
		}
	})
	burst := make(chan struct{})
	go func() {
		writer.Wait()
		close(burst)
	}()
	for starts, over := 0, false; !over || starts < 30; starts++ {
		s, group := g.subscription()
		stop := run(s)
		// Stop in the middle of something: just behind the next event, if there
		// still is one, or at once.
		select {
		case <-burst:
			over = true
		default:
			if starts%3 > 0 {
				wait(t, group, int64(len(g.counted(t)))+1)
			}
		}
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		if parked := group.Parked(); len(parked) > 0 {
			t.Fatalf("parked: %+v", parked)
		}
	}
	group := g.follow(t)
	head, err := g.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	wait(t, group, head)
	g.checkCounted(t, head)
	g.errors.check(t)
}

// TestStopInTheMiddleOfAnEvent stops while a projection is at work: it comes to
// its end, and what it made is either committed or comes again.
func TestStopInTheMiddleOfAnEvent(t *testing.T) {
	t.Parallel()
	g := openRig(t)
	s, group := g.subscription()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	wait(t, group, g.talk(t, 1))
	atWork, goOn := make(chan struct{}), make(chan struct{})
	project := func(r *eventstore.Recorded) error {
		if r.Position == 3 {
			close(atWork)
			<-goOn
		}
		return nil
	}
	g.project.Store(&project)
	g.talk(t, 3) // fewer than a busy page
	<-atWork
	cancel()
	close(goOn)
	if err := <-ended; err != nil {
		t.Error(err)
	}
	g.project.Store(nil)
	wait(t, g.follow(t), 4)
	g.checkCounted(t, 4)
	g.errors.check(t)
}

// TestStopAtOnce stops a subscription that has hardly begun. It must not wait
// for what never came about.
func TestStopAtOnce(t *testing.T) {
	t.Parallel()
	g := openRig(t)
	g.talk(t, 1)
	for range 50 {
		s, group := g.subscription()
		stop := run(s)
		wait(t, group, 1) // caught up: it is about to follow
		began := time.Now()
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took > closeTimeout/2 {
			t.Fatalf("stopping took %s", took)
		}
	}
	s, _ := g.subscription()
	done, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Run(done); err != nil {
		t.Errorf("a run that was over before it began came to %v", err)
	}
	g.errors.check(t)
}

// TestALateHandlerDoesNothing handles a message for which nobody waits any more:
// its page was ended without it, so that what comes before it may be missing.
func TestALateHandlerDoesNothing(t *testing.T) {
	t.Parallel()
	g := openRig(t)
	g.talk(t, 3)
	s, group := g.subscription()
	if err := group.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for r, err := range g.ReadLog(t.Context(), 2) {
		if err != nil {
			t.Fatal(err)
		}
		m := Message(&r)
		m.SetContext(ctx)
		if err := s.handle(m); err != nil {
			t.Error(err)
		}
	}
	if err := s.commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := group.Position(); got != 0 {
		t.Errorf("the group went on to %d", got)
	}
}

// TestTwoSubscriptionsOfOneStore lets two readers race for the same checkpoints,
// over a backlog and at the head: rows are not doubled.
func TestTwoSubscriptionsOfOneStore(t *testing.T) {
	t.Parallel()
	g := openRig(t)
	for range 3 {
		g.talk(t, projections.PageSize-7)
	}
	groups := []*projections.Group{g.follow(t), g.follow(t)}
	for i := range 40 {
		g.talk(t, 1+i%(2*busyPage))
	}
	head, err := g.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	wait(t, groups[0], head) // the other may lose every race until there is none
	g.checkCounted(t, head)
	last := g.talk(t, 1)
	for _, group := range groups {
		wait(t, group, last)
	}
	g.checkCounted(t, last)
}

// park has one event of a stream refused, another event behind it, and returns
// the stream and a signal of the next time the refused one is projected.
func (g *rig) park(t *testing.T, group *projections.Group) (stream string, again <-chan int64) {
	t.Helper()
	refuse := func(r *eventstore.Recorded) error {
		if r.Version == 2 {
			return errInjected
		}
		return nil
	}
	g.project.Store(&refuse)
	stream = eventstore.StreamName("conversation", newID(t).String())
	last, err := g.say(stream, 0, 3)
	if err != nil {
		t.Fatal(err)
	}
	wait(t, group, last)
	if parked := group.Parked(); len(parked) != 1 || parked[0].Stream != stream || parked[0].Version != 2 {
		t.Fatalf("parked are %+v, want version 2 of %s", parked, stream)
	}
	signal := make(chan int64, 10)
	accept := func(r *eventstore.Recorded) error {
		if r.Stream == stream {
			signal <- r.Version
		}
		return nil
	}
	g.project.Store(&accept)
	return stream, signal
}

// TestAskedRetryIsTakenUp asks for a parked stream to be tried again: the poll
// takes it up.
func TestAskedRetryIsTakenUp(t *testing.T) {
	t.Parallel()
	g := openRig(t)
	s, group := g.subscription()
	polls := make(chan time.Time)
	s.polls = polls
	stop := run(s)
	stream, again := g.park(t, group)
	polls <- time.Now() // nobody asked
	polls <- time.Now() // the one before is over
	select {
	case version := <-again:
		t.Errorf("version %d was tried again although nobody asked", version)
	default:
	}
	if n, err := g.AskRetry(t.Context(), "count"); n != 1 || err != nil {
		t.Fatalf("asking came to %d, %v", n, err)
	}
	polls <- time.Now()
	if first, second := <-again, <-again; first != 2 || second != 3 {
		t.Errorf("versions %d and %d were tried again, want 2 and 3", first, second)
	}
	polls <- time.Now() // the one before is over
	if parked := group.Parked(); len(parked) != 0 {
		t.Errorf("still parked: %+v", parked)
	}
	last, err := g.say(stream, 3, 1)
	if err != nil {
		t.Fatal(err)
	}
	wait(t, group, last)
	if err := stop(); err != nil {
		t.Error(err)
	}
	g.checkCounted(t, 4)
}

// TestAskedRetryOnABusyLog comes to the poll between two pages, when there is no
// quiet moment: retries must not wait for one.
func TestAskedRetryOnABusyLog(t *testing.T) {
	t.Parallel()
	g := openRig(t)
	s, group := g.subscription()
	stop := run(s)
	_, again := g.park(t, group)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := g.AskRetry(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	polls, latch := make(chan time.Time, 1), make(chan struct{}, 1)
	polls <- time.Now()
	latch <- struct{}{}
	w := &waiter{ctx: t.Context(), sub: s, latch: latch, polls: polls}
	if pause := w.HandleError(nil, false, nil); pause != 0 {
		t.Errorf("it pauses for %s", pause)
	}
	if len(again) != 2 || len(group.Parked()) != 0 {
		t.Errorf("%d events were tried again, parked are %+v", len(again), group.Parked())
	}
}

// TestParkedIsTriedAgainAtTheStart needs nobody to ask.
func TestParkedIsTriedAgainAtTheStart(t *testing.T) {
	t.Parallel()
	g := openRig(t)
	s, group := g.subscription()
	stop := run(s)
	g.park(t, group)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	group = g.follow(t)
	wait(t, group, g.talk(t, 1))
	if parked := group.Parked(); len(parked) != 0 {
		t.Errorf("still parked: %+v", parked)
	}
	g.checkCounted(t, 4)
}

// TestRunFailsLoudly has a store that does not take the backlog.
func TestRunFailsLoudly(t *testing.T) {
	t.Parallel()
	g := openRig(t)
	g.talk(t, 1)
	fail := func() error { return errInjected }
	g.fail.Store(&fail)
	s, _ := g.subscription()
	if err := s.Run(t.Context()); !errors.Is(err, errInjected) {
		t.Errorf("the run came to %v", err)
	}
}

// TestBeginsOnceThereIsRoom has a store that cannot write at first.
func TestBeginsOnceThereIsRoom(t *testing.T) {
	t.Parallel()
	g := openRig(t)
	last := g.talk(t, 3)
	tries := atomic.Int64{}
	fail := func() error {
		if tries.Add(1) < 3 {
			return fmt.Errorf("%w: the disk is full", eventstore.ErrUnwritable)
		}
		return nil
	}
	g.fail.Store(&fail)
	wait(t, g.follow(t), last)
	g.checkCounted(t, last)
	if len(g.errors.records) == 0 {
		t.Error("nobody was told")
	}
}

// TestNothingElseIsWritten asks for what only a fault would ask for.
func TestNothingElseIsWritten(t *testing.T) {
	t.Parallel()
	g := openRig(t)
	s, _ := g.subscription()
	if _, err := (schema{}).InsertQuery(wsql.InsertQueryParams{}); !errors.Is(err, errReadOnlyTopic) {
		t.Errorf("publishing came to %v", err)
	}
	b := beginner{s}
	if _, err := b.ExecContext(t.Context(), "DELETE FROM events"); !errors.Is(err, errReadOnlyTopic) {
		t.Errorf("writing outside of a page came to %v", err)
	}
	tx, err := b.BeginTx(t.Context(), &sql.TxOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.ExecContext(t.Context(), "DELETE FROM events"); !errors.Is(err, errReadOnlyTopic) {
		t.Errorf("writing in a page came to %v", err)
	}
	if _, err := tx.QueryContext(t.Context(), "SELECT nonsense"); err == nil {
		t.Error("a page that cannot be read came to no error")
	}
}
