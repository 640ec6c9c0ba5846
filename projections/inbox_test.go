package projections_test

import (
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"verbatim/domain"
	"verbatim/domain/contact"
	"verbatim/domain/conversation"
	"verbatim/projections"
	"verbatim/webhooks"
)

// What the inbox says of a conversation, in short.
type inboxLine struct {
	Last   string
	Unread []int64
	ReadTo int64
	Active int64 // version of the event that brought it to the top
	Status conversation.Status
}

func TestInbox(t *testing.T) {
	t.Parallel()
	const open, ended = conversation.Open, conversation.StatusEnded
	tyrion := domain.Person{ID: "tyrion", Role: domain.Customer, Name: "Tyrion"}
	expires := noon.Add(time.Minute)
	for _, c := range []struct {
		name   string
		events []domain.Event // behind the first
		want   inboxLine
	}{
		{"nothing yet", nil, inboxLine{Active: 1, Status: open}},
		{
			"the customer writes",
			[]domain.Event{posted("a", jon, "one"), posted("b", jon, "two")},
			inboxLine{Last: "two", Unread: []int64{2, 3}, Active: 3, Status: open},
		},
		{
			"another customer writes",
			[]domain.Event{posted("a", tyrion, "one")},
			inboxLine{Last: "one", Unread: []int64{2}, Active: 2, Status: open},
		},
		{
			"an agent reads some of it",
			[]domain.Event{posted("a", jon, "one"), posted("b", jon, "two"), conversation.Read{By: arya, UpTo: 2}},
			inboxLine{Last: "two", Unread: []int64{3}, ReadTo: 2, Active: 3, Status: open},
		},
		{
			"another agent has read less",
			[]domain.Event{
				posted("a", jon, "one"), posted("b", jon, "two"),
				conversation.Read{By: arya, UpTo: 3},
				conversation.Read{By: domain.Person{ID: "sansa", Role: domain.Agent}, UpTo: 2},
				posted("c", jon, "three"),
			},
			inboxLine{Last: "three", Unread: []int64{6}, ReadTo: 3, Active: 6, Status: open},
		},
		{
			"the customer reads",
			[]domain.Event{posted("a", jon, "one"), conversation.Read{By: jon, UpTo: 2}},
			inboxLine{Last: "one", Unread: []int64{2}, Active: 2, Status: open},
		},
		{
			"a bot reads",
			[]domain.Event{posted("a", jon, "one"), conversation.Read{By: hal, UpTo: 2}},
			inboxLine{Last: "one", Unread: []int64{2}, Active: 2, Status: open},
		},
		{
			"an agent answers",
			[]domain.Event{posted("a", jon, "one"), posted("b", arya, "two"), posted("c", jon, "three")},
			inboxLine{Last: "three", Unread: []int64{4}, ReadTo: 3, Active: 4, Status: open},
		},
		{
			"a bot answers",
			[]domain.Event{posted("a", jon, "one"), posted("b", hal, "two")},
			inboxLine{Last: "two", Unread: []int64{2}, Active: 3, Status: open},
		},
		{
			"an agent notes something",
			[]domain.Event{posted("a", jon, "one"), note("b", "hm")},
			inboxLine{Last: "one", Unread: []int64{2}, Active: 3, Status: open},
		},
		{
			"the last message is edited",
			[]domain.Event{
				posted("a", jon, "one"), posted("b", arya, "two"),
				conversation.MessageEdited{MessageID: "b", Previous: "two", Text: strings.Repeat("ł", 300), By: arya},
			},
			inboxLine{Last: strings.Repeat("ł", projections.MaxPreview) + " edited", ReadTo: 3, Active: 4, Status: open},
		},
		{
			"an older message is edited and deleted",
			[]domain.Event{
				posted("a", jon, "one"), posted("b", arya, "two"),
				conversation.MessageEdited{MessageID: "a", Previous: "one", Text: "eins", By: jon},
				conversation.MessageDeleted{MessageID: "a", By: jon},
			},
			inboxLine{Last: "two", ReadTo: 3, Active: 5, Status: open},
		},
		{
			"the last message is deleted",
			[]domain.Event{posted("a", jon, "one"), conversation.MessageDeleted{MessageID: "a", By: jon}},
			inboxLine{Last: " deleted", Unread: []int64{2}, Active: 3, Status: open},
		},
		{
			"a note is edited and deleted",
			[]domain.Event{
				posted("a", jon, "one"), note("b", "hm"),
				conversation.MessageEdited{MessageID: "b", Previous: "hm", Text: "aha", By: arya},
				conversation.MessageDeleted{MessageID: "b", By: arya},
			},
			inboxLine{Last: "one", Unread: []int64{2}, Active: 5, Status: open},
		},
		{
			"typing brings nothing to the top",
			[]domain.Event{
				posted("a", jon, "one"),
				conversation.TypingStarted{Author: jon, ExpiresAt: expires},
				conversation.TypingStopped{Author: jon, Reason: conversation.StopExplicit},
			},
			inboxLine{Last: "one", Unread: []int64{2}, Active: 2, Status: open},
		},
		{
			"a status does",
			[]domain.Event{posted("a", jon, "one"), conversation.Closed{ClosedType: "solved"}},
			inboxLine{Last: "one", Unread: []int64{2}, Active: 3, Status: ended},
		},
	} {
		for _, restarts := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, restarts %t", c.name, restarts), func(t *testing.T) {
				t.Parallel()
				g := newRig()
				stream := g.stream("conversation")
				g.add(t, g.stream("contact"), contact.Created{Profile: jon}) // so that versions are no positions
				g.add(t, stream, created())
				group := g.group(projections.NewInbox(g.store))
				catchUp(t, group)
				for _, e := range c.events {
					g.add(t, stream, e)
					if restarts {
						catchUp(t, g.group(projections.NewInbox(g.store)))
					}
				}
				if !restarts {
					catchUp(t, group)
				}
				row := g.store.inboxRow(t, stream)
				got := inboxLine{Unread: row.Attention.Unread, ReadTo: row.Attention.AgentReadTo, Active: row.ActiveAt - 1, Status: row.Conversation.Status}
				if m := row.LastMessage; m != nil {
					got.Last = m.Text
					if m.EditedAt != nil {
						got.Last += " edited"
					}
					if m.DeletedAt != nil {
						got.Last += " deleted"
					}
				}
				if len(got.Unread) == 0 {
					got.Unread = nil
				}
				if diff := cmp.Diff(c.want, got); diff != "" {
					t.Errorf("the inbox (-want +got):\n%s", diff)
				}
				if want := int64(len(c.events)) + 1; row.Conversation.Version != want {
					t.Errorf("the row is at version %d, want %d", row.Conversation.Version, want)
				}
			})
		}
	}
}

func TestPreviewIsCutAtCharacters(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int{
		"":                        0,
		"short":                   5,
		strings.Repeat("x", 280):  280,
		strings.Repeat("x", 281):  280,
		strings.Repeat("🛶", 280):  280,
		strings.Repeat("🛶", 1000): 280,
	} {
		g := newRig()
		stream := g.stream("conversation")
		g.add(t, stream, created(), posted("a", jon, text))
		catchUp(t, g.group(projections.NewInbox(g.store)))
		got := g.store.inboxRow(t, stream).LastMessage.Text
		if utf8.RuneCountInString(got) != want || !utf8.ValidString(got) || !strings.HasPrefix(text, got) {
			t.Errorf("of %d bytes %q is shown, want %d characters", len(text), got, want)
		}
	}
}

func TestUnreadIsBounded(t *testing.T) {
	t.Parallel()
	g := newRig()
	stream := g.stream("conversation")
	g.add(t, stream, created())
	const posts = webhooks.MaxUnread + 20
	for i := range posts {
		g.add(t, stream, posted(fmt.Sprint("m", i), jon, "hello"))
	}
	catchUp(t, g.group(projections.NewInbox(g.store)))
	unread := g.store.inboxRow(t, stream).Attention.Unread
	if len(unread) != webhooks.MaxUnread || unread[0] != posts+2-webhooks.MaxUnread || unread[len(unread)-1] != posts+1 {
		t.Errorf("unread are %v", unread)
	}
}

// TestInboxForgets has more conversations than rows are remembered.
func TestInboxForgets(t *testing.T) {
	t.Parallel()
	g := newRig()
	streams := g.fill(t, projections.InboxCache+100, projections.InboxCache+100)
	group := g.group(projections.NewInbox(g.store))
	catchUp(t, group)
	for _, stream := range []string{streams[0], streams[len(streams)-1]} {
		g.add(t, stream, posted("a", jon, "hello"))
		if err := group.CatchUp(t.Context()); err != nil {
			t.Fatal(err)
		}
		if row := g.store.inboxRow(t, stream); row.Conversation.Version != 2 || len(row.Attention.Unread) != 1 {
			t.Errorf("the row is %+v", row)
		}
	}
}

// TestRowWithoutAFirstEvent finds no row where there must be one: that stream
// stands still, for whatever is made of it would be wrong.
func TestRowWithoutAFirstEvent(t *testing.T) {
	t.Parallel()
	g := newRig()
	streams := g.fill(t, 2, 1)
	g.store.checkpoints["inbox"] = 1
	group := g.group(projections.NewInbox(g.store))
	catchUp(t, group)
	if parked := group.Parked(); len(parked) != 1 || parked[0].Stream != streams[0] || parked[0].Position != 2 {
		t.Errorf("parked are %+v", parked)
	}
}
