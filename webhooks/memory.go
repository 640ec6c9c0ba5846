package webhooks

import (
	"unsafe"

	"verbatim/domain"
	"verbatim/domain/conversation"
)

// What structs take in a slice or by themselves, without what they point to.
const (
	historySize    = int(unsafe.Sizeof(History{}))
	contactSize    = int(unsafe.Sizeof(Contact{}))
	endpointSize   = int(unsafe.Sizeof(Endpoint{}))
	messageSize    = int(unsafe.Sizeof(Message{}))
	personSize     = int(unsafe.Sizeof(domain.Person{}))
	attributeSize  = int(unsafe.Sizeof(domain.Attribute{}))
	attachmentSize = int(unsafe.Sizeof(conversation.Attachment{}))
	markSize       = int(unsafe.Sizeof(mark{}))
	stringSize     = int(unsafe.Sizeof(""))
	// fragmentsSize is a fragments with its place in the map, the map included.
	fragmentsSize = int(unsafe.Sizeof(fragments{})) + 256
	// playSize is a viewer of a message: an id, and its part of a list and a map.
	playSize = 128
)

// held is how many bytes a history points to, part by part. A part is counted
// when an event changes it, so that the count costs the same for any length.
// What two parts share is counted once: every event is decoded into memory of
// its own, so that parts share only what came with one event.
type held struct {
	opened   int // Opened, and of the conversation what is as it was then
	changed  int // of the conversation, what has been changed about itself
	customer int // likewise
	assignee int
	agent    int // Agent; 0 while it is the assignee
	messages int // as they are now
}

func (n *held) sum() int {
	return n.opened + n.changed + n.customer + n.assignee + n.agent + n.messages
}

// Size is about how many bytes of memory the history takes: within a third of
// the truth for any shape. It costs the same for any length.
func (h *History) Size() int {
	n := historySize + h.held.sum() + messageSize*cap(h.Messages) + 8*cap(h.Attention.Unread) + playSize*h.plays
	for _, f := range h.fragments {
		n += fragmentsSize + cap(f.bytes) + markSize*cap(f.marks)
	}
	return n
}

// Size is about how many bytes of memory the contact takes.
func (c Contact) Size() int {
	return contactSize + heapOfTexts(c.ID, c.Account.ID, c.Account.Name) + heapOfPerson(&c.Profile)
}

// Size is about how many bytes of memory the endpoint takes.
func (ep Endpoint) Size() int { return endpointSize + heapOfTexts(ep.ID, ep.URL, ep.Dialect) }

// heapOfTexts is what strings point to. The allocator gives out small pieces by
// eight bytes.
func heapOfTexts(texts ...string) int {
	n := 0
	for _, s := range texts {
		n += (len(s) + 7) &^ 7
	}
	return n
}

func heapOfPerson(p *domain.Person) int {
	return heapOfTexts(p.ID, string(p.Role), p.Name, p.FirstName, p.LastName, p.Email, p.Phone, p.AvatarURL, p.Identifier) +
		heapOfAttributes(p.Attributes)
}

func heapOfAttributes(a domain.Attributes) int {
	n := attributeSize * cap(a)
	for i := range a {
		n += heapOfTexts(a[i].Key) + cap(a[i].Value)
	}
	return n
}

func heapOfOpened(e *conversation.Created) int {
	return heapOfTexts(e.Account.ID, e.Account.Name, e.Inbox.ID, e.Inbox.Name, e.Channel, e.Subject) +
		heapOfPerson(&e.Customer) + heapOfAttributes(e.Attributes)
}

// heapOfChanged is what the subject, the labels, the team and the attributes
// point to, but for what the attributes share with those of the beginning. What
// was left as it was stands in its old order, before what was added.
func (h *History) heapOfChanged() int {
	c, from := &h.Conversation, h.Opened.Attributes
	n := heapOfTexts(c.Subject) + stringSize*cap(c.Labels) + heapOfTexts(c.Labels...) + attributeSize*cap(c.Attributes)
	if c.Team != nil {
		n += int(unsafe.Sizeof(*c.Team)) + heapOfTexts(c.Team.ID, c.Team.Name)
	}
	i := 0
	for _, at := range c.Attributes {
		for i < len(from) && from[i].Key != at.Key {
			i++
		}
		if i == len(from) || !sameMemory(at.Value, from[i].Value) {
			n += heapOfTexts(at.Key) + cap(at.Value)
		}
	}
	return n
}

func sameMemory(a, b []byte) bool { return len(a) > 0 && len(b) > 0 && &a[0] == &b[0] }

// heapOfMessage is what a message points to.
func heapOfMessage(m *Message) int {
	n := heapOfTexts(m.ID, m.Text, m.ContentType, m.ReplyTo, m.ExternalID) + heapOfPerson(&m.Author) +
		heapOfAttributes(m.ContentAttributes) + heapOfAttributes(m.Attributes) + attachmentSize*cap(m.Attachments)
	if m.Answered != nil {
		n += int(unsafe.Sizeof(*m.Answered)) + heapOfAttributes(m.Answered.Attributes)
	}
	for i := range m.Attachments {
		at := &m.Attachments[i]
		n += heapOfTexts(at.FileType, at.ContentType, at.URL, at.Name, at.Extension)
	}
	return n
}
