package traffic

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"verbatim/domain"
	"verbatim/domain/contact"
	"verbatim/domain/conversation"
	"verbatim/eventstore"
)

// Who sends commands.
const (
	byWidget = "key:widget"
	byOffice = "key:office"
	byClock  = "system:typing"
)

const (
	// remembered is how many of the last messages may be edited, answered or played.
	remembered = 8
	// tries is how often something else is drawn when nothing comes of it.
	tries = 8
)

// A person is a contact, who may have several conversations.
type person struct {
	stream

	id     string
	number int64
	state  contact.State
	speaks *language
}

// A talk is a conversation that goes on.
type talk struct {
	stream

	g        *generator
	due      time.Time
	left     int64 // events, until it is over
	id       string
	who      *person
	agent    domain.Person
	state    conversation.State
	messages []conversation.Message
	typist   *domain.Person // who is going to send what they write
	serial   int
}

// step lets the next thing happen, and says when the one after it is due.
func (t *talk) step() {
	g := t.g
	before := g.position
	t.due = g.now.Add(g.pause(45 * time.Second))
	if t.id == "" {
		t.begin()
	} else {
		t.goOn()
	}
	t.left -= g.position - before
}

func (t *talk) begin() {
	g := t.g
	t.id = g.uuid().String()
	t.name = eventstore.StreamName("conversation", t.id)
	t.agent = one(g, g.agents)
	if len(g.known) > 0 && g.in(4) {
		t.who = one(g, g.known)
	} else {
		t.who = g.meet()
	}
	inbox := one(g, inboxes())
	room := t.left - int64(len(g.out)) - 2
	if room > 0 && g.in(4) {
		t.decideContact(contact.TriggerWidget{Inbox: inbox, Attributes: g.browser(t.who.speaks)})
		room--
	}
	customer := t.who.state.Profile
	customer.Number = t.who.number
	c := conversation.Create{
		Account: account(), Inbox: inbox, Channel: inbox.Channel, Customer: customer, Attributes: g.browser(t.who.speaks),
	}
	if g.in(3) {
		c.Subject = g.sentence(t.who.speaks)
	}
	if room > 0 && !g.in(5) {
		post := t.message(customer)
		c.Message = &post
	}
	t.decide(byWidget, c)
}

// meet makes somebody a contact.
func (g *generator) meet() *person {
	p := &person{id: g.uuid().String(), speaks: one(g, languages())}
	p.name = eventstore.StreamName("contact", p.id)
	profile := g.somebody(p.id, p.speaks)
	events, err := contact.Decide(p.state, contact.Create{Account: account(), Profile: profile}, g.now)
	g.fail(err)
	g.recordContact(p, events)
	p.number = g.position
	if len(g.known) < knownAtOnce {
		g.known = append(g.known, p)
	} else {
		g.known[g.chance.IntN(knownAtOnce)] = p
	}
	return p
}

func (g *generator) recordContact(p *person, events []contact.Event) {
	for _, e := range events {
		p.state = contact.Evolve(p.state, e)
		g.record(&p.stream, byWidget, e)
	}
}

func (t *talk) decideContact(c contact.Command) {
	events, err := contact.Decide(t.who.state, c, t.g.now)
	t.g.fail(err)
	t.g.recordContact(t.who, events)
}

// decide asks for something, and reports whether it came of it: the rules may
// refuse it, or there may be no room for it before the end.
func (t *talk) decide(actor string, c conversation.Command) bool {
	events, err := conversation.Decide(t.state, c, t.g.now)
	if err != nil || len(events) == 0 || int64(len(events)) > t.left {
		return false
	}
	facts := make([]domain.Event, len(events))
	for i, e := range events {
		t.state = conversation.Evolve(t.state, e)
		facts[i] = e
		t.remember(e)
	}
	t.g.record(&t.stream, actor, facts...)
	return true
}

func (t *talk) remember(e conversation.Event) {
	find := func(id string, change func(*conversation.Message)) {
		for i := range t.messages {
			if t.messages[i].ID == id {
				change(&t.messages[i])
			}
		}
	}
	switch e := e.(type) { //nolint:gochecksumtype // the others are not about messages
	case conversation.MessagePosted:
		if len(t.messages) == remembered {
			t.messages = slices.Delete(t.messages, 0, 1)
		}
		t.messages = append(t.messages, conversation.Message{
			ID: e.MessageID, AuthorID: e.Author.ID, Text: e.Text, Private: e.Private,
			Playable: conversation.Playable(e.Author.Role, e.ContentType, e.Attachments),
		})
	case conversation.MessageEdited:
		find(e.MessageID, func(m *conversation.Message) { m.Text = e.Text })
	case conversation.MessageDeleted:
		find(e.MessageID, func(m *conversation.Message) { m.Deleted = true })
	case conversation.MessagePlayed:
		find(e.MessageID, func(m *conversation.Message) { m.PlayedBy = append(slices.Clip(m.PlayedBy), e.Viewer.ID) })
	default:
	}
}

// goOn lets one thing happen.
func (t *talk) goOn() {
	if t.state.Status == conversation.StatusEnded {
		t.decide(byOffice, conversation.Reopen{By: t.agent})
		return
	}
	if t.typist != nil {
		who := *t.typist
		t.typist = nil
		if t.finish(who) {
			return
		}
	}
	if t.left == 1 && len(t.state.Typing) == 0 && t.decide(byOffice, conversation.Close{Type: t.ending(), By: &t.agent}) {
		return
	}
	for range tries {
		if t.something() {
			return
		}
	}
	// Whatever was said, somebody can always count it.
	t.serial++
	t.decide(byOffice, conversation.ChangeAttributes{Attributes: domain.Attributes{attribute("touched", t.serial)}, By: &t.agent})
}

// finish ends the typing of somebody: mostly by what they wrote.
func (t *talk) finish(who domain.Person) bool {
	switch t.g.chance.IntN(8) {
	case 0:
		return t.decide(byWidget, conversation.SetTyping{Author: who})
	case 1:
		until := t.g.now
		for _, typist := range t.state.Typing {
			if typist.Author.ID == who.ID && typist.Until.After(until) {
				until = typist.Until
			}
		}
		t.g.now = until
		return t.decide(byClock, conversation.ExpireTyping{AuthorID: who.ID})
	default:
		return t.say(who)
	}
}

// something lets happen what is drawn, and reports whether it did.
func (t *talk) something() bool {
	g, agent := t.g, t.agent
	customer := domain.Person{Role: domain.Customer}
	switch n := g.chance.IntN(1000); {
	case n < 250:
		return t.say(customer)
	case n < 450:
		return t.say(agent)
	case n < 520:
		return t.types(customer)
	case n < 580:
		return t.types(agent)
	case n < 610:
		post := t.message(agent)
		post.Private = true
		return t.decide(byOffice, post)
	case n < 630:
		return t.say(one(g, g.bots))
	case n < 640:
		return t.decide("system:routing", conversation.PostMessage{
			MessageID: g.uuid().String(), Author: domain.Person{ID: "system", Role: domain.System}, Text: one(g, notices()),
		})
	case n < 665:
		return t.edit()
	case n < 680:
		m, ok := t.some(func(m *conversation.Message) bool { return !m.Deleted })
		return ok && t.decide(byOffice, conversation.DeleteMessage{Message: m, By: agent})
	case n < 760:
		who := agent
		if g.in(2) {
			who = customer
		}
		return t.decide(byWidget, conversation.MarkRead{By: who, UpTo: t.state.Version})
	case n < 790:
		m, ok := t.some(func(m *conversation.Message) bool { return m.Playable && !m.Deleted })
		return ok && t.decide(byWidget, conversation.PlayMessage{Message: m, Viewer: customer})
	case n < 825:
		t.agent = one(g, g.agents[:4+g.chance.IntN(len(g.agents)-4)])
		return t.decide(byOffice, conversation.Assign{Agent: &t.agent, By: &agent})
	case n < 832:
		return t.decide(byOffice, conversation.Assign{By: &agent})
	case n < 870:
		return t.moveTo(one(g, []conversation.Status{conversation.Open, conversation.Pending, conversation.Snoozed, conversation.Resolved}))
	case n < 930:
		return t.decide(byOffice, t.patch())
	case n < 955:
		return t.learn()
	case n < 990:
		return t.decide(byOffice, t.activity())
	default:
		return t.left > 2 && t.decide(byOffice, conversation.Close{Type: t.ending(), By: &agent})
	}
}

func (t *talk) ending() string { return one(t.g, []string{"", "", "", "spam", "no answer"}) }

// some returns one of the messages that are remembered and fit.
func (t *talk) some(fits func(*conversation.Message) bool) (conversation.Message, bool) {
	if len(t.messages) == 0 {
		return conversation.Message{}, false
	}
	start := t.g.chance.IntN(len(t.messages))
	for i := range t.messages {
		if m := &t.messages[(start+i)%len(t.messages)]; fits(m) {
			return *m, true
		}
	}
	return conversation.Message{}, false
}

func (t *talk) say(who domain.Person) bool { return t.decide(actorOf(who), t.message(who)) }

func actorOf(who domain.Person) string {
	if who.Role == domain.Customer {
		return byWidget
	}
	return byOffice
}

func (t *talk) message(who domain.Person) conversation.PostMessage {
	g := t.g
	post := conversation.PostMessage{MessageID: g.uuid().String(), Author: who, Text: g.text(t.who.speaks)}
	if g.in(3) {
		post.ExternalID = fmt.Sprintf("m-%d", g.commands)
	}
	if m, ok := t.some(func(*conversation.Message) bool { return true }); ok && g.in(12) {
		post.ReplyTo = m.ID
	}
	switch {
	case who.Role == domain.Bot && g.in(2):
		post.ContentType, post.ContentAttributes = "input_select", domain.Attributes{attribute("items", []map[string]string{
			{"title": g.sentence(t.who.speaks), "value": "yes"}, {"title": g.sentence(t.who.speaks), "value": "no"},
		})}
	case g.in(9):
		for range 1 + g.chance.IntN(3) {
			post.Attachments = append(post.Attachments, g.attachment())
		}
		if g.in(3) {
			post.Text = ""
		}
	}
	if g.in(40) {
		post.Attributes = domain.Attributes{attribute("sentiment", one(g, []string{"good", "bad", "mixed"}))}
	}
	return post
}

func (t *talk) types(who domain.Person) bool {
	if t.left < 4 || !t.decide(actorOf(who), conversation.SetTyping{Author: who, On: true, Private: who.Role == domain.Agent && t.g.in(8)}) {
		return false
	}
	if len(t.state.Typing) == 0 {
		return true // they were typing something else, and have stopped
	}
	typist := t.state.Typing[len(t.state.Typing)-1].Author
	t.typist, t.due = &typist, t.g.now.Add(t.g.pause(4*time.Second))
	return true
}

func (t *talk) edit() bool {
	m, ok := t.some(func(m *conversation.Message) bool { return !m.Deleted && m.Text != "" })
	return ok && t.decide(byOffice, conversation.EditMessage{
		Message: m, Text: m.Text + " " + t.g.sentence(t.who.speaks), By: t.agent,
	})
}

func (t *talk) moveTo(status conversation.Status) bool {
	c := conversation.ChangeStatus{To: status, By: &t.agent}
	switch {
	case status == conversation.Snoozed:
		until := t.g.now.Add(t.g.pause(8 * time.Hour))
		c.SnoozedUntil, t.due = &until, until.Add(t.g.pause(10*time.Minute))
	case t.g.in(3):
		c.Reason = one(t.g, notices())
	}
	return t.decide(byOffice, c)
}

// patch changes something about the conversation itself.
func (t *talk) patch() conversation.ChangeAttributes {
	g, c := t.g, conversation.ChangeAttributes{}
	if !g.in(5) {
		c.By = &t.agent
	}
	switch g.chance.IntN(5) {
	case 0:
		c.Priority = set(one(g, []conversation.Priority{conversation.Low, conversation.Medium, conversation.High, conversation.Urgent}))
	case 1:
		all := labels()
		n := g.chance.IntN(4)
		chosen := make([]string, n)
		for i := range chosen {
			chosen[i] = all[g.chance.IntN(len(all))]
		}
		c.Labels = set(chosen)
	case 2:
		c.Team = set(one(g, teams()))
	case 3:
		c.Subject = set(g.sentence(t.who.speaks))
	default:
		c.Attributes = domain.Attributes{
			attribute("order", map[string]any{"id": 1000 + g.chance.IntN(9000), "total": float64(g.chance.IntN(100_000)) / 100}),
			attribute(one(g, []string{"plan", "region", "tier"}), one(g, []string{"basic", "premium", "trial"})),
		}
	}
	return c
}

func set[T any](v T) domain.Patch[T] { return domain.Patch[T]{Set: true, Value: &v} }

// learn changes something about the customer, whose contact learns it too.
func (t *talk) learn() bool {
	g := t.g
	if t.left < 2 {
		return false
	}
	var p domain.PersonPatch
	switch g.chance.IntN(4) {
	case 0:
		p.Email = set(g.address(t.who.state.Profile.Name))
	case 1:
		p.Phone = set(g.phone())
	case 2:
		p.Name = set(g.fullName(t.who.speaks))
	default:
		p.Attributes = domain.Attributes{attribute("visits", g.chance.IntN(200))}
	}
	if !t.decide(byWidget, conversation.UpdateCustomer{Patch: p, By: &t.agent}) {
		return false
	}
	t.decideContact(contact.Update{Patch: p, Conversation: t.id})
	return true
}

func (t *talk) activity() conversation.RecordActivity {
	g := t.g
	switch g.chance.IntN(4) {
	case 0:
		return conversation.RecordActivity{Kind: conversation.AppointmentScheduled, By: &t.agent, Data: domain.Attributes{
			attribute("title", g.sentence(t.who.speaks)), attribute("starts_at", g.now.Add(g.pause(72*time.Hour)).Format(time.RFC3339)),
		}}
	case 1:
		return conversation.RecordActivity{Kind: conversation.ProductPurchased, Data: domain.Attributes{
			attribute("product_id", fmt.Sprintf("p-%d", g.chance.IntN(50))), attribute("product", one(g, products())),
			attribute("price", map[string]string{"amount": fmt.Sprintf("%d.%02d", g.chance.IntN(500), g.chance.IntN(100)), "currency": "EUR"}),
		}}
	case 2:
		return conversation.RecordActivity{Kind: conversation.FormSubmitted, Data: domain.Attributes{
			attribute("form_id", fmt.Sprintf("f-%d", g.chance.IntN(9))), attribute("answers", []string{g.sentence(t.who.speaks), g.sentence(t.who.speaks)}),
		}}
	default:
		return conversation.RecordActivity{Kind: conversation.TaskCompleted, By: &t.agent, Data: domain.Attributes{
			attribute("task", one(g, notices())),
		}}
	}
}

func attribute(key string, v any) domain.Attribute {
	value, err := json.Marshal(v)
	if err != nil {
		panic("traffic: an attribute does not encode: " + err.Error())
	}
	return domain.Attribute{Key: key, Value: value}
}
