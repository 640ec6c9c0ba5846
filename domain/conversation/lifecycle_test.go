package conversation_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"verbatim/domain"
	"verbatim/domain/conversation"
)

func TestChangeStatus(t *testing.T) {
	t.Parallel()
	all := []conversation.Status{conversation.Open, conversation.Pending, conversation.Snoozed, conversation.Resolved}
	for _, from := range all {
		for _, to := range all {
			t.Run(string(from)+" to "+string(to), func(t *testing.T) {
				t.Parallel()
				s := given(t, created)
				if from != conversation.Open {
					s = given(t, created, status(conversation.Open, from))
				}
				o := s.When(conversation.ChangeStatus{To: to})
				if from == to {
					o.ThenRefused(conversation.StatusUnchanged)
					return
				}
				o.Then(status(from, to))
			})
		}
	}

	t.Run("keeps who, why and until when", func(t *testing.T) {
		t.Parallel()
		until := noon.Add(1)
		given(t, created).
			When(conversation.ChangeStatus{To: conversation.Snoozed, Reason: "lunch", By: &amy, SnoozedUntil: &until}).
			Then(conversation.StatusChanged{
				From: conversation.Open, To: conversation.Snoozed, Reason: "lunch", By: &amy, SnoozedUntil: &until,
			})
	})

	t.Run("after a reopening starts at open", func(t *testing.T) {
		t.Parallel()
		given(t, created, status(conversation.Open, conversation.Resolved),
			conversation.Closed{ClosedType: "solved"}, conversation.Reopened{By: amy}).
			When(conversation.ChangeStatus{To: conversation.Pending}).
			Then(status(conversation.Open, conversation.Pending))
	})

	past, future := noon, noon.Add(time.Hour)
	for _, tt := range []struct {
		name, field string
		command     conversation.ChangeStatus
	}{
		{"to closed", "status", conversation.ChangeStatus{To: conversation.StatusEnded}},
		{"to what there is not", "status", conversation.ChangeStatus{To: "asleep"}},
		{"to nothing", "status", conversation.ChangeStatus{}},
		{"snoozed until now", "snoozed_until", conversation.ChangeStatus{To: conversation.Snoozed, SnoozedUntil: &past}},
		{"pending until", "snoozed_until", conversation.ChangeStatus{To: conversation.Pending, SnoozedUntil: &future}},
		{"for a broken reason", "reason", conversation.ChangeStatus{To: conversation.Pending, Reason: broken}},
		{"by nobody", "by.id", conversation.ChangeStatus{To: conversation.Pending, By: &domain.Person{}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			given(t, created).When(tt.command).ThenFieldError(tt.field)
		})
	}
}

func TestClose(t *testing.T) {
	t.Parallel()

	t.Run("is solved unless something else is said", func(t *testing.T) {
		t.Parallel()
		given(t, created).When(conversation.Close{}).Then(conversation.Closed{From: conversation.Open, ClosedType: "solved"})
	})

	t.Run("keeps who and how", func(t *testing.T) {
		t.Parallel()
		given(t, created).
			When(conversation.Close{Type: "spam", By: &amy}).
			Then(conversation.Closed{From: conversation.Open, ClosedType: "spam", By: &amy})
	})

	t.Run("works from every status", func(t *testing.T) {
		t.Parallel()
		for _, s := range []conversation.Status{conversation.Pending, conversation.Snoozed, conversation.Resolved} {
			given(t, created, status(conversation.Open, s)).
				When(conversation.Close{}).
				Then(conversation.Closed{From: s, ClosedType: "solved"})
		}
	})

	t.Run("stops all who type, in the order in which they began", func(t *testing.T) {
		t.Parallel()
		until := noon.Add(time.Second)
		given(t, created, typing(amy, true, until), typing(ann, false, until)).
			When(conversation.Close{}).
			Then(
				stopped(amy, true, conversation.StopLeft),
				stopped(ann, false, conversation.StopLeft),
				conversation.Closed{From: conversation.Open, ClosedType: "solved"},
			)
	})

	t.Run("refuses bad fields", func(t *testing.T) {
		t.Parallel()
		given(t, created).When(conversation.Close{Type: broken}).ThenFieldError("type")
		given(t, created).When(conversation.Close{By: &domain.Person{}}).ThenFieldError("by.id")
	})
}

func TestReopen(t *testing.T) {
	t.Parallel()
	closed := conversation.Closed{ClosedType: "solved"}

	t.Run("by an agent", func(t *testing.T) {
		t.Parallel()
		given(t, created, said(amy, "hi"), closed).
			When(conversation.Reopen{By: id(amy)}).
			Then(conversation.Reopened{By: amy})
	})

	t.Run("by somebody new is by an agent", func(t *testing.T) {
		t.Parallel()
		given(t, created, closed).
			When(conversation.Reopen{By: domain.Person{ID: "new"}}).
			Then(conversation.Reopened{By: domain.Person{ID: "new", Role: domain.Agent}})
	})

	for _, p := range []domain.Person{ann, ben, rex, system} {
		t.Run("not by "+p.ID, func(t *testing.T) {
			t.Parallel()
			given(t, created, closed).When(conversation.Reopen{By: p}).ThenRefused(conversation.OnlyAgents)
		})
	}

	t.Run("not by the customer, though no role is named", func(t *testing.T) {
		t.Parallel()
		given(t, created, closed).When(conversation.Reopen{By: id(ann)}).ThenRefused(conversation.OnlyAgents)
	})

	t.Run("not by nobody", func(t *testing.T) {
		t.Parallel()
		given(t, created, closed).When(conversation.Reopen{}).ThenFieldError("by.id")
	})

	t.Run("not what is not closed", func(t *testing.T) {
		t.Parallel()
		given(t, created).When(conversation.Reopen{By: amy}).ThenRefused(conversation.NotClosed)
		given(t, created, closed, conversation.Reopened{By: amy}).
			When(conversation.Reopen{By: amy}).ThenRefused(conversation.NotClosed)
	})

	t.Run("lets everything happen again", func(t *testing.T) {
		t.Parallel()
		given(t, created, closed, conversation.Reopened{By: amy}).
			When(conversation.PostMessage{MessageID: "m-hello", Text: "hello"}).
			Then(said(ann, "hello"))
	})
}

func TestAssign(t *testing.T) {
	t.Parallel()

	t.Run("to an agent", func(t *testing.T) {
		t.Parallel()
		given(t, created).
			When(conversation.Assign{Agent: &amy, By: &joe}).
			Then(conversation.Assigned{Agent: amy, By: &joe})
	})

	t.Run("to a bot", func(t *testing.T) {
		t.Parallel()
		given(t, created).When(conversation.Assign{Agent: &rex}).Then(conversation.Assigned{Agent: rex})
	})

	t.Run("to another names the one before", func(t *testing.T) {
		t.Parallel()
		given(t, created, conversation.Assigned{Agent: amy}).
			When(conversation.Assign{Agent: &joe}).
			Then(conversation.Assigned{Agent: joe, Previous: &amy})
	})

	t.Run("to the same is nothing", func(t *testing.T) {
		t.Parallel()
		given(t, created, conversation.Assigned{Agent: amy}).
			When(conversation.Assign{Agent: &domain.Person{ID: amy.ID}, By: &joe}).
			ThenNothing()
	})

	t.Run("to nobody", func(t *testing.T) {
		t.Parallel()
		given(t, created, conversation.Assigned{Agent: amy}).
			When(conversation.Assign{By: &joe}).
			Then(conversation.Unassigned{Previous: amy, By: &joe})
	})

	t.Run("to nobody again is nothing", func(t *testing.T) {
		t.Parallel()
		given(t, created).When(conversation.Assign{}).ThenNothing()
		given(t, created, conversation.Assigned{Agent: amy}, conversation.Unassigned{Previous: amy}).
			When(conversation.Assign{By: &joe}).ThenNothing()
	})

	t.Run("to the same after nobody", func(t *testing.T) {
		t.Parallel()
		given(t, created, conversation.Assigned{Agent: amy}, conversation.Unassigned{Previous: amy}).
			When(conversation.Assign{Agent: &amy}).
			Then(conversation.Assigned{Agent: amy})
	})

	t.Run("to oneself is known as the agent is", func(t *testing.T) {
		t.Parallel()
		self := id(amy)
		given(t, created).
			When(conversation.Assign{Agent: &amy, By: &self}).
			Then(conversation.Assigned{Agent: amy, By: &amy})
	})

	for _, tt := range []struct {
		name, field string
		command     conversation.Assign
	}{
		{"to the customer", "agent.role", conversation.Assign{Agent: &domain.Person{ID: ann.ID}}},
		{"to the customer as an agent", "agent.role", conversation.Assign{Agent: &domain.Person{ID: ann.ID, Role: domain.Agent}}},
		{"to a further customer", "agent.role", conversation.Assign{Agent: &ben}},
		{"to the system", "agent.role", conversation.Assign{Agent: &system}},
		{"to somebody without an id", "agent.id", conversation.Assign{Agent: &domain.Person{Name: "Amy"}}},
		{"by somebody without an id", "by.id", conversation.Assign{Agent: &amy, By: &domain.Person{}}},
		{"to nobody by somebody without an id", "by.id", conversation.Assign{By: &domain.Person{}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			given(t, created).When(tt.command).ThenFieldError(tt.field)
		})
	}
}

func TestMarkRead(t *testing.T) {
	t.Parallel()
	so := []conversation.Event{created, said(ann, "hello"), said(amy, "hi")} // version 3

	t.Run("up to now", func(t *testing.T) {
		t.Parallel()
		given(t, so...).When(conversation.MarkRead{UpTo: 3}).Then(conversation.Read{By: ann, UpTo: 3})
		given(t, so...).When(conversation.MarkRead{By: id(amy), UpTo: 3}).Then(conversation.Read{By: amy, UpTo: 3})
	})

	t.Run("ahead of what there is", func(t *testing.T) {
		t.Parallel()
		given(t, so...).When(conversation.MarkRead{UpTo: 4}).ThenRefused(conversation.ReadAhead)
	})

	t.Run("only moves forward", func(t *testing.T) {
		t.Parallel()
		read := after(so, conversation.Read{By: ann, UpTo: 2})
		given(t, read...).When(conversation.MarkRead{UpTo: 1}).ThenNothing()
		given(t, read...).When(conversation.MarkRead{UpTo: 2}).ThenNothing()
		given(t, read...).When(conversation.MarkRead{UpTo: 3}).Then(conversation.Read{By: ann, UpTo: 3})
		further := given(t, after(read, conversation.Read{By: ann, UpTo: 4})...)
		further.When(conversation.MarkRead{UpTo: 3}).ThenNothing()
		further.When(conversation.MarkRead{UpTo: 5}).Then(conversation.Read{By: ann, UpTo: 5})
		want := []conversation.Horizon{{PersonID: ann.ID, UpTo: 4}}
		if diff := cmp.Diff(want, further.State.Horizons); diff != "" {
			t.Errorf("the state keeps one horizon a person (-want +got):\n%s", diff)
		}
	})

	t.Run("for each person on their own", func(t *testing.T) {
		t.Parallel()
		given(t, after(so, conversation.Read{By: ann, UpTo: 3})...).
			When(conversation.MarkRead{By: id(amy), UpTo: 1}).
			Then(conversation.Read{By: amy, UpTo: 1})
	})

	t.Run("counts every event, its own too", func(t *testing.T) {
		t.Parallel()
		given(t, after(so, conversation.Read{By: ann, UpTo: 3})...).
			When(conversation.MarkRead{UpTo: 4}).
			Then(conversation.Read{By: ann, UpTo: 4})
	})

	t.Run("refuses bad fields", func(t *testing.T) {
		t.Parallel()
		given(t, so...).When(conversation.MarkRead{}).ThenFieldError("up_to")
		given(t, so...).When(conversation.MarkRead{UpTo: -1}).ThenFieldError("up_to")
		given(t, so...).When(conversation.MarkRead{By: system, UpTo: 1}).ThenFieldError("by.role")
		given(t, so...).When(conversation.MarkRead{By: domain.Person{Role: domain.Agent}, UpTo: 1}).ThenFieldError("by.id")
	})
}

func TestRecordActivity(t *testing.T) {
	t.Parallel()
	for _, kind := range []conversation.ActivityKind{
		conversation.AppointmentScheduled, conversation.ProductPurchased,
		conversation.FormSubmitted, conversation.TaskCompleted,
	} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			given(t, created).
				When(conversation.RecordActivity{Kind: kind, Data: attributes(`{"b":1,"a":2}`), By: &amy}).
				Then(conversation.ActivityRecorded{Kind: kind, Data: attributes(`{"b":1,"a":2}`), By: &amy})
		})
	}

	t.Run("without data has an empty object", func(t *testing.T) {
		t.Parallel()
		given(t, created).
			When(conversation.RecordActivity{Kind: conversation.TaskCompleted}).
			Then(conversation.ActivityRecorded{Kind: conversation.TaskCompleted, Data: domain.Attributes{}})
	})

	t.Run("refuses bad fields", func(t *testing.T) {
		t.Parallel()
		big := attributesOfSize(domain.MaxAttributesLength + 1)
		given(t, created).When(conversation.RecordActivity{}).ThenFieldError("kind")
		given(t, created).When(conversation.RecordActivity{Kind: "danced"}).ThenFieldError("kind")
		given(t, created).
			When(conversation.RecordActivity{Kind: conversation.TaskCompleted, Data: big}).ThenFieldError("data")
		given(t, created).
			When(conversation.RecordActivity{Kind: conversation.TaskCompleted, By: &domain.Person{}}).ThenFieldError("by.id")
	})
}
