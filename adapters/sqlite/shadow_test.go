package sqlite_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"verbatim/adapters/sqlite"
	"verbatim/domain"
	"verbatim/domain/conversation"
	"verbatim/domain/endpoint"
	"verbatim/eventstore"
	"verbatim/projections"
	"verbatim/webhooks"
)

var errInjected = errors.New("injected")

// rebuilding is a store with its projections and a rebuilder, whose steps the test
// takes.
type rebuilding struct {
	t     *testing.T
	dir   string
	store *sqlite.Store
	codec *eventstore.Codec
	group *projections.Group
	b     *projections.Rebuilder

	random   *rand.Rand
	versions map[string]int64
	swapped  []string
	now      time.Time
	compared func()       // called before rows are compared; may be nil
	broken   func() error // asked before rows are written or swapped; may be nil
}

// racing is a store where something happens just before rows are compared.
type racing struct {
	*sqlite.Store
	r *rebuilding
}

func (s racing) CompareShadow(
	ctx context.Context, projection string, after projections.RowKey, limit int, now time.Time,
) (projections.Comparison, error) {
	if s.r.compared != nil {
		s.r.compared()
	}
	return s.Store.CompareShadow(ctx, projection, after, limit, now)
}

func openRebuilding(t *testing.T, seed uint64) *rebuilding {
	t.Helper()
	r := &rebuilding{
		t: t, dir: t.TempDir(), codec: eventstore.Catalogue(), random: rand.New(rand.NewPCG(seed, 0)),
		versions: make(map[string]int64), now: noon(),
	}
	r.open()
	t.Cleanup(func() { r.close() })
	return r
}

func (r *rebuilding) close() {
	r.t.Helper()
	if err := r.store.Close(); err != nil {
		r.t.Error(err)
	}
}

// open begins as a process does.
func (r *rebuilding) open() {
	r.t.Helper()
	var err error
	if r.store, err = sqlite.Open(context.Background(), r.dir, sqlite.Options{}); err != nil {
		r.t.Fatal(err)
	}
	r.group = newGroup(r.store, r.codec)
	if err := r.group.Load(context.Background()); err != nil {
		r.t.Fatal(err)
	}
	r.b = projections.NewRebuilder(projections.RebuilderConfig{
		Log: r.store, Codec: r.codec, Store: racing{r.store, r}, Clock: func() time.Time { return r.now }, Slog: slog.New(slog.DiscardHandler),
		Names: r.group.Names(), Between: r.group.Between,
		Swapped: func(_ context.Context, projection string) { r.swapped = append(r.swapped, projection) },
	})
}

func newGroup(store *sqlite.Store, codec *eventstore.Codec) *projections.Group {
	return projections.NewGroup(store, codec, store, noon, slog.New(slog.DiscardHandler),
		projections.NewInbox(store), projections.NewTyping(nil), projections.NewEndpoints(store, nil),
		projections.NewPlan(store, codec, store, webhooks.NewDialects(), nil))
}

func (r *rebuilding) stream(kind string) string {
	return eventstore.StreamName(kind, uuid.Must(uuid.NewV7()).String())
}

func (r *rebuilding) add(stream string, events ...domain.Event) {
	r.t.Helper()
	drafts := make([]eventstore.Draft, len(events))
	for i, e := range events {
		name, schema, data, err := r.codec.Encode(e)
		if err != nil {
			r.t.Fatal(err)
		}
		drafts[i] = eventstore.Draft{ID: uuid.New(), Type: name, Schema: schema, Time: r.now, Data: data}
	}
	r.append(stream, drafts...)
}

func (r *rebuilding) append(stream string, drafts ...eventstore.Draft) {
	r.t.Helper()
	if _, err := r.store.Append(context.Background(), eventstore.Commit{
		Account: "acme", Appends: []eventstore.Append{{Stream: stream, Expected: r.versions[stream], Events: drafts}},
	}); err != nil {
		r.t.Fatal(err)
	}
	r.versions[stream] += int64(len(drafts))
}

// poison appends an event that nobody can decode.
func (r *rebuilding) poison(stream string) {
	r.append(stream, eventstore.Draft{ID: uuid.New(), Type: "conversation.unheard_of", Schema: 1, Time: r.now, Data: []byte("{}")})
}

var (
	rhaegar = domain.Person{ID: "rhaegar", Role: domain.Customer, Name: "Rhaegar <T.> & sons"}
	lyanna  = domain.Person{ID: "lyanna", Role: domain.Agent, Name: "Lyanna"}
)

func (r *rebuilding) begin() string {
	stream := r.stream("conversation")
	r.add(stream, conversation.Created{
		Account: domain.Account{ID: "acme"}, Inbox: domain.Inbox{ID: "shop"}, Channel: "web", Customer: rhaegar,
		Attributes: domain.Attributes{{Key: "page", Value: []byte(`{"a": "<b>", "c": [1, 2.50]}`)}},
	})
	return stream
}

// talk adds something to a conversation.
func (r *rebuilding) talk(stream string) {
	id := fmt.Sprint("m", r.versions[stream])
	switch r.random.IntN(8) {
	case 0:
		r.add(stream, conversation.StatusChanged{From: conversation.Open, To: conversation.Pending, By: &lyanna})
	case 1:
		r.add(stream, conversation.TypingStarted{Author: rhaegar, ExpiresAt: r.now.Add(10 * time.Second)})
	case 2:
		r.add(stream, conversation.TypingStopped{Author: rhaegar})
	case 3:
		r.add(stream, conversation.Read{By: lyanna, UpTo: r.versions[stream]})
	case 4:
		r.add(stream, conversation.MessagePosted{MessageID: id, Author: lyanna, Text: strings.Repeat("ł", 400), ContentType: "text", Private: true})
	default:
		r.add(stream, conversation.MessagePosted{MessageID: id, Author: rhaegar, Text: "<i> & you", ContentType: "text"})
	}
}

func (r *rebuilding) catchUp() {
	r.t.Helper()
	if err := r.group.CatchUp(context.Background()); err != nil {
		r.t.Fatal(err)
	}
}

// sql changes the file behind the back of everybody.
func (r *rebuilding) sql(statement string, args ...any) int64 {
	r.t.Helper()
	db, err := sql.Open("sqlite3", "file:"+filepath.Join(r.dir, "verbatim.db")+"?_busy_timeout=5000")
	if err != nil {
		r.t.Fatal(err)
	}
	defer db.Close()
	res, err := db.ExecContext(r.t.Context(), statement, args...)
	if err != nil {
		r.t.Fatalf("%s: %v", statement, err)
	}
	n, err := res.RowsAffected()
	if err != nil {
		r.t.Fatal(err)
	}
	return n
}

// dump returns every row of a query.
func dump(t *testing.T, store *sqlite.Store, query string) (out []string) {
	t.Helper()
	rows, err := store.Readers().QueryContext(t.Context(), query)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		t.Fatal(err)
	}
	for rows.Next() {
		row, places := make([]sql.RawBytes, len(columns)), make([]any, len(columns))
		for i := range row {
			places[i] = &row[i]
		}
		if err := rows.Scan(places...); err != nil {
			t.Fatal(err)
		}
		out = append(out, string(slices.Concat(slices.Collect(func(yield func([]byte) bool) {
			for _, v := range row {
				if !yield(v) || !yield([]byte("|")) {
					return
				}
			}
		})...)))
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

const dumpParked = "SELECT projection, stream, position, version FROM parked WHERE projection <> 'webhooks' ORDER BY 1, 2"

func readModelDumps() []string {
	return []string{"SELECT * FROM inbox ORDER BY 1", "SELECT * FROM typing ORDER BY 1, 2", "SELECT * FROM endpoints ORDER BY 1", dumpParked}
}

// isRight compares the read models with what a store makes of the log that has
// nothing but the log.
func (r *rebuilding) isRight(without ...string) {
	r.t.Helper()
	fresh := open(r.t, r.t.TempDir())
	if _, err := fresh.Import(context.Background(), r.store.ReadLog(context.Background(), 0)); err != nil {
		r.t.Fatal(err)
	}
	group := newGroup(fresh, r.codec)
	if err := errors.Join(group.Load(context.Background()), group.CatchUp(context.Background())); err != nil {
		r.t.Fatal(err)
	}
	for _, query := range readModelDumps() {
		if slices.ContainsFunc(without, func(s string) bool { return strings.Contains(query, s) }) {
			continue
		}
		if diff := cmp.Diff(dump(r.t, fresh, query), dump(r.t, r.store, query)); diff != "" {
			r.t.Fatalf("%s (-of the log +there):\n%s", query, diff)
		}
	}
}

func (r *rebuilding) ask(projection string) {
	r.t.Helper()
	if _, err := r.b.Ask(context.Background(), projection); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rebuilding) last(projection string) projections.Rebuild {
	r.t.Helper()
	all, err := r.b.Rebuilds(context.Background())
	if err != nil {
		r.t.Fatal(err)
	}
	return all[projection]
}

// steps takes steps until there is nothing to do, and calls between them.
func (r *rebuilding) steps(between func(step int)) {
	r.t.Helper()
	for i := range 10_000 {
		_, wait, err := r.b.Step(context.Background())
		if err != nil {
			r.t.Fatal(err)
		}
		if wait == webhooks.Forever {
			return
		}
		r.now = r.now.Add(time.Millisecond)
		if between != nil {
			between(i)
		}
	}
	r.t.Fatal("it does not end")
}

var quotes = regexp.MustCompile(`["\s]+|_b\b`)

// schema returns what the file has of a table, but for what a rename leaves.
func (r *rebuilding) schema() []string {
	r.t.Helper()
	out := dump(r.t, r.store, "SELECT sql FROM sqlite_schema WHERE tbl_name IN ('inbox', 'typing', 'endpoints') AND sql IS NOT NULL")
	for i := range out {
		out[i] = quotes.ReplaceAllString(out[i], "")
	}
	slices.Sort(out)
	return out
}

func (r *rebuilding) tables() []string {
	r.t.Helper()
	return dump(r.t, r.store, "SELECT name FROM sqlite_schema WHERE type = 'table' AND (name LIKE '%!_shadow' ESCAPE '!' OR name LIKE '%!_old' ESCAPE '!')")
}

// TestRebuildMends rebuilds read models that somebody has tampered with, again and
// again, and says what was wrong with them.
func TestRebuildMends(t *testing.T) {
	t.Parallel()
	r := openRebuilding(t, 1)
	var streams []string
	for range 50 {
		streams = append(streams, r.begin())
	}
	for range 400 {
		r.talk(streams[r.random.IntN(len(streams))])
	}
	poisoned := streams[7]
	r.poison(poisoned)
	r.talk(poisoned)
	ep := r.stream("endpoint")
	r.add(ep, endpoint.Registered{Account: domain.Account{ID: "acme"}, Settings: endpoint.Settings{URL: "https://a.example", Dialect: "d"}})
	r.add(ep, endpoint.Disabled{Reason: "tired"})
	r.add(r.stream("endpoint"), endpoint.Registered{Account: domain.Account{ID: "acme"}})
	r.catchUp()
	r.isRight()
	schema := r.schema()

	const insert = "INSERT INTO inbox SELECT conversation || 'x', account, status, active_at + 1000000, row FROM inbox LIMIT 3"
	for round := range 3 {
		want := map[string]projections.Differences{
			"inbox": {
				Missing: r.sql("DELETE FROM inbox WHERE conversation IN (SELECT conversation FROM inbox ORDER BY random() LIMIT 4)"),
				Surplus: r.sql(insert),
				Changed: r.sql("UPDATE inbox SET row = cast(replace(cast(row AS TEXT), 'Rhaegar', 'Viserys') AS BLOB) WHERE conversation IN (SELECT conversation FROM inbox WHERE conversation NOT LIKE '%x' LIMIT 5)"),
			},
			"typing": {
				Surplus: r.sql("INSERT INTO typing VALUES ('c', 'a', 'acme', 7)"),
				Changed: r.sql("UPDATE typing SET until = 9e15 WHERE author <> 'a' AND conversation = (SELECT min(conversation) FROM typing)"),
			},
			"endpoints": {Changed: r.sql("UPDATE endpoints SET account = 'evil' WHERE number = (SELECT min(number) FROM endpoints)")},
		}
		if want["typing"].Changed == 0 {
			t.Fatal("nobody types")
		}
		for name := range want {
			r.ask(name)
		}
		r.swapped = nil
		r.steps(nil)
		for name, want := range want {
			got := r.last(name)
			if n := want.Missing + want.Surplus + want.Changed; len(got.Differences.Examples) != int(min(n, projections.MaxRebuildExamples)) {
				t.Errorf("%d examples of %d differences: %+v", len(got.Differences.Examples), n, got.Differences.Examples)
			}
			got.Differences.Examples = nil
			if diff := cmp.Diff(want, got.Differences); diff != "" || got.State != projections.RebuildDone {
				t.Errorf("round %d, %s is %s: (-want +found):\n%s", round, name, got.State, diff)
			}
		}
		r.isRight()
		if diff := cmp.Diff(schema, r.schema()); diff != "" {
			t.Errorf("round %d (-schema before +after):\n%s", round, diff)
		}
		if left := r.tables(); len(left) > 0 || len(r.swapped) != 3 {
			t.Errorf("left: %s; swapped: %s", left, r.swapped)
		}
		// What serves goes on with the new rows.
		for range 100 {
			r.talk(streams[r.random.IntN(len(streams))])
		}
		r.catchUp()
		r.isRight()
	}
	r.ask("inbox")
	r.steps(nil)
	if got := r.last("inbox"); got.Differences.Any() || got.Parked != 1 || got.Released != 0 || got.Rows != 50 || got.Position == 0 ||
		got.Events != got.Position || got.EndedAt == nil || got.BuiltAt == nil {
		t.Errorf("nothing was wrong: %+v", got)
	}
}

// TestRebuildWhileItGoesOn interleaves, drawn from a seed, the steps of rebuilds
// with what happens in the log, projections, restarts, and streams that are parked
// and taken up again. What serves is never anything but right in the rows that were
// not tampered with, and right altogether in the end.
func TestRebuildWhileItGoesOn(t *testing.T) {
	t.Parallel()
	for seed := range uint64(8) {
		t.Run(fmt.Sprint("SEED=", seed), func(t *testing.T) {
			t.Parallel()
			r := openRebuilding(t, seed)
			var streams []string
			for range 1 + r.random.IntN(40) {
				streams = append(streams, r.begin())
			}
			var eps []string
			for range 3 {
				ep := r.stream("endpoint")
				r.add(ep, endpoint.Registered{Account: domain.Account{ID: "acme"}})
				eps = append(eps, ep)
			}
			cold := len(streams) / 2
			happen := func() {
				switch n := r.random.IntN(30); {
				case n == 0:
					streams = append(streams, r.begin())
				case n == 1:
					r.poison(streams[len(streams)-1])
				case n == 2:
					r.add(eps[r.random.IntN(len(eps))], endpoint.Disabled{Reason: "tired"}, endpoint.Enabled{})
				case len(streams) > cold:
					r.talk(streams[cold+r.random.IntN(len(streams)-cold)])
				}
			}
			for range r.random.IntN(1200) {
				happen()
			}
			r.catchUp()
			want := projections.Differences{}
			for _, stream := range streams[:cold] {
				_, id := eventstore.SplitStream(stream)
				switch r.random.IntN(3) {
				case 0:
					want.Missing += r.sql("DELETE FROM inbox WHERE conversation = ?", id)
				case 1:
					want.Changed += r.sql("UPDATE inbox SET status = 'odd' WHERE conversation = ?", id)
				}
			}
			names := []string{"inbox", "typing", "endpoints"}
			for _, name := range names {
				r.ask(name)
			}
			r.compared = func() {
				for range r.random.IntN(4) {
					happen()
				}
				if r.random.IntN(2) == 0 {
					r.catchUp()
				}
			}
			restarts := 0
			r.steps(func(step int) {
				for range r.random.IntN(3) {
					happen()
				}
				switch n := r.random.IntN(20); {
				case n < 8:
					r.catchUp()
				case n == 8:
					if err := r.group.Retry(context.Background(), true); err != nil {
						t.Fatal(err)
					}
				case n == 9 && restarts < 4 && step > r.random.IntN(40):
					restarts++
					r.close()
					r.open()
				case n == 10 && r.random.IntN(4) == 0:
					r.b.Forget()
				}
			})
			r.catchUp()
			for _, name := range names {
				if got := r.last(name); got.State != projections.RebuildDone {
					t.Errorf("%s: %+v", name, got)
				}
			}
			got := r.last("inbox").Differences
			got.Examples = nil
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-tampered with +found):\n%s", diff)
			}
			if left := r.tables(); len(left) > 0 {
				t.Errorf("left: %s", left)
			}
			r.isRight()
		})
	}
}

func (s racing) fail() error {
	if s.r.broken == nil {
		return nil
	}
	return s.r.broken()
}

func (s racing) WriteShadow(ctx context.Context, rows *projections.Rows) error {
	if err := s.fail(); err != nil {
		return err
	}
	return s.Store.WriteShadow(ctx, rows)
}

func (s racing) SwapShadow(ctx context.Context, swap projections.Swap, now time.Time) error {
	if err := s.fail(); err != nil {
		return err
	}
	return s.Store.SwapShadow(ctx, swap, now)
}

// TestRebuildFails: what fails is tried again, and given up after a while; what
// serves is as it was, and nothing is left.
func TestRebuildFails(t *testing.T) {
	t.Parallel()
	r := openRebuilding(t, 6)
	for range 2*projections.RebuildBatch + 10 {
		r.begin()
	}
	r.catchUp()
	r.sql("UPDATE inbox SET status = 'odd' WHERE conversation = (SELECT max(conversation) FROM inbox)")
	before := dump(t, r.store, readModelDumps()[0])
	for _, want := range []projections.RebuildState{projections.RebuildFailed, projections.RebuildDone} {
		fatal := want == projections.RebuildFailed
		asked, failed := 0, 0
		r.broken = func() error {
			if asked++; asked > 2 && (fatal || asked%2 == 0) {
				return errInjected
			}
			return nil
		}
		r.ask("inbox")
		for wait := time.Duration(0); wait != webhooks.Forever; {
			var err error
			if _, wait, err = r.b.Step(t.Context()); err != nil {
				if failed++; !errors.Is(err, errInjected) || wait != webhooks.Pause {
					t.Fatal(wait, err)
				}
				if got := r.last("inbox"); !strings.Contains(got.Error, errInjected.Error()) {
					t.Fatalf("%+v", got)
				}
			}
		}
		got := r.last("inbox")
		if got.State != want || failed == 0 || fatal != (failed == projections.MaxRebuildFaults) || fatal != (got.Error != "") || got.EndedAt == nil {
			t.Errorf("%d faults: %+v", failed, got)
		}
		if left := r.tables(); len(left) > 0 {
			t.Errorf("left: %s", left)
		}
		if fatal {
			if diff := cmp.Diff(before, dump(t, r.store, readModelDumps()[0])); diff != "" {
				t.Errorf("(-before +after):\n%s", diff)
			}
		}
	}
	r.isRight()
}

// TestRebuildReleases a stream that was parked for a reason that is gone.
func TestRebuildReleases(t *testing.T) {
	t.Parallel()
	r := openRebuilding(t, 7)
	stream := r.begin()
	r.catchUp()
	r.sql("INSERT INTO parked VALUES ('inbox', ?, 2, 2, 'it could not be done then', 1, 1, 0)", stream)
	if err := r.group.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.add(stream, conversation.MessagePosted{MessageID: "m", Author: rhaegar, Text: "a", ContentType: "text"})
	r.catchUp()
	r.ask("inbox")
	r.steps(nil)
	if got := r.last("inbox"); got.Released != 1 || got.Parked != 0 || got.Differences.Changed != 1 {
		t.Errorf("%+v", got)
	}
	if parked := r.group.Parked(); len(parked) > 0 {
		t.Errorf("%+v", parked)
	}
	r.add(stream, conversation.MessagePosted{MessageID: "n", Author: rhaegar, Text: "b", ContentType: "text"})
	r.catchUp()
	r.isRight()
}

// TestCompareShadow compares rows at random in pages of any size: together they
// find what a comparison of everything at once finds.
func TestCompareShadow(t *testing.T) {
	t.Parallel()
	r := openRebuilding(t, 3)
	if err := r.store.OpenShadow(t.Context(), "typing"); err != nil {
		t.Fatal(err)
	}
	put := func(table string, i, until int) {
		r.sql("INSERT INTO "+table+" VALUES (?, ?, 'acme', ?)", fmt.Sprintf("c%02d", i/2), fmt.Sprint("p", i%2), until)
	}
	soon := int(r.now.Add(conversation.MaxTypingTTL).UnixMicro())
	var want []projections.RowDifference
	rows := int64(0)
	for i := range 60 {
		key := projections.RowKey{ID: fmt.Sprintf("c%02d", i/2), Person: fmt.Sprint("p", i%2)}
		kind := projections.Difference("")
		switch n := r.random.IntN(7); {
		case n == 0 || i > 50: // a long end of one side alone
			put("typing", i, 5)
			kind = projections.RowSurplus
		case n == 1:
			put("typing_shadow", i, 5)
			kind = projections.RowMissing
		case n == 2:
			put("typing", i, 4)
			put("typing_shadow", i, 5)
			kind = projections.RowChanged
		case n == 3:
			put("typing", i, soon+1) // longer than anybody gets
			put("typing_shadow", i, 5)
			kind = projections.RowChanged
		case n == 4:
			put("typing", i, soon) // they went on typing
			put("typing_shadow", i, 5)
		case n == 5:
			put("typing", i, 5)
			put("typing_shadow", i, 5)
		}
		if kind != "" {
			want = append(want, projections.RowDifference{Key: key, Stream: "conversation-" + key.ID, Kind: kind})
		}
		if kind != projections.RowSurplus {
			rows += int64(len(dump(t, r.store, fmt.Sprintf("SELECT 1 FROM typing_shadow WHERE conversation = '%s' AND author = '%s'", key.ID, key.Person))))
		}
	}
	for _, limit := range []int{1, 2, 3, 7, 59, 60, 61, 1000} {
		var got []projections.RowDifference
		var keys []projections.RowKey
		seen, after := int64(0), projections.RowKey{}
		for {
			c, err := r.store.CompareShadow(t.Context(), "typing", after, limit, r.now)
			if err != nil {
				t.Fatal(err)
			}
			got, seen, after = append(got, c.Different...), seen+c.Rows, c.Next
			if c.Done {
				break
			}
		}
		if diff := cmp.Diff(want, got); diff != "" || seen != rows {
			t.Errorf("%d rows at a time, %d of %d seen (-want +got):\n%s", limit, seen, rows, diff)
		}
		for _, d := range got {
			keys = append(keys, d.Key)
		}
		again, err := r.store.CompareRows(t.Context(), "typing", append(keys, projections.RowKey{ID: "nobody", Person: "x"}), r.now)
		if diff := cmp.Diff(want, again.Different); diff != "" || err != nil {
			t.Errorf("one by one: %v (-want +got):\n%s", err, diff)
		}
	}
}

// TestRebuildKeepsWhoGoesOnTyping: that somebody goes on typing is no fact, and not
// lost all the same.
func TestRebuildKeepsWhoGoesOnTyping(t *testing.T) {
	t.Parallel()
	r := openRebuilding(t, 4)
	stream := r.begin()
	_, id := eventstore.SplitStream(stream)
	r.add(stream, conversation.TypingStarted{Author: rhaegar, ExpiresAt: r.now.Add(10 * time.Second)})
	r.catchUp()
	later := r.now.Add(20 * time.Second)
	if err := r.store.ExtendTyping(t.Context(), id, rhaegar.ID, later); err != nil {
		t.Fatal(err)
	}
	r.ask("typing")
	r.steps(nil)
	if got := r.last("typing"); got.Differences.Any() || got.State != projections.RebuildDone {
		t.Errorf("%+v", got)
	}
	if next, err := r.store.NextTyping(t.Context()); err != nil || !next.Equal(later) {
		t.Errorf("typing ends at %v, %v; want %v", next, err, later)
	}
}

// TestRebuildAsk: what cannot be rebuilt is refused, and what is being rebuilt is
// not asked for twice.
func TestRebuildAsk(t *testing.T) {
	t.Parallel()
	r := openRebuilding(t, 5)
	for name, want := range map[string]error{"webhooks": projections.ErrNoReadModel, "nothing": projections.ErrNoProjection} {
		if _, err := r.b.Ask(t.Context(), name); !errors.Is(err, want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	r.ask("inbox")
	if again, err := r.b.Ask(t.Context(), "inbox"); !errors.Is(err, projections.ErrRebuilding) || again.State != projections.RebuildWaiting {
		t.Errorf("%+v, %v", again, err)
	}
	r.ask("typing")
	r.close()
	r.open() // it was asked for: it is done
	r.steps(nil)
	r.isRight()
	if a, b := r.last("inbox"), r.last("typing"); a.State != projections.RebuildDone || b.State != projections.RebuildDone || b.StartedAt.Before(*a.EndedAt) {
		t.Errorf("%+v\n%+v", a, b)
	}
	r.ask("inbox")
}

// TestRebuildIsCancelled cancels a rebuild behind each of its steps: its tables go,
// what served serves, a process that is killed at once does not take it up again,
// and another rebuild is done.
func TestRebuildIsCancelled(t *testing.T) {
	t.Parallel()
	r := openRebuilding(t, 6)
	cancel := func(want error) projections.Rebuild {
		t.Helper()
		got, err := r.b.Cancel(t.Context(), "inbox")
		if !errors.Is(err, want) {
			t.Fatalf("%v, want %v", err, want)
		}
		return got
	}
	cancel(projections.ErrNotRebuilding)
	if _, err := r.b.Cancel(t.Context(), "nothing"); !errors.Is(err, projections.ErrNoProjection) {
		t.Errorf("%v", err)
	}
	for range 3 {
		stream := r.begin()
		for range 5 {
			r.talk(stream)
		}
	}
	r.catchUp()
	seen := make(map[string]bool)
	for behind := 0; ; behind++ {
		r.ask("inbox")
		r.ask("typing")
		for range behind {
			if _, _, err := r.b.Step(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		before := r.last("inbox")
		if before.Ended() {
			break
		}
		seen[string(before.State+" ")+string(before.Phase)] = true
		if got := cancel(nil); got.State != projections.RebuildCancelled || got.EndedAt == nil || got.Phase != "" {
			t.Errorf("cancelled as %+v", got)
		}
		if got := cancel(projections.ErrNotRebuilding); got.State != projections.RebuildCancelled {
			t.Errorf("the last is %+v", got)
		}

		killed := &rebuilding{t: t, dir: t.TempDir(), codec: r.codec, versions: r.versions, now: r.now}
		if err := os.CopyFS(killed.dir, os.DirFS(r.dir)); err != nil {
			t.Fatal(err)
		}
		killed.open()
		after := *r
		for _, r := range []*rebuilding{killed, &after} {
			r.swapped = nil
			r.steps(nil)
			if got := r.last("inbox"); got.State != projections.RebuildCancelled || got.Restarts != 0 {
				t.Errorf("behind %d steps: %+v", behind, got)
			}
			if got := r.last("typing"); got.State != projections.RebuildDone { // what was asked for beside it
				t.Errorf("behind %d steps: %+v", behind, got)
			}
			if left := r.tables(); len(left) > 0 {
				t.Errorf("behind %d steps there is left %q", behind, left)
			}
			r.isRight()
		}
		killed.ask("inbox")
		killed.steps(nil)
		if got := killed.last("inbox"); got.State != projections.RebuildDone || got.Differences.Any() {
			t.Errorf("the next one: %+v", got)
		}
		killed.isRight()
		killed.close()
	}
	for _, phase := range []string{"waiting ", "running building", "running comparing", "running swapping"} {
		if !seen[phase] {
			t.Errorf("never cancelled while %s; only %v", phase, seen)
		}
	}
}

// TestRebuildIsCancelledInTimeOrNot: a cancel at any moment either is in time, and
// nothing changes places, or says that it is too late.
func TestRebuildIsCancelledInTimeOrNot(t *testing.T) {
	t.Parallel()
	r := openRebuilding(t, 7)
	r.begin()
	r.catchUp()
	for range 40 {
		r.ask("inbox")
		r.swapped = nil
		begun, cancelled := make(chan struct{}), make(chan error)
		go func() {
			<-begun
			_, err := r.b.Cancel(context.Background(), "inbox")
			cancelled <- err
		}()
		at := r.random.IntN(8)
		for step := range 10_000 {
			if step == at {
				close(begun)
			}
			if _, wait, err := r.b.Step(t.Context()); err != nil {
				t.Fatal(err)
			} else if wait == webhooks.Forever && step >= at {
				break
			}
		}
		err := <-cancelled
		r.steps(nil) // if it came behind the last step
		kept, failed := r.store.Rebuilds(t.Context())
		if failed != nil || len(kept) != 1 || kept[0].State != r.last("inbox").State {
			t.Fatalf("on record is %+v, %v; said is %+v", kept, failed, r.last("inbox"))
		}
		switch state := kept[0].State; {
		case err == nil && state == projections.RebuildCancelled && len(r.swapped) == 0:
		case errors.Is(err, projections.ErrNotRebuilding) && state == projections.RebuildDone && len(r.swapped) == 1:
		default:
			t.Fatalf("%v, and it is %s; swapped %v", err, state, r.swapped)
		}
	}
	r.isRight()
}

// TestRebuildIsCancelledInTheSwap cancels just before the new rows take their
// place, when nothing but that is left to do.
func TestRebuildIsCancelledInTheSwap(t *testing.T) {
	t.Parallel()
	r := openRebuilding(t, 8)
	r.begin()
	r.catchUp()
	r.b = projections.NewRebuilder(projections.RebuilderConfig{
		Log: r.store, Codec: r.codec, Store: r.store, Clock: func() time.Time { return r.now }, Slog: slog.New(slog.DiscardHandler),
		Names: r.group.Names(),
		Between: func(ctx context.Context, do func(context.Context) error) error {
			if _, err := r.b.Cancel(ctx, "inbox"); err != nil {
				t.Error(err)
			}
			r.ask("inbox") // at once, and it is another one
			return r.group.Between(ctx, do)
		},
		Swapped: func(_ context.Context, projection string) { r.swapped = append(r.swapped, projection) },
	})
	r.ask("inbox")
	for i := 0; ; i++ {
		before := r.last("inbox")
		if _, _, err := r.b.Step(t.Context()); err != nil || i > 100 {
			t.Fatal(i, err)
		}
		if before.Phase == projections.RebuildSwapping {
			break
		}
	}
	if got := r.last("inbox"); got.State != projections.RebuildWaiting || len(r.swapped) > 0 {
		t.Errorf("%+v, swapped %v", got, r.swapped)
	}
}

// BenchmarkRebuild makes read models anew: of few long conversations, and of many
// short ones that are had one behind the other or all at the same time.
func BenchmarkRebuild(b *testing.B) {
	for name, shape := range map[string]struct{ conversations, events, together int }{
		"100 of 1000, at once":      {100, 1000, 100},
		"10000 of 10, 50 at a time": {10_000, 10, 50},
		"10000 of 10, all together": {10_000, 10, 10_000},
	} {
		dir := b.TempDir()
		store, err := sqlite.Open(b.Context(), dir, sqlite.Options{})
		if err != nil {
			b.Fatal(err)
		}
		codec := eventstore.Catalogue()
		if _, err := store.Import(b.Context(), talks(codec, shape.conversations, shape.events, shape.together)); err != nil {
			b.Fatal(err)
		}
		group := newGroup(store, codec)
		if err := errors.Join(group.Load(b.Context()), group.CatchUp(b.Context())); err != nil {
			b.Fatal(err)
		}
		for _, projection := range []string{"inbox", "typing", "endpoints"} {
			b.Run(projection+"/"+name, func(b *testing.B) {
				var built, all time.Duration
				events := int64(0)
				for b.Loop() {
					rebuilder := projections.NewRebuilder(projections.RebuilderConfig{
						Log: store, Codec: codec, Store: store, Clock: time.Now, Slog: slog.New(slog.DiscardHandler),
						Names: group.Names(), Between: group.Between, Swapped: func(context.Context, string) {},
					})
					if _, err := rebuilder.Ask(b.Context(), projection); err != nil {
						b.Fatal(err)
					}
					for wait := time.Duration(0); wait != webhooks.Forever; {
						if _, wait, err = rebuilder.Step(b.Context()); err != nil {
							b.Fatal(err)
						}
					}
					last, err := rebuilder.Rebuilds(b.Context())
					if err != nil {
						b.Fatal(err)
					}
					r := last[projection]
					if r.State != projections.RebuildDone || r.Differences.Any() {
						b.Fatalf("%+v", r)
					}
					built, all, events = built+r.BuiltAt.Sub(*r.StartedAt), all+r.EndedAt.Sub(*r.StartedAt), events+r.Events
				}
				b.ReportMetric(float64(events)/built.Seconds(), "built/s")
				b.ReportMetric(float64(events)/all.Seconds(), "events/s")
			})
		}
		if err := store.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// talks yields conversations with so many events each, so many of them taking turns.
func talks(codec *eventstore.Codec, conversations, events, together int) iter.Seq2[eventstore.Recorded, error] {
	return func(yield func(eventstore.Recorded, error) bool) {
		position := int64(0)
		for range conversations / together {
			streams := make([]string, together)
			for i := range streams {
				streams[i] = eventstore.StreamName("conversation", uuid.Must(uuid.NewV7()).String())
			}
			for version := range int64(events) {
				for _, stream := range streams {
					var e domain.Event = conversation.MessagePosted{
						MessageID: uuid.Must(uuid.NewV7()).String(), Author: rhaegar, Text: "The night is dark and full of terrors, they say.", ContentType: "text",
					}
					switch version % 4 {
					case 0:
						e = conversation.TypingStarted{Author: rhaegar, ExpiresAt: noon()}
					case 1:
						e = conversation.TypingStopped{Author: rhaegar}
					}
					if version == 0 {
						e = conversation.Created{
							Account: domain.Account{ID: "acme"}, Inbox: domain.Inbox{ID: "shop"}, Channel: "web", Customer: rhaegar,
							Attributes: domain.Attributes{{Key: "page", Value: []byte(`"https://example.com/shop"`)}, {Key: "browser_name", Value: []byte(`"Firefox"`)}},
						}
					}
					name, schema, data, err := codec.Encode(e)
					position++
					if !yield(eventstore.Recorded{
						Position: position, Stream: stream, Version: version + 1, ID: uuid.New(), Type: name, Schema: schema,
						Time: noon(), Account: "acme", Data: data, Metadata: []byte(`{"actor":"key:a"}`),
					}, err) {
						return
					}
				}
			}
		}
	}
}
