package conversation_test

import (
	"testing"
	"time"

	"verbatim/domain"
	"verbatim/domain/conversation"
)

func TestPostMessage(t *testing.T) {
	t.Parallel()

	t.Run("keeps everything that was said", func(t *testing.T) {
		t.Parallel()
		file := conversation.Attachment{
			FileType: "image", ContentType: "image/png", URL: "https://example.com/a.png",
			Name: "a.png", Extension: "png", Size: 1, Width: 2, Height: 3,
		}
		given(t, created).
			When(conversation.PostMessage{
				MessageID: "m1", Author: amy, Text: "see", ContentType: "input_select",
				ContentAttributes: attributes(`{"items":[1]}`), Attachments: []conversation.Attachment{file},
				Private: true, ReplyTo: "m0", ExternalID: "x1", Attributes: attributes(`{"closer":{"id":1}}`),
			}).
			Then(conversation.MessagePosted{
				MessageID: "m1", Author: amy, Text: "see", ContentType: "input_select",
				ContentAttributes: attributes(`{"items":[1]}`), Attachments: []conversation.Attachment{file},
				Private: true, ReplyTo: "m0", ExternalID: "x1", Attributes: attributes(`{"closer":{"id":1}}`),
			})
	})

	t.Run("may be an attachment alone", func(t *testing.T) {
		t.Parallel()
		files := []conversation.Attachment{{URL: "https://example.com/a.png"}}
		given(t, created).
			When(conversation.PostMessage{MessageID: "m1", Attachments: files}).
			Then(conversation.MessagePosted{MessageID: "m1", Author: ann, ContentType: "text", Attachments: files})
	})

	t.Run("stops the author's typing before it", func(t *testing.T) {
		t.Parallel()
		given(t, created, typing(ann, false, noon.Add(time.Second))).
			When(conversation.PostMessage{MessageID: "m-hello", Text: "hello"}).
			Then(stopped(ann, false, conversation.StopMessage), said(ann, "hello"))
	})

	t.Run("stops private typing as what it was", func(t *testing.T) {
		t.Parallel()
		given(t, created, typing(amy, true, noon.Add(time.Second))).
			When(conversation.PostMessage{MessageID: "m-hello", Author: id(amy), Text: "hello"}).
			Then(stopped(amy, true, conversation.StopMessage), said(amy, "hello"))
	})

	t.Run("leaves the typing of others alone", func(t *testing.T) {
		t.Parallel()
		given(t, created, typing(amy, false, noon.Add(time.Second))).
			When(conversation.PostMessage{MessageID: "m-hello", Text: "hello"}).
			Then(said(ann, "hello"))
	})

	for _, asleep := range []conversation.Status{conversation.Pending, conversation.Snoozed, conversation.Resolved} {
		t.Run("of the customer reopens when "+string(asleep), func(t *testing.T) {
			t.Parallel()
			given(t, created, status(conversation.Open, asleep)).
				When(conversation.PostMessage{MessageID: "m-hello", Text: "hello"}).
				Then(said(ann, "hello"), reopenedBy(ann, asleep))
		})
		t.Run("of a further customer reopens when "+string(asleep), func(t *testing.T) {
			t.Parallel()
			given(t, created, status(conversation.Open, asleep)).
				When(conversation.PostMessage{MessageID: "m-hello", Author: ben, Text: "hello"}).
				Then(said(ben, "hello"), reopenedBy(ben, asleep))
		})
		for _, other := range []domain.Person{amy, rex, system} {
			t.Run("of "+string(other.Role)+" leaves it "+string(asleep), func(t *testing.T) {
				t.Parallel()
				given(t, created, status(conversation.Open, asleep)).
					When(conversation.PostMessage{MessageID: "m-hello", Author: other, Text: "hello"}).
					Then(said(other, "hello"))
			})
		}
	}

	t.Run("of the customer leaves an open conversation open", func(t *testing.T) {
		t.Parallel()
		given(t, created).
			When(conversation.PostMessage{MessageID: "m-hello", Text: "hello"}).
			Then(said(ann, "hello"))
	})

	t.Run("stops typing, speaks and reopens in this order", func(t *testing.T) {
		t.Parallel()
		given(t, created, status(conversation.Open, conversation.Resolved), typing(ann, false, noon.Add(time.Second))).
			When(conversation.PostMessage{MessageID: "m-hello", Text: "hello"}).
			Then(
				stopped(ann, false, conversation.StopMessage),
				said(ann, "hello"),
				reopenedBy(ann, conversation.Resolved),
			)
	})
}

// reopenedBy is the change that a customer's message brings about.
func reopenedBy(author domain.Person, from conversation.Status) conversation.StatusChanged {
	return conversation.StatusChanged{From: from, To: conversation.Open, Reason: "customer_message", By: &author}
}

func TestPostMessageRefusesBadFields(t *testing.T) {
	t.Parallel()
	file := func(a conversation.Attachment) conversation.PostMessage {
		good := conversation.Attachment{URL: "https://example.com/a.png"}
		return conversation.PostMessage{Attachments: []conversation.Attachment{good, a}}
	}
	const url = "https://example.com/b.png"
	for field, c := range map[string]conversation.PostMessage{
		"text":                        {},
		"author.id":                   {Text: "hi", Author: domain.Person{Role: domain.Agent}},
		"author.role":                 {Text: "hi", Author: domain.Person{ID: "x", Role: "boss"}},
		"author.email":                {Text: "hi", Author: domain.Person{ID: "x", Email: broken}},
		"content_type":                {Text: "hi", ContentType: broken},
		"reply_to":                    {Text: "hi", ReplyTo: broken},
		"client_id":                   {Text: "hi", ExternalID: broken},
		"content_attributes":          {Text: "hi", ContentAttributes: attributesOfSize(domain.MaxAttributesLength + 1)},
		"attributes":                  {Text: "hi", Attributes: attributesOfSize(domain.MaxAttributesLength + 1)},
		"attachments[1].url":          file(conversation.Attachment{Name: "no url"}),
		"attachments[1].name":         file(conversation.Attachment{URL: url, Name: broken}),
		"attachments[1].file_type":    file(conversation.Attachment{URL: url, FileType: broken}),
		"attachments[1].content_type": file(conversation.Attachment{URL: url, ContentType: broken}),
		"attachments[1].extension":    file(conversation.Attachment{URL: url, Extension: broken}),
		"attachments[1].size":         file(conversation.Attachment{URL: url, Size: -1}),
		"attachments[1].width":        file(conversation.Attachment{URL: url, Width: -1}),
		"attachments[1].height":       file(conversation.Attachment{URL: url, Height: -1}),
	} {
		t.Run(field, func(t *testing.T) {
			t.Parallel()
			given(t, created).When(c).ThenFieldError(field)
		})
	}
}

func TestEditMessage(t *testing.T) {
	t.Parallel()
	hello := message(ann, "hello")

	t.Run("by its author", func(t *testing.T) {
		t.Parallel()
		given(t, created, said(ann, "hello")).
			When(conversation.EditMessage{Message: hello, Text: "hallo", By: id(ann)}).
			Then(conversation.MessageEdited{MessageID: "m-hello", Previous: "hello", Text: "hallo", By: ann})
	})

	t.Run("by an agent", func(t *testing.T) {
		t.Parallel()
		given(t, created, said(ann, "hello")).
			When(conversation.EditMessage{Message: hello, Text: "hallo", By: amy}).
			Then(conversation.MessageEdited{MessageID: "m-hello", Previous: "hello", Text: "hallo", By: amy})
	})

	t.Run("by a bot that wrote it", func(t *testing.T) {
		t.Parallel()
		given(t, created, said(rex, "beep")).
			When(conversation.EditMessage{Message: message(rex, "beep"), Text: "boop", By: id(rex)}).
			Then(conversation.MessageEdited{MessageID: "m-beep", Previous: "beep", Text: "boop", By: rex})
	})

	t.Run("to the same text is nothing", func(t *testing.T) {
		t.Parallel()
		given(t, created, said(ann, "hello")).
			When(conversation.EditMessage{Message: hello, Text: "hello", By: ann}).
			ThenNothing()
	})

	t.Run("to no text", func(t *testing.T) {
		t.Parallel()
		given(t, created, said(ann, "hello")).
			When(conversation.EditMessage{Message: hello, By: ann}).
			ThenFieldError("text")
	})
}

// TestTouchingAMessage has what editing and deleting share: who may, and what.
func TestTouchingAMessage(t *testing.T) {
	t.Parallel()
	gone := message(ann, "hello")
	gone.Deleted = true
	for _, tt := range []struct {
		name    string
		message conversation.Message
		by      domain.Person
		refusal domain.Refusal
		field   string
	}{
		{name: "by another customer", message: message(ann, "hello"), by: ben, refusal: conversation.NotYourMessage},
		{name: "by a bot", message: message(ann, "hello"), by: rex, refusal: conversation.NotYourMessage},
		{name: "by the system", message: message(ann, "hello"), by: system, refusal: conversation.NotYourMessage},
		{name: "of an agent by the customer", message: message(amy, "hi"), by: ann, refusal: conversation.NotYourMessage},
		{name: "that is deleted", message: gone, by: ann, refusal: conversation.MessageIsDeleted},
		{name: "that is deleted, by an agent", message: gone, by: amy, refusal: conversation.MessageIsDeleted},
		{name: "that there is not", by: ann, refusal: conversation.MessageUnknown},
		{name: "by nobody", message: message(ann, "hello"), field: "by.id"},
		{name: "by a broken name", message: message(ann, "hello"), by: domain.Person{ID: "x", Name: broken}, field: "by.name"},
	} {
		for verb, c := range map[string]conversation.Command{
			"edit":   conversation.EditMessage{Message: tt.message, Text: "hallo", By: tt.by},
			"delete": conversation.DeleteMessage{Message: tt.message, By: tt.by},
		} {
			t.Run(verb+" "+tt.name, func(t *testing.T) {
				t.Parallel()
				o := given(t, created, said(ann, "hello"), said(amy, "hi")).When(c)
				if tt.field != "" {
					o.ThenFieldError(tt.field)
					return
				}
				o.ThenRefused(tt.refusal)
			})
		}
	}
}

func TestDeleteMessage(t *testing.T) {
	t.Parallel()

	t.Run("by its author", func(t *testing.T) {
		t.Parallel()
		given(t, created, said(ann, "hello")).
			When(conversation.DeleteMessage{Message: message(ann, "hello"), By: id(ann)}).
			Then(conversation.MessageDeleted{MessageID: "m-hello", By: ann})
	})

	t.Run("by an agent", func(t *testing.T) {
		t.Parallel()
		given(t, created, said(ann, "hello")).
			When(conversation.DeleteMessage{Message: message(ann, "hello"), By: amy}).
			Then(conversation.MessageDeleted{MessageID: "m-hello", By: amy})
	})
}

func TestPlayMessage(t *testing.T) {
	t.Parallel()
	so := []conversation.Event{created, said(amy, "hi")}
	clip := func(change ...func(*conversation.Message)) conversation.Message {
		m := message(amy, "hi")
		m.Playable = true
		for _, c := range change {
			c(&m)
		}
		return m
	}
	playedBy := func(ids ...string) func(*conversation.Message) {
		return func(m *conversation.Message) { m.PlayedBy = ids }
	}

	t.Run("by the customer, if nobody is named", func(t *testing.T) {
		t.Parallel()
		given(t, so...).
			When(conversation.PlayMessage{Message: clip()}).
			Then(conversation.MessagePlayed{MessageID: "m-hi", Viewer: ann})
	})

	t.Run("once by each", func(t *testing.T) {
		t.Parallel()
		so := after(so, said(joe, "me too"))
		given(t, so...).
			When(conversation.PlayMessage{Message: clip(playedBy("ann")), Viewer: id(joe)}).
			Then(conversation.MessagePlayed{MessageID: "m-hi", Viewer: joe})
		given(t, so...).When(conversation.PlayMessage{Message: clip(playedBy("ann", "joe")), Viewer: id(joe)}).ThenNothing()
		given(t, so...).When(conversation.PlayMessage{Message: clip(playedBy("ann", "joe"))}).ThenNothing()
	})

	t.Run("of a private note says so", func(t *testing.T) {
		t.Parallel()
		given(t, so...).
			When(conversation.PlayMessage{Message: clip(func(m *conversation.Message) { m.Private = true }), Viewer: amy}).
			Then(conversation.MessagePlayed{MessageID: "m-hi", Private: true, Viewer: amy})
	})

	t.Run("that there is not", func(t *testing.T) {
		t.Parallel()
		given(t, created).When(conversation.PlayMessage{}).ThenRefused(conversation.MessageUnknown)
	})

	t.Run("that is deleted", func(t *testing.T) {
		t.Parallel()
		deleted := func(m *conversation.Message) { m.Deleted, m.Playable = true, false }
		given(t, so...).When(conversation.PlayMessage{Message: clip(deleted)}).ThenRefused(conversation.MessageIsDeleted)
		given(t, so...).When(conversation.PlayMessage{Message: clip(deleted, playedBy("ann"))}).ThenRefused(conversation.MessageIsDeleted)
	})

	t.Run("that is only text", func(t *testing.T) {
		t.Parallel()
		given(t, so...).When(conversation.PlayMessage{Message: message(amy, "hi")}).ThenRefused(conversation.NothingToPlay)
	})

	t.Run("by nobody in particular", func(t *testing.T) {
		t.Parallel()
		given(t, so...).
			When(conversation.PlayMessage{Message: clip(), Viewer: domain.Person{Role: domain.Agent}}).ThenFieldError("by.id")
		given(t, so...).When(conversation.PlayMessage{Message: clip(), Viewer: system}).ThenFieldError("by.role")
	})
}

func TestPlayable(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name        string
		author      domain.Role
		contentType string
		files       []conversation.Attachment
		want        bool
	}{
		{"a text", domain.Agent, "text", nil, false},
		{"no content type", domain.Customer, "", nil, false},
		{"a picture", domain.Customer, "text", []conversation.Attachment{{FileType: "image", ContentType: "image/gif"}}, false},
		{"a file that nobody described", domain.Customer, "text", []conversation.Attachment{{Name: "a.mp4"}}, false},
		{"a video", domain.Customer, "text", []conversation.Attachment{{FileType: "Video"}}, true},
		{"a recording", domain.Bot, "text", []conversation.Attachment{{FileType: "file", ContentType: "audio/mpeg"}}, true},
		{"a recording behind a picture", domain.Agent, "text", []conversation.Attachment{{FileType: "image"}, {ContentType: "AUDIO/ogg"}}, true},
		{"a content type of its own", domain.Agent, "video", nil, true},
		{"a media type", domain.Agent, "audio/ogg", nil, true},
		{"a word that only begins alike", domain.Agent, "videoconference", nil, false},
		{"what the system posts", domain.System, "video", []conversation.Attachment{{FileType: "video"}}, false},
	} {
		if got := conversation.Playable(tt.author, tt.contentType, tt.files); got != tt.want {
			t.Errorf("%s: %t, want %t", tt.name, got, tt.want)
		}
	}
}
