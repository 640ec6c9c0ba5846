package dialect_test

import (
	"encoding/json"
	"reflect"
	"time"

	"verbatim/domain"
	"verbatim/domain/contact"
	"verbatim/domain/conversation"
	"verbatim/domain/endpoint"
	"verbatim/webhooks"
	"verbatim/webhooks/webhookstest"
)

// The formats that values can be addressed to.
var formats = []string{"closer", "talkus", "clarityflow", "chatwoot"}

func attributes(object string) domain.Attributes {
	var a domain.Attributes
	if err := json.Unmarshal([]byte(object), &a); err != nil {
		panic(err)
	}
	return a
}

func customer() domain.Person {
	return domain.Person{
		ID: webhookstest.ID("pers", 1).String(), Role: domain.Customer, Number: 1, Name: "Ada Lovelace", FirstName: "Ada", LastName: "Lovelace",
		Email: "ada@example.com", Phone: "+4915112345678", AvatarURL: "https://files.example.com/ada.png", Identifier: "ada",
		Attributes: attributes(`{"plan":"pro"}`),
	}
}

func agent() domain.Person {
	return domain.Person{
		ID: webhookstest.ID("pers", 2).String(), Role: domain.Agent, Number: 3, Name: "Bob Holmes", FirstName: "Bob", LastName: "Holmes",
		Email: "bob@example.com", Attributes: attributes(`{"desk":7}`),
	}
}

func bot() domain.Person {
	return domain.Person{ID: "bot-1", Role: domain.Bot, Number: 9, Name: "Robbie", FirstName: "Robbie", IsBot: true}
}

func account() domain.Account { return domain.Account{ID: "acme", Number: 1, Name: "Acme"} }

func inbox() domain.Inbox {
	return domain.Inbox{ID: "website", Number: 1, Name: "Website", Channel: "web"}
}

func posted(id string, author domain.Person, text string) conversation.MessagePosted {
	return conversation.MessagePosted{MessageID: id, Author: author, Text: text, ContentType: conversation.DefaultContentType}
}

func raw(s string) json.RawMessage { return json.RawMessage(s) }

// conversationEvents is a conversation in which every kind of event happens, as
// most words as there are follow from it, and no field is always empty.
func conversationEvents() []domain.Event {
	by, until := agent(), webhookstest.Day().Add(time.Hour)
	rich := posted("m2", by, "Let me look.")
	rich.ContentAttributes, rich.Attributes = attributes(`{"items":[1]}`), attributes(`{"draft":false}`)
	rich.ReplyTo, rich.ExternalID = "m1", "client-2"
	rich.Attachments = []conversation.Attachment{
		{FileType: "image", ContentType: "image/png", URL: "https://files.example.com/r.png", Name: "r.png", Extension: "png", Size: 48213, Width: 1080, Height: 1920},
		{FileType: "video", ContentType: "video/mp4", URL: "https://files.example.com/v.mp4", Name: "v.mp4", Extension: "mp4", Size: 4821300},
	}
	note := posted("m3", by, "A known customer.")
	note.Private = true
	return []domain.Event{
		conversation.Created{
			Account: account(), Inbox: inbox(), Channel: "web", Customer: customer(), Subject: "Order 4711",
			Attributes: attributes(`{"current_page":"https://shop.example.com/","browser_name":"Firefox","initiated_at":"2026-03-01T11:59:00Z","cart":{"items":2}}`),
		},
		conversation.TypingStarted{Author: customer(), ExpiresAt: until},
		conversation.TypingStopped{Author: customer(), Reason: conversation.StopMessage},
		posted("m1", customer(), "Hello, my order 4711 has not arrived"),
		conversation.Assigned{Agent: bot()},
		conversation.Assigned{Agent: agent(), Previous: &by, By: &by},
		conversation.Read{By: agent(), UpTo: 3},
		rich,
		note,
		conversation.MessagePlayed{MessageID: "m2", Viewer: customer()},
		conversation.MessageEdited{MessageID: "m2", Previous: "Let me look.", Text: edited, By: agent()},
		conversation.AttributesChanged{By: &by, Changes: []domain.Change{
			{Key: "subject", Previous: raw(`"Order 4711"`), Current: raw(`"Order 4711, late"`)},
			{Key: "priority", Previous: raw(`null`), Current: raw(`"high"`)},
			{Key: "labels", Previous: raw(`[]`), Current: raw(`["late","parcel"]`)},
			{Key: "team", Previous: raw(`null`), Current: raw(`{"id":"t1","number":4,"name":"Parcels"}`)},
			{Key: "attributes.cart", Previous: raw(`{"items":2}`), Current: raw(`null`)},
		}},
		conversation.CustomerUpdated{By: &by, Customer: customer(), Changes: []domain.Change{
			{Key: "email", Previous: raw(`null`), Current: raw(`"ada@example.com"`)},
		}},
		conversation.ActivityRecorded{Kind: conversation.AppointmentScheduled, Data: attributes(`{"at":"2026-03-02T09:00:00Z"}`), By: &by},
		conversation.ActivityRecorded{Kind: conversation.ProductPurchased, Data: attributes(`{"product":"Support","price":12.5}`), By: &by},
		conversation.ActivityRecorded{Kind: conversation.FormSubmitted, Data: attributes(`{"form":{"title":"Return"},"answers":[{"question":"Why?","answer":"Late"}]}`), By: &by},
		conversation.ActivityRecorded{Kind: conversation.TaskCompleted, Data: attributes(`{"title":"Call"}`), By: &by},
		conversation.StatusChanged{From: conversation.Open, To: conversation.Snoozed, Reason: "later", By: &by, SnoozedUntil: &until},
		posted("m4", customer(), "Any news?"),
		conversation.StatusChanged{From: conversation.Snoozed, To: conversation.Resolved, By: &by},
		conversation.MessageDeleted{MessageID: "m4", By: customer()},
		conversation.Closed{From: conversation.Resolved, ClosedType: "solved", By: &by},
		conversation.Reopened{By: by},
		conversation.Unassigned{Previous: by, By: &by},
		conversation.Closed{From: conversation.Open, ClosedType: "inactive"},
	}
}

// contactEvents is the same of a contact.
func contactEvents() []domain.Event {
	f := folded(recorded(conversationEvents()...))
	snapshot, err := json.Marshal(f.history.Snapshot())
	if err != nil {
		panic(err)
	}
	page := attributes(`{"current_page":"https://shop.example.com/","language":"en","browser_name":"Firefox","initiated_at":"2026-03-01T11:59:00Z"}`)
	return []domain.Event{
		contact.Created{Account: account(), Profile: customer()},
		contact.WidgetTriggered{Contact: customer(), Inbox: inbox(), Attributes: page, CurrentConversation: raw(`null`)},
		contact.Updated{Profile: customer(), Conversation: f.history.Conversation.ID, Changes: []domain.Change{
			{Key: "email", Previous: raw(`null`), Current: raw(`"ada@example.com"`)},
			{Key: "attributes.plan", Previous: raw(`"free"`), Current: raw(`"pro"`)},
		}},
		contact.WidgetTriggered{
			Contact: customer(), Inbox: inbox(), Attributes: page,
			Conversation: f.history.Conversation.ID, CurrentConversation: snapshot,
		},
		contact.Erased{By: domain.Person{ID: "operator", Role: domain.System}, Events: 3},
	}
}

// endpointEvents is the same of an endpoint.
func endpointEvents() []domain.Event {
	settings := endpoint.Settings{
		URL: "https://shop.example.com/hook?token=1", Dialect: "verbatim@1", Events: []string{endpoint.AllEvents},
		History: endpoint.HistoryFull, Ordering: endpoint.PerConversation,
	}
	moved := settings
	moved.URL = "https://shop.example.com/other"
	since, outcome := webhookstest.Day(), endpoint.Outcome{Status: 503, Fault: "timed_out"}
	return []domain.Event{
		endpoint.Registered{Account: account(), Settings: settings},
		endpoint.Updated{Settings: moved},
		endpoint.SecretRotated{PreviousUntil: since},
		endpoint.Failing{Since: since, Outcome: outcome},
		endpoint.Recovered{Since: since},
		endpoint.Exhausted{
			DeliveryID: "dlv_1", Event: "conversation.closed", Stream: webhookstest.Stream(1), Attempts: 12,
			Reason: webhooks.ReasonExhausted, Outcome: outcome,
		},
		endpoint.Disabled{Reason: "nothing but failures", Cause: endpoint.ReceiverFailed},
		endpoint.Enabled{},
		endpoint.Deleted{},
	}
}

// rewritten returns events with every value in them changed: the function is
// given what an event is made of, the parts before the whole, each settable and
// of nobody else. Times and JSON values are not taken apart.
func rewritten(events []domain.Event, change func(v reflect.Value)) []domain.Event {
	out := make([]domain.Event, len(events))
	for i, e := range events {
		v := reflect.New(reflect.TypeOf(e)).Elem()
		v.Set(reflect.ValueOf(e))
		for _, field := range v.Fields() {
			rewrite(field, change)
		}
		out[i] = v.Interface().(domain.Event)
	}
	return out
}

func rewrite(v reflect.Value, change func(v reflect.Value)) {
	switch v.Interface().(type) {
	case time.Time, json.RawMessage:
		change(v)
		return
	case domain.Attributes: // their keys are not fields
		own := append(domain.Attributes(nil), v.Interface().(domain.Attributes)...)
		for i := range own {
			change(reflect.ValueOf(&own[i].Value).Elem())
		}
		v.Set(reflect.ValueOf(own))
		change(v)
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for _, field := range v.Fields() {
			rewrite(field, change)
		}
	case reflect.Pointer:
		if !v.IsNil() {
			own := reflect.New(v.Type().Elem())
			own.Elem().Set(v.Elem())
			rewrite(own.Elem(), change)
			v.Set(own)
		}
	case reflect.Slice:
		own := reflect.MakeSlice(v.Type(), v.Len(), v.Len())
		reflect.Copy(own, v)
		for i := range own.Len() {
			rewrite(own.Index(i), change)
		}
		v.Set(own)
	default:
	}
	change(v)
}

// at returns facts at those times, one after the other and from the start again.
func at(facts []webhooks.Fact, times ...time.Time) []webhooks.Fact {
	for i := range facts {
		facts[i].Time = times[i%len(times)]
	}
	return facts
}
