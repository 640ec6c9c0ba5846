package httpapi

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"verbatim/domain"
	"verbatim/domain/conversation"
	"verbatim/eventstore"
	"verbatim/projections"
	"verbatim/webhooks"
)

func (s *Server) messageRoutes() {
	const (
		all = "/v1/conversations/{id}/messages"
		one = all + "/{mid}"
	)
	register(s, withStatus(operation(http.MethodPost, "post-message", all, tagMessages,
		"Post a message", "An author without id and role is the customer. A client_id makes a resend safe, as an Idempotency-Key does."),
		http.StatusCreated), s.postMessage)
	register(s, withErrors(operation(http.MethodGet, "list-messages", all, tagMessages,
		"Read the messages", "In the order they were posted. With before: the page that ends just before a version, and so on backwards."),
		http.StatusBadRequest), s.listMessages)
	register(s, withErrors(operation(http.MethodPatch, "edit-message", one, tagMessages,
		"Replace a message's text", "Only its author or an agent may."), http.StatusForbidden), s.editMessage)
	register(s, withErrors(operation(http.MethodDelete, "delete-message", one, tagMessages,
		"Delete a message", "It leaves a tombstone. Only its author or an agent may."), http.StatusForbidden), s.deleteMessage)
	register(s, operation(http.MethodPost, "play-message", one+"/played", tagMessages,
		"Say that somebody played a message's media",
		"Its audio or video, by its file_type or content_type. Say it as often as you like: a person's first time is recorded."), s.playMessage)
	register(s, operation(http.MethodPut, "set-typing", "/v1/conversations/{id}/typing", tagMessages,
		"Say that somebody types, or stopped", "Say it again as often as you like: only what changes is recorded."), s.setTyping)
}

type attachmentInput struct {
	FileType    string `json:"file_type,omitempty" doc:"image, audio, video, file, …" example:"image"`
	ContentType string `json:"content_type,omitempty" example:"image/png"`
	URL         string `json:"url" doc:"Where the file is."`
	Name        string `json:"name,omitempty"`
	Extension   string `json:"extension,omitempty"`
	Size        int64  `json:"size,omitempty" minimum:"0" doc:"In bytes."`
	Width       int    `json:"width,omitempty" minimum:"0" doc:"In pixels."`
	Height      int    `json:"height,omitempty" minimum:"0" doc:"In pixels."`
}

type messageInput struct {
	Author            personInput       `json:"author,omitzero" doc:"Defaults to the customer."`
	Text              string            `json:"text,omitempty" doc:"Up to 150,000 characters; required without an attachment." example:"Winter is coming"`
	Private           bool              `json:"private,omitempty" doc:"A note that customers do not see."`
	ContentType       string            `json:"content_type,omitempty" doc:"Defaults to text."`
	ContentAttributes domain.Attributes `json:"content_attributes,omitempty" doc:"Open object."`
	Attachments       []attachmentInput `json:"attachments,omitempty" doc:"At most 15."`
	ReplyTo           string            `json:"reply_to,omitempty" doc:"Id of another message."`
	ClientID          string            `json:"client_id,omitempty" doc:"Your id of the message."`
	Attributes        domain.Attributes `json:"attributes,omitempty" doc:"Open object."`
}

func (m *messageInput) command() conversation.PostMessage {
	cmd := conversation.PostMessage{
		MessageID: newID(), Author: m.Author.named(domain.Customer), Text: m.Text, ContentType: m.ContentType,
		ContentAttributes: m.ContentAttributes, Private: m.Private, ReplyTo: m.ReplyTo, ExternalID: m.ClientID,
		Attributes: m.Attributes,
	}
	for _, a := range m.Attachments {
		cmd.Attachments = append(cmd.Attachments, conversation.Attachment(a))
	}
	return cmd
}

type postMessageInput struct {
	ConversationPath
	Body messageInput
}

type messagePosted struct {
	ID        string    `json:"id"`
	Number    int64     `json:"number" doc:"Its position in the log."`
	Version   int64     `json:"version" doc:"Of the conversation after it."`
	CreatedAt time.Time `json:"created_at"`
}

func (s *Server) postMessage(ctx context.Context, in *postMessageInput) (*answer[messagePosted], error) {
	c := callOf(ctx)
	o := s.order(c, in.ID)
	o.Command = in.Body.command()
	if o.Key == nil && in.Body.ClientID != "" {
		// The conversation takes one command at a time, so that a resend that
		// overtakes its answer waits for it and needs no other guard.
		o.Key = &eventstore.Key{Name: "client:" + in.ID + ":" + in.Body.ClientID, Fingerprint: c.fingerprint}
		o.Metadata.Command = o.Key.Name
	}
	done, err := s.execute(ctx, o)
	if err != nil {
		return nil, err
	}
	posted, r, err := s.posted(done)
	if err != nil {
		return nil, err
	}
	return &answer[messagePosted]{
		Written: written(done.Version, done.Replayed),
		Body:    messagePosted{posted.MessageID, r.Position, done.Version, r.Time},
	}, nil
}

// posted returns the message that an order posted, and its event, or
// errNoSuchEvent if it posted none.
func (s *Server) posted(done conversationDone) (conversation.MessagePosted, *eventstore.Recorded, error) {
	for i := range done.Events {
		r := &done.Events[i]
		if r.Type != (conversation.MessagePosted{}).EventType() {
			continue
		}
		event, err := s.cfg.Codec.Decode(r)
		if err != nil {
			return conversation.MessagePosted{}, nil, err
		}
		if posted, ok := event.(conversation.MessagePosted); ok {
			return posted, r, nil
		}
	}
	return conversation.MessagePosted{}, nil, errNoSuchEvent
}

type listMessagesInput struct {
	ConversationPath
	Before int64  `query:"before" minimum:"1" doc:"Only messages before this version, the newest of them."`
	Cursor string `query:"cursor" doc:"page.next of the page before."`
	Limit  int    `query:"limit" minimum:"1" maximum:"200" default:"50"`
}

func (s *Server) listMessages(ctx context.Context, in *listMessagesInput) (*listAnswer[webhooks.Message], error) {
	from, err := parseCursor(listMessages, in.Cursor)
	if err != nil {
		return nil, err
	}
	if in.Cursor == "" && in.Before > 0 {
		from.Version, from.Back = in.Before, true
	}
	if _, err := s.own(ctx, in.ID); err != nil {
		return nil, err
	}
	out := &listAnswer[webhooks.Message]{}
	stream := eventstore.StreamName("conversation", in.ID)
	err = s.cfg.Transcripts.With(ctx, stream, projections.Newest, func(h *webhooks.History, _ *webhooks.Fact) error {
		if from.Back {
			out = messagesBefore(h.Messages, from.Version, in.Limit)
		} else {
			out = messagesAfter(h.Messages, from.Version, in.Limit)
		}
		return nil
	})
	return out, err
}

// messagesAfter returns the oldest messages above a version.
func messagesAfter(ms []webhooks.Message, version int64, limit int) *listAnswer[webhooks.Message] {
	from := firstFrom(ms, version+1)
	return newList(ms[from:], limit, func(last webhooks.Message) cursor {
		return cursor{List: listMessages, Version: last.Version}
	})
}

// messagesBefore returns the newest messages below a version, oldest first.
func messagesBefore(ms []webhooks.Message, version int64, limit int) *listAnswer[webhooks.Message] {
	end := firstFrom(ms, version)
	from := max(0, end-limit)
	out := newList(ms[from:end], limit, nil)
	if from > 0 {
		out.Body.Page.Next = cursor{List: listMessages, Version: ms[from].Version, Back: true}.String()
	}
	return out
}

// firstFrom returns the index of the first message at or above a version.
func firstFrom(ms []webhooks.Message, version int64) int {
	low, high := 0, len(ms)
	for low < high {
		if middle := (low + high) / 2; ms[middle].Version < version {
			low = middle + 1
		} else {
			high = middle
		}
	}
	return low
}

// MessagePath is the message a request is about.
type MessagePath struct {
	ConversationPath
	MessageID string `path:"mid" doc:"Id of the message."`
}

// message returns a message as the log has it now; one that is not there is the
// zero Message, on which every command is refused.
func (s *Server) message(ctx context.Context, in *MessagePath) (conversation.Message, error) {
	var out conversation.Message
	stream := eventstore.StreamName("conversation", in.ID)
	err := s.cfg.Transcripts.With(ctx, stream, projections.Newest, func(h *webhooks.History, _ *webhooks.Fact) error {
		if m := h.Message(in.MessageID); m != nil {
			out = conversation.Message{
				ID: m.ID, AuthorID: m.Author.ID, Text: m.Text, Private: m.Private, Deleted: m.DeletedAt != nil,
				Playable: conversation.Playable(m.Author.Role, m.ContentType, m.Attachments), PlayedBy: h.PlayedBy(m.ID),
			}
		}
		return nil
	})
	return out, err
}

// touch runs a command about a message, which is read anew for each try.
func (s *Server) touch(
	ctx context.Context, in *MessagePath, command func(conversation.Message) conversation.Command,
) (conversationDone, error) {
	o := s.order(callOf(ctx), in.ID)
	o.Prepare = func(ctx context.Context, _ conversation.State) (conversation.Command, error) {
		m, err := s.message(ctx, in)
		return command(m), err
	}
	return s.execute(ctx, o)
}

type editMessageInput struct {
	MessagePath
	Body struct {
		Text string       `json:"text" example:"Winter has come"`
		By   *personInput `json:"by,omitempty" doc:"Who asks; defaults to the holder of the key."`
	}
}

func (s *Server) editMessage(ctx context.Context, in *editMessageInput) (*answer[webhooks.Message], error) {
	who := byOr(in.Body.By, callOf(ctx))
	done, err := s.touch(ctx, &in.MessagePath, func(m conversation.Message) conversation.Command {
		return conversation.EditMessage{Message: m, Text: in.Body.Text, By: who}
	})
	if err != nil {
		return nil, err
	}
	out := &answer[webhooks.Message]{Written: written(done.Version, done.Replayed)}
	err = s.cfg.Transcripts.With(ctx, done.Stream, done.Version, func(h *webhooks.History, _ *webhooks.Fact) error {
		m := h.Message(in.MessageID)
		if m == nil {
			return errNoSuchEvent
		}
		out.Body = *m
		return nil
	})
	return out, err
}

type deleteMessageInput struct {
	MessagePath
	By string `query:"by" doc:"Who asks: the id of a person, or a person as JSON; defaults to the holder of the key."`
}

func (s *Server) deleteMessage(ctx context.Context, in *deleteMessageInput) (*doneAnswer, error) {
	who := callOf(ctx).agent
	if in.By != "" {
		var err error
		if who, err = personOf(in.By); err != nil {
			return nil, err
		}
	}
	done, err := s.touch(ctx, &in.MessagePath, func(m conversation.Message) conversation.Command {
		return conversation.DeleteMessage{Message: m, By: who}
	})
	return doneWith(done, err)
}

// personOf returns the person that a query parameter names.
func personOf(value string) (domain.Person, error) {
	if value[0] != '{' {
		return domain.Person{ID: value}, nil
	}
	var p personInput
	if err := json.Unmarshal([]byte(value), &p); err != nil {
		return domain.Person{}, &domain.FieldError{Field: "by", Rule: "must be an id or a person as JSON"}
	}
	return p.named(domain.Agent), nil
}

func doneWith(done conversationDone, err error) (*doneAnswer, error) {
	return &doneAnswer{Written: written(done.Version, done.Replayed)}, err
}

type playMessageInput struct {
	MessagePath
	Body struct {
		By personInput `json:"by" doc:"Who played it; without an id the customer."`
	}
}

func (s *Server) playMessage(ctx context.Context, in *playMessageInput) (*doneAnswer, error) {
	who := in.Body.By.named(domain.Customer)
	done, err := s.touch(ctx, &in.MessagePath, func(m conversation.Message) conversation.Command {
		return conversation.PlayMessage{Message: m, Viewer: who}
	})
	return doneWith(done, err)
}

type setTypingInput struct {
	ConversationPath
	Body struct {
		Author  personInput `json:"author,omitzero" doc:"Defaults to the customer."`
		State   string      `json:"state" enum:"on,off"`
		Private bool        `json:"private,omitempty" doc:"On a note that customers do not see."`
		TTL     float64     `json:"ttl,omitempty" minimum:"0" maximum:"30" doc:"Seconds for which it holds without another word. Defaults to 10."`
	}
}

func (s *Server) setTyping(ctx context.Context, in *setTypingInput) (*doneAnswer, error) {
	author := in.Body.Author.named(domain.Customer)
	ttl := time.Duration(in.Body.TTL * float64(time.Second))
	o := s.order(callOf(ctx), in.ID)
	o.Command = conversation.SetTyping{Author: author, On: in.Body.State == "on", Private: in.Body.Private, TTL: ttl}
	done, err := s.execute(ctx, o)
	if err != nil {
		return nil, err
	}
	if in.Body.State == "on" && len(done.Events) == 0 && !done.Replayed {
		if author.ID == "" {
			author.ID = done.State.Customer.ID
		}
		if ttl == 0 {
			ttl = conversation.DefaultTypingTTL
		}
		if err := s.cfg.Models.ExtendTyping(ctx, in.ID, author.ID, s.cfg.Clock().Add(ttl)); err != nil {
			return nil, err
		}
	}
	return doneWith(done, nil)
}
