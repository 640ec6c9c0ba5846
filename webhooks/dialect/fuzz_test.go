package dialect_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"verbatim/domain"
	"verbatim/domain/contact"
	"verbatim/domain/conversation"
	"verbatim/eventstore"
	"verbatim/webhooks"
	"verbatim/webhooks/webhookstest"
)

// FuzzBodies tells every dialect whatever story the input comes to. Each body
// is held against what hold promises of it.
func FuzzBodies(f *testing.F) {
	chance := rand.New(rand.NewPCG(1, 2))
	for n := 1; n <= 2048; n *= 2 {
		seed := make([]byte, n)
		for i := range seed {
			seed[i] = byte(chance.Uint32())
		}
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := hold(story(data)); err != nil {
			t.Fatal(err)
		}
	})
}

// TestBodiesDoNotHangOnWhatWasRendered draws stories: rendered along the way,
// each body is what a history folded from nothing gives at that version.
func TestBodiesDoNotHangOnWhatWasRendered(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		if err := hold(story(rapid.SliceOfN(rapid.Byte(), 200, 2000).Draw(t, "choices"))); err != nil {
			t.Fatal(err)
		}
	})
}

// mostEvents bounds a story: what goes wrong goes wrong in a short one.
const mostEvents = 16

// story returns what happened in one stream, as the choices say. Any choices
// make a story, the same ones the same story. It may be one that no rule would
// have allowed, but it could be imported.
func story(choices []byte) []webhooks.Fact {
	c := &chooser{choices}
	events := []domain.Event{conversation.Created{}}
	var next []domain.Event
	if c.below(4) == 0 {
		events[0] = contact.Created{}
		next = []domain.Event{contact.Updated{}, contact.WidgetTriggered{}, contact.WidgetTriggered{}, contact.Erased{}}
	} else {
		next = []domain.Event{
			conversation.MessagePosted{},
			conversation.MessagePosted{},
			conversation.MessagePosted{}, // that is what there is most of
			conversation.MessageEdited{},
			conversation.MessageDeleted{},
			conversation.MessagePlayed{},
			conversation.TypingStarted{},
			conversation.TypingStopped{},
			conversation.Read{},
			conversation.StatusChanged{},
			conversation.Closed{},
			conversation.Reopened{},
			conversation.Assigned{},
			conversation.Unassigned{},
			conversation.AttributesChanged{},
			conversation.CustomerUpdated{},
			conversation.ActivityRecorded{},
		}
	}
	first := c.number()
	if first < 1 || first > math.MaxInt64-mostEvents {
		first = 1
	}
	for len(c.left) > 0 && len(events) < mostEvents {
		events = append(events, next[c.below(len(next))])
	}
	for i, e := range events {
		v := reflect.New(reflect.TypeOf(e)).Elem()
		c.fill(v, "")
		events[i] = v.Interface().(domain.Event)
	}
	facts := recorded(events...)
	for i := range facts {
		facts[i].Position = first + int64(i)
		if c.below(4) == 1 {
			facts[i].Time = c.time().UTC().Truncate(time.Microsecond)
		}
		if c.below(8) == 1 {
			facts[i].Metadata = c.value(0)
		}
	}
	return facts
}

// A chooser makes choices out of bytes: at their end, always the first.
type chooser struct{ left []byte }

// below chooses a number from 0 to n-1.
func (c *chooser) below(n int) int {
	if len(c.left) == 0 {
		return 0
	}
	b := c.left[0]
	c.left = c.left[1:]
	return int(b) % n
}

// choose chooses one of several.
func choose[T any](c *chooser, from ...T) T { return from[c.below(len(from))] }

// text chooses a string, of the input itself too.
func (c *chooser) text() string {
	switch c.below(5) {
	case 0:
		return choose(c, "", "Hello", "ada@example.com", "https://example.com/a.png?b=<c>&d")
	case 1:
		return choose(c, "\x00\x1f\x7f", "\u2028\u2029<&>\"\\", "\xff\xed\xa0\x80", "👩‍👩‍👧‍👦 مرحبا", "2026-03-01T12:00:00Z", "4711", " a\n\tb ", "{\"a\":1}")
	case 2:
		return webhookstest.ID("text", c.below(3)+1).String()
	default:
		n := min(c.below(24), len(c.left))
		s := string(c.left[:n])
		c.left = c.left[n:]
		return s
	}
}

func (c *chooser) number() int64 {
	return choose(c, 0, 1, 2, 3, 42, -1, 1<<31, 1<<53+1, math.MaxInt64, math.MinInt64, int64(c.below(256)))
}

// time chooses a time that can be recorded, with any offset.
func (c *chooser) time() time.Time {
	at := choose(c, webhookstest.Day(), time.Time{}, time.Unix(0, 0), time.Unix(-1, 999_999_000), time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC),
		time.Date(0, 1, 2, 0, 0, 0, 0, time.UTC), webhookstest.Day().Add(time.Duration(c.below(256))*time.Millisecond))
	return at.In(choose(c, time.UTC, time.FixedZone("", 3600), time.FixedZone("", -(11*60+30)*60)))
}

// value chooses a JSON value. It may not be UTF-8; no object in it has a name
// twice, for no format can help that.
func (c *chooser) value(depth int) json.RawMessage {
	const deepest = 3
	kinds := 8
	if depth == deepest {
		kinds = 6
	}
	switch c.below(kinds) {
	case 0:
		return raw("null")
	case 1:
		return raw(choose(c, "true", "false"))
	case 2:
		return strconv.AppendInt(nil, c.number(), 10)
	case 3:
		return raw(choose(c, "0.5", "-1e-7", "1e400", "-0", "123456789012345678901234567890", "1E2"))
	case 4, 5:
		s, err := json.Marshal(c.text())
		if err != nil {
			panic(err)
		}
		if c.below(8) == 1 {
			s = append(s[:len(s)-1], "\xff\u2028<\""...)
		}
		return s
	case 6:
		list := []byte{'['}
		for i := range c.below(4) {
			if i > 0 {
				list = append(list, ',')
			}
			list = append(list, c.value(depth+1)...)
		}
		return append(list, ']')
	default:
		object, err := json.Marshal(c.attributes(depth + 1))
		if err != nil {
			return raw("{}") // a name or a value that is not UTF-8 does not encode
		}
		return object
	}
}

func (c *chooser) attributes(depth int) domain.Attributes {
	var a domain.Attributes
	for range c.below(6) {
		var key string
		switch c.below(4) {
		case 0:
			key = choose(c, formats...)
		case 1:
			key = choose(c, overrides...)
		case 2:
			key = choose(c, "current_page", "current_page_title", "screen_size", "browser_name", "browser_version", "operating_system",
				"platform_version", "device_name", "user_agent", "referer", "language", "ip", "initiated_at", "Chatwoot", "event")
		default:
			key = string(bytes.ToValidUTF8([]byte(c.text()), nil)) // two that are not UTF-8 may become one
		}
		a = a.Set(key, c.value(depth))
	}
	return a
}

// known are the values that a type has names for.
var known = map[reflect.Type][]string{
	reflect.TypeFor[domain.Role]():               {"customer", "agent", "bot", "system"},
	reflect.TypeFor[conversation.Status]():       {"open", "pending", "snoozed", "resolved", "closed"},
	reflect.TypeFor[conversation.Priority]():     {"low", "medium", "high", "urgent"},
	reflect.TypeFor[conversation.StopReason]():   {"explicit", "expired", "message", "left"},
	reflect.TypeFor[conversation.ActivityKind](): {"appointment_scheduled", "product_purchased", "form_submitted", "task_completed"},
}

// fill chooses a value for v, the field of that name.
func (c *chooser) fill(v reflect.Value, field string) {
	switch v.Interface().(type) {
	case time.Time:
		v.Set(reflect.ValueOf(c.time()))
		return
	case domain.Attributes:
		v.Set(reflect.ValueOf(c.attributes(0)))
		return
	case json.RawMessage:
		v.SetBytes(c.raw(field))
		return
	case domain.Change:
		v.Set(reflect.ValueOf(c.change()))
		return
	}
	switch v.Kind() {
	case reflect.String:
		switch names := known[v.Type()]; {
		case names != nil && c.below(8) > 0:
			v.SetString(choose(c, names...))
		case field == "MessageID", field == "ReplyTo":
			v.SetString(fmt.Sprint("m", c.below(5)))
		case field == "FileType":
			v.SetString(choose(c, "image", "audio", "video", "file", "location", "contact", "fallback", "", c.text()))
		default:
			v.SetString(c.text())
		}
	case reflect.Int, reflect.Int64:
		v.SetInt(c.number())
	case reflect.Bool:
		v.SetBool(c.below(2) == 1)
	case reflect.Struct:
		for i := range v.NumField() {
			c.fill(v.Field(i), v.Type().Field(i).Name)
		}
	case reflect.Pointer:
		if c.below(3) > 0 {
			v.Set(reflect.New(v.Type().Elem()))
			c.fill(v.Elem(), field)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), c.below(4), 4))
		for i := range v.Len() {
			c.fill(v.Index(i), field)
		}
	default:
		panic("an event with a " + v.Type().String())
	}
}

// raw chooses the JSON that a field holds: what a conversation was, or anything.
func (c *chooser) raw(field string) json.RawMessage {
	if field != "CurrentConversation" || c.below(4) == 0 {
		return c.value(0)
	}
	var s webhooks.Snapshot
	c.fill(reflect.ValueOf(&s).Elem(), "")
	snapshot, err := json.Marshal(s)
	if err != nil {
		return nil
	}
	return snapshot
}

func (c *chooser) change() domain.Change {
	key := string(bytes.ToValidUTF8([]byte(c.text()), nil))
	change := domain.Change{Key: choose(c, "attributes."+key, "email", "name", key), Previous: c.value(0), Current: c.value(0)}
	switch c.below(6) {
	case 0:
		change.Key, change.Current = "labels", raw(choose(c, `["late"]`, `["late","\u2028<"]`, `[]`, `null`, `[""]`))
	case 1:
		change.Key, change.Current = "priority", raw(choose(c, `"low"`, `"urgent"`, `null`, `""`))
	case 2:
		change.Key, change.Current = "team", raw(choose(c, `{"id":"t","number":4,"name":"Parcels"}`, `{"id":"t"}`, `{}`, `null`))
	case 3:
		change.Key, change.Current = "subject", raw(choose(c, `"Order"`, `""`, `null`))
	}
	return change
}

// A story that could not be recorded would prove nothing.
func TestStoriesCanBeRecorded(t *testing.T) {
	t.Parallel()
	codec := eventstore.Catalogue()
	kinds := map[string]int{}
	rapid.Check(t, func(t *rapid.T) {
		for _, f := range story(rapid.SliceOfN(rapid.Byte(), 0, 2000).Draw(t, "choices")) {
			kinds[f.Type]++
			if _, _, _, err := codec.Encode(f.Event); err != nil {
				t.Fatal(err)
			}
		}
	})
	for name := range codec.Types() {
		if kinds[name] == 0 && !strings.HasPrefix(name, "endpoint.") {
			t.Errorf("%s is in no story", name)
		}
	}
}
