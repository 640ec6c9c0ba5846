package clarityflow

import (
	"cmp"
	"encoding/json"
	"strconv"
	"time"

	"verbatim/domain"
	"verbatim/webhooks"
)

// defaultHost is where conversations are found unless another is given.
const defaultHost = "clarityflow.com"

// A place is what a conversation is known and found by. It is settled with the
// conversation's first event and never changes after it, whatever becomes of
// subject and attributes: receivers find a conversation by the slug in its URLs,
// and what was written of a message may stay as it is.
type place struct {
	id          int64
	title, slug string
	account     string
	host        string
	createdAt   time.Time
}

// placeOf returns the place of a conversation of that account.
func placeOf(h *webhooks.History, account string) place {
	c, opened := &h.Conversation, &h.Opened
	own := given(opened.Attributes)
	p := place{
		id:        wholeOr(own, "id", c.Number),
		title:     cmp.Or(own.String("title"), opened.Subject),
		slug:      own.String("slug"),
		account:   own.String("account"),
		host:      own.String("host"),
		createdAt: timeOr(own, "created_at", c.CreatedAt),
	}
	if p.title == "" {
		p.title = defaultTitle(p.createdAt)
	}
	if !standsInURL(p.slug) {
		p.slug = slugOf(p.title, c)
	}
	if !standsInURL(p.account) {
		id := cmp.Or(opened.Account.ID, account)
		p.account = cmp.Or(parameterised(opened.Account.Name), parameterised(id))
		if p.account == "" {
			p.account = digits(id)
		}
	}
	if !standsInURL(p.host) {
		p.host = defaultHost
	}
	return p
}

// defaultTitle is the title of a conversation without a subject, "April 1st,
// 2022 Conversation".
func defaultTitle(t time.Time) string {
	t = t.UTC()
	day, ordinal := t.Day(), "th"
	if day/10 != 1 { // the 11th to the 13th are as regular as the rest
		switch day % 10 {
		case 1:
			ordinal = "st"
		case 2:
			ordinal = "nd"
		case 3:
			ordinal = "rd"
		}
	}
	return t.Format("January 2") + ordinal + t.Format(", 2006 Conversation")
}

// slugOf returns the slug of a conversation with that title: the title and the
// number, by which it is the only one, or hexadecimal digits if nothing of the
// title can stand there.
func slugOf(title string, c *webhooks.Conversation) string {
	var room [96]byte
	slug := appendParameterised(room[:0], title)
	if len(slug) == 0 {
		return digits(c.ID)
	}
	return string(strconv.AppendInt(slug, c.Number, 10))
}

// appendPage appends the URL of the conversation. What it is made of needs no
// escape.
func (p *place) appendPage(dst []byte) []byte {
	dst = p.appendOrigin(dst)
	dst = append(dst, `/c/`...)
	return append(dst, p.slug...)
}

func (p *place) appendOrigin(dst []byte) []byte {
	dst = append(dst, `http://`...)
	dst = append(dst, p.account...)
	dst = append(dst, '.')
	return append(dst, p.host...)
}

// appendConversation appends the conversation with its messages, ready to stand
// in an array, as an object that is not yet closed. What the place does not
// settle is as of the event.
func (p *place) appendConversation(dst []byte, h *webhooks.History, messages []byte) []byte {
	own := given(h.Conversation.Attributes)
	dst = append(dst, `{"id":`...)
	dst = strconv.AppendInt(dst, p.id, 10)
	dst = append(dst, `,"created_at":`...)
	dst = appendSlipped(dst, p.createdAt)
	dst = append(dst, `,"title":`...)
	dst = webhooks.AppendStringHTML(dst, p.title)
	dst = append(dst, `,"slug":"`...)
	dst = append(dst, p.slug...)
	dst = append(dst, `","url":"`...)
	dst = p.appendPage(dst)
	dst = append(dst, `","embed_url":"`...)
	dst = p.appendOrigin(dst)
	dst = append(dst, `/embeds/conversations/`...)
	dst = append(dst, p.account...)
	dst = append(dst, '/')
	dst = append(dst, p.slug...)
	dst = append(dst, '"')
	for _, setting := range [...]struct {
		name     string
		standard bool
	}{
		{"public", true},
		{"anyone_can_post", true},
		{"allow_anonymous_messages", true},
		{"allow_search_engines", false},
		{"enable_registration_prompt", true},
	} {
		dst = append(dst, `,"`...)
		dst = append(dst, setting.name...)
		dst = append(dst, `":`...)
		switch v := own.Get(setting.name); string(v) {
		case "true", "false":
			dst = append(dst, v...)
		default:
			dst = strconv.AppendBool(dst, setting.standard)
		}
	}
	dst = append(dst, `,"subscriber_emails":`...)
	dst = appendSubscribers(dst, own)
	dst = append(dst, `,"messages":[`...)
	dst = append(dst, messages...)
	return append(dst, `],"workflow":{}`...)
}

func appendSubscribers(dst []byte, own domain.Attributes) []byte {
	var emails []string
	if json.Unmarshal(own.Get("subscriber_emails"), &emails) != nil {
		emails = nil // what is no list of strings is as good as none
	}
	dst = append(dst, '[')
	for i, email := range emails {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = webhooks.AppendStringHTML(dst, email)
	}
	return append(dst, ']')
}

// messages returns the messages of the transcript. Those that have no event of
// their own have no place in it either, nor have those that were deleted. The
// URLs of a message need its conversation; as the place never changes, what was
// once written of a message can stay.
func (p *place) messages(h *webhooks.History) []byte {
	here := *p // kept for as long as the history
	fragment := webhooks.Fragment{Key: Name, Separator: ",", Append: func(dst []byte, m *webhooks.Message) []byte {
		if m.Private || m.DeletedAt != nil || m.Author.Role == domain.System {
			return dst
		}
		return here.appendMessage(dst, m)
	}}
	return h.Items(&fragment, -1, 0).Bytes
}
