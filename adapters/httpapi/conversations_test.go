package httpapi_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"verbatim/domain"
	"verbatim/domain/conversation"
	"verbatim/eventstore"
)

func TestCreateConversation(t *testing.T) {
	t.Parallel()
	h := open(t)

	r := h.do("POST", "/v1/conversations", object{
		"customer":   jon,
		"inbox":      object{"id": "web", "name": "Website", "channel": "web"},
		"subject":    "The wall",
		"attributes": object{"current_page": "https://example.com/?a=1&b=<2>"},
		"message":    object{"text": "Winter is coming", "client_id": "c-1"},
	}).is(201).version(2)
	r.has("number", 2, "version", 2, "status", "open", "account.id", "default", "account.number", 1,
		"inbox.number", 1, "inbox.name", "Website", "channel", "web", "subject", "The wall",
		"customer.id", "visitor-1", "customer.number", 1, "customer.role", "customer", "customer.first_name", "Jon",
		"attributes.current_page", "https://example.com/?a=1&b=<2>", "message_count", 1,
		"message.number", 3, "message.version", 2)
	if want := "/v1/conversations/" + r.text("id"); r.header.Get("Location") != want {
		t.Errorf("Location is %q, want %q", r.header.Get("Location"), want)
	}
	if strings.Contains(string(r.body), "$schema") || strings.Contains(string(r.body), `\u00`) {
		t.Errorf("body has what nobody asked for: %s", r.body)
	}
	messages := h.do("GET", r.header.Get("Location")+"/messages", nil).is(200)
	messages.has("data.0.id", r.text("message.id"), "data.0.author.id", "visitor-1", "data.0.author.number", 1,
		"data.0.client_id", "c-1", "data.0.text", "Winter is coming")
}

func TestCreateConversationFillsWhatIsLeftOpen(t *testing.T) {
	t.Parallel()
	h := open(t)

	r := h.do("POST", "/v1/conversations", object{"customer": object{}}).is(201)
	r.has("inbox.id", "default", "inbox.number", 1, "inbox.name", "Default", "channel", "api", "message", nil)
	if r.text("customer.id") == "" {
		t.Error("a customer without an id gets none")
	}
	h.do("POST", "/v1/conversations", object{"customer": object{}, "channel": "mail"}).is(201).has("channel", "mail")
}

// A customer is one contact, however many conversations they have; what is known
// of them is theirs in each.
func TestCustomersAreContacts(t *testing.T) {
	t.Parallel()
	h := open(t)

	h.do("POST", "/v1/conversations", object{"customer": jon}).is(201).has("customer.number", 1, "number", 2)
	h.do("POST", "/v1/conversations", object{"customer": object{"id": "visitor-1", "phone": "+48", "number": 77}}).is(201).
		has("customer.number", 1, "number", 3, "customer.email", "jon.snow@winterfell.com", "customer.phone", "+48")

	// Another account may have a customer of the same id, and knows nothing of ours.
	for range 2 {
		r := h.do("POST", "/v1/conversations", object{"customer": object{"id": "visitor-1"}}, as(h.other)).is(201)
		r.has("account.id", "other", "customer.number", 4, "customer.email", nil)
	}
	kinds := map[string]int{}
	for r, err := range h.store.ReadLog(t.Context(), 0) {
		if err != nil {
			t.Fatal(err)
		}
		kind, _ := eventstore.SplitStream(r.Stream)
		kinds[kind+" of "+r.Account]++
	}
	if got := fmt.Sprint(kinds); got != "map[contact of default:1 contact of other:1 conversation of default:2 conversation of other:2]" {
		t.Error(got)
	}
}

func TestConversationCommands(t *testing.T) {
	t.Parallel()
	h := open(t)
	c := h.conversation()
	agent := object{"id": "agent-1", "name": "Bob Holmes"}

	h.do("PUT", c+"/status", object{"status": "snoozed", "reason": "later", "snoozed_until": time.Now().Add(time.Hour)}).
		is(200).version(2).has("status", "snoozed", "version", 2)
	h.do("PUT", c+"/assignee", object{"agent": agent, "by": object{}}).is(200).version(3).
		has("assignee.id", "agent-1", "assignee.role", "agent", "assignee.last_name", "Holmes")
	h.do("PUT", c+"/assignee", object{"agent": agent}).is(200).version(3) // nothing to do
	h.do("PUT", c+"/assignee", object{"agent": nil}).is(200).version(4).has("assignee", nil)
	h.do("PATCH", c, object{
		"subject": "S", "priority": "high", "labels": []string{"a", "b"}, "team": object{"id": "t", "number": 3},
		"attributes": object{"plan": "gold"},
	}).is(200).version(5).has("subject", "S", "priority", "high", "labels.1", "b", "team.number", 3, "attributes.plan", "gold")
	h.do("PATCH", c, object{"subject": nil, "labels": nil, "team": nil, "priority": nil, "attributes": object{"plan": nil}},
		header("Content-Type", "application/merge-patch+json; charset=utf-8")).
		is(200).version(6).has("subject", nil, "labels", "[]", "team", nil, "priority", nil, "attributes.plan", nil)
	h.do("PATCH", c+"/customer", object{"email": "lord@winterfell.com", "phone": nil, "by": agent}).
		is(200).version(7).has("customer.email", "lord@winterfell.com", "customer.name", "Jon Snow")
	h.do("PUT", c+"/read", object{"by": object{}, "up_to": 3}).is(200).version(8)
	h.do("PUT", c+"/read", object{"by": agent, "up_to": 8}).is(200).version(9)
	activity := h.do("POST", c+"/activities", object{"kind": "product_purchased", "data": object{"sku": "x"}}).is(201).version(10)
	activity.has("number", 12, "version", 10)
	if activity.text("id") == "" {
		t.Error("an activity has no id")
	}
	h.do("POST", c+"/close", nil).is(200).version(11).has("status", "closed", "closed_type", "solved")
	h.do("POST", c+"/reopen", nil).is(200).version(12).has("status", "open")
	h.do("POST", c+"/close", object{"type": "spam", "by": agent}).is(200).version(13).has("closed_type", "spam")
	h.do("POST", c+"/reopen", object{"by": agent}).is(200).version(14)

	// Whoever is not named where somebody must be is the holder of the key.
	closed := h.do("GET", c+"/events?limit=1000", nil).is(200)
	closed.has("data.10.type", "conversation.closed", "data.10.data.by.id", h.keyID, "data.10.data.by.name", "Tyrion",
		"data.10.data.by.role", "agent", "data.11.data.by.id", h.keyID, "data.10.metadata.actor", "key:"+h.keyID)
	h.do("POST", c+"/close", nil, as(adminKey)).is(200)
	h.do("GET", c+"/events?after=16", nil).is(200).has("data.0.data.by.id", "admin", "data.0.metadata.actor", "admin")
}

func TestGetConversationAtAVersion(t *testing.T) {
	t.Parallel()
	h := open(t)
	c := h.conversation()
	h.do("PUT", c+"/status", object{"status": "pending"}).is(200)
	now := h.do("POST", c+"/close", nil).is(200)

	if got := h.do("GET", c, nil).is(200).version(3); string(got.body) != string(now.body) {
		t.Errorf("read %s, answered %s", got.body, now.body)
	}
	h.do("GET", c+"?at_version=1", nil).is(200).version(1).has("status", "open", "version", 1, "closed_at", nil)
	h.do("GET", c+"?at_version=2", nil).is(200).version(2).has("status", "pending")
	h.do("GET", c+"?at_version=3", nil).is(200).version(3).has("status", "closed")
}

func TestListConversations(t *testing.T) {
	t.Parallel()
	h := open(t)
	var paths []string
	for range 5 {
		paths = append(paths, h.conversation())
	}
	h.do("POST", "/v1/conversations", object{"customer": jon}, as(h.other)).is(201)
	h.do("POST", paths[0]+"/messages", object{"text": strings.Repeat("long ", 100)}).is(201)
	h.do("PUT", paths[3]+"/status", object{"status": "resolved"}).is(200)

	first := h.do("GET", "/v1/conversations?limit=2", nil).is(200)
	first.has("data.0.id", paths[3][len("/v1/conversations/"):], "data.0.status", "resolved", "data.0.unread_count", 0,
		"data.0.last_message", nil, "data.1.unread_count", 1, "data.1.last_message.author.id", "visitor-1", "data.2", nil)
	if n := len(first.text("data.1.last_message.text")); n != 280 {
		t.Errorf("a preview of %d characters", n)
	}
	var seen []string
	path := "/v1/conversations?limit=2"
	for next := path; next != ""; {
		r := h.do("GET", next, nil).is(200)
		for _, row := range r.get("data").([]any) {
			seen = append(seen, "/v1/conversations/"+row.(object)["id"].(string))
		}
		next = ""
		if cursor, ok := r.get("page.next").(string); ok {
			next = path + "&cursor=" + cursor
		}
	}
	want := fmt.Sprint([]string{paths[3], paths[0], paths[4], paths[2], paths[1]})
	if got := fmt.Sprint(seen); got != want {
		t.Errorf("pages have\n%s, want\n%s", got, want)
	}
	h.do("GET", "/v1/conversations?status=resolved", nil).is(200).has("data.0.status", "resolved", "data.1", nil, "page", "map[]")
	h.do("GET", "/v1/conversations?status=closed", nil).is(200).has("data", "[]")
}

func TestVersionsAreMatched(t *testing.T) {
	t.Parallel()
	h := open(t)
	c := h.conversation()

	h.do("PUT", c+"/status", object{"status": "pending"}, ifMatch(1)).is(200).version(2)
	head := h.head()
	h.do("PUT", c+"/status", object{"status": "open"}, ifMatch(1)).fails(412, "version_mismatch").
		version(2).has("current_version", 2)
	if h.head() != head {
		t.Error("a command for another version was done")
	}
	h.do("PUT", c+"/status", object{"status": "open"}, header("If-Match", "*")).is(200).version(3)
	h.do("POST", c+"/messages", object{"text": "x"}, ifMatch(3)).is(201).version(4)
	h.do("POST", "/v1/conversations", object{"customer": jon}, ifMatch(1)).fails(412, "version_mismatch").version(0)
	h.do("POST", "/v1/conversations", object{"customer": jon}, header("If-Match", "*")).fails(412, "version_mismatch")
	unknown := "/v1/conversations/01931b3e-7c1f-7d2a-9d5e-0a6f3c2b1a00"
	h.do("PUT", unknown+"/status", object{"status": "open"}, ifMatch(3)).fails(404, "conversation.not_found")
}

// Who asks is in the metadata of what follows.
func TestMetadata(t *testing.T) {
	t.Parallel()
	h := open(t)
	const trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	r := h.do("POST", "/v1/conversations", object{"customer": jon},
		header("X-Request-Id", "req-1"), header("Traceparent", trace), idempotent("k-1")).is(201)
	if r.header.Get("X-Request-Id") != "req-1" {
		t.Error(r.header)
	}
	h.do("GET", "/v1/events?after=1", nil).is(200).has("data.0.metadata.actor", "key:"+h.keyID,
		"data.0.metadata.command", "k-1", "data.0.metadata.correlation", "req-1", "data.0.metadata.trace", trace)

	r = h.do("GET", "/livez", nil, header("X-Request-Id", "no blanks, please")).is(200)
	if id := r.header.Get("X-Request-Id"); len(id) != 36 {
		t.Errorf("request id %q", id)
	}
	h.do("PUT", "/v1/conversations/"+h.do("GET", "/v1/conversations", nil).text("data.0.id")+"/status",
		object{"status": "pending"}, header("Traceparent", "00-zz")).is(200)
	h.do("GET", "/v1/events?after=2", nil).is(200).has("data.0.metadata.trace", nil)
}

// What people did around messages is recorded as it was told, by whom it was.
func TestReadPlayedAndActivities(t *testing.T) {
	t.Parallel()
	h := open(t)
	c := h.conversation()
	clip := object{"url": "https://example.com/a.mp4", "file_type": "video"}
	message := h.do("POST", c+"/messages", object{"text": "Hi", "attachments": []any{clip}}).is(201).text("id")
	bob := object{"id": "bob", "role": "agent", "name": "Bob Holmes"}
	last := func() domain.Event {
		t.Helper()
		_, events := h.events(h.head() - 1)
		return events[0]
	}

	h.do("PUT", c+"/read", object{"by": bob, "up_to": 2}).is(200).version(3).has("version", 3)
	if e, ok := last().(conversation.Read); !ok || e.By.ID != "bob" || e.By.Role != domain.Agent || e.UpTo != 2 {
		t.Errorf("recorded %+v", last())
	}
	h.do("PUT", c+"/read", object{"by": bob, "up_to": 1}).is(200).version(3) // it only moves forward
	h.do("PUT", c+"/read", object{"by": object{}, "up_to": 3}).is(200).version(4)
	if e, ok := last().(conversation.Read); !ok || e.By.ID != "visitor-1" || e.By.Role != domain.Customer || e.UpTo != 3 {
		t.Errorf("recorded %+v", last())
	}

	h.do("POST", c+"/messages/"+message+"/played", object{"by": bob}).is(204).version(5)
	if e, ok := last().(conversation.MessagePlayed); !ok || e.MessageID != message || e.Viewer.ID != "bob" || e.Viewer.Role != domain.Agent {
		t.Errorf("recorded %+v", last())
	}
	h.do("POST", c+"/messages/"+message+"/played", object{"by": object{}}).is(204).version(6)
	if e, ok := last().(conversation.MessagePlayed); !ok || e.Viewer.ID != "visitor-1" || e.Viewer.Name != "Jon Snow" {
		t.Errorf("recorded %+v", last())
	}

	for i, kind := range []conversation.ActivityKind{
		conversation.AppointmentScheduled, conversation.ProductPurchased, conversation.FormSubmitted, conversation.TaskCompleted,
	} {
		body := object{"kind": kind, "data": object{"z": 1, "a": "<b>"}}
		if i%2 == 0 {
			body["by"] = object{"id": "bob"}
		}
		r := h.do("POST", c+"/activities", body).is(201).version(int64(7 + i))
		r.has("number", h.head(), "version", 7+i)
		recorded, _ := h.events(h.head() - 1)
		if r.text("id") != recorded[0].ID.String() {
			t.Errorf("the activity is %s, recorded %s", r.body, recorded[0].ID)
		}
		e, ok := last().(conversation.ActivityRecorded)
		if !ok || e.Kind != kind || e.Data.String("a") != "<b>" || len(e.Data) != 2 {
			t.Errorf("recorded %+v", last())
		}
		if by := e.By; (by != nil) != (i%2 == 0) || by != nil && by.Name != "Bob Holmes" {
			t.Errorf("by %+v", by)
		}
	}
}
