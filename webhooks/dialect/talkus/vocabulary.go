package talkus

import (
	"embed"

	"verbatim/webhooks"
	"verbatim/webhooks/shape"
)

//go:embed golden/*.json
var goldens embed.FS

// vocabulary describes the events in the order of Talkus' documentation.
func vocabulary() []webhooks.EventType {
	required, optional := shape.Has("agent", agentShape()), shape.May("agent", agentShape())
	return []webhooks.EventType{
		eventType(Start, "conversation.created", "A conversation starts. No agent is in it yet."),
		eventType(Open, "conversation.assigned", "An agent enters the conversation, or another one does.", required),
		eventType(End, "conversation.closed", "A conversation is closed.", optional),
		eventType(Email, "conversation.customer_updated", "The visitor, who had given no e-mail address, gives one.", optional),
		eventType(MessageVisitor, "conversation.message_posted", "The visitor sends a message.", optional),
		eventType(MessageAgent, "conversation.message_posted", "An agent or a bot sends the visitor a message.", required),
	}
}

func eventType(name, fact, about string, agent ...shape.Member) webhooks.EventType {
	sample, err := goldens.ReadFile("golden/" + name + ".json")
	if err != nil {
		panic("talkus: " + err.Error()) // it is embedded
	}
	members := []shape.Member{
		shape.Has("event", shape.OneOfTexts("What happened.", name)),
		shape.Has("createdAt", timeShape("When it happened.")),
		shape.Has("channelName", shape.Text("The Slack channel of the conversation.")),
		shape.Has("visitorName", shape.Text("What the visitor is called.")),
		shape.Has("visitorId", shape.Matching("^["+meteorAlphabet+"]{17}$", "The visitor, for ever.")),
		shape.Has("identity", identityShape()),
	}
	members = append(members, agent...)
	members = append(members,
		shape.Has("message", shape.Text("All that was said so far: NAME: TEXT, a message a line.")),
		shape.Has("messages", shape.List("All that was said so far, the oldest first.", messageShape())),
	)
	return webhooks.EventType{
		Word:   webhooks.Word{Name: name},
		Facts:  []string{fact},
		About:  about,
		Body:   shape.List("Events: always one.", shape.Struct("An event.", members...)),
		Sample: sample,
	}
}

func timeShape(about string) shape.Shape {
	s := shape.Formatted("date-time", about)
	s.Pattern = `^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z$`
	return s
}

func identityShape() shape.Shape {
	return shape.Struct("What is known of the visitor; further keys are the site's own.",
		shape.May("name", shape.Text("Their name.")),
		shape.May("phone", shape.Text("Their phone number.")),
		shape.May("email", shape.Text("Their e-mail address.")),
		shape.May("picture", shape.Text("URL of their picture.")),
		shape.Has("userAgent", shape.Text("Of their browser.")),
		shape.Has("title", shape.Text("Of the page they are on.")),
		shape.Has("location", shape.Text("URL of the page they are on.")),
		shape.Has("ip", shape.Text("Their IP address.")),
		shape.Has("languages", shape.Text("The language of their browser.")),
	).OrOthers(shape.Text("As the site gave it."))
}

func messageShape() shape.Shape {
	return shape.Struct("A message.",
		shape.Has("userName", shape.Text("Who wrote it.")),
		shape.Has("userPicture", shape.Text("URL of their picture, or empty.")),
		shape.Has("createdAt", timeShape("When it was written.")),
		shape.Has("text", shape.Text("What it says; files are links on lines of their own.")),
	)
}

func agentShape() shape.Shape {
	profile := []shape.Member{
		shape.Has("fields", shape.List("The team's own fields.", shape.Shape{})),
		shape.Has("first_name", shape.Text("Their first name, or empty.")),
		shape.Has("last_name", shape.Text("Their last name, or empty.")),
		shape.Has("title", shape.Text("What they do, or empty.")),
		shape.Has("phone", shape.Text("Their phone number, or empty.")),
		shape.Has("skype", shape.Text("Their name on Skype, or empty.")),
		shape.Has("avatar_hash", shape.Text("Changes with the picture; empty without one.")),
	}
	for _, size := range imageSizes() {
		profile = append(profile, shape.Has(size, shape.Text("URL of their picture, or empty.")))
	}
	profile = append(profile,
		shape.Has("real_name", shape.Text("What they are called.")),
		shape.Has("real_name_normalized", shape.Text("The same.")),
		shape.Has("email", shape.Text("Their e-mail address, or empty.")),
	)
	anything := shape.Shape{About: "As it was given."}
	return shape.Struct("The agent who last entered or wrote, as a user of Slack.",
		shape.Has("id", shape.Text("The agent, for ever.")),
		shape.Has("team_id", shape.Text("The account, for ever.")),
		shape.Has("name", shape.Text("Their name as Slack has it for mentions.")),
		shape.Has("deleted", shape.Bool("Whether the user was removed from the team.")),
		shape.Has("status", shape.Text("Mostly null.").OrNull()),
		shape.Has("color", shape.Text("Six hexadecimal digits.")),
		shape.Has("real_name", shape.Text("What they are called.")),
		shape.Has("tz", shape.Text("Their time zone.")),
		shape.Has("tz_label", shape.Text("What it is called.")),
		shape.Has("tz_offset", shape.Int("In seconds east of UTC.")),
		shape.Has("profile", shape.Struct("Who they are.", profile...).OrOthers(anything)),
		shape.Has("is_admin", shape.Bool("Whether they administer the Slack team.")),
		shape.Has("is_owner", shape.Bool("Whether they own it.")),
		shape.Has("is_primary_owner", shape.Bool("Whether they own it before all others.")),
		shape.Has("is_restricted", shape.Bool("Whether they are a guest there.")),
		shape.Has("is_ultra_restricted", shape.Bool("Whether they are a guest of one channel.")),
		shape.Has("is_bot", shape.Bool("Whether it is a bot.")),
		shape.Has("presence", shape.Text("active or away.")),
	).OrOthers(anything)
}
