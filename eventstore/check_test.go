package eventstore_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"verbatim/eventstore"
)

// TestCheck: an event that a reader of the log could not take on is not let in,
// and it is said why.
func TestCheck(t *testing.T) {
	t.Parallel()
	const id = "019cadd3-77f0-7b34-9bc2-c05eb4d7e25d"
	codec := eventstore.Catalogue()
	for _, tt := range []struct {
		name, stream, kind string
		version            int64
		data               string
		want               string // in the error; empty for none
	}{
		{"what is in order", "conversation", "conversation.read", 2, `{"by":{"id":"a"},"up_to":1}`, ""},
		{"the first of a conversation", "conversation", "conversation.created", 1, `{"account":{"id":"a"},"inbox":{"id":"b"},"customer":{"id":"c"}}`, ""},
		{"the first of a contact", "contact", "contact.created", 1, `{"account":{"id":"a"},"profile":{"id":"c"}}`, ""},
		{"the first of an endpoint", "endpoint", "endpoint.registered", 1, `{"account":{"id":"a"},"settings":{"url":"https://a.example","dialect":"x","events":[]}}`, ""},
		{"open keys, which may be any", "conversation", "conversation.activity_recorded", 3, `{"kind":"task_completed","data":{"any":{"thing":1}}}`, ""},
		{"a change that is one", "conversation", "conversation.attributes_changed", 3, `{"changes":[{"key":"priority","previous":null,"current":"high"},{"key":"team","previous":null,"current":null}]}`, ""},

		{"an unknown fact", "conversation", "conversation.exploded", 2, `{}`, "unknown event type"},
		{"an unknown member", "conversation", "conversation.read", 2, `{"by":{"id":"a"},"up_to":1,"loud":true}`, `unknown field "loud"`},
		{"an unknown member of a person", "conversation", "conversation.read", 2, `{"by":{"id":"a","age":7},"up_to":1}`, `unknown field "age"`},
		{"a member of another type", "conversation", "conversation.read", 2, `{"by":{"id":"a"},"up_to":"1"}`, "up_to"},
		{"another stream's event", "contact", "conversation.read", 2, `{"by":{"id":"a"},"up_to":1}`, "contact-"},
		{"a beginning that is none", "conversation", "conversation.read", 1, `{"by":{"id":"a"},"up_to":1}`, "cannot be the first"},
		{"a contact that begins with a change", "contact", "contact.updated", 1, `{"changes":[],"profile":{"id":"a"}}`, "cannot be the first"},
		{"a second beginning", "conversation", "conversation.created", 2, `{"account":{"id":"a"},"inbox":{"id":"b"},"customer":{"id":"c"}}`, "not version 2"},
		{"a second endpoint", "endpoint", "endpoint.registered", 9, `{"account":{"id":"a"},"settings":{"url":"https://a.example","dialect":"x","events":[]}}`, "not version 9"},
		{"labels that are none", "conversation", "conversation.attributes_changed", 3, `{"changes":[{"key":"labels","previous":[],"current":"vip"}]}`, "cannot be folded"},
		{"a priority that is none", "conversation", "conversation.attributes_changed", 3, `{"changes":[{"key":"priority","previous":null,"current":7}]}`, "cannot be folded"},
		{"a change to nothing", "conversation", "conversation.attributes_changed", 3, `{"changes":[{"key":"subject"}]}`, "cannot be folded"},
	} {
		err := codec.Check(&eventstore.Recorded{
			Position: 41, Stream: eventstore.StreamName(tt.stream, id), Version: tt.version, ID: uuid.MustParse(id),
			Type: tt.kind, Schema: 1, Time: time.Unix(1, 0), Account: "a", Data: []byte(tt.data), Metadata: []byte(`{}`),
		})
		switch {
		case tt.want == "" && err != nil:
			t.Errorf("%s: %v", tt.name, err)
		case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "position 41")):
			t.Errorf("%s: %v; want one that says %q", tt.name, err, tt.want)
		}
	}
}

// TestCheckLetsPassWhatIsWritten: every fact as the program itself writes it.
func TestCheckLetsPassWhatIsWritten(t *testing.T) {
	t.Parallel()
	codec := eventstore.Catalogue()
	for name, zero := range codec.Types() {
		if name == "conversation.attributes_changed" {
			continue // a change of anything is none of ours; see above
		}
		kind, _, _ := strings.Cut(name, ".")
		full := filled(t, zero)
		_, schema, data, err := codec.Encode(full)
		if err != nil {
			t.Fatal(err)
		}
		r := eventstore.Recorded{Stream: kind + "-" + uuid.NewString(), Version: 2, Type: name, Schema: schema, Data: data}
		if strings.HasSuffix(name, ".created") || name == "endpoint.registered" {
			r.Version = 1
		}
		if err := codec.Check(&r); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestCheckOfOldShapes: an event in an older schema version is lifted before it
// is looked at.
func TestCheckOfOldShapes(t *testing.T) {
	t.Parallel()
	codec := eventstore.NewCodec(eventstore.KindOf[priced](toCents, toCurrency))
	for schema, tt := range map[int]struct {
		data string
		ok   bool
	}{
		1: {`{"price":7}`, true}, 2: {`{"cents":7}`, true}, 3: {`{"cents":7,"currency":"EUR","price":7}`, false}, 4: {`{}`, false},
	} {
		err := codec.Check(&eventstore.Recorded{
			Stream: "shop-" + uuid.NewString(), Version: 1, Type: "shop.priced", Schema: schema, Data: []byte(tt.data),
		})
		if (err == nil) != tt.ok {
			t.Errorf("schema %d: %v", schema, err)
		}
	}
}
