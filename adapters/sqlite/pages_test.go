package sqlite_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"verbatim/adapters/sqlite"
	"verbatim/domain"
	"verbatim/domain/conversation"
	"verbatim/domain/endpoint"
	"verbatim/eventstore"
	"verbatim/projections"
	"verbatim/webhooks"
)

// noon is when nothing in particular happens; everything kept is in whole
// microseconds.
func noon() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 123_456_000, time.UTC) }

func commitPage(t *testing.T, s *sqlite.Store, p projections.Page) {
	t.Helper()
	if err := s.CommitPage(t.Context(), &p); err != nil {
		t.Fatalf("commit page: %v", err)
	}
}

func checkpoints(t *testing.T, s *sqlite.Store, want map[string]int64) {
	t.Helper()
	got, err := s.Checkpoints(t.Context())
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("checkpoints: %v (-want +got):\n%s", err, diff)
	}
}

func TestCheckpoints(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	checkpoints(t, s, map[string]int64{})
	commitPage(t, s, projections.Page{})
	commitPage(t, s, projections.Page{Checkpoints: []projections.Checkpoint{
		{Projection: "a", From: 0, To: 5}, {Projection: "b", From: 0, To: 0},
	}})
	checkpoints(t, s, map[string]int64{"a": 5, "b": 0})
	commitPage(t, s, projections.Page{Checkpoints: []projections.Checkpoint{
		{Projection: "a", From: 5, To: 9}, {Projection: "b", From: 0, To: 9},
	}})
	commitPage(t, s, projections.Page{Checkpoints: []projections.Checkpoint{{Projection: "a", From: 9, To: 9}}})
	checkpoints(t, s, map[string]int64{"a": 9, "b": 9})

	key := projections.TypingKey{Conversation: "c", AuthorID: "a"}
	for _, lost := range [][]projections.Checkpoint{
		{{Projection: "a", From: 0, To: 10}},
		{{Projection: "a", From: 8, To: 10}},
		{{Projection: "a", From: 10, To: 11}},
		{{Projection: "c", From: 1, To: 2}},
		{{Projection: "b", From: 9, To: 10}, {Projection: "a", From: 8, To: 10}},
		{{Projection: "c", From: 0, To: 10}, {Projection: "c", From: 0, To: 10}},
	} {
		err := s.CommitPage(t.Context(), &projections.Page{
			Checkpoints: lost,
			Rows: projections.Rows{
				Typing:     map[projections.TypingKey]projections.TypingRow{key: {Account: "acme", Until: noon()}},
				Deliveries: []webhooks.Delivery{delivery("e", "s", 1, "n")},
			},
			Parked: []projections.Parked{{Projection: "a", Stream: "s", Position: 1}},
		})
		if !errors.Is(err, projections.ErrLostCheckpoint) {
			t.Errorf("%v: error is %v; want ErrLostCheckpoint", lost, err)
		}
	}
	checkpoints(t, s, map[string]int64{"a": 9, "b": 9})
	due, err := s.TypingDue(t.Context(), noon(), 10)
	if err != nil || len(due) > 0 {
		t.Errorf("rows of a page that was lost: %v, %v", due, err)
	}
	if parked, err := s.Parked(t.Context()); err != nil || len(parked) > 0 {
		t.Errorf("parked by a page that was lost: %v, %v", parked, err)
	}
	if heads, err := s.Heads(t.Context(), webhooks.Lane{}, 10); err != nil || len(heads) > 0 {
		t.Errorf("planned by a page that was lost: %v, %v", heads, err)
	}
}

// TestLostPagesBesideAppends: a page that lost its checkpoint is refused, and
// the appends that were committed with it are not.
func TestLostPagesBesideAppends(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	const rounds = 40
	lost := make(chan int)
	go func() {
		n := 0
		for i := range int64(rounds) {
			err := s.CommitPage(context.WithoutCancel(t.Context()), &projections.Page{
				Checkpoints: []projections.Checkpoint{{Projection: "p", From: i / 2 * 2, To: i + 2}},
			})
			if errors.Is(err, projections.ErrLostCheckpoint) {
				n++
			} else if err != nil {
				t.Errorf("commit page: %v", err)
			}
		}
		lost <- n
	}()
	stream := newStream()
	for version := range int64(rounds) {
		appendOne(t, s, stream, version)
	}
	// Of each two pages the first goes from i to i+2; the second begins at i too.
	if n := <-lost; n != rounds/2 {
		t.Errorf("%d of %d pages were lost; want every other one", n, rounds)
	}
	if got := verifiedLog(t, s); len(got) != rounds {
		t.Errorf("the log has %d events; want %d", len(got), rounds)
	}
	checkpoints(t, s, map[string]int64{"p": rounds})
}

func TestParked(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	park := func(projection, stream string, position int64, attempts int) projections.Parked {
		return projections.Parked{
			Projection: projection, Stream: stream, Position: position, Version: position - 1,
			Error: "cannot take it", Attempts: attempts, At: noon(),
		}
	}
	parked := func(what string, read func(context.Context) ([]projections.Parked, error), want ...projections.Parked) {
		t.Helper()
		got, err := read(t.Context())
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got):\n%s", what, err, diff)
		}
	}
	a, b, c := park("inbox", "s-1", 7, 1), park("inbox", "s-2", 3, 1), park("webhooks", "s-1", 7, 1)
	c.Position = 9
	commitPage(t, s, projections.Page{Parked: []projections.Parked{a, b, c}})
	parked("all, oldest first", s.Parked, b, a, c)
	parked("nobody asked", s.RetryWanted)

	for _, tt := range []struct {
		projection string
		want       int64
	}{{"nothing", 0}, {"webhooks", 1}} {
		if n, err := s.AskRetry(t.Context(), tt.projection); err != nil || n != tt.want {
			t.Errorf("retry of %s: %d, %v; want %d", tt.projection, n, err, tt.want)
		}
	}
	parked("one was asked for", s.RetryWanted, c)
	if n, err := s.AskRetry(t.Context(), ""); err != nil || n != 3 {
		t.Errorf("retry of all: %d, %v; want 3", n, err)
	}
	parked("all were asked for", s.RetryWanted, b, a, c)

	again := park("inbox", "s-1", 8, 2)
	commitPage(t, s, projections.Page{Parked: []projections.Parked{again}, Released: []projections.Parked{b}})
	parked("failed again, further on", s.Parked, again, c)
	parked("what failed again waits", s.RetryWanted, c)
	commitPage(t, s, projections.Page{Released: []projections.Parked{a}})
	parked("released", s.Parked, c)
	commitPage(t, s, projections.Page{Released: []projections.Parked{c}, Parked: []projections.Parked{c}})
	parked("released and parked in one page", s.Parked, c)
}

// row returns the inbox's row of a conversation, with everything in it.
func row(account string, n int, status conversation.Status, activeAt int64) projections.InboxRow {
	at := noon()
	person := domain.Person{
		ID: "p", Role: domain.Customer, Number: 3, Name: "Jon Snow", Email: "jon@example.com",
		Attributes: domain.Attributes{{Key: "z", Value: json.RawMessage(`"<&>"`)}, {Key: "a", Value: json.RawMessage(`[1.0]`)}},
	}
	return projections.InboxRow{
		Conversation: webhooks.Conversation{
			ID: fmt.Sprintf("c-%d", n), Number: int64(n), Version: 4, Status: status, Account: domain.Account{ID: account, Number: 1},
			Inbox: domain.Inbox{ID: "i"}, Channel: "web", Subject: "Winter", Priority: conversation.High, Labels: []string{"vip"},
			Team: &conversation.Team{ID: "t"}, Customer: person, Assignee: &person, Attributes: person.Attributes,
			SnoozedUntil: &at, ClosedType: "solved", CreatedAt: at, UpdatedAt: at, ClosedAt: &at, Messages: 2,
		},
		ActiveAt: activeAt, Attention: webhooks.Attention{Unread: []int64{2, 3}, AgentReadTo: 1},
		LastMessage: &webhooks.Message{
			ID: "m", Number: 9, Version: 3, Author: person, Text: "It is coming.", ContentType: "text",
			Attachments: []conversation.Attachment{{URL: "https://example.com/a.png", Size: 7}}, CreatedAt: at, EditedAt: &at,
		},
	}
}

func inboxPage(rows ...projections.InboxRow) projections.Page {
	p := projections.Page{Rows: projections.Rows{Inbox: make(map[string]projections.InboxRow)}}
	for _, r := range rows {
		p.Rows.Inbox[r.Conversation.ID] = r
	}
	return p
}

func TestInbox(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	if _, found, err := s.InboxRow(t.Context(), "c-1"); found || err != nil {
		t.Errorf("a conversation that is not there: %t, %v", found, err)
	}
	var rows []projections.InboxRow
	for i := range 7 {
		status := conversation.Open
		if i%3 == 2 {
			status = conversation.Resolved
		}
		rows = append(rows, row("acme", i, status, int64(10+i)))
	}
	commitPage(t, s, inboxPage(append(slices.Clone(rows), row("other", 99, conversation.Open, 50))...))
	for _, want := range rows {
		got, found, err := s.InboxRow(t.Context(), want.Conversation.ID)
		if diff := cmp.Diff(want, got); !found || err != nil || diff != "" {
			t.Errorf("%s: %t, %v (-want +got):\n%s", want.Conversation.ID, found, err, diff)
		}
	}

	list := func(status string, pages ...[]int) {
		t.Helper()
		before, limit := int64(0), len(pages[0])
		for i, page := range pages {
			got, err := s.Inbox(t.Context(), "acme", status, before, limit)
			var ids []int
			for _, r := range got {
				ids = append(ids, int(r.Conversation.Number))
				before = r.ActiveAt
			}
			if err != nil || !slices.Equal(ids, page) {
				t.Errorf("%q, page %d: %v, %v; want %v", status, i+1, ids, err, page)
			}
		}
	}
	list("", []int{6, 5, 4}, []int{3, 2, 1}, []int{0}, nil)
	list("open", []int{6, 4}, []int{3, 1}, []int{0}, nil)
	list("resolved", []int{5, 2}, nil)
	list("snoozed", nil)

	// A conversation that moves on is found where it is now, and only there.
	moved := row("acme", 1, conversation.Snoozed, 20)
	moved.LastMessage, moved.Attention = nil, webhooks.Attention{}
	commitPage(t, s, inboxPage(moved))
	if got, _, err := s.InboxRow(t.Context(), "c-1"); err != nil || cmp.Diff(moved, got) != "" {
		t.Errorf("the row that was replaced: %v\n%s", err, cmp.Diff(moved, got))
	}
	list("", []int{1, 6, 5}, []int{4, 3, 2}, []int{0})
	list("open", []int{6, 4, 3, 0}, nil)
	list("snoozed", []int{1}, nil)
}

func typingPage(conversation, author string, until time.Time) projections.Page {
	return projections.Page{Rows: projections.Rows{Typing: map[projections.TypingKey]projections.TypingRow{
		{Conversation: conversation, AuthorID: author}: {Account: "acme", Until: until},
	}}}
}

func TestTyping(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	ctx := t.Context()
	next := func(want time.Time) {
		t.Helper()
		if got, err := s.NextTyping(ctx); err != nil || !got.Equal(want) {
			t.Errorf("next is at %v, %v; want %v", got, err, want)
		}
	}
	due := func(at time.Time, limit int, want ...string) {
		t.Helper()
		rows, err := s.TypingDue(ctx, at, limit)
		var got []string
		for _, r := range rows {
			got = append(got, r.Conversation+"/"+r.AuthorID)
			if r.Account != "acme" || r.Until.After(at) {
				t.Errorf("at %v it is due: %+v", at, r)
			}
		}
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("at %v: %v, %v; want %v", at, got, err, want)
		}
	}
	second := func(n int) time.Time { return noon().Add(time.Duration(n) * time.Second) }

	next(time.Time{})
	due(noon(), 10)
	commitPage(t, s, typingPage("c1", "ann", second(3)))
	commitPage(t, s, typingPage("c1", "bob", second(1)))
	commitPage(t, s, typingPage("c2", "ann", second(2)))
	next(second(1))
	due(second(1).Add(-time.Microsecond), 10)
	due(second(1), 10, "c1/bob")
	due(second(9), 10, "c1/bob", "c2/ann", "c1/ann")
	due(second(9), 2, "c1/bob", "c2/ann")

	commitPage(t, s, typingPage("c1", "bob", second(5))) // began anew
	next(second(2))
	for _, tt := range []struct {
		conversation, author string
		until                int
	}{{"c2", "ann", 7}, {"c1", "ann", 1}, {"c3", "ann", 1}} { // later, not earlier, not at all
		if err := s.ExtendTyping(ctx, tt.conversation, tt.author, second(tt.until)); err != nil {
			t.Error(err)
		}
	}
	due(second(9), 10, "c1/ann", "c1/bob", "c2/ann")
	next(second(3))

	commitPage(t, s, typingPage("c1", "ann", time.Time{}))
	commitPage(t, s, typingPage("c9", "ann", time.Time{})) // nobody
	due(second(9), 10, "c1/bob", "c2/ann")
	next(second(5))
}

// registered returns the row of an endpoint, with everything in it.
func registered(account string, number int64) projections.EndpointRow {
	return projections.EndpointRow{
		ID: fmt.Sprintf("ep-%d", number), Account: domain.Account{ID: account, Number: 1, Name: "Acme"},
		Settings: endpoint.Settings{
			URL: "https://example.com/?a=1&b=<2>", Dialect: "verbatim@1", Events: []string{"*"},
			Filters: endpoint.Filters{Inboxes: []string{"i"}}, History: "last:5", Headers: []string{"X-Key"},
			RateLimit: 3, RetrySchedule: []string{"5s"}, Ordering: endpoint.PerConversation,
		},
		Reason: "because", Number: number, Version: 2, CreatedAt: noon(), UpdatedAt: noon().Add(time.Hour),
	}
}

func endpointPage(rows ...projections.EndpointRow) projections.Page {
	p := projections.Page{Rows: projections.Rows{Endpoints: make(map[string]projections.EndpointRow)}}
	for _, r := range rows {
		p.Rows.Endpoints[r.ID] = r
	}
	return p
}

func TestEndpoints(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	ctx := t.Context()
	var all []projections.EndpointRow
	for i := range int64(5) {
		all = append(all, registered("acme", i+1))
	}
	other := registered("other", 6)
	commitPage(t, s, endpointPage(append(slices.Clone(all), other)...))

	list := func(after int64, limit int, want ...projections.EndpointRow) {
		t.Helper()
		got, err := s.Endpoints(ctx, "acme", after, limit)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("after %d: %v (-want +got):\n%s", after, err, diff)
		}
	}
	list(0, 2, all[:2]...)
	list(2, 2, all[2:4]...)
	list(4, 2, all[4:]...)
	list(5, 2)

	// One is changed and another deleted: it is not listed, but it is there.
	all[1].Disabled, all[1].Settings.URL = true, "https://example.org"
	all[2].Deleted = true
	commitPage(t, s, endpointPage(all[1], all[2]))
	list(0, 10, all[0], all[1], all[3], all[4])
	if got, err := s.EndpointRows(ctx); err != nil || cmp.Diff(append(slices.Clone(all), other), got) != "" {
		t.Errorf("all of them: %v, %d rows", err, len(got))
	}
	for _, want := range all {
		got, found, err := s.EndpointRow(ctx, want.ID)
		if diff := cmp.Diff(want, got); !found || err != nil || diff != "" {
			t.Errorf("%s: %t, %v (-want +got):\n%s", want.ID, found, err, diff)
		}
	}
	if _, found, err := s.EndpointRow(ctx, "ep-9"); found || err != nil {
		t.Errorf("an endpoint that is not there: %t, %v", found, err)
	}
}

func TestTarget(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	ctx := t.Context()
	ep := registered("acme", 1)
	if _, err := s.Target(ctx, ep.ID); !errors.Is(err, webhooks.ErrNoTarget) {
		t.Errorf("before it was registered: %v; want ErrNoTarget", err)
	}
	ep.Disabled = true
	commitPage(t, s, endpointPage(ep))
	target := func(want webhooks.Target) {
		t.Helper()
		got, err := s.Target(ctx, ep.ID)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("target: %v (-want +got):\n%s", err, diff)
		}
	}
	target(webhooks.Target{Settings: ep.Settings, Disabled: true})
	if err := s.AddSecret(ctx, ep.ID, "whsec_1", noon(), noon()); err != nil {
		t.Fatal(err)
	}
	for _, headers := range []map[string]string{{"X-Key": "old"}, {"X-Key": "<new>", "X-Other": ""}} {
		if err := s.SetHeaders(ctx, ep.ID, headers); err != nil {
			t.Fatal(err)
		}
		target(webhooks.Target{Settings: ep.Settings, Disabled: true, Secrets: []string{"whsec_1"}, Headers: headers})
	}
	ep.Deleted = true
	commitPage(t, s, endpointPage(ep))
	if _, err := s.Target(ctx, ep.ID); !errors.Is(err, webhooks.ErrNoTarget) {
		t.Errorf("after it was deleted: %v; want ErrNoTarget", err)
	}
	if secrets, err := s.Secrets(ctx, ep.ID, noon()); err != nil || len(secrets) > 0 {
		t.Errorf("its secrets outlive it: %v, %v", secrets, err)
	}
	ep.Deleted = false // which never happens: but its headers would show
	commitPage(t, s, endpointPage(ep))
	target(webhooks.Target{Settings: ep.Settings, Disabled: true})
}

func delivery(endpointID, stream string, position int64, name string) webhooks.Delivery {
	id := eventstore.Digest(fmt.Append(nil, endpointID, stream, position, name))
	d := webhooks.Delivery{
		ID: fmt.Sprintf("dlv_%s_%d_%s", endpointID, position, name), WebhookID: fmt.Sprintf("msg_%s_%d", endpointID, position),
		EndpointID: endpointID, Account: "acme", Stream: stream, Lane: stream, Position: position, Version: position + 1,
		Event: "conversation.created", Name: name, Dialect: "verbatim@1", History: "full", State: webhooks.Pending,
		DueAt: noon(), CreatedAt: noon(),
	}
	copy(d.EventID[:], id[:])
	return d
}

func TestDeliveries(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	ctx := t.Context()
	same := func(what string, got []webhooks.Delivery, err error, want ...webhooks.Delivery) {
		t.Helper()
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got):\n%s", what, err, diff)
		}
	}
	a1, a2 := delivery("ep-1", "s-1", 1, "a"), delivery("ep-1", "s-1", 1, "b")
	a3, a4 := delivery("ep-1", "s-1", 3, "a"), delivery("ep-1", "s-1", 12, "a")
	b1, b2 := delivery("ep-1", "s-2", 2, "a"), delivery("ep-1", "s-2", 4, "a")
	c1 := delivery("ep-2", "s-1", 1, "a")
	commitPage(t, s, projections.Page{Rows: projections.Rows{Deliveries: []webhooks.Delivery{a1, a2, b1, c1, a3}}})
	if err := s.CommitPage(ctx, &projections.Page{Rows: projections.Rows{Deliveries: []webhooks.Delivery{b2, a4, a4}}}); err != nil {
		t.Fatal(err)
	}

	heads, err := s.Heads(ctx, webhooks.Lane{}, 10)
	same("heads", heads, err, a1, b1, c1)
	heads, err = s.Heads(ctx, webhooks.Lane{}, 2)
	same("the first heads", heads, err, a1, b1)
	heads, err = s.Heads(ctx, webhooks.Lane{EndpointID: "ep-1", Key: "s-2"}, 2)
	same("the next heads", heads, err, c1)
	heads, err = s.Heads(ctx, webhooks.Lane{EndpointID: "ep-1", Key: "s-11"}, 10)
	same("heads behind a lane that is not there", heads, err, b1, c1)
	next, err := s.Next(ctx, webhooks.Lane{EndpointID: "ep-1", Key: "s-1"}, 3)
	same("next", next, err, a1, a2, a3)

	// What has ended as it is planned waits for nobody.
	ended := noon().Add(time.Minute)
	skipped := delivery("ep-3", "s-1", 1, "a")
	skipped.State, skipped.Reason, skipped.EndedAt = webhooks.Cancelled, webhooks.ReasonSkipped, &ended
	commitPage(t, s, projections.Page{Rows: projections.Rows{Deliveries: []webhooks.Delivery{skipped}}})
	got, _, _, err := s.Delivery(ctx, skipped.ID)
	same("what was skipped", []webhooks.Delivery{got}, err, skipped)
	heads, err = s.Heads(ctx, webhooks.Lane{}, 10)
	same("heads beside it", heads, err, a1, b1, c1)

	// What is planned again is left as it is.
	done := a1
	done.State, done.Attempts, done.EndedAt, done.Digest = webhooks.Delivered, 2, &ended, []byte{1, 2, 3}
	failed, tried := webhooks.Attempt{
		Number: 1, At: noon(), Outcome: webhooks.Outcome{Fault: webhooks.TimedOut, Detail: "no answer", Took: 15 * time.Second},
	}, a1
	tried.Attempts, tried.DueAt = 1, noon().Add(5*time.Second)
	worked := webhooks.Attempt{
		Number: 2, At: noon().Add(5 * time.Second), Digest: []byte{1, 2, 3},
		Outcome: webhooks.Outcome{Status: 200, RetryAfter: 90 * time.Second, Took: 42 * time.Microsecond},
	}
	if err := s.Record(ctx, []webhooks.Report{{Delivery: tried, Attempt: failed}, {Delivery: done, Attempt: worked}}); err != nil {
		t.Fatal(err)
	}
	check := func() {
		t.Helper()
		got, attempts, found, err := s.Delivery(ctx, a1.ID)
		if !found {
			t.Fatal("the delivery is gone")
		}
		same("the delivery", []webhooks.Delivery{got}, err, done)
		if diff := cmp.Diff([]webhooks.Attempt{failed, worked}, attempts); diff != "" {
			t.Errorf("attempts (-want +got):\n%s", diff)
		}
	}
	check()
	if err := s.CommitPage(ctx, &projections.Page{Rows: projections.Rows{Deliveries: []webhooks.Delivery{a1, a1}}}); err != nil {
		t.Fatal(err)
	}
	check()
	// Nor does a report count twice, or lead what has ended anywhere.
	late, other := a1, webhooks.Attempt{Number: 3, At: noon()}
	late.State, late.Reason = webhooks.Parked, "too late"
	for _, r := range []webhooks.Report{{Delivery: done, Attempt: worked}, {Delivery: late}} {
		if err := s.Record(ctx, []webhooks.Report{r}); err != nil {
			t.Fatal(err)
		}
		check()
	}
	gone := c1
	gone.ID = "dlv_nowhere"
	gone.State = webhooks.Cancelled
	if err := s.Record(ctx, []webhooks.Report{{Delivery: gone, Attempt: other}}); err != nil {
		t.Fatal(err)
	}
	if _, _, found, err := s.Delivery(ctx, gone.ID); found || err != nil {
		t.Errorf("a report made a delivery: %t, %v", found, err)
	}
	// One that ends without an attempt.
	c1.State, c1.Reason, c1.EndedAt = webhooks.Cancelled, "the endpoint was deleted", &ended
	if err := s.Record(ctx, []webhooks.Report{{Delivery: c1}}); err != nil {
		t.Fatal(err)
	}
	if _, attempts, _, err := s.Delivery(ctx, c1.ID); err != nil || len(attempts) > 0 {
		t.Errorf("a cancelled delivery has attempts %v, %v", attempts, err)
	}
	heads, err = s.Heads(ctx, webhooks.Lane{}, 10)
	same("heads of what is left", heads, err, a2, b1)

	page := func(state webhooks.State, before int64, name string, limit int, want ...webhooks.Delivery) {
		t.Helper()
		var sel webhooks.Selection
		if state != "" {
			sel.States = []webhooks.State{state}
		}
		got, _, err := s.Deliveries(ctx, "ep-1", sel, webhooks.Mark{Position: before, Name: name}, limit)
		same(fmt.Sprintf("%q before %d %s", state, before, name), got, err, want...)
	}
	page("", 0, "", 3, a4, b2, a3)
	page("", 3, "a", 3, b1, a2, done)
	page("", 1, "b", 3, done)
	page("", 1, "a", 3)
	page(webhooks.Pending, 0, "", 10, a4, b2, a3, b1, a2)
	page(webhooks.Delivered, 0, "", 10, done)
	page(webhooks.Delivered, 1, "a", 10)
	page(webhooks.Parked, 0, "", 10)
}
