package chatwoot_test

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"verbatim/domain"
	"verbatim/domain/contact"
	"verbatim/domain/conversation"
	"verbatim/domain/endpoint"
	"verbatim/eventstore"
	"verbatim/webhooks"
	"verbatim/webhooks/dialect/chatwoot"
	"verbatim/webhooks/webhookstest"
)

func attributes(tb testing.TB, object string) domain.Attributes {
	tb.Helper()
	var a domain.Attributes
	if err := json.Unmarshal([]byte(object), &a); err != nil {
		tb.Fatal(err)
	}
	return a
}

func raw(s string) json.RawMessage { return json.RawMessage(s) }

func changed(key, previous, current string) domain.Change {
	return domain.Change{Key: key, Previous: raw(previous), Current: raw(current)}
}

func customer() domain.Person {
	return domain.Person{ID: "ada", Role: domain.Customer, Number: 6, Name: "Ada", Email: "ada@example.com"}
}

func agent() domain.Person {
	return domain.Person{ID: "bob", Role: domain.Agent, Number: 3, Name: "Bob Holmes", Email: "bob@example.com", AvatarURL: "https://x/bob.png"}
}

func bot() domain.Person {
	return domain.Person{ID: "robbie", Role: domain.Bot, Number: 9, Name: "Robbie"}
}

func created() conversation.Created {
	return conversation.Created{
		Account: domain.Account{ID: "acme", Number: 4, Name: "Acme"}, Inbox: domain.Inbox{ID: "site", Number: 5, Name: "Website"},
		Channel: "web", Customer: customer(),
	}
}

func post(id string, by domain.Person, text string) conversation.MessagePosted {
	return conversation.MessagePosted{MessageID: id, Author: by, Text: text, ContentType: "text"}
}

func note(id, text string) conversation.MessagePosted {
	m := post(id, agent(), text)
	m.Private = true
	return m
}

// at returns the part of a body at a path such as "meta.sender.id" as compact
// JSON, or "absent".
func at(tb testing.TB, body []byte, path string) string {
	tb.Helper()
	value := raw(string(body))
	for key := range strings.SplitSeq(path, ".") {
		if i, err := strconv.Atoi(key); err == nil {
			var list []json.RawMessage
			if err := json.Unmarshal(value, &list); err != nil {
				tb.Fatalf("%s: %v in %s", path, err, value)
			}
			if i >= len(list) {
				return "absent"
			}
			value = list[i]
			continue
		}
		var object map[string]json.RawMessage
		if err := json.Unmarshal(value, &object); err != nil {
			tb.Fatalf("%s: %v in %s", path, err, value)
		}
		inner, ok := object[key]
		if !ok {
			return "absent"
		}
		value = inner
	}
	return string(value)
}

// expect compares parts of a body: path, value, path, value.
func expect(tb testing.TB, body []byte, want ...string) {
	tb.Helper()
	for i := 0; i < len(want); i += 2 {
		if diff := cmp.Diff(want[i+1], at(tb, body, want[i])); diff != "" {
			tb.Errorf("%s (-want +got):\n%s", want[i], diff)
		}
	}
}

func body(tb testing.TB, name string, events ...domain.Event) []byte {
	tb.Helper()
	return webhookstest.Tell(tb, events...).Body(chatwoot.New(), name)
}

func TestWords(t *testing.T) {
	t.Parallel()
	const statusAndUpdated = "conversation_status_changed conversation_updated"
	change := func(keys ...string) (out []domain.Change) {
		for _, k := range keys {
			out = append(out, changed(k, `null`, `"x"`))
		}
		return out
	}
	for _, c := range []struct {
		event domain.Event
		want  string
	}{
		{conversation.Created{}, "conversation_created"},
		{conversation.MessagePosted{}, "message_created"},
		{conversation.MessagePosted{Private: true}, "message_created"},
		{conversation.MessageEdited{}, "message_updated"},
		{conversation.MessageDeleted{}, "message_updated"},
		{conversation.StatusChanged{}, statusAndUpdated},
		{conversation.Reopened{}, statusAndUpdated},
		{conversation.Closed{From: conversation.Open}, statusAndUpdated + " conversation_transcript?"},
		{conversation.Closed{From: conversation.Snoozed}, statusAndUpdated + " conversation_transcript?"},
		{conversation.Closed{}, statusAndUpdated + " conversation_transcript?"},
		{conversation.Closed{From: conversation.Resolved}, "conversation_transcript?"},
		{conversation.Assigned{}, "conversation_updated"},
		{conversation.Unassigned{}, "conversation_updated"},
		{conversation.AttributesChanged{Changes: change("subject")}, "conversation_updated"},
		{conversation.AttributesChanged{Changes: change("attributes.closer", "team")}, "conversation_updated"},
		{conversation.AttributesChanged{Changes: change("labels", "priority", "attributes.plan")}, "conversation_updated"},
		{conversation.AttributesChanged{Changes: change("attributes.plan")}, "conversation_updated"},
		{conversation.AttributesChanged{Changes: change("attributes.closer", "attributes.chatwoot", "odd")}, ""},
		{conversation.AttributesChanged{}, ""},
		{conversation.CustomerUpdated{Changes: change("first_name", "email")}, "contact_updated"},
		{conversation.CustomerUpdated{Changes: change("avatar_url")}, "contact_updated"},
		{conversation.CustomerUpdated{Changes: change("attributes.plan")}, "contact_updated"},
		{conversation.CustomerUpdated{Changes: change("first_name", "attributes.talkus")}, ""},
		{conversation.TypingStarted{}, "conversation_typing_on"},
		{conversation.TypingStopped{}, "conversation_typing_off"},
		{conversation.Read{}, ""},
		{conversation.MessagePlayed{}, ""},
		{conversation.ActivityRecorded{}, ""},
		{contact.Created{}, "contact_created"},
		{contact.Updated{Changes: change("phone")}, "contact_updated"},
		{contact.Updated{Changes: change("phone"), Conversation: "c"}, ""},
		{contact.Updated{Changes: change("last_name")}, ""},
		{contact.WidgetTriggered{}, "webwidget_triggered"},
		{contact.Erased{}, "contact_updated"},
		{endpoint.Registered{}, ""},
	} {
		var got []string
		for _, w := range chatwoot.New().Words(c.event) {
			if w.OptIn {
				w.Name += "?"
			}
			got = append(got, w.Name)
		}
		if diff := cmp.Diff(c.want, strings.Join(got, " ")); diff != "" {
			t.Errorf("%s %+v: %s", c.event.EventType(), c.event, diff)
		}
	}
	d := chatwoot.New()
	for _, e := range eventstore.Catalogue().Types() {
		for _, w := range d.Words(e) {
			for _, typ := range d.Vocabulary() {
				if typ.Name == w.Name && typ.Word != w {
					t.Errorf("the vocabulary says %+v of %+v", typ.Word, w)
				}
			}
		}
	}
}

func TestWhoSpeaks(t *testing.T) {
	t.Parallel()
	plain := `{"account":{"id":4,"name":"Acme"},"additional_attributes":{},"avatar":"","custom_attributes":{},"email":"ada@example.com",` +
		`"id":6,"identifier":null,"name":"Ada","phone_number":null,"thumbnail":"","blocked":false}`
	inner := `{"additional_attributes":{},"custom_attributes":{},"email":"ada@example.com","id":6,"identifier":null,"name":"Ada",` +
		`"phone_number":null,"thumbnail":"","blocked":false,"type":"contact"}`
	csat := post("m", agent(), "How was it?")
	csat.ContentType = "input_csat"
	given := post("m", agent(), "Hi")
	given.Attributes = attributes(t, `{"chatwoot":{"message_type":"template"}}`)
	for name, c := range map[string]struct {
		said                           conversation.MessagePosted
		kind, number, sender           string
		innerType, innerID, innerPlace string
	}{
		"a contact": {post("m", customer(), "Hi"), `"incoming"`, "0", plain, `"Contact"`, "6", inner},
		"a user": {
			post("m", agent(), "Hi"), `"outgoing"`, "1", `{"id":3,"name":"Bob Holmes","email":"bob@example.com","type":"user"}`, `"User"`, "3",
			`{"id":3,"name":"Bob Holmes","available_name":"Bob Holmes","avatar_url":"https://x/bob.png","type":"user",` +
				`"availability_status":null,"thumbnail":"https://x/bob.png"}`,
		},
		"a bot": {
			post("m", bot(), "Hi"), `"outgoing"`, "1", `{"id":9,"name":"Robbie","type":"agent_bot"}`, `"AgentBot"`, "9",
			`{"id":9,"name":"Robbie","avatar_url":"","type":"agent_bot"}`,
		},
		"the system":     {post("m", domain.Person{ID: "s", Role: domain.System}, "Hi"), `"template"`, "3", "null", "null", "null", "absent"},
		"a survey":       {csat, `"template"`, "3", "null", "null", "null", "absent"},
		"as it is given": {given, `"template"`, "3", "null", "null", "null", "absent"},
	} {
		b := body(t, chatwoot.MessageCreated, created(), c.said)
		t.Log(name)
		expect(t, b, "message_type", c.kind, "sender", c.sender, "conversation.messages.0.message_type", c.number,
			"conversation.messages.0.sender_type", c.innerType, "conversation.messages.0.sender_id", c.innerID,
			"conversation.messages.0.sender", c.innerPlace)
	}
	for who, want := range map[*domain.Person]string{
		new(customer()): plain,
		new(agent()):    `{"id":3,"name":"Bob Holmes","email":"bob@example.com","type":"user"}`,
		new(bot()):      `{"id":9,"name":"Robbie","type":"agent_bot"}`,
	} {
		on := body(t, chatwoot.ConversationTypingOn, created(), conversation.TypingStarted{Author: *who, Private: true})
		off := body(t, chatwoot.ConversationTypingOff, created(), conversation.TypingStarted{Author: *who}, conversation.TypingStopped{Author: *who})
		expect(t, on, "user", want, "is_private", "true", "event", `"conversation_typing_on"`, "conversation.id", "1")
		expect(t, off, "user", want, "is_private", "false", "event", `"conversation_typing_off"`)
	}
}

// A message is never told as another one: receivers act on the one that stands
// in the conversation.
func TestWhichMessageStandsInAConversation(t *testing.T) {
	t.Parallel()
	s := webhookstest.Tell(t, created())
	expect(t, s.Body(chatwoot.New(), chatwoot.ConversationCreated), "messages", "[]")
	s.Then(note("n1", "first, between us"))
	expect(t, s.Body(chatwoot.New(), chatwoot.MessageCreated), "conversation.messages", "[]", "private", "true", "content", `"first, between us"`)
	s.Then(post("m1", customer(), "one"), post("m2", agent(), "two"), note("n2", "between us"))
	expect(t, s.Body(chatwoot.New(), chatwoot.MessageCreated),
		"id", "5", "content", `"between us"`, "conversation.messages.0.id", "4", "conversation.messages.0.content", `"two"`, "conversation.messages.1", "absent")
	s.Then(conversation.MessageEdited{MessageID: "n1", Text: "still", Private: true, By: agent()})
	expect(t, s.Body(chatwoot.New(), chatwoot.MessageUpdated), "id", "2", "content", `"still"`, "conversation.messages.0.content", `"two"`)
	s.Then(conversation.MessageEdited{MessageID: "m1", Previous: "one", Text: "uno", By: agent()})
	expect(t, s.Body(chatwoot.New(), chatwoot.MessageUpdated),
		"id", "3", "content", `"uno"`, "created_at", `"2026-03-01T12:00:03.123Z"`, "conversation.messages.0.id", "3",
		"conversation.messages.0.updated_at", `"2026-03-01T12:00:07.123Z"`, "conversation.messages.0.processed_message_content", `"uno"`)
	s.Then(conversation.Assigned{Agent: agent()})
	expect(t, s.Body(chatwoot.New(), chatwoot.ConversationUpdated), "messages.0.content", `"two"`, "messages.0.conversation.assignee_id", "3")
}

// A deleted message keeps the id that it was given, and nothing of what it said.
func TestDeleted(t *testing.T) {
	t.Parallel()
	m := post("m", customer(), "in anger")
	m.ContentAttributes, m.Attachments = attributes(t, `{"items":[1]}`), []conversation.Attachment{{URL: "https://x/anger.png"}}
	m.Attributes = attributes(t, `{"mood":"anger","chatwoot":{"id":102,"source_id":"WAID:1","attachments":[{"thumb_url":"https://x/anger"}]}}`)
	answer := post("a", agent(), "Oh")
	answer.ReplyTo = "m"
	s := webhookstest.Tell(t, created(), m, answer, conversation.MessageDeleted{MessageID: "m", By: customer()})
	b := s.Body(chatwoot.New(), chatwoot.MessageUpdated)
	expect(t, b, "id", "102", "content", `"This message was deleted"`, "content_attributes", `{"deleted":true}`, "attachments", "absent",
		"additional_attributes", "{}", "conversation.messages.0.id", "102", "conversation.messages.0.content", `"This message was deleted"`,
		"conversation.messages.0.content_attributes", `{"deleted":true}`, "conversation.messages.0.attachments", "absent")
	if strings.Contains(string(b), "anger") {
		t.Errorf("what was deleted is told: %s", b)
	}
	s.Then(conversation.Closed{})
	expect(t, s.Body(chatwoot.New(), chatwoot.ConversationTranscript), "transcript.0.id", "102", "transcript.0.content_attributes", `{"deleted":true}`,
		"transcript.1.content_attributes.in_reply_to", "102")
}

func TestUnknownMessagesHaveABody(t *testing.T) {
	t.Parallel()
	expect(t, body(t, chatwoot.MessageUpdated, created(), conversation.MessageEdited{MessageID: "never", Text: "x", By: agent()}), "content", `"x"`)
	expect(t, body(t, chatwoot.MessageUpdated, created(), conversation.MessageDeleted{MessageID: "never", By: agent()}),
		"content_attributes", `{"deleted":true}`)
}

func TestContent(t *testing.T) {
	t.Parallel()
	b := body(t, chatwoot.MessageCreated, created(), post("m", agent(), "one\\\ntwo <b>&\u2028\xff"))
	// Rails escapes what could end a script in a web page.
	for _, want := range []string{`"content":"one\ntwo \u003cb\u003e\u0026\u2028\ufffd","conversation":`, `"content":"one\\\ntwo \u003cb\u003e`} {
		if !strings.Contains(string(b), want) {
			t.Errorf("no %s in %s", want, b)
		}
	}
	file := post("m", customer(), "")
	file.ContentType, file.ExternalID = "text/html", "WAID:7"
	file.Attachments = []conversation.Attachment{{URL: "https://x/1"}}
	expect(t, body(t, chatwoot.MessageCreated, created(), file), "content", "null", "content_type", `"text"`, "source_id", `"WAID:7"`,
		"conversation.messages.0.content", "null", "conversation.messages.0.processed_message_content", "null")
	cards := post("m", bot(), "Choose")
	cards.ContentType, cards.ContentAttributes = "cards", attributes(t, `{"items":[{"title":"<a>"}]}`)
	expect(t, body(t, chatwoot.MessageCreated, created(), cards),
		"content_type", `"cards"`, "content_attributes", `{"items":[{"title":"\u003ca\u003e"}]}`)
}

func TestReplies(t *testing.T) {
	t.Parallel()
	moved := post("m", customer(), "one")
	moved.Attributes = attributes(t, `{"chatwoot":{"id":101}}`)
	reply := func(to string, by domain.Person, more string) conversation.MessagePosted {
		m := post("r", by, "answer")
		m.ReplyTo, m.ContentAttributes = to, attributes(t, more)
		return m
	}
	for _, c := range []struct {
		said conversation.MessagePosted
		want string
	}{
		{reply("m", agent(), `{}`), `{"in_reply_to":101}`},
		{reply("m", agent(), `{"a":{}}`), `{"a":{},"in_reply_to":101}`},
		{reply("m", agent(), `{"in_reply_to":7}`), `{"in_reply_to":7}`},
		{reply("m2", customer(), `{}`), `{"in_reply_to":3}`},
		{reply("gone", agent(), `{}`), `{"in_reply_to":null}`},
		{reply("", agent(), `{}`), `{}`},
		{reply("", customer(), `{}`), `{"in_reply_to":null}`}, // as the widget has it
	} {
		b := body(t, chatwoot.MessageCreated, created(), moved, post("m2", agent(), "two"), c.said)
		expect(t, b, "content_attributes", c.want, "conversation.messages.0.content_attributes", c.want)
	}
	// What is too far back is not looked for.
	s := webhookstest.Tell(t, created(), moved)
	for i := range 999 {
		s.Then(note(fmt.Sprint(i), "x"))
	}
	answer := reply("m", agent(), `{}`)
	expect(t, s.Then(answer).Body(chatwoot.New(), chatwoot.MessageCreated), "content_attributes", `{"in_reply_to":101}`)
	expect(t, s.Then(answer).Body(chatwoot.New(), chatwoot.MessageCreated), "content_attributes", `{"in_reply_to":null}`)

	api := created()
	api.Channel = "api"
	expect(t, body(t, chatwoot.MessageCreated, api, post("m", customer(), "x")), "content_attributes", "{}")
}

func TestAttachments(t *testing.T) {
	t.Parallel()
	m := post("m", customer(), "see")
	m.Attachments = []conversation.Attachment{
		{FileType: "image", ContentType: "image/png", URL: "https://x/1?a&b", Name: "1.png", Size: 7, Width: 3, Height: 4},
		{ContentType: "audio/ogg", URL: "https://x/2", Extension: "oga"},
		{URL: "https://x/3", Width: -1, Size: -1},
		{FileType: "location", URL: "https://x/4", Name: "Home"},
		{FileType: "fallback", URL: "https://x/5"},
		{FileType: "contact", URL: "https://x/6", Name: "+49"},
		{FileType: "embed", URL: "https://x/7"},
		{FileType: "odd", ContentType: "video/mp4", URL: "https://x/8"},
	}
	b := body(t, chatwoot.MessageCreated, created(), m)
	file := func(i int, kind, rest string) string {
		return fmt.Sprintf(`{"id":%d,"message_id":2,"file_type":%q,"account_id":4,%s}`, 32+i, kind, rest)
	}
	want := []string{
		file(0, "image", `"extension":"png","content_type":"image/png","data_url":"https://x/1?a\u0026b","thumb_url":"","file_size":7,"width":3,"height":4`),
		file(1, "audio", `"extension":"oga","content_type":"audio/ogg","data_url":"https://x/2","thumb_url":"","file_size":0,"width":null,"height":null,"transcribed_text":""`),
		file(2, "file", `"extension":null,"content_type":"application/octet-stream","data_url":"https://x/3","thumb_url":"","file_size":0,"width":null,"height":null`),
		file(3, "location", `"coordinates_lat":0.0,"coordinates_long":0.0,"fallback_title":"Home","data_url":"https://x/4"`),
		file(4, "fallback", `"fallback_title":null,"data_url":"https://x/5"`),
		file(5, "contact", `"fallback_title":"+49","meta":{}`),
		file(6, "embed", `"data_url":"https://x/7"`),
		file(7, "video", `"extension":null,"content_type":"video/mp4","data_url":"https://x/8","thumb_url":"","file_size":0,"width":null,"height":null`),
	}
	list := "[" + strings.Join(want, ",") + "]"
	expect(t, b, "attachments", list, "conversation.messages.0.attachments", list)

	m.Attributes = attributes(t, `{"chatwoot":{"attachments":[{"id":9,"thumb_url":"https://x/t"},{"transcribed_text":"hello"},7,
		{"coordinates_lat":52.5,"coordinates_long":13}]}}`)
	b = body(t, chatwoot.MessageCreated, created(), m)
	expect(t, b, "attachments.0.id", "9", "attachments.0.thumb_url", `"https://x/t"`, "attachments.1.transcribed_text", `"hello"`,
		"attachments.2.thumb_url", `""`, "attachments.3.coordinates_lat", "52.5", "attachments.3.coordinates_long", "13.0")
}

func TestStatus(t *testing.T) {
	t.Parallel()
	until := webhookstest.Day().Add(time.Hour)
	d := chatwoot.New()
	s := webhookstest.Tell(t, created(), conversation.StatusChanged{From: conversation.Open, To: conversation.Snoozed, SnoozedUntil: &until})
	updated := func(before, now int) string {
		return fmt.Sprintf(`{"updated_at":{"previous_value":"2026-03-01T12:00:%02d.123Z","current_value":"2026-03-01T12:00:%02d.123Z"}}`, before, now)
	}
	status := func(before, now string) string {
		return fmt.Sprintf(`{"status":{"previous_value":%q,"current_value":%q}}`, before, now)
	}
	const snooze = `"2026-03-01T13:00:00.123Z"`
	expect(t, s.Body(d, chatwoot.ConversationStatusChanged), "status", `"snoozed"`, "snoozed_until", snooze, "changed_attributes", "null")
	expect(t, s.Body(d, chatwoot.ConversationUpdated), "changed_attributes",
		"["+status("open", "snoozed")+`,{"snoozed_until":{"previous_value":null,"current_value":`+snooze+`}},`+updated(1, 2)+"]")
	s.Then(conversation.StatusChanged{From: conversation.Snoozed, To: conversation.Resolved})
	expect(t, s.Body(d, chatwoot.ConversationUpdated), "status", `"resolved"`, "snoozed_until", "null", "waiting_since", "0", "can_reply", "true",
		"changed_attributes", "["+status("snoozed", "resolved")+`,{"snoozed_until":{"previous_value":`+snooze+`,"current_value":null}},`+updated(2, 3)+"]")
	s.Then(conversation.StatusChanged{From: conversation.Resolved, To: conversation.Pending}, conversation.Closed{From: conversation.Pending})
	expect(t, s.Body(d, chatwoot.ConversationStatusChanged), "status", `"resolved"`, "can_reply", "false")
	expect(t, s.Body(d, chatwoot.ConversationUpdated), "changed_attributes", "["+status("pending", "resolved")+","+updated(4, 5)+"]")
	s.Then(conversation.Reopened{By: agent()})
	expect(t, s.Body(d, chatwoot.ConversationUpdated), "status", `"open"`, "can_reply", "true",
		"changed_attributes", "["+status("resolved", "open")+","+updated(5, 6)+"]")
	s.Then(conversation.Closed{})
	expect(t, s.Body(d, chatwoot.ConversationUpdated), "changed_attributes.0.status.previous_value", "null")
}

func TestAssignees(t *testing.T) {
	t.Parallel()
	d := chatwoot.New()
	s := webhookstest.Tell(t, created(), conversation.Assigned{Agent: agent()})
	expect(t, s.Body(d, chatwoot.ConversationUpdated), "meta.assignee_type", `"User"`, "meta.assignee.type", `"user"`, "meta.assignee.email", "absent",
		"changed_attributes.0", `{"assignee_id":{"previous_value":null,"current_value":3}}`)
	by := agent()
	s.Then(conversation.Assigned{Agent: bot(), Previous: &by})
	expect(t, s.Body(d, chatwoot.ConversationUpdated), "meta.assignee_type", `"AgentBot"`,
		"meta.assignee", `{"id":9,"name":"Robbie","avatar_url":"","type":"agent_bot"}`,
		"changed_attributes.0", `{"assignee_id":{"previous_value":3,"current_value":null}}`,
		"changed_attributes.1", `{"assignee_agent_bot_id":{"previous_value":null,"current_value":9}}`)
	s.Then(post("m", customer(), "x"))
	expect(t, s.Body(d, chatwoot.MessageCreated), "conversation.messages.0.conversation.assignee_id", "null")
	s.Then(conversation.Unassigned{Previous: bot()})
	expect(t, s.Body(d, chatwoot.ConversationUpdated), "meta.assignee", "null", "meta.assignee_type", "null",
		"changed_attributes.0", `{"assignee_agent_bot_id":{"previous_value":9,"current_value":null}}`, "changed_attributes.2", "absent")
}

func TestAttributesChanged(t *testing.T) {
	t.Parallel()
	c := created()
	c.Subject = "Order"
	c.Attributes = attributes(t, `{"cart":{"items":2},"language":"en","chatwoot":{"id":77}}`)
	b := body(t, chatwoot.ConversationUpdated, c, conversation.AttributesChanged{Changes: []domain.Change{
		changed("subject", `"Order"`, `null`),
		changed("team", `null`, `{"id":"t","number":2,"name":"Parcels"}`),
		changed("labels", `[]`, `["a","<b>"]`),
		changed("priority", `null`, `"high"`),
		changed("attributes.cart", `{"items":2}`, `null`),
		changed("attributes.plan", `null`, `"pro"`),
		changed("attributes.language", `"en"`, `"de"`),
		changed("attributes.closer", `null`, `{"apiKey":"x"}`),
	}})
	visit := func(language, rest string) string {
		return `{"browser":{"device_name":"Unknown","browser_name":"Unknown","platform_name":"Unknown","browser_version":"0","platform_version":"0"},` +
			`"referer":null,"initiated_at":{"timestamp":"Sun Mar 01 2026 12:00:01 GMT+0000 (Coordinated Universal Time)"},"browser_language":"` + language + `"` + rest + `}`
	}
	expect(t, b, "id", "77", "additional_attributes", visit("de", ""), "custom_attributes", `{"plan":"pro"}`, "labels", `["a","\u003cb\u003e"]`,
		"meta.team", `{"id":2,"name":"Parcels"}`, "priority", `"high"`,
		"changed_attributes", `[{"additional_attributes":{"previous_value":`+visit("en", `,"mail_subject":"Order"`)+`,"current_value":`+visit("de", "")+`}},`+
			`{"custom_attributes":{"previous_value":{"cart":{"items":2}},"current_value":{"plan":"pro"}}},`+
			`{"team_id":{"previous_value":null,"current_value":2}},{"label_list":{"previous_value":[],"current_value":["a","\u003cb\u003e"]}},`+
			`{"priority":{"previous_value":null,"current_value":"high"}},`+
			`{"updated_at":{"previous_value":"2026-03-01T12:00:01.123Z","current_value":"2026-03-01T12:00:02.123Z"}}]`)
}

func TestAdditionalAttributes(t *testing.T) {
	t.Parallel()
	const browser = `"browser":{"device_name":"Unknown","browser_name":"Unknown","platform_name":"Unknown","browser_version":"0","platform_version":"0"}`
	const began = `"Sun Mar 01 2026 12:00:01 GMT+0000 (Coordinated Universal Time)"`
	for _, c := range []struct{ channel, subject, attributes, additional, custom string }{
		{"web", "", `{}`, `{}`, `{}`},
		{"web", "", `{"plan":"pro","ip":"::1"}`, `{}`, `{"plan":"pro","ip":"::1"}`},
		{
			"web", "", `{"current_page":"https://x/","screen_size":"1x1"}`,
			`{` + browser + `,"referer":"https://x/","initiated_at":{"timestamp":` + began + `},"browser_language":null}`, `{"screen_size":"1x1"}`,
		},
		{
			"web", "", `{"current_page":"https://x/","referer":"https://y/","browser_version":128}`,
			`{` + strings.Replace(browser, `"browser_version":"0"`, `"browser_version":"128"`, 1) +
				`,"referer":"https://y/","initiated_at":{"timestamp":` + began + `},"browser_language":null}`, `{"current_page":"https://x/"}`,
		},
		{"api", "", `{"browser_name":"Firefox"}`, `{}`, `{"browser_name":"Firefox"}`},
		{"email", "Re: <x>", `{}`, `{"mail_subject":"Re: \u003cx\u003e"}`, `{}`},
		{"email", "Re", `{"chatwoot":{"additional_attributes":{"source":"email","browser":5}}}`, `{"source":"email","browser":5,"mail_subject":"Re"}`, `{}`},
		{"email", "Re", `{"chatwoot":{"additional_attributes":{"mail_subject":"Fwd"}}}`, `{"mail_subject":"Fwd"}`, `{}`},
		{"email", "", `{"chatwoot":{"additional_attributes":7}}`, `{}`, `{}`},
	} {
		e := created()
		e.Channel, e.Subject, e.Attributes = c.channel, c.subject, attributes(t, c.attributes)
		expect(t, body(t, chatwoot.ConversationCreated, e), "additional_attributes", c.additional, "custom_attributes", c.custom)
	}
}

func TestDates(t *testing.T) {
	t.Parallel()
	const began = `"Sun Mar 01 2026 12:00:01 GMT+0000 (Coordinated Universal Time)"`
	for given, want := range map[string]string{
		"2026-02-13T01:27:32.104Z":                        `"Fri Feb 13 2026 01:27:32 GMT+0000 (Coordinated Universal Time)"`,
		"2026-02-13T09:27:32+08:00":                       `"Fri Feb 13 2026 01:27:32 GMT+0000 (Coordinated Universal Time)"`,
		"1999-12-31T23:59:59Z":                            `"Fri Dec 31 1999 23:59:59 GMT+0000 (Coordinated Universal Time)"`,
		"2026-02-13":                                      began,
		"yesterday":                                       began,
		"Fri Feb 13 2026 (x":                              began,
		"Mon Feb 13 2026 09:27:32 (x)":                    began,
		"Sat Feb 13 2026 09:27:32 GMT+0800 (no Saturday)": began,
		"Fri Feb 13 2026 09:27:32 GMT+0800 (Singapore <Standard> Time)":  `"Fri Feb 13 2026 09:27:32 GMT+0800 (Singapore \u003cStandard\u003e Time)"`,
		"Fri Feb 13 2026 01:27:32 GMT+0000 (Coordinated Universal Time)": `"Fri Feb 13 2026 01:27:32 GMT+0000 (Coordinated Universal Time)"`,
	} {
		e := created()
		e.Attributes = domain.Attributes{{Key: "initiated_at", Value: raw(strconv.Quote(given))}}
		expect(t, body(t, chatwoot.ConversationCreated, e), "additional_attributes.initiated_at.timestamp", want)
	}
}

// Seconds with microseconds as Ruby writes a float: the shortest text that no
// other float has, with one decimal at least.
func TestFloats(t *testing.T) {
	t.Parallel()
	for micros, want := range map[int64]string{
		1770946053366333:   "1770946053.366333",
		1770946053000000:   "1770946053.0",
		1770946053100000:   "1770946053.1",
		1770946053000001:   "1770946053.000001",
		1770946053999999:   "1770946053.999999",
		-1500000:           "-1.5",
		253402300799999999: "253402300800.0", // the last that can be recorded: a float has no more digits
	} {
		e := created()
		r := &eventstore.Recorded{Position: 1, Version: 1, Stream: webhookstest.Stream(1), Type: e.EventType(), Schema: 1, Time: time.UnixMicro(micros).UTC()}
		var h webhooks.History
		h.Apply(r, e)
		b := webhookstest.Body(t, chatwoot.New(), &webhooks.PublicEvent{
			Fact: webhooks.Fact{Recorded: r, Event: e}, Name: chatwoot.ConversationCreated, History: &h,
		})
		expect(t, b, "updated_at", want)
	}
}

func TestChannels(t *testing.T) {
	t.Parallel()
	for channel, want := range map[string]string{
		"web": "WebWidget", "api": "Api", "email": "Email", "whatsapp": "Whatsapp", "facebook": "FacebookPage", "instagram": "Instagram",
		"telegram": "Telegram", "line": "Line", "sms": "Sms", "twilio": "TwilioSms", "twitter": "TwitterProfile", "tiktok": "Tiktok", "voice": "Voice",
		"": "Api", "carrier pigeon": "Api", "Channel::Pigeon": "Pigeon",
	} {
		direct, inbox := created(), created()
		direct.Channel = channel
		inbox.Channel, inbox.Inbox.Channel = "", channel
		expect(t, body(t, chatwoot.ConversationCreated, direct), "channel", `"Channel::`+want+`"`)
		expect(t, body(t, chatwoot.ConversationCreated, inbox), "channel", `"Channel::`+want+`"`)
	}
}

func TestAttention(t *testing.T) {
	t.Parallel()
	s := webhookstest.Tell(t, created())
	for i := range 12 {
		s.Then(post(fmt.Sprint(i), customer(), "still nobody?"))
	}
	d := chatwoot.New()
	began := webhookstest.Day().Unix()
	b := s.Body(d, chatwoot.MessageCreated)
	expect(t, b, "conversation.unread_count", "10", "conversation.messages.0.conversation.unread_count", "10",
		"conversation.waiting_since", fmt.Sprint(began+1), "conversation.first_reply_created_at", "null",
		"conversation.agent_last_seen_at", "0", "conversation.contact_last_seen_at", "0", "conversation.created_at", fmt.Sprint(began+1),
		"conversation.last_activity_at", fmt.Sprint(began+13), "conversation.timestamp", fmt.Sprint(began+13))
	s.Then(conversation.Read{By: agent(), UpTo: 13}, post("a", agent(), "Here I am"), conversation.Read{By: customer(), UpTo: 15}, conversation.Assigned{Agent: agent()})
	expect(t, s.Body(d, chatwoot.ConversationUpdated), "unread_count", "0", "waiting_since", "0", "agent_last_seen_at", fmt.Sprint(began+14),
		"contact_last_seen_at", fmt.Sprint(began+16), "first_reply_created_at", `"2026-03-01T12:00:15.123Z"`)
}

func TestContacts(t *testing.T) {
	t.Parallel()
	d := chatwoot.New()
	who := customer()
	who.Number, who.Attributes = 0, attributes(t, `{"plan":"pro","talkus":{},"chatwoot":{"additional_attributes":{"city":"<Bern>"},"blocked":true,"thumbnail":"https://x/t"}}`)
	s := webhookstest.TellAt(t, 41, contact.Created{Account: domain.Account{ID: "acme"}, Profile: who})
	expect(t, s.Body(d, chatwoot.ContactCreated), "account", `{"id":1,"name":""}`, "id", "41", "custom_attributes", `{"plan":"pro"}`,
		"additional_attributes", `{"city":"\u003cBern\u003e"}`, "blocked", "true", "avatar", `""`, "thumbnail", `"https://x/t"`,
		"type", "absent", "changed_attributes", "absent", "event", `"contact_created"`)
	now := who
	now.Name, now.Phone, now.Email, now.Attributes = "", "+49", "", attributes(t, `{"plan":"free","seats":2}`)
	changes := []domain.Change{
		changed("name", `"Ada"`, `null`), changed("first_name", `"Ada"`, `null`), changed("email", `"ada@example.com"`, `null`),
		changed("phone", `null`, `"+49"`), changed("avatar_url", `null`, `"https://x/a"`), changed("identifier", `null`, `"7"`),
		changed("attributes.plan", `"pro"`, `"free"`), changed("attributes.seats", `null`, `2`), changed("attributes.talkus", `{}`, `null`),
	}
	s.Then(contact.WidgetTriggered{Contact: who}, contact.Updated{Changes: changes, Profile: now})
	told := func(before, at int) string {
		return `[{"name":{"previous_value":"Ada","current_value":""}},{"email":{"previous_value":"ada@example.com","current_value":null}},` +
			`{"phone_number":{"previous_value":null,"current_value":"+49"}},{"avatar":{"previous_value":"","current_value":"https://x/a"}},` +
			`{"identifier":{"previous_value":null,"current_value":"7"}},` +
			`{"custom_attributes":{"previous_value":{"plan":"pro"},"current_value":{"plan":"free","seats":2}}},` +
			fmt.Sprintf(`{"updated_at":{"previous_value":"2026-03-01T12:00:%02d.123Z","current_value":"2026-03-01T12:00:%02d.123Z"}}]`, before, at)
	}
	expect(t, s.Body(d, chatwoot.ContactUpdated), "name", `""`, "email", "null", "id", "41", "changed_attributes", told(1, 3))
	s.Then(contact.Erased{By: domain.Person{ID: "operator"}})
	expect(t, s.Body(d, chatwoot.ContactUpdated), "name", `""`, "phone_number", "null", "custom_attributes", "{}", "id", "41", "changed_attributes",
		`[{"updated_at":{"previous_value":"2026-03-01T12:00:03.123Z","current_value":"2026-03-01T12:00:04.123Z"}}]`)

	// A customer who is updated in a conversation is the same contact.
	now.Number = 6
	b := body(t, chatwoot.ContactUpdated, created(), conversation.CustomerUpdated{Changes: changes, Customer: now})
	expect(t, b, "account", `{"id":4,"name":"Acme"}`, "id", "6", "phone_number", `"+49"`, "event", `"contact_updated"`, "changed_attributes", told(1, 2))
}

func TestWidget(t *testing.T) {
	t.Parallel()
	d := chatwoot.New()
	who := customer()
	opened := contact.WidgetTriggered{
		Contact: who, Inbox: domain.Inbox{ID: "site", Number: 5, Name: "Website"},
		Attributes: attributes(t, `{"current_page":"https://x/?a&b","language":"de","widget_language":"en","initiated_at":"2026-02-13T01:27:32Z","browser_name":"Firefox"}`),
	}
	s := webhookstest.Tell(t, contact.Created{Account: created().Account, Profile: who}, opened)
	b := s.Body(d, chatwoot.WebwidgetTriggered)
	expect(t, b, "current_conversation", "null", "inbox", `{"id":5,"name":"Website"}`, "account", `{"id":4,"name":"Acme"}`, "contact.id", "6",
		"event_info", `{"initiated_at":{"timestamp":"Fri Feb 13 2026 01:27:32 GMT+0000 (Coordinated Universal Time)"},"referer":"https://x/?a\u0026b",`+
			`"widget_language":"en","browser_language":"de","browser":{"browser_name":"Firefox","browser_version":"0","device_name":"Unknown",`+
			`"platform_name":"Unknown","platform_version":"0"}}`)

	// The row of the contact in the inbox is the same in the conversation.
	answer := post("a", agent(), "Hi")
	answer.ReplyTo = "m"
	talk := webhookstest.Tell(t, created(), post("m", who, "Hello"), answer, conversation.Assigned{Agent: agent()})
	inside := talk.Body(d, chatwoot.ConversationUpdated)
	expect(t, b, "id", at(t, inside, "contact_inbox.id"), "source_id", at(t, inside, "contact_inbox.source_id"))

	snapshot, err := json.Marshal(talk.History.Snapshot())
	if err != nil {
		t.Fatal(err)
	}
	opened.CurrentConversation, opened.Attributes = snapshot, nil
	b = s.Then(opened).Body(d, chatwoot.WebwidgetTriggered)
	want, _, _ := strings.Cut(string(inside), `,"event":`)
	if diff := cmp.Diff(want+"}", at(t, b, "current_conversation")); diff != "" {
		t.Errorf("(-conversation +snapshot of it):\n%s", diff)
	}
	expect(t, b, "event_info.referer", "null", "event_info.widget_language", "null",
		"event_info.initiated_at.timestamp", `"Sun Mar 01 2026 12:00:03 GMT+0000 (Coordinated Universal Time)"`)

	for _, bad := range []string{`7`, `{"conversation":7}`, `{}`, `null`, `{"conversation":{"version":1,"created_at":"never"}}`} {
		opened.CurrentConversation = raw(bad)
		expect(t, s.Then(opened).Body(d, chatwoot.WebwidgetTriggered), "current_conversation", "null")
	}
}

func TestTranscript(t *testing.T) {
	t.Parallel()
	d := chatwoot.New()
	s := webhookstest.Tell(t, created(), post("m1", customer(), "Hello"), note("n", "between us"), post("m2", agent(), "Hi"),
		conversation.Closed{From: conversation.Open})
	b := s.Body(d, chatwoot.ConversationTranscript)
	expect(t, b, "status", `"resolved"`, "messages.0.content", `"Hi"`, "messages.1", "absent", "revision", "1", "event", `"conversation_transcript"`,
		"transcript.0.content", `"Hello"`, "transcript.0.conversation", "absent", "transcript.0.conversation_id", "1", "transcript.0.inbox_id", "5",
		"transcript.0.account_id", "4", "transcript.1.private", "true", "transcript.1.content", `"between us"`, "transcript.2.id", "4", "transcript.3", "absent")
	// But for the conversation in short, a message stands there as it does in a conversation.
	short := regexp.MustCompile(`,"conversation":\{[^{}]*\{[^{}]*\}\}`)
	if diff := cmp.Diff(short.ReplaceAllString(at(t, b, "messages.0"), ""), at(t, b, "transcript.2")); diff != "" {
		t.Error(diff)
	}

	e := s.Event(chatwoot.ConversationTranscript)
	e.View.Notes = false
	public := webhookstest.Body(t, d, e)
	expect(t, public, "transcript.1.content", `"Hi"`, "transcript.2", "absent")
	if strings.Contains(string(public), "between us") {
		t.Errorf("a note is told to who is not to see notes: %s", public)
	}

	s.Then(conversation.Reopened{By: agent()}, conversation.MessageEdited{MessageID: "m1", Text: "Hello!", By: agent()},
		post("m3", customer(), "And?"), conversation.Closed{From: conversation.Open})
	expect(t, s.Body(d, chatwoot.ConversationTranscript), "revision", "2", "transcript.0.content", `"Hello!"`, "transcript.3.content", `"And?"`)
}

// What is told of a message follows from it and from the last public one: older
// ones are not looked at, however many there are.
func TestAMessageNeedsNoHistory(t *testing.T) {
	t.Parallel()
	s := webhookstest.Tell(t, created())
	for i := range 50 {
		s.Then(post(fmt.Sprint(i), customer(), "x"))
	}
	reply := post("r", agent(), "answer")
	reply.ReplyTo = "7"
	s.Then(reply)
	before := s.Body(chatwoot.New(), chatwoot.MessageCreated)
	clear(s.History.Messages[:len(s.History.Messages)-1])
	if diff := cmp.Diff(string(before), string(s.Body(chatwoot.New(), chatwoot.MessageCreated))); diff != "" {
		t.Error(diff)
	}
	expect(t, before, "content_attributes", `{"in_reply_to":9}`)
}

// These are in bodies that were sent: they can never change.
func TestDerivedValuesAreForEver(t *testing.T) {
	t.Parallel()
	nobody := domain.Person{ID: "visitor-1", Role: domain.Customer}
	c := conversation.Created{Account: domain.Account{ID: "acme"}, Inbox: domain.Inbox{ID: "site"}, Customer: nobody}
	b := body(t, chatwoot.ConversationUpdated, c, conversation.Assigned{Agent: domain.Person{ID: "agent-1", Role: domain.Agent}},
		conversation.AttributesChanged{Changes: []domain.Change{changed("team", `null`, `{"id":"team-1"}`)}})
	expect(t, b, "account.id", "1", "inbox_id", "1", "meta.sender.id", "1072110691", "meta.assignee.id", "939121118", "meta.team.id", "1058346671",
		"contact_inbox.id", "2057626334", "contact_inbox.source_id", `"7e4e5fe6-bfaa-8b0d-965c-9955d371133d"`,
		"contact_inbox.pubsub_token", `"ThFKQSF785vxT6L9EVEfGfZY"`,
		"contact_inbox.created_at", `"2026-03-01T12:00:01.123Z"`)
	if !regexp.MustCompile(`^"[1-9A-HJ-NP-Za-km-z]{24}"$`).MatchString(at(t, b, "contact_inbox.pubsub_token")) {
		t.Error("that is no token of Rails")
	}
	c.Inbox.ID = "other"
	other := body(t, chatwoot.ConversationCreated, c)
	for _, path := range []string{"contact_inbox.id", "contact_inbox.source_id", "contact_inbox.pubsub_token"} {
		if at(t, b, path) == at(t, other, path) {
			t.Errorf("two inboxes share %s", path)
		}
	}
}

// What was moved in from Chatwoot keeps its identity; what cannot be meant is as
// if it had not been given.
func TestGivenValues(t *testing.T) {
	t.Parallel()
	c := created()
	c.Customer.Attributes = attributes(t, `{"chatwoot":{"id":106,"contact_inbox":{"id":11,"source_id":"s","pubsub_token":"p","hmac_verified":true,
		"created_at":"2026-02-13T02:22:32.692+01:00","updated_at":"2026-02-14T01:22:32Z"}}}`)
	c.Attributes = attributes(t, `{"chatwoot":{"id":107,"can_reply":false}}`)
	who := agent()
	who.Attributes = attributes(t, `{"chatwoot":{"id":103,"available_name":"Bob","availability_status":"busy","thumbnail":"https://x/t"}}`)
	m := post("m", who, "Hi")
	m.Attributes = attributes(t, `{"draft":1,"chatwoot":{"id":108,"source_id":"WAID:1","status":"read","content_attributes":{"x":1}}}`)
	b := body(t, chatwoot.MessageCreated, c, m)
	expect(t, b, "id", "108", "source_id", `"WAID:1"`, "content_attributes", `{"x":1}`, "additional_attributes", `{"draft":1}`, "sender.id", "103",
		"conversation.id", "107", "conversation.can_reply", "false", "conversation.meta.sender.id", "106", "conversation.meta.hmac_verified", "true",
		"conversation.custom_attributes", "{}", "conversation.meta.sender.custom_attributes", "{}",
		"conversation.contact_inbox", `{"id":11,"contact_id":106,"inbox_id":5,"source_id":"s","created_at":"2026-02-13T01:22:32.692Z",`+
			`"updated_at":"2026-02-14T01:22:32.000Z","hmac_verified":true,"pubsub_token":"p"}`,
		"conversation.messages.0.status", `"read"`, "conversation.messages.0.conversation_id", "107", "conversation.messages.0.conversation.contact_inbox.source_id", `"s"`,
		"conversation.messages.0.sender.available_name", `"Bob"`, "conversation.messages.0.sender.availability_status", `"busy"`)

	c.Attributes = attributes(t, `{"chatwoot":{"id":"107","can_reply":"no","contact_inbox":{"id":-1,"source_id":7,"created_at":"then","hmac_verified":1}}}`)
	m.Attributes = attributes(t, `{"chatwoot":{"id":1.5,"status":"lost","message_type":"activity","content_attributes":[],"additional_attributes":"x"}}`)
	b = body(t, chatwoot.MessageCreated, c, m)
	expect(t, b, "id", "2", "message_type", `"outgoing"`, "content_attributes", "{}", "additional_attributes", "{}", "conversation.id", "1",
		"conversation.can_reply", "true", "conversation.contact_inbox.created_at", `"2026-03-01T12:00:01.123Z"`,
		"conversation.contact_inbox.hmac_verified", "false", "conversation.messages.0.status", `"sent"`)
}

func TestBodiesNeedASubject(t *testing.T) {
	t.Parallel()
	d := chatwoot.New()
	talk := webhookstest.Tell(t, created())
	known := webhookstest.Tell(t, contact.Created{Profile: customer()})
	for _, e := range []*webhooks.PublicEvent{
		{Fact: talk.Fact, Name: chatwoot.ConversationCreated},
		{Fact: known.Fact, Name: chatwoot.ContactCreated},
		{Fact: webhooks.Fact{Recorded: talk.Fact.Recorded, Event: endpoint.Deleted{}}, Name: "x", History: &talk.History},
		{Fact: webhooks.Fact{Recorded: talk.Fact.Recorded, Event: conversation.Read{}}, Name: "x", History: &talk.History},
	} {
		if b, err := d.AppendBody([]byte("before"), e); err == nil {
			t.Errorf("%s has a body: %s", e.Event.EventType(), b)
		}
	}
}

func TestHeaders(t *testing.T) {
	t.Parallel()
	d := chatwoot.New()
	sent := time.Unix(1770946053, 987654321)
	payload := []byte(`{"content":"Grüße","event":"message_created"}`)
	secrets := []string{"whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD", "whsec_old"}
	// printf '%s' '1770946053.{"content":"Grüße","event":"message_created"}' |
	//	openssl dgst -sha256 -hmac 'whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD'
	want := map[string]string{
		"x-chatwoot-delivery":  "",
		"x-chatwoot-timestamp": "1770946053",
		"x-chatwoot-signature": "sha256=d911a9f271384746bf30ae4cdf7c1bc00bf2a8840ec77067cf869b1690eae722",
	}
	got := d.Headers("msg_1", sent, secrets, payload)
	id := got["x-chatwoot-delivery"]
	if !regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`).MatchString(id) {
		t.Errorf("%s is no UUIDv4", id)
	}
	want["x-chatwoot-delivery"] = id
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	// A later attempt is the same delivery at another time.
	again := d.Headers("msg_1", sent.Add(time.Second), secrets, payload)
	if again["x-chatwoot-delivery"] != id || again["x-chatwoot-signature"] == got["x-chatwoot-signature"] || again["x-chatwoot-timestamp"] != "1770946054" {
		t.Errorf("got %v", again)
	}
	if diff := cmp.Diff(map[string]string{"x-chatwoot-delivery": id}, d.Headers("msg_1", sent, nil, payload)); diff != "" {
		t.Errorf("without a secret: %s", diff)
	}
	if other := d.Headers("msg_2", sent, nil, payload); other["x-chatwoot-delivery"] == id {
		t.Error("two deliveries share an id")
	}
	var _ webhooks.Signer = d
}
