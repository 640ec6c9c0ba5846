package conversation

import (
	"errors"
	"slices"
	"strconv"
	"time"

	"verbatim/domain"
)

// Refusals: what a conversation may say no to.
const (
	NotCreated       domain.Refusal = "conversation.not_found"
	AlreadyCreated   domain.Refusal = "conversation.already_exists"
	AlreadyClosed    domain.Refusal = "conversation.already_closed"
	NotClosed        domain.Refusal = "conversation.not_closed"
	StatusUnchanged  domain.Refusal = "conversation.status_unchanged"
	TooManyAgents    domain.Refusal = "conversation.too_many_agents"
	TooManyCustomers domain.Refusal = "conversation.too_many_customers"
	MessageUnknown   domain.Refusal = "conversation.message_not_found"
	MessageIsDeleted domain.Refusal = "conversation.message_deleted"
	NotYourMessage   domain.Refusal = "conversation.not_your_message"
	NothingToPlay    domain.Refusal = "conversation.nothing_to_play"
	OnlyAgents       domain.Refusal = "conversation.only_agents"
	ReadAhead        domain.Refusal = "conversation.read_ahead"
)

// Limits. Each keeps one event, or the state that rules need, small enough that
// a page of either is never a worry.
const (
	MaxTextLength    = 150_000 // characters of a message, what the largest of the formats takes
	MaxAttachments   = 15      // files on one message
	MaxLabels        = 100     // labels on one conversation
	MaxSubjectLength = 500     // characters of a subject
	MaxAgents        = 50      // agents and bots in one conversation, all remembered by State
	MaxCustomers     = 50      // further customers in one conversation, likewise
	MaxReasonLength  = 500     // characters of a reason, a label, a content type and the like

	DefaultTypingTTL = 10 * time.Second // how long typing holds without another word
	MaxTypingTTL     = 30 * time.Second // nobody composes in silence for longer
)

// DefaultContentType is the content type of a message that names none.
const DefaultContentType = "text"

// DefaultClosedType is how a conversation is closed when nobody says otherwise.
const DefaultClosedType = "solved"

// reopenedByCustomer is the reason on a status that a customer's message moved.
const reopenedByCustomer = "customer_message"

// Decide returns what follows from asking c of s at that time, or why it is
// refused: a domain.Refusal or a *domain.FieldError. No events and no error
// means that there was nothing to do.
func Decide(s State, c Command, at time.Time) ([]Event, error) {
	_, creates := c.(Create)
	_, reopens := c.(Reopen)
	_, expires := c.(ExpireTyping)
	switch {
	case creates || reopens && s.Status != "":
	case s.Status == "":
		return nil, NotCreated
	case s.Status == StatusEnded && expires:
		return nil, nil // closing has stopped all who typed
	case s.Status == StatusEnded:
		return nil, AlreadyClosed
	}
	switch c := c.(type) {
	case Create:
		return s.create(c, at)
	case Reopen:
		return s.reopen(c)
	case PostMessage:
		return s.post(c)
	case EditMessage:
		return s.edit(c)
	case DeleteMessage:
		return s.deleteMessage(c)
	case SetTyping:
		return s.setTyping(c, at)
	case ExpireTyping:
		return s.expireTyping(c, at)
	case ChangeStatus:
		return s.changeStatus(c, at)
	case Close:
		return s.close(c)
	case Assign:
		return s.assign(c)
	case ChangeAttributes:
		return s.changeAttributes(c)
	case UpdateCustomer:
		return s.updateCustomer(c)
	case MarkRead:
		return s.markRead(c)
	case PlayMessage:
		return s.play(c)
	case RecordActivity:
		return s.record(c)
	default:
		panic("conversation: a command outside the closed set")
	}
}

func (s State) create(c Create, at time.Time) ([]Event, error) {
	if s.Status != "" {
		return nil, AlreadyCreated
	}
	customer := c.Customer.Completed(domain.Customer)
	if err := customer.Validate(); err != nil {
		return nil, within(err, "customer")
	}
	if customer.Role != domain.Customer {
		return nil, &domain.FieldError{Field: "customer.role", Rule: `must be "customer"`}
	}
	if err := firstError(
		domain.Text("subject", c.Subject, MaxSubjectLength),
		domain.Text("channel", c.Channel, MaxReasonLength),
		domain.Text("inbox.id", c.Inbox.ID, domain.MaxIDLength),
		domain.Text("inbox.name", c.Inbox.Name, domain.MaxNameLength),
		domain.Text("inbox.channel", c.Inbox.Channel, MaxReasonLength),
		c.Attributes.Validate("attributes"),
	); err != nil {
		return nil, err
	}
	created := Created{
		Account: c.Account, Inbox: c.Inbox, Channel: c.Channel,
		Customer: customer, Subject: c.Subject, Attributes: c.Attributes,
	}
	events := []Event{created}
	if c.Message != nil {
		said, err := Decide(Evolve(s, created), *c.Message, at)
		if err != nil {
			return nil, within(err, "message")
		}
		events = append(events, said...)
	}
	return events, nil
}

func (s State) post(c PostMessage) ([]Event, error) {
	author, err := s.person("author", c.Author, domain.Customer)
	if err != nil {
		return nil, err
	}
	if c.ContentType == "" {
		c.ContentType = DefaultContentType
	}
	if c.Text == "" && len(c.Attachments) == 0 {
		return nil, &domain.FieldError{Field: "text", Rule: "must not be empty without an attachment"}
	}
	if err := firstError(
		domain.Text("text", c.Text, MaxTextLength),
		domain.Text("content_type", c.ContentType, MaxReasonLength),
		domain.Text("reply_to", c.ReplyTo, domain.MaxIDLength),
		domain.Text("client_id", c.ExternalID, domain.MaxIDLength),
		c.ContentAttributes.Validate("content_attributes"),
		c.Attributes.Validate("attributes"),
		validateAttachments(c.Attachments),
	); err != nil {
		return nil, err
	}
	var events []Event
	if t, typing := s.typist(author.ID); typing {
		events = append(events, TypingStopped{t.Author, t.Private, StopMessage})
	}
	events = append(events, MessagePosted{
		MessageID: c.MessageID, Author: author, Text: c.Text,
		ContentType: c.ContentType, ContentAttributes: c.ContentAttributes,
		Attachments: c.Attachments, Private: c.Private, ReplyTo: c.ReplyTo, ExternalID: c.ExternalID,
		Attributes: c.Attributes,
	})
	if author.Role == domain.Customer && s.Status != Open {
		events = append(events, StatusChanged{From: s.Status, To: Open, Reason: reopenedByCustomer, By: &author})
	}
	return events, nil
}

func validateAttachments(as []Attachment) error {
	if len(as) > MaxAttachments {
		return &domain.FieldError{Field: "attachments", Rule: "must be at most " + strconv.Itoa(MaxAttachments) + " files"}
	}
	for i, a := range as {
		field := "attachments[" + strconv.Itoa(i) + "]."
		if a.URL == "" {
			return &domain.FieldError{Field: field + "url", Rule: "must not be empty"}
		}
		if err := firstError(
			notNegative(field+"size", a.Size),
			notNegative(field+"width", int64(a.Width)),
			notNegative(field+"height", int64(a.Height)),
			domain.Text(field+"url", a.URL, domain.MaxURLLength),
			domain.Text(field+"name", a.Name, domain.MaxNameLength),
			domain.Text(field+"file_type", a.FileType, domain.MaxNameLength),
			domain.Text(field+"content_type", a.ContentType, domain.MaxNameLength),
			domain.Text(field+"extension", a.Extension, domain.MaxNameLength),
		); err != nil {
			return err
		}
	}
	return nil
}

func notNegative(field string, n int64) error {
	if n < 0 {
		return &domain.FieldError{Field: field, Rule: "must not be negative"}
	}
	return nil
}

func (s State) edit(c EditMessage) ([]Event, error) {
	by, err := s.mayTouch(c.Message, c.By)
	if err != nil {
		return nil, err
	}
	if c.Text == "" {
		return nil, &domain.FieldError{Field: "text", Rule: "must not be empty; delete the message instead"}
	}
	if err := domain.Text("text", c.Text, MaxTextLength); err != nil {
		return nil, err
	}
	if c.Text == c.Message.Text {
		return nil, nil
	}
	return []Event{MessageEdited{c.Message.ID, c.Message.Text, c.Text, c.Message.Private, by}}, nil
}

func (s State) deleteMessage(c DeleteMessage) ([]Event, error) {
	by, err := s.mayTouch(c.Message, c.By)
	if err != nil {
		return nil, err
	}
	return []Event{MessageDeleted{c.Message.ID, c.Message.Private, by}}, nil
}

// mayTouch returns who asks, if they may change or delete m.
func (s State) mayTouch(m Message, by domain.Person) (domain.Person, error) {
	if m.ID == "" {
		return by, MessageUnknown
	}
	who, err := s.person("by", by, domain.Agent)
	switch {
	case err != nil:
		return by, err
	case m.Deleted:
		return by, MessageIsDeleted
	case who.Role != domain.Agent && who.ID != m.AuthorID:
		return by, NotYourMessage
	}
	return who, nil
}

func (s State) setTyping(c SetTyping, at time.Time) ([]Event, error) {
	author, err := s.person("author", c.Author, domain.Customer)
	if err != nil {
		return nil, err
	}
	if author.Role == domain.System {
		return nil, &domain.FieldError{Field: "author.role", Rule: "must be customer, agent or bot"}
	}
	if c.TTL < 0 || c.TTL > MaxTypingTTL {
		return nil, &domain.FieldError{Field: "ttl", Rule: "must be between 0 and " + MaxTypingTTL.String()}
	}
	if c.TTL == 0 {
		c.TTL = DefaultTypingTTL
	}
	current, typing := s.typist(author.ID)
	// A repeat is no fact, not even behind Until: somebody who keeps saying so has
	// gone on typing all along, and their expiry was put off meanwhile.
	var events []Event
	if typing && (!c.On || c.Private != current.Private) {
		events = append(events, TypingStopped{current.Author, current.Private, StopExplicit})
		typing = false
	}
	if c.On && !typing {
		events = append(events, TypingStarted{author, c.Private, at.Add(c.TTL)})
	}
	return events, nil
}

func (s State) expireTyping(c ExpireTyping, at time.Time) ([]Event, error) {
	t, typing := s.typist(c.AuthorID)
	if !typing || at.Before(t.Until) {
		return nil, nil
	}
	return []Event{TypingStopped{t.Author, t.Private, StopExpired}}, nil
}

func (s State) changeStatus(c ChangeStatus, at time.Time) ([]Event, error) {
	by, err := s.optional(c.By)
	if err != nil {
		return nil, err
	}
	switch c.To {
	case Open, Pending, Snoozed, Resolved:
	case StatusEnded:
		return nil, &domain.FieldError{Field: "status", Rule: "must be open, pending, snoozed or resolved; close is a command of its own"}
	default:
		return nil, &domain.FieldError{Field: "status", Rule: "must be open, pending, snoozed or resolved"}
	}
	if c.SnoozedUntil != nil && (c.To != Snoozed || !c.SnoozedUntil.After(at)) {
		return nil, &domain.FieldError{Field: "snoozed_until", Rule: "must be in the future and go with the status snoozed"}
	}
	if err := domain.Text("reason", c.Reason, MaxReasonLength); err != nil {
		return nil, err
	}
	if c.To == s.Status {
		return nil, StatusUnchanged
	}
	return []Event{StatusChanged{s.Status, c.To, c.Reason, by, c.SnoozedUntil}}, nil
}

func (s State) close(c Close) ([]Event, error) {
	by, err := s.optional(c.By)
	if err != nil {
		return nil, err
	}
	if c.Type == "" {
		c.Type = DefaultClosedType
	}
	if err := domain.Text("type", c.Type, MaxReasonLength); err != nil {
		return nil, err
	}
	events := make([]Event, 0, len(s.Typing)+1)
	for _, t := range s.Typing {
		events = append(events, TypingStopped{t.Author, t.Private, StopLeft})
	}
	return append(events, Closed{s.Status, c.Type, by}), nil
}

func (s State) reopen(c Reopen) ([]Event, error) {
	if s.Status != StatusEnded {
		return nil, NotClosed
	}
	by, err := s.person("by", c.By, domain.Agent)
	if err != nil {
		return nil, err
	}
	if by.Role != domain.Agent {
		return nil, OnlyAgents
	}
	return []Event{Reopened{by}}, nil
}

func (s State) assign(c Assign) ([]Event, error) {
	if c.Agent == nil {
		by, err := s.optional(c.By)
		if err != nil || s.Assignee == nil {
			return nil, err
		}
		return []Event{Unassigned{*s.Assignee, by}}, nil
	}
	agent, err := s.person("agent", *c.Agent, domain.Agent)
	if err != nil {
		return nil, err
	}
	if agent.Role != domain.Agent && agent.Role != domain.Bot {
		return nil, &domain.FieldError{Field: "agent.role", Rule: "must be agent or bot"}
	}
	// Both may be new, and the same: whoever asks is seen with the agent known.
	by, err := s.met(agent).optional(c.By)
	if err != nil {
		return nil, err
	}
	if s.Assignee != nil && s.Assignee.ID == agent.ID {
		return nil, nil
	}
	return []Event{Assigned{agent, s.Assignee, by}}, nil
}

func (s State) changeAttributes(c ChangeAttributes) ([]Event, error) {
	by, err := s.optional(c.By)
	if err != nil {
		return nil, err
	}
	subject, priority := c.Subject.Or(s.Subject), c.Priority.Or(s.Priority)
	switch priority {
	case "", Low, Medium, High, Urgent:
	default:
		return nil, &domain.FieldError{Field: "priority", Rule: "must be low, medium, high, urgent or null"}
	}
	labels, err := normalLabels(c.Labels.Or(s.Labels))
	if err != nil {
		return nil, err
	}
	team := s.Team
	if c.Team.Set {
		team = c.Team.Value
	}
	if team != nil {
		if team.ID == "" {
			return nil, &domain.FieldError{Field: "team.id", Rule: "must not be empty"}
		}
		if err := firstError(
			domain.Text("team.id", team.ID, domain.MaxIDLength),
			domain.Text("team.name", team.Name, domain.MaxNameLength),
			notNegative("team.number", team.Number),
		); err != nil {
			return nil, err
		}
	}
	if err := firstError(
		domain.Text("subject", subject, MaxSubjectLength),
		c.Attributes.Validate("attributes"),
	); err != nil {
		return nil, err
	}
	attributes := s.Attributes.Merge(c.Attributes)
	if err := attributes.Validate("attributes"); err != nil {
		return nil, err
	}

	var changes []domain.Change
	for _, f := range []struct {
		key           string
		before, after any
	}{
		{"subject", domain.Optional(s.Subject), domain.Optional(subject)},
		{"priority", domain.Optional(string(s.Priority)), domain.Optional(string(priority))},
		{"labels", list(s.Labels), list(labels)},
		{"team", s.Team, team},
	} {
		if change, ok := domain.Changed(f.key, f.before, f.after); ok {
			changes = append(changes, change)
		}
	}
	changes = append(changes, c.Attributes.Changes(s.Attributes, attributes)...)
	if len(changes) == 0 {
		return nil, nil
	}
	return []Event{AttributesChanged{changes, by}}, nil
}

// normalLabels returns the labels without repeats.
func normalLabels(labels []string) ([]string, error) {
	out := make([]string, 0, min(len(labels), MaxLabels))
	for i, l := range labels {
		field := "labels[" + strconv.Itoa(i) + "]"
		if l == "" {
			return nil, &domain.FieldError{Field: field, Rule: "must not be empty"}
		}
		if err := domain.Text(field, l, MaxReasonLength); err != nil {
			return nil, err
		}
		if slices.Contains(out, l) {
			continue
		}
		if len(out) == MaxLabels { // at once: comparing all of a long list with each other takes seconds
			return nil, &domain.FieldError{Field: "labels", Rule: "must be at most " + strconv.Itoa(MaxLabels) + " labels"}
		}
		out = append(out, l)
	}
	return out, nil
}

// list makes an absent list an empty one, so that both encode alike.
func list(l []string) []string {
	if l == nil {
		return []string{}
	}
	return l
}

func (s State) updateCustomer(c UpdateCustomer) ([]Event, error) {
	by, err := s.optional(c.By)
	if err != nil {
		return nil, err
	}
	if err := c.Patch.Attributes.Validate("attributes"); err != nil {
		return nil, err
	}
	customer, changes := c.Patch.Apply(s.Customer)
	if err := customer.Validate(); err != nil {
		return nil, err
	}
	if len(changes) == 0 {
		return nil, nil
	}
	return []Event{CustomerUpdated{changes, customer, by}}, nil
}

func (s State) markRead(c MarkRead) ([]Event, error) {
	by, err := s.person("by", c.By, domain.Customer)
	if err != nil {
		return nil, err
	}
	switch {
	case by.Role == domain.System:
		return nil, &domain.FieldError{Field: "by.role", Rule: "must be customer, agent or bot"}
	case c.UpTo < 1:
		return nil, &domain.FieldError{Field: "up_to", Rule: "must be a version, 1 or more"}
	case c.UpTo > s.Version:
		return nil, ReadAhead
	case c.UpTo <= s.horizon(by.ID):
		return nil, nil
	}
	return []Event{Read{by, c.UpTo}}, nil
}

func (s State) play(c PlayMessage) ([]Event, error) {
	if c.Message.ID == "" {
		return nil, MessageUnknown
	}
	viewer, err := s.person("by", c.Viewer, domain.Customer)
	switch {
	case err != nil:
		return nil, err
	case viewer.Role == domain.System:
		return nil, &domain.FieldError{Field: "by.role", Rule: "must be customer, agent or bot"}
	case c.Message.Deleted:
		return nil, MessageIsDeleted
	case !c.Message.Playable:
		return nil, NothingToPlay
	case slices.Contains(c.Message.PlayedBy, viewer.ID):
		return nil, nil
	}
	return []Event{MessagePlayed{c.Message.ID, c.Message.Private, viewer}}, nil
}

func (s State) record(c RecordActivity) ([]Event, error) {
	by, err := s.optional(c.By)
	if err != nil {
		return nil, err
	}
	switch c.Kind {
	case AppointmentScheduled, ProductPurchased, FormSubmitted, TaskCompleted:
	default:
		return nil, &domain.FieldError{
			Field: "kind",
			Rule:  "must be appointment_scheduled, product_purchased, form_submitted or task_completed",
		}
	}
	if err := c.Data.Validate("data"); err != nil {
		return nil, err
	}
	data := c.Data
	if data == nil {
		data = domain.Attributes{}
	}
	return []Event{ActivityRecorded{c.Kind, data, by}}, nil
}

// person returns p as the conversation knows them: an implied role, open fields
// filled from what was last said of the same person, limits checked. Somebody
// without an id is the customer, if that is the part they play.
func (s State) person(field string, p domain.Person, implied domain.Role) (domain.Person, error) {
	if p.ID == "" && (p.Role == domain.Customer || p.Role == "" && implied == domain.Customer) {
		p.ID = s.Customer.ID
	}
	var known domain.Person
	if p.ID == s.Customer.ID {
		known = s.Customer
	} else if i := slices.IndexFunc(s.People, func(q domain.Person) bool { return q.ID == p.ID }); i >= 0 {
		known = s.People[i]
	}
	p = p.FilledFrom(known).Completed(implied)
	if err := p.Validate(); err != nil {
		return p, within(err, field)
	}
	if p.ID == s.Customer.ID && p.Role != domain.Customer {
		return p, &domain.FieldError{Field: field + ".role", Rule: "must be customer: this id is the conversation's customer"}
	}
	sameSide := (p.Role == domain.Customer) == (known.Role == domain.Customer)
	if p.Role == domain.System || known.ID != "" && sameSide {
		return p, nil
	}
	return p, s.roomFor(p.Role)
}

// roomFor refuses one more person of that role once the limit is reached, be
// they new or from the other side.
func (s State) roomFor(role domain.Role) error {
	agents, customers := 0, 0
	for i := range s.People {
		if s.People[i].Role == domain.Customer {
			customers++
		} else {
			agents++
		}
	}
	switch {
	case role == domain.Customer && customers >= MaxCustomers:
		return TooManyCustomers
	case role != domain.Customer && agents >= MaxAgents:
		return TooManyAgents
	}
	return nil
}

// optional is person for whoever gives a command, who need not be named.
func (s State) optional(p *domain.Person) (*domain.Person, error) {
	if p == nil {
		return nil, nil
	}
	who, err := s.person("by", *p, domain.Agent)
	if err != nil {
		return nil, err
	}
	return &who, nil
}

// within moves a complaint about a part of a command out to the whole.
func within(err error, field string) error {
	if f, ok := errors.AsType[*domain.FieldError](err); ok {
		return f.Within(field)
	}
	return err
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
