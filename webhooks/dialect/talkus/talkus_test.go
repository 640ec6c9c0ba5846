package talkus_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"verbatim/domain"
	"verbatim/domain/conversation"
	"verbatim/eventstore"
	"verbatim/webhooks"
	"verbatim/webhooks/dialect/talkus"
	"verbatim/webhooks/webhookstest"
)

const fixture = "../../../tests/fixtures/talkus-conversation.ndjson"

var update = flag.Bool("update", false, "rewrite the golden files")

func TestSamples(t *testing.T) {
	t.Parallel()
	webhookstest.CompareSamples(t, talkus.New(), "samples", filepath.Dir(fixture))
}

// The samples are Talkus' own documentation: byte for byte, but for the white
// space between the members.
func TestFixtureIsTheSamplesByteForByte(t *testing.T) {
	t.Parallel()
	found := 0
	for _, r := range webhookstest.Rendered(t, talkus.New(), webhookstest.Facts(t, fixture), webhooks.View{}) {
		if r.Name != talkus.MessageAgent && r.Name != talkus.End {
			continue
		}
		found++
		if diff := cmp.Diff(compact(t, filepath.Join("samples", r.Name+".json")), string(r.Body)); diff != "" {
			t.Errorf("%s (-sample +ours):\n%s", r.Name, diff)
		}
	}
	if found != 2 {
		t.Errorf("%d samples", found)
	}
}

// A golden that changed is a new version of the dialect, or a mistake.
func TestGoldens(t *testing.T) {
	t.Parallel()
	webhookstest.CompareGoldens(t, talkus.New(), fixture, *update)
}

func compact(tb testing.TB, file string) string {
	tb.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		tb.Fatal(err)
	}
	var out bytes.Buffer
	if err := json.Compact(&out, data); err != nil {
		tb.Fatalf("%s: %v", file, err)
	}
	return out.String()
}

func TestWords(t *testing.T) {
	t.Parallel()
	by := func(role domain.Role) domain.Person { return domain.Person{ID: "x", Role: role} }
	email := func(previous, current string) conversation.CustomerUpdated {
		return conversation.CustomerUpdated{Changes: []domain.Change{
			{Key: "name", Previous: json.RawMessage("null"), Current: json.RawMessage(`"Ann"`)},
			{Key: "email", Previous: json.RawMessage(previous), Current: json.RawMessage(current)},
		}}
	}
	for _, c := range []struct {
		event domain.Event
		want  string
	}{
		{conversation.Created{}, "start"},
		{conversation.Assigned{}, "open"},
		{conversation.Closed{}, "end"},
		{email("null", `"a@x"`), "email"},
		{email(`""`, `"a@x"`), "email"},
		{email("", `"a@x"`), "email"},
		{email(`"b@x"`, `"a@x"`), ""},
		{email(`"b@x"`, "null"), ""},
		{email("null", `""`), ""},
		{email("null", "null"), ""},
		{conversation.CustomerUpdated{Changes: []domain.Change{{Key: "attributes.email", Previous: json.RawMessage("null"), Current: json.RawMessage(`"a@x"`)}}}, ""},
		{conversation.CustomerUpdated{}, ""},
		{conversation.MessagePosted{Author: by(domain.Customer)}, "messageVisitor"},
		{conversation.MessagePosted{Author: by(domain.Agent)}, "messageAgent"},
		{conversation.MessagePosted{Author: by(domain.Bot)}, "messageAgent"},
		{conversation.MessagePosted{Author: by(domain.System)}, ""},
		{conversation.MessagePosted{Author: by(domain.Agent), Private: true}, ""},
		{conversation.MessagePosted{Author: by(domain.Customer), Private: true}, ""},
		{conversation.MessageEdited{}, ""},
		{conversation.MessageDeleted{}, ""},
	} {
		want := []webhooks.Word(nil)
		if c.want != "" {
			want = []webhooks.Word{{Name: c.want}}
		}
		if diff := cmp.Diff(want, talkus.New().Words(c.event)); diff != "" {
			t.Errorf("%s %+v: %s", c.event.EventType(), c.event, diff)
		}
	}
	var words []string
	for _, e := range eventstore.Catalogue().Types() {
		for _, w := range talkus.New().Words(e) {
			words = append(words, w.Name)
		}
	}
	slices.Sort(words)
	if diff := cmp.Diff([]string{"end", "open", "start"}, words); diff != "" { // the others hang on what they carry
		t.Error(diff)
	}
}

// body is a body as a receiver reads it.
type body struct {
	Event       string            `json:"event"`
	CreatedAt   string            `json:"createdAt"`
	ChannelName string            `json:"channelName"`
	VisitorName string            `json:"visitorName"`
	VisitorID   string            `json:"visitorId"`
	Identity    map[string]string `json:"identity"`
	Agent       map[string]any    `json:"agent"`
	Message     string            `json:"message"`
	Messages    []message         `json:"messages"`
}

type message struct {
	UserName    string `json:"userName"`
	UserPicture string `json:"userPicture"`
	CreatedAt   string `json:"createdAt"`
	Text        string `json:"text"`
}

// read returns the body of the end of a story, which is one event.
func read(t *testing.T, s *webhookstest.Story) body {
	t.Helper()
	names := s.Names(talkus.New())
	if len(names) != 1 {
		t.Fatalf("%s is %v", s.Fact.Type, names)
	}
	var bodies []body
	dec := json.NewDecoder(bytes.NewReader(s.Body(talkus.New(), names[0])))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&bodies); err != nil {
		t.Fatal(err)
	}
	if len(bodies) != 1 || bodies[0].Event != names[0] {
		t.Fatalf("%s is %+v", names[0], bodies)
	}
	return bodies[0]
}

func attributes(tb testing.TB, object string) domain.Attributes {
	tb.Helper()
	var a domain.Attributes
	if err := json.Unmarshal([]byte(object), &a); err != nil {
		tb.Fatal(err)
	}
	return a
}

func visitor() domain.Person { return domain.Person{ID: "cust-1", Role: domain.Customer} }

func moss() domain.Person {
	return domain.Person{ID: "agent-1", Role: domain.Agent, Name: "Maurice Moss", FirstName: "Maurice", LastName: "Moss", Email: "moss@reynholm.com"}
}

func post(id string, by domain.Person, text string, urls ...string) conversation.MessagePosted {
	m := conversation.MessagePosted{MessageID: id, Author: by, Text: text, ContentType: "text"}
	for _, u := range urls {
		m.Attachments = append(m.Attachments, conversation.Attachment{URL: u})
	}
	return m
}

func TestAVisitorOfWhomNothingIsKnown(t *testing.T) {
	t.Parallel()
	b := read(t, webhookstest.Tell(t, conversation.Created{Customer: visitor()}))
	// These are in bodies that were sent: they can never change.
	want := body{
		Event: "start", CreatedAt: "2026-03-01T12:00:01.123Z", ChannelName: "z-visitor-cndd", VisitorName: "Visitor cnDD",
		VisitorID: "cnDD3FLAW9cYDroR3", Identity: map[string]string{"userAgent": "", "title": "", "location": "", "ip": "", "languages": ""},
		Messages: []message{},
	}
	if diff := cmp.Diff(want, b); diff != "" {
		t.Error(diff)
	}
}

func TestNamesOfVisitorAndChannel(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		about          string
		customer       domain.Person
		conversation   string
		name, channel  string
		wantsVisitorID string
	}{
		{about: "a name", customer: domain.Person{Name: "Jon  Snow!", Phone: "+1", Email: "j@x"}, name: "Jon  Snow!", channel: "z-jon-snow"},
		{about: "a number", customer: domain.Person{Phone: "+33 1-23", Email: "j@x"}, name: "+33 1-23", channel: "z-33-1-23"},
		{about: "an address", customer: domain.Person{Email: "j.s@x.com"}, name: "j.s@x.com", channel: "z-j-s-x-com"},
		{about: "any script", customer: domain.Person{Name: "Ærøskøbing हिन्दी 東京"}, name: "Ærøskøbing हिन्दी 東京", channel: "z-ærøskøbing-हिन्दी-東京"},
		{about: "no letters", customer: domain.Person{ID: "a3W7EEfSWanTWyGkg", Name: "🎉"}, name: "🎉", channel: "z-a3w7eefswantwygkg", wantsVisitorID: "a3W7EEfSWanTWyGkg"},
		{about: "too long", customer: domain.Person{Name: strings.Repeat("ab ", 60)}, name: strings.Repeat("ab ", 60), channel: "z-" + strings.Repeat("ab-", 25) + "ab"},
		{about: "given", customer: domain.Person{Name: "Jon", Attributes: attributes(t, `{"talkus":{"visitorName":"Lord","channelName":"Z","visitorId":"zzzzzzzzzzzzzzzzz"}}`)}, name: "Lord", channel: "Z", wantsVisitorID: "zzzzzzzzzzzzzzzzz"},
		{about: "given, and made of it", customer: domain.Person{Attributes: attributes(t, `{"talkus":{"visitorName":"Lord"}}`)}, name: "Lord", channel: "z-lord"},
		{about: "given by the conversation", customer: domain.Person{Attributes: attributes(t, `{"talkus":{"visitorName":"Lord","channelName":"Z"}}`)}, conversation: `{"talkus":{"visitorName":"Lady","channelName":"Y"}}`, name: "Lady", channel: "Y"},
		{about: "given by the conversation, and made of it", conversation: `{"talkus":{"visitorName":"Lady"}}`, name: "Lady", channel: "z-lady"},
		{about: "given, but no id of Meteor", customer: domain.Person{ID: "cust-1", Attributes: attributes(t, `{"talkus":{"visitorId":"0OIl"},"name":"n"}`)}, name: "Visitor cnDD", channel: "z-visitor-cndd"},
		{about: "not as an object", customer: domain.Person{Name: "Jon", Attributes: attributes(t, `{"talkus":"visitorName"}`)}, name: "Jon", channel: "z-jon"},
	} {
		created := conversation.Created{Customer: c.customer}
		created.Customer.Role = domain.Customer
		if c.conversation != "" {
			created.Attributes = attributes(t, c.conversation)
		}
		b := read(t, webhookstest.Tell(t, created))
		if b.VisitorName != c.name || b.ChannelName != c.channel {
			t.Errorf("%s: got %q, %q; want %q, %q", c.about, b.VisitorName, b.ChannelName, c.name, c.channel)
		}
		if c.wantsVisitorID != "" && b.VisitorID != c.wantsVisitorID {
			t.Errorf("%s: got visitor %s, want %s", c.about, b.VisitorID, c.wantsVisitorID)
		}
	}
}

func TestAChannelKeepsItsName(t *testing.T) {
	t.Parallel()
	renamed := visitor()
	renamed.Name, renamed.Email = "Jon Snow", "jon@x"
	s := webhookstest.Tell(t, conversation.Created{Customer: visitor()}, conversation.CustomerUpdated{
		Changes:  []domain.Change{{Key: "email", Previous: json.RawMessage("null"), Current: json.RawMessage(`"jon@x"`)}},
		Customer: renamed,
	})
	b := read(t, s)
	if b.VisitorName != "Jon Snow" || b.ChannelName != "z-visitor-cndd" || b.Identity["email"] != "jon@x" || b.Agent != nil {
		t.Errorf("got %+v", b)
	}
}

func TestVisitorIDsAreAsMeteorMakesThem(t *testing.T) {
	t.Parallel()
	form := regexp.MustCompile(`^[23456789ABCDEFGHJKLMNPQRSTWXYZa-km-z]{17}$`)
	seen := map[string]bool{}
	for i := range 1000 {
		id := read(t, webhookstest.Tell(t, conversation.Created{Customer: domain.Person{ID: fmt.Sprint(i), Role: domain.Customer}})).VisitorID
		if !form.MatchString(id) || seen[id] {
			t.Fatalf("%d is %s", i, id)
		}
		seen[id] = true
	}
}

func TestIdentity(t *testing.T) {
	t.Parallel()
	c := visitor()
	c.Name, c.Phone, c.Email, c.AvatarURL = `Jon "Snow"`, "+48", "jon@x", "https://x/1.png"
	c.Attributes = attributes(t, `{"plan":"free","userAgent":"again","tags":["a"],"talkus":{},"email":"no","late":null,"language":"pl"}`)
	visit := attributes(t, `{"plan":"pro\u0041\n","seats":12,"vip":true,"nothing":null,"o":{"a":"\u00e9"},"closer":{},"current_page":"https://x/?a=1&b",
		"current_page_title":"T","user_agent":"UA","ip":"::1","browser_name":"Firefox","screen_size":"1x1","referer":"https://r","initiated_at":"t"}`)
	s := webhookstest.Tell(t, conversation.Created{Customer: c, Attributes: visit})
	got := regexp.MustCompile(`"identity":(\{.*?\}),"message"`).FindStringSubmatch(string(s.Body(talkus.New(), talkus.Start)))
	want := `{"name":"Jon \"Snow\"","phone":"+48","email":"jon@x","picture":"https://x/1.png","userAgent":"UA","title":"T",` +
		`"location":"https://x/?a=1&b","ip":"::1","languages":"pl","plan":"proA\n","seats":"12","vip":"true","o":"{\"a\":\"\\u00e9\"}",` +
		`"browserName":"Firefox","screenSize":"1x1","referer":"https://r","initiatedAt":"t","tags":"[\"a\"]"}`
	if len(got) != 2 || got[1] != want {
		t.Errorf("got %s\nwant %s", got[1:], want)
	}

	// What the person does not say, an attribute of that name does.
	b := read(t, webhookstest.Tell(t, conversation.Created{Customer: visitor(), Attributes: attributes(t, `{"email":"a@x","name":"","title":"T"}`)}))
	if diff := cmp.Diff(map[string]string{"email": "a@x", "userAgent": "", "title": "T", "location": "", "ip": "", "languages": ""}, b.Identity); diff != "" {
		t.Error(diff)
	}
}

func TestTheAgentIsWhoLastEnteredOrWrote(t *testing.T) {
	t.Parallel()
	roy := domain.Person{ID: "agent-2", Role: domain.Agent, Name: "Roy"}
	bot := domain.Person{ID: "bot-1", Role: domain.Bot, Name: "Bot", IsBot: true}
	s := webhookstest.Tell(t, conversation.Created{Customer: visitor()}, post("1", visitor(), "Hi"))
	check := func(want string, isBot bool) {
		t.Helper()
		b := read(t, s)
		name, _ := b.Agent["real_name"].(string)
		if name != want || want != "" && b.Agent["is_bot"] != isBot {
			t.Errorf("%s at version %d: got %q", b.Event, s.Fact.Version, name)
		}
	}
	check("", false)
	s.Then(post("2", bot, "I am a bot"))
	check("Bot", true)
	s.Then(conversation.Assigned{Agent: moss()})
	check("Maurice Moss", false)
	s.Then(post("3", visitor(), "Hi"))
	check("Maurice Moss", false)
	s.Then(post("4", roy, "Hi"))
	check("Roy", false)
	s.Then(conversation.Unassigned{}, conversation.Closed{})
	check("Roy", false)
	boss := moss()
	s.Then(conversation.Reopened{}, conversation.Closed{By: &boss})
	check("Roy", false) // a system closes in somebody's name; the one who talked is Roy

	self := visitor()
	s = webhookstest.Tell(t, conversation.Created{Customer: visitor()}, conversation.Closed{By: &self})
	check("", false)
	s = webhookstest.Tell(t, conversation.Created{Customer: visitor()}, conversation.Closed{By: &boss})
	check("Maurice Moss", false)
}

func TestAgent(t *testing.T) {
	t.Parallel()
	agent := func(p domain.Person) string {
		body := webhookstest.Tell(t, conversation.Created{Customer: visitor()}, conversation.Assigned{Agent: p})
		got := regexp.MustCompile(`"agent":(.*),"message":"","messages":\[\]\}\]$`).FindSubmatch(body.Body(talkus.New(), talkus.Open))
		if got == nil {
			t.Fatal("no agent")
		}
		return string(got[1])
	}
	// These are in bodies that were sent: they can never change.
	const tail = `"is_admin":false,"is_owner":false,"is_primary_owner":false,"is_restricted":false,"is_ultra_restricted":false,"is_bot":false,"presence":"active"}`
	known := moss()
	known.AvatarURL, known.Phone = "https://x/1.png", "(123)"
	derived := agent(known)
	images := ""
	for _, size := range []string{"24", "32", "48", "72", "192", "512", "1024", "original"} {
		images += `"image_` + size + `":"https://x/1.png",`
	}
	want := `{"id":"U7TE69GYX","team_id":"TEWY0AS0A","name":"maurice-moss","deleted":false,"status":null,"color":"e1d0a1","real_name":"Maurice Moss",` +
		`"tz":"Etc/UTC","tz_label":"Coordinated Universal Time","tz_offset":0,"profile":{"fields":[],"first_name":"Maurice","last_name":"Moss",` +
		`"title":"","phone":"(123)","skype":"","avatar_hash":"ca81f934200",` + images +
		`"real_name":"Maurice Moss","real_name_normalized":"Maurice Moss","email":"moss@reynholm.com"},` + tail
	if diff := cmp.Diff(want, derived); diff != "" {
		t.Error(diff)
	}
	nobody := agent(domain.Person{ID: "U0F2Z1234", Role: domain.Agent})
	for _, part := range []string{`{"id":"U0F2Z1234","team_id":"T`, `"name":"agent"`, `"real_name":"Agent"`, `"avatar_hash":"","image_24":""`, `"email":""`} {
		if !strings.Contains(nobody, part) {
			t.Errorf("no %s in %s", part, nobody)
		}
	}

	// A user that is given whole is that user, with members that we do not know.
	user := strings.NewReplacer("U7TE69GYX", "U1", "TEWY0AS0A", "T1", "e1d0a1", "fff", "ca81f934200", "h", `"deleted":false`, `"deleted":true`, `"status":null`, `"status":"s"`,
		`"tz_offset":0`, `"tz_offset":-3600`, `"fields":[]`, `"fields":[{"a":"\u00e9"}]`, `.com"},`, `.com","pronouns":"he"},`, `"active"}`, `"away","updated":1.5,"has_2fa":null}`).Replace(want)
	for _, key := range []string{"agent", "user"} {
		p := domain.Person{ID: "x", Role: domain.Agent, Attributes: attributes(t, `{"talkus":{"`+key+`":`+user+`}}`)}
		if diff := cmp.Diff(user, agent(p)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", key, diff)
		}
	}
	// A member of another type is derived, and so is what is missing.
	known.Attributes = attributes(t, `{"talkus":{"agent":{"profile":{"email":null,"fields":{}},"id":7,"deleted":"no","tz_offset":1.5,"status":1,"tz":null,"x":[1]}}}`)
	if diff := cmp.Diff(strings.TrimSuffix(derived, "}")+`,"x":[1]}`, agent(known)); diff != "" {
		t.Error(diff)
	}
	known.Attributes = attributes(t, `{"talkus":{"agent":{"profile":[]},"userName":"M"}}`)
	if got := agent(known); !strings.Contains(got, `"name":"m"`) || !strings.Contains(got, `"real_name_normalized":"M"`) {
		t.Errorf("got %s", got)
	}
}

func TestHistoryIsAsOfTheEvent(t *testing.T) {
	t.Parallel()
	named := visitor()
	named.Name, named.AvatarURL = "Jon\u2028<b>", "https://x/jon.png"
	bot := domain.Person{ID: "bot", Role: domain.Bot, Email: "bot@x"}
	system := domain.Person{ID: "sys", Role: domain.System}
	note := post("3", moss(), "to ourselves")
	note.Private = true
	theirs := post("8", moss(), "moved in")
	theirs.Attributes = attributes(t, `{"talkus":{"userName":"M","userPicture":"https://x/m.png","createdAt":"2016-01-09T11:09:09.104Z"}}`)
	odd := post("9", domain.Person{ID: "agent-3", Role: domain.Agent, Attributes: attributes(t, `{"talkus":{"userName":"N","userPicture":"https://x/n.png"}}`)}, "")
	odd.Attributes = attributes(t, `{"talkus":{"createdAt":"yesterday","userName":1}}`)
	s := webhookstest.Tell(t, conversation.Created{Customer: named},
		post("1", named, "\nHi \"you\" \\ \x01"), post("2", bot, "I am a bot"), note, post("4", moss(), "wrogn"), post("5", moss(), "said in anger"),
		post("6", visitor(), "see", "https://x/1.png", "https://x/a|b>c<d"), post("7", visitor(), "", "https://x/3.png"),
		theirs, odd, post("10", system, "<https://x> & co"), conversation.Closed{})
	at := func(second int) string { return fmt.Sprintf("2026-03-01T12:00:%02d.123Z", second) }
	want := []message{
		{"Jon\u2028<b>", "https://x/jon.png", at(2), "\nHi \"you\" \\ \x01"},
		{"bot@x", "", at(3), "I am a bot"},
		{"Maurice Moss", "", at(5), "wrogn"},
		{"Maurice Moss", "", at(6), "said in anger"},
		{"Visitor cnDD", "", at(7), "see\n<https://x/1.png>\n<https://x/a%7Cb%3Ec%3Cd>"},
		{"Visitor cnDD", "", at(8), "<https://x/3.png>"},
		{"M", "https://x/m.png", "2016-01-09T11:09:09.104Z", "moved in"},
		{"N", "https://x/n.png", at(10), ""},
		{"System", "", at(11), "<https://x> & co"},
	}
	b := read(t, s)
	if diff := cmp.Diff(want, b.Messages); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(transcript(want), b.Message); diff != "" {
		t.Error(diff)
	}
	// As JSON.stringify has it.
	if raw := s.Body(talkus.New(), talkus.End); !bytes.Contains(raw, []byte("\"Jon\u2028<b>: \\nHi \\\"you\\\" \\\\ \\u0001\\nbot@x: ")) {
		t.Errorf("got %s", raw)
	}

	// What is edited and deleted later changes a later body only.
	s.Then(conversation.Reopened{}, conversation.MessageEdited{MessageID: "4", Text: "wrong"}, conversation.MessageDeleted{MessageID: "5"},
		conversation.MessageEdited{MessageID: "3", Text: "still to ourselves"}, conversation.Closed{})
	want[2].Text = "wrong"
	want = slices.Delete(want, 3, 4)
	b = read(t, s)
	if diff := cmp.Diff(want, b.Messages); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(transcript(want), b.Message); diff != "" {
		t.Error(diff)
	}
}

// transcript is what message is, made of messages.
func transcript(messages []message) string {
	var lines []string
	for _, m := range messages {
		lines = append(lines, m.UserName+": "+m.Text)
	}
	return strings.Join(lines, "\n")
}

func TestAConversationIsNeeded(t *testing.T) {
	t.Parallel()
	d := talkus.New()
	s := webhookstest.Tell(t, conversation.Created{Customer: visitor()})
	if _, err := d.AppendBody(nil, &webhooks.PublicEvent{Fact: s.Fact, Name: talkus.Start}); err == nil {
		t.Error("a body without a conversation")
	}
	if _, err := d.AppendBody(nil, s.Then(conversation.Reopened{}).Event(talkus.Start)); err == nil {
		t.Error("a body for a fact without a word")
	}
}

func TestABodyIsAppended(t *testing.T) {
	t.Parallel()
	s := webhookstest.Tell(t, conversation.Created{Customer: visitor()}, post("1", visitor(), "Hi"))
	got, err := talkus.New().AppendBody([]byte("before"), s.Event(talkus.MessageVisitor))
	if err != nil || string(got) != "before"+string(s.Body(talkus.New(), talkus.MessageVisitor)) {
		t.Errorf("got %s, %v", got, err)
	}
	again, err := talkus.New().AppendBody(got[:0], s.Event(talkus.MessageVisitor))
	if err != nil || string(again) != string(s.Body(talkus.New(), talkus.MessageVisitor)) {
		t.Errorf("got %s, %v", again, err)
	}
}

// Whatever was said, by whomever: every body has the shape, its transcript is its
// messages, and it is the same whether what was encoded before was kept or not.
func TestEveryBodyIsWell(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		text := rapid.OneOf(rapid.String(), rapid.StringOfN(rapid.Rune(), 0, 8, -1), rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) }))
		person := func(role domain.Role) domain.Person {
			p := domain.Person{ID: text.Draw(r, "id"), Role: role, Name: text.Draw(r, "name"), Email: text.Draw(r, "email")}
			if rapid.Bool().Draw(r, "open") {
				p.Attributes = drawAttributes(r, text)
			}
			return p
		}
		role := rapid.SampledFrom([]domain.Role{domain.Customer, domain.Agent, domain.Bot, domain.System, ""})
		events := []domain.Event{conversation.Created{Customer: person(domain.Customer), Attributes: drawAttributes(r, text)}}
		posted := 0
		for range rapid.IntRange(0, 12).Draw(r, "events") {
			id := fmt.Sprint(rapid.IntRange(0, posted).Draw(r, "which"))
			switch rapid.IntRange(0, 6).Draw(r, "event") {
			case 0, 1, 2:
				m := post(fmt.Sprint(posted), person(role.Draw(r, "role")), text.Draw(r, "text"))
				m.Private = rapid.IntRange(0, 4).Draw(r, "private") == 0
				if rapid.Bool().Draw(r, "file") {
					m.Attachments = []conversation.Attachment{{URL: text.Draw(r, "url")}, {}}
				}
				events, posted = append(events, m), posted+1
			case 3:
				events = append(events, conversation.MessageEdited{MessageID: id, Text: text.Draw(r, "edited")})
			case 4:
				events = append(events, conversation.MessageDeleted{MessageID: id})
			case 5:
				events = append(events, conversation.Assigned{Agent: person(domain.Agent)})
			default:
				events = append(events, conversation.CustomerUpdated{Customer: person(domain.Customer), Changes: []domain.Change{
					{Key: "email", Previous: json.RawMessage("null"), Current: json.RawMessage(`"a@x"`)},
				}})
			}
		}
		events = append(events, conversation.Closed{})

		d := talkus.New()
		warm := webhookstest.Tell(t, events[0])
		for i := range events {
			if i > 0 {
				warm.Then(events[i])
			}
			for _, name := range warm.Names(d) {
				got := warm.Body(d, name)
				if cold := webhookstest.Tell(t, events[:i+1]...).Body(d, name); !bytes.Equal(got, cold) {
					r.Fatalf("%s\nfrom nothing: %s", got, cold)
				}
				var bodies []body
				if err := json.Unmarshal(got, &bodies); err != nil {
					r.Fatalf("%v in %s", err, got)
				}
				if want := transcript(bodies[0].Messages); bodies[0].Message != want {
					r.Fatalf("got %q, want %q", bodies[0].Message, want)
				}
			}
		}
	})
}

// drawAttributes returns attributes as the log gives them.
func drawAttributes(r *rapid.T, text *rapid.Generator[string]) domain.Attributes {
	value := func() any {
		return rapid.OneOf(
			rapid.Map(text, func(s string) any { return s }), rapid.Just[any](nil), rapid.Just[any](7), rapid.Just[any]([]any{"x"}),
			rapid.Just[any](map[string]any{"a": 1.5}),
		).Draw(r, "value")
	}
	object := func(names ...string) map[string]any {
		o := map[string]any{}
		for range rapid.IntRange(0, 4).Draw(r, "members") {
			o[rapid.OneOf(rapid.SampledFrom(names), text).Draw(r, "name")] = value()
		}
		return o
	}
	o := object("name", "ip", "user_agent", "userAgent", "language", "plan")
	user := object("id", "tz_offset", "deleted", "status", "profile")
	user["profile"] = object("fields", "email", "image_24")
	theirs := object("visitorName", "visitorId", "channelName", "userName", "userPicture", "createdAt")
	theirs["agent"] = user
	o["talkus"] = theirs
	raw, err := json.Marshal(o)
	if err != nil {
		r.Fatal(err)
	}
	var a domain.Attributes
	if err := json.Unmarshal(raw, &a); err != nil {
		r.Fatal(err)
	}
	return a
}
