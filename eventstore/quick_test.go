package eventstore_test

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"verbatim/domain"
	"verbatim/domain/conversation"
	"verbatim/eventstore"
)

// sameAsJSON fails unless the codec decodes data as encoding/json does: to the
// same value, or with the same error.
func sameAsJSON(t *testing.T, codec *eventstore.Codec, zero domain.Event, data []byte) {
	t.Helper()
	before := bytes.Clone(data)
	r := eventstore.Recorded{Position: 1, Type: zero.EventType(), Schema: 1, Data: data}
	got, err := codec.Decode(&r)
	want := reflect.New(reflect.TypeOf(zero))
	wantErr := json.Unmarshal(data, want.Interface())
	if wantErr != nil || err != nil {
		if wantErr == nil || err == nil || !strings.HasSuffix(err.Error(), wantErr.Error()) {
			t.Fatalf("%s as %s: error %v, want %v", data, r.Type, err, wantErr)
		}
		return
	}
	if !reflect.DeepEqual(got, want.Elem().Interface()) {
		t.Fatalf("%s as %s:\ngot  %#v\nwant %#v", data, r.Type, got, want.Elem().Interface())
	}
	if !bytes.Equal(data, before) {
		t.Fatalf("%s became %s", before, data)
	}
	// What was decoded is nobody else's.
	clear(data)
	if !reflect.DeepEqual(got, want.Elem().Interface()) {
		t.Fatalf("%s as %s changes with the bytes it was read from", before, r.Type)
	}
}

// unusual are data that are not as Encode writes them, or not right.
func unusual() []string {
	return []string{
		``, ` `, `null`, `{}`, `{} `, ` {}`, `[]`, `{"text":1}`, `{"text":"a"}x`, `{"text":"a",}`, `{"text" :"a"}`, `{"text": "a"}`,
		`{"text":null,"author":null,"attachments":null,"attributes":null,"private":null}`,
		`{"text":"a","text":"b"}`, `{"author":{"id":"1","name":"a"},"author":{"id":"2"}}`, `{"Text":"a"}`, `{"TEXT":"a","text":"b"}`, `{"nobody":1,"text":"a"}`,
		`{"text":"\u00e9\ud83d\ude00\ud800\u0000"}`, `{"text":"\"\\\/\b\f\n\r\t"}`, `{"text":"\x"}`, `{"text":"\`, `{"text":"a`, "{\"text\":\"a\nb\"}",
		"{\"text\":\"\xff\"}", "{\"text\":\"\\n\xff\"}", "{\"te\xffxt\":\"a\"}", `{"te\u0078t":"a"}`, `{"text":"é😀\u2028"}`,
		`{"private":true,"text":"a"}`, `{"private":1}`, `{"private":truex}`, `{"private":"true"}`,
		`{"author":{"number":01}}`, `{"author":{"number":-0}}`, `{"author":{"number":1.0}}`, `{"author":{"number":1e2}}`, `{"author":{"number":-}}`,
		`{"author":{"number":9223372036854775807}}`, `{"author":{"number":9223372036854775808}}`, `{"author":{"number":-999999999999999999}}`,
		`{"attachments":[]}`, `{"attachments":[{}]}`, `{"attachments":[{"url":"a"},null,{"url":"b"}]}`, `{"attachments":[{"url":"a"}{}]}`, `{"attachments":{}}`,
		`{"attributes":{}}`, `{"attributes":{"a":1,"b":[1,-2.5e+3,{"c":null}],"":"","d":true,"e":false}}`, `{"attributes":{"a":1,"a":2}}`,
		`{"attributes":{"a":"\u003c"}}`, `{"attributes":{"a": 1}}`, `{"attributes":{"a":01}}`, `{"attributes":{"a":[1,]}}`, `{"attributes":{"a":}}`,
		"{\"attributes\":{\"a\":\"\xff\"}}", "{\"attributes\":{\"\xff\":1}}", `{"attributes":{"a":"\q"}}`, `{"attributes":[]}`, `{"attributes":{"a":1.}}`,
		`{"attributes":{"a":-}}`, `{"attributes":{"a":1e}}`, `{"attributes":{"a":nul}}`, `{"attributes":{"a\n":{"b\"":1}}}`,
		`{"attributes":{"a":` + strings.Repeat("[", 120) + strings.Repeat("]", 120) + `}}`,
		`{"changes":[{"key":"a","previous":null,"current":{"b":[1,"\u2028"]}}],"profile":{"id":"x"}}`, `{"changes":[{"previous": 1 ,"current":"\ud800"}]}`,
		`{"expires_at":"2024-02-29T12:00:00.123456Z"}`, `{"expires_at":"2024-02-30T12:00:00Z"}`, `{"expires_at":"2024-02-29T12:00:00+02:00"}`,
		`{"expires_at":1}`, `{"expires_at":null}`, `{"expires_at":""}`, `{"snoozed_until":null,"by":null}`, `{"snoozed_until":"2024-02-29T12:00:00Z","by":{}}`,
		`{"settings":{"events":["*",null,"a"],"filters":{"private":false}}}`, `{"settings":{"events":[]}}`, `{"status":500,"reason":"x"}`,
		`{"agent":{"id":"1"},"previous":{"id":"2","attributes":{"a":1}}}`, `{"by":{"is_bot":true}},"up_to":7}`, `{"up_to":7}`,
	}
}

// encodedFacts returns every fact that encodes, with every field filled and with
// none.
func encodedFacts(t *testing.T, codec *eventstore.Codec) map[string][][]byte {
	t.Helper()
	out := make(map[string][][]byte)
	for name, zero := range codec.Types() {
		full := reflect.New(reflect.TypeOf(zero)).Elem()
		fillIn(t, full, new(int))
		for _, e := range []domain.Event{zero, full.Interface().(domain.Event)} {
			_, _, data, err := codec.Encode(e)
			if err != nil {
				t.Fatal(err)
			}
			// Escapes by number are left to encoding/json, and are in every text of a
			// fact that was filled in: without them there is more to be read.
			out[name] = append(out[name], data, bytes.ReplaceAll(data, []byte(`\u2028`), nil))
		}
	}
	return out
}

// TestDecodeIsThatOfJSON decodes everything unusual as every fact, and every fact
// with random changes to a few of its bytes.
func TestDecodeIsThatOfJSON(t *testing.T) {
	t.Parallel()
	codec := eventstore.Catalogue()
	facts := encodedFacts(t, codec)
	draw := rand.New(rand.NewPCG(1, 2))
	const letters = "{}[]\",:\\ \n0123456789-+.eEtrufalsn\x00\xff\u00e9"
	for _, zero := range codec.Types() {
		for _, data := range unusual() {
			sameAsJSON(t, codec, zero, []byte(data))
		}
		for _, data := range facts[zero.EventType()] {
			sameAsJSON(t, codec, zero, bytes.Clone(data))
			for range 2000 {
				changed := bytes.Clone(data)
				for range 1 + draw.IntN(2) {
					at, letter := draw.IntN(len(changed)), letters[draw.IntN(len(letters))]
					switch draw.IntN(4) {
					case 0:
						changed[at] = letter
					case 1:
						changed = slices.Insert(changed, at, letter)
					case 2:
						changed = slices.Delete(changed, at, min(len(changed), at+1+draw.IntN(20)))
					case 3:
						from := draw.IntN(len(data))
						changed = slices.Insert(changed, at, data[from:min(len(data), from+draw.IntN(40))]...)
					}
					if len(changed) == 0 {
						break
					}
				}
				sameAsJSON(t, codec, zero, changed)
			}
		}
	}
}

// FuzzDecode holds the codec against encoding/json, for every fact.
func FuzzDecode(f *testing.F) {
	codec := eventstore.Catalogue()
	for _, data := range unusual() {
		f.Add("conversation.message_posted", []byte(data))
	}
	for name, zero := range codec.Types() {
		if _, _, data, err := codec.Encode(zero); err == nil {
			f.Add(name, data)
		}
	}
	f.Fuzz(func(t *testing.T, name string, data []byte) {
		zero, ok := codec.Types()[name]
		if !ok {
			zero = conversation.MessagePosted{}
		}
		sameAsJSON(t, codec, zero, data)
	})
}
