package dialect_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"verbatim/domain"
	"verbatim/domain/contact"
	"verbatim/domain/conversation"
	"verbatim/domain/endpoint"
	"verbatim/eventstore"
	"verbatim/webhooks"
	"verbatim/webhooks/webhookstest"
)

// TestBadInput tells every dialect what nobody should have recorded. Each body
// is held against what hold promises of it.
func TestBadInput(t *testing.T) {
	t.Parallel()
	cases := slices.Concat(badTexts(), badNumbers(), badTimes(), badValues(), badNames(), badOverrides(), badStories(), badRecords())
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			for _, facts := range c.streams {
				if err := hold(facts); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// A badCase is what happened in some streams.
type badCase struct {
	name    string
	streams [][]webhooks.Fact
}

// changed is a conversation and a contact in which all kinds of events happen,
// with every value changed.
func changed(name string, change func(v reflect.Value)) badCase {
	return badCase{name, [][]webhooks.Fact{
		recorded(rewritten(conversationEvents(), change)...),
		recorded(rewritten(contactEvents(), change)...),
		recorded(rewritten(endpointEvents(), change)...),
	}}
}

// talk is a conversation in which those things happen after some others, and all
// others happen again after them.
func talk(name string, events ...domain.Event) badCase {
	all := conversationEvents()
	return badCase{name, [][]webhooks.Fact{recorded(slices.Concat(all, events, all[1:])...)}}
}

// brief is a conversation in which nothing but those things happens.
func brief(name string, events ...domain.Event) badCase {
	told := slices.Concat(conversationEvents()[:1], events, []domain.Event{conversation.Closed{ClosedType: conversation.DefaultClosedType}})
	return badCase{name, [][]webhooks.Fact{recorded(told...)}}
}

// badTexts puts one text in the place of every text there is. Messages stay as
// many as they are: their ids have it at their end.
func badTexts() []badCase {
	var control, ascii strings.Builder
	for r := range ' ' {
		control.WriteRune(r)
	}
	for r := ' '; r <= '\u00ff'; r++ {
		ascii.WriteRune(r)
	}
	texts := []struct{ name, text string }{
		{"empty", ""},
		{"blank", " \t\r\n "},
		{"a null byte", "\x00"},
		{"control characters", control.String() + "\x7f\u0080\u009f"},
		{"ASCII and Latin-1", ascii.String()},
		{"quotes and backslashes", `"\"\\"\u0041\`},
		{"HTML", `<script>alert("&amp;")</script><!-- ]]> -->`},
		{"line separators", "a\u2028b\u2029c"},
		{"not UTF-8", "\xff\xfe\x80\xc0\xaf\xed\xa0\x80\xf4\x90\x80\x80"},
		{"a rune cut short", "Stra\xc3"},
		{"byte order marks and non-characters", "\ufeff\ufffe\uffff\U0010ffff\ufffd"},
		{"emoji", "👩‍👩‍👧‍👦🏳️‍🌈🇺🇳é\u0301"},
		{"right to left", "مرحبا \u202eשלום\u202c\u200f"},
		{"combining", strings.Repeat("Z\u0351\u0343\u0311", 40)},
		{"JSON", `{"event":"x","messages":[null]}`},
		{"percent signs", "%s%d%!(EXTRA)%%n"},
		{"a URL", "https://example.com/?q=<a>&b=\"c\"#d e"},
		{"no URL", "javascript:alert(1)//:\\"},
		{"a UUID in other spellings", "{0198A3F2-1C2D-7E3F-8A4B-5C6D7E8F9A0B}"},
		{"a number", "-1e400"},
		{"slashes", "../../c/?#%2F"},
	}
	var cases []badCase
	for _, text := range texts {
		cases = append(cases, changed("text/"+text.name, func(v reflect.Value) {
			switch v.Kind() {
			case reflect.String:
				switch id := v.String(); {
				case v.Type() != reflect.TypeFor[string]():
				case len(id) == 2 && id[0] == 'm':
					v.SetString(id + text.text)
				default:
					v.SetString(text.text)
				}
			case reflect.Slice:
				if a, ok := reflect.TypeAssert[domain.Attributes](v); ok {
					v.Set(reflect.ValueOf(a.Set(text.text, raw(`"x"`))))
				}
			default:
			}
		}))
		cases = append(cases, brief("message/"+text.name, posted("bad", customer(), text.text), posted("bad2", agent(), text.text)))
	}

	// What is long is long in one field, or a body would be many times as long.
	long := strings.Repeat("Zürich <b>\u2028\"\x01😀", 1<<20/len("Zürich <b>\u2028\"\x01😀"))
	huge := posted("huge", customer(), long)
	note := posted("note", agent(), long)
	note.Private = true
	return append(cases,
		brief("message/1 MB", huge, conversation.MessageEdited{MessageID: "huge", Previous: long, Text: long + "!", By: agent()},
			conversation.Closed{ClosedType: "solved"}, conversation.MessageDeleted{MessageID: "huge", By: agent()}),
		brief("message/a note of 1 MB", note),
		badCase{"text/a name of 1 MB", [][]webhooks.Fact{
			recorded(conversation.Created{Account: account(), Inbox: inbox(), Customer: domain.Person{ID: "c", Role: domain.Customer, Name: long}}),
			recorded(contact.Created{Account: account(), Profile: domain.Person{ID: "c", Role: domain.Customer, Name: long}}),
		}},
	)
}

func badNumbers() []badCase {
	var cases []badCase
	for _, n := range []int64{0, -1, 10, 1<<31 - 1, 1 << 31, 1<<53 + 1, math.MaxInt64, math.MinInt64} {
		cases = append(cases, changed(fmt.Sprintf("number/%d", n), func(v reflect.Value) {
			if v.CanInt() {
				v.SetInt(n)
			}
		}))
	}
	for _, first := range []int64{1<<31 - 3, 1<<53 - 3, math.MaxInt64 - 100} {
		c := changed(fmt.Sprintf("number/positions from %d", first), func(reflect.Value) {})
		for _, facts := range c.streams {
			for i := range facts {
				facts[i].Position = first + int64(i)
			}
		}
		cases = append(cases, c)
	}
	return cases
}

func badTimes() []badCase {
	var cases []badCase
	for _, c := range []struct {
		name string
		at   time.Time
	}{
		{"zero", time.Time{}},
		{"the first that can be recorded", time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC)},
		{"the last that can be recorded", time.Date(9999, 12, 31, 23, 59, 59, 999_999_000, time.UTC)},
		{"the epoch", time.Unix(0, 0).UTC()},
		{"before the epoch", time.Unix(-1, 1000).UTC()},
		{"before there were time zones", time.Date(1582, 10, 10, 12, 30, 0, 1000, time.UTC)},
		{"a leap day", time.Date(2000, 2, 29, 23, 59, 59, 1_000_000, time.UTC)},
		{"a century without one", time.Date(2100, 2, 28, 23, 59, 59, 999_000_000, time.UTC)},
		{"behind 32 bits", time.Unix(1<<32, 0).UTC()},
	} {
		// What an event tells of may be at any time, with any offset.
		told := changed("time/"+c.name, func(v reflect.Value) {
			if v.Type() == reflect.TypeFor[time.Time]() {
				v.Set(reflect.ValueOf(c.at))
			}
		})
		for i := range told.streams {
			told.streams[i] = at(told.streams[i], c.at)
		}
		back := changed("time/back and forth from "+c.name, func(reflect.Value) {})
		for i := range back.streams {
			back.streams[i] = at(back.streams[i], c.at, webhookstest.Day(), c.at, webhookstest.Day().Add(-time.Hour))
		}
		cases = append(cases, told, back)
	}
	return append(cases, changed("time/elsewhere", func(v reflect.Value) {
		if v.Type() == reflect.TypeFor[time.Time]() {
			v.Set(reflect.ValueOf(webhookstest.Day().In(time.FixedZone("", -(11*60+30)*60))))
		}
	}))
}

// values are JSON of every type, for places that want another one.
var values = []string{
	`null`, `true`, `-1`, `1.5`, `12345678901234567890`, `1e400`, `""`, `"17"`, "\"\\u0000\\ud800\xff\u2028<&>\"", `"https://example.com/?a=1&b=2"`,
	`[]`, `["a",null,1,{"b":[[[]]]}]`, `{}`, `{"id":"x","number":"y","name":[]}`, `{"id":1.5,"name":{},"email":7,"url":false,"attributes":[],"conversation":"x"}`,
	`{"":"","\u0000":{"<":"&"}}`,
}

// badValues puts one JSON value in the place of every one there is: the values
// of attributes, both sides of changes, and what a widget's conversation was.
func badValues() []badCase {
	cases := []badCase{changed("value/absent", func(v reflect.Value) {
		if _, ok := reflect.TypeAssert[json.RawMessage](v); ok {
			v.SetZero()
		}
	})}
	for _, value := range values {
		cases = append(cases, changed("value/"+value, func(v reflect.Value) {
			if _, ok := reflect.TypeAssert[json.RawMessage](v); ok {
				v.SetBytes([]byte(value))
			}
		}))
	}
	for _, current := range []string{
		`{"conversation":null,"attention":null}`, `{"conversation":{},"last_message":{}}`, `{"conversation":{"id":7}}`,
		`{"conversation":{"id":"x","status":"odd","labels":null,"customer":null},"attention":{"unread":null},"last_message":null}`,
		`{"conversation":{"created_at":"never"}}`, `{"conversation":[],"attention":7,"last_message":"x"}`,
		`{"conversation":{"team":{},"assignee":{"id":""},"attributes":{"chatwoot":5}},"last_message":{"attachments":[{}],"author":{}}}`,
	} {
		cases = append(cases, badCase{"value/current conversation " + current, [][]webhooks.Fact{recorded(
			contactEvents()[0],
			contact.WidgetTriggered{Contact: customer(), Inbox: inbox(), CurrentConversation: raw(current)},
			contact.WidgetTriggered{Contact: customer(), Inbox: inbox(), Conversation: "x", CurrentConversation: raw(current)},
		)}})
	}
	return cases
}

// badNames puts one value in the place of every status, priority, role, reason
// and kind there is, and in the place of every key of a change.
func badNames() []badCase {
	var cases []badCase
	for _, name := range []string{"", "odd", "OPEN", "\"\xff\u2028"} {
		cases = append(cases, changed(fmt.Sprintf("name/%q", name), func(v reflect.Value) {
			if v.Kind() == reflect.String && v.Type() != reflect.TypeFor[string]() {
				v.SetString(name)
			}
			if c, ok := reflect.TypeAssert[domain.Change](v); ok {
				if c.Key == "priority" {
					c.Current, _ = json.Marshal(name)
				}
				v.Set(reflect.ValueOf(c))
			}
		}))
	}
	for _, key := range []string{"", "odd", "attributes.", "attributes.chatwoot", "attributes.closer", "attributes.talkus.x", "email", "team", "labels", "subject", "priority"} {
		cases = append(cases, changed("key/"+key, func(v reflect.Value) {
			if v.Type() == reflect.TypeFor[domain.Change]() {
				v.FieldByName("Key").SetString(key)
			}
		}))
	}
	return cases
}

// overrides are the names under which a format looks for what it is given.
var overrides = []string{
	"id", "number", "name", "first_name", "last_name", "full_name", "title", "slug", "host", "account", "account_id", "url", "type", "kind",
	"email", "team_id", "status", "apiKey", "randomName", "visitorId", "visitorName", "channelName", "agent", "identity", "profile", "user",
	"inbox", "inbox_id", "contact_inbox", "contact_id", "conversation_id", "message_id", "source_id", "pubsub_token", "hmac_verified",
	"channel", "can_reply", "availability_status", "available_name", "thumbnail", "avatar_url", "blocked", "widget_language",
	"additional_attributes", "custom_attributes", "content_type", "content_attributes", "created_at", "updated_at", "sender",
	"message_type", "recorded_duration_seconds", "download_media_url", "access_media_file", "text", "anonymous", "public", "anyone_can_post",
	"allow_anonymous_messages", "allow_search_engines", "enable_registration_prompt", "subscriber_emails", "messages", "workflow",
	"userName", "userPicture", "createdAt", "attachments", "meta", "size", "width", "height", "form", "answers", "question", "answer",
	"priority", "labels",
}

// badOverrides gives every format values of every type: as a whole, and under
// every name that it may look for.
func badOverrides() []badCase {
	var cases []badCase
	for _, value := range values {
		cases = append(cases, given("given "+value, value))
	}
	for _, value := range []string{
		`null`, `true`, `-1`, `1.5`, `12345678901234567890`, "\"\\u0000\\ud800\xff\u2028<&>\"", `["a",null,1,{"b":[[[]]]}]`, `{"id":"x","name":[]}`,
	} {
		members := make([]string, len(overrides))
		for i, name := range overrides {
			members[i] = fmt.Sprintf("%q:%s", name, value)
		}
		cases = append(cases, given("all given "+value, "{"+strings.Join(members, ",")+"}"))
	}
	return cases
}

func given(name, value string) badCase {
	return changed(name, func(v reflect.Value) {
		if a, ok := reflect.TypeAssert[domain.Attributes](v); ok {
			for _, format := range formats {
				a = a.Set(format, raw(value))
			}
			v.Set(reflect.ValueOf(a))
		}
	})
}

// badStories are whole conversations that went another way than they should.
func badStories() []badCase {
	nobody := domain.Person{ID: "nobody", Role: domain.Customer}
	system := domain.Person{ID: "system", Role: domain.System}
	deleted := []domain.Event{
		posted("gone", customer(), "I take that back"),
		conversation.MessageDeleted{MessageID: "gone", By: customer()},
		conversation.MessageEdited{MessageID: "gone", Previous: "I take that back", Text: "no, I do not", By: customer()},
		conversation.MessageDeleted{MessageID: "gone", By: agent()},
		conversation.MessagePlayed{MessageID: "gone", Viewer: agent()},
	}
	cases := []badCase{
		talk("story/a message edited, deleted and both again", deleted...),
		talk("story/all messages deleted",
			conversation.MessageDeleted{MessageID: "m1", By: agent()}, conversation.MessageDeleted{MessageID: "m2", By: agent()},
			conversation.MessageDeleted{MessageID: "m3", Private: true, By: agent()}),
		talk("story/messages that do not exist",
			conversation.MessageEdited{MessageID: "never", Previous: "a", Text: "b", By: agent()},
			conversation.MessageEdited{MessageID: "never", Private: true, By: system},
			conversation.MessageDeleted{MessageID: "never", By: agent()},
			conversation.MessagePlayed{MessageID: "never", Viewer: nobody},
			conversation.Read{By: nobody, UpTo: 1 << 40}),
		talk("story/a message id used twice", posted("m1", agent(), "again"), posted("m1", bot(), "and again"),
			conversation.MessageEdited{MessageID: "m1", Text: "which?", By: agent()}),
		talk("story/a message without anything", conversation.MessagePosted{}, conversation.MessageEdited{}, conversation.MessageDeleted{}),
		talk("story/the system speaks", posted("s", system, "Somebody joined"), conversation.Assigned{Agent: system}, conversation.Read{By: system}),
		talk("story/customers are assigned", conversation.Assigned{Agent: customer()}, conversation.Unassigned{Previous: customer()}),
		talk("story/many labels and teams", conversation.AttributesChanged{Changes: []domain.Change{
			{Key: "labels", Current: raw(`["a","a","\"",""]`)}, {Key: "team", Current: raw(`{}`)}, {Key: "team", Current: raw(`{"id":"","number":-5}`)},
		}}),
		{"story/nobody is known", [][]webhooks.Fact{
			recorded(conversation.Created{Customer: nobody}, posted("m", nobody, "Hello"), conversation.Closed{}),
			recorded(contact.Created{Profile: nobody}, contact.Updated{Profile: nobody}, contact.WidgetTriggered{Contact: nobody}, contact.Erased{}),
		}},
		{"story/nothing was said", [][]webhooks.Fact{recorded(conversationEvents()[0], conversation.Closed{}, conversation.Reopened{}, conversation.Closed{})}},
		{"story/only notes", [][]webhooks.Fact{recorded(
			conversationEvents()[0],
			conversation.MessagePosted{MessageID: "n", Author: agent(), Text: "note", Private: true},
			conversation.MessageEdited{MessageID: "n", Text: "another", Private: true, By: agent()},
			conversation.MessageDeleted{MessageID: "n", Private: true, By: agent()}, conversation.Closed{},
		)}},
		changed("story/all that can be left out is", func(v reflect.Value) {
			switch v.Kind() {
			case reflect.Pointer, reflect.Slice, reflect.String, reflect.Int, reflect.Int64, reflect.Bool:
				v.SetZero()
			default:
			}
		}),
	}
	// Every event of the catalogue with nothing in it, alone and among others.
	var conversations, contacts []domain.Event
	for _, name := range slices.Sorted(maps.Keys(eventstore.Catalogue().Types())) {
		switch e := eventstore.Catalogue().Types()[name].(type) {
		case conversation.Created: // nothing else is first, and it is nothing else
			cases = append(cases, badCase{"zero/" + name, [][]webhooks.Fact{recorded(append([]domain.Event{e}, conversationEvents()[1:]...)...)}})
		case conversation.Event:
			conversations = append(conversations, e)
			cases = append(cases, talk("zero/"+name, e))
			cases = append(cases, badCase{"zero/only " + name, [][]webhooks.Fact{recorded(conversation.Created{}, e, e)}})
		case contact.Created:
			cases = append(cases, badCase{"zero/" + name, [][]webhooks.Fact{recorded(append([]domain.Event{e}, contactEvents()[1:]...)...)}})
		case contact.Event:
			contacts = append(contacts, e)
			cases = append(cases, badCase{"zero/" + name, [][]webhooks.Fact{
				recorded(append(contactEvents(), e)...), recorded(contact.Created{}, e, e),
			}})
		case endpoint.Registered:
			cases = append(cases, badCase{"zero/" + name, [][]webhooks.Fact{recorded(append([]domain.Event{e}, endpointEvents()[1:]...)...)}})
		case endpoint.Event:
			cases = append(cases, badCase{"zero/" + name, [][]webhooks.Fact{
				recorded(append(endpointEvents(), e)...), recorded(endpoint.Registered{}, e, e),
			}})
		}
	}
	cases = append(cases, badCase{"zero/all", [][]webhooks.Fact{
		recorded(append([]domain.Event{conversation.Created{}}, conversations...)...),
		recorded(append([]domain.Event{contact.Created{}}, contacts...)...),
	}})
	return append(cases, badAttachments()...)
}

func badAttachments() []badCase {
	var cases []badCase
	all := posted("all", customer(), "")
	for _, kind := range []string{"", "image", "audio", "video", "file", "location", "contact", "fallback", "share", "embed", "sticker", "odd", "\"<"} {
		m := posted("files", agent(), "")
		m.Attachments = []conversation.Attachment{
			{FileType: kind},
			{FileType: kind, URL: "no url at all"},
			{FileType: kind, URL: "https://files.example.com/a b.png?x=<&>", ContentType: "image/png; charset=\"x\"", Name: "a\u2028b.png", Extension: ".PNG"},
			{FileType: kind, URL: "https://files.example.com/a", Size: -1, Width: -1, Height: math.MaxInt64},
			{FileType: kind, URL: "https://files.example.com/" + strings.Repeat("a", 3000), Size: math.MaxInt64},
		}
		cases = append(cases, brief(fmt.Sprintf("attachment/%q", kind), m, conversation.MessagePlayed{MessageID: "files", Viewer: customer()}))
		for _, value := range []string{`5`, `{}`, `{"coordinates_lat":"x","coordinates_long":null,"fallback_title":7,"meta":[]}`, `{"coordinates_lat":1e400,"coordinates_long":-0.5,"meta":{"a":1}}`} {
			m.ContentAttributes = attributes(`{"location":` + value + `,"contact":` + value + `,"attachments":[` + value + `],"duration":` + value + `}`)
			m.Attributes = attributes(`{"chatwoot":` + value + `,"clarityflow":` + value + `,"coordinates_lat":` + value + `,"recorded_duration_seconds":` + value + `}`)
			cases = append(cases, brief(fmt.Sprintf("attachment/%q with %s", kind, value), m, conversation.MessagePlayed{MessageID: "files", Viewer: customer()}))
		}
		all.Attachments = append(all.Attachments, m.Attachments...)
	}
	return append(cases, brief("attachment/all", all))
}

// badRecords are good events that were badly recorded.
func badRecords() []badCase {
	var cases []badCase
	for _, metadata := range []string{"", `{}`, `{"actor":7}`, `{"actor":"\"\u2028<"}`, "{\"actor\":\"\xff\"}", `[]`, `null`, `{"actor":`} {
		c := changed("metadata/"+metadata, func(reflect.Value) {})
		for _, facts := range c.streams {
			for i := range facts {
				facts[i].Metadata = []byte(metadata)
			}
		}
		cases = append(cases, c)
	}
	for _, account := range []string{"", "\"\xff\u2028<", strings.Repeat("a", 300), "ACME Inc."} {
		c := changed(fmt.Sprintf("account/%.20q", account), func(reflect.Value) {})
		for _, facts := range c.streams {
			for i := range facts {
				facts[i].Account = account
			}
		}
		cases = append(cases, c)
	}
	return cases
}
