// Package closer writes webhooks as Closer sends them: a conversation that began
// is a ThreadCreatedEvent, one that was closed is a ThreadClosedEvent with all
// that was said in it. There is a word for nothing else.
//
// Field by field it follows Closer's public documentation, with its examples
// repaired where they are no JSON. Where that says nothing, this package does:
// what is unknown is null, what is none is an empty list, and no value ever has
// another type than in the documentation.
package closer

import (
	"embed"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"verbatim/domain"
	"verbatim/domain/conversation"
	"verbatim/webhooks"
	"verbatim/webhooks/shape"
)

// Name is the dialect and the version of its bytes.
const Name = "closer@1"

// The events of the format. They stand in the body as eventType.
const (
	ThreadCreated = "ThreadCreatedEvent"
	ThreadClosed  = "ThreadClosedEvent"
)

// frame is what a body commonly has beside its messages, in bytes: room is made
// for both at once. A body with more is no worse than slower.
const frame = 2 << 10

// Dialect writes closer@1.
type Dialect struct{ vocabulary []webhooks.EventType }

// New returns the dialect.
func New() *Dialect { return &Dialect{vocabulary()} }

// Name returns "closer@1".
func (*Dialect) Name() string { return Name }

// Vocabulary returns the two events of the format.
func (d *Dialect) Vocabulary() []webhooks.EventType { return d.vocabulary }

//go:embed guide.md
var guide string

// Guide tells what an integrator should know.
func (*Dialect) Guide() string { return guide }

// samples are Closer's own, repaired where they are no JSON. Ours are the same.
//
//go:embed samples/Thread*.json
var samples embed.FS

func vocabulary() []webhooks.EventType {
	customer := shape.Has("customer", shape.Struct("The customer.",
		shape.Has("id", shape.Formatted("uuid", "Id.")),
		shape.Has("apiKey", shape.Formatted("uuid", "Stands for the key of a session; opens nothing.")),
		shape.Has("firstName", shape.Text("First name.").OrNull()),
		shape.Has("lastName", shape.Text("Last name.").OrNull()),
		shape.Has("randomName", shape.Text("Name of somebody who has not given theirs.")),
		shape.Has("backOfficeData", shape.List("What is known of the visit and of the customer.", shape.Struct("",
			shape.Has("key", shape.Text("Name.")),
			shape.Has("value", shape.Text("Value, always as text.")),
		))),
		shape.Has("email", shape.Text("E-mail address.").OrNull()),
		shape.Has("phone", shape.Text("Phone number.").OrNull()),
	))
	timestamp := shape.Has("timestamp", shape.Int("When it happened, in milliseconds since 1970."))
	assignee := shape.Struct("Who had the conversation.",
		shape.Has("id", shape.Formatted("uuid", "Id.")),
		shape.Has("firstName", shape.Text("First name.").OrNull()),
		shape.Has("lastName", shape.Text("Last name.").OrNull()),
		shape.Has("email", shape.Text("E-mail address.").OrNull()),
		shape.Has("isBot", shape.Bool("Is no human.")),
	)
	message := shape.Struct("",
		shape.Has("author", shape.Struct("Who wrote it.",
			shape.Has("id", shape.Formatted("uuid", "Id.")),
			shape.Has("role", shape.OneOfTexts("Customer, or anybody else.", roleCustomer, roleAdviser)),
			shape.Has("email", shape.Text("E-mail address.").OrNull()),
			shape.Has("phone", shape.Text("Phone number.").OrNull()),
		)),
		shape.Has("message", shape.Text("What it says.")),
		shape.Has("timestamp", shape.Int("When it was posted, in milliseconds since 1970.")),
	)
	event := func(name, fact, about string, own ...shape.Member) webhooks.EventType {
		sample, _ := samples.ReadFile("samples/" + name + ".json") // a test says which is missing
		body := shape.Struct("", customer, timestamp).With(own...).
			With(shape.Has("eventType", shape.OneOfTexts("Name of the event.", name)))
		return webhooks.EventType{
			Word: webhooks.Word{Name: name}, Facts: []string{fact}, About: about, Body: body, Sample: sample,
		}
	}
	return []webhooks.EventType{
		event(ThreadCreated, "conversation.created", "A conversation begins."),
		event(ThreadClosed, "conversation.closed", "A conversation is closed.",
			shape.Has("closedType", shape.Text("Why, in a word: `solved`, unless another was given.")),
			shape.Has("assignee", assignee.OrNull()),
			shape.Has("messageHistory", shape.List("All that was said, oldest first.", message))),
	}
}

// Words returns the format's name for e, if it has one.
func (*Dialect) Words(e domain.Event) []webhooks.Word {
	switch e.(type) {
	case conversation.Created:
		return []webhooks.Word{{Name: ThreadCreated}}
	case conversation.Closed:
		return []webhooks.Word{{Name: ThreadClosed}}
	default:
		return nil
	}
}

// AppendBody appends the body of one event. The format has the whole history or
// none, so that the endpoint's wish for less is not heeded.
func (*Dialect) AppendBody(dst []byte, p *webhooks.PublicEvent) ([]byte, error) {
	f, h := p.Fact, p.History
	if h == nil {
		return dst, fmt.Errorf("%s: position %d: no conversation", Name, f.Position)
	}
	c := &h.Conversation
	var items webhooks.Items
	if _, ok := f.Event.(conversation.Closed); ok {
		items = h.Items(&webhooks.Fragment{Key: Name, Separator: ",", Append: appendMessage}, -1, 0)
	}
	dst = slices.Grow(dst, frame+len(items.Bytes))
	dst = append(dst, `{"customer":`...)
	dst = appendCustomer(dst, f.Account, c)
	dst = append(dst, `,"timestamp":`...)
	dst = strconv.AppendInt(dst, f.Time.UnixMilli(), 10)
	switch e := f.Event.(type) {
	case conversation.Created:
	case conversation.Closed:
		dst = append(dst, `,"closedType":`...)
		dst = webhooks.AppendString(dst, or(e.ClosedType, conversation.DefaultClosedType))
		dst = append(dst, `,"assignee":`...)
		dst = appendAssignee(dst, c.Assignee)
		dst = append(dst, `,"messageHistory":[`...)
		dst = append(dst, items.Bytes...)
		dst = append(dst, ']')
	default:
		return dst, fmt.Errorf("%s: position %d: no word for %s", Name, f.Position, f.Type)
	}
	dst = append(dst, `,"eventType":`...)
	dst = webhooks.AppendString(dst, p.Name)
	return append(dst, '}'), nil
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

func appendCustomer(dst []byte, account string, c *webhooks.Conversation) []byte {
	p := &c.Customer
	given := p.Attributes.Object("closer")
	dst = append(dst, `{"id":`...)
	dst = webhooks.AppendString(dst, webhooks.AsUUID(p.ID))
	dst = append(dst, `,"apiKey":`...)
	dst = webhooks.AppendString(dst, webhooks.AsUUID(or(given.String("apiKey"), apiKey(account, p.ID))))
	dst = append(dst, `,"firstName":`...)
	dst = webhooks.AppendOptional(dst, p.FirstName)
	dst = append(dst, `,"lastName":`...)
	dst = webhooks.AppendOptional(dst, p.LastName)
	dst = append(dst, `,"randomName":`...)
	dst = webhooks.AppendString(dst, or(given.String("randomName"), randomName(p.ID)))
	dst = append(dst, `,"backOfficeData":`...)
	dst = appendBackOffice(dst, c.Attributes, p.Attributes)
	dst = append(dst, `,"email":`...)
	dst = webhooks.AppendOptional(dst, p.Email)
	dst = append(dst, `,"phone":`...)
	dst = webhooks.AppendOptional(dst, p.Phone)
	return append(dst, '}')
}

// appendBackOffice appends what is known of the visit and of the customer as
// Closer's list of keys and strings, in the order given, a key that is known of
// both once.
func appendBackOffice(dst []byte, visit, customer domain.Attributes) []byte {
	dst = append(dst, '[')
	seen := make(map[string]bool, len(visit)+len(customer))
	for _, attributes := range [...]domain.Attributes{visit, customer} {
		for _, at := range webhooks.OpenAttributes(attributes) {
			key := camelCase(at.Key)
			if seen[key] || len(at.Value) == 0 || string(at.Value) == "null" {
				continue
			}
			if len(seen) > 0 {
				dst = append(dst, ',')
			}
			seen[key] = true
			dst = append(dst, `{"key":`...)
			dst = webhooks.AppendString(dst, key)
			dst = append(dst, `,"value":`...)
			dst = appendText(dst, at.Value)
			dst = append(dst, '}')
		}
	}
	return append(dst, ']')
}

// camelCase returns the well-known attributes as Closer's widget spells them,
// and all others as they are: they are somebody's own.
func camelCase(key string) string {
	switch key {
	case "current_page", "current_page_title", "screen_size", "browser_name", "browser_version", "operating_system",
		"platform_version", "device_name", "user_agent", "referer", "language", "ip", "initiated_at":
	default:
		return key
	}
	words := strings.Split(key, "_")
	for i, w := range words[1:] {
		words[i+1] = strings.ToUpper(w[:1]) + w[1:]
	}
	return strings.Join(words, "")
}

// appendText appends a JSON value as a string: a string as it is, anything else
// as its JSON text.
func appendText(dst []byte, value json.RawMessage) []byte {
	if len(value) > 0 && value[0] == '"' {
		return webhooks.AppendRaw(dst, value)
	}
	return webhooks.AppendString(dst, string(value))
}

func appendAssignee(dst []byte, p *domain.Person) []byte {
	if p == nil {
		return append(dst, "null"...)
	}
	dst = append(dst, `{"id":`...)
	dst = webhooks.AppendString(dst, webhooks.AsUUID(p.ID))
	dst = append(dst, `,"firstName":`...)
	dst = webhooks.AppendOptional(dst, p.FirstName)
	dst = append(dst, `,"lastName":`...)
	dst = webhooks.AppendOptional(dst, p.LastName)
	dst = append(dst, `,"email":`...)
	dst = webhooks.AppendOptional(dst, p.Email)
	dst = append(dst, `,"isBot":`...)
	dst = strconv.AppendBool(dst, p.IsBot)
	return append(dst, '}')
}

// The roles of an author. Agents, bots and the system are all advisers: a third
// role would break receivers that know two.
const (
	roleCustomer = "CUSTOMER"
	roleAdviser  = "ADVISER"
)

// appendMessage appends one message of the history. Private notes and deleted
// messages have no place in the format. A file is its URL on a line of its own,
// for the format has only text.
func appendMessage(dst []byte, m *webhooks.Message) []byte {
	if m.Private || m.DeletedAt != nil {
		return dst
	}
	role := roleAdviser
	if m.Author.Role == domain.Customer {
		role = roleCustomer
	}
	dst = append(dst, `{"author":{"id":`...)
	dst = webhooks.AppendString(dst, webhooks.AsUUID(m.Author.ID))
	dst = append(dst, `,"role":"`...)
	dst = append(dst, role...)
	dst = append(dst, `","email":`...)
	dst = webhooks.AppendOptional(dst, m.Author.Email)
	dst = append(dst, `,"phone":`...)
	dst = webhooks.AppendOptional(dst, m.Author.Phone)
	dst = append(dst, `},"message":`...)
	dst = webhooks.AppendString(dst, plainText(m))
	dst = append(dst, `,"timestamp":`...)
	dst = strconv.AppendInt(dst, m.CreatedAt.UnixMilli(), 10)
	return append(dst, '}')
}

func plainText(m *webhooks.Message) string {
	if len(m.Attachments) == 0 {
		return m.Text
	}
	lines := make([]string, 0, len(m.Attachments)+1)
	if m.Text != "" {
		lines = append(lines, m.Text)
	}
	for i := range m.Attachments {
		lines = append(lines, m.Attachments[i].URL)
	}
	return strings.Join(lines, "\n")
}

// apiKey returns a stable value in place of the key of a Closer session, which
// opens nothing: a UUIDv5 of the account and the customer. The namespace is ours
// and part of every body; it can never change.
func apiKey(account, customer string) string {
	namespace := uuid.UUID{0xb1, 0x2f, 0x7d, 0x43, 0x9c, 0x0e, 0x4d, 0x18, 0xa6, 0x3a, 0x55, 0xe1, 0x08, 0xc2, 0x7b, 0x90}
	return uuid.NewSHA1(namespace, []byte(account+"\x00"+customer)).String()
}
