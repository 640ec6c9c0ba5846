package verbatim

import (
	"embed"
	"strings"

	"verbatim/domain"
	"verbatim/domain/conversation"
	"verbatim/domain/endpoint"
	"verbatim/webhooks"
	"verbatim/webhooks/shape"
)

// golden has a body of every event, as it was once rendered.
//
//go:embed golden/*.json
var golden embed.FS

// vocabulary describes every event, in the order in which a conversation, then a
// contact and then an endpoint come by them.
func vocabulary() []webhooks.EventType {
	var types []webhooks.EventType
	for _, d := range descriptions() {
		sample, _ := golden.ReadFile("golden/" + d.name + ".json") // a test says which is missing
		types = append(types, webhooks.EventType{
			Word: webhooks.Word{Name: d.name, OptIn: d.name == Transcript || d.of == anEndpoint}, Facts: []string{d.fact}, About: d.about,
			Body: shape.Struct("",
				shape.Has("type", shape.OneOfTexts("Name of the event.", d.name)),
				shape.Has("timestamp", moment("When it happened, to the millisecond.")),
				shape.Has("data", d.data()),
			),
			Sample: sample,
		})
	}
	return types
}

// Data returns the shape of what AppendData appends for an event of that name.
// It panics if there is none: that is a fault of the program.
func Data(name string) shape.Shape {
	for _, d := range descriptions() {
		if d.name == name {
			return d.data()
		}
	}
	panic("verbatim: there is no event " + name)
}

// A description is an event as it is documented.
type description struct {
	name, fact, about string
	of                subject
	change            []shape.Member // of the fact's own, in change
}

// subject is what an event is about.
type subject int

const (
	aConversation subject = iota
	aContact
	anEndpoint
)

func (d *description) data() shape.Shape {
	change := shape.Struct("What the event changed.",
		shape.Has("event_id", shape.Formatted("uuid", "Id of the recorded event.")),
		shape.Has("position", shape.Int("Its place in the whole log.")),
		shape.Has("version", shape.Int("Its place in the stream of the conversation, contact or endpoint.")),
		shape.Has("previous_version", shape.Int("The place before it; 0 before the first.")),
		shape.Has("actor", shape.Text(`Who acted: "key:<id>", "system:<part>".`).OrNull()),
	).With(d.change...)
	switch d.of {
	case aContact:
		return shape.Struct("",
			shape.Has("contact", contactShape()),
			shape.Has("change", change),
		)
	case anEndpoint:
		return shape.Struct("",
			shape.Has("endpoint", endpointShape()),
			shape.Has("change", change),
		)
	case aConversation:
	}
	data := shape.Struct("",
		shape.Has("conversation", conversationShape("The conversation as of the event.")),
		shape.Has("change", change),
		shape.Has("history", historyShape()),
	)
	if d.name == Transcript {
		data = data.With(shape.Has("revision", shape.Int("How often the conversation has been closed, this time included.")))
	}
	return data
}

func descriptions() []description {
	by, someBy := shape.Has("by", person("Who did it.")), shape.May("by", person("Who did it."))
	author := shape.Has("author", person("Who is typing."))
	note := shape.May("private", shape.Bool("In a private note."))
	message := shape.Has("message", messageShape("The message as it is now; null if there is none with that id.").OrNull())
	messageID := shape.Has("message_id", shape.Text("Id of the message."))
	wasNote := shape.May("private", shape.Bool("The message is a private note."))
	closing := []shape.Member{
		shape.May("from", status("Where it stood before")),
		shape.Has("closed_type", shape.Text("Why, in a word of the caller's; `solved` if they gave none.")),
		someBy,
	}
	changes := shape.Has("changes", shape.List("What is different now.", shape.Struct("",
		shape.Has("key", shape.Text("Name of the value; `attributes.KEY` for one of the open attributes.")),
		shape.Has("previous", anything("The value before; null if there was none.")),
		shape.Has("current", anything("The value now; null if there is none.")),
	)))
	fact := func(name, about string, change ...shape.Member) description {
		return description{name: name, fact: name, about: about, change: change}
	}
	ofContact := func(name, about string, change ...shape.Member) description {
		return description{name: name, fact: name, about: about, change: change, of: aContact}
	}
	ofEndpoint := func(name, about string, change ...shape.Member) description {
		return description{name: name, fact: name, about: about, change: change, of: anEndpoint}
	}
	outcome := []shape.Member{
		shape.May("status", shape.Int("HTTP status of the last attempt, if there was an answer.")),
		shape.May("fault", named("Why there was none",
			webhooks.NameUnresolved, webhooks.Unreachable, webhooks.ConnectTimeout, webhooks.TLSFailed, webhooks.TimedOut,
			webhooks.PrivateRange, webhooks.Unrendered, webhooks.TooLarge)),
	}
	return []description{
		fact("conversation.created", "A conversation begins.",
			shape.Has("account", accountShape()),
			shape.Has("inbox", inboxShape("Through which it came in.")),
			shape.May("channel", shape.Text("Over which it is had.")),
			shape.Has("customer", person("With whom.")),
			shape.May("subject", shape.Text("What it is about.")),
			shape.May("attributes", open("Page, browser, and whatever else was given."))),
		fact("conversation.message_posted", "Somebody posts a message or a private note.",
			shape.Has("message", messageShape("The message."))),
		fact("conversation.message_edited", "The text of a message is replaced.",
			message, messageID,
			shape.Has("previous", shape.Text("The text before.")),
			shape.Has("text", shape.Text("The text now.")),
			wasNote, by),
		fact("conversation.message_deleted", "A message is deleted; a tombstone stays in its place.",
			message, messageID, wasNote, by),
		fact("conversation.typing_started", "Somebody begins to write.",
			author, note,
			shape.Has("expires_at", moment("When it ends if nothing more is heard of them."))),
		fact("conversation.typing_stopped", "Somebody stops writing.",
			author, note,
			shape.Has("reason", named("Why (they said so, nothing was heard of them, they sent it, the conversation was closed over it)",
				conversation.StopExplicit, conversation.StopExpired, conversation.StopMessage, conversation.StopLeft))),
		fact("conversation.status_changed", "The conversation moves between open, pending, snoozed and resolved.",
			shape.Has("from", status("Where it stood before")),
			shape.Has("to", status("Where it stands now")),
			shape.May("reason", shape.Text("Why.")),
			someBy,
			shape.May("snoozed_until", moment("When it is to come back."))),
		fact("conversation.closed", "The conversation is closed.", closing...),
		{
			name: Transcript, fact: "conversation.closed", change: closing,
			about: "The conversation is closed: the same body with the whole history, however much of it the endpoint is otherwise sent.",
		},
		fact("conversation.reopened", "A conversation that was closed is taken up again.", by),
		fact("conversation.assigned", "The conversation is given to an agent or a bot.",
			shape.Has("agent", person("Who has it now.")),
			shape.May("previous", person("Who had it before.")),
			someBy),
		fact("conversation.unassigned", "The conversation is taken from its agent.",
			shape.Has("previous", person("Who had it.")),
			someBy),
		fact("conversation.attributes_changed", "Subject, priority, labels, team or open attributes of the conversation change.",
			changes, someBy),
		fact("conversation.customer_updated", "Something else is known of the customer.",
			changes,
			shape.Has("customer", person("The customer after it.")),
			someBy),
		fact("conversation.read", "Somebody has read the conversation further than before.",
			by,
			shape.Has("up_to", shape.Int("The version up to which they have read."))),
		fact("conversation.message_played", "Somebody plays the media of a message.",
			messageID,
			wasNote,
			shape.Has("viewer", person("Who played it."))),
		fact("conversation.activity_recorded", "Something happens around the conversation.",
			shape.Has("kind", named("What", conversation.AppointmentScheduled, conversation.ProductPurchased,
				conversation.FormSubmitted, conversation.TaskCompleted)),
			shape.Has("data", open("What is known of it.")),
			someBy),
		ofContact("contact.created", "A person becomes known to the account.",
			shape.Has("account", accountShape()),
			shape.Has("profile", person("The person."))),
		ofContact("contact.updated", "Something else is known of a person.",
			changes,
			shape.Has("profile", person("The person after it.")),
			shape.May("conversation", shape.Text("Id of the conversation in which it was learned."))),
		ofContact("contact.widget_triggered", "A person opens the chat widget on a page.",
			shape.Has("contact", person("The person.")),
			shape.May("inbox", inboxShape("That the widget belongs to.")),
			shape.May("attributes", open("Page, browser, languages.")),
			shape.May("conversation", shape.Text("Id of the conversation that they are in.")),
			shape.May("current_conversation", snapshotShape())),
		ofContact("contact.erased", "The data of a person was overwritten.",
			by,
			shape.Has("events", shape.Int("In how many recorded events."))),
		ofEndpoint("endpoint.disabled", "Deliveries to another endpoint are stopped; they are kept until it is enabled.",
			shape.May("reason", shape.Text("Why, in words.")),
			shape.May("cause", named("What led to it (somebody asked for it, its receiver answered 410, nothing but failures for days)",
				endpoint.ByHand, endpoint.ReceiverGone, endpoint.ReceiverFailed))),
		ofEndpoint("endpoint.enabled", "Deliveries to another endpoint flow again.",
			shape.May("start", shape.Struct("Where in the log it begins, if it is not sent what was kept.",
				shape.May("from", shape.Int("Position of the first event that it is sent; without it, the one behind this.")),
				shape.May("rate", shape.Int("Deliveries a second of what had happened before.")),
			))),
		ofEndpoint("endpoint.failing", "Attempt after attempt to another endpoint fails; it is asked from time to time whether it is back.",
			append([]shape.Member{shape.Has("since", moment("The first of the failures in a row."))}, outcome...)...),
		ofEndpoint("endpoint.recovered", "Another endpoint that was failing takes deliveries again.",
			shape.Has("since", moment("Since when it had been failing."))),
		ofEndpoint("endpoint.exhausted", "A delivery to another endpoint is given up; it can be redelivered.",
			append([]shape.Member{
				shape.Has("delivery_id", shape.Text("Id of the delivery.")),
				shape.Has("event", shape.Text("Name of its event in the dialect of that endpoint.")),
				shape.Has("stream", shape.Text("What it was about: `conversation-ID`, `contact-ID` or `endpoint-ID`.")),
				shape.Has("attempts", shape.Int("How many were made.")),
				shape.Has("reason", named("Why it was given up", webhooks.ReasonExhausted, webhooks.ReasonTooLarge)),
			}, outcome...)...),
		ofEndpoint("endpoint.deleted", "Another endpoint is deleted; what it was owed is cancelled."),
	}
}

func person(about string) shape.Shape {
	return shape.Struct(about,
		shape.Has("id", shape.Text("Id, a UUID or the caller's own.")),
		shape.May("role", roles()),
		shape.May("number", shape.Int("Id for systems that want an integer.")),
	).With(profile()...)
}

func roles() shape.Shape {
	return named("Part in the conversation", domain.Customer, domain.Agent, domain.Bot, domain.System)
}

// profile is what is known of a person beside id, role and number.
func profile() []shape.Member {
	return []shape.Member{
		shape.May("name", shape.Text("Whole name.")),
		shape.May("first_name", shape.Text("First name.")),
		shape.May("last_name", shape.Text("Last name.")),
		shape.May("email", shape.Text("E-mail address.")),
		shape.May("phone", shape.Text("Phone number.")),
		shape.May("avatar_url", shape.Text("Address of a picture.")),
		shape.May("identifier", shape.Text("Id in the caller's system.")),
		shape.May("is_bot", shape.Bool("Is no human.")),
		shape.May("attributes", open("Whatever else is known.")),
	}
}

func accountShape() shape.Shape {
	return shape.Struct("Whose it is.",
		shape.Has("id", shape.Text("Id.")),
		shape.May("number", shape.Int("Id for systems that want an integer.")),
		shape.May("name", shape.Text("Name.")),
	)
}

func inboxShape(about string) shape.Shape {
	return shape.Struct(about,
		shape.Has("id", shape.Text("Id.")),
		shape.May("number", shape.Int("Id for systems that want an integer.")),
		shape.May("name", shape.Text("Name.")),
		shape.May("channel", shape.Text("Channel of the inbox.")),
	)
}

func conversationShape(about string) shape.Shape {
	return shape.Struct(about,
		shape.Has("id", shape.Formatted("uuid", "Id.")),
		shape.Has("number", shape.Int("Position of its first event in the log: an id for systems that want an integer.")),
		shape.Has("version", shape.Int("Its newest version.")),
		shape.Has("status", status("Where it stands")),
		shape.Has("account", accountShape()),
		shape.Has("inbox", inboxShape("Through which it came in.")),
		shape.May("channel", shape.Text("Over which it is had.")),
		shape.May("subject", shape.Text("What it is about.")),
		shape.May("priority", named("How urgent it is", conversation.Low, conversation.Medium, conversation.High, conversation.Urgent)),
		shape.Has("labels", shape.List("Labels.", shape.Text(""))),
		shape.Has("team", shape.Struct("To which it was given.",
			shape.Has("id", shape.Text("Id.")),
			shape.May("number", shape.Int("Id for systems that want an integer.")),
			shape.May("name", shape.Text("Name.")),
		).OrNull()),
		shape.Has("customer", person("With whom.")),
		shape.Has("assignee", person("Agent or bot who has it.").OrNull()),
		shape.Has("attributes", open("Page, browser, and whatever else was given.")),
		shape.May("snoozed_until", moment("When it is to come back.")),
		shape.May("closed_type", shape.Text("Why it was closed.")),
		shape.Has("created_at", moment("When it began.")),
		shape.Has("updated_at", moment("When its newest event happened.")),
		shape.May("closed_at", moment("When it was closed.")),
		shape.Has("message_count", shape.Int("How many messages were posted, private notes and deleted ones among them.")),
	)
}

func messageShape(about string) shape.Shape {
	return shape.Struct(about,
		shape.Has("id", shape.Text("Id.")),
		shape.Has("number", shape.Int("Position of its event in the log: an id for systems that want an integer.")),
		shape.Has("version", shape.Int("Version of its event.")),
		shape.Has("author", person("Who wrote it, as of then.")),
		shape.Has("text", shape.Text("What it says; empty if it was deleted.")),
		shape.Has("content_type", shape.Text("`text`, or what the caller called it.")),
		shape.May("content_attributes", open("What that content type needs.")),
		shape.May("attachments", shape.List("Files that it refers to.", shape.Struct("",
			shape.May("file_type", shape.Text("`image`, `audio`, `video`, `file`, or the caller's own.")),
			shape.May("content_type", shape.Text("Media type.")),
			shape.Has("url", shape.Text("Where it is.")),
			shape.May("name", shape.Text("Name of the file.")),
			shape.May("extension", shape.Text("Extension of the name.")),
			shape.May("size", shape.Int("Bytes.")),
			shape.May("width", shape.Int("Pixels.")),
			shape.May("height", shape.Int("Pixels.")),
		))),
		shape.Has("private", shape.Bool("Is a private note, which the customer does not see.")),
		shape.May("reply_to", shape.Text("Id of the message that it answers.")),
		shape.May("client_id", shape.Text("Id that the caller gave it.")),
		shape.May("attributes", open("Whatever else was given.")),
		shape.Has("created_at", moment("When it was posted.")),
		shape.May("edited_at", moment("When its text was last replaced.")),
		shape.May("deleted_at", moment("When it was deleted.")),
	)
}

func historyShape() shape.Shape {
	return shape.Struct("The messages up to the event, as many as the endpoint asked for.",
		shape.Has("mode", shape.Matching(`^(none|full|last:[1-9][0-9]*)$`, "What the endpoint asked for.")),
		shape.Has("from_version", shape.Int("Version of the first item.").OrNull()),
		shape.Has("to_version", shape.Int("Version of the event.")),
		shape.Has("items", shape.List("The messages, oldest first, each as it is now.", messageShape(""))),
		shape.Has("truncated", shape.Bool("Older messages were left out.")),
		shape.Has("next", shape.Text("Path of the HTTP API at which those are.").OrNull()),
	)
}

func contactShape() shape.Shape {
	return shape.Struct("The contact as of the event, as the HTTP API has it; of a person who was erased, the id is left.",
		shape.Has("id", shape.Text("Id of the person, a UUID or the caller's own.")),
		shape.Has("number", shape.Int("Position of its first event in the log: an id for systems that want an integer.")),
		shape.Has("version", shape.Int("Its newest version.")),
		shape.May("role", roles()),
	).With(profile()...).With(
		shape.May("erased", shape.Bool("The data of the person was overwritten.")),
		shape.Has("created_at", moment("When the person became known.")),
		shape.Has("updated_at", moment("When the person was last another than before.")),
	)
}

func endpointShape() shape.Shape {
	return shape.Struct("The endpoint as of the event.",
		shape.Has("id", shape.Formatted("uuid", "Id of the endpoint.")),
		shape.Has("url", shape.Text("Where it is, without user and query.")),
		shape.Has("dialect", shape.Text("What it is sent.")),
		shape.Has("disabled", shape.Bool("It is sent nothing until it is enabled.")),
	)
}

func snapshotShape() shape.Shape {
	return shape.Struct("That conversation as it was when the widget was opened.",
		shape.Has("conversation", conversationShape("The conversation.")),
		shape.Has("attention", shape.Struct("Who has seen and answered what.",
			shape.May("unread", shape.List("Versions of the customer's messages that no agent has read or answered.", shape.Int(""))),
			shape.May("agent_read_to", shape.Int("Furthest version that an agent has read or answered.")),
			shape.May("agent_seen_at", moment("When an agent last said that they had read.")),
			shape.May("customer_seen_at", moment("When the customer last said so.")),
			shape.May("first_reply_at", moment("An agent's first public answer.")),
			shape.May("waiting_since", moment("Since when the customer waits for an answer.")),
			shape.May("active_at", moment("The last message, or the beginning.")),
			shape.May("changed_at", moment("When the conversation was last another than before.")),
			shape.May("changed_before", moment("The time before that.")),
		)),
		shape.May("last_message", messageShape("The newest that is no private note.")),
		shape.May("answered", shape.Struct("The message that the last one answers.",
			shape.Has("number", shape.Int("Its position in the log.")),
			shape.May("attributes", open("Ids that formats know it by.")),
		)),
	)
}

func status(about string) shape.Shape {
	return named(about, conversation.Open, conversation.Pending,
		conversation.Snoozed, conversation.Resolved, conversation.StatusEnded)
}

// named is one of the names that are said. It is no closed set, for there may be
// more of them one day, and what was imported may have others.
func named[T ~string](about string, names ...T) shape.Shape {
	var all strings.Builder
	for i, n := range names {
		switch {
		case i == 0:
		case i == len(names)-1:
			all.WriteString(" or ")
		default:
			all.WriteString(", ")
		}
		all.WriteString("`" + string(n) + "`")
	}
	return shape.Text(about + ": " + all.String() + ".")
}

func moment(about string) shape.Shape { return shape.Formatted("date-time", about) }

func open(about string) shape.Shape { return shape.Open(about, anything("")) }

func anything(about string) shape.Shape { return shape.Shape{About: about} }
