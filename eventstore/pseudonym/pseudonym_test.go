package pseudonym_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"verbatim/domain"
	"verbatim/domain/contact"
	"verbatim/domain/conversation"
	"verbatim/eventstore"
	"verbatim/eventstore/pseudonym"
)

func maker(key string) *pseudonym.Maker {
	var k [32]byte
	copy(k[:], key)
	return pseudonym.New(k)
}

// settings are what an endpoint is set to beside where it is: names of formats
// and of events, and how it is sent what it is sent. What an erasure proves is left
// out altogether.
var settings = map[string]bool{
	"Dialect": true, "Events": true, "Event": true, "History": true, "RetrySchedule": true, "Ordering": true,
	"OnExhausted": true, "Signature": true,
	"Positions": true, "Proof": true, "Again": true,
}

// fill gives every field of v a value of somebody's, each another one, and
// remembers those that must not be seen again.
func fill(t *testing.T, v reflect.Value, n *int, secret *[]string) {
	t.Helper()
	*n++
	switch x := v.Addr().Interface().(type) {
	case *time.Time:
		*x = time.Date(1999, 2, 3, 4, 5, *n%60, 0, time.UTC)
		return
	case *domain.Attributes:
		nested := fmt.Sprintf("Nested%dOwner", *n)
		key := fmt.Sprintf("open%d", *n)
		*x = domain.Attributes{
			{Key: key, Value: json.RawMessage(fmt.Sprintf(`{"deep":["%s",{"mail":"w%d@home.test"}],"n":1%d77}`, nested, *n, *n))},
			{Key: fmt.Sprintf("key of %d@home.test", *n), Value: json.RawMessage(`true`)},
		}
		*secret = append(*secret, nested, fmt.Sprintf("w%d@home", *n), "home.test", fmt.Sprintf("1%d77", *n))
		return
	case *json.RawMessage:
		who := fmt.Sprintf("Raw%dOwner", *n)
		*x = json.RawMessage(`"` + who + `"`)
		*secret = append(*secret, who)
		return
	}
	switch v.Kind() {
	case reflect.String:
		who := fmt.Sprintf("Owner%dQuux", *n)
		v.SetString(who)
		*secret = append(*secret, who)
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(*n))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(t, v.Elem(), n, secret)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range 2 {
			fill(t, v.Index(i), n, secret)
		}
	case reflect.Struct:
		for field, of := range v.Fields() {
			if settings[field.Name] {
				continue
			}
			if field.Name == "Key" && v.Type() == reflect.TypeFor[domain.Change]() {
				of.SetString(fmt.Sprintf("attributes.k%d", *n))
				continue
			}
			fill(t, of, n, secret)
		}
	default:
		t.Fatalf("a fact has a field of kind %s; fill it here", v.Kind())
	}
}

// TestNobodyIsLeft fills every field of every fact with somebody, and looks for
// them in what becomes of it. A fact or a field that is new is found here.
func TestNobodyIsLeft(t *testing.T) {
	t.Parallel()
	codec, m := eventstore.Catalogue(), maker("a")
	m.Shift(time.Hour)
	for name, zero := range codec.Types() {
		full := reflect.New(reflect.TypeOf(zero)).Elem()
		var secret []string
		fill(t, full, new(int), &secret)
		before := full.Interface().(domain.Event)
		_, _, source, err := codec.Encode(before)
		if err != nil {
			t.Fatal(err)
		}
		after, err := m.Event(before)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		typ, _, data, err := codec.Encode(after)
		if err != nil || typ != name {
			t.Errorf("%s becomes %s, %v", name, typ, err)
		}
		for _, who := range append(secret, "1999-02-03T04:05") {
			if strings.Contains(strings.ToLower(string(data)), strings.ToLower(who)) {
				t.Errorf("%s: %s is left in\n%s", name, who, data)
			}
		}
		if again, _, unchanged, err := codec.Encode(before); err != nil || again != name || string(unchanged) != string(source) {
			t.Errorf("%s: the source was changed, to %s", name, unchanged)
		}
		if got, want := shape(t, data), shape(t, source); got != want {
			t.Errorf("%s: the shape is\n%s\nand was\n%s", name, got, want)
		}
		// Nothing at all stays nothing.
		if none, err := m.Event(zero); err != nil {
			t.Errorf("%s without anything: %v", name, err)
		} else if e, ok := none.(conversation.MessagePosted); ok && (e.Text != "" || e.Author.ID != "") {
			t.Errorf("%s without anything becomes %+v", name, none)
		}
	}
}

// shape returns JSON without its values: its keys, in order, and types.
func shape(t *testing.T, data []byte) string {
	t.Helper()
	switch data[0] {
	case '{':
		var all domain.Attributes
		if err := json.Unmarshal(data, &all); err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		for _, at := range all {
			key := at.Key
			if strings.Contains(key, "@") || !strings.ContainsAny(key, "_0123456789") && len(key) == 6 {
				key = "(a key of somebody's)"
			}
			fmt.Fprintf(&b, "%s:%s ", key, shape(t, at.Value))
			if key == "key" { // of a change
				fmt.Fprintf(&b, "=%s ", at.Value)
			}
		}
		return "{" + b.String() + "}"
	case '[':
		var all []json.RawMessage
		if err := json.Unmarshal(data, &all); err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		for _, v := range all {
			b.WriteString(shape(t, v) + ",")
		}
		return "[" + b.String() + "]"
	case '"':
		return "text"
	case 't', 'f':
		return string(data)
	case 'n':
		return "null"
	default:
		return "number"
	}
}

// TestPseudonymsAreStable: the same person is the same wherever they are, under
// one key, and another one under another.
func TestPseudonymsAreStable(t *testing.T) {
	t.Parallel()
	jon := domain.Person{
		ID: "visitor-4711", Name: "Jon Snow", FirstName: "Jon", LastName: "Snow", Email: "Jon.Snow@winterfell.test",
		Phone: "+48123456789", Identifier: "7", AvatarURL: "https://winterfell.test/jon.png",
	}
	person := func(m *pseudonym.Maker, p domain.Person) domain.Person {
		e, err := m.Event(contact.Created{Profile: p})
		if err != nil {
			t.Fatal(err)
		}
		return e.(contact.Created).Profile
	}
	a := maker("a")
	got := person(a, jon)
	if again := person(maker("a"), jon); !again.Equal(got) {
		t.Errorf("under one key once %+v, once %+v", got, again)
	}
	other := person(maker("b"), jon)
	for what, pair := range map[string][2]string{
		"id": {got.ID, other.ID}, "name": {got.Name, other.Name}, "email": {got.Email, other.Email},
		"phone": {got.Phone, other.Phone}, "identifier": {got.Identifier, other.Identifier}, "avatar": {got.AvatarURL, other.AvatarURL},
	} {
		if pair[0] == pair[1] {
			t.Errorf("the %s is %s under either key", what, pair[0])
		}
	}
	if got.Name != got.FirstName+" "+got.LastName {
		t.Errorf("%q is not %q and %q", got.Name, got.FirstName, got.LastName)
	}
	// In what changed about them, the values are those of the person.
	e, err := a.Event(conversation.CustomerUpdated{
		Customer: jon,
		Changes: []domain.Change{
			{Key: "email", Previous: json.RawMessage(`null`), Current: json.RawMessage(`"Jon.Snow@winterfell.test"`)},
			{Key: "name", Previous: json.RawMessage(`"Jon Snow"`), Current: json.RawMessage(`"Jon Stark"`)},
			{Key: "phone", Previous: json.RawMessage(`"+48123456789"`), Current: json.RawMessage(`null`)},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	changes := e.(conversation.CustomerUpdated).Changes
	if string(changes[0].Current) != `"`+got.Email+`"` || string(changes[0].Previous) != "null" ||
		string(changes[1].Previous) != `"`+got.Name+`"` || !strings.HasPrefix(string(changes[1].Current), `"`+got.FirstName+" ") ||
		string(changes[1].Current) == string(changes[1].Previous) || string(changes[2].Previous) != `"`+got.Phone+`"` {
		t.Errorf("changes are %s of %+v", changes, got)
	}
	for i, id := range []string{"1", "2", "3", "4", "5", "6", "7", "8", "9", "10"} {
		for _, other := range []string{"11", "12", "13", "14", "15"} {
			if a.ID(id) == a.ID(other) {
				t.Errorf("%d: the ids %s and %s have become one: %s", i, id, other, a.ID(id))
			}
		}
	}
}

func TestPseudonymsHaveTheShape(t *testing.T) {
	t.Parallel()
	m := maker("shape")
	m.Shift(-time.Hour)
	text := func(s string) string {
		e, err := m.Event(conversation.MessagePosted{Text: s})
		if err != nil {
			t.Fatal(err)
		}
		return e.(conversation.MessagePosted).Text
	}
	for _, s := range []string{
		"", "Hello Jon, my number is 4711!", "Größe? Ça va.", "Привет, Анна", "مرحبا ليلى ١٢", "שלום דוד", "山田さん、こんにちは。", "नमस्ते",
		"👩‍👩‍👧‍👦 ok \u2028\n\t<b>", "Donaudampfschifffahrtsgesellschaft", strings.Repeat("word ", 30_000),
	} {
		got := text(s)
		if utf8.RuneCountInString(got) != utf8.RuneCountInString(s) || !utf8.ValidString(got) {
			t.Errorf("%.50q becomes %.50q", s, got)
		}
		if len(s) > 9 && got == s {
			t.Errorf("%.50q stays", s)
		}
		if again := text(s); again != got {
			t.Errorf("%.50q becomes %.50q and then %.50q", s, got, again)
		}
	}
	if got := text("Hello \xff Jon"); !utf8.ValidString(got) {
		t.Errorf("invalid UTF-8 becomes %q", got)
	}

	attributes := func(key, value string) string {
		v, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		e, err := m.Event(contact.Created{Profile: domain.Person{ID: "a", Attributes: domain.Attributes{{Key: key, Value: v}}}})
		if err != nil {
			t.Fatal(err)
		}
		return e.(contact.Created).Profile.Attributes.String(key)
	}
	for _, tt := range []struct{ key, value, want string }{
		{"any", "jon@winterfell.test", `^[a-z]{8}@[a-z]{6}\.example$`},
		{"any", "https://winterfell.test/a/jon.pdf?x=1", `^https://[a-z]{6}\.example/[a-z]{8}\.pdf$`},
		{"any", "http://winterfell.test/", `^http://[a-z]{6}\.example/$`},
		{"any", "+48 123 456-789", `^\+999\d{8}$`},
		{"any", "2024-02-29T12:00:00Z", `^2024-02-29T11:00:00Z$`},
		{"born", "1980-05-01", `^(19|20)\d\d-\d\d-\d\d$`},
		{"any", "192.168.1.7", `^203\.0\.113\.\d+$`},
		{"any", "fe80::1", `^2001:db8:`},
		{"any", "0192f7a8-c1d2-4000-8000-000000000001", `^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab]`},
		{"order_id", "AB-123456", `^[A-Z]{2}-\d{6}$`},
		{"any", "4711 42", `^\d{4} \d\d$`},
		{"randomName", "Frosty Wolf", `^[A-Z][a-z]+ [A-Z][a-z]+$`},
		{"browser_name", "Jon's browser", `^(Chrome|Edge|Firefox|Opera|Safari)$`},
		{"browser_name", "Firefox", `^Firefox$`},
		{"language", "tlh", `^(ar|de|en|es|fr|ja|pl|pt)$`},
		{"screen_size", "1081x1921", `^\d+x\d+$`},
	} {
		if got := attributes(tt.key, tt.value); !regexp.MustCompile(tt.want).MatchString(got) || got == tt.value && tt.value != "Firefox" {
			t.Errorf("%s %q becomes %q, which is not as %s", tt.key, tt.value, got, tt.want)
		}
	}

	id := uuid.MustParse("0192f7a8-c1d2-7000-8000-000000000001")
	got := uuid.MustParse(m.ID(id.String()))
	sec, _ := id.Time().UnixTime()
	gotSec, _ := got.Time().UnixTime()
	if got.Version() != 7 || sec-gotSec != 3600 || got.String()[24:] == id.String()[24:] {
		t.Errorf("%s becomes %s", id, got)
	}
}

// TestNumbersFollowPositions: what bears the position of an event as its number
// bears the new one.
func TestNumbersFollowPositions(t *testing.T) {
	t.Parallel()
	m := maker("numbers")
	m.Renumber(4711, 1)
	for n, want := range map[int64]func(int64) bool{
		0: func(n int64) bool { return n == 0 }, 4711: func(n int64) bool { return n == 1 },
		12: func(n int64) bool { return n >= 1_000_000 },
	} {
		e, err := m.Event(contact.Created{Profile: domain.Person{ID: "a", Number: n}})
		if err != nil {
			t.Fatal(err)
		}
		if got := e.(contact.Created).Profile.Number; !want(got) {
			t.Errorf("%d becomes %d", n, got)
		}
	}
}

type stranger struct{}

func (stranger) EventType() string { return "stranger.came" }

func TestStrangersAreRefused(t *testing.T) {
	t.Parallel()
	if e, err := maker("a").Event(stranger{}); err == nil {
		t.Errorf("a fact that nobody knows becomes %+v", e)
	}
}
