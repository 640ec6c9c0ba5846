package chatwoot

import (
	"embed"
	"slices"

	"verbatim/webhooks"
	"verbatim/webhooks/shape"
)

// goldens has a body of every event, as it was once rendered.
//
//go:embed golden/*.json
var goldens embed.FS

// vocabulary describes the events in the order of Chatwoot's list
// (app/models/webhook.rb), with ours behind them.
func vocabulary() []webhooks.EventType {
	conversation, contact := conversationShape(), contactShape()
	return []webhooks.EventType{
		eventType(
			ConversationStatusChanged, "A conversation is opened, snoozed, set aside or resolved. Closing it resolves it.",
			conversation.With(event(ConversationStatusChanged), shape.Has("changed_attributes", shape.Nothing("What changed: the server never says."))),
			"conversation.status_changed", "conversation.closed", "conversation.reopened",
		),
		eventType(
			ConversationUpdated, "A conversation changes: its status, who is in charge, its team, labels, priority, subject or attributes.",
			conversation.With(event(ConversationUpdated), changesShape()),
			"conversation.status_changed", "conversation.closed", "conversation.reopened",
			"conversation.assigned", "conversation.unassigned", "conversation.attributes_changed",
		),
		eventType(
			ConversationCreated, "A conversation begins. Nothing has been said in it yet.",
			conversation.With(event(ConversationCreated)), "conversation.created",
		),
		eventType(
			ContactCreated, "A contact becomes known.",
			contact.With(event(ContactCreated)), "contact.created",
		),
		eventType(
			ContactUpdated, "What is known of a contact changes, by itself or in a conversation, or is erased.",
			contact.With(event(ContactUpdated), changesShape()), "contact.updated", "contact.erased", "conversation.customer_updated",
		),
		eventType(
			MessageCreated, "Somebody sends a message or writes a private note.",
			messageShape(conversation).With(event(MessageCreated)), "conversation.message_posted",
		),
		eventType(
			MessageUpdated, "A message or a private note is edited or deleted; nothing says which.",
			messageShape(conversation).With(event(MessageUpdated)), "conversation.message_edited", "conversation.message_deleted",
		),
		eventType(
			WebwidgetTriggered, "A contact opens the chat widget.",
			widgetShape(conversation, contact), "contact.widget_triggered",
		),
		eventType(
			ConversationTypingOn, "Somebody begins to write.",
			typingShape(ConversationTypingOn, conversation), "conversation.typing_started",
		),
		eventType(
			ConversationTypingOff, "Somebody does not write any more.",
			typingShape(ConversationTypingOff, conversation), "conversation.typing_stopped",
		),
		transcriptType(conversation),
	}
}

func transcriptType(conversation shape.Shape) webhooks.EventType {
	t := eventType(
		ConversationTranscript, "A conversation is closed, with all that was said in it. Chatwoot has no such event: it is sent to those who ask for it by name.",
		conversation.With(
			shape.Has("transcript", shape.List("All messages, the oldest first; private notes are marked.", shape.Struct("A message.", innerMessage(false)...))),
			shape.Has("revision", shape.Int("How often the conversation has been closed.")),
			event(ConversationTranscript),
		),
		"conversation.closed",
	)
	t.OptIn = true
	return t
}

func eventType(name, about string, body shape.Shape, facts ...string) webhooks.EventType {
	sample, err := goldens.ReadFile("golden/" + name + ".json")
	if err != nil {
		panic("chatwoot: " + err.Error()) // it is embedded
	}
	return webhooks.EventType{Word: webhooks.Word{Name: name}, Facts: facts, About: about, Body: body, Sample: sample}
}

func event(name string) shape.Member {
	return shape.Has("event", shape.OneOfTexts("Name of the event.", name))
}

// moment is a time as a string in UTC with milliseconds.
func moment(about string) shape.Shape {
	return shape.Matching(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$`, about)
}

func seconds(about string) shape.Shape {
	return shape.Int(about + " In seconds since 1970; 0 if never.")
}

func jsDateShape() shape.Shape {
	return shape.Struct("When the widget was opened.", shape.Has("timestamp",
		shape.Matching(`^[A-Z][a-z]{2} [A-Z][a-z]{2} \d\d \d{4} \d\d:\d\d:\d\d GMT[+-]\d{4} \(`, "As a Date of JavaScript is written.")))
}

func numbered(about string) shape.Shape {
	return shape.Struct(about, shape.Has("id", shape.Int("Number.")), shape.Has("name", shape.Text("Name.")))
}

// bag is an object whose members are anybody's.
func bag(about string) shape.Shape { return shape.Open(about, shape.Shape{}) }

func nullable(about string) shape.Shape { return shape.Text(about).OrNull() }

func conversationShape() shape.Shape {
	return shape.Struct("A conversation as of the event.",
		shape.Has("additional_attributes", additionalShape()),
		shape.Has("can_reply", shape.Bool("Whether it takes messages: until it is closed.")),
		shape.Has("channel", shape.Matching("^Channel::", "Through what it came.")),
		shape.Has("contact_inbox", shape.Struct("The contact in the inbox.",
			shape.Has("id", shape.Int("Number, derived unless given.")),
			shape.Has("contact_id", shape.Int("Number of the contact.")),
			shape.Has("inbox_id", shape.Int("Number of the inbox.")),
			shape.Has("source_id", shape.Text("What the contact is called in the inbox.")),
			shape.Has("created_at", moment("When the contact came to the inbox.")),
			shape.Has("updated_at", moment("When that was changed.")),
			shape.Has("hmac_verified", shape.Bool("Whether the contact has proved who they are.")),
			shape.Has("pubsub_token", shape.Text("An opaque value that opens nothing.")),
		)),
		shape.Has("id", shape.Int("Number of the conversation.")),
		shape.Has("inbox_id", shape.Int("Number of the inbox.")),
		shape.Has("messages", shape.List("At most one: the message that the event is about, or else the last that is no private note.",
			shape.Struct("A message.", innerMessage(true)...))),
		shape.Has("labels", shape.List("Its labels.", shape.Text("A label."))),
		shape.Has("meta", shape.Struct("Who takes part.",
			shape.Has("sender", innerContactShape()),
			shape.Has("assignee", shape.Either("Who is in charge.", innerUserShape(), innerBotShape()).OrNull()),
			shape.Has("assignee_type", shape.OneOfTexts("What they are.", "User", "AgentBot").OrNull()),
			shape.Has("team", numbered("The team in charge.").OrNull()),
			shape.Has("hmac_verified", shape.Bool("Whether the contact has proved who they are.")),
		)),
		shape.Has("status", statusShape()),
		shape.Has("custom_attributes", bag("Its open attributes.")),
		shape.Has("snoozed_until", moment("Until when it is snoozed.").OrNull()),
		shape.Has("unread_count", shape.Int("How many of the contact's messages no agent has read, up to 10.")),
		shape.Has("first_reply_created_at", moment("When an agent first answered.").OrNull()),
		shape.Has("priority", priorityShape().OrNull()),
		shape.Has("waiting_since", seconds("Since when the contact waits for an answer.")),
		shape.Has("agent_last_seen_at", seconds("When an agent last read it.")),
		shape.Has("contact_last_seen_at", seconds("When the contact last read it.")),
		shape.Has("last_activity_at", seconds("When the last message was posted.")),
		shape.Has("timestamp", seconds("The same once more.")),
		shape.Has("created_at", seconds("When it began.")),
		shape.Has("updated_at", shape.Float("When it was last changed, in seconds since 1970 with microseconds.")),
		shape.Has("account", numbered("The account.")),
	)
}

func statusShape() shape.Shape {
	return shape.OneOfTexts("Where it stands.", "open", "resolved", "pending", "snoozed")
}

func priorityShape() shape.Shape {
	return shape.OneOfTexts("How urgent it is.", "low", "medium", "high", "urgent")
}

func additionalShape() shape.Shape {
	return shape.Either("How it began: what the widget told, what was given instead, or nothing.",
		shape.Struct("What is known of a visit.",
			shape.May("browser", browserShape("device_name", "browser_name", "platform_name", "browser_version", "platform_version")),
			shape.May("referer", nullable("The page that the widget was on.")),
			shape.May("initiated_at", jsDateShape()),
			shape.May("browser_language", nullable("Language of the browser.")),
			shape.May("mail_subject", shape.Text("The subject, if it has one.")),
		),
		bag("What was given for this format."),
	)
}

func browserShape(names ...string) shape.Shape {
	members := make([]shape.Member, len(names))
	for i, name := range names {
		members[i] = shape.Has(name, shape.Text(`"Unknown" or "0" if it is not known.`))
	}
	return shape.Struct("The browser.", members...)
}

// contactShape is a contact as it stands by itself.
func contactShape() shape.Shape {
	return shape.Struct("A contact as of the event.",
		append([]shape.Member{
			shape.Has("account", numbered("The account.")),
			shape.Has("additional_attributes", bag("What was given for this format.")),
			shape.Has("avatar", shape.Text("URL of a picture, or nothing.")),
			shape.Has("custom_attributes", bag("The contact's open attributes.")),
		}, profile()...)...)
}

// innerContactShape is a contact as it stands within a conversation.
func innerContactShape() shape.Shape {
	return shape.Struct("The contact.",
		append([]shape.Member{
			shape.Has("additional_attributes", bag("What was given for this format.")),
			shape.Has("custom_attributes", bag("The contact's open attributes.")),
		}, profile()...)...).With(shape.Has("type", shape.OneOfTexts("What they are.", "contact")))
}

func profile() []shape.Member {
	return []shape.Member{
		shape.Has("email", nullable("E-mail address.")),
		shape.Has("id", shape.Int("Number of the contact.")),
		shape.Has("identifier", nullable("What the contact is called elsewhere.")),
		shape.Has("name", shape.Text("Name, or nothing.")),
		shape.Has("phone_number", nullable("Phone number.")),
		shape.Has("thumbnail", shape.Text("URL of a small picture, or nothing.")),
		shape.Has("blocked", shape.Bool("Whether the contact is blocked.")),
	}
}

// senderShape is who wrote or types, as they stand by themselves.
func senderShape() shape.Shape {
	return shape.Either("Who it is: a contact has no type. Null for the system.",
		contactShape(),
		shape.Struct("A user.",
			shape.Has("id", shape.Int("Number of the user.")),
			shape.Has("name", shape.Text("Name.")),
			shape.Has("email", shape.Text("E-mail address, or nothing.")),
			shape.Has("type", shape.OneOfTexts("What they are.", "user")),
		),
		shape.Struct("A bot.",
			shape.Has("id", shape.Int("Number of the bot.")),
			shape.Has("name", shape.Text("Name.")),
			shape.Has("type", shape.OneOfTexts("What it is.", "agent_bot")),
		),
	).OrNull()
}

func innerUserShape() shape.Shape {
	return shape.Struct("A user.",
		shape.Has("id", shape.Int("Number of the user.")),
		shape.Has("name", shape.Text("Name.")),
		shape.Has("available_name", shape.Text("Name as contacts see it.")),
		shape.Has("avatar_url", shape.Text("URL of a picture, or nothing.")),
		shape.Has("type", shape.OneOfTexts("What they are.", "user")),
		shape.Has("availability_status", shape.OneOfTexts("Whether they are there, if it was given.", "online", "busy", "offline").OrNull()),
		shape.Has("thumbnail", shape.Text("URL of a small picture, or nothing.")),
	)
}

func innerBotShape() shape.Shape {
	return shape.Struct("A bot.",
		shape.Has("id", shape.Int("Number of the bot.")),
		shape.Has("name", shape.Text("Name.")),
		shape.Has("avatar_url", shape.Text("URL of a picture, or nothing.")),
		shape.Has("type", shape.OneOfTexts("What it is.", "agent_bot")),
	)
}

func contentTypeShape() shape.Shape {
	return shape.OneOfTexts("Kind of content.", "text", "input_text", "input_textarea", "input_email", "input_select", "cards", "form",
		"article", "incoming_email", "input_csat", "integrations", "sticker", "voice_call")
}

func contentAttributesShape() shape.Shape {
	return bag("What goes with the content: in_reply_to is the id of the message it answers, deleted is true once it was deleted.")
}

func messageShape(conversation shape.Shape) shape.Shape {
	return shape.Struct("A message as of the event.",
		shape.Has("account", numbered("The account.")),
		shape.Has("additional_attributes", bag("The message's open attributes.")),
		shape.Has("content_attributes", contentAttributesShape()),
		shape.Has("content_type", contentTypeShape()),
		shape.Has("content", nullable("What was said, in Markdown; null if there are only files.")),
		shape.Has("conversation", conversation),
		shape.Has("created_at", moment("When it was posted.")),
		shape.Has("id", shape.Int("Number of the message.")),
		shape.Has("inbox", numbered("The inbox.")),
		shape.Has("message_type", shape.OneOfTexts("From the contact, to the contact, or from the system.", "incoming", "outgoing", "template")),
		shape.Has("private", shape.Bool("Whether it is a private note.")),
		shape.Has("sender", senderShape()),
		shape.Has("source_id", nullable("What it is called where it comes from.")),
		shape.May("attachments", attachmentsShape()),
	)
}

// innerMessage is a message as it stands in a conversation or in a transcript.
func innerMessage(inConversation bool) []shape.Member {
	members := []shape.Member{
		shape.Has("id", shape.Int("Number of the message.")),
		shape.Has("content", nullable("What was said, in Markdown; null if there are only files.")),
		shape.Has("account_id", shape.Int("Number of the account.")),
		shape.Has("inbox_id", shape.Int("Number of the inbox.")),
		shape.Has("conversation_id", shape.Int("Number of the conversation.")),
		shape.Has("message_type", shape.Int("0 incoming, 1 outgoing, 3 template.")),
		shape.Has("created_at", seconds("When it was posted.")),
		shape.Has("updated_at", moment("When it was last changed.")),
		shape.Has("private", shape.Bool("Whether it is a private note.")),
		shape.Has("status", shape.OneOfTexts("How far it got, if that was given.", "sent", "delivered", "read", "failed")),
		shape.Has("source_id", nullable("What it is called where it comes from.")),
		shape.Has("content_type", contentTypeShape()),
		shape.Has("content_attributes", contentAttributesShape()),
		shape.Has("sender_type", shape.OneOfTexts("What its author is.", "Contact", "User", "AgentBot").OrNull()),
		shape.Has("sender_id", shape.Int("Number of its author.").OrNull()),
		shape.Has("external_source_ids", shape.Struct("Always empty.")),
		shape.Has("additional_attributes", bag("The message's open attributes.")),
		shape.Has("processed_message_content", nullable("What was said once more.")),
		shape.Has("sentiment", shape.Struct("Always empty.")),
	}
	if inConversation {
		members = append(members, shape.Has("conversation", shape.Struct("Its conversation in short.",
			shape.Has("assignee_id", shape.Int("Number of the user in charge.").OrNull()),
			shape.Has("unread_count", shape.Int("How many of the contact's messages no agent has read, up to 10.")),
			shape.Has("last_activity_at", seconds("When the last message was posted.")),
			shape.Has("contact_inbox", shape.Struct("The contact in the inbox.",
				shape.Has("source_id", shape.Text("What the contact is called in the inbox.")))),
		)))
	}
	return append(members,
		shape.May("attachments", attachmentsShape()),
		shape.May("sender", shape.Either("Its author, unless that is the system.", innerContactShape(), innerUserShape(), innerBotShape())),
	)
}

func attachmentsShape() shape.Shape {
	url, title := shape.Has("data_url", shape.Text("URL.")), shape.Has("fallback_title", nullable("Name."))
	file := []shape.Member{
		shape.Has("extension", nullable("Ending of the name.")),
		shape.Has("content_type", shape.Text("MIME type.")),
		url,
		shape.Has("thumb_url", shape.Text("URL of a small picture, or nothing.")),
		shape.Has("file_size", shape.Int("In bytes.")),
		shape.Has("width", shape.Int("In pixels.").OrNull()),
		shape.Has("height", shape.Int("In pixels.").OrNull()),
	}
	return shape.List("Files and the like; absent if there are none.", shape.Either("",
		attachment("A file.", []string{"image", "video", "file", "share", "story_mention", "ig_reel", "ig_post", "ig_story"}, file...),
		attachment("A recording.", []string{"audio"}, slices.Concat(file, []shape.Member{shape.Has("transcribed_text", shape.Text("What is said in it, or nothing."))})...),
		attachment("A place.", []string{"location"},
			shape.Has("coordinates_lat", shape.Float("Degrees north.")), shape.Has("coordinates_long", shape.Float("Degrees east.")), title, url),
		attachment("Anything else.", []string{"fallback"}, title, url),
		attachment("A contact card.", []string{"contact"}, title, shape.Has("meta", bag("What is on it."))),
		attachment("A page.", []string{"embed"}, url),
	))
}

func attachment(about string, types []string, own ...shape.Member) shape.Shape {
	return shape.Struct(about,
		shape.Has("id", shape.Int("Number of the attachment.")),
		shape.Has("message_id", shape.Int("Number of the message.")),
		shape.Has("file_type", shape.OneOfTexts("Kind of attachment.", types...)),
		shape.Has("account_id", shape.Int("Number of the account.")),
	).With(own...)
}

func typingShape(name string, conversation shape.Shape) shape.Shape {
	return shape.Struct("Somebody who types.",
		event(name),
		shape.Has("user", senderShape()),
		shape.Has("conversation", conversation),
		shape.Has("is_private", shape.Bool("Whether it is a private note.")),
	)
}

func widgetShape(conversation, contact shape.Shape) shape.Shape {
	return shape.Struct("A widget that was opened.",
		shape.Has("id", shape.Int("Number of the contact in the inbox.")),
		shape.Has("contact", contact),
		shape.Has("inbox", numbered("The inbox.")),
		shape.Has("account", numbered("The account.")),
		shape.Has("current_conversation", conversation.OrNull()),
		shape.Has("source_id", shape.Text("What the contact is called in the inbox.")),
		event(WebwidgetTriggered),
		shape.Has("event_info", shape.Struct("The visit.",
			shape.Has("initiated_at", jsDateShape()),
			shape.Has("referer", nullable("The page that the widget is on.")),
			shape.Has("widget_language", nullable("Language of the widget.")),
			shape.Has("browser_language", nullable("Language of the browser.")),
			shape.Has("browser", browserShape("browser_name", "browser_version", "device_name", "platform_name", "platform_version")),
		)),
	)
}

// changesShape is a list of objects of one column each.
func changesShape() shape.Member {
	number, text := shape.Int("").OrNull(), shape.Text("").OrNull()
	column := func(name string, value shape.Shape) shape.Member {
		return shape.May(name, shape.Struct("",
			shape.Has("previous_value", value),
			shape.Has("current_value", value),
		))
	}
	return shape.Has("changed_attributes", shape.List("What changed: an object for each column, updated_at last.",
		shape.Struct("One column.",
			column("status", statusShape().OrNull()),
			column("snoozed_until", moment("").OrNull()),
			column("assignee_id", number),
			column("assignee_agent_bot_id", number),
			column("name", shape.Text("")),
			column("email", text),
			column("phone_number", text),
			column("avatar", shape.Text("")),
			column("identifier", text),
			column("additional_attributes", bag("")),
			column("custom_attributes", bag("")),
			column("priority", priorityShape().OrNull()),
			column("team_id", number),
			column("label_list", shape.List("", shape.Text(""))),
			column("updated_at", moment("").OrNull()),
		)))
}
