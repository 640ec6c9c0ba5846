package messaging

import (
	"encoding/json"
	"strconv"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/message/router/middleware"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/uuid"

	"verbatim/eventstore"
)

// recorded is an event as the log has it, without digest and hash.
func recorded() eventstore.Recorded {
	return eventstore.Recorded{
		Position: 7, Stream: "conversation-0197f3c8-0000-7000-8000-000000000001", Version: 3,
		ID: uuid.MustParse("0197f3c8-0000-7000-8000-000000000002"), Type: "conversation.message_posted", Schema: 2,
		Time: time.Date(2026, 8, 3, 12, 0, 0, 123456000, time.UTC), Account: "default",
		Data: []byte(`{"text":"łódź"}`), Metadata: []byte(`{"actor":"key:1","correlation":"c-1"}`),
	}
}

func TestMessageCarriesTheEvent(t *testing.T) {
	t.Parallel()
	r := recorded()
	m := Message(&r)
	if m.UUID != r.ID.String() || string(m.Payload) != string(r.Data) {
		t.Errorf("the message is %s %s", m.UUID, m.Payload)
	}
	got, err := Event(m)
	if diff := cmp.Diff(r, got); err != nil || diff != "" {
		t.Errorf("there and back, error %v (-want +got):\n%s", err, diff)
	}
}

func TestCorrelation(t *testing.T) {
	t.Parallel()
	encoded := func(m eventstore.Metadata) string {
		b, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	for metadata, want := range map[string]string{
		``:                            "",
		`{}`:                          "",
		`{"correlation":""}`:          "",
		`{"correlation":"a"`:          "a",
		`{"correlation":"a`:           "",
		`{"correlation":"a\"b"}`:      "",
		`{"causation":"correlation"}`: "",
		encoded(eventstore.Metadata{Correlation: "0192f7a8"}):                                         "0192f7a8",
		encoded(eventstore.Metadata{Actor: "key:1", Correlation: "a b", Trace: "00-1"}):               "a b",
		encoded(eventstore.Metadata{Actor: `"correlation":"forged"`, Correlation: "true"}):            "true",
		encoded(eventstore.Metadata{Actor: `"correlation":"forged"`, Command: `","correlation":"x"`}): "",
		encoded(eventstore.Metadata{Correlation: "łódź"}):                                             "łódź",
	} {
		r := recorded()
		r.Metadata = []byte(metadata)
		m := Message(&r)
		if got := middleware.MessageCorrelationID(m); got != want {
			t.Errorf("of %s the correlation is %q, want %q", metadata, got, want)
		}
		if got := m.Metadata[keyMetadata]; got != metadata {
			t.Errorf("the metadata %s went on as %s", metadata, got)
		}
	}
}

// TestNotAnEvent gives messages that nobody but a fault could have sent.
func TestNotAnEvent(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(m *message.Message){
		"no id":       func(m *message.Message) { m.UUID = "" },
		"another id":  func(m *message.Message) { m.UUID = "watermill" },
		"no position": func(m *message.Message) { delete(m.Metadata, keyPosition) },
		"no version":  func(m *message.Message) { m.Metadata[keyVersion] = "" },
		"no schema":   func(m *message.Message) { m.Metadata[keySchema] = "one" },
		"no time":     func(m *message.Message) { m.Metadata[keyTime] = "2026-08-03T12:00:00Z" },
	} {
		r := recorded()
		m := Message(&r)
		spoil(m)
		if _, err := Event(m); err == nil {
			t.Errorf("%s: it was taken for an event", name)
		}
		if err := (&Subscription{}).handle(m); err == nil {
			t.Errorf("%s: it was handled", name)
		}
	}
}

func FuzzMessage(f *testing.F) {
	r := recorded()
	f.Add(r.ID[:], r.Position, r.Version, r.Schema, r.Time.UnixMicro(), r.Stream, r.Type, r.Account, r.Data, r.Metadata)
	f.Add([]byte{}, int64(0), int64(-1), -1, int64(-1), "", "", "", []byte{}, []byte(`{"correlation":"`))
	f.Fuzz(func(
		t *testing.T, id []byte, position, version int64, schema int, at int64, stream, name, account string, data, metadata []byte,
	) {
		r := eventstore.Recorded{
			Position: position, Version: version, Schema: schema, Time: time.UnixMicro(at).UTC(),
			Stream: stream, Type: name, Account: account, Data: data, Metadata: metadata,
		}
		copy(r.ID[:], id)
		m := Message(&r)
		got, err := Event(m)
		if diff := cmp.Diff(r, got, cmpopts.EquateEmpty()); err != nil || diff != "" {
			t.Errorf("there and back, error %v (-want +got):\n%s", err, diff)
		}
		var known eventstore.Metadata
		if json.Unmarshal(metadata, &known) == nil && json.Valid(metadata) {
			again, err := json.Marshal(known)
			if err != nil {
				t.Fatal(err)
			}
			if id := correlation(again); id != known.Correlation && id != "" {
				t.Errorf("of %s the correlation is %s", strconv.Quote(string(again)), id)
			}
		}
	})
}
