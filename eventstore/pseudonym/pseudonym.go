// Package pseudonym takes people out of facts, so that what happened to somebody
// can be given to somebody else: as a fixture, with a report of a fault.
//
// What may stay is listed, and all else is replaced: names, addresses, numbers,
// ids, texts, files, the values of open attributes. What takes a value's place
// has its shape, so that formats have the same work with it: a word is as long
// as the word that it stands for and in its script, an e-mail is an e-mail, a
// UUIDv7 is one of its time. Equal values have equal pseudonyms under one key and
// unlike ones under another. Roles, statuses and the like stay, and punctuation,
// emoji, the lengths of words, the keys of attributes, the sizes of files, and
// how much time went by.
package pseudonym

import (
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"verbatim/domain"
	"verbatim/domain/contact"
	"verbatim/domain/conversation"
	"verbatim/domain/endpoint"
	"verbatim/eventstore"
)

// A Maker makes pseudonyms under one key.
type Maker struct {
	key     [32]byte
	shift   time.Duration
	numbers map[int64]int64
	ids     map[string]string
}

// New returns a maker whose pseudonyms follow from the key. Whoever knows it can
// try what a pseudonym stands for.
func New(key [32]byte) *Maker {
	return &Maker{key: key, numbers: make(map[int64]int64), ids: make(map[string]string)}
}

// Shift moves every time by d.
func (m *Maker) Shift(d time.Duration) { m.shift = d }

// Renumber says that what was recorded at one position is at another one now:
// what bears it as its number bears the new one.
func (m *Maker) Renumber(from, to int64) { m.numbers[from] = to }

// Rename says what an id becomes that has to follow from another one.
func (m *Maker) Rename(id, to string) { m.ids[id] = to }

// account is whose everything is: that of every new data folder.
func account() domain.Account { return domain.Account{ID: "default", Number: 1, Name: "Default"} }

// Recorded returns r, whose fact is e, as if it had happened to nobody. It stays
// at its position and version; digest and hash are left to whoever records it.
func (m *Maker) Recorded(codec *eventstore.Codec, r *eventstore.Recorded, e domain.Event) (eventstore.Recorded, error) {
	out := eventstore.Recorded{
		Position: r.Position, Stream: m.stream(r.Stream), Version: r.Version, Time: m.time(r.Time), Account: account().ID,
		Metadata: m.metadata(r),
	}
	out.ID = m.uuid(r.ID)
	e, err := m.Event(e)
	if err == nil {
		out.Type, out.Schema, out.Data, err = codec.Encode(e)
	}
	return out, err
}

// Event returns the fact as if it had happened to nobody. A fact that it does
// not know is an error: there is somebody in it, for all that is known.
func (m *Maker) Event(e domain.Event) (domain.Event, error) {
	switch e := e.(type) {
	case conversation.Event:
		return m.conversation(e), nil
	case contact.Event:
		return m.contact(e), nil
	case endpoint.Event:
		return m.endpoint(e), nil
	default:
		return nil, fmt.Errorf("no pseudonyms are known for %s", e.EventType())
	}
}

func (m *Maker) conversation(e conversation.Event) conversation.Event {
	switch e := e.(type) {
	case conversation.Created:
		e.Account, e.Inbox, e.Channel = account(), m.inbox(e.Inbox), m.known(e.Channel, channels)
		e.Customer, e.Subject, e.Attributes = m.person(e.Customer), m.text(e.Subject), m.attributes(e.Attributes)
		return e
	case conversation.MessagePosted:
		e.MessageID, e.ReplyTo, e.ExternalID = m.id(e.MessageID), m.id(e.ReplyTo), m.id(e.ExternalID)
		e.Author, e.Text, e.ContentType = m.person(e.Author), m.text(e.Text), messageType(e.ContentType)
		e.ContentAttributes, e.Attributes = m.attributes(e.ContentAttributes), m.attributes(e.Attributes)
		e.Attachments = each(e.Attachments, m.attachment)
		return e
	case conversation.MessageEdited:
		e.MessageID, e.Previous, e.Text, e.By = m.id(e.MessageID), m.text(e.Previous), m.text(e.Text), m.person(e.By)
		return e
	case conversation.MessageDeleted:
		e.MessageID, e.By = m.id(e.MessageID), m.person(e.By)
		return e
	case conversation.TypingStarted:
		e.Author, e.ExpiresAt = m.person(e.Author), m.time(e.ExpiresAt)
		return e
	case conversation.TypingStopped:
		e.Author, e.Reason = m.person(e.Author), conversation.StopReason(m.known(string(e.Reason), stopReasons))
		return e
	case conversation.StatusChanged:
		e.From, e.To, e.Reason = m.status(e.From), m.status(e.To), m.known(e.Reason, reasons)
		e.By, e.SnoozedUntil = m.optional(e.By), m.optionalTime(e.SnoozedUntil)
		return e
	case conversation.Closed:
		e.From, e.ClosedType, e.By = m.status(e.From), m.known(e.ClosedType, reasons), m.optional(e.By)
		return e
	case conversation.Reopened:
		e.By = m.person(e.By)
		return e
	case conversation.Assigned:
		e.Agent, e.Previous, e.By = m.person(e.Agent), m.optional(e.Previous), m.optional(e.By)
		return e
	case conversation.Unassigned:
		e.Previous, e.By = m.person(e.Previous), m.optional(e.By)
		return e
	case conversation.AttributesChanged:
		e.Changes, e.By = each(e.Changes, m.change), m.optional(e.By)
		return e
	case conversation.CustomerUpdated:
		e.Changes, e.Customer, e.By = each(e.Changes, m.change), m.person(e.Customer), m.optional(e.By)
		return e
	case conversation.Read:
		e.By = m.person(e.By)
		return e
	case conversation.MessagePlayed:
		e.MessageID, e.Viewer = m.id(e.MessageID), m.person(e.Viewer)
		return e
	case conversation.ActivityRecorded:
		e.Kind = conversation.ActivityKind(m.known(string(e.Kind), activities))
		e.Data, e.By = m.attributes(e.Data), m.optional(e.By)
		return e
	default:
		panic("pseudonym: an event outside the closed set")
	}
}

func (m *Maker) contact(e contact.Event) contact.Event {
	switch e := e.(type) {
	case contact.Created:
		e.Account, e.Profile = account(), m.person(e.Profile)
		return e
	case contact.Updated:
		e.Changes, e.Profile, e.Conversation = each(e.Changes, m.change), m.person(e.Profile), m.id(e.Conversation)
		return e
	case contact.WidgetTriggered:
		e.Contact, e.Inbox, e.Attributes = m.person(e.Contact), m.inbox(e.Inbox), m.attributes(e.Attributes)
		e.Conversation = m.id(e.Conversation)
		if len(e.CurrentConversation) > 0 {
			e.CurrentConversation = m.told("", e.CurrentConversation)
		}
		return e
	case contact.Erased:
		// What it proves stands in the log that it comes from.
		return contact.Erased{By: m.person(e.By), Events: e.Events}
	default:
		panic("pseudonym: an event outside the closed set")
	}
}

func (m *Maker) endpoint(e endpoint.Event) endpoint.Event {
	switch e := e.(type) {
	case endpoint.Registered:
		e.Account, e.Settings = account(), m.settings(e.Settings)
		return e
	case endpoint.Updated:
		e.Settings = m.settings(e.Settings)
		return e
	case endpoint.SecretRotated:
		e.PreviousUntil = m.time(e.PreviousUntil)
		return e
	case endpoint.Disabled:
		e.Reason, e.Cause = m.text(e.Reason), endpoint.Cause(m.known(string(e.Cause), causes))
		return e
	case endpoint.Enabled:
		return e
	case endpoint.Failing:
		e.Since, e.Fault = m.time(e.Since), m.text(e.Fault)
		return e
	case endpoint.Recovered:
		e.Since = m.time(e.Since)
		return e
	case endpoint.Exhausted:
		e.DeliveryID, e.Stream = m.id(e.DeliveryID), m.stream(e.Stream)
		e.Reason, e.Fault = m.text(e.Reason), m.text(e.Fault)
		return e
	case endpoint.Deleted:
		return e
	default:
		panic("pseudonym: an event outside the closed set")
	}
}

// settings replaces where an endpoint is and what is let through by name. What
// it is sent and how tells of nobody.
func (m *Maker) settings(s endpoint.Settings) endpoint.Settings {
	s.URL = m.url(s.URL)
	s.Headers = each(s.Headers, func(name string) string { return m.shaped("header", name) })
	f := &s.Filters
	f.Inboxes, f.Channels, f.Labels = each(f.Inboxes, m.inboxID), each(f.Channels, m.channel), each(f.Labels, m.label)
	f.AuthorRoles = each(f.AuthorRoles, m.role)
	f.ProductIDs, f.FormIDs = each(f.ProductIDs, m.id), each(f.FormIDs, m.id)
	return s
}

func (m *Maker) person(p domain.Person) domain.Person {
	return domain.Person{
		ID: m.id(p.ID), Role: m.role(p.Role), Number: m.number(p.Number),
		Name: m.name(p.Name), FirstName: m.name(p.FirstName), LastName: m.name(p.LastName),
		Email: m.email(p.Email), Phone: m.phone(p.Phone), AvatarURL: m.url(p.AvatarURL), Identifier: m.id(p.Identifier),
		IsBot: p.IsBot, Attributes: m.attributes(p.Attributes),
	}
}

func (m *Maker) optional(p *domain.Person) *domain.Person {
	if p == nil {
		return nil
	}
	out := m.person(*p)
	return &out
}

func (m *Maker) attachment(a conversation.Attachment) conversation.Attachment {
	return conversation.Attachment{
		FileType: fileType(a.FileType), ContentType: mediaType(a.ContentType), URL: m.url(a.URL),
		Name: m.fileName(a.Name), Extension: extension(a.Extension), Size: a.Size, Width: a.Width, Height: a.Height,
	}
}

func (m *Maker) inbox(i domain.Inbox) domain.Inbox {
	return domain.Inbox{ID: m.inboxID(i.ID), Number: i.Number, Name: m.title(i.Name), Channel: m.channel(i.Channel)}
}

func (m *Maker) team(t conversation.Team) conversation.Team {
	return conversation.Team{ID: m.id(t.ID), Number: t.Number, Name: m.title(t.Name)}
}

// number returns the number of something: that of its new position, if it has
// one, and else any number that is no position of a small log.
func (m *Maker) number(n int64) int64 {
	if to, ok := m.numbers[n]; ok || n == 0 {
		return to
	}
	return 1_000_000 + m.chance("number", strconv.FormatInt(n, 10)).Int64N(1<<31-1_000_000)
}

func (m *Maker) time(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return t.Add(m.shift)
}

func (m *Maker) optionalTime(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	moved := m.time(*t)
	return &moved
}

// chance returns numbers that follow from the key, the kind of value and the
// value, and tell nothing of them.
func (m *Maker) chance(kind, value string) *rand.Rand {
	mac := hmac.New(sha256.New, m.key[:])
	mac.Write([]byte(kind))
	mac.Write([]byte{0})
	mac.Write([]byte(value))
	return rand.New(rand.NewChaCha8([32]byte(mac.Sum(nil))))
}

// each returns what becomes of the members of a list; no list stays none.
func each[T any](list []T, of func(T) T) []T {
	if list == nil {
		return nil
	}
	out := make([]T, len(list))
	for i := range list {
		out[i] = of(list[i])
	}
	return out
}
