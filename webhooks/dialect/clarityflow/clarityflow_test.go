package clarityflow_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"verbatim/domain"
	"verbatim/domain/contact"
	"verbatim/domain/conversation"
	"verbatim/domain/endpoint"
	"verbatim/eventstore"
	"verbatim/webhooks"
	"verbatim/webhooks/dialect/clarityflow"
	"verbatim/webhooks/webhookstest"
)

const (
	fixtures = "../../../tests/fixtures"
	fixture  = fixtures + "/clarityflow-conversations.ndjson"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestSamples(t *testing.T) {
	t.Parallel()
	webhookstest.CompareSamples(t, clarityflow.New(), "samples", fixtures)
}

// A golden that changed is a new version of the dialect, or a mistake.
func TestGoldens(t *testing.T) {
	t.Parallel()
	d := clarityflow.New()
	positions := map[string]int64{"message_created": 5} // and else the first there is
	bodies := map[string][]byte{}
	for _, r := range webhookstest.Rendered(t, d, webhookstest.Facts(t, fixture), webhooks.FullView()) {
		if at := positions[r.Name]; bodies[r.Name] == nil && (at == 0 || at == r.Position) {
			bodies[r.Name] = r.Body
		}
	}
	for _, event := range d.Vocabulary() {
		golden := filepath.Join("golden", event.Name+".json")
		if *update {
			var pretty bytes.Buffer
			if err := json.Indent(&pretty, bodies[event.Name], "", " "); err != nil {
				t.Fatalf("%s: %v in %s", event.Name, err, bodies[event.Name])
			}
			pretty.WriteByte('\n')
			if err := os.WriteFile(golden, pretty.Bytes(), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		file, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		var want bytes.Buffer
		if err := json.Compact(&want, file); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want.String(), string(bodies[event.Name])); diff != "" {
			t.Errorf("%s (-want +got):\n%s", golden, diff)
		}
		if !*update && string(event.Sample) != string(file) {
			t.Errorf("%s: the sample is not the golden", event.Name)
		}
	}
}

func TestWords(t *testing.T) {
	t.Parallel()
	posted := func(private bool, role domain.Role) conversation.MessagePosted {
		return conversation.MessagePosted{Private: private, Author: domain.Person{Role: role}}
	}
	known := map[string]bool{}
	for _, tt := range []struct {
		event domain.Event
		want  string
	}{
		{conversation.Created{}, "conversation_created"},
		{posted(false, domain.Customer), "message_created"},
		{posted(false, domain.Agent), "message_created"},
		{posted(false, domain.Bot), "message_created"},
		{posted(true, domain.Agent), ""},
		{posted(false, domain.System), ""},
		{conversation.MessagePlayed{}, "message_played"},
		{conversation.MessagePlayed{Private: true}, ""},
		{conversation.ActivityRecorded{Kind: conversation.AppointmentScheduled}, "new_appointment"},
		{conversation.ActivityRecorded{Kind: conversation.ProductPurchased}, "new_purchase"},
		{conversation.ActivityRecorded{Kind: conversation.FormSubmitted}, "new_form_submission"},
		{conversation.ActivityRecorded{Kind: conversation.TaskCompleted}, "task_completed"},
		{conversation.ActivityRecorded{Kind: "danced"}, ""},
		{conversation.Closed{}, "conversation_transcript"},
		{contact.Created{}, ""},
		{endpoint.Registered{}, ""},
	} {
		known[tt.event.EventType()] = true
		var want []webhooks.Word
		if tt.want != "" {
			want = []webhooks.Word{{Name: tt.want, OptIn: tt.want == "conversation_transcript"}}
		}
		if diff := cmp.Diff(want, clarityflow.New().Words(tt.event)); diff != "" {
			t.Errorf("%+v: %s", tt.event, diff)
		}
	}
	for name, e := range eventstore.Catalogue().Types() {
		if words := clarityflow.New().Words(e); !known[name] && words != nil {
			t.Errorf("%s is called %v", name, words)
		}
	}
}

// The people of all stories. Nobody changes them.
var (
	emma = domain.Person{ID: "emma", Role: domain.Customer, Name: "Emma Casel", FirstName: "Emma", LastName: "Casel", Email: "emma@x"}
	user = domain.Person{ID: "user", Role: domain.Agent, Name: "User Casel"}

	created = conversation.Created{Account: domain.Account{ID: "a1", Name: "Acme"}, Customer: emma, Subject: "Hello"}
)

func attributes(object string) domain.Attributes {
	var a domain.Attributes
	if err := json.Unmarshal([]byte(object), &a); err != nil {
		panic(err)
	}
	return a
}

// own returns attributes that are for this format alone.
func own(object string) domain.Attributes { return attributes(`{"clarityflow":` + object + `}`) }

func said(id string, by domain.Person, text string, more ...func(*conversation.MessagePosted)) conversation.MessagePosted {
	m := conversation.MessagePosted{MessageID: id, Author: by, Text: text, ContentType: "text"}
	for _, f := range more {
		f(&m)
	}
	return m
}

// body is any body, each payload in its place.
type body struct {
	Type       string
	ID         uuid.UUID
	OccurredAt string `json:"occurred_at"`
	Payload    struct {
		Conversation *thread
		Message      *message
		Activity     json.RawMessage
	}
}

type thread struct {
	ID               int64
	CreatedAt        string `json:"created_at"`
	Title, Slug, URL string
	EmbedURL         string `json:"embed_url"`
	Public           bool
	AllowAnonymous   bool     `json:"allow_anonymous_messages"`
	SubscriberEmails []string `json:"subscriber_emails"`
	Messages         []message
	Revision         int
}

type message struct {
	ID                int64
	ConversationTitle string `json:"conversation_title"`
	MessageType       string `json:"message_type"`
	Duration          *int64 `json:"recorded_duration_seconds"`
	URL               string `json:"message_url"`
	EmbedURL          string `json:"message_embed_url"`
	Text              string
	CreatedTime       string `json:"message_created_time"`
	Author            author
	Download          *string `json:"download_media_url"`
	Access            *string `json:"access_media_file"`
}

type author struct {
	First     string `json:"first_name"`
	Last      string `json:"last_name"`
	Full      string `json:"full_name"`
	Email     string
	Anonymous bool
}

// render returns the body of the end of a story, which has one word.
func render(t *testing.T, s *webhookstest.Story) body {
	t.Helper()
	names := s.Names(clarityflow.New())
	if len(names) != 1 {
		t.Fatalf("%s is called %v", s.Fact.Type, names)
	}
	var b body
	raw := s.Body(clarityflow.New(), names[0])
	if err := json.Unmarshal(raw, &b); err != nil {
		t.Fatalf("%v in %s", err, raw)
	}
	if b.Type != names[0] || !utf8.Valid(raw) {
		t.Errorf("type %s of %s", b.Type, raw)
	}
	return b
}

// told returns the body of the end of a conversation that begins with created.
func told(t *testing.T, events ...domain.Event) body {
	t.Helper()
	return render(t, webhookstest.Tell(t, slices.Concat([]domain.Event{created}, events)...))
}

func TestPlace(t *testing.T) {
	t.Parallel()
	const first = "2026-03-01 12:00:1772366401" // the first second of a story
	for _, tt := range []struct {
		name                      string
		subject, account, given   string
		title, slug, host, beside string
	}{
		{"plain", "Hello", "Acme", `{}`, "Hello", "hello1", "acme.clarityflow.com", "acme"},
		{"without a subject", "", "Acme", `{}`, "March 1st, 2026 Conversation", "march-1st-2026-conversation1", "acme.clarityflow.com", "acme"},
		{"without an account's name", "Hello", "", `{}`, "Hello", "hello1", "a1.clarityflow.com", "a1"},
		{"accents", "Crème Brûlée für Łódź, Þór & ĳs!", "Ærø ÅB", `{}`, "Crème Brûlée für Łódź, Þór & ĳs!", "creme-brulee-fur-lodz-thor-ijs1", "aero-ab.clarityflow.com", "aero-ab"},
		{"accents apart", "Cre\u0300me ÷ 2×2 ŉ ẞ Ǭ", "Acme", `{}`, "Cre\u0300me ÷ 2×2 ŉ ẞ Ǭ", "creme-2x2-n-ss-o1", "acme.clarityflow.com", "acme"},
		{"what cannot stand there", "-- _a_ -- <b>\u2028?#/%..\xff", "Acme", `{}`, "-- _a_ -- <b>\u2028?#/%..\ufffd", "_a_-b1", "acme.clarityflow.com", "acme"},
		{"nothing that can stand there", "会話", "会社", `{}`, "会話", "8622fd8e42eaa18ede5c0dc0b", "a1.clarityflow.com", "a1"},
		{"already so", "all-set_2", "acme-2", `{}`, "all-set_2", "all-set_21", "acme-2.clarityflow.com", "acme-2"},
		{
			"given", "Hello", "Acme", `{"title":"T","slug":"096a594dd11759d1f6876d842","account":"awesome","host":"localhost:3000"}`,
			"T", "096a594dd11759d1f6876d842", "awesome.localhost:3000", "awesome",
		},
		{"a title given", "Hello", "Acme", `{"title":"On and on"}`, "On and on", "on-and-on1", "acme.clarityflow.com", "acme"},
		{
			"given and of no use", "Hello", "Acme", `{"title":7,"slug":"a/b","account":"a b","host":"x\"<","id":"7","created_at":"2022-04-01 14:23:59"}`,
			"Hello", "hello1", "acme.clarityflow.com", "acme",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := conversation.Created{
				Account: domain.Account{ID: "a1", Name: tt.account}, Customer: emma, Subject: tt.subject, Attributes: own(tt.given),
			}
			story := webhookstest.Tell(t, c)
			want := &thread{
				ID: 1, CreatedAt: first, Title: tt.title, Slug: tt.slug,
				URL:      "http://" + tt.host + "/c/" + tt.slug,
				EmbedURL: "http://" + tt.host + "/embeds/conversations/" + tt.beside + "/" + tt.slug,
				Public:   true, AllowAnonymous: true, SubscriberEmails: []string{}, Messages: []message{},
			}
			if diff := cmp.Diff(want, render(t, story).Payload.Conversation); diff != "" {
				t.Error(diff)
			}
			m := render(t, story.Then(said("m", user, "hi"))).Payload.Message
			got := []string{m.ConversationTitle, m.URL, m.EmbedURL}
			if diff := cmp.Diff([]string{
				tt.title, "http://" + tt.host + "/c/" + tt.slug + "#message-2",
				"http://" + tt.host + "/embeds/messages/" + tt.beside + "/2?conversation_slug=" + tt.slug,
			}, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestTitleOfTheDay(t *testing.T) {
	t.Parallel()
	for day, want := range map[string]string{
		"2022-04-01T00:00:00Z": "April 1st, 2022 Conversation", "2022-04-02T00:00:00Z": "April 2nd, 2022 Conversation",
		"2022-04-03T00:00:00Z": "April 3rd, 2022 Conversation", "2022-04-04T00:00:00Z": "April 4th, 2022 Conversation",
		"2022-04-11T00:00:00Z": "April 11th, 2022 Conversation", "2022-04-12T00:00:00Z": "April 12th, 2022 Conversation",
		"2022-04-13T00:00:00Z": "April 13th, 2022 Conversation", "2022-04-20T00:00:00Z": "April 20th, 2022 Conversation",
		"2022-04-21T00:00:00Z": "April 21st, 2022 Conversation", "2022-04-22T00:00:00Z": "April 22nd, 2022 Conversation",
		"2022-04-23T00:00:00Z": "April 23rd, 2022 Conversation", "2022-12-31T23:30:00-02:00": "January 1st, 2023 Conversation",
	} {
		c := conversation.Created{Customer: emma, Attributes: own(`{"created_at":"` + day + `"}`)}
		if got := render(t, webhookstest.Tell(t, c)).Payload.Conversation.Title; got != want {
			t.Errorf("%s: got %s", day, got)
		}
	}
}

// The seconds of a time within a payload are those since 1970.
func TestSlippedTimes(t *testing.T) {
	t.Parallel()
	const otherwise = "2026-03-01 12:00:1772366401"
	for given, want := range map[string]string{
		"2022-04-01 14:23:1648823039":   "2022-04-01 14:23:1648823039",
		"2022-04-01T14:23:59.799Z":      "2022-04-01 14:23:1648823039",
		"2022-04-01T10:23:59-04:00":     "2022-04-01 14:23:1648823039",
		"1969-12-31T23:59:59Z":          "1969-12-31 23:59:-1",
		"2022-04-01 14:24:1648823039":   otherwise, // not the same minute
		"2022-04-01 14:23:59":           otherwise,
		"":                              otherwise,
		"::99999999999999999999":        otherwise,
		"292277026596-12-04 15:30:9e9":  otherwise,
		"9999-12-31T23:59:59-01:00":     otherwise,
		"0000-01-01T00:00:00+01:00":     otherwise,
		"2022-04-01T14:23:59":           otherwise,
		"2022-04-01 14:23:1648823039\n": otherwise,
	} {
		text, err := json.Marshal(given)
		if err != nil {
			t.Fatal(err)
		}
		c := conversation.Created{Customer: emma, Attributes: own(`{"created_at":` + string(text) + `}`)}
		if got := render(t, webhookstest.Tell(t, c)).Payload.Conversation.CreatedAt; got != want {
			t.Errorf("%q: got %s, want %s", given, got, want)
		}
	}
}

func TestMessageKinds(t *testing.T) {
	t.Parallel()
	file := func(fileType, contentType string) conversation.Attachment {
		return conversation.Attachment{FileType: fileType, ContentType: contentType, URL: "https://x/" + fileType + contentType + "?a&b"}
	}
	ten := int64(10)
	for _, tt := range []struct {
		name        string
		contentType string
		files       []conversation.Attachment
		content     string
		given       string
		kind        string
		duration    *int64
		url, access string
	}{
		{"text", "text", nil, `{"recorded_duration_seconds":10}`, `{}`, "text", nil, "", ""},
		{"a video", "text", []conversation.Attachment{file("video", "")}, `{"recorded_duration_seconds":9.6}`, `{}`, "camera", &ten, "https://x/video?a&b", "https://clarityflow.com/2/download_media"},
		{"a recording", "text", []conversation.Attachment{file("", "audio/ogg")}, `{"recorded_duration_seconds":"10"}`, `{}`, "audio", nil, "https://x/audio/ogg?a&b", "https://clarityflow.com/2/download_media"},
		{"a picture", "text", []conversation.Attachment{file("image", "image/png")}, `{}`, `{}`, "file", nil, "https://x/imageimage/png?a&b", "https://clarityflow.com/2/download_media"},
		{"a video behind a picture", "text", []conversation.Attachment{file("image", ""), file("video", ""), file("audio", "")}, `{}`, `{}`, "camera", nil, "https://x/video?a&b", "https://clarityflow.com/2/download_media"},
		{"a content type", "audio/ogg", nil, `{"recorded_duration_seconds":10}`, `{}`, "audio", &ten, "", ""},
		{"a content type with a file", "video", []conversation.Attachment{file("file", "")}, `{}`, `{}`, "camera", nil, "https://x/file?a&b", "https://clarityflow.com/2/download_media"},
		{"all given", "text", nil, `{"recorded_duration_seconds":7}`, `{"message_type":"screen","recorded_duration_seconds":10,"download_media_url":"https://y","access_media_file":"https://z"}`, "screen", &ten, "https://y", "https://z"},
		{"a URL given", "text", nil, `{}`, `{"id":283,"download_media_url":"https://y"}`, "text", nil, "https://y", "https://clarityflow.com/283/download_media"},
		{"given and of no use", "text", nil, `{}`, `{"id":-1,"message_type":1,"recorded_duration_seconds":-10,"download_media_url":[],"access_media_file":null}`, "text", nil, "", ""},
		{"durations beyond reason", "video", nil, `{"recorded_duration_seconds":1e300}`, `{"recorded_duration_seconds":"NaN"}`, "camera", nil, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := told(t, said("m", user, "", func(m *conversation.MessagePosted) {
				m.ContentType, m.Attachments = tt.contentType, tt.files
				m.ContentAttributes, m.Attributes = attributes(tt.content), own(tt.given)
			})).Payload.Message
			text := func(s string) *string {
				if s == "" {
					return nil
				}
				return &s
			}
			type row struct {
				Kind             string
				Duration         *int64
				Download, Access *string
			}
			if diff := cmp.Diff(row{tt.kind, tt.duration, text(tt.url), text(tt.access)}, row{m.MessageType, m.Duration, m.Download, m.Access}); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestTextIsHTML(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("é<", 1<<19)
	wrapped := func(html string) string { return "<div class=\"trix-content\">\n  <div>" + html + "</div>\n</div>" }
	for text, want := range map[string]string{
		"":                          "",
		"asdf":                      wrapped("asdf"),
		" ":                         wrapped(" "),
		"<b>&amp;\"'</b>":           wrapped("&lt;b&gt;&amp;amp;\"'&lt;/b&gt;"),
		"one\ntwo\r\nthree\rfour\n": wrapped("one<br>two<br>three<br>four<br>"),
		"\r":                        wrapped("<br>"),
		"a\x00b\x1fc\u2028":         wrapped("a\x00b\x1fc\u2028"),
		"a\xffb\xc3":                wrapped("a\ufffdb\ufffd"),
		long:                        wrapped(strings.ReplaceAll(long, "<", "&lt;")),
	} {
		if got := told(t, said("m", user, text)).Payload.Message.Text; got != want {
			t.Errorf("%.40q: got %.80q", text, got)
		}
	}
	raw := string(webhookstest.Tell(t, created, said("m", user, "<&>\u2028")).Body(clarityflow.New(), clarityflow.MessageCreated))
	if strings.ContainsAny(raw, "<>&\u2028") || !strings.Contains(raw, `\u003cdiv\u003e\u0026lt;\u0026amp;\u0026gt;\u2028\u003c/div\u003e`) {
		t.Errorf("not as Rails escapes it: %s", raw)
	}
}

// HTML that is given counts until somebody edits the text, and goes when the
// message is deleted.
func TestTextGiven(t *testing.T) {
	t.Parallel()
	s := webhookstest.Tell(t, created, said("m", user, "x", func(m *conversation.MessagePosted) {
		m.Attributes = own(`{"id":77,"text":"<div><em>x</em></div>"}`)
	}))
	if m := render(t, s).Payload.Message; m.Text != "<div><em>x</em></div>" || m.ID != 77 {
		t.Errorf("got %+v", m)
	}
	s.Then(conversation.MessageEdited{MessageID: "m", Text: "y"}, conversation.MessagePlayed{MessageID: "m", Viewer: emma})
	if m := render(t, s).Payload.Message; !strings.Contains(m.Text, "<div>y</div>") || m.ID != 77 {
		t.Errorf("got %+v", m)
	}
	s.Then(conversation.MessageDeleted{MessageID: "m"}, conversation.MessagePlayed{MessageID: "m", Viewer: user})
	if m := render(t, s).Payload.Message; m.Text != "" || m.MessageType != "text" || m.Download != nil || m.Author.Full != "User Casel" {
		t.Errorf("got %+v", m)
	}
}

func TestAuthors(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		who  domain.Person
		want author
	}{
		{"whole", emma, author{"Emma", "Casel", "Emma Casel", "emma@x", false}},
		{"a name alone", domain.Person{ID: "1", Name: "Jo van Dyk"}, author{"Jo", "van Dyk", "Jo van Dyk", "", false}},
		{"one part", domain.Person{ID: "1", LastName: "Dyk"}, author{"", "Dyk", "Dyk", "", false}},
		{"an e-mail alone", domain.Person{ID: "1", Email: "a@b"}, author{"", "", "", "a@b", false}},
		{"nobody known", domain.Person{ID: "1", Phone: "+1"}, author{Anonymous: true}},
		{"a bot", domain.Person{ID: "1", Role: domain.Bot, Name: "Rex"}, author{"Rex", "", "Rex", "", false}},
		{
			"given",
			domain.Person{ID: "1", Name: "X Y", Email: "x@y", Attributes: own(`{"first_name":"A","last_name":"B","full_name":"A B","email":"a@b"}`)},
			author{"A", "B", "A B", "a@b", false},
		},
		{"anonymous by wish", domain.Person{ID: "1", Name: "X", Attributes: own(`{"anonymous":true}`)}, author{Anonymous: true}},
		{"given and of no use", domain.Person{ID: "1", Name: "X", Attributes: own(`{"anonymous":1,"email":{}}`)}, author{"X", "", "X", "", false}},
	} {
		if tt.who.Role == "" {
			tt.who.Role = domain.Customer
		}
		if diff := cmp.Diff(tt.want, told(t, said("m", tt.who, "hi")).Payload.Message.Author); diff != "" {
			t.Errorf("%s: %s", tt.name, diff)
		}
	}
}

func TestActivities(t *testing.T) {
	t.Parallel()
	const second = `"2026-03-01 12:00:1772366402"`
	const emmas = `{"first_name":"Emma","last_name":"Casel","full_name":"Emma Casel","email":"emma@x"}`
	const users = `{"first_name":"User","last_name":"Casel","full_name":"User Casel","email":""}`
	ghost := domain.Person{ID: "clock", Role: domain.System, Name: "Clock"}
	for _, tt := range []struct {
		name string
		kind conversation.ActivityKind
		data string
		by   *domain.Person
		want string
	}{
		{"data in its order", conversation.AppointmentScheduled, `{"z":1,"a":null,"b":{"d":[1,"\u2028"],"c":"<&>"}}`, &user, `{"id":2,"z":1,"a":null,"b":{"d":[1,"\u2028"],"c":"\u003c\u0026\u003e"}}`},
		{"an id of its own", conversation.AppointmentScheduled, `{"a":1,"id":77}`, nil, `{"id":77,"a":1}`},
		{"an id that is no number", conversation.ProductPurchased, `{"id":"ch_1","<k>":"v"}`, nil, `{"id":2,"\u003ck\u003e":"v"}`},
		{"nothing", conversation.ProductPurchased, `{}`, nil, `{"id":2}`},
		{
			"a form", conversation.FormSubmitted,
			`{"locale":"en","answers":[{"question":"Q<","answer":"A"},7,null,{"answer":["x"]}],"created_at":"2022-04-01T14:23:59Z",` +
				`"conversation_slug":"other","form":{"title":"T","id":41,"more":1},"submitter":{"name":"A B","email":"a@b"}}`, &user,
			`{"id":2,"form":{"id":41,"title":"T"},"conversation_slug":"hello1","submitter":{"first_name":"A","last_name":"B","full_name":"A B","email":"a@b"},` +
				`"answers":[{"question":"Q\u003c","answer":"A"},{"question":"","answer":["x"]}],"created_at":"2022-04-01 14:23:1648823039","locale":"en"}`,
		},
		{
			"a form with answers by question", conversation.FormSubmitted, `{"answers":{"B?":2,"A?":null}}`, &user,
			`{"id":2,"form":{"id":null,"title":""},"conversation_slug":"hello1","submitter":` + users + `,` +
				`"answers":[{"question":"B?","answer":2},{"question":"A?","answer":null}],"created_at":` + second + `}`,
		},
		{
			"a form of nobody", conversation.FormSubmitted, `{"form":"T","answers":"none","submitter":{}}`, &ghost,
			`{"id":2,"form":{"id":null,"title":""},"conversation_slug":"hello1","submitter":` + emmas + `,"answers":[],"created_at":` + second + `}`,
		},
		{
			"a task", conversation.TaskCompleted, `{"list":"L","completed_at":"2022-04-01 14:23:1648823039","title":"T","completed_by":{"full_name":"A","id":9}}`, &user,
			`{"id":2,"title":"T","completed_at":"2022-04-01 14:23:1648823039","conversation_slug":"hello1",` +
				`"completed_by":{"first_name":"A","last_name":"","full_name":"A","email":""},"list":"L"}`,
		},
		{
			"a task of somebody", conversation.TaskCompleted, `{"id":3,"completed_at":7}`, &user,
			`{"id":3,"title":"","completed_at":` + second + `,"conversation_slug":"hello1","completed_by":` + users + `}`,
		},
		{
			"a task of somebody unknown", conversation.TaskCompleted, `{}`, &domain.Person{ID: "x", Role: domain.Customer},
			`{"id":2,"title":"","completed_at":` + second + `,"conversation_slug":"hello1","completed_by":{"anonymous":true}}`,
		},
		{
			"a task of nobody", conversation.TaskCompleted, `{}`, &ghost,
			`{"id":2,"title":"","completed_at":` + second + `,"conversation_slug":"hello1","completed_by":null}`,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := webhookstest.Tell(t, created, conversation.ActivityRecorded{Kind: tt.kind, Data: attributes(tt.data), By: tt.by})
			raw := string(s.Body(clarityflow.New(), s.Names(clarityflow.New())[0]))
			_, payload, _ := strings.Cut(raw, `"payload":{`)
			_, object, _ := strings.Cut(payload, `:`)
			if diff := cmp.Diff(tt.want, strings.TrimSuffix(object, `}}`)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestTranscript(t *testing.T) {
	t.Parallel()
	system := domain.Person{ID: "clock", Role: domain.System, Name: "Clock"}
	s := webhookstest.Tell(t,
		created,
		said("1", emma, "Hello"),
		said("2", user, "a note", func(m *conversation.MessagePosted) { m.Private = true }),
		said("3", user, "wrogn"),
		said("4", system, "Clock joined"),
		said("5", user, "said in anger"),
		conversation.MessageDeleted{MessageID: "5"},
		conversation.Closed{},
	)
	texts := func(b body) (out []string) {
		for _, m := range b.Payload.Conversation.Messages {
			_, anchor, _ := strings.Cut(m.URL, "#")
			out = append(out, anchor+" "+m.ConversationTitle+" "+m.Author.First+" "+m.Text)
		}
		return out
	}
	line := func(number, name, text string) string {
		return "message-" + number + " Hello " + name + " <div class=\"trix-content\">\n  <div>" + text + "</div>\n</div>"
	}
	first := render(t, s)
	if diff := cmp.Diff([]string{line("2", "Emma", "Hello"), line("4", "User", "wrogn")}, texts(first)); diff != "" {
		t.Error(diff)
	}
	fact := s.Fact.ID
	if want := uuid.NewSHA1(fact, []byte("conversation_transcript")); first.ID != want || first.ID == fact {
		t.Errorf("the id of the transcript is %s, want %s", first.ID, want)
	}
	if c := first.Payload.Conversation; c.Revision != 1 || c.Title != "Hello" || !c.Public {
		t.Errorf("got %+v", c)
	}

	// Subject and attributes change, and the place stays where it was.
	subject := domain.Change{Key: "subject", Previous: json.RawMessage(`"Hello"`), Current: json.RawMessage(`"Bye"`)}
	moved := domain.Change{
		Key: "attributes.clarityflow", Previous: json.RawMessage(`null`),
		Current: json.RawMessage(`{"id":9,"slug":"s","title":"T","host":"h","public":false,"subscriber_emails":["a<@b","c@d"]}`),
	}
	s.Then(
		conversation.Reopened{By: user},
		conversation.MessageEdited{MessageID: "3", Previous: "wrogn", Text: "wrong", By: user},
		conversation.MessageDeleted{MessageID: "1"},
		conversation.AttributesChanged{Changes: []domain.Change{subject, moved}},
		said("6", user, "Bye"),
		conversation.Closed{},
	)
	second := render(t, s)
	if diff := cmp.Diff([]string{line("4", "User", "wrong"), line("13", "User", "Bye")}, texts(second)); diff != "" {
		t.Error(diff)
	}
	got, want := *second.Payload.Conversation, *first.Payload.Conversation
	want.Revision, want.Public, want.SubscriberEmails, want.Messages = 2, false, []string{"a<@b", "c@d"}, got.Messages
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}

	// A history that was never asked before gives the same bytes.
	var fresh webhooks.History
	fresh.Conversation, fresh.Opened, fresh.Messages, fresh.Closings = s.History.Conversation, s.History.Opened, s.History.Messages, s.History.Closings
	e := s.Event(clarityflow.ConversationTranscript)
	e.History = &fresh
	if again := webhookstest.Body(t, clarityflow.New(), e); !bytes.Equal(again, s.Body(clarityflow.New(), e.Name)) {
		t.Errorf("got %s", again)
	}
}

func TestIDAndTimeAreThoseOfTheFact(t *testing.T) {
	t.Parallel()
	c := created
	c.Attributes = own(`{"id":5,"occurred_at":"x"}`)
	s := webhookstest.Tell(t, c)
	east := time.FixedZone("", 2*3600)
	s.Fact.Time = time.Date(2022, 4, 1, 1, 2, 3, 4_999_999, east)
	if b := render(t, s); b.ID != s.Fact.ID || b.OccurredAt != "2022-03-31T23:02:03.004+00:00" || b.Payload.Conversation.ID != 5 {
		t.Errorf("got %+v", b)
	}
}

func TestWhatHasNoBody(t *testing.T) {
	t.Parallel()
	d := clarityflow.New()
	s := webhookstest.Tell(t, created)
	for name, e := range map[string]*webhooks.PublicEvent{
		"without a conversation": {Fact: s.Fact, Name: clarityflow.ConversationCreated},
		"under another name":     {Fact: s.Fact, Name: clarityflow.MessageCreated, History: &s.History},
		"under no name":          {Fact: s.Fact, History: &s.History},
		"a fact without a word":  webhookstest.Tell(t, created, conversation.Reopened{}).Event(""),
		"a note":                 webhookstest.Tell(t, created, said("m", user, "x", func(m *conversation.MessagePosted) { m.Private = true })).Event(clarityflow.MessageCreated),
	} {
		if body, err := d.AppendBody([]byte("x"), e); err == nil || !strings.HasPrefix(err.Error(), "clarityflow@1: position ") {
			t.Errorf("%s: got %s, %v", name, body, err)
		}
	}
}

// A message that is not there, or that is a note although the fact does not say
// so, was played: nothing else is told of it.
func TestAMessageThatMayNotBeToldIsPlayed(t *testing.T) {
	t.Parallel()
	d := clarityflow.New()
	note := said("m", user, "hush", func(m *conversation.MessagePosted) { m.Private = true })
	for name, s := range map[string]*webhookstest.Story{
		"unknown": webhookstest.Tell(t, created, conversation.MessagePlayed{MessageID: "m"}),
		"a note":  webhookstest.Tell(t, created, note, conversation.MessagePlayed{MessageID: "m"}),
	} {
		if body := s.Body(d, clarityflow.MessagePlayed); bytes.Contains(body, []byte("hush")) || !bytes.Contains(body, []byte(`"text":""`)) {
			t.Errorf("%s: got %s", name, body)
		}
	}
}

// FuzzBody: whatever callers say, a body is JSON of its shape in UTF-8.
func FuzzBody(f *testing.F) {
	f.Add("Hello", "id", `{"id":1}`)
	f.Add("<\xff\x00\u2028", "a\"\xff", `{"slug":"\ud800","text":"\u0000","recorded_duration_seconds":1e400,"id":99999999999999999999}`)
	f.Add("\r\n", "", `{"created_at":"-1-01-01 00:00:-62167219201","title":"","answers":[[],{}],"form":{"id":1.5},"submitter":{"email":1}}`)
	f.Fuzz(func(t *testing.T, text, key, object string) {
		var a domain.Attributes
		if json.Unmarshal([]byte(object), &a) != nil || strings.Count(object, ":") != len(a) {
			return // members within members may be there twice, which shapes do not know
		}
		given := domain.Attributes{{Key: "clarityflow", Value: json.RawMessage(object)}}
		who := domain.Person{ID: text, Role: domain.Customer, Name: text, Email: key, Attributes: given}
		s := webhookstest.Tell(t, conversation.Created{Account: domain.Account{ID: key, Name: text}, Subject: text, Customer: who, Attributes: given})
		data := a.Set(key, json.RawMessage(`1`))
		if !utf8.ValidString(key) {
			data = a // two keys could become the same
		}
		for _, e := range []conversation.Event{
			said("m", who, text, func(m *conversation.MessagePosted) {
				m.Attributes, m.ContentType, m.Attachments = given, text, []conversation.Attachment{{URL: text, FileType: key}}
			}),
			said("n", domain.Person{}, text, func(m *conversation.MessagePosted) { m.ContentAttributes = a }),
			conversation.MessagePlayed{MessageID: "m"},
			conversation.ActivityRecorded{Kind: conversation.AppointmentScheduled, Data: data},
			conversation.ActivityRecorded{Kind: conversation.FormSubmitted, Data: data, By: &who},
			conversation.ActivityRecorded{Kind: conversation.TaskCompleted, Data: data, By: &who},
			conversation.MessageEdited{MessageID: "m", Text: key},
			conversation.Closed{},
		} {
			s.Then(e)
			for _, name := range s.Names(clarityflow.New()) {
				if body := s.Body(clarityflow.New(), name); !utf8.Valid(body) || bytes.ContainsAny(body, "<>&\u2028\u2029") {
					t.Fatalf("%q", body)
				}
			}
		}
	})
}

// encodedMessage and encodedTranscript are what a program would give to
// encoding/json, to compare with.
type encodedMessage struct {
	ID                int64          `json:"id"`
	ConversationTitle string         `json:"conversation_title"`
	MessageType       string         `json:"message_type"`
	Duration          *int64         `json:"recorded_duration_seconds"`
	URL               string         `json:"message_url"`
	EmbedURL          string         `json:"message_embed_url"`
	Text              string         `json:"text"`
	CreatedTime       string         `json:"message_created_time"`
	Author            map[string]any `json:"author"`
	Download          *string        `json:"download_media_url"`
	Access            *string        `json:"access_media_file"`
	Workflow          struct{}       `json:"workflow"`
}

type encodedBody[T any] struct {
	Type       string       `json:"type"`
	ID         string       `json:"id"`
	OccurredAt string       `json:"occurred_at"`
	Payload    map[string]T `json:"payload"`
}

type encodedTranscript struct {
	ID          int64            `json:"id"`
	CreatedAt   string           `json:"created_at"`
	Title       string           `json:"title"`
	Slug        string           `json:"slug"`
	URL         string           `json:"url"`
	EmbedURL    string           `json:"embed_url"`
	Public      bool             `json:"public"`
	Anyone      bool             `json:"anyone_can_post"`
	Anonymous   bool             `json:"allow_anonymous_messages"`
	Engines     bool             `json:"allow_search_engines"`
	Prompt      bool             `json:"enable_registration_prompt"`
	Subscribers []string         `json:"subscriber_emails"`
	Messages    []encodedMessage `json:"messages"`
	Workflow    struct{}         `json:"workflow"`
	Revision    int              `json:"revision"`
}

// BenchmarkBody makes the body of the newest message and of the transcript, in
// conversations of different lengths. Beside it: a plain copy of the same bytes,
// and encoding/json with a structure that has them.
func BenchmarkBody(b *testing.B) {
	d := clarityflow.New()
	for _, n := range []int{1, 10, 100, 1000, 10000} {
		events := []domain.Event{created}
		for i := range n {
			events = append(events, said("m"+strconv.Itoa(i), emma, "Can you say when & how it will be sent?\nI have waited for <two> weeks now."))
		}
		posted := webhookstest.Tell(b, events...)
		message := posted.Event(clarityflow.MessageCreated)
		closed := webhookstest.Tell(b, append(events, conversation.Closed{})...)
		benchmark[encodedBody[encodedMessage]](b, d, message, n)
		benchmark[encodedBody[encodedTranscript]](b, d, closed.Event(clarityflow.ConversationTranscript), n)
	}
}

func benchmark[T any](b *testing.B, d *clarityflow.Dialect, e *webhooks.PublicEvent, n int) {
	b.Helper()
	body := webhookstest.Body(b, d, e)
	var structure T
	if err := json.Unmarshal(body, &structure); err != nil {
		b.Fatal(err)
	}
	if again, err := json.Marshal(structure); err != nil || len(again) != len(body) {
		b.Fatalf("%v: not the same: %s, %s", err, again, body)
	}
	for _, way := range []struct {
		name string
		make func() []byte
	}{
		{"dialect", func() []byte { out, _ := d.AppendBody(nil, e); return out }},
		{"copy", func() []byte { return bytes.Clone(body) }},
		{"json", func() []byte { out, _ := json.Marshal(structure); return out }},
	} {
		b.Run(e.Name+"/messages="+strconv.Itoa(n)+"/"+way.name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(body)))
			for b.Loop() {
				way.make()
			}
		})
	}
}
