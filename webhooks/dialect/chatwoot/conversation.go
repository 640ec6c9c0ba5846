package chatwoot

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"verbatim/domain"
	"verbatim/domain/contact"
	"verbatim/domain/conversation"
	"verbatim/webhooks"
)

// A scene is a conversation with what its body says of it several times.
type scene struct {
	h        *webhooks.History
	c        *webhooks.Conversation
	given    domain.Attributes // under attributes.chatwoot
	open     domain.Attributes
	customer party
	assigned bool
	assignee party // if assigned
	inbox    contactInbox
	room     room
}

// A room is what the messages of a conversation say of it: the same in all of
// them.
type room struct {
	account, inbox, conversation int64
	web                          bool // it began in a web widget
}

const webWidget = "Channel::WebWidget"

func newScene(h *webhooks.History) scene {
	c := &h.Conversation
	s := scene{
		h: h, c: c,
		given:    objectIn(c.Attributes, format),
		open:     webhooks.OpenAttributes(c.Attributes),
		customer: newParty(&c.Customer),
	}
	if c.Assignee != nil {
		s.assigned, s.assignee = true, newParty(c.Assignee)
	}
	s.inbox = newContactInbox(c.Account.ID, c.Inbox.ID, c.Customer.ID, givenContactInbox(s.given, s.customer.given))
	s.room = room{
		account: orOne(c.Account.Number), inbox: orOne(c.Inbox.Number),
		conversation: givenID(s.given, c.Number), web: channelOf(c) == webWidget,
	}
	return s
}

// channelOf returns what Chatwoot calls the channel of a conversation.
func channelOf(c *webhooks.Conversation) string {
	channel := c.Channel
	if channel == "" {
		channel = c.Inbox.Channel
	}
	if strings.HasPrefix(channel, "Channel::") {
		return channel
	}
	switch channel {
	case "web":
		return webWidget
	case "email":
		return "Channel::Email"
	case "whatsapp":
		return "Channel::Whatsapp"
	case "facebook":
		return "Channel::FacebookPage"
	case "instagram":
		return "Channel::Instagram"
	case "telegram":
		return "Channel::Telegram"
	case "line":
		return "Channel::Line"
	case "sms":
		return "Channel::Sms"
	case "twilio":
		return "Channel::TwilioSms"
	case "twitter":
		return "Channel::TwitterProfile"
	case "tiktok":
		return "Channel::Tiktok"
	case "voice":
		return "Channel::Voice"
	default:
		return "Channel::Api"
	}
}

// resolved is what a conversation that was closed is to Chatwoot.
const resolved = "resolved"

func statusOf(s conversation.Status) string {
	switch s {
	case conversation.Pending, conversation.Snoozed:
		return string(s)
	case conversation.Resolved, conversation.StatusEnded:
		return resolved
	default:
		return string(conversation.Open)
	}
}

// appendConversation appends the members of a conversation. Of its messages, m
// stands in it: never more, or receivers would take the oldest for the news.
func appendConversation(dst []byte, s *scene, m *webhooks.Message) []byte {
	c, a := s.c, &s.h.Attention
	dst = append(dst, `"additional_attributes":`...)
	dst = s.appendAdditional(dst, s.open, c.Subject)
	dst = append(dst, `,"can_reply":`...)
	dst = strconv.AppendBool(dst, givenBool(s.given, "can_reply", c.Status != conversation.StatusEnded))
	dst = append(dst, `,"channel":`...)
	dst = webhooks.AppendStringHTML(dst, channelOf(c))
	dst = append(dst, `,"contact_inbox":`...)
	dst = appendContactInbox(dst, s)
	dst = append(dst, `,"id":`...)
	dst = strconv.AppendInt(dst, s.room.conversation, 10)
	dst = append(dst, `,"inbox_id":`...)
	dst = strconv.AppendInt(dst, s.room.inbox, 10)
	dst = append(dst, `,"messages":[`...)
	if m != nil {
		dst = appendInnerMessage(dst, &s.room, s, m)
	}
	dst = append(dst, `],"labels":`...)
	dst = appendTexts(dst, c.Labels)
	dst = append(dst, `,"meta":`...)
	dst = appendMeta(dst, s)
	dst = append(dst, `,"status":"`...)
	dst = append(dst, statusOf(c.Status)...)
	dst = append(dst, `","custom_attributes":`...)
	dst = s.appendCustom(dst, s.open)
	dst = append(dst, `,"snoozed_until":`...)
	dst = appendMoment(dst, c.SnoozedUntil)
	dst = append(dst, `,"unread_count":`...)
	dst = strconv.AppendInt(dst, unread(a), 10)
	dst = append(dst, `,"first_reply_created_at":`...)
	dst = appendMoment(dst, &a.FirstReplyAt)
	dst = append(dst, `,"priority":`...)
	dst = appendPriority(dst, c.Priority)
	dst = append(dst, `,"waiting_since":`...)
	waiting := a.WaitingSince
	if statusOf(c.Status) == resolved {
		waiting = time.Time{} // resolving ends it
	}
	dst = appendUnix(dst, waiting)
	dst = append(dst, `,"agent_last_seen_at":`...)
	dst = appendUnix(dst, a.AgentSeenAt)
	dst = append(dst, `,"contact_last_seen_at":`...)
	dst = appendUnix(dst, a.CustomerSeenAt)
	dst = append(dst, `,"last_activity_at":`...)
	dst = appendUnix(dst, a.ActiveAt)
	dst = append(dst, `,"timestamp":`...)
	dst = appendUnix(dst, a.ActiveAt)
	dst = append(dst, `,"created_at":`...)
	dst = appendUnix(dst, c.CreatedAt)
	dst = append(dst, `,"updated_at":`...)
	dst = appendFloat(dst, a.ChangedAt)
	dst = append(dst, `,"account":`...)
	return appendNumbered(dst, c.Account.Number, c.Account.Name)
}

// inCharge returns the assignee, or nil if there is none.
func (s *scene) inCharge() *party {
	if !s.assigned {
		return nil
	}
	return &s.assignee
}

func appendMeta(dst []byte, s *scene) []byte {
	dst = append(dst, `{"sender":`...)
	dst = appendInnerContact(dst, &s.customer)
	switch {
	case !s.assigned:
		dst = append(dst, `,"assignee":null,"assignee_type":null`...)
	case s.assignee.isBot():
		dst = append(dst, `,"assignee":`...)
		dst = appendAgent(dst, &s.assignee)
		dst = append(dst, `,"assignee_type":"AgentBot"`...)
	default:
		dst = append(dst, `,"assignee":`...)
		dst = appendAgent(dst, &s.assignee)
		dst = append(dst, `,"assignee_type":"User"`...)
	}
	dst = append(dst, `,"team":`...)
	if t := s.c.Team; t != nil {
		dst = appendNumbered(dst, or(t.Number, t.ID), t.Name)
	} else {
		dst = append(dst, "null"...)
	}
	dst = append(dst, `,"hmac_verified":`...)
	dst = strconv.AppendBool(dst, s.inbox.hmacVerified)
	return append(dst, '}')
}

// appendAssigneeID appends the id of the user in charge, or null: bots have a
// column of their own.
func appendAssigneeID(dst []byte, p *party) []byte {
	if p == nil || p.isBot() {
		return append(dst, "null"...)
	}
	return strconv.AppendInt(dst, p.number, 10)
}

func appendTexts(dst []byte, texts []string) []byte {
	dst = append(dst, '[')
	for i, t := range texts {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = webhooks.AppendStringHTML(dst, t)
	}
	return append(dst, ']')
}

func appendPriority(dst []byte, p conversation.Priority) []byte {
	switch p {
	case conversation.Low, conversation.Medium, conversation.High, conversation.Urgent:
		dst = append(dst, '"')
		dst = append(dst, p...)
		return append(dst, '"')
	default:
		return append(dst, "null"...)
	}
}

// unread returns how many of the customer's messages nobody has read: Chatwoot
// counts no further than 10.
func unread(a *webhooks.Attention) int64 {
	const most = 10
	return int64(min(len(a.Unread), most))
}

// appendMoment appends a time as a string with milliseconds, or null.
func appendMoment(dst []byte, t *time.Time) []byte {
	if t == nil || t.IsZero() {
		return append(dst, "null"...)
	}
	return webhooks.AppendMillis(dst, *t)
}

// appendUnix appends a time in seconds, or 0 if it has not come.
func appendUnix(dst []byte, t time.Time) []byte {
	if t.IsZero() {
		return append(dst, '0')
	}
	return strconv.AppendInt(dst, t.Unix(), 10)
}

// appendFloat appends a time in seconds with microseconds as Float#to_s of Ruby
// does: as few decimals as tell the number from all others, and at least one.
func appendFloat(dst []byte, t time.Time) []byte {
	if t.IsZero() {
		return append(dst, "0.0"...)
	}
	return appendDecimal(dst, float64(t.UnixMicro())/1e6)
}

func appendDecimal(dst []byte, f float64) []byte {
	at := len(dst)
	dst = strconv.AppendFloat(dst, f, 'f', -1, 64)
	if !bytes.ContainsRune(dst[at:], '.') {
		dst = append(dst, ".0"...)
	}
	return dst
}

// appendAdditional appends what Chatwoot keeps of how a conversation began: the
// object that was given, or what a web widget told, and the subject.
func (s *scene) appendAdditional(dst []byte, open domain.Attributes, subject string) []byte {
	given := objectIn(s.given, "additional_attributes")
	switch {
	case given != nil:
		dst = appendObject(dst, given)
	case s.room.web && known(open):
		dst = append(dst, `{"browser":{"device_name":`...)
		dst = appendText(dst, textOf(open, "device_name"), unknownName)
		dst = append(dst, `,"browser_name":`...)
		dst = appendText(dst, textOf(open, "browser_name"), unknownName)
		dst = append(dst, `,"platform_name":`...)
		dst = appendText(dst, textOf(open, "operating_system"), unknownName)
		dst = append(dst, `,"browser_version":`...)
		dst = appendText(dst, textOf(open, "browser_version"), unknownVersion)
		dst = append(dst, `,"platform_version":`...)
		dst = appendText(dst, textOf(open, "platform_version"), unknownVersion)
		dst = append(dst, `},"referer":`...)
		dst = appendText(dst, referer(open), null)
		dst = append(dst, `,"initiated_at":{"timestamp":`...)
		dst = appendDate(dst, textIn(open, "initiated_at"), s.c.CreatedAt)
		dst = append(dst, `},"browser_language":`...)
		dst = appendText(dst, textOf(open, "language"), null)
		dst = append(dst, '}')
	default:
		dst = append(dst, "{}"...)
	}
	const key = "mail_subject"
	if subject == "" || given.Get(key) != nil {
		return dst
	}
	dst = dst[:len(dst)-1]
	if dst[len(dst)-1] != '{' {
		dst = append(dst, ',')
	}
	dst = append(dst, `"`+key+`":`...)
	return append(webhooks.AppendStringHTML(dst, subject), '}')
}

// What Chatwoot says of a browser that it does not recognise, and of anything
// else that is not known, as JSON.
const (
	unknownName    = `"Unknown"`
	unknownVersion = `"0"`
	null           = "null"
)

// told reports whether a web widget of Chatwoot tells the attribute. It calls the
// page that it is on the referer.
func told(open domain.Attributes, key string) bool {
	switch key {
	case "device_name", "browser_name", "operating_system", "browser_version", "platform_version",
		"referer", "initiated_at", "language":
		return true
	case "current_page":
		return textOf(open, "referer") == nil
	default:
		return false
	}
}

func known(open domain.Attributes) bool {
	for i := range open {
		if told(open, open[i].Key) {
			return true
		}
	}
	return false
}

func referer(open domain.Attributes) json.RawMessage {
	if url := textOf(open, "referer"); url != nil {
		return url
	}
	return textOf(open, "current_page")
}

// appendCustom appends the attributes for which Chatwoot has no place of its own.
func (s *scene) appendCustom(dst []byte, open domain.Attributes) []byte {
	dst = append(dst, '{')
	for i := range open {
		if !s.room.web || !told(open, open[i].Key) {
			dst = appendMember(dst, open[i].Key, open[i].Value)
		}
	}
	return append(dst, '}')
}

// textOf returns the value of key as a JSON string: a string as it is, anything
// else as its JSON text. Null and "" are as good as nothing, which is nil.
func textOf(a domain.Attributes, key string) json.RawMessage {
	v := a.Get(key)
	switch {
	case len(v) == 0, string(v) == "null", string(v) == `""`:
		return nil
	case v[0] == '"':
		return v
	default:
		return webhooks.AppendStringHTML(nil, string(v))
	}
}

// appendText appends what textOf returned, or something else for nothing.
func appendText(dst []byte, text json.RawMessage, otherwise string) []byte {
	if text == nil {
		return append(dst, otherwise...)
	}
	return webhooks.AppendRawHTML(dst, text)
}

// jsDate is how a Date of JavaScript is written (ECMA-262, 21.4.4.41), without
// the name of the time zone.
const jsDate = "Mon Jan 02 2006 15:04:05 GMT-0700"

// appendDate appends a time as a Date of JavaScript is written. One that was
// given as that stays as it is; one in RFC 3339 is written in UTC.
func appendDate(dst []byte, given string, otherwise time.Time) []byte {
	at := otherwise
	date, zone, ok := strings.Cut(given, " (")
	switch {
	case given == "":
	case !ok:
		if t, err := time.Parse(time.RFC3339, given); err == nil {
			at = t
		}
	case strings.HasSuffix(zone, ")"):
		if t, err := time.Parse(jsDate, date); err == nil && t.Format(jsDate) == date {
			return webhooks.AppendStringHTML(dst, given)
		}
	}
	dst = at.UTC().AppendFormat(append(dst, '"'), jsDate)
	return append(dst, ` (Coordinated Universal Time)"`...)
}

// appendTranscript appends a conversation that was closed with all its messages:
// what Chatwoot never sends, in its style. The revision counts how often it has
// been closed.
func appendTranscript(dst []byte, s *scene, notes bool) []byte {
	items := s.h.Items(s.room.transcript(notes), -1, 0)
	dst = append(dst, '{')
	dst = appendConversation(dst, s, s.h.LastPublic())
	dst = append(dst, `,"transcript":[`...)
	dst = append(dst, items.Bytes...)
	dst = append(dst, `],"revision":`...)
	dst = strconv.AppendInt(dst, int64(s.h.Closings), 10)
	return appendEvent(dst, ConversationTranscript)
}

// appendWidget appends that a contact opened the widget, with the conversation
// that they were in.
func appendWidget(dst []byte, c *webhooks.Contact, who *party, e *contact.WidgetTriggered, at time.Time) []byte {
	row := newContactInbox(c.Account.ID, e.Inbox.ID, who.ID, objectIn(who.given, "contact_inbox"))
	dst = append(dst, `"id":`...)
	dst = strconv.AppendInt(dst, row.id, 10)
	dst = append(dst, `,"contact":{`...)
	dst = appendPlainContact(dst, who, &c.Account)
	dst = append(dst, `},"inbox":`...)
	dst = appendNumbered(dst, e.Inbox.Number, e.Inbox.Name)
	dst = append(dst, `,"account":`...)
	dst = appendNumbered(dst, c.Account.Number, c.Account.Name)
	dst = append(dst, `,"current_conversation":`...)
	dst = appendSnapshot(dst, e.CurrentConversation)
	dst = append(dst, `,"source_id":`...)
	dst = webhooks.AppendStringHTML(dst, row.sourceID)
	dst = appendEvent(dst, WebwidgetTriggered)
	dst = append(dst, `,"event_info":{"initiated_at":{"timestamp":`...)
	open := e.Attributes
	dst = appendDate(dst, textIn(open, "initiated_at"), at)
	dst = append(dst, `},"referer":`...)
	dst = appendText(dst, referer(open), null)
	dst = append(dst, `,"widget_language":`...)
	language := textOf(open, "language")
	widget := textOf(open, "widget_language")
	if widget == nil {
		widget = language
	}
	dst = appendText(dst, widget, null)
	dst = append(dst, `,"browser_language":`...)
	dst = appendText(dst, language, null)
	dst = append(dst, `,"browser":{"browser_name":`...)
	dst = appendText(dst, textOf(open, "browser_name"), unknownName)
	dst = append(dst, `,"browser_version":`...)
	dst = appendText(dst, textOf(open, "browser_version"), unknownVersion)
	dst = append(dst, `,"device_name":`...)
	dst = appendText(dst, textOf(open, "device_name"), unknownName)
	dst = append(dst, `,"platform_name":`...)
	dst = appendText(dst, textOf(open, "operating_system"), unknownName)
	dst = append(dst, `,"platform_version":`...)
	dst = appendText(dst, textOf(open, "platform_version"), unknownVersion)
	return append(dst, `}}`...)
}

// appendSnapshot appends a conversation of which another stream tells, or null if
// there is none or it cannot be read.
func appendSnapshot(dst []byte, snapshot json.RawMessage) []byte {
	var current webhooks.Snapshot
	if len(snapshot) == 0 || json.Unmarshal(snapshot, &current) != nil || current.Conversation.Version == 0 {
		return append(dst, "null"...)
	}
	h := current.History()
	s := newScene(h)
	dst = appendConversation(append(dst, '{'), &s, h.LastPublic())
	return append(dst, '}')
}
