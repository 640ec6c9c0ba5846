package projections_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"verbatim/domain"
	"verbatim/domain/conversation"
	"verbatim/eventstore"
	"verbatim/projections"
)

func TestTyping(t *testing.T) {
	t.Parallel()
	g := newRig()
	stream := g.stream("conversation")
	_, id := eventstore.SplitStream(stream)
	started := func(p domain.Person, after time.Duration) domain.Event {
		return conversation.TypingStarted{Author: p, ExpiresAt: noon.Add(after)}
	}
	stopped := func(p domain.Person) domain.Event {
		return conversation.TypingStopped{Author: p, Reason: conversation.StopExplicit}
	}
	row := func(after time.Duration) projections.TypingRow {
		return projections.TypingRow{Account: "default", Until: noon.Add(after)}
	}
	changed := 0
	for i, c := range []struct {
		events  []domain.Event
		want    map[string]projections.TypingRow // by person
		changes bool
	}{
		{[]domain.Event{created()}, map[string]projections.TypingRow{}, false},
		{[]domain.Event{started(jon, 10)}, map[string]projections.TypingRow{"jon": row(10)}, true},
		{[]domain.Event{posted("a", arya, "hello")}, map[string]projections.TypingRow{"jon": row(10)}, false},
		{[]domain.Event{started(arya, 20)}, map[string]projections.TypingRow{"jon": row(10), "arya": row(20)}, true},
		{
			[]domain.Event{stopped(jon), started(jon, 30)},
			map[string]projections.TypingRow{"jon": row(30), "arya": row(20)},
			true,
		},
		{[]domain.Event{stopped(arya)}, map[string]projections.TypingRow{"jon": row(30)}, true},
		{[]domain.Event{started(arya, 40), stopped(arya), stopped(jon)}, map[string]projections.TypingRow{}, true},
	} {
		g.add(t, stream, c.events...)
		before := changed
		catchUp(t, g.group(projections.NewTyping(func() { changed++ })))
		got := make(map[string]projections.TypingRow)
		for key, row := range g.store.typing {
			if key.Conversation != id {
				t.Errorf("step %d: somebody types in %s", i, key.Conversation)
			}
			got[key.AuthorID] = row
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("step %d: who types (-want +got):\n%s", i, diff)
		}
		want := 0
		if c.changes {
			want = 1
		}
		if changed-before != want {
			t.Errorf("step %d was told %d times, want %d", i, changed-before, want)
		}
	}
}

// TestTypingIsToldAfterTheCommit tells nobody of a page that was dropped.
func TestTypingIsToldAfterTheCommit(t *testing.T) {
	t.Parallel()
	g := newRig()
	g.add(t, g.stream("conversation"), created(), conversation.TypingStarted{Author: jon, ExpiresAt: noon})
	told := 0
	group := g.group(projections.NewTyping(func() {
		if len(g.store.typing) != 1 {
			t.Error("told before the commit")
		}
		told++
	}))
	g.store.commit = func(*projections.Page) (bool, error) { return false, errInjected }
	if err := group.CatchUp(t.Context()); !errors.Is(err, errInjected) || told != 0 {
		t.Errorf("a page that was dropped came to %v and was told %d times", err, told)
	}
	g.store.commit = nil
	if err := group.CatchUp(t.Context()); err != nil || told != 1 {
		t.Errorf("the page came to %v and was told %d times", err, told)
	}
}

// types makes people type until so many seconds after noon.
func (s *rows) types(seconds map[string]int) {
	for person, after := range seconds {
		s.typing[projections.TypingKey{Conversation: "c", AuthorID: person}] = projections.TypingRow{Account: "default", Until: noon.Add(time.Duration(after) * time.Second)}
	}
}

func TestExpirer(t *testing.T) {
	t.Parallel()
	s := newRows()
	now := noon
	var expired []string
	// The conversation stops the typing, and the projection takes the row away.
	expire := func(_ context.Context, account, conversationID, authorID string) error {
		expired = append(expired, account+" "+conversationID+" "+authorID)
		delete(s.typing, projections.TypingKey{Conversation: conversationID, AuthorID: authorID})
		return nil
	}
	step := func(at, wantNext int, want ...string) {
		t.Helper()
		now, expired = noon.Add(time.Duration(at)*time.Second), nil
		x := projections.NewExpirer(s, func() time.Time { return now }, expire) // as after a restart
		n, next, err := x.Step(t.Context())
		for i := range want {
			want[i] = "default c " + want[i]
		}
		if err != nil || n != len(want) || !slices.Equal(expired, want) {
			t.Errorf("after %d s these ended: %v (%d), error %v; want %v", at, expired, n, err, want)
		}
		if wantNext == 0 != next.IsZero() || wantNext != 0 && !next.Equal(noon.Add(time.Duration(wantNext)*time.Second)) {
			t.Errorf("after %d s the next is due at %s", at, next)
		}
	}
	step(0, 0)
	s.types(map[string]int{"jon": 10, "arya": 20})
	step(9, 10)
	step(10, 20, "jon") // at the very moment
	s.types(map[string]int{"arya": 30})
	step(20, 30) // she went on
	s.types(map[string]int{"jon": 40, "hal": 35})
	step(3600, 0, "arya", "hal", "jon") // the program was away
}

func TestExpirerTakesABatch(t *testing.T) {
	t.Parallel()
	s := newRows()
	people := make(map[string]int)
	for i := range projections.ExpiryBatch + 10 {
		people[fmt.Sprintf("p%03d", i)] = i
	}
	s.types(people)
	x := projections.NewExpirer(s, func() time.Time { return noon.Add(time.Hour) }, func(_ context.Context, _, c, author string) error {
		delete(s.typing, projections.TypingKey{Conversation: c, AuthorID: author})
		return nil
	})
	for _, want := range []int{projections.ExpiryBatch, 10, 0} {
		if n, _, err := x.Step(t.Context()); n != want || err != nil {
			t.Errorf("a step ended %d, error %v, want %d", n, err, want)
		}
	}
}

// TestExpirerGoesOn has one typing that cannot be stopped: the others end.
func TestExpirerGoesOn(t *testing.T) {
	t.Parallel()
	s := newRows()
	s.types(map[string]int{"arya": 1, "jon": 2, "hal": 3})
	var ended []string
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	x := projections.NewExpirer(s, func() time.Time { return noon.Add(time.Hour) }, func(ctx context.Context, _, _, author string) error {
		ended = append(ended, author)
		if author == "arya" {
			return errInjected
		}
		return ctx.Err()
	})
	if n, next, err := x.Step(ctx); n != 2 || !next.IsZero() || !errors.Is(err, errInjected) || len(ended) != 3 {
		t.Errorf("a step ended %v (%d), next %s, error %v", ended, n, next, err)
	}
	s.read = func() error { return errInjected }
	if n, _, err := x.Step(ctx); n != 0 || !errors.Is(err, errInjected) {
		t.Errorf("a step that cannot read came to %d, %v", n, err)
	}
	s.read = nil

	// It does not ask everybody when it is to stop.
	ended = nil
	x = projections.NewExpirer(s, func() time.Time { return noon.Add(time.Hour) }, func(_ context.Context, _, _, author string) error {
		ended = append(ended, author)
		stop()
		return context.Canceled
	})
	if _, _, err := x.Step(ctx); !errors.Is(err, context.Canceled) || len(ended) != 1 {
		t.Errorf("a step that is to stop asked %v and came to %v", ended, err)
	}
}
