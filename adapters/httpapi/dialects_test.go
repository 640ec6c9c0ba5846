package httpapi_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"testing"

	"verbatim/adapters/httpapi"
	"verbatim/domain"
	"verbatim/domain/conversation"
	"verbatim/eventstore"
	"verbatim/projections"
	"verbatim/webhooks"
	"verbatim/webhooks/dialect"
	"verbatim/webhooks/shape"
)

// raven is a format that knows messages, told twice, and ends; who has read it
// tells only those who ask.
type raven string

func (r raven) Name() string { return string(r) }

func (raven) Vocabulary() []webhooks.EventType {
	person := shape.Struct("a person", shape.Has("id", shape.Text("theirs")), shape.May("mail", shape.Text("").OrNull()))
	return []webhooks.EventType{
		{
			Word: webhooks.Word{Name: "sent"}, Facts: []string{"conversation.message_posted"}, About: "Somebody wrote.",
			Body: shape.Struct("the letter",
				shape.Has("at", shape.Formatted("date-time", "when").OrNull()),
				shape.Has("kind", shape.OneOfTexts("what it is", "letter", "scroll")),
				shape.Has("to", shape.List("to whom", person)),
				shape.May("tag", shape.Either("a number or a code", shape.Int(""), shape.Matching("^[a-z]+$", ""), shape.Nothing(""))),
				shape.Has("either", shape.Either("", shape.Struct("", shape.Has("a", shape.Bool(""))), shape.Struct("", shape.Has("b", shape.Float(""))))),
				shape.Has("more", shape.Open("as given", shape.Shape{})),
				shape.Has("lists", shape.List("", shape.List("", shape.Int("")))),
			),
			Sample: []byte("{\n  \"z\": \"<&>\",\n  \"a\": 1\n}\n"),
		},
		{Word: webhooks.Word{Name: "copied", OptIn: true}, Facts: []string{"conversation.message_posted"}, About: "Again."},
		{Word: webhooks.Word{Name: "seen", OptIn: true}, Facts: []string{"conversation.read"}, About: "Somebody read."},
		{Word: webhooks.Word{Name: "burnt"}, Facts: []string{"conversation.closed"}, About: "It is over."},
	}
}

func (raven) Guide() string { return "## Ravens\n\nThey <fly>.\n" }

func (raven) Words(e domain.Event) []webhooks.Word {
	switch e.(type) {
	case conversation.MessagePosted:
		return []webhooks.Word{{Name: "copied", OptIn: true}, {Name: "sent"}}
	case conversation.Read:
		return []webhooks.Word{{Name: "seen", OptIn: true}}
	case conversation.Closed:
		return []webhooks.Word{{Name: "burnt"}}
	default:
		return nil
	}
}

func (r raven) AppendBody(dst []byte, e *webhooks.PublicEvent) ([]byte, error) {
	return fmt.Appendf(dst, "{\"%s\" : \"<%s>\", \"version\":%d,\"of\":%d, \"view\":\"%s\"}\n",
		r, e.Name, e.Version, len(e.History.Messages), e.View), nil
}

// openWith starts a house that speaks those formats.
func openWith(t *testing.T, ds ...webhooks.Dialect) *house {
	t.Helper()
	return open(t, func(cfg *httpapi.Config) {
		cfg.Dialects = webhooks.NewDialects(ds...)
		cfg.Transcripts = projections.NewTranscripts(cfg.Log, cfg.Codec, cfg.Dialects, projections.TranscriptMemory)
	})
}

func TestListDialects(t *testing.T) {
	t.Parallel()
	h := openWith(t, raven("raven@2"), raven("raven@1"))
	r := h.do("GET", "/v1/dialects", nil).is(200)
	if got := strings.TrimSpace(string(r.body)); got != `{"data":[{"name":"raven@1","events":["sent","copied","seen","burnt"]},`+
		`{"name":"raven@2","events":["sent","copied","seen","burnt"]}],"page":{}}` {
		t.Error(got)
	}
}

func TestGetDialect(t *testing.T) {
	t.Parallel()
	h := openWith(t, raven("raven@1"), raven("raven@2"), raven("raven@10"))
	h.do("GET", "/v1/dialects/raven", nil).is(200).has("name", "raven@10")
	h.do("GET", "/v1/dialects/raven@1", nil).is(200).has("name", "raven@1")
	r := h.do("GET", "/v1/dialects/raven@3", nil).fails(404, "dialect.not_found")
	if !strings.Contains(r.text("detail"), "raven@1, raven@10, raven@2") {
		t.Errorf("the problem does not say what there is: %s", r.body)
	}

	r = h.do("GET", "/v1/dialects/raven@2", nil).is(200)
	r.has("guide", "## Ravens\n\nThey <fly>.\n", "events.0.name", "sent", "events.0.opt_in", false, "events.0.about", "Somebody wrote.",
		"events.0.facts", "[conversation.message_posted]", "events.1.opt_in", true, "events.1.fields", "[]", "events.1.sample", nil)
	if !strings.Contains(string(r.body), `"sample":{"z":"<&>","a":1}`) {
		t.Errorf("the sample is not as it was: %s", r.body)
	}

	var d struct {
		Events []struct {
			Fields []struct {
				Path, Type, Format, Pattern, About string
				Optional                           bool
				Values                             []string
			}
			Schema json.RawMessage
		}
	}
	r.into(&d)
	want := []string{
		"at: string or null when date-time",
		"kind: string what it is [letter scroll]",
		"to: array to whom",
		"to[]: object a person",
		"to[].id: string theirs",
		"to[].mail?: string or null",
		"tag?: integer or string or null a number or a code",
		"either: object",
		"either.a: boolean",
		"either.b: number",
		"more: object as given",
		"more.*?: any",
		"lists: array",
		"lists[]: array",
		"lists[][]: integer",
	}
	var got []string
	for _, f := range d.Events[0].Fields {
		optional := ""
		if f.Optional {
			optional = "?"
		}
		line := fmt.Sprint(f.Path, optional, ": ", f.Type, " ", f.About, " ", f.Format, f.Pattern)
		if f.Values != nil {
			line += fmt.Sprint(f.Values)
		}
		got = append(got, strings.TrimSpace(strings.ReplaceAll(line, "  ", " ")))
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("fields are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	schema, err := shape.Schema("raven@2 sent", raven("").Vocabulary()[0].Body)
	if err != nil {
		t.Fatal(err)
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, schema); err != nil || !bytes.Equal(compact.Bytes(), d.Events[0].Schema) {
		t.Errorf("schema\n%s, want\n%s (%v)", d.Events[0].Schema, compact.Bytes(), err)
	}
}

// Every format that the program speaks is described.
func TestEveryDialectIsDescribed(t *testing.T) {
	t.Parallel()
	h := open(t)
	for i, name := range dialect.All().Names() {
		h.do("GET", "/v1/dialects", nil).is(200).has(fmt.Sprintf("data.%d.name", i), name)
		r := h.do("GET", "/v1/dialects/"+name, nil).is(200).has("name", name)
		d, err := dialect.All().Find(name)
		if err != nil {
			t.Fatal(err)
		}
		if events, ok := r.get("events").([]any); !ok || len(events) != len(d.Vocabulary()) {
			t.Errorf("%s: %s", name, r.body)
		}
	}
}

func TestPreview(t *testing.T) {
	t.Parallel()
	h := openWith(t, raven("raven@1"), raven("raven@2"))
	c := h.conversation()
	id := strings.TrimPrefix(c, "/v1/conversations/")
	const path = "/v1/dialects/raven/preview"
	preview := func(more object) *reply {
		t.Helper()
		body := object{"conversation": id}
		maps.Copy(body, more)
		return h.do("POST", path, body)
	}
	renders := func(r *reply, version int64, event, want string) {
		t.Helper()
		r.is(200).version(version)
		if string(r.body) != want || r.header.Get("Content-Type") != "application/json" || r.header.Get("Verbatim-Event") != event {
			t.Errorf("rendered %q with %v, want %q", r.body, r.header, want)
		}
	}

	r := preview(nil).fails(422, "dialect.no_word")
	if !strings.Contains(r.text("detail"), "sent, copied, seen, burnt") {
		t.Errorf("the problem does not list the events: %s", r.body)
	}
	h.do("POST", c+"/messages", object{"text": "Hi"}).is(201)                            // 2
	h.do("POST", c+"/messages", object{"text": "Ho", "author": object{"role": "agent"}}) // 3
	h.do("PUT", c+"/status", object{"status": "pending"}).is(200)                        // 4
	head := h.head()

	// The newest for which there is a word, as it was then, byte for byte.
	renders(preview(nil), 3, "sent", "{\"raven@2\" : \"<sent>\", \"version\":3,\"of\":2, \"view\":\"full\"}\n")
	renders(preview(object{"at_version": 2}), 2, "sent", "{\"raven@2\" : \"<sent>\", \"version\":2,\"of\":1, \"view\":\"full\"}\n")
	renders(preview(object{"event": "copied"}), 3, "copied", "{\"raven@2\" : \"<copied>\", \"version\":3,\"of\":2, \"view\":\"full\"}\n")
	renders(preview(object{"at_version": 2, "event": "copied", "history": "last:1,public"}), 2, "copied",
		"{\"raven@2\" : \"<copied>\", \"version\":2,\"of\":1, \"view\":\"last:1,public\"}\n")
	renders(preview(object{"history": "none"}), 3, "sent", "{\"raven@2\" : \"<sent>\", \"version\":3,\"of\":2, \"view\":\"none\"}\n")
	renders(h.do("POST", "/v1/dialects/raven@1/preview", object{"conversation": id}), 3, "sent",
		"{\"raven@1\" : \"<sent>\", \"version\":3,\"of\":2, \"view\":\"full\"}\n")
	for _, nothing := range []object{{"at_version": 1}, {"at_version": 4}, {"event": "burnt"}, {"event": "seen"}, {"event": "burnt", "at_version": 2}} {
		preview(nothing).fails(422, "dialect.no_word")
	}
	// A key that a careful client sends along is none for a query.
	for range 2 {
		r := h.do("POST", path, object{"conversation": id}, idempotent("k")).is(200)
		if r.header.Get("Idempotency-Replayed") != "" {
			t.Error("a preview was replayed")
		}
	}
	if h.head() != head {
		t.Error("a preview was recorded")
	}
	if _, err := h.store.FindCommand(t.Context(), "default", "k"); err == nil {
		t.Error("the key of a preview was kept")
	}

	h.do("PUT", c+"/read", object{"by": object{"id": "bob", "role": "agent"}, "up_to": 4}).is(200) // 5
	renders(preview(nil), 5, "seen", "{\"raven@2\" : \"<seen>\", \"version\":5,\"of\":2, \"view\":\"full\"}\n")
	renders(preview(object{"event": "sent"}), 3, "sent", "{\"raven@2\" : \"<sent>\", \"version\":3,\"of\":2, \"view\":\"full\"}\n")
	h.do("POST", path, object{"conversation": id}, as(h.other)).fails(404, "conversation.not_found")
}

// What is previewed is what is sent.
func TestPreviewIsWhatIsSent(t *testing.T) {
	t.Parallel()
	h := open(t)
	previewed := 0
	for _, name := range dialect.All().Names() {
		var endpoints []string
		for _, history := range []string{"full", "last:1"} {
			ep := h.do("POST", "/v1/endpoints", object{"url": "https://example.com/", "dialect": name, "history": history}).is(201)
			endpoints = append(endpoints, ep.text("id"))
		}
		c := h.conversation()
		h.do("POST", c+"/messages", object{"text": "Where is my wolf?"}).is(201)
		h.do("POST", c+"/messages", object{"text": "a note", "private": true, "author": object{"id": "bob", "role": "agent"}}).is(201)
		h.do("PUT", c+"/assignee", object{"agent": object{"id": "bob"}}).is(200)
		h.do("POST", c+"/close", nil).is(200)
		h.settled()
		for _, ep := range endpoints {
			for _, row := range h.do("GET", "/v1/endpoints/"+ep+"/deliveries", nil).is(200).get("data").([]any) {
				d := row.(object)
				if !strings.HasPrefix(d["stream"].(string), "conversation-") {
					continue
				}
				sent := h.do("GET", "/v1/deliveries/"+d["id"].(string)+"/payload", nil).is(200)
				seen := h.do("POST", "/v1/dialects/"+name+"/preview", object{
					"conversation": c[len("/v1/conversations/"):], "at_version": d["version"], "event": d["name"], "history": d["history"],
				}).is(200)
				if !bytes.Equal(sent.body, seen.body) {
					t.Errorf("%s %v: sent\n%s, previewed\n%s", name, d["name"], sent.body, seen.body)
				}
				previewed++
			}
			h.do("DELETE", "/v1/endpoints/"+ep, nil).is(204)
		}
	}
	if previewed < 10 {
		t.Errorf("only %d were compared", previewed)
	}
}

// The search for something to preview goes back page by page, and not for ever.
func TestPreviewReach(t *testing.T) {
	t.Parallel()
	const reach = 1000
	var cfg httpapi.Config
	h := open(t, func(c *httpapi.Config) {
		c.Dialects = webhooks.NewDialects(raven("raven@1"))
		c.Transcripts = projections.NewTranscripts(c.Log, c.Codec, c.Dialects, projections.TranscriptMemory)
		cfg = *c
	})
	c := h.conversation()
	id := strings.TrimPrefix(c, "/v1/conversations/")
	h.do("POST", c+"/messages", object{"text": "Hi"}).is(201) // 2
	// Typing, for which ravens have no word.
	typing := func(upTo int64) {
		for version := h.do("GET", c, nil).number("version"); version < upTo; version++ {
			on := version%2 == 0
			if _, err := cfg.Conversations.Execute(t.Context(), eventstore.Order[conversation.State, conversation.Command]{
				Account: "default", ID: id, Command: conversation.SetTyping{On: on},
			}); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, version := range []int64{51, 52, 53, 1 + reach} {
		typing(version)
		h.do("POST", "/v1/dialects/raven/preview", object{"conversation": id}).is(200).version(2)
	}
	typing(2 + reach)
	h.do("GET", c, nil).is(200).version(2 + reach)
	h.do("POST", "/v1/dialects/raven/preview", object{"conversation": id}).fails(422, "dialect.no_word")
	h.do("POST", "/v1/dialects/raven/preview", object{"conversation": id, "at_version": 2}).is(200).version(2)
}

// A list that is at hand whole has pages like all others.
func TestPagesOfAShortList(t *testing.T) {
	t.Parallel()
	h := open(t)
	whole := h.do("GET", "/v1/dialects", nil).is(200).has("page.next", nil)
	first := h.do("GET", "/v1/dialects?limit=4", nil).is(200).has("data.4", nil)
	next := fmt.Sprint(first.get("page.next"))
	second := h.do("GET", "/v1/dialects?limit=4&cursor="+next, nil).is(200).has("page.next", nil)
	for i := range 4 {
		first.has(fmt.Sprintf("data.%d.name", i), whole.get(fmt.Sprintf("data.%d.name", i)))
	}
	for i := range 2 {
		second.has(fmt.Sprintf("data.%d.name", i), whole.get(fmt.Sprintf("data.%d.name", i+4)))
	}
	second.has("data.2", nil)
	h.do("GET", "/v1/dialects?cursor=e30", nil).fails(400, "bad_cursor")
	h.do("GET", "/v1/keys?cursor="+next, nil, as(adminKey)).fails(400, "bad_cursor")
}
