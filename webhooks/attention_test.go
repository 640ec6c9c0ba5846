package webhooks_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"verbatim/domain"
	"verbatim/domain/conversation"
	"verbatim/webhooks"
	"verbatim/webhooks/webhookstest"
)

func second(n int64) time.Time { return webhookstest.Day().Add(time.Duration(n) * time.Second) }

func by(role domain.Role) domain.Person { return domain.Person{ID: string(role), Role: role} }

func TestAttention(t *testing.T) {
	t.Parallel()
	says := func(role domain.Role) conversation.MessagePosted {
		return conversation.MessagePosted{Author: by(role)}
	}
	note := conversation.MessagePosted{Author: by(domain.Agent), Private: true}
	reads := func(role domain.Role, upTo int64) conversation.Read {
		return conversation.Read{By: by(role), UpTo: upTo}
	}
	var a, want webhooks.Attention
	n := int64(0)
	// then takes both on by an event: one by Evolve, the other by what it says. An
	// event that changes the conversation moves the times of change.
	then := func(e conversation.Event, changes bool, says func(w *webhooks.Attention)) {
		t.Helper()
		n++
		a = a.Evolve(recordedAt(n, e), e)
		if changes {
			want.ChangedAt, want.ChangedBefore = second(n), want.ChangedAt
		}
		says(&want)
		if diff := cmp.Diff(want, a); diff != "" {
			t.Fatalf("version %d, %s (-want +got):\n%s", n, e.EventType(), diff)
		}
	}
	nothing := func(*webhooks.Attention) {}
	then(conversation.Created{}, true, func(w *webhooks.Attention) { w.WaitingSince, w.ActiveAt = second(1), second(1) })
	then(says(domain.Customer), true, func(w *webhooks.Attention) { w.Unread, w.ActiveAt = []int64{2}, second(2) }) // waits since the beginning
	then(says(domain.Customer), true, func(w *webhooks.Attention) { w.Unread, w.ActiveAt = []int64{2, 3}, second(3) })
	then(conversation.TypingStarted{Author: by(domain.Agent)}, false, nothing)
	then(conversation.TypingStopped{Author: by(domain.Agent)}, false, nothing)
	then(conversation.MessagePlayed{Viewer: by(domain.Agent)}, false, nothing)
	then(note, true, func(w *webhooks.Attention) { w.ActiveAt = second(7) })                              // is no answer
	then(says(domain.Bot), true, func(w *webhooks.Attention) { w.ActiveAt = second(8) })                  // neither is a bot's
	then(says(domain.System), true, func(w *webhooks.Attention) { w.ActiveAt = second(9) })               // nor the system's
	then(reads(domain.Bot, 9), false, nothing)                                                            // has not seen it for anybody
	then(reads(domain.System, 9), false, nothing)                                                         //
	then(reads(domain.Customer, 9), false, func(w *webhooks.Attention) { w.CustomerSeenAt = second(12) }) // is not the agent
	then(reads(domain.Agent, 2), false, func(w *webhooks.Attention) {
		w.AgentSeenAt, w.AgentReadTo, w.Unread = second(13), 2, []int64{3}
	})
	then(reads(domain.Agent, 1), false, func(w *webhooks.Attention) { w.AgentSeenAt = second(14) }) // only moves forward
	then(says(domain.Agent), true, func(w *webhooks.Attention) {
		w.FirstReplyAt, w.WaitingSince, w.ActiveAt, w.AgentReadTo, w.Unread = second(15), time.Time{}, second(15), 15, []int64{}
	})
	then(says(domain.Customer), true, func(w *webhooks.Attention) {
		w.WaitingSince, w.ActiveAt, w.Unread = second(16), second(16), []int64{16}
	})
	then(says(domain.Customer), true, func(w *webhooks.Attention) { w.ActiveAt, w.Unread = second(17), []int64{16, 17} }) // still since then
	then(says(domain.Agent), true, func(w *webhooks.Attention) {
		w.WaitingSince, w.ActiveAt, w.AgentReadTo, w.Unread = time.Time{}, second(18), 18, []int64{}
	})
	for _, e := range []conversation.Event{
		conversation.MessageEdited{},
		conversation.MessageDeleted{},
		conversation.StatusChanged{},
		conversation.Assigned{},
		conversation.Unassigned{},
		conversation.AttributesChanged{},
		conversation.CustomerUpdated{},
		conversation.ActivityRecorded{},
		conversation.Closed{},
		conversation.Reopened{},
	} {
		then(e, true, nothing)
	}
}

func TestUnreadMessagesAreCountedUpToABound(t *testing.T) {
	t.Parallel()
	var a webhooks.Attention
	e := conversation.MessagePosted{Author: by(domain.Customer)}
	const more = 7
	for n := range int64(webhooks.MaxUnread + more) {
		a = a.Evolve(recordedAt(n+1, e), e)
	}
	if len(a.Unread) != webhooks.MaxUnread || a.Unread[0] != more+1 || a.Unread[webhooks.MaxUnread-1] != webhooks.MaxUnread+more {
		t.Errorf("got %v", a.Unread)
	}
}

// A fold is pure: what follows from an attention does not change it, nor what
// else followed from it.
func TestAttentionIsNotSharedByWhatFollowsFromIt(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		draw := func() conversation.Event {
			role := rapid.SampledFrom([]domain.Role{domain.Customer, domain.Customer, domain.Agent}).Draw(t, "role")
			if rapid.Bool().Draw(t, "reads") {
				return conversation.Read{By: by(role), UpTo: rapid.Int64Range(0, 20).Draw(t, "to")}
			}
			return conversation.MessagePosted{Author: by(role), Private: rapid.Bool().Draw(t, "private")}
		}
		type kept struct {
			a    webhooks.Attention
			text string
		}
		text := func(a webhooks.Attention) string {
			raw, err := json.Marshal(a)
			if err != nil {
				t.Fatal(err)
			}
			return string(raw)
		}
		all := []kept{{webhooks.Attention{}, text(webhooks.Attention{})}}
		for range rapid.IntRange(0, 30).Draw(t, "events") {
			from := all[rapid.IntRange(0, len(all)-1).Draw(t, "from")].a
			e := draw()
			to := from.Evolve(recordedAt(int64(len(all)), e), e)
			all = append(all, kept{to, text(to)})
		}
		for i, k := range all {
			if got := text(k.a); got != k.text {
				t.Fatalf("%d was %s and is %s", i, k.text, got)
			}
		}
	})
}

func TestAttentionKnowsEveryEvent(t *testing.T) {
	t.Parallel()
	defer func() {
		if recover() == nil {
			t.Error("an event outside the set was taken")
		}
	}()
	webhooks.Attention{}.Evolve(recordedAt(1, conversation.Created{}), nil)
}
