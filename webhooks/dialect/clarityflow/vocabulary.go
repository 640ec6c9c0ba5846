package clarityflow

import (
	"embed"

	"verbatim/webhooks"
	"verbatim/webhooks/shape"
)

//go:embed golden/*.json
var golden embed.FS

// vocabulary describes the events in the order of Clarityflow's own list.
func vocabulary() []webhooks.EventType {
	const activity = "conversation.activity_recorded"
	slug := shape.Matching(slugPattern, "of the conversation")
	conversation := conversationShape(shape.List("none yet", messageShape()))
	message := messageShape()
	open := shape.Shape{About: "the data of the activity, with its keys in the order given"}
	types := []struct {
		name, fact, about, object string
		body                      shape.Shape
	}{
		{
			ConversationCreated, "conversation.created",
			"Sent when a conversation begins. Messages come as events of their own, the first too.", "conversation", conversation,
		},
		{
			MessageCreated, "conversation.message_posted",
			"Sent for each message that a person or a bot posts; not for private notes, nor for what the system posts.",
			"message", message,
		},
		{
			MessagePlayed, "conversation.message_played",
			"Sent when somebody plays the audio or video of a message for the first time. Who did is not in it.", "message", message,
		},
		{
			NewAppointment, activity, "Sent when an appointment was scheduled: an activity of the kind appointment_scheduled.",
			"appointment", shape.Struct("", shape.Has("id", activityID())).OrOthers(open),
		},
		{
			NewPurchase, activity, "Sent when a product was purchased: an activity of the kind product_purchased.",
			"purchase", shape.Struct("", shape.Has("id", activityID())).OrOthers(open),
		},
		{
			NewFormSubmission, activity, "Sent when a form was submitted: an activity of the kind form_submitted.",
			"form_submission", shape.Struct("",
				shape.Has("id", activityID()),
				shape.Has("form", shape.Struct("which form", shape.Has("id", shape.Int("null unless given").OrNull()), shape.Has("title", shape.Text("\"\" unless given")))),
				shape.Has("conversation_slug", slug),
				shape.Has("submitter", authorShape("who filled it in; the customer unless somebody is named")),
				shape.Has("answers", shape.List("in the order given", shape.Struct("",
					shape.Has("question", shape.Text("")),
					shape.Has("answer", shape.Shape{About: "as it was given: a string, a number, a list…"})))),
				shape.Has("created_at", slippedShape("when it was submitted")),
			).OrOthers(open),
		},
		{
			TaskCompleted, activity, "Sent when a task was completed: an activity of the kind task_completed.",
			"task", shape.Struct("",
				shape.Has("id", activityID()),
				shape.Has("title", shape.Text("\"\" unless given")),
				shape.Has("completed_at", slippedShape("when it was completed")),
				shape.Has("conversation_slug", slug),
				shape.Has("completed_by", authorShape("who completed it; null if nobody is named").OrNull()),
			).OrOthers(open),
		},
		{
			ConversationTranscript, "conversation.closed",
			"Sent when a conversation is closed, with all that was said in it. Clarityflow has no such event: " +
				"it is sent only to endpoints that ask for it by name.",
			"conversation", conversationShape(shape.List("all that were posted and neither deleted nor private, as they are now", message)).
				With(shape.Has("revision", shape.Int("how often it has been closed, this time included"))),
		},
	}
	out := make([]webhooks.EventType, len(types))
	for i, t := range types {
		sample, _ := golden.ReadFile("golden/" + t.name + ".json") // one that is missing fails the test of all vocabularies
		out[i] = webhooks.EventType{
			Word:  webhooks.Word{Name: t.name, OptIn: t.name == ConversationTranscript},
			Facts: []string{t.fact}, About: t.about, Body: envelopeShape(t.name, t.object, t.body), Sample: sample,
		}
	}
	return out
}

// slugPattern matches what standsInURL lets stand.
const slugPattern = `^[-_.~:0-9A-Za-z]+$`

func envelopeShape(name, object string, body shape.Shape) shape.Shape {
	return shape.Struct("",
		shape.Has("type", shape.OneOfTexts("name of the event", name)),
		shape.Has("id", shape.Formatted("uuid", "of the event: the same however often it is sent")),
		shape.Has("occurred_at", shape.Matching(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00$`, "when it happened, in UTC, with milliseconds")),
		shape.Has("payload", shape.Struct("", shape.Has(object, body))),
	)
}

func slippedShape(about string) shape.Shape {
	return shape.Matching(`^\d{4}-\d\d-\d\d \d\d:\d\d:-?\d+$`, about+", in UTC: date, hour and minute, and then seconds since 1970")
}

func activityID() shape.Shape {
	return shape.Int("position of the fact, unless its data has a whole number as id")
}

func conversationShape(messages shape.Shape) shape.Shape {
	return shape.Struct("",
		shape.Has("id", shape.Int("number of the conversation")),
		shape.Has("created_at", slippedShape("when it began")),
		shape.Has("title", shape.Text("the subject that it began with, or the day")),
		shape.Has("slug", shape.Matching(slugPattern, "what it is found by; never another")),
		shape.Has("url", shape.Matching(`^http://[^/]+/c/[^/]+$`, "of its page")),
		shape.Has("embed_url", shape.Matching(`^http://[^/]+/embeds/conversations/[^/]+/[^/]+$`, "of its page to embed")),
		shape.Has("public", shape.Bool("true unless given")),
		shape.Has("anyone_can_post", shape.Bool("true unless given")),
		shape.Has("allow_anonymous_messages", shape.Bool("true unless given")),
		shape.Has("allow_search_engines", shape.Bool("false unless given")),
		shape.Has("enable_registration_prompt", shape.Bool("true unless given")),
		shape.Has("subscriber_emails", shape.List("none unless given", shape.Text(""))),
		shape.Has("messages", messages),
		shape.Has("workflow", shape.Struct("always empty")),
	)
}

func messageShape() shape.Shape {
	return shape.Struct("",
		shape.Has("id", shape.Int("number of the message")),
		shape.Has("conversation_title", shape.Text("as in conversation_created")),
		shape.Has("message_type", shape.Text("text, camera (any video), audio or file; screen and screencamera where given")),
		shape.Has("recorded_duration_seconds", shape.Int("of what was recorded, if that is known").OrNull()),
		shape.Has("message_url", shape.Matching(`^http://[^/]+/c/[^/#]+#message-\d+$`, "of its place in the conversation's page, with the slug")),
		shape.Has("message_embed_url", shape.Matching(`^http://[^/]+/embeds/messages/[^/]+/\d+\?conversation_slug=[^&]+$`, "to embed it, with the slug")),
		shape.Has("text", shape.Text("HTML; \"\" if there is none")),
		shape.Has("message_created_time", slippedShape("when it was posted")),
		shape.Has("author", authorShape("who wrote it")),
		shape.Has("download_media_url", shape.Text("where the file is; null without one").OrNull()),
		shape.Has("access_media_file", shape.Text("the same by the message's number; null without a file").OrNull()),
		shape.Has("workflow", shape.Struct("always empty")),
	)
}

func authorShape(about string) shape.Shape {
	return shape.Either(about,
		shape.Struct("",
			shape.Has("first_name", shape.Text("\"\" if unknown")),
			shape.Has("last_name", shape.Text("\"\" if unknown")),
			shape.Has("full_name", shape.Text("\"\" if unknown")),
			shape.Has("email", shape.Text("\"\" if unknown")),
		),
		shape.Struct("of whom neither a name nor an e-mail is known", shape.Has("anonymous", shape.Bool("always true"))),
	)
}
