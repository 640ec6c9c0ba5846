package projections_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"verbatim/domain"
	"verbatim/domain/contact"
	"verbatim/domain/conversation"
	"verbatim/domain/endpoint"
	"verbatim/eventstore"
	"verbatim/projections"
	"verbatim/webhooks"
)

// labelled says that a conversation bears those labels now.
func labelled(labels ...string) conversation.AttributesChanged {
	return conversation.AttributesChanged{Changes: []domain.Change{{
		Key: "labels", Previous: json.RawMessage("[]"), Current: encoded(append([]string{}, labels...)),
	}}}
}

func activity(kind conversation.ActivityKind, data string) conversation.ActivityRecorded {
	return conversation.ActivityRecorded{Kind: kind, Data: decoded[domain.Attributes]([]byte(data))}
}

// TestPlanFilters plans the same events for endpoints with each filter, and says
// which of them each is sent.
func TestPlanFilters(t *testing.T) {
	t.Parallel()
	system := domain.Person{ID: "system", Role: domain.System}
	// Begun in the inbox "shop", by "web".
	inConversation := []struct {
		name  string
		event domain.Event
	}{
		{"created", created()},
		{"customer's message", posted("a", jon, "hello")},
		{"agent's message", posted("b", arya, "hello")},
		{"bot's message", posted("c", hal, "hello")},
		{"system's message", posted("d", system, "hello")},
		{"note", note("e", "hush")},
		{"edit", conversation.MessageEdited{MessageID: "a", Previous: "hello", Text: "bye", By: jon}},
		{"agent's edit", conversation.MessageEdited{MessageID: "a", Previous: "hello", Text: "bye", By: arya}},
		{"note's edit", conversation.MessageEdited{MessageID: "e", Previous: "hush", Text: "psst", Private: true, By: arya}},
		{"labels", labelled("vip", "new")},
		{"labelled message", posted("f", jon, "hello")},
		{"other label", labelled("new")},
		{"relabelled message", posted("g", jon, "hello")},
		{"labels back", labelled("late")},
		{"no labels", labelled()},
		{"deletion", conversation.MessageDeleted{MessageID: "b", By: arya}},
		{"note's deletion", conversation.MessageDeleted{MessageID: "e", Private: true, By: arya}},
		{"typing", conversation.TypingStarted{Author: jon}},
		{"typing's end", conversation.TypingStopped{Author: jon}},
		{"note's typing", conversation.TypingStarted{Author: arya, Private: true}},
		{"note's typing's end", conversation.TypingStopped{Author: arya, Private: true}},
		{"status by an agent", conversation.StatusChanged{From: "open", To: "resolved", By: &arya}},
		{"read", conversation.Read{By: arya, UpTo: 3}},
		{"purchase of 17", activity(conversation.ProductPurchased, `{"product_id":17}`)},
		{"purchase of \"17\"", activity(conversation.ProductPurchased, `{"product":{"id":"17"},"form_id":"9"}`)},
		{"purchase among others", activity(conversation.ProductPurchased, `{"product_ids":["x",1,17]}`)},
		{"purchase of products", activity(conversation.ProductPurchased, `{"products":[{"name":"x"},{"id":"x"},{"id":17}]}`)},
		{"purchase of 17.0", activity(conversation.ProductPurchased, `{"product_id":17.0}`)},
		{"purchase of a true", activity(conversation.ProductPurchased, `{"product_id":true,"product":17,"product_ids":{"17":17},"products":["17",17,null]}`)},
		{"purchase of nothing", activity(conversation.ProductPurchased, `{"product_id":"","id":17,"form_id":17}`)},
		{"form f", activity(conversation.FormSubmitted, `{"form_id":"f"}`)},
		{"form 9", activity(conversation.FormSubmitted, `{"form":{"id":9},"product_id":18}`)},
		{"form of forms", activity(conversation.FormSubmitted, `{"form_ids":["f"],"forms":[{"id":"f"}]}`)},
		{"task", activity(conversation.TaskCompleted, `{"product_id":18,"form_id":"g"}`)},
	}
	inContact := []struct {
		name  string
		event domain.Event
	}{
		{"contact", contact.Created{Profile: jon}},
		{"shop's widget", contact.WidgetTriggered{Contact: jon, Inbox: domain.Inbox{ID: "shop"}}},
		{"site's widget", contact.WidgetTriggered{Contact: jon, Inbox: domain.Inbox{ID: "site"}}},
		{"nowhere's widget", contact.WidgetTriggered{Contact: jon}},
	}
	but := func(names ...string) func(string) bool {
		return func(name string) bool { return !slices.Contains(names, name) }
	}
	only := func(names ...string) func(string) bool {
		return func(name string) bool {
			// What happens to a contact passes but for the widget's inbox.
			return slices.Contains(names, name) || name == "contact" || strings.HasSuffix(name, "widget")
		}
	}
	for name, c := range map[string]struct {
		filters endpoint.Filters
		want    func(name string) bool
	}{
		"no filter":     {endpoint.Filters{}, but()},
		"its inbox":     {endpoint.Filters{Inboxes: []string{"x", "shop"}}, but("site's widget", "nowhere's widget")},
		"another inbox": {endpoint.Filters{Inboxes: []string{"site"}}, func(name string) bool { return name == "contact" || name == "site's widget" }},
		"its channel":   {endpoint.Filters{Channels: []string{"web"}}, but()},
		"another one":   {endpoint.Filters{Channels: []string{"mail"}}, only()},
		"a label":       {endpoint.Filters{Labels: []string{"vip"}}, only("labels", "labelled message")},
		"either label": {
			endpoint.Filters{Labels: []string{"vip", "late"}},
			only("labels", "labelled message", "labels back"),
		},
		"a label of another channel": {endpoint.Filters{Labels: []string{"vip"}, Channels: []string{"mail"}}, only()},
		"customers": {
			endpoint.Filters{AuthorRoles: []domain.Role{domain.Customer}},
			but("agent's message", "bot's message", "system's message", "note", "agent's edit", "note's edit", "deletion",
				"note's deletion", "note's typing", "note's typing's end"),
		},
		"bots and the system": {
			endpoint.Filters{AuthorRoles: []domain.Role{domain.Bot, domain.System}},
			but("customer's message", "agent's message", "note", "edit", "agent's edit", "note's edit", "labelled message",
				"relabelled message", "deletion", "note's deletion", "typing", "typing's end", "note's typing", "note's typing's end"),
		},
		"nothing private": {
			endpoint.Filters{Private: new(false)},
			but("note", "note's edit", "note's deletion", "note's typing", "note's typing's end"),
		},
		"only what is private": {
			endpoint.Filters{Private: new(true)},
			but("customer's message", "agent's message", "bot's message", "system's message", "edit", "agent's edit",
				"labelled message", "relabelled message", "deletion", "typing", "typing's end"),
		},
		"a product": {
			endpoint.Filters{ProductIDs: []string{"17"}},
			but("purchase of 17.0", "purchase of a true", "purchase of nothing"),
		},
		"another product": {
			endpoint.Filters{ProductIDs: []string{"17.0", "18"}},
			but("purchase of 17", "purchase of \"17\"", "purchase among others", "purchase of products", "purchase of a true",
				"purchase of nothing"),
		},
		"a form":       {endpoint.Filters{FormIDs: []string{"f"}}, but("form 9", "form of forms")},
		"another form": {endpoint.Filters{FormIDs: []string{"9"}}, but("form f", "form of forms")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newRig()
			ep := g.stream("endpoint")
			g.add(t, ep, registered(endpoint.Settings{Dialect: "echo@1", Events: []string{"*"}, Filters: c.filters}))
			talk, person := g.stream("conversation"), g.stream("contact")
			want := []string{}
			for _, e := range inConversation {
				if at := g.add(t, talk, e.event); c.want(e.name) {
					want = append(want, fmt.Sprint(at, " ", e.event.EventType()))
				}
			}
			for _, e := range inContact {
				if at := g.add(t, person, e.event); c.want(e.name) {
					want = append(want, fmt.Sprint(at, " ", e.event.EventType()))
				}
			}
			catchUp(t, g.plan(nil))
			if diff := cmp.Diff(want, g.store.planned(ep)); diff != "" {
				t.Errorf("planned (-want +got):\n%s", diff)
			}
		})
	}
}

// TestPlanWithoutNotes: who is sent no private notes is shown none in histories.
func TestPlanWithoutNotes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		history string
		private *bool
		want    string
	}{
		{"full", nil, "full"},
		{"last:3", new(true), "last:3"},
		{"full", new(false), "full,public"},
		{"", new(false), "full,public"},
		{"none", new(false), "none,public"},
		{"last:3", new(false), "last:3,public"},
		{"unheard-of", new(false), "unheard-of"}, // of which no body can be made
	} {
		g := newRig()
		g.add(t, g.stream("endpoint"), registered(endpoint.Settings{
			Dialect: "echo@1", Events: []string{"*"}, History: c.history, Filters: endpoint.Filters{Private: c.private},
		}))
		g.add(t, g.stream("conversation"), created())
		catchUp(t, g.plan(nil))
		if len(g.store.deliveries) != 1 || g.store.deliveries[0].History != c.want {
			t.Errorf("%+v came to %+v", c, g.store.deliveries)
		}
	}
}

// TestNotesStayIn takes a conversation with notes, their edits and deletions all
// the way to the bodies: an endpoint that is sent no private notes gets not a
// word of them, and the one beside it all.
func TestNotesStayIn(t *testing.T) {
	t.Parallel()
	g := newRig()
	shut, open, stream := g.stream("endpoint"), g.stream("endpoint"), g.stream("conversation")
	for ep, private := range map[string]*bool{shut: new(false), open: nil} {
		g.add(t, ep, registered(endpoint.Settings{
			Dialect: "verbatim@1", Events: []string{"*"}, History: "full", Filters: endpoint.Filters{Private: private},
		}))
	}
	const secret = "hush"
	secrets := []string{secret + " one", secret + " two", secret + " three", secret + " four"}
	g.add(t, stream,
		created(), posted("a", jon, "a question"),
		note("b", secrets[0]), posted("c", arya, "an answer"),
		conversation.MessageEdited{MessageID: "b", Previous: secrets[0], Text: secrets[1], Private: true, By: arya},
		note("d", secrets[2]), conversation.Assigned{Agent: arya},
		conversation.MessageEdited{MessageID: "c", Previous: "an answer", Text: "a better answer", By: arya},
		conversation.MessageDeleted{MessageID: "d", Private: true, By: arya},
		conversation.TypingStarted{Author: arya, Private: true}, conversation.TypingStopped{Author: arya, Private: true},
		note("e", secrets[3]), conversation.MessagePlayed{MessageID: "e", Private: true, Viewer: arya},
		conversation.MessageDeleted{MessageID: "a", By: arya}, conversation.Read{By: jon, UpTo: 13},
		conversation.Closed{ClosedType: "solved", By: &arya},
	)
	catchUp(t, g.group(projections.NewPlan(g.log, g.codec, g.store, formats(), nil)))
	bodies := map[string][]byte{}
	public := 0
	tr := g.transcripts()
	for i := range g.store.deliveries {
		d := &g.store.deliveries[i]
		b := body(t, tr, d)
		ep := eventstore.StreamName("endpoint", d.EndpointID)
		bodies[ep] = append(bodies[ep], b...)
		if ep == shut {
			public++
			if bytes.Contains(b, []byte(secret)) || bytes.Contains(b, []byte(`"private":true`)) {
				t.Errorf("version %d tells of a note: %s", d.Version, b)
			}
		}
	}
	if public != 16-8 { // notes: 3, their edits and deletions: 2, typing: 2, a playing: 1
		t.Errorf("%d events were sent without notes", public)
	}
	for _, said := range []string{"a question", "an answer", "a better answer"} {
		if !bytes.Contains(bodies[shut], []byte(said)) {
			t.Errorf("without notes %q is not there either", said)
		}
	}
	for _, said := range secrets {
		if !bytes.Contains(bodies[open], []byte(said)) {
			t.Errorf("the other endpoint is not sent %q", said)
		}
	}
}

// scanLog notes which streams of conversations are scanned, and from where to
// where.
type scanLog struct {
	eventstore.Store
	scans []string
}

func (l *scanLog) ReadStream(ctx context.Context, stream string, after int64) iter.Seq2[eventstore.Recorded, error] {
	return func(yield func(eventstore.Recorded, error) bool) {
		last := after
		for r, err := range l.Store.ReadStream(ctx, stream, after) {
			last = r.Version
			if !yield(r, err) {
				break
			}
		}
		if kind, _ := eventstore.SplitStream(stream); kind == "conversation" {
			l.scans = append(l.scans, fmt.Sprint(after, "-", last))
		}
	}
}

// TestPlanReadsWhatItMust counts what is read of a conversation by a plan that
// began in the middle of it: nothing for those who do not ask, one event for
// where it came in, everything before the event in one scan for its labels, and
// nothing of what it sees itself.
func TestPlanReadsWhatItMust(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		filters []endpoint.Filters
		events  []string
		want    []string // scans
	}{
		"no filter":    {[]endpoint.Filters{{}}, []string{"*"}, nil},
		"event's own":  {[]endpoint.Filters{{Private: new(false), AuthorRoles: []domain.Role{domain.Agent}, FormIDs: []string{"x"}}}, []string{"*"}, nil},
		"an inbox":     {[]endpoint.Filters{{Inboxes: []string{"shop"}}}, []string{"*"}, []string{"0-1"}},
		"a label":      {[]endpoint.Filters{{Labels: []string{"vip"}}}, []string{"*"}, []string{"0-5"}},
		"both, apart":  {[]endpoint.Filters{{Inboxes: []string{"shop"}}, {Labels: []string{"vip"}}}, []string{"*"}, []string{"0-5"}},
		"asked rarely": {[]endpoint.Filters{{Labels: []string{"vip"}}}, []string{"conversation.closed"}, []string{"0-8"}},
		"not asked":    {[]endpoint.Filters{{Labels: []string{"vip"}}}, []string{"contact.*"}, nil},
		"refused at once": {
			[]endpoint.Filters{{Labels: []string{"vip"}, AuthorRoles: []domain.Role{domain.Bot}}},
			[]string{"conversation.message_posted"},
			nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newRig()
			for _, f := range c.filters {
				g.add(t, g.stream("endpoint"), registered(endpoint.Settings{Dialect: "echo@1", Events: c.events, Filters: f}))
			}
			stream, elsewhere := g.stream("conversation"), g.stream("conversation")
			g.add(t, stream, created(), posted("a", jon, "1"), labelled("vip"), posted("b", jon, "2"), labelled("new"))
			g.append(t, "another", elsewhere, eventstore.Draft{
				ID: g.id(), Type: "conversation.created", Schema: 1, Time: noon, Data: encoded(created()),
			})
			more := func() {
				g.add(t, stream, posted("c", jon, "3"), labelled("vip"), posted("d", arya, "4"), conversation.Closed{})
			}
			scans := func(again *rig) []string {
				log := &scanLog{Store: g.log}
				catchUp(t, again.group(projections.NewPlan(log, g.codec, again.store, echoes, nil)))
				return log.scans
			}
			scans(g)
			more()
			if diff := cmp.Diff(c.want, scans(g)); diff != "" {
				t.Errorf("scans (-want +got):\n%s", diff)
			}
			if got := scans(&rig{log: g.log, codec: g.codec, store: newRows()}); len(got) > 0 {
				t.Errorf("who has seen everything scans %v", got)
			}
		})
	}
}

// TestPlanRemembersWithinBounds has more conversations with large labels than
// are remembered, and none that comes back is taken for another.
func TestPlanRemembersWithinBounds(t *testing.T) {
	t.Parallel()
	g := newRig()
	ep := g.stream("endpoint")
	g.add(t, ep, registered(endpoint.Settings{
		Dialect: "echo@1", Events: []string{"conversation.message_posted"}, Filters: endpoint.Filters{Labels: []string{"vip"}},
	}))
	const limit = 16 << 10
	large := []string{strings.Repeat("x", limit/8)}
	streams := []string{}
	want := []string{}
	for i := range 20 {
		stream := g.stream("conversation")
		streams = append(streams, stream)
		labels := large
		if i%2 == 0 {
			labels = append(labels, "vip")
		}
		g.add(t, stream, created(), labelled(labels...))
	}
	for range 2 {
		for i, stream := range streams {
			if at := g.add(t, stream, posted(fmt.Sprint(g.head(t)), jon, "hello")); i%2 == 0 {
				want = append(want, fmt.Sprint(at, " conversation.message_posted"))
			}
		}
	}
	plan := projections.NewPlan(g.log, g.codec, g.store, echoes, nil)
	group := g.group(plan)
	if err := group.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	plan.SetOriginLimit(limit)
	for r, err := range g.log.ReadLog(t.Context(), 0) {
		if err != nil {
			t.Fatal(err)
		}
		group.Project(t.Context(), &r)
		if known, counted, size := plan.Origins(); counted != size || size > limit || known > 7 {
			t.Fatalf("at position %d %d conversations are remembered, %d bytes, counted %d", r.Position, known, size, counted)
		}
	}
	if err := group.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, g.store.planned(ep)); diff != "" {
		t.Errorf("planned (-want +got):\n%s", diff)
	}
}

// owed is what the log owes to whom, told from nothing for each event: position,
// endpoint, name and view.
func (g *rig) owed(t tester) []string {
	var log []eventstore.Recorded
	for r, err := range g.log.ReadLog(context.Background(), 0) {
		if err != nil {
			t.Fatal(err)
		}
		log = append(log, r)
	}
	out := []string{}
	rows := map[string]projections.EndpointRow{} // as of each event
	for i := range log {
		e, err := g.codec.Decode(&log[i])
		if err != nil {
			t.Fatal(err)
		}
		about, ofEndpoint := e.(endpoint.Event)
		if ofEndpoint {
			rows[log[i].Stream] = rows[log[i].Stream].Evolve(webhooks.Fact{Recorded: &log[i]}, about)
		}
		for stream, row := range rows {
			if stream == log[i].Stream {
				continue // is told nothing of itself
			}
			d, err := echoes.Find(row.Settings.Dialect)
			if err != nil {
				t.Fatal(err)
			}
			view := row.Settings.History
			no, most := row.Settings.Filters.Private, row.Settings.MaxBodyBytes
			if no != nil && !*no || most > 0 {
				view = map[string]string{"": "full"}[view] + view
			}
			if no != nil && !*no {
				view += ",public"
			}
			if most > 0 {
				view += fmt.Sprint(",max:", most)
			}
			for _, word := range d.Words(e) {
				if !row.Deleted && webhooks.Wants(row.Settings.Events, log[i].Type, word) && g.lets(t, &row.Settings.Filters, &log[i]) {
					out = append(out, fmt.Sprintf("%03d %s %s %s", log[i].Position, row.ID, word.Name, view))
				}
			}
		}
	}
	slices.Sort(out)
	return out
}

// lets reports whether filters let an event through, as the log has it.
func (g *rig) lets(t tester, f *endpoint.Filters, r *eventstore.Recorded) bool {
	var data struct {
		Author, By struct{ Role domain.Role }
		Inbox      struct{ ID string }
		Private    bool
		Kind       string
		Data       map[string]any
	}
	dec := json.NewDecoder(bytes.NewReader(r.Data))
	dec.UseNumber()
	if err := dec.Decode(&data); err != nil {
		t.Fatal(err)
	}
	either := func(list, values []string) bool {
		return len(list) == 0 || slices.ContainsFunc(values, func(v string) bool { return slices.Contains(list, v) })
	}
	named := func(thing string, more bool) (ids []string) {
		member := func(v any, key string) any { m, _ := v.(map[string]any); return m[key] }
		found := []any{data.Data[thing+"_id"], member(data.Data[thing], "id")}
		if l, ok := data.Data[thing+"_ids"].([]any); ok && more {
			found = append(found, l...)
		}
		if l, ok := data.Data[thing+"s"].([]any); ok && more {
			for _, v := range l {
				found = append(found, member(v, "id"))
			}
		}
		for _, id := range found {
			switch id.(type) {
			case string, json.Number:
				ids = append(ids, fmt.Sprint(id))
			}
		}
		return ids
	}
	role := data.Author.Role
	if strings.HasPrefix(r.Type, "endpoint.") {
		return true
	}
	switch r.Type {
	case "contact.widget_triggered":
		return either(f.Inboxes, []string{data.Inbox.ID})
	case "conversation.message_edited", "conversation.message_deleted":
		role = data.By.Role
		fallthrough
	case "conversation.message_posted", "conversation.typing_started", "conversation.typing_stopped":
		if len(f.AuthorRoles) > 0 && !slices.Contains(f.AuthorRoles, role) || f.Private != nil && *f.Private != data.Private {
			return false
		}
	case "conversation.message_played":
		if data.Private && f.Private != nil && !*f.Private {
			return false
		}
	case "conversation.activity_recorded":
		if data.Kind == "product_purchased" && !either(f.ProductIDs, named("product", true)) ||
			data.Kind == "form_submitted" && !either(f.FormIDs, named("form", false)) {
			return false
		}
	}
	h, _ := g.fold(t, r.Stream, r.Version)
	return either(f.Inboxes, []string{h.Conversation.Inbox.ID}) && either(f.Channels, []string{h.Conversation.Channel}) &&
		either(f.Labels, h.Conversation.Labels)
}

// told is what was planned, as owed tells it.
func (s *rows) told() []string {
	out := []string{}
	for _, d := range s.deliveries {
		out = append(out, fmt.Sprintf("%03d %s %s %s", d.Position, d.EndpointID, d.Name, d.History))
	}
	slices.Sort(out)
	return out
}

// faultyLog does not always find conversations.
type faultyLog struct {
	eventstore.Store
	faulty func() bool
}

func (l *faultyLog) ReadStream(ctx context.Context, stream string, after int64) iter.Seq2[eventstore.Recorded, error] {
	if kind, _ := eventstore.SplitStream(stream); kind == "conversation" && l.faulty() {
		return func(yield func(eventstore.Recorded, error) bool) { yield(eventstore.Recorded{}, errInjected) }
	}
	return l.Store.ReadStream(ctx, stream, after)
}

// TestPlanOwesWhatTheLogSays plans a log at random, in pages at random, with
// starts with nothing in memory and, while the endpoints stay as they are, with
// streams that are parked because they could not be read, and taken up again: to
// everybody is owed what a fold from nothing says for each event, once.
func TestPlanOwesWhatTheLogSays(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		g := newRig()
		steady := rapid.Bool().Draw(t, "steady")
		g.drawLog(t, steady)
		want := g.owed(t)

		calm := !steady
		log := &faultyLog{g.log, func() bool { return !calm && rapid.IntRange(0, 2).Draw(t, "faulty") == 0 }}
		begin := func(store *rows) *projections.Group {
			group := (&rig{log: g.log, codec: g.codec, store: store}).
				group(projections.NewEndpoints(store, nil), projections.NewPlan(log, g.codec, store, echoes, nil))
			if err := group.Load(context.Background()); err != nil {
				t.Fatal(err)
			}
			return group
		}
		group := begin(g.store)
		for group.Position() < g.head(t) {
			switch rapid.IntRange(0, 5).Draw(t, "step") {
			case 0:
				group = begin(g.store)
			case 1:
				if err := group.Retry(context.Background(), true); err != nil {
					t.Fatal(err)
				}
			}
			page := rapid.IntRange(1, 12).Draw(t, "page")
			for r, err := range g.log.ReadLog(context.Background(), group.Position()) {
				if err != nil {
					t.Fatal(err)
				}
				group.Project(context.Background(), &r)
				if page--; page == 0 {
					break
				}
			}
			if err := group.Commit(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
		calm = true
		if err := group.Retry(context.Background(), true); err != nil {
			t.Fatal(err)
		}
		if parked := group.Parked(); len(parked) > 0 {
			t.Fatalf("parked: %+v", parked)
		}
		if diff := cmp.Diff(want, g.store.told()); diff != "" {
			t.Fatalf("owed (-fold +plan):\n%s", diff)
		}

		// Planned again, nothing is new.
		ids := map[string]bool{}
		for _, d := range g.store.deliveries {
			ids[d.ID] = true
		}
		again := newRows()
		if err := begin(again).CatchUp(context.Background()); err != nil {
			t.Fatal(err)
		}
		for _, d := range again.deliveries {
			if !ids[d.ID] {
				t.Fatalf("planned again, this is new: %+v", d)
			}
		}
		if len(ids) != len(want) || len(again.deliveries) != len(want) {
			t.Fatalf("%d ids and %d deliveries planned again of %d", len(ids), len(again.deliveries), len(want))
		}
	})
}

// TestPlanOfAnyVersion shows the plan the events of a conversation in any order,
// some twice and some never: it owes what their own versions say.
func TestPlanOfAnyVersion(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		g := newRig()
		ep := g.stream("endpoint")
		settings := drawSettings(t)
		settings.Filters.Labels = []string{"vip"}
		g.add(t, ep, registered(settings))
		stream := g.drawTalk(t, rapid.IntRange(1, 30).Draw(t, "commands"))
		var facts []webhooks.Fact
		for r, err := range g.log.ReadStream(context.Background(), stream, 0) {
			if err != nil {
				t.Fatal(err)
			}
			e, err := g.codec.Decode(&r)
			if err != nil {
				t.Fatal(err)
			}
			facts = append(facts, webhooks.Fact{Recorded: &r, Event: e})
		}
		owed := g.owed(t)
		plan := projections.NewPlan(g.log, g.codec, g.store, echoes, nil)
		if err := plan.Load(context.Background(), 1); err != nil {
			t.Fatal(err)
		}
		for range 2 * len(facts) {
			f := rapid.SampledFrom(facts).Draw(t, "fact")
			var planned projections.Rows
			if err := plan.Project(context.Background(), f, &planned); err != nil {
				t.Fatal(err)
			}
			want := []string{}
			for _, line := range owed {
				if strings.HasPrefix(line, fmt.Sprintf("%03d ", f.Position)) {
					want = append(want, line)
				}
			}
			if diff := cmp.Diff(want, (&rows{deliveries: planned.Deliveries}).told()); diff != "" {
				t.Fatalf("owed at version %d (-fold +plan):\n%s", f.Version, diff)
			}
			if _, counted, size := plan.Origins(); counted != size {
				t.Fatalf("%d bytes are remembered, counted %d", size, counted)
			}
		}
	})
}

// BenchmarkPlan plans messages in a thousand conversations that are being had.
func BenchmarkPlan(b *testing.B) {
	const conversations = 1000
	filters := endpoint.Filters{
		Inboxes: []string{"shop"}, Labels: []string{"new", "vip"}, AuthorRoles: []domain.Role{domain.Customer}, Private: new(false),
	}
	for _, endpoints := range []int{1, 100} {
		for _, c := range []struct {
			name     string
			settings endpoint.Settings
		}{
			{"unwanted", endpoint.Settings{Events: []string{"conversation.closed"}}},
			{"all", endpoint.Settings{Events: []string{"*"}}},
			{"filtered, none pass", endpoint.Settings{Events: []string{"*"}, Filters: endpoint.Filters{Labels: []string{"late"}}}},
			{"filtered, all pass", endpoint.Settings{Events: []string{"*"}, Filters: filters}},
		} {
			b.Run(fmt.Sprint(c.name, "/", endpoints), func(b *testing.B) {
				g := newRig()
				c.settings.Dialect, c.settings.History = "verbatim@1", "full"
				for range endpoints {
					g.add(b, g.stream("endpoint"), registered(c.settings))
				}
				plan := projections.NewPlan(g.log, g.codec, g.store, formats(), nil)
				if err := plan.Load(b.Context(), g.head(b)); err != nil {
					b.Fatal(err)
				}
				var rows projections.Rows
				project := func(f webhooks.Fact) {
					rows.Deliveries = rows.Deliveries[:0]
					if err := plan.Project(b.Context(), f, &rows); err != nil {
						b.Fatal(err)
					}
				}
				facts := make([]webhooks.Fact, conversations)
				for i := range facts {
					stream := g.stream("conversation")
					for k, e := range []domain.Event{created(), labelled("vip"), posted("m", jon, "hello")} {
						facts[i] = webhooks.Fact{Event: e, Recorded: &eventstore.Recorded{
							Position: g.head(b) + int64(3*i+k+1), Stream: stream, Version: int64(k + 1), ID: g.id(),
							Type: e.EventType(), Account: "default", Time: noon,
						}}
						project(facts[i])
					}
				}
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					f := facts[i%conversations]
					f.Recorded.Version++ // another message
					project(f)
				}
			})
		}
	}
}
