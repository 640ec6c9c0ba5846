package sqlite

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"verbatim/eventstore"
	"verbatim/webhooks"
)

// fill plans n deliveries to an endpoint in that state, two in a lane, at the
// positions behind first. All were created, and are due or have ended, a second
// after each other from at on.
func fill(tb testing.TB, s *Store, endpointID string, state webhooks.State, first, n int64, at time.Time) {
	tb.Helper()
	err := s.write1(tb.Context(), func(t *tx) error {
		_, err := t.exec(`WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
			INSERT INTO deliveries (id, webhook_id, endpoint, account, stream, lane, position, version, event_id, event, name,
				dialect, history, state, due_at, created_at, reason, attempts, ended_at)
			SELECT printf('dlv_%s_%09d', ?2, ?4 + i), 'msg', ?2, 'acme', printf('s%09d', (?4 + i) / 2), printf('s%09d', (?4 + i) / 2),
				?4 + i, i, zeroblob(16), 'conversation.message_posted', 'posted', 'verbatim@1', 'full', ?3,
				?5 + 1000000 * i, ?5 + 1000000 * i, '', 0, iif(?3 = 'pending', NULL, ?5 + 1000000 * i) FROM n`,
			n, endpointID, string(state), first, micros(at))
		return err
	})
	if err != nil {
		tb.Fatal(err)
	}
}

// explain returns how SQLite answers a query.
func (s *Store) explain(tb testing.TB, query string, args ...any) []string {
	tb.Helper()
	rows, err := s.read.QueryContext(tb.Context(), "EXPLAIN QUERY PLAN "+query, args...)
	if err != nil {
		tb.Fatalf("%v: %s", err, query)
	}
	defer rows.Close()
	var out []string
	for rows.Next() {
		var id, parent, unused int
		var detail string
		if err := rows.Scan(&id, &parent, &unused, &detail); err != nil {
			tb.Fatal(err)
		}
		out = append(out, detail)
	}
	if err := rows.Err(); err != nil || len(out) == 0 {
		tb.Fatalf("no plan: %v: %s", err, query)
	}
	return out
}

// No query about an endpoint or a lane reads what belongs to others, and none
// but that along a stream, which is bounded, sorts.
func TestEveryQueryHasItsIndex(t *testing.T) {
	t.Parallel()
	s := newBench(t).Store
	check := func(what, query string, sorts bool, args ...any) {
		t.Helper()
		plan := s.explain(t, query, args...)
		for _, step := range plan {
			if strings.HasPrefix(step, "SCAN") && step != "SCAN n" || strings.Contains(step, "AUTOMATIC") || !sorts && strings.Contains(step, "TEMP B-TREE") {
				t.Errorf("%s: %s\n%s\n%s", what, step, strings.Join(plan, "\n"), query)
			}
		}
		if !slices.ContainsFunc(plan, func(step string) bool { return strings.Contains(step, "SEARCH") }) {
			t.Errorf("%s: nothing is searched for: %s", what, plan)
		}
	}
	at := time.Now()
	for _, of := range []struct{ replay, index string }{
		{"", "deliveries_state (endpoint=? AND state=? AND"},
		{"rpl", "deliveries_replay (replay=? AND state=? AND"},
	} {
		for _, states := range [][]webhooks.State{nil, {webhooks.Pending}, {webhooks.Parked, webhooks.Cancelled}} {
			for _, sel := range []webhooks.Selection{
				{},
				{Events: []string{"conversation.*", "x"}},
				{Reasons: []string{"a", "b"}},
				{From: at, To: at},
				{Events: []string{"x"}, From: at},
			} {
				sel.States, sel.Replay = states, of.replay
				for _, before := range []webhooks.Mark{newest(), {Position: 7, Name: "x"}} {
					q, _, err := s.stateQuery(t.Context(), "ep", &sel, before)
					if err != nil {
						t.Fatal(err)
					}
					const order = " ORDER BY position DESC, name DESC LIMIT 10"
					check(fmt.Sprintf("list %+v", sel), q.text+order, false, q.args...)
					// With a bottom, as it is where there is more to look at.
					q = selectStates(deliveryColumns, "ep", &sel, func(q *query) {
						q.and("(position, name) < (?, ?)", 9, "x")
						q.and("(position, name) >= (?, ?)", 5, "x")
						filter(q, &sel)
					})
					check(fmt.Sprintf("list down %+v", sel), q.text+order, false, q.args...)
					q = selectStates("position, name", "ep", &sel, func(q *query) { q.and("(position, name) < (?, ?)", 9, "x") })
					check("look down", q.text+" ORDER BY position DESC, name DESC LIMIT 1 OFFSET 100", false, q.args...)
					for _, step := range s.explain(t, q.text, q.args...) {
						if strings.HasPrefix(step, "SEARCH") && !strings.Contains(step, "COVERING INDEX "+of.index) {
							t.Errorf("looking down reads more than the index: %s", step)
						}
					}
					sel := sel
					sel.Stream = "conversation-x"
					if q, _, err = s.streamQuery(t.Context(), "ep", &sel, before); err != nil {
						t.Fatal(err)
					}
					check(fmt.Sprintf("list %+v", sel), q.text+order, true, q.args...)
				}
			}
		}
	}
	check("heads", nextHead, false, "a", "b")
	check("next", oldestOfLane, false, "a", "b", 10)
	check("parked", nextParked, false, "a", 1, "b", 10)
	check("count parked", countParked, false, "a")
	check("oldest pending", oldestPending, false, "a", 1, "b", 5, "c", 10)
	check("crowded", crowded, false, "a", 10)
	check("oldest ended", oldestEnded, false, 1, 10)
	check("keys", pruneKeys, false, 1, 10)
	if plan := s.explain(t, countOwed); len(plan) != 1 || !strings.Contains(plan[0], "USING COVERING INDEX deliveries_pending") {
		t.Errorf("what is owed is counted by %q", plan)
	}
}

// What the dispatcher and the lists ask for costs the same with 200,000
// deliveries as with 1,000, and so does what the job and the janitor do.
func TestCostsDoNotGrowWithWhatWaits(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("plans 200,000 deliveries")
	}
	const few, many = 1_000, 200_000
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	open := func(n int64) *Store {
		s := newBench(t).Store
		for i := int64(0); i < n; i += 10_000 { // in order of position, as it grows
			part := min(n-i, 10_000)
			fill(t, s, "ep-1", webhooks.Pending, i, part/2, at)
			fill(t, s, "ep-2", webhooks.Parked, i+part/2, part/4, at)
			fill(t, s, "ep-2", webhooks.Delivered, i+part/2+part/4, part/4, at)
		}
		return s
	}
	small, large := open(few), open(many)
	ctx := t.Context()
	for _, c := range []struct {
		name string
		do   func(s *Store, middle int64) error
	}{
		{"heads", func(s *Store, middle int64) error {
			ds, err := s.Heads(ctx, webhooks.Lane{EndpointID: "ep-1", Key: fmt.Sprintf("s%09d", middle/4)}, 20)
			if err == nil && len(ds) == 0 {
				err = fmt.Errorf("%d heads", len(ds))
			}
			return err
		}},
		{"next", func(s *Store, middle int64) error {
			_, err := s.Next(ctx, webhooks.Lane{EndpointID: "ep-1", Key: fmt.Sprintf("s%09d", middle/4)}, 64)
			return err
		}},
		{"list", func(s *Store, middle int64) error {
			ds, _, err := s.Deliveries(ctx, "ep-2", webhooks.Selection{}, webhooks.Mark{Position: middle}, 50)
			if err == nil && len(ds) != 50 {
				err = fmt.Errorf("%d listed", len(ds))
			}
			return err
		}},
		{"list parked", func(s *Store, _ int64) error {
			ds, _, err := s.Deliveries(ctx, "ep-2", webhooks.Selection{States: []webhooks.State{webhooks.Parked}}, webhooks.Mark{}, 50)
			if err == nil && len(ds) != 50 {
				err = fmt.Errorf("%d listed", len(ds))
			}
			return err
		}},
	} {
		cost := func(s *Store, middle int64) time.Duration {
			best := time.Hour
			for range 50 {
				start := time.Now()
				if err := c.do(s, middle); err != nil {
					t.Fatalf("%s: %v", c.name, err)
				}
				best = min(best, time.Since(start))
			}
			return best
		}
		a, b := cost(small, few*9/10), cost(large, many/2+5000)
		t.Logf("%s: %v with %d, %v with %d", c.name, a, few, b, many)
		// A tree of 200,000 is two levels higher, and colder.
		if b > 4*a+time.Millisecond {
			t.Errorf("%s: %v with %d deliveries, %v with %d", c.name, a, few, b, many)
		}
	}
}

// A request looks at so many deliveries and no more, whatever it asks for, and
// pages that are empty lead to the end.
func TestListsLookAtSoManyAndNoMore(t *testing.T) {
	t.Parallel()
	s := newBench(t).Store
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	const n = 2*webhooks.MaxLook + 10
	fill(t, s, "ep", webhooks.Delivered, 0, n, at)
	fill(t, s, "other", webhooks.Delivered, n, 100, at)
	for _, sel := range []webhooks.Selection{
		{To: at.Add(1500 * time.Millisecond)}, // the very first
		{Events: []string{"never"}},
		{From: at.Add(n * time.Second)}, // the very last
		{States: []webhooks.State{webhooks.Parked, webhooks.Delivered}, To: at.Add(1500 * time.Millisecond)},
	} {
		var found []webhooks.Delivery
		before, pages := webhooks.Mark{}, 0
		for {
			pages++
			ds, next, err := s.Deliveries(t.Context(), "ep", sel, before, 50)
			if err != nil {
				t.Fatal(err)
			}
			found = append(found, ds...)
			if next == nil {
				break
			}
			if before != (webhooks.Mark{}) && next.Compare(before) >= 0 {
				t.Fatalf("%v comes after %v", next, before)
			}
			before = *next
		}
		want := 1
		if len(sel.Events) > 0 {
			want = 0
		}
		if len(found) != want || pages != 3 {
			t.Errorf("%+v: %d found in %d pages, want %d in 3", sel, len(found), pages, want)
		}
	}
	// Of a replay likewise, however much else there is.
	if err := s.write1(t.Context(), func(t *tx) error {
		_, err := t.exec("UPDATE deliveries SET replay = 'rpl' WHERE endpoint = 'ep' AND position > ?", webhooks.MaxLook)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	sel := webhooks.Selection{Replay: "rpl", Events: []string{"never"}}
	if _, next, err := s.Deliveries(t.Context(), "ep", sel, webhooks.Mark{}, 50); err != nil || next == nil || next.Position != webhooks.MaxLook+11 {
		t.Errorf("next of a replay %v, %v", next, err)
	} else if _, next, err = s.Deliveries(t.Context(), "ep", sel, *next, 50); err != nil || next != nil {
		t.Errorf("a replay's second page has a next one: %v, %v", next, err)
	}
	// What the index answers by itself is not looked for.
	ds, next, err := s.Deliveries(t.Context(), "ep", webhooks.Selection{States: []webhooks.State{webhooks.Pending}}, webhooks.Mark{}, 50)
	if err != nil || len(ds) > 0 || next != nil {
		t.Errorf("%d found, next %v, %v", len(ds), next, err)
	}
}

// Keys of commands are forgotten when they are old, and not before.
func TestKeysAreForgotten(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	start := time.Now().Add(-time.Second)
	for i := range 5 {
		c := eventstore.Commit{Account: "acme", Key: &eventstore.Key{Name: fmt.Sprintf("key-%d", i)}}
		if i%2 == 0 { // the others are kept for their keys alone
			c.Appends = appendJob(fmt.Sprintf("thing-%d", i), 0, 1).commit.Appends
		}
		if _, err := b.Append(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := b.PruneKeys(t.Context(), start, 100); n != 0 || err != nil {
		t.Fatalf("%d keys went, %v", n, err)
	}
	if n, err := b.PruneKeys(t.Context(), time.Now().Add(time.Second), 3); n != 3 || err != nil {
		t.Fatalf("%d keys went, %v; want 3", n, err)
	}
	for i := range 5 {
		_, err := b.FindCommand(t.Context(), "acme", fmt.Sprintf("key-%d", i))
		if got, want := err != nil, i < 3; got != want {
			t.Errorf("key %d is forgotten: %t, want %t", i, got, want)
		}
	}
}

// A batch of the janitor and of a job takes the writer a few milliseconds.
func BenchmarkBatches(b *testing.B) {
	const n = 50_000
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		name  string
		state webhooks.State
		step  func(s *Store) error
	}{
		{"prune", webhooks.Delivered, func(s *Store) error {
			_, err := s.PruneDeliveries(b.Context(), at.AddDate(1, 0, 0), webhooks.PruneBatch)
			return err
		}},
		{"retry", webhooks.Parked, func(s *Store) error {
			j, _, err := s.NextJob(b.Context(), "")
			if err == nil {
				_, _, err = s.RetryParked(b.Context(), j, at)
			}
			return err
		}},
	} {
		b.Run(c.name, func(b *testing.B) {
			s, err := Open(b.Context(), b.TempDir(), Options{})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			fill(b, s, "ep", c.state, 0, n, at)
			if err := s.write1(b.Context(), func(t *tx) error {
				_, err := t.exec(`INSERT INTO attempts (delivery, number, time, status, retry_after, fault, detail, took)
					SELECT id, 1, 0, 500, 0, '', printf('%.*c', 500, 'x'), 0 FROM deliveries`)
				if err == nil {
					_, err = t.exec("UPDATE deliveries SET attempts = 1")
				}
				return err
			}); err != nil {
				b.Fatal(err)
			}
			if _, _, err := s.AddJob(b.Context(), webhooks.Job{
				ID: "job", Kind: webhooks.RetryFailed, EndpointID: "ep", CreatedAt: at.AddDate(1, 0, 0),
			}); err != nil {
				b.Fatal(err)
			}
			b.ResetTimer()
			for range b.N {
				if err := c.step(s); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
