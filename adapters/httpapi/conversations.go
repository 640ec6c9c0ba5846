package httpapi

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"verbatim/domain"
	"verbatim/domain/conversation"
	"verbatim/eventstore"
	"verbatim/projections"
	"verbatim/webhooks"
)

// What a conversation is given that names no inbox.
const (
	defaultInboxID   = "default"
	defaultInboxName = "Default"
	defaultInboxNo   = 1
	defaultChannel   = "api"
)

type (
	conversationDone  = eventstore.Done[conversation.State]
	conversationOrder = eventstore.Order[conversation.State, conversation.Command]
)

func (s *Server) conversationRoutes() {
	const one = "/v1/conversations/{id}"
	register(s, withStatus(operation(http.MethodPost, "create-conversation", "/v1/conversations", tagConversations,
		"Open a conversation",
		"A customer without an id gets one; a known customer's profile fills what is left open. A message, if given, is its first."),
		http.StatusCreated), s.createConversation)
	register(s, withErrors(operation(http.MethodGet, "list-conversations", "/v1/conversations", tagConversations,
		"List conversations", "Last active first."), http.StatusBadRequest), s.listConversations)
	register(s, operation(http.MethodGet, "get-conversation", one, tagConversations,
		"Read a conversation", "As it is, or as it was at a version."), s.getConversation)
	register(s, operation(http.MethodPatch, "change-conversation", one, tagConversations,
		"Change subject, priority, labels, team and attributes", "A merge-patch (RFC 7396): null removes."), s.changeConversation)
	register(s, operation(http.MethodPatch, "change-customer", one+"/customer", tagConversations,
		"Change the customer", "A merge-patch (RFC 7396): null removes. The contact that the customer is learns it too."), s.changeCustomer)
	register(s, operation(http.MethodPut, "set-status", one+"/status", tagConversations,
		"Change the status", "A customer's message reopens a conversation that is not open."), s.setStatus)
	register(s, withStatus(operation(http.MethodPost, "close-conversation", one+"/close", tagConversations,
		"Close the conversation", "Only reopening may follow. The body may be empty."), http.StatusOK), s.closeConversation)
	register(s, withErrors(withStatus(operation(http.MethodPost, "reopen-conversation", one+"/reopen", tagConversations,
		"Reopen a closed conversation", "Only an agent may; by default the holder of the key. The body may be empty."),
		http.StatusOK), http.StatusForbidden), s.reopenConversation)
	register(s, operation(http.MethodPut, "assign-conversation", one+"/assignee", tagConversations,
		"Give the conversation to an agent", "Null takes it from whoever has it."), s.assign)
	register(s, operation(http.MethodPut, "mark-read", one+"/read", tagConversations,
		"Say how far somebody has read", "It only moves forward."), s.markRead)
	register(s, withStatus(operation(http.MethodPost, "record-activity", one+"/activities", tagConversations,
		"Record an activity", "Something that happened around the conversation."), http.StatusCreated), s.recordActivity)
}

// ConversationPath is the conversation a request is about.
type ConversationPath struct {
	ID string `path:"id" doc:"Id of the conversation." example:"01931b3e-7c1f-7d2a-9d5e-0a6f3c2b1a00"`
}

type inboxInput struct {
	ID      string `json:"id" example:"website"`
	Number  int64  `json:"number,omitempty" minimum:"0" doc:"For formats that want an integer id. Defaults to 1."`
	Name    string `json:"name,omitempty" example:"Website"`
	Channel string `json:"channel,omitempty" example:"web"`
}

// inbox returns the inbox that is named, or the default one.
func (in *inboxInput) inbox() domain.Inbox {
	if in == nil {
		return domain.Inbox{ID: defaultInboxID, Number: defaultInboxNo, Name: defaultInboxName}
	}
	named := domain.Inbox(*in)
	if named.Number == 0 {
		named.Number = defaultInboxNo
	}
	return named
}

type createInput struct {
	Body struct {
		Customer   personInput       `json:"customer" doc:"Who asks for help. Without an id: a new one is made."`
		Inbox      *inboxInput       `json:"inbox,omitempty" doc:"Where the conversation came in. Defaults to the inbox \"default\"."`
		Channel    string            `json:"channel,omitempty" doc:"Defaults to the inbox's, or \"api\"." example:"web"`
		Subject    string            `json:"subject,omitempty" doc:"Up to 500 characters."`
		Attributes domain.Attributes `json:"attributes,omitempty" doc:"Open object. Well-known keys: current_page, browser_name, referer, language, …"`
		Message    *messageInput     `json:"message,omitempty" doc:"The first message; its author defaults to the customer."`
	}
}

// conversationCreated is a new conversation, and its first message.
type conversationCreated struct {
	webhooks.Conversation

	Message *firstMessage `json:"message,omitempty"`
}

type firstMessage struct {
	ID      string `json:"id"`
	Number  int64  `json:"number" doc:"Its position in the log."`
	Version int64  `json:"version" doc:"Of the conversation at the message."`
}

func (s *Server) createConversation(ctx context.Context, in *createInput) (*createdAnswer[conversationCreated], error) {
	defer s.cfg.Eraser.Carry()() // what the contact is, into the conversation
	c := callOf(ctx)
	order := s.order(c, newID())
	again, err := s.wasDone(ctx, c)
	if err != nil {
		return nil, err
	}
	if !again {
		if order.Command, err = s.prepareCreate(ctx, c, in); err != nil {
			return nil, err
		}
	}
	done, err := s.cfg.Conversations.Execute(ctx, order)
	if err != nil {
		return nil, err
	}
	out := &createdAnswer[conversationCreated]{Written: written(done.Version, done.Replayed)}
	if out.Body.Conversation, err = s.conversationAsOf(ctx, done); err != nil {
		return nil, err
	}
	out.Location = "/v1/conversations/" + out.Body.ID
	posted, r, err := s.posted(done)
	if err == nil {
		out.Body.Message = &firstMessage{posted.MessageID, r.Position, r.Version}
	} else if !errors.Is(err, errNoSuchEvent) {
		return nil, err
	}
	return out, nil
}

// prepareCreate returns the command, after making sure that it will be done:
// making a contact of the customer comes first, and must not be what is left of
// a request that was refused.
func (s *Server) prepareCreate(ctx context.Context, c *call, in *createInput) (conversation.Command, error) {
	if err := c.mustNotMatch(); err != nil {
		return nil, err
	}
	account, err := s.account(ctx, c)
	if err != nil {
		return nil, err
	}
	cmd := conversation.Create{
		Account:    account,
		Inbox:      in.Body.Inbox.inbox(),
		Channel:    in.Body.Channel,
		Customer:   domain.Person(in.Body.Customer),
		Subject:    in.Body.Subject,
		Attributes: in.Body.Attributes,
	}
	if cmd.Channel == "" {
		cmd.Channel = cmd.Inbox.Channel
	}
	if cmd.Channel == "" {
		cmd.Channel = defaultChannel
	}
	if cmd.Customer.ID == "" {
		cmd.Customer.ID = newID()
	}
	if in.Body.Message != nil {
		post := in.Body.Message.command()
		cmd.Message = &post
	}
	if _, err := conversation.Decide(conversation.State{}, cmd, s.cfg.Clock()); err != nil {
		return nil, err
	}
	cmd.Customer, err = s.asContact(ctx, c, account, cmd.Customer)
	return cmd, err
}

// order returns an order of the call's for a conversation.
func (s *Server) order(c *call, id string) conversationOrder {
	return conversationOrder{Account: c.account, ID: id, IfVersion: c.ifVersion, Key: c.key, Metadata: c.meta}
}

// execute runs an order. A conversation that is not there is not found, whatever
// version was insisted on.
func (s *Server) execute(ctx context.Context, o conversationOrder) (conversationDone, error) {
	done, err := s.cfg.Conversations.Execute(ctx, o)
	if version, ok := errors.AsType[*eventstore.VersionError](err); ok && version.Actual == 0 {
		err = conversation.NotCreated
	}
	return done, err
}

// change runs a command on a conversation and answers with what it led to: a
// replay is answered like the first time, whatever has happened since.
func (s *Server) change(ctx context.Context, id string, cmd conversation.Command) (*answer[webhooks.Conversation], error) {
	o := s.order(callOf(ctx), id)
	o.Command = cmd
	done, err := s.execute(ctx, o)
	if err != nil {
		return nil, err
	}
	return s.changed(ctx, done)
}

// changed answers with the conversation as of the version that an order led to.
func (s *Server) changed(ctx context.Context, done conversationDone) (*answer[webhooks.Conversation], error) {
	conv, err := s.conversationAsOf(ctx, done)
	return &answer[webhooks.Conversation]{Written: written(done.Version, done.Replayed), Body: conv}, err
}

// conversationAsOf returns the conversation as of the version that an order led to.
func (s *Server) conversationAsOf(ctx context.Context, done conversationDone) (webhooks.Conversation, error) {
	_, id := eventstore.SplitStream(done.Stream)
	conv, found, err := s.cfg.Transcripts.Conversation(ctx, id, done.Version)
	if err == nil && !found {
		err = errNoSuchEvent
	}
	return conv, err
}

// own returns the version of a conversation, if it is one of the account's.
func (s *Server) own(ctx context.Context, id string) (version int64, err error) {
	_, version, err = s.cfg.Conversations.State(ctx, callOf(ctx).account, id)
	if err == nil && version == 0 {
		err = conversation.NotCreated
	}
	return version, err
}

type listConversationsInput struct {
	Status string `query:"status" enum:"open,pending,snoozed,resolved,closed" doc:"Only those with this status."`
	Cursor string `query:"cursor" doc:"page.next of the page before."`
	Limit  int    `query:"limit" minimum:"1" maximum:"200" default:"50"`
}

// conversationRow is a conversation as a list shows it.
type conversationRow struct {
	webhooks.Conversation

	UnreadCount int               `json:"unread_count" doc:"The customer's messages that no agent has read or answered; stops at 100."`
	LastMessage *webhooks.Message `json:"last_message" doc:"The newest that is not private; its text is cut to 280 characters."`
}

func (s *Server) listConversations(ctx context.Context, in *listConversationsInput) (*listAnswer[conversationRow], error) {
	from, err := parseCursor(listConversations, in.Cursor)
	if err != nil {
		return nil, err
	}
	if err := s.settle(ctx); err != nil {
		return nil, err
	}
	rows, err := s.cfg.Models.Inbox(ctx, callOf(ctx).account, in.Status, from.Position, in.Limit+1)
	if err != nil {
		return nil, err
	}
	page := newList(rows, in.Limit, func(last projections.InboxRow) cursor {
		return cursor{List: listConversations, Position: last.ActiveAt}
	})
	out := &listAnswer[conversationRow]{}
	out.Body.Page = page.Body.Page
	out.Body.Data = make([]conversationRow, len(page.Body.Data))
	for i, row := range page.Body.Data {
		out.Body.Data[i] = conversationRow{row.Conversation, len(row.Attention.Unread), row.LastMessage}
	}
	return out, nil
}

type getConversationInput struct {
	ConversationPath
	AtVersion int64 `query:"at_version" minimum:"1" doc:"The conversation as it was at this version."`
}

func (s *Server) getConversation(ctx context.Context, in *getConversationInput) (*seen[webhooks.Conversation], error) {
	version, err := s.own(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	if in.AtVersion > version {
		return nil, noSuchVersion(version)
	}
	version = in.AtVersion
	if version == 0 {
		version = projections.Newest
	}
	conv, _, err := s.cfg.Transcripts.Conversation(ctx, in.ID, version)
	return &seen[webhooks.Conversation]{ETag: etag(conv.Version), Body: conv}, err
}

// noSuchVersion is the problem that a conversation has not come as far.
func noSuchVersion(version int64) *Problem {
	return newProblem(http.StatusNotFound, "conversation.version_not_found",
		"the conversation is at version "+strconv.FormatInt(version, 10)+"; at_version may be 1 to that")
}

type changeConversationInput struct {
	ConversationPath
	Body struct {
		Subject    patch[string]                `json:"subject,omitzero" doc:"Up to 500 characters."`
		Priority   patch[conversation.Priority] `json:"priority,omitzero"`
		Labels     patch[[]string]              `json:"labels,omitzero" doc:"All of them after it; at most 100."`
		Team       patch[conversation.Team]     `json:"team,omitzero"`
		Attributes domain.Attributes            `json:"attributes,omitempty" doc:"Merged key by key; null removes a key."`
		By         *personInput                 `json:"by,omitempty" doc:"Who asks."`
	}
}

func (s *Server) changeConversation(ctx context.Context, in *changeConversationInput) (*answer[webhooks.Conversation], error) {
	return s.change(ctx, in.ID, conversation.ChangeAttributes{
		Subject: in.Body.Subject.Patch, Priority: in.Body.Priority.Patch, Labels: in.Body.Labels.Patch,
		Team: in.Body.Team.Patch, Attributes: in.Body.Attributes, By: by(in.Body.By),
	})
}

type changeCustomerInput struct {
	ConversationPath
	Body struct {
		PersonPatch

		By *personInput `json:"by,omitempty" doc:"Who asks."`
	}
}

// changeCustomer changes the conversation, which decides, and then the contact.
// Whoever was not answered because of a crash in between asks again, and the
// second change follows.
func (s *Server) changeCustomer(ctx context.Context, in *changeCustomerInput) (*answer[webhooks.Conversation], error) {
	patch := in.Body.patch()
	o := s.order(callOf(ctx), in.ID)
	o.Command = conversation.UpdateCustomer{Patch: patch, By: by(in.Body.By)}
	done, err := s.execute(ctx, o)
	if err != nil {
		return nil, err
	}
	if err := s.teachContact(ctx, done, patch); err != nil {
		return nil, err
	}
	return s.changed(ctx, done)
}

type setStatusInput struct {
	ConversationPath
	Body struct {
		Status       conversation.Status `json:"status" enum:"open,pending,snoozed,resolved" doc:"To close, use POST …/close." example:"resolved"`
		Reason       string              `json:"reason,omitempty"`
		By           *personInput        `json:"by,omitempty" doc:"Who asks."`
		SnoozedUntil *time.Time          `json:"snoozed_until,omitempty" doc:"With the status snoozed, in the future."`
	}
}

func (s *Server) setStatus(ctx context.Context, in *setStatusInput) (*answer[webhooks.Conversation], error) {
	return s.change(ctx, in.ID, conversation.ChangeStatus{
		To: in.Body.Status, Reason: in.Body.Reason, By: by(in.Body.By), SnoozedUntil: in.Body.SnoozedUntil,
	})
}

type closeBody struct {
	Type string       `json:"type,omitempty" doc:"Defaults to solved." example:"solved"`
	By   *personInput `json:"by,omitempty" doc:"Who asks; defaults to the holder of the key."`
}

type closeInput struct {
	ConversationPath
	Body *closeBody
}

func (s *Server) closeConversation(ctx context.Context, in *closeInput) (*answer[webhooks.Conversation], error) {
	body := orZero(in.Body)
	who := byOr(body.By, callOf(ctx))
	return s.change(ctx, in.ID, conversation.Close{Type: body.Type, By: &who})
}

type reopenBody struct {
	By *personInput `json:"by,omitempty" doc:"Who asks, an agent; defaults to the holder of the key."`
}

type reopenInput struct {
	ConversationPath
	Body *reopenBody
}

func (s *Server) reopenConversation(ctx context.Context, in *reopenInput) (*answer[webhooks.Conversation], error) {
	return s.change(ctx, in.ID, conversation.Reopen{By: byOr(orZero(in.Body).By, callOf(ctx))})
}

// orZero returns what an optional body says.
func orZero[T any](body *T) T {
	if body == nil {
		return *new(T)
	}
	return *body
}

type assignInput struct {
	ConversationPath
	Body struct {
		Agent patch[personInput] `json:"agent" doc:"An agent or a bot; null for nobody."`
		By    *personInput       `json:"by,omitempty" doc:"Who asks."`
	}
}

func (s *Server) assign(ctx context.Context, in *assignInput) (*answer[webhooks.Conversation], error) {
	return s.change(ctx, in.ID, conversation.Assign{Agent: by(in.Body.Agent.Value), By: by(in.Body.By)})
}

type markReadInput struct {
	ConversationPath
	Body struct {
		By   personInput `json:"by" doc:"Who has read; without an id the customer."`
		UpTo int64       `json:"up_to" minimum:"1" doc:"A version of the conversation." example:"7"`
	}
}

func (s *Server) markRead(ctx context.Context, in *markReadInput) (*answer[webhooks.Conversation], error) {
	return s.change(ctx, in.ID, conversation.MarkRead{By: in.Body.By.named(domain.Customer), UpTo: in.Body.UpTo})
}

type recordActivityInput struct {
	ConversationPath
	Body struct {
		Kind conversation.ActivityKind `json:"kind"`
		Data domain.Attributes         `json:"data,omitempty" doc:"Open object."`
		By   *personInput              `json:"by,omitempty" doc:"Who did it."`
	}
}

type activityRecorded struct {
	ID      string `json:"id" doc:"Of the recorded event."`
	Number  int64  `json:"number" doc:"Its position in the log."`
	Version int64  `json:"version" doc:"Of the conversation after it."`
}

func (s *Server) recordActivity(ctx context.Context, in *recordActivityInput) (*answer[activityRecorded], error) {
	o := s.order(callOf(ctx), in.ID)
	o.Command = conversation.RecordActivity{Kind: in.Body.Kind, Data: in.Body.Data, By: by(in.Body.By)}
	done, err := s.execute(ctx, o)
	if err != nil {
		return nil, err
	}
	r := &done.Events[len(done.Events)-1]
	return &answer[activityRecorded]{
		Written: written(done.Version, done.Replayed),
		Body:    activityRecorded{r.ID.String(), r.Position, done.Version},
	}, nil
}

// errNoSuchEvent says that the log does not have what must be in it.
var errNoSuchEvent = errors.New("the log does not have the event")
