package httpapi

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/url"
	"time"

	"verbatim/domain"
	"verbatim/domain/contact"
	"verbatim/eventstore"
	"verbatim/projections"
	"verbatim/webhooks"
)

type (
	contactDone  = eventstore.Done[contact.State]
	contactOrder = eventstore.Order[contact.State, contact.Command]
)

func (s *Server) contactRoutes() {
	const one = "/v1/contacts/{id}"
	register(s, withStatus(operation(http.MethodPost, "create-contact", "/v1/contacts", tagContacts,
		"Make a person known", "Without an id: a new one is made. Whatever number is given, theirs is the position in the log. A conversation's customer is made a contact too, if they are none yet."),
		http.StatusCreated), s.createContact)
	register(s, operation(http.MethodGet, "get-contact", one, tagContacts,
		"Read a contact", "By the id that you gave them, as contact or as a conversation's customer."), s.getContact)
	register(s, withErrors(operation(http.MethodPatch, "change-contact", one, tagContacts,
		"Change a contact", "A merge-patch (RFC 7396): null removes. Conversations that were had keep the customer as they knew them."),
		http.StatusGone), s.changeContact)
	register(s, withErrors(withStatus(operation(http.MethodPost, "trigger-widget", "/v1/widget/triggered", tagContacts,
		"Say that somebody opened the chat widget",
		"A person who is not known is made a contact; what is said of a known one changes nothing. The conversation, if given, is told "+
			"as it is now; from a very large one the last message's text is cut, then attributes and labels are left out."),
		http.StatusCreated), http.StatusGone), s.triggerWidget)
}

// ContactPath is the contact a request is about.
type ContactPath struct {
	ID string `path:"id" doc:"Id of the person, as you know them." example:"visitor-4711"`
}

// ContactView is a contact as its account sees it.
type ContactView struct {
	ID      string `json:"id" doc:"Of the person, as you know them."`
	Number  int64  `json:"number" doc:"Position of the contact's first event in the log."`
	Version int64  `json:"version"`
	domain.Person

	Erased    bool      `json:"erased,omitempty" doc:"Their data was overwritten; the id is left."`
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at" doc:"Opening the widget does not update a person."`
}

// contactAsOf returns a contact as of a version of its stream, or of its end.
func (s *Server) contactAsOf(ctx context.Context, stream string, version int64) (ContactView, error) {
	var view ContactView
	err := s.cfg.Transcripts.WithContact(ctx, stream, version, func(c webhooks.Contact, _ *webhooks.Fact) error {
		if c.Version == 0 {
			return errNoSuchEvent
		}
		view = ContactView{
			ID: c.Profile.ID, Number: c.Number, Version: c.Version, Person: c.Profile,
			Erased: c.Erased, CreatedAt: c.CreatedAt, UpdatedAt: c.UpdatedAt,
		}
		return nil
	})
	return view, err
}

// contactIDs are the ids that the stream of a person's contact may have, the
// second only if the first is another account's: a stream belongs to one account,
// and "1" is sure to be somebody in each.
func contactIDs(account, person string) [2]string {
	return [2]string{webhooks.AsUUID(person), webhooks.AsUUID(account + "\x00" + person)}
}

// findContact returns the id of the stream of a person's contact, and its
// version, 0 if there is none. It refuses one that the account cannot have,
// because both places for it are others'.
func (s *Server) findContact(ctx context.Context, account, person string) (id string, version int64, err error) {
	for _, id = range contactIDs(account, person) {
		_, version, err = s.cfg.Contacts.State(ctx, account, id)
		if !errors.Is(err, eventstore.ErrForeign) {
			return id, version, err
		}
	}
	return "", 0, contact.NotCreated
}

// asContact makes sure that the customer is a contact of the account, and
// returns them with what the contact's profile knows and the contact's number.
func (s *Server) asContact(ctx context.Context, c *call, account domain.Account, customer domain.Person) (domain.Person, error) {
	customer.Number = 0
	_, known, number, err := s.contact(ctx, c, account, customer)
	if err != nil {
		return customer, err
	}
	customer = customer.FilledFrom(known.Profile)
	customer.Number = number
	return customer, nil
}

// contact returns a person's contact: the id of its stream, its state, and its
// number. It is made if it is not there.
func (s *Server) contact(
	ctx context.Context, c *call, account domain.Account, person domain.Person,
) (id string, state contact.State, number int64, err error) {
	for _, id = range contactIDs(account.ID, person.ID) {
		state, number, err = s.contactAt(ctx, c, id, contact.Create{Account: account, Profile: person})
		if !errors.Is(err, eventstore.ErrForeign) {
			return id, state, number, err
		}
	}
	return "", state, 0, contact.AlreadyCreated
}

// contactAt is contact for one of the ids that its stream may have.
func (s *Server) contactAt(ctx context.Context, c *call, id string, create contact.Create) (contact.State, int64, error) {
	state, version, err := s.cfg.Contacts.State(ctx, c.account, id)
	if err != nil {
		return state, 0, err
	}
	if version == 0 {
		order := contactOrder{Account: c.account, ID: id, Command: create, Metadata: c.meta}
		done, err := s.cfg.Contacts.Execute(ctx, order)
		switch {
		case err == nil:
			return done.State, done.Events[0].Position, nil
		case !errors.Is(err, contact.AlreadyCreated):
			return state, 0, err
		}
		// Somebody else made it a moment ago.
		if state, _, err = s.cfg.Contacts.State(ctx, c.account, id); err != nil {
			return state, 0, err
		}
	}
	for r, err := range s.cfg.Log.ReadStream(ctx, eventstore.StreamName("contact", id), 0) {
		return state, r.Position, err
	}
	return state, 0, errNoSuchEvent
}

// account returns the account of a call, as far as it is known.
func (s *Server) account(ctx context.Context, c *call) (domain.Account, error) {
	account, found, err := s.cfg.Models.Account(ctx, c.account)
	if err == nil && !found {
		account = domain.Account{ID: c.account}
	}
	return account, err
}

// contactOrder returns an order of the call's for a contact.
func (s *Server) contactOrder(c *call, id string) contactOrder {
	return contactOrder{Account: c.account, ID: id, IfVersion: c.ifVersion, Key: c.key, Metadata: c.meta}
}

// executeContact runs an order. A contact of another account is not there.
func (s *Server) executeContact(ctx context.Context, o contactOrder) (contactDone, error) {
	done, err := s.cfg.Contacts.Execute(ctx, o)
	version, ok := errors.AsType[*eventstore.VersionError](err)
	if errors.Is(err, eventstore.ErrForeign) || ok && version.Actual == 0 {
		err = contact.NotCreated
	}
	return done, err
}

type createContactInput struct{ Body personInput }

func (s *Server) createContact(ctx context.Context, in *createContactInput) (*createdAnswer[ContactView], error) {
	c := callOf(ctx)
	account, err := s.account(ctx, c)
	if err != nil {
		return nil, err
	}
	person := unnumbered(in.Body)
	if person.ID == "" {
		person.ID = newID()
	}
	var done contactDone
	for _, id := range contactIDs(c.account, person.ID) {
		o := s.contactOrder(c, id)
		o.Prepare = func(_ context.Context, state contact.State) (contact.Command, error) {
			if !state.Known {
				if err := c.mustNotMatch(); err != nil {
					return nil, err
				}
			}
			return contact.Create{Account: account, Profile: person}, nil
		}
		done, err = s.cfg.Contacts.Execute(ctx, o)
		if !errors.Is(err, eventstore.ErrForeign) {
			break
		}
	}
	if errors.Is(err, eventstore.ErrForeign) {
		err = contact.AlreadyCreated
	}
	if err != nil {
		return nil, err
	}
	view, err := s.contactAsOf(ctx, done.Stream, done.Version)
	return &createdAnswer[ContactView]{
		Written: written(done.Version, done.Replayed), Location: "/v1/contacts/" + url.PathEscape(view.ID), Body: view,
	}, err
}

// unnumbered returns the person without a number: a contact's is its position in
// the log.
func unnumbered(p personInput) domain.Person {
	p.Number = 0
	return domain.Person(p)
}

func (s *Server) getContact(ctx context.Context, in *ContactPath) (*seen[ContactView], error) {
	id, version, err := s.findContact(ctx, callOf(ctx).account, in.ID)
	if err == nil && version == 0 {
		err = contact.NotCreated
	}
	if err != nil {
		return nil, err
	}
	view, err := s.contactAsOf(ctx, eventstore.StreamName("contact", id), projections.Newest)
	return &seen[ContactView]{ETag: etag(view.Version), Body: view}, err
}

type changeContactInput struct {
	ContactPath
	Body PersonPatch
}

func (s *Server) changeContact(ctx context.Context, in *changeContactInput) (*answer[ContactView], error) {
	c := callOf(ctx)
	id, _, err := s.findContact(ctx, c.account, in.ID)
	if err != nil {
		return nil, err
	}
	o := s.contactOrder(c, id)
	o.Command = contact.Update{Patch: in.Body.patch()}
	done, err := s.executeContact(ctx, o)
	if err != nil {
		return nil, err
	}
	view, err := s.contactAsOf(ctx, done.Stream, done.Version)
	return &answer[ContactView]{Written: written(done.Version, done.Replayed), Body: view}, err
}

// teachContact tells the contact what a conversation has learned of its customer.
// A call with a key does it once: answering it again later must not bring back
// what was true then. A call without one does it each time, which changes nothing
// where nothing is to be changed.
//
// What the contact has against it is no reason to fail: the conversation has
// changed. A customer may have no contact, where a log was moved in without.
func (s *Server) teachContact(ctx context.Context, done conversationDone, patch domain.PersonPatch) error {
	c := callOf(ctx)
	id, version, err := s.findContact(ctx, c.account, done.State.Customer.ID)
	if errors.Is(err, contact.NotCreated) || err == nil && version == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	_, conversationID := eventstore.SplitStream(done.Stream)
	o := contactOrder{
		Account: c.account, ID: id, Metadata: c.meta,
		Command: contact.Update{Patch: patch, Conversation: conversationID},
	}
	if len(done.Events) > 0 {
		o.Metadata.Causation = done.Events[len(done.Events)-1].ID.String()
	}
	if c.key != nil {
		// No client can have a key with a blank in it.
		o.Key = &eventstore.Key{Name: "contact " + c.key.Name, Fingerprint: c.key.Fingerprint}
	}
	_, err = s.cfg.Contacts.Execute(ctx, o)
	if _, ok := errors.AsType[domain.Refusal](err); ok {
		return nil // erased
	}
	if _, ok := errors.AsType[*domain.FieldError](err); ok {
		s.cfg.Logger.WarnContext(ctx, "a contact could not learn what its conversation did",
			"request_id", c.requestID, "contact", id, "conversation", conversationID, "error", err)
		return nil
	}
	return err
}

type triggerWidgetInput struct {
	Body struct {
		Contact      personInput       `json:"contact" doc:"Who opened it. Without an id: the conversation's customer, or somebody new."`
		Attributes   domain.Attributes `json:"attributes,omitempty" doc:"Open object. Well-known keys: current_page, browser_name, referer, language, …"`
		Conversation string            `json:"conversation,omitempty" doc:"Id of the conversation they are in." example:"01931b3e-7c1f-7d2a-9d5e-0a6f3c2b1a00"`
		Inbox        *inboxInput       `json:"inbox,omitempty" doc:"That the widget belongs to. Defaults to the inbox \"default\"."`
	}
}

type widgetTriggered struct {
	ID      string `json:"id" doc:"Of the person, as you know them."`
	Number  int64  `json:"number" doc:"Of the contact."`
	Version int64  `json:"version" doc:"Of the contact after it."`
}

func (s *Server) triggerWidget(ctx context.Context, in *triggerWidgetInput) (*answer[widgetTriggered], error) {
	c := callOf(ctx)
	defer s.cfg.Eraser.Carry()()
	o := s.contactOrder(c, newID()) // answered from the log, it is not looked at
	again, err := s.wasDone(ctx, c)
	if err != nil {
		return nil, err
	}
	if !again {
		if o.ID, o.Command, err = s.prepareTrigger(ctx, c, in); err != nil {
			return nil, err
		}
	}
	done, err := s.executeContact(ctx, o)
	if err != nil {
		return nil, err
	}
	view, err := s.contactAsOf(ctx, done.Stream, done.Version)
	return &answer[widgetTriggered]{
		Written: written(done.Version, done.Replayed), Body: widgetTriggered{view.ID, view.Number, view.Version},
	}, err
}

// prepareTrigger returns the command and the id of the contact's stream, after
// making sure that it will be done: making the contact comes first, and must not
// be what is left of a request that was refused.
func (s *Server) prepareTrigger(ctx context.Context, c *call, in *triggerWidgetInput) (string, contact.Command, error) {
	cmd := contact.TriggerWidget{
		Inbox: in.Body.Inbox.inbox(), Attributes: in.Body.Attributes, Conversation: in.Body.Conversation,
	}
	person := unnumbered(in.Body.Contact)
	if cmd.Conversation != "" {
		if _, err := s.own(ctx, cmd.Conversation); err != nil {
			return "", nil, err
		}
		snapshot, err := s.snapshot(ctx, cmd.Conversation)
		if err != nil {
			return "", nil, err
		}
		if person.ID == "" {
			person.ID = snapshot.Conversation.Customer.ID
		}
		cmd.CurrentConversation = encodeSnapshot(snapshot)
	}
	if person.ID == "" {
		person.ID = newID()
	}
	account, err := s.account(ctx, c)
	if err != nil {
		return "", nil, err
	}
	if _, err := contact.Decide(contact.State{Known: true}, cmd, s.cfg.Clock()); err != nil {
		return "", nil, err
	}
	if _, err := contact.Decide(contact.State{}, contact.Create{Account: account, Profile: person}, s.cfg.Clock()); err != nil {
		if field, ok := errors.AsType[*domain.FieldError](err); ok {
			err = field.Within("contact")
		}
		return "", nil, err
	}
	id, version, err := s.findContact(ctx, c.account, person.ID)
	if err == nil && version == 0 {
		if err = c.mustNotMatch(); err == nil {
			id, _, _, err = s.contact(ctx, c, account, person)
		}
	}
	return id, cmd, err
}

// snapshot returns a conversation as it is now, as an event of a contact may
// tell it.
func (s *Server) snapshot(ctx context.Context, id string) (webhooks.Snapshot, error) {
	var out webhooks.Snapshot
	stream := eventstore.StreamName("conversation", id)
	err := s.cfg.Transcripts.With(ctx, stream, projections.Newest, func(h *webhooks.History, _ *webhooks.Fact) error {
		out = h.Snapshot()
		if out.LastMessage != nil {
			// Messages are edited in place, once the history is somebody else's.
			last := *out.LastMessage
			out.LastMessage = &last
		}
		return nil
	})
	return out, err
}

// encodeSnapshot returns s as JSON, of at most contact.MaxCurrentConversation
// bytes. What can be read elsewhere gives way first: the last message's text is
// cut, then what is open to any length is left out, from the message to the
// conversation itself.
func encodeSnapshot(s webhooks.Snapshot) []byte {
	give := []func(){
		func() {
			if s.LastMessage != nil {
				s.LastMessage.Text = firstCharacters(s.LastMessage.Text, projections.MaxPreview)
			}
		},
		func() {
			if m := s.LastMessage; m != nil {
				m.ContentAttributes, m.Attachments, m.Attributes, m.Author.Attributes = nil, nil, nil, nil
			}
		},
		func() {
			if s.Conversation.Assignee != nil {
				assignee := *s.Conversation.Assignee
				assignee.Attributes = nil
				s.Conversation.Assignee = &assignee
			}
			s.Conversation.Customer.Attributes = nil
		},
		func() { s.Conversation.Attributes = domain.Attributes{} },
		func() { s.Conversation.Labels = []string{} },
	}
	for {
		var b bytes.Buffer
		if err := jsonFormat().Marshal(&b, s); err != nil {
			panic("httpapi: a conversation does not encode: " + err.Error())
		}
		encoded := bytes.TrimSuffix(b.Bytes(), []byte("\n"))
		if len(encoded) <= contact.MaxCurrentConversation || len(give) == 0 {
			return encoded
		}
		give[0]()
		give = give[1:]
	}
}

// firstCharacters returns the first n characters of a text.
func firstCharacters(text string, n int) string {
	for i := range text {
		if n == 0 {
			return text[:i]
		}
		n--
	}
	return text
}
