package conversation_test

import (
	"testing"
	"time"

	"verbatim/domain"
	"verbatim/domain/conversation"
)

func TestSetTyping(t *testing.T) {
	t.Parallel()
	const ttl = conversation.DefaultTypingTTL
	on, until := conversation.SetTyping{On: true}, noon.Add(ttl)

	t.Run("on starts it for the default time", func(t *testing.T) {
		t.Parallel()
		given(t, created).When(on).Then(typing(ann, false, until))
	})

	t.Run("on starts it for the time given", func(t *testing.T) {
		t.Parallel()
		given(t, created).
			When(conversation.SetTyping{Author: amy, On: true, Private: true, TTL: time.Nanosecond}).
			Then(typing(amy, true, noon.Add(time.Nanosecond)))
	})

	t.Run("on again is nothing, however long it asks for", func(t *testing.T) {
		t.Parallel()
		given(t, created, typing(ann, false, until)).At(until.Add(-1)).
			When(conversation.SetTyping{On: true, TTL: conversation.MaxTypingTTL}).
			ThenNothing()
	})

	t.Run("on after its time is a repeat too: who goes on has not stopped", func(t *testing.T) {
		t.Parallel()
		given(t, created, typing(ann, false, until)).At(until).
			When(on).
			ThenNothing()
	})

	t.Run("off stops it", func(t *testing.T) {
		t.Parallel()
		given(t, created, typing(ann, false, until)).
			When(conversation.SetTyping{}).
			Then(stopped(ann, false, conversation.StopExplicit))
	})

	t.Run("off stops it as what it was", func(t *testing.T) {
		t.Parallel()
		given(t, created, typing(amy, true, until)).
			When(conversation.SetTyping{Author: id(amy)}).
			Then(stopped(amy, true, conversation.StopExplicit))
	})

	t.Run("off after its time stops it", func(t *testing.T) {
		t.Parallel()
		given(t, created, typing(ann, false, until)).At(until.Add(time.Hour)).
			When(conversation.SetTyping{}).
			Then(stopped(ann, false, conversation.StopExplicit))
	})

	t.Run("off again is nothing", func(t *testing.T) {
		t.Parallel()
		given(t, created).When(conversation.SetTyping{}).ThenNothing()
		given(t, created, typing(ann, false, until), stopped(ann, false, conversation.StopExplicit)).
			When(conversation.SetTyping{}).ThenNothing()
	})

	t.Run("in private after in public, and back", func(t *testing.T) {
		t.Parallel()
		given(t, created, typing(amy, false, until)).
			When(conversation.SetTyping{Author: id(amy), On: true, Private: true}).
			Then(stopped(amy, false, conversation.StopExplicit), typing(amy, true, until))
		given(t, created, typing(amy, true, until)).
			When(conversation.SetTyping{Author: id(amy), On: true}).
			Then(stopped(amy, true, conversation.StopExplicit), typing(amy, false, until))
	})

	t.Run("of one is no business of another", func(t *testing.T) {
		t.Parallel()
		given(t, created, typing(ann, false, until)).
			When(conversation.SetTyping{Author: amy, On: true}).
			Then(typing(amy, false, until))
		given(t, created, typing(ann, false, until)).
			When(conversation.SetTyping{Author: amy}).
			ThenNothing()
	})

	t.Run("may start again after a message", func(t *testing.T) {
		t.Parallel()
		given(t, created, typing(ann, false, until), stopped(ann, false, conversation.StopMessage), said(ann, "hi")).
			When(on).
			Then(typing(ann, false, until))
	})
}

func TestSetTypingRefusesBadFields(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, field string
		command     conversation.SetTyping
	}{
		{"the system", "author.role", conversation.SetTyping{Author: system, On: true}},
		{"no such role", "author.role", conversation.SetTyping{Author: domain.Person{ID: "x", Role: "boss"}, On: true}},
		{"an agent without an id", "author.id", conversation.SetTyping{Author: domain.Person{Role: domain.Agent}, On: true}},
		{"time runs backwards", "ttl", conversation.SetTyping{On: true, TTL: -1}},
		{"too long", "ttl", conversation.SetTyping{On: true, TTL: conversation.MaxTypingTTL + 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			given(t, created).When(tt.command).ThenFieldError(tt.field)
		})
	}
	t.Run("the longest is not too long", func(t *testing.T) {
		t.Parallel()
		given(t, created).
			When(conversation.SetTyping{On: true, TTL: conversation.MaxTypingTTL}).
			Then(typing(ann, false, noon.Add(conversation.MaxTypingTTL)))
	})
}

func TestExpireTyping(t *testing.T) {
	t.Parallel()
	until := noon.Add(conversation.DefaultTypingTTL)
	expire := conversation.ExpireTyping{AuthorID: ann.ID}

	t.Run("before its time is nothing", func(t *testing.T) {
		t.Parallel()
		given(t, created, typing(ann, false, until)).At(until.Add(-1)).When(expire).ThenNothing()
	})

	t.Run("at its time stops it", func(t *testing.T) {
		t.Parallel()
		given(t, created, typing(ann, false, until)).At(until).
			When(expire).
			Then(stopped(ann, false, conversation.StopExpired))
	})

	t.Run("after its time stops it as what it was", func(t *testing.T) {
		t.Parallel()
		given(t, created, typing(amy, true, until)).At(until.Add(time.Hour)).
			When(conversation.ExpireTyping{AuthorID: amy.ID}).
			Then(stopped(amy, true, conversation.StopExpired))
	})

	t.Run("of somebody who does not type is nothing", func(t *testing.T) {
		t.Parallel()
		given(t, created).At(until).When(expire).ThenNothing()
		given(t, created, typing(amy, false, until)).At(until).When(expire).ThenNothing()
		given(t, created, typing(ann, false, until), stopped(ann, false, conversation.StopExplicit)).At(until).
			When(expire).ThenNothing()
	})
}
