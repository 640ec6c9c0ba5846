package httpapi_test

import (
	"fmt"
	"net/url"
	"slices"
	"sync"
	"testing"
	"time"
)

func TestPostMessage(t *testing.T) {
	t.Parallel()
	h := open(t)
	c := h.conversation()

	r := h.do("POST", c+"/messages", object{
		"author": object{"role": "agent", "name": "Bob Holmes"}, "text": "Hello", "content_type": "text",
		"content_attributes": object{"a": 1}, "reply_to": "m", "client_id": "c-9", "attributes": object{"chatwoot": object{"id": 5}},
		"attachments": []object{{"url": "https://example.com/a.png", "size": 12, "width": 3, "file_type": "image"}},
	}).is(201).version(2)
	r.has("number", 3, "version", 2)
	h.do("PUT", c+"/typing", object{"state": "on"}).is(204).version(3)
	h.do("PUT", c+"/status", object{"status": "resolved"}).is(200)
	// The customer's message stops their typing and reopens the conversation.
	last := h.do("POST", c+"/messages", object{"text": "Hi"}).is(201).version(7)
	last.has("version", 7, "number", 7)
	created, err := time.Parse(time.RFC3339Nano, last.text("created_at"))
	if err != nil || time.Since(created) > time.Minute {
		t.Error(last.text("created_at"), err)
	}

	messages := h.do("GET", c+"/messages", nil).is(200)
	messages.has("data.0.author.role", "agent", "data.0.attachments.0.size", 12, "data.0.attributes.chatwoot.id", 5,
		"data.1.author.id", "visitor-1", "data.1.version", 6, "data.1.created_at", last.text("created_at"), "data.2", nil, "page", "map[]")
	if messages.text("data.0.author.id") == "" {
		t.Error("an agent without an id gets none")
	}
	h.do("GET", c, nil).is(200).has("status", "open", "message_count", 2)
}

func TestListMessages(t *testing.T) {
	t.Parallel()
	h := open(t)
	c := h.conversation()
	for i := range 7 {
		h.do("POST", c+"/messages", object{"text": fmt.Sprint(i)}).is(201)
	}
	pages := func(path, parameters string) (all [][]string) {
		for next := path + "?" + parameters; next != ""; {
			r := h.do("GET", next, nil).is(200)
			var page []string
			for _, m := range r.get("data").([]any) {
				page = append(page, m.(object)["text"].(string))
			}
			all = append(all, page)
			next = ""
			if cursor, ok := r.get("page.next").(string); ok {
				next = path + "?limit=3&cursor=" + cursor
			}
		}
		return all
	}
	if got := fmt.Sprint(pages(c+"/messages", "limit=3")); got != "[[0 1 2] [3 4 5] [6]]" {
		t.Error(got)
	}
	// Message i has version i+2.
	if got := fmt.Sprint(pages(c+"/messages", "limit=3&before=7")); got != "[[2 3 4] [0 1]]" {
		t.Error(got)
	}
	if got := fmt.Sprint(pages(c+"/messages", "before=2")); got != "[[]]" {
		t.Error(got)
	}
}

func TestEditAndDeleteMessage(t *testing.T) {
	t.Parallel()
	h := open(t)
	c := h.conversation()
	clip := object{"url": "https://example.com/hi.mp4", "content_type": "video/mp4"}
	mine := c + "/messages/" + h.do("POST", c+"/messages", object{"text": "Hi", "attachments": []any{clip}}).is(201).text("id")

	h.do("PATCH", mine, object{"text": "Hello"}).is(200).version(3).has("text", "Hello", "version", 2, "deleted_at", nil)
	h.do("PATCH", mine, object{"text": "Hello there", "by": object{"id": "visitor-1"}}).is(200).version(4)
	h.do("PATCH", mine, object{"text": "x", "by": object{"id": "somebody", "role": "customer"}}).
		fails(403, "conversation.not_your_message")
	h.do("POST", mine+"/played", object{"by": object{}}).is(204).version(5)
	h.do("POST", mine+"/played", object{"by": object{"id": "visitor-1"}}).is(204).version(5) // the same person again
	h.do("DELETE", mine+"?by="+url.QueryEscape(`{"id":"bot-1","role":"bot"}`), nil).fails(403, "conversation.not_your_message")
	h.do("DELETE", mine+"?by=visitor-1", nil).is(204).version(6)
	h.do("PATCH", mine, object{"text": "again"}).fails(409, "conversation.message_deleted")
	h.do("DELETE", mine, nil).fails(409, "conversation.message_deleted")
	h.do("POST", mine+"/played", object{"by": object{}}).fails(409, "conversation.message_deleted")
	other := c + "/messages/" + h.do("POST", c+"/messages", object{"text": "only text"}).is(201).text("id")
	h.do("POST", other+"/played", object{"by": object{}}).fails(409, "conversation.nothing_to_play")
	h.do("PATCH", c+"/messages/unknown", object{"text": "x"}).fails(404, "conversation.message_not_found")
	h.do("GET", c+"/messages", nil).is(200).has("data.0.text", "", "data.0.version", 2)
	if h.do("GET", c+"/messages", nil).text("data.0.deleted_at") == "" {
		t.Error("a tombstone does not say when")
	}
}

func TestTyping(t *testing.T) {
	t.Parallel()
	h := open(t)
	c := h.conversation()

	h.do("PUT", c+"/typing", object{"author": object{"id": "visitor-1"}, "state": "on", "ttl": 2.5}).is(204).version(2)
	h.settled()
	before, err := h.store.NextTyping(t.Context())
	if err != nil || before.IsZero() {
		t.Fatal(before, err)
	}
	head := h.head()
	for range 5 {
		h.do("PUT", c+"/typing", object{"state": "on", "ttl": 20}).is(204).version(2)
	}
	if h.head() != head {
		t.Error("typing that goes on was recorded again")
	}
	after, err := h.store.NextTyping(t.Context())
	if err != nil || after.Sub(before) < 10*time.Second {
		t.Errorf("typing is over at %v, then at %v: %v", before, after, err)
	}
	h.do("PUT", c+"/typing", object{"state": "off"}).is(204).version(3)
	h.do("PUT", c+"/typing", object{"state": "off"}).is(204).version(3)
}

// Many at once is the common case of a chat, not an accident: all of them get
// through, each with a version of its own.
func TestConcurrentMessagesHaveVersionsWithoutAGap(t *testing.T) {
	t.Parallel()
	h := open(t)
	c := h.conversation()
	const writers = 64
	replies := make([]*reply, writers)
	var all sync.WaitGroup
	for i := range writers {
		all.Go(func() {
			r, err := h.send("POST", c+"/messages", object{"text": fmt.Sprint("message ", i)})
			if err != nil {
				t.Error(err)
				return
			}
			replies[i] = r
		})
	}
	all.Wait()
	var versions []int64
	for _, r := range replies {
		versions = append(versions, r.is(201).number("version"))
	}
	slices.Sort(versions)
	for i, v := range versions {
		if v != int64(i)+2 {
			t.Fatalf("versions %v", versions)
		}
	}
	h.do("GET", c, nil).is(200).has("message_count", writers)
}
