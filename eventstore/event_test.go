package eventstore_test

import (
	"encoding/hex"
	"testing"
	"time"

	"github.com/google/uuid"

	"verbatim/eventstore"
)

const conversationStream = "conversation-0192f7a8-c1d2-7e5f-8a9b-0c1d2e3f4a5b"

// recorded is an event that never changes.
func recorded() eventstore.Recorded {
	data := []byte(`{"message_id":"1","text":"Hodor & \"<Hodor>\"","by":{"id":"ü"}}`)
	return eventstore.Recorded{
		Position: 4711, Stream: conversationStream, Version: 12,
		ID: uuid.MustParse("0192f7a8-c1d2-7e5f-8a9b-0123456789ab"), Type: "conversation.message_edited", Schema: 2,
		Time: time.Date(2019, 6, 14, 8, 7, 44, 789_012_000, time.UTC), Account: "default",
		Data: data, Metadata: []byte(`{"actor":"key:1","correlation":"r"}`), Digest: eventstore.Digest(data),
	}
}

// TestChainIsForEver: these bytes are in every log and every backup. Should they
// change, all of them look tampered with.
func TestChainIsForEver(t *testing.T) {
	t.Parallel()
	r := recorded()
	first := eventstore.Chain([32]byte{}, &r)
	second := eventstore.Chain(first, &r)
	for _, tt := range []struct {
		name string
		got  [32]byte
		want string
	}{
		{"digest", r.Digest, "292662fbe3b1b7fbdb675b73fbad4a7d3386a1ec8f114f30a27e2576045ac17d"},
		{"first hash", first, "1c63836cb4456bf6b83f25e7e5123ff61654cca05127d0a93c75aca71e7d9b52"},
		{"second hash", second, "2e6574a6e5fb1c7897d16e807c071c7570669fcaa975ad8da6031fab99962ee4"},
	} {
		if got := hex.EncodeToString(tt.got[:]); got != tt.want {
			t.Errorf("the %s is %s; it must for ever be %s", tt.name, got, tt.want)
		}
	}
}

// TestChainCoversTheHeader: no part of an event changes without its hash, but
// the data, for which the digest stands, and what the clock of a machine adds
// below the microsecond or to the place on earth.
func TestChainCoversTheHeader(t *testing.T) {
	t.Parallel()
	r := recorded()
	hash := eventstore.Chain([32]byte{}, &r)
	for name, change := range map[string]func(r *eventstore.Recorded){
		"position":             func(r *eventstore.Recorded) { r.Position++ },
		"stream":               func(r *eventstore.Recorded) { r.Stream += "x" },
		"version":              func(r *eventstore.Recorded) { r.Version++ },
		"id":                   func(r *eventstore.Recorded) { r.ID[15]++ },
		"type":                 func(r *eventstore.Recorded) { r.Type += "x" },
		"schema":               func(r *eventstore.Recorded) { r.Schema++ },
		"time":                 func(r *eventstore.Recorded) { r.Time = r.Time.Add(time.Microsecond) },
		"account":              func(r *eventstore.Recorded) { r.Account += "x" },
		"metadata":             func(r *eventstore.Recorded) { r.Metadata = []byte(`{}`) },
		"no metadata":          func(r *eventstore.Recorded) { r.Metadata = nil },
		"digest":               func(r *eventstore.Recorded) { r.Digest[0]++ },
		"a letter that moves":  func(r *eventstore.Recorded) { r.Stream, r.Type = r.Stream+r.Type[:1], r.Type[1:] },
		"a letter that moves2": func(r *eventstore.Recorded) { r.Type, r.Account = r.Type+r.Account[:1], r.Account[1:] },
		"a very long account":  func(r *eventstore.Recorded) { r.Account += string(make([]byte, 1000)) },
	} {
		changed := recorded()
		change(&changed)
		if eventstore.Chain([32]byte{}, &changed) == hash {
			t.Errorf("%s: the hash is the same", name)
		}
	}
	if eventstore.Chain([32]byte{1}, &r) == hash {
		t.Error("the hash does not follow from the one before it")
	}
	same := recorded()
	same.Data = []byte(`"erased"`)
	same.Time = same.Time.Add(999).In(time.FixedZone("", 3600))
	same.Hash = hash
	if eventstore.Chain([32]byte{}, &same) != hash {
		t.Error("the hash of an event whose data was erased is another")
	}
}

func TestStreamNames(t *testing.T) {
	t.Parallel()
	const id = "0192f7a8-c1d2-7e5f-8a9b-0c1d2e3f4a5b"
	for stream, kind := range map[string]string{
		eventstore.StreamName("conversation", id): "conversation",
		"x-" + id:                     "x",
		"conversation":                "",
		"conversation-":               "",
		"-" + id:                      "",
		id:                            "",
		"conversation-" + id + "0":    "",
		"conversation-" + id[:35]:     "",
		"conversation-x" + id[1:]:     "",
		"conversation_" + id:          "",
		"conversation-other-" + id:    "",
		"conversation- " + id:         "",
		"conversation-{" + id + "}":   "", // the same UUID in other spellings
		"conversation-urn:uuid:" + id: "",
		"conversation-0192f7a8c1d27e5f8a9b0c1d2e3f":     "",
		"conversation-0192f7a8c1d27e5f8a9b0c1d2e3f4a5b": "",
		"": "",
	} {
		gotKind, gotID := eventstore.SplitStream(stream)
		wantID := ""
		if kind != "" {
			wantID = id
		}
		if gotKind != kind || gotID != wantID {
			t.Errorf("%q splits into %q and %q; want %q and %q", stream, gotKind, gotID, kind, wantID)
		}
	}
}

func TestMetadata(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]eventstore.Metadata{
		``:   {},
		`{}`: {},
		`{"actor":"a","command":"b","correlation":"c","causation":"d","trace":"e","more":1}`: {
			Actor: "a", Command: "b", Correlation: "c", Causation: "d", Trace: "e",
		},
		`{"actor"`: {},
		`null`:     {},
	} {
		r := eventstore.Recorded{Metadata: []byte(in)}
		if got := r.DecodeMetadata(); got != want {
			t.Errorf("%s reads as %+v; want %+v", in, got, want)
		}
	}
}

// TestActor: who acted is found as by decoding everything.
func TestActor(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		`{"actor":"key:1"}`: "key:1", `{"command":"c\u0041","correlation":"","causation":"{\"actor\":1}","trace":"e","actor":"a"}`: "a",
		`{"actor":"a","correlation":"b"}`: "a", `{"actor":"\u0041é"}`: "Aé", `{"actor": "a"}`: "a", `{"Actor":"a"}`: "a",
		`{"actor":"a","actor":"b"}`: "b", `{"actor":"a","ACTOR":"b"}`: "b", `{"actor":"a","command":7}`: "a", `{"actor":7}`: "",
		`{"actor":"a"`: "", `{"actor":"a"}}`: "", `{"actor":"a","more":{"actor":"b"}}`: "a", "{\"actor\":\"\xff\"}": "\ufffd",
		`{"actor":null}`: "", `{"actor":"a",}`: "", `{}`: "", ``: "", `null`: "", `[]`: "",
	} {
		r := eventstore.Recorded{Metadata: []byte(in)}
		if got := r.Actor(); got != want || got != r.DecodeMetadata().Actor {
			t.Errorf("%s: got %q, want %q", in, got, want)
		}
	}
}

func TestTrace(t *testing.T) {
	t.Parallel()
	const trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	for _, tt := range []struct{ metadata, want string }{
		{`{"actor":"key:1","trace":"` + trace + `"}`, trace},
		{`{"trace":"` + trace + `","more":1}`, trace},
		{`{"command":"\"trace\":\"` + trace + `","correlation":"r"}`, ""},
		{`{"trace":"00-0af7651916cd43dd8448eb211c80319c"}`, ""},
		{`{"trace":""}`, ""},
		{`{}`, ""},
		{``, ""},
	} {
		if got := (&eventstore.Recorded{Metadata: []byte(tt.metadata)}).Trace(); got != tt.want {
			t.Errorf("%s: got %q", tt.metadata, got)
		}
	}
	for s, want := range map[string]bool{
		trace: true,
		"cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00": true, // of a version to come
		"ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01": false,
		"00-00000000000000000000000000000000-b7ad6b7169203331-01": false,
		"00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01": false,
		"00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01": false,
		"00-0af7651916cd43dd8448eb211c80319c_b7ad6b7169203331-01": false,
		trace + "-": false,
		trace[1:]:   false,
		"":          false,
	} {
		if got := eventstore.ValidTrace(s); got != want {
			t.Errorf("%q: got %v", s, got)
		}
	}
}

func TestAbout(t *testing.T) {
	t.Parallel()
	const id = "0192f7a8-c1d2-7e5f-8a9b-0c1d2e3f4a5b"
	for stream, want := range map[string]string{
		"conversation-" + id: "conversation=" + id,
		"contact-" + id:      "contact=" + id,
		"endpoint-" + id:     "stream=endpoint-" + id, // endpoint= is where something is sent
		"odd":                "stream=odd",
	} {
		if got := eventstore.About(stream).String(); got != want {
			t.Errorf("%s: got %s", stream, got)
		}
	}
}
