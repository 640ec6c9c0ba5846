package eventstore_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"verbatim/domain"
	"verbatim/domain/conversation"
	"verbatim/eventstore"
	"verbatim/eventstore/eventstoretest"
)

// A ledger is the aggregate of these tests: it adds up what is booked. Its
// commands are functions, so that each test decides as it needs.
type (
	ledger struct {
		Sum     int   `json:"sum"`
		Entries []int `json:"entries"`
	}
	ledgerCommand func(s ledger, at time.Time) ([]ledgerEvent, error)
	ledgerEvent   interface {
		domain.Event
		ledgerEvent()
	}
	booked struct {
		Amount int            `json:"amount"`
		Odd    map[string]any `json:"odd,omitempty"` // may be what does not encode
	}
	ledgers = eventstore.Aggregates[ledger, ledgerCommand, ledgerEvent]
	order   = eventstore.Order[ledger, ledgerCommand]
)

func (booked) EventType() string { return "ledger.booked" }
func (booked) ledgerEvent()      {}

const acme = "acme"

func now() time.Time {
	return time.Date(2024, 2, 29, 23, 59, 59, 123_456_789, time.FixedZone("", 3600))
}

func newLedgers(s eventstore.Store, schema ...int) *ledgers {
	codec := eventstore.NewCodec(eventstore.KindOf[booked](), eventstore.KindOf[priced]())
	return eventstore.NewAggregates(s, codec, now, eventstore.Rules[ledger, ledgerCommand, ledgerEvent]{
		Kind: "ledger", Schema: append(schema, 1)[0],
		Decide: func(s ledger, c ledgerCommand, at time.Time) ([]ledgerEvent, error) { return c(s, at) },
		Evolve: func(s ledger, e ledgerEvent) ledger {
			amount := e.(booked).Amount
			return ledger{s.Sum + amount, append(slices.Clip(s.Entries), amount)}
		},
	})
}

// book books amounts, whatever was booked before.
func book(amounts ...int) ledgerCommand {
	return func(ledger, time.Time) ([]ledgerEvent, error) {
		var events []ledgerEvent
		for _, a := range amounts {
			events = append(events, booked{Amount: a})
		}
		return events, nil
	}
}

const overdrawn domain.Refusal = "ledger.overdrawn"

// draw books minus amount, unless that is more than there is.
func draw(amount int) ledgerCommand {
	return func(s ledger, _ time.Time) ([]ledgerEvent, error) {
		if amount > s.Sum {
			return nil, overdrawn
		}
		return []ledgerEvent{booked{Amount: -amount}}, nil
	}
}

func newID() string { return uuid.Must(uuid.NewV7()).String() }

func mustExecute(t *testing.T, x *ledgers, o order) eventstore.Done[ledger] {
	t.Helper()
	done, err := x.Execute(t.Context(), o)
	if err != nil {
		t.Fatalf("execute: %v", err)
	}
	return done
}

// spy is a store that counts what is read and lets a test come in between.
type spy struct {
	eventstore.Store
	read     atomic.Int64 // events
	appends  atomic.Int64
	onAppend func(c eventstore.Commit) error // before it
	onStream func()                          // after the events were taken, before they are handed on
	onSave   func(eventstore.Snapshot)
}

func (s *spy) Append(ctx context.Context, c eventstore.Commit) (int64, error) {
	s.appends.Add(1)
	if s.onAppend != nil {
		if err := s.onAppend(c); err != nil {
			return 0, err
		}
	}
	return s.Store.Append(ctx, c)
}

func (s *spy) ReadStream(ctx context.Context, stream string, after int64) iter.Seq2[eventstore.Recorded, error] {
	return func(yield func(eventstore.Recorded, error) bool) {
		type result struct {
			r   eventstore.Recorded
			err error
		}
		var all []result
		for r, err := range s.Store.ReadStream(ctx, stream, after) {
			all = append(all, result{r, err})
		}
		if s.onStream != nil {
			s.onStream()
		}
		for _, one := range all {
			s.read.Add(1)
			if !yield(one.r, one.err) {
				return
			}
		}
	}
}

func (s *spy) SaveSnapshot(snap eventstore.Snapshot) {
	if s.onSave != nil {
		s.onSave(snap)
	}
	s.Store.SaveSnapshot(snap)
}

// atOnce runs do n times, all beside each other.
func atOnce(n int, do func(i int)) {
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { do(i) })
	}
	all.Wait()
}

func readAll(t *testing.T, s eventstore.Store) []eventstore.Recorded {
	t.Helper()
	var all []eventstore.Recorded
	for r, err := range s.ReadLog(t.Context(), 0) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
	}
	return all
}

func TestExecute(t *testing.T) {
	t.Parallel()
	s := eventstoretest.NewMemory()
	x, id := newLedgers(s), newID()
	mustExecute(t, x, order{Account: acme, ID: newID(), Command: book(1)}) // another one before it
	metadata := eventstore.Metadata{Actor: "key:1", Correlation: "<r>"}
	var decidedAt time.Time
	done := mustExecute(t, x, order{
		Account: acme, ID: id, Metadata: metadata,
		Command: func(_ ledger, at time.Time) ([]ledgerEvent, error) {
			decidedAt = at
			return []ledgerEvent{booked{Amount: 5}, booked{Amount: 7}}, nil
		},
	})
	stream := "ledger-" + id
	if diff := cmp.Diff(ledger{12, []int{5, 7}}, done.State); diff != "" || done.Stream != stream || done.Version != 2 || done.Replayed {
		t.Errorf("done is %+v", done)
	}
	if want := now().UTC().Truncate(time.Microsecond); decidedAt != want {
		t.Errorf("decided at %v; want %v", decidedAt, want)
	}
	log := readAll(t, s)
	if len(log) != 3 {
		t.Fatalf("the log has %d events; want 3", len(log))
	}
	for i := range log {
		log[i].Digest, log[i].Hash = [32]byte{}, [32]byte{} // not part of what is done
	}
	if diff := cmp.Diff(log[1:], done.Events); diff != "" {
		t.Errorf("what was appended is not what is in the log (-log +done):\n%s", diff)
	}
	if got := log[1]; got.Time != decidedAt || got.DecodeMetadata() != metadata || string(got.Data) != `{"amount":5}` || got.Schema != 1 {
		t.Errorf("the log has %+v", got)
	}

	// Nothing to do, and no.
	done = mustExecute(t, x, order{Account: acme, ID: id, Command: book()})
	if done.Version != 2 || done.State.Sum != 12 || len(done.Events) > 0 {
		t.Errorf("nothing to do came to %+v", done)
	}
	done, err := x.Execute(t.Context(), order{Account: acme, ID: id, Command: draw(13)})
	if refusal, ok := errors.AsType[domain.Refusal](err); !ok || refusal != overdrawn || err.Error() != string(overdrawn) || done.Version != 2 || done.State.Sum != 12 {
		t.Errorf("error is %v at version %d; want the refusal as it is, and where it was given", err, done.Version)
	}
	done = mustExecute(t, x, order{Account: acme, ID: newID(), Command: book()})
	if done.Version != 0 {
		t.Errorf("nothing happened to nothing, and it is at version %d", done.Version)
	}
	if got := readAll(t, s); len(got) != 3 {
		t.Errorf("the log has %d events; want 3", len(got))
	}
}

func key(name, body string) *eventstore.Key {
	return &eventstore.Key{Name: name, Fingerprint: eventstore.Digest([]byte(body))}
}

func TestExecuteReplays(t *testing.T) {
	t.Parallel()
	s := eventstoretest.NewMemory()
	x, y := newLedgers(s), newLedgers(s)
	id := newID()
	first := mustExecute(t, x, order{Account: acme, ID: id, Command: book(1, 2), Key: key("k", "body")})
	mustExecute(t, x, order{Account: acme, ID: newID(), Command: book(1)})
	mustExecute(t, x, order{Account: acme, ID: id, Command: book(3)})
	never := func(ledger, time.Time) ([]ledgerEvent, error) {
		t.Error("an order that was committed is decided again")
		return nil, nil
	}
	wrong := int64(99)
	for name, o := range map[string]order{
		"the same":                       {Account: acme, ID: id, Command: never, Key: key("k", "body")},
		"with a new id, as of a create":  {Account: acme, ID: newID(), Command: never, Key: key("k", "body")},
		"at a version that is not there": {Account: acme, ID: id, Command: never, Key: key("k", "body"), IfVersion: &wrong},
	} {
		for _, executor := range []*ledgers{x, y} {
			done := mustExecute(t, executor, o)
			if !done.Replayed || done.Stream != first.Stream || done.Version != 2 || done.State.Sum != 6 {
				t.Errorf("%s: %+v; want the stream and version of then, and the state of now", name, done)
			}
			for i := range done.Events {
				done.Events[i].Digest, done.Events[i].Hash = [32]byte{}, [32]byte{}
			}
			if diff := cmp.Diff(first.Events, done.Events); diff != "" {
				t.Errorf("%s: other events (-want +got):\n%s", name, diff)
			}
		}
	}
	for _, executor := range []*ledgers{x, y} {
		_, err := executor.Execute(t.Context(), order{Account: acme, ID: id, Command: never, Key: key("k", "another body")})
		if !errors.Is(err, eventstore.ErrKeyReused) {
			t.Errorf("with another body: %v; want ErrKeyReused", err)
		}
	}
	other := mustExecute(t, x, order{Account: "other", ID: newID(), Command: book(1), Key: key("k", "body")})
	if other.Replayed {
		t.Error("the key of another account was replayed")
	}

	// A commit of several streams is replayed as what it did to the last.
	several := eventstore.Commit{Account: "several", Key: key("k", "body"), Appends: []eventstore.Append{
		{Stream: "ledger-" + newID(), Events: []eventstore.Draft{{ID: uuid.New(), Type: "ledger.booked", Schema: 1, Data: []byte(`{"amount":1}`)}}},
		{Stream: "ledger-" + newID(), Events: []eventstore.Draft{{ID: uuid.New(), Type: "ledger.booked", Schema: 1, Data: []byte(`{"amount":2}`)}}},
	}}
	if _, err := s.Append(t.Context(), several); err != nil {
		t.Fatal(err)
	}
	last := mustExecute(t, x, order{Account: "several", ID: newID(), Command: never, Key: key("k", "body")})
	if last.State.Sum != 2 || len(last.Events) != 1 || last.Events[0].Stream != last.Stream {
		t.Errorf("of two streams it replays %+v; want the last", last)
	}

	// A key stands also for nothing to do; a refusal is not kept.
	mustExecute(t, x, order{Account: acme, ID: id, Command: book(), Key: key("nothing", "")})
	done := mustExecute(t, y, order{Account: acme, ID: id, Command: never, Key: key("nothing", "")})
	if !done.Replayed || done.Version != 3 || len(done.Events) > 0 || done.State.Sum != 6 {
		t.Errorf("nothing, replayed, is %+v", done)
	}
	o := order{Account: acme, ID: id, Command: draw(10), Key: key("draw", "10")}
	if _, err := x.Execute(t.Context(), o); !errors.Is(err, overdrawn) {
		t.Errorf("error is %v; want a refusal", err)
	}
	mustExecute(t, x, order{Account: acme, ID: id, Command: book(10)})
	if done := mustExecute(t, x, o); done.Replayed || done.State.Sum != 6 {
		t.Errorf("after a refusal the order is done: %+v", done)
	}
	if got := readAll(t, s); len(got) != 9 {
		t.Errorf("the log has %d events; want 9", len(got))
	}
}

// TestExecuteKeyRace: the same order is given to two processes at once. One of
// them commits it; the other answers the same, whatever its rules would say to
// it the second time.
func TestExecuteKeyRace(t *testing.T) {
	t.Parallel()
	const taken domain.Refusal = "ledger.taken"
	once := func(s ledger, _ time.Time) ([]ledgerEvent, error) {
		if s.Sum > 1 {
			return nil, taken
		}
		return []ledgerEvent{booked{Amount: 9}}, nil
	}
	one := int64(1)
	for name, change := range map[string]func(o *order){
		"refused the second time":           func(*order) {},
		"at a version that has moved on":    func(o *order) { o.IfVersion = &one },
		"to be prepared":                    func(o *order) { o.Prepare = func(context.Context, ledger) (ledgerCommand, error) { return once, nil } },
		"with nothing to do":                func(o *order) { o.Command = book() },
		"with something to do every time":   func(o *order) { o.Command = book(9) },
		"to another stream, as of a create": func(o *order) { o.Command = book(9) },
	} {
		for _, warm := range []bool{false, true} {
			s := eventstoretest.NewMemory()
			x, y := newLedgers(s), newLedgers(s)
			o := order{Account: acme, ID: newID(), Command: once, Key: key("k", "body")}
			change(&o)
			mustExecute(t, x, order{Account: acme, ID: o.ID, Command: book(1)})
			if warm {
				mustExecute(t, y, order{Account: acme, ID: o.ID, Command: book()})
			}
			// In the middle of y's first decision x does all of it.
			late, raced := o, false
			prepare, command := late.Prepare, late.Command
			if strings.Contains(name, "another stream") {
				late.ID = newID()
			}
			late.Prepare = func(ctx context.Context, s ledger) (ledgerCommand, error) {
				if !raced {
					raced = true
					mustExecute(t, x, o)
				}
				if prepare != nil {
					return prepare(ctx, s)
				}
				return command, nil
			}
			done, err := y.Execute(t.Context(), late)
			if err != nil || !done.Replayed || done.Stream != "ledger-"+o.ID {
				t.Errorf("%s, warm %t: %+v, %v; want what the other came to", name, warm, done, err)
			}
			late.Key = key("k", "another body")
			if _, err := y.Execute(t.Context(), late); !errors.Is(err, eventstore.ErrKeyReused) {
				t.Errorf("%s, warm %t: %v; want ErrKeyReused", name, warm, err)
			}
		}
	}
}

func TestExecuteKeyRaceOfMany(t *testing.T) {
	t.Parallel()
	s := eventstoretest.NewMemory()
	executors := []*ledgers{newLedgers(s), newLedgers(s), newLedgers(s)}
	id := newID()
	var first atomic.Int32
	atOnce(48, func(i int) {
		o := order{Account: acme, ID: id, Command: book(1, 1), Key: key("k", "body")}
		if i%2 == 0 {
			o.ID = newID()
		}
		done, err := executors[i%3].Execute(t.Context(), o)
		if err != nil || done.Version != 2 || len(done.Events) != 2 || done.Events[0].Position != 1 {
			t.Errorf("%+v, %v; want the same for all", done, err)
		}
		if !done.Replayed {
			first.Add(1)
		}
	})
	if got := readAll(t, s); len(got) != 2 || first.Load() != 1 {
		t.Errorf("the log has %d events and %d were the first; want 2 and 1", len(got), first.Load())
	}
}

func TestExecuteIfVersion(t *testing.T) {
	t.Parallel()
	s := eventstoretest.NewMemory()
	x, y := newLedgers(s), newLedgers(s)
	id := newID()
	at := func(version int64) order {
		return order{Account: acme, ID: id, Command: book(1), IfVersion: &version}
	}
	refused := func(x *ledgers, wanted, actual int64) {
		t.Helper()
		_, err := x.Execute(t.Context(), at(wanted))
		if v, ok := errors.AsType[*eventstore.VersionError](err); !ok || v.Wanted != wanted || v.Actual != actual {
			t.Errorf("at version %d: %v; want a VersionError that it is %d", wanted, err, actual)
		}
	}
	refused(x, 1, 0)
	mustExecute(t, x, at(0))
	refused(x, 0, 1)
	mustExecute(t, y, at(1))
	mustExecute(t, y, at(2))
	// x still has version 1 in mind: it finds out either way.
	refused(x, 1, 3)
	mustExecute(t, y, at(3))
	mustExecute(t, x, at(4))
	refused(y, 4, 5)
	if got := (&eventstore.VersionError{Wanted: 1, Actual: 3}).Error(); got != "version is 3, not 1" {
		t.Errorf("it says %q", got)
	}
}

// TestExecuteSaysNoOnlyFresh: a no, or nothing to do, is said of what the stream
// is now, also if another process has moved it on.
func TestExecuteSaysNoOnlyFresh(t *testing.T) {
	t.Parallel()
	empty := func(s ledger, _ time.Time) ([]ledgerEvent, error) { // what is there, all of it
		if s.Sum == 0 {
			return nil, nil
		}
		return []ledgerEvent{booked{Amount: -s.Sum}}, nil
	}
	for _, tt := range []struct {
		name          string
		before, after int // what is booked before x knows it, and after
		command       ledgerCommand
		want          error
		sum           int
	}{
		{"no of what was is yes of what is", 1, 9, draw(10), nil, 0},
		{"yes of what was is no of what is", 10, -9, draw(10), overdrawn, 1},
		{"nothing to do of what was is something of what is", 0, 7, empty, nil, 0},
		{"something to do of what was is nothing of what is", 7, -7, empty, nil, 0},
		{"no of what was is no of what is", 1, 1, draw(10), overdrawn, 2},
	} {
		s := eventstoretest.NewMemory()
		x, y := newLedgers(s), newLedgers(s)
		id := newID()
		mustExecute(t, x, order{Account: acme, ID: id, Command: book(tt.before)})
		mustExecute(t, y, order{Account: acme, ID: id, Command: book(tt.after)})
		done, err := x.Execute(t.Context(), order{Account: acme, ID: id, Command: tt.command})
		if !errors.Is(err, tt.want) || done.State.Sum != tt.sum {
			t.Errorf("%s: %d, %v; want %d, %v", tt.name, done.State.Sum, err, tt.sum, tt.want)
		}
		if now, version, err := y.State(t.Context(), acme, id); err != nil || now.Sum != tt.sum || done.Version != version {
			t.Errorf("%s: the stream is at %d, version %d, %v", tt.name, now.Sum, version, err)
		}
	}
}

func TestExecuteTriesAgain(t *testing.T) {
	t.Parallel()
	for conflicts := range eventstore.MaxTries + 1 {
		s := eventstoretest.NewMemory()
		rival, id := newLedgers(s), newID()
		mustExecute(t, rival, order{Account: acme, ID: id, Command: book(100)})
		left := conflicts
		watched := &spy{Store: s}
		watched.onAppend = func(eventstore.Commit) error {
			if left > 0 {
				left--
				mustExecute(t, rival, order{Account: acme, ID: id, Command: book(1)})
			}
			return nil
		}
		var prepared []int
		done, err := newLedgers(watched).Execute(t.Context(), order{
			Account: acme, ID: id,
			Prepare: func(_ context.Context, s ledger) (ledgerCommand, error) {
				prepared = append(prepared, s.Sum)
				return draw(s.Sum), nil
			},
		})
		var want []int
		for i := range min(conflicts+1, eventstore.MaxTries) {
			want = append(want, 100+i)
		}
		if !slices.Equal(prepared, want) {
			t.Errorf("%d conflicts: prepared from %v; want %v, one for each try", conflicts, prepared, want)
		}
		if conflicts < eventstore.MaxTries {
			if err != nil || done.State.Sum != 0 || done.Version != int64(conflicts)+2 {
				t.Errorf("%d conflicts: %+v, %v", conflicts, done, err)
			}
		} else if conflict, ok := errors.AsType[*eventstore.ConflictError](err); !ok || conflict.Actual != conflict.Expected+1 {
			t.Errorf("%d conflicts: error is %v; want the last conflict", conflicts, err)
		}
	}
}

func TestExecutePrepareFails(t *testing.T) {
	t.Parallel()
	s := eventstoretest.NewMemory()
	x := newLedgers(s)
	broken := errors.New("broken")
	for _, k := range []*eventstore.Key{nil, key("k", "")} {
		_, err := x.Execute(t.Context(), order{Account: acme, ID: newID(), Key: k, Prepare: func(context.Context, ledger) (ledgerCommand, error) {
			return nil, broken
		}})
		if !errors.Is(err, broken) {
			t.Errorf("error is %v; want that of Prepare", err)
		}
	}
	if got := readAll(t, s); len(got) > 0 {
		t.Errorf("the log has %d events", len(got))
	}
}

func TestSnapshots(t *testing.T) {
	t.Parallel()
	s := eventstoretest.NewMemory()
	var saved []int64
	x := newLedgers(&spy{Store: s, onSave: func(snap eventstore.Snapshot) { saved = append(saved, snap.Version) }})
	id := newID()
	for range 250 {
		mustExecute(t, x, order{Account: acme, ID: id, Command: book(1)})
	}
	mustExecute(t, x, order{Account: acme, ID: id, Command: book(slices.Repeat([]int{1}, 230)...)})
	if want := []int64{200, 480}; !slices.Equal(saved, want) {
		t.Errorf("snapshots at %v; want %v", saved, want)
	}
	mustExecute(t, x, order{Account: acme, ID: id, Command: book(slices.Repeat([]int{1}, 20)...)})
	mustExecute(t, x, order{Account: acme, ID: id, Command: book(slices.Repeat([]int{1}, 30)...)})
	if want := []int64{200, 480, 500}; !slices.Equal(saved, want) {
		t.Errorf("snapshots at %v; want %v", saved, want)
	}

	want, _, err := x.State(t.Context(), acme, id)
	if err != nil || want.Sum != 530 {
		t.Fatalf("the sum is %d, %v", want.Sum, err)
	}
	stream := eventstore.StreamName("ledger", id)
	for _, tt := range []struct {
		name   string
		schema int
		save   *eventstore.Snapshot
		read   int64
	}{
		{"from the last snapshot", 1, nil, 30},
		{"without one of this schema", 2, nil, 530},
		{"with one that does not decode", 3, &eventstore.Snapshot{Stream: stream, Version: 530, Schema: 3, State: []byte(`{"sum":"x"}`)}, 530},
		{"with one that is half written", 4, &eventstore.Snapshot{Stream: stream, Version: 530, Schema: 4, State: []byte(`{"sum":7,`)}, 530},
	} {
		if tt.save != nil {
			s.SaveSnapshot(*tt.save)
		}
		watched := &spy{Store: s}
		got, version, err := newLedgers(watched, tt.schema).State(t.Context(), acme, id)
		if diff := cmp.Diff(want, got); diff != "" || version != 530 || err != nil {
			t.Errorf("%s: version %d, %v (-want +got):\n%s", tt.name, version, err, diff)
		}
		if n := watched.read.Load(); n != tt.read {
			t.Errorf("%s %d events were read; want %d", tt.name, n, tt.read)
		}
	}
}

// TestSnapshotAtTheEnd: a snapshot does not say whose the stream is; with no
// event behind it that is asked for.
func TestSnapshotAtTheEnd(t *testing.T) {
	t.Parallel()
	s := eventstoretest.NewMemory()
	id := newID()
	mustExecute(t, newLedgers(s), order{Account: acme, ID: id, Command: book(slices.Repeat([]int{1}, 200)...)})
	watched := &spy{Store: s}
	x := newLedgers(watched)
	if _, err := x.Execute(t.Context(), order{Account: "other", ID: id, Command: book(1)}); !errors.Is(err, eventstore.ErrForeign) {
		t.Errorf("error is %v; want ErrForeign", err)
	}
	if done := mustExecute(t, x, order{Account: acme, ID: id, Command: book(1)}); done.State.Sum != 201 || done.Version != 201 {
		t.Errorf("%d at version %d; want 201", done.State.Sum, done.Version)
	}
	if n := watched.read.Load(); n > 2 {
		t.Errorf("%d events were read; want the last one", n)
	}
}

// TestSnapshotsOfConversations: a state that comes out of a snapshot decides and
// evolves as the one that went in.
func TestSnapshotsOfConversations(t *testing.T) {
	t.Parallel()
	s := eventstoretest.NewMemory()
	open := func(schema int) *eventstore.Aggregates[conversation.State, conversation.Command, conversation.Event] {
		return eventstore.NewAggregates(s, eventstore.Catalogue(), now,
			eventstore.Rules[conversation.State, conversation.Command, conversation.Event]{
				Kind: "conversation", Schema: schema, Decide: conversation.Decide, Evolve: conversation.Evolve,
			})
	}
	x, id := open(conversation.StateSchema), newID()
	agent := domain.Person{ID: "a1", Role: domain.Agent, Name: "Samwell Tarly"}
	attributes := domain.Attributes{{Key: "z", Value: json.RawMessage(`"<&>"`)}, {Key: "a", Value: json.RawMessage(`1.0`)}}
	commands := []conversation.Command{
		conversation.Create{Customer: domain.Person{ID: "c1", Name: "Jon Snow", Attributes: attributes}, Attributes: attributes},
		conversation.SetTyping{On: true},
		conversation.SetTyping{Author: agent, On: true},
		conversation.Assign{Agent: &agent},
		conversation.MarkRead{By: agent, UpTo: 1},
	}
	for i := range 220 {
		commands = append(commands, conversation.PostMessage{MessageID: fmt.Sprint(i), Author: agent, Text: "Hodor"})
	}
	var version int64
	for _, c := range commands {
		done, err := x.Execute(t.Context(), eventstore.Order[conversation.State, conversation.Command]{Account: acme, ID: id, Command: c})
		if err != nil {
			t.Fatal(err)
		}
		version = done.Version
	}
	if _, err := s.LoadSnapshot(t.Context(), eventstore.StreamName("conversation", id)); err != nil {
		t.Fatal(err)
	}
	snapped, v1, err1 := open(conversation.StateSchema).State(t.Context(), acme, id)
	folded, v2, err2 := open(conversation.StateSchema+1).State(t.Context(), acme, id)
	if diff := cmp.Diff(folded, snapped); diff != "" || v1 != version || v2 != version || err1 != nil || err2 != nil {
		t.Errorf("versions %d and %d, errors %v and %v (-folded +from a snapshot):\n%s", v1, v2, err1, err2, diff)
	}
}

func TestState(t *testing.T) {
	t.Parallel()
	watched := &spy{Store: eventstoretest.NewMemory()}
	x, y := newLedgers(watched), newLedgers(watched.Store)
	id := newID()
	if s, version, err := x.State(t.Context(), acme, id); s.Sum != 0 || version != 0 || err != nil {
		t.Errorf("of what is not there: %+v at %d, %v", s, version, err)
	}
	mustExecute(t, y, order{Account: acme, ID: id, Command: book(1, 2)})
	for range 3 {
		if s, version, err := x.State(t.Context(), acme, id); s.Sum != 3 || version != 2 || err != nil {
			t.Errorf("%+v at %d, %v; want 3 at 2", s, version, err)
		}
	}
	mustExecute(t, y, order{Account: acme, ID: id, Command: book(4)})
	if s, version, err := x.State(t.Context(), acme, id); s.Sum != 7 || version != 3 || err != nil {
		t.Errorf("%+v at %d, %v; want 7 at 3", s, version, err)
	}
	if n := watched.read.Load(); n != 3 {
		t.Errorf("%d events were read; want 3, each once", n)
	}
	if _, _, err := x.State(t.Context(), "other", id); !errors.Is(err, eventstore.ErrForeign) {
		t.Errorf("of another account: %v; want ErrForeign", err)
	}
}

// TestStateDoesNotTakeBack: a reader that was slower than a writer leaves what
// the writer knows as it is, so that the next command is not a conflict.
func TestStateDoesNotTakeBack(t *testing.T) {
	t.Parallel()
	watched := &spy{Store: eventstoretest.NewMemory()}
	x, id := newLedgers(watched), newID()
	mustExecute(t, x, order{Account: acme, ID: id, Command: book(1)})
	watched.onStream = func() {
		watched.onStream = nil
		mustExecute(t, x, order{Account: acme, ID: id, Command: book(2)})
	}
	if s, version, err := x.State(t.Context(), acme, id); s.Sum != 1 || version != 1 || err != nil {
		t.Errorf("%+v at %d, %v; want what was read", s, version, err)
	}
	before := watched.appends.Load()
	mustExecute(t, x, order{Account: acme, ID: id, Command: book(3)})
	if n := watched.appends.Load() - before; n != 1 {
		t.Errorf("a command took %d appends; want 1", n)
	}
}

// TestForget: nothing is decided any more on what was known of a stream before,
// nor is what somebody reads of it just then kept; and who is deciding on it is
// waited for.
func TestForget(t *testing.T) {
	t.Parallel()
	watched := &spy{Store: eventstoretest.NewMemory()}
	x, id := newLedgers(watched), newID()
	mustExecute(t, x, order{Account: acme, ID: id, Command: book(1)})
	stream := eventstore.StreamName("ledger", id)
	forget := func() {
		if err := x.Forget(t.Context(), stream); err != nil {
			t.Error(err)
		}
	}
	decided := -1
	command := func(l ledger, _ time.Time) ([]ledgerEvent, error) {
		decided = l.Sum
		return []ledgerEvent{booked{Amount: 1}}, nil
	}
	// Somebody reads while it is forgotten: what they read is not what the next
	// command is decided on.
	reads := 0
	watched.onStream = func() {
		if reads++; reads == 1 {
			forget()
		}
	}
	forget()
	if _, _, err := x.State(t.Context(), acme, id); err != nil {
		t.Fatal(err)
	}
	before := reads
	mustExecute(t, x, order{Account: acme, ID: id, Command: command})
	if reads == before {
		t.Error("what was read while it was forgotten was kept")
	}
	watched.onStream = nil
	if decided != 1 {
		t.Errorf("decided on %d", decided)
	}
	// Whoever decides is waited for.
	deciding, goOn, done := make(chan struct{}), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		mustExecute(t, x, order{Account: acme, ID: id, Command: func(ledger, time.Time) ([]ledgerEvent, error) {
			close(deciding)
			<-goOn
			return nil, nil
		}})
	}()
	<-deciding
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := x.Forget(ctx, stream); !errors.Is(err, context.Canceled) {
		t.Errorf("forgotten under a command: %v", err)
	}
	close(goOn)
	<-done
	forget()
}

func TestExecuteForeign(t *testing.T) {
	t.Parallel()
	s := eventstoretest.NewMemory()
	x, y := newLedgers(s), newLedgers(s)
	id := newID()
	mustExecute(t, x, order{Account: acme, ID: id, Command: book(1)})
	version := int64(7)
	for name, o := range map[string]order{
		"an order":                {Account: "other", ID: id, Command: book(1)},
		"one that would be no":    {Account: "other", ID: id, Command: draw(100)},
		"one with a key":          {Account: "other", ID: id, Command: book(1), Key: key("k", "")},
		"one at another version":  {Account: "other", ID: id, Command: book(1), IfVersion: &version},
		"one of nothing":          {Account: "other", ID: id, Command: book()},
		"one without any account": {ID: id, Command: book(1)},
	} {
		for _, x := range []*ledgers{x, y} {
			if _, err := x.Execute(t.Context(), o); !errors.Is(err, eventstore.ErrForeign) {
				t.Errorf("%s: %v; want ErrForeign", name, err)
			}
		}
	}
	// Two processes create the same stream: the loser is told whose it is.
	late := order{Account: "other", ID: newID()}
	late.Command = func(ledger, time.Time) ([]ledgerEvent, error) {
		mustExecute(t, x, order{Account: acme, ID: late.ID, Command: book(1)})
		return []ledgerEvent{booked{Amount: 1}}, nil
	}
	if _, err := y.Execute(t.Context(), late); !errors.Is(err, eventstore.ErrForeign) {
		t.Errorf("error is %v; want ErrForeign", err)
	}
}

// TestTurns: commands on one aggregate wait for each other; those on others go
// on, and who waits may give up.
func TestTurns(t *testing.T) {
	t.Parallel()
	s := eventstoretest.NewMemory()
	watched := &spy{Store: s}
	x, id := newLedgers(watched), newID()
	var inside atomic.Int32
	atOnce(32, func(int) {
		mustExecuteFrom(t, x, order{Account: acme, ID: id, Command: func(ledger, time.Time) ([]ledgerEvent, error) {
			if inside.Add(1) != 1 {
				t.Error("two commands are decided at once")
			}
			defer inside.Add(-1)
			return []ledgerEvent{booked{Amount: 1}}, nil
		}})
	})
	if n := watched.appends.Load(); n != 32 {
		t.Errorf("32 commands took %d appends: they were in conflict", n)
	}

	deciding, goOn, ended := make(chan struct{}), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		mustExecuteFrom(t, x, order{Account: acme, ID: id, Command: func(ledger, time.Time) ([]ledgerEvent, error) {
			close(deciding)
			<-goOn
			return []ledgerEvent{booked{Amount: 1}}, nil
		}})
	}()
	<-deciding
	mustExecute(t, x, order{Account: acme, ID: newID(), Command: book(1)}) // another aggregate
	if got, _, err := x.State(t.Context(), acme, id); err != nil || got.Sum != 32 {
		t.Errorf("a reader sees %d, %v; want 32: it does not wait", got.Sum, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	waiting := make(chan error)
	for range 3 {
		go func() {
			_, err := x.Execute(ctx, order{Account: acme, ID: id, Command: book(1000)})
			waiting <- err
		}()
	}
	cancel()
	for range 3 {
		if err := <-waiting; !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), id) {
			t.Errorf("error is %v; want that of the context, and whom it waited for", err)
		}
	}
	close(goOn)
	<-ended
	if done := mustExecute(t, x, order{Account: acme, ID: id, Command: book(1)}); done.State.Sum != 34 {
		t.Errorf("the sum is %d; want 34", done.State.Sum)
	}
}

// mustExecuteFrom is mustExecute for a goroutine.
func mustExecuteFrom(t *testing.T, x *ledgers, o order) {
	t.Helper()
	if _, err := x.Execute(t.Context(), o); err != nil {
		t.Errorf("execute: %v", err)
	}
}

// TestTurnIsGivenOn: also by a command that panics.
func TestTurnIsGivenOn(t *testing.T) {
	t.Parallel()
	x, id := newLedgers(eventstoretest.NewMemory()), newID()
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic is lost")
			}
		}()
		_, _ = x.Execute(t.Context(), order{Account: acme, ID: id, Command: func(ledger, time.Time) ([]ledgerEvent, error) {
			panic("a command outside the closed set")
		}})
	}()
	mustExecute(t, x, order{Account: acme, ID: id, Command: book(1)})
}

// TestWarmIsBounded: of so many aggregates those used last are in memory.
func TestWarmIsBounded(t *testing.T) {
	t.Parallel()
	watched := &spy{Store: eventstoretest.NewMemory()}
	x := newLedgers(watched)
	ids := make([]string, eventstore.WarmAggregates+1)
	for i := range ids {
		ids[i] = newID()
		mustExecute(t, x, order{Account: acme, ID: ids[i], Command: book(1)})
		mustExecute(t, x, order{Account: acme, ID: ids[0], Command: book(1)}) // in use all the time
	}
	reads := func(id string, want int64) {
		t.Helper()
		before := watched.read.Load()
		mustExecute(t, x, order{Account: acme, ID: id, Command: book(1)})
		if got := watched.read.Load() - before; got != want {
			t.Errorf("%d events were read; want %d", got, want)
		}
	}
	reads(ids[len(ids)-1], 0)
	reads(ids[0], 0)
	reads(ids[2], 0)
	reads(ids[1], 1) // the one that was used least lately
	reads(ids[1], 0)
	reads(ids[3], 1) // and made room for it
}

func TestExecuteErrors(t *testing.T) {
	t.Parallel()
	broken := errors.New("the disk is broken")
	s := eventstoretest.NewMemory()
	watched := &spy{Store: s}
	x, id := newLedgers(watched), newID()
	mustExecute(t, x, order{Account: acme, ID: id, Command: book(1)})

	// Nobody knows whether it was committed: the next one reads.
	watched.onAppend = func(c eventstore.Commit) error {
		watched.onAppend = nil
		if _, err := s.Append(context.Background(), c); err != nil {
			t.Error(err)
		}
		return broken
	}
	_, err := x.Execute(t.Context(), order{Account: acme, ID: id, Command: book(2), Key: key("k", "")})
	if !errors.Is(err, broken) || !strings.Contains(err.Error(), id) {
		t.Errorf("error is %v; want that of the store, and of which stream", err)
	}
	if done := mustExecute(t, x, order{Account: acme, ID: id, Command: book(2), Key: key("k", "")}); !done.Replayed || done.State.Sum != 3 {
		t.Errorf("given again it came to %+v; want what was committed", done)
	}
	if n := watched.appends.Load(); n != 2 {
		t.Errorf("there were %d appends; want 2", n)
	}

	// What cannot be encoded is not appended.
	_, err = x.Execute(t.Context(), order{Account: acme, ID: id, Command: func(ledger, time.Time) ([]ledgerEvent, error) {
		return []ledgerEvent{booked{Amount: 1}, booked{Odd: map[string]any{"f": func() {}}}}, nil
	}})
	if err == nil || !strings.Contains(err.Error(), "ledger.booked") {
		t.Errorf("error is %v; want that it does not encode", err)
	}
	// A stream that does not read stops its commands, and says where.
	for _, tt := range []struct{ typ, want string }{
		{"ledger.closed", "unknown event type"},
		{"shop.priced", "does not belong here"},
	} {
		bad := newID()
		position, err := s.Append(t.Context(), eventstore.Commit{Account: acme, Appends: []eventstore.Append{{
			Stream: eventstore.StreamName("ledger", bad),
			Events: []eventstore.Draft{{ID: uuid.Must(uuid.NewV7()), Type: tt.typ, Schema: 1, Time: now(), Data: []byte(`{}`)}},
		}}})
		if err != nil {
			t.Fatal(err)
		}
		_, executing := x.Execute(t.Context(), order{Account: acme, ID: bad, Command: book(1)})
		_, _, reading := x.State(t.Context(), acme, bad)
		for _, err := range []error{executing, reading} {
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), fmt.Sprintf("position %d", position)) {
				t.Errorf("error is %v; want %q at position %d", err, tt.want, position)
			}
		}
	}

	done, cancel := context.WithCancel(t.Context())
	cancel()
	for _, k := range []*eventstore.Key{nil, key("other", "")} {
		if _, err := x.Execute(done, order{Account: acme, ID: newID(), Command: book(1), Key: k}); !errors.Is(err, context.Canceled) {
			t.Errorf("error is %v; want that of the context", err)
		}
	}
}

func ExampleAggregates() {
	conversations := eventstore.NewAggregates(eventstoretest.NewMemory(), eventstore.Catalogue(), now,
		eventstore.Rules[conversation.State, conversation.Command, conversation.Event]{
			Kind: "conversation", Schema: conversation.StateSchema, Decide: conversation.Decide, Evolve: conversation.Evolve,
		})
	order := eventstore.Order[conversation.State, conversation.Command]{
		Account: "default", ID: "0192f7a8-c1d2-7e5f-8a9b-0c1d2e3f4a5b",
		Command: conversation.Create{Customer: domain.Person{ID: "1", Name: "Jon Snow"}},
	}
	done, err := conversations.Execute(context.Background(), order)
	fmt.Println(done.Version, done.State.Customer.Name, err)
	_, err = conversations.Execute(context.Background(), order)
	fmt.Println(err)
	// Output:
	// 1 Jon Snow <nil>
	// conversation.already_exists
}
