package domain_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"verbatim/domain"
)

func TestAttributesKeepWhatWasGiven(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, in, want string }{
		{"order", `{"z":1,"a":2,"m":3}`, `{"z":1,"a":2,"m":3}`},
		{"nothing", `{}`, `{}`},
		{"null", `null`, `{}`},
		{"numbers as they are spelled", `{"a":1.0,"b":1e3,"c":12345678901234567890}`, `{"a":1.0,"b":1e3,"c":12345678901234567890}`},
		{"values of every kind", `{"a":null,"b":true,"c":"x","d":[1,{"y":2,"x":1}],"e":{}}`, `{"a":null,"b":true,"c":"x","d":[1,{"y":2,"x":1}],"e":{}}`},
		{"no white space", " { \"a\" : [ 1 , 2 ] ,\n\"b\" : { } } ", `{"a":[1,2],"b":{}}`},
		{"the last of a repeated key, at the place of the first", `{"a":1,"b":2,"a":{"c":3}}`, `{"a":{"c":3},"b":2}`},
		{"keys that need escapes", `{"":1,"\"":2,"\\":3,"\n":4,"é":5}`, `{"":1,"\"":2,"\\":3,"\n":4,"é":5}`},
		{"what HTML needs escaped, plain", `{"<&>":"<&>","a":"\u003c\u003C\u003e\u003E\u0026"}`, `{"<&>":"<&>","a":"<<>>&"}`},
		{"line separators, plain", `{"a":"\u2028\u2029"}`, "{\"a\":\"\u2028\u2029\"}"},
		{"a backslash before what looks like an escape", `{"a":"\\u003c","b":"\\\u003c","c":"\\"}`, `{"a":"\\u003c","b":"\\<","c":"\\"}`},
		{"other escapes", `{"a":"\u0041\u0000\ud83d\ude00\t\/"}`, `{"a":"\u0041\u0000\ud83d\ude00\t\/"}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := attributes(t, tt.in).MarshalJSON()
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, string(got)); diff != "" {
				t.Errorf("comes out as something else (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAttributesReadOverOthers(t *testing.T) {
	t.Parallel()
	for _, in := range []string{`null`, `{}`, `{"b":1}`} {
		a := attributes(t, `{"a":1}`)
		if err := json.Unmarshal([]byte(in), &a); err != nil || !a.Equal(attributes(t, in)) {
			t.Errorf("%s was read as %v, error %v", in, a, err)
		}
	}
}

func TestAttributesAreObjects(t *testing.T) {
	t.Parallel()
	for _, in := range []string{`[]`, `"a"`, `1`, `true`, `{"a"}`, `{"a":}`, `{"a":1,}`, `{1:2}`, ``} {
		var a domain.Attributes
		if err := json.Unmarshal([]byte(in), &a); err == nil {
			t.Errorf("%s was read as %v; want an error", in, a)
		}
		if err := a.UnmarshalJSON([]byte(in)); err == nil {
			t.Errorf("%s was read as %v; want an error", in, a)
		}
	}
}

// TestAttributesBuiltByHand: what a program puts together may lack a value.
func TestAttributesBuiltByHand(t *testing.T) {
	t.Parallel()
	a := domain.Attributes{{Key: "a"}, {Key: "b", Value: json.RawMessage{}}}
	got, err := json.Marshal(a)
	if err != nil || string(got) != `{"a":null,"b":null}` {
		t.Errorf("got %s and error %v; want nulls", got, err)
	}
	if got := attributes(t, `{"a":1,"b":2,"c":3}`).Merge(a); !got.Equal(attributes(t, `{"c":3}`)) {
		t.Errorf("merged into %v; want c alone", got)
	}
}

func TestAttributesGet(t *testing.T) {
	t.Parallel()
	a := attributes(t, `{"text":"a<\n","number":1,"object":{"b":1,"a":null},"null":null,"list":["x"]}`)
	if got := a.Get("number"); string(got) != `1` {
		t.Errorf("number is %s; want 1", got)
	}
	if got := a.Get("null"); string(got) != `null` {
		t.Errorf("null is %s; want null, which is not the same as missing", got)
	}
	if got := a.Get("missing"); got != nil {
		t.Errorf("missing is %s; want nil", got)
	}
	for key, want := range map[string]string{"text": "a<\n", "number": "", "null": "", "list": "", "missing": ""} {
		if got := a.String(key); got != want {
			t.Errorf("%s as a text is %q; want %q", key, got, want)
		}
	}
	if got := a.Object("object"); !got.Equal(attributes(t, `{"b":1,"a":null}`)) {
		t.Errorf("object is %v", got)
	}
	for _, key := range []string{"text", "number", "null", "list", "missing"} {
		if got := a.Object(key); got != nil {
			t.Errorf("%s as an object is %v; want nil", key, got)
		}
	}
}

func TestAttributesSet(t *testing.T) {
	t.Parallel()
	const before = `{"a":1,"b":2,"c":3}`
	for _, tt := range []struct {
		name, key string
		value     json.RawMessage
		want      string
	}{
		{"keeps the place of a key", "a", json.RawMessage(`9`), `{"a":9,"b":2,"c":3}`},
		{"puts a new key last", "d", json.RawMessage(`9`), `{"a":1,"b":2,"c":3,"d":9}`},
		{"removes with nil", "b", nil, `{"a":1,"c":3}`},
		{"removes nothing that is not there", "d", nil, before},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a := attributes(t, before)
			if got := a.Set(tt.key, tt.value); !got.Equal(attributes(t, tt.want)) {
				t.Errorf("got %v; want %s", got, tt.want)
			}
			if !a.Equal(attributes(t, before)) {
				t.Errorf("the receiver became %v", a)
			}
		})
	}
}

// TestAttributesMerge has the examples of RFC 7396 for objects, appendix A, and
// what we add: order.
func TestAttributesMerge(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ into, patch, want string }{
		{`{"a":"b"}`, `{"a":"c"}`, `{"a":"c"}`},
		{`{"a":"b"}`, `{"b":"c"}`, `{"a":"b","b":"c"}`},
		{`{"a":"b"}`, `{"a":null}`, `{}`},
		{`{"a":"b","b":"c"}`, `{"a":null}`, `{"b":"c"}`},
		{`{"a":["b"]}`, `{"a":"c"}`, `{"a":"c"}`},
		{`{"a":"c"}`, `{"a":["b"]}`, `{"a":["b"]}`},
		{`{"a":{"b":"c"}}`, `{"a":{"b":"d","c":null}}`, `{"a":{"b":"d"}}`},
		{`{"a":[{"b":"c"}]}`, `{"a":[1]}`, `{"a":[1]}`},
		{`{"e":null}`, `{"a":1}`, `{"e":null,"a":1}`},
		{`{}`, `{"a":{"bb":{"ccc":null}}}`, `{"a":{"bb":{}}}`},

		{`{"a":1,"b":2,"c":3}`, `{"c":4,"d":5,"a":6}`, `{"a":6,"b":2,"c":4,"d":5}`},
		{`{"a":1,"b":2}`, `{"a":null,"c":3,"b":null}`, `{"c":3}`},
		{`{"a":1}`, `{}`, `{"a":1}`},
		{`null`, `{"a":null}`, `{}`},
		{`null`, `{"a":{"b":null,"c":1}}`, `{"a":{"c":1}}`},
		{`{"a":{"x":1,"y":{"z":2}}}`, `{"a":{"y":{"z":null,"<w>":3}}}`, `{"a":{"x":1,"y":{"<w>":3}}}`},
		{`{"a":1}`, `{"a":{}}`, `{"a":{}}`},
		{`{"a":{"b":1}}`, `{"a":{}}`, `{"a":{"b":1}}`},
	} {
		t.Run(tt.patch+" into "+tt.into, func(t *testing.T) {
			t.Parallel()
			into, patch := attributes(t, tt.into), attributes(t, tt.patch)
			got := into.Merge(patch)
			if diff := cmp.Diff(tt.want, encoded(t, got)); diff != "" {
				t.Errorf("merged (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.want, encoded(t, got.Merge(patch))); diff != "" {
				t.Errorf("merged again (-want +got):\n%s", diff)
			}
			if !into.Equal(attributes(t, tt.into)) || !patch.Equal(attributes(t, tt.patch)) {
				t.Errorf("the arguments became %v and %v", into, patch)
			}
		})
	}
}

// TestManyAttributes: an object may be as large as a request's body, and is
// read before it is refused. Each of its keys must be found; were each searched
// for among all others, this test alone would take most of a minute.
func TestManyAttributes(t *testing.T) {
	t.Parallel()
	const n = 50_000
	var object strings.Builder
	for i := range n {
		fmt.Fprintf(&object, `,"k%d":%d`, i, i)
	}
	once := object.String()[1:]
	a := attributes(t, `{`+once+`,`+strings.ReplaceAll(once, `":`, `":1`)+`}`)
	if len(a) != n || a[n-1].Key != "k49999" || string(a[n-1].Value) != "149999" {
		t.Fatalf("read %d attributes, the last %+v; want %d, each with its last value", len(a), a[len(a)-1], n)
	}
	merged := attributes(t, `{"k0":0,"x":1,"k7":0}`).Merge(a)
	if len(merged) != n+1 || merged[0].Key != "k0" || string(merged[2].Value) != "17" || merged[n].Key != "k49999" {
		t.Fatalf("merged to %d attributes that begin with %v; want %d", len(merged), merged[:3], n+1)
	}
	for i := range a {
		a[i].Value = nil
	}
	if rest := merged.Merge(a); len(rest) != 1 || rest[0].Key != "x" {
		t.Fatalf("removed all but %v; want all but x", rest)
	}
}

// TestNestedAttributes: a patch that is validated is merged in a moment,
// however it is nested.
func TestNestedAttributes(t *testing.T) {
	t.Parallel()
	nested := func(levels int) domain.Attributes {
		return attributes(t, strings.Repeat(`{"a":`, levels)+`1`+strings.Repeat(`}`, levels))
	}
	a := nested(domain.MaxAttributesDepth)
	if err := a.Validate("attributes"); err != nil {
		t.Fatal(err)
	}
	if got := a.Merge(a); !got.Equal(a) {
		t.Errorf("merged with itself it is %v", got)
	}
	if err := nested(domain.MaxAttributesDepth + 1).Validate("attributes"); err == nil {
		t.Error("one level more is allowed")
	}
	// Brackets in texts are no levels, however the texts end.
	flat := attributes(t, `{"a":"`+strings.Repeat(`[{\"`, 99)+`\\","b":["`+strings.Repeat(`[`, 99)+`"]}`)
	if err := flat.Validate("attributes"); err != nil {
		t.Errorf("a flat object: %v", err)
	}
	// Levels beside each other are not within each other.
	if err := attributes(t, `{"a":[`+strings.Repeat(`[],{},`, 99)+`[]]}`).Validate("attributes"); err != nil {
		t.Errorf("a wide object: %v", err)
	}
}

func TestAttributesValidate(t *testing.T) {
	t.Parallel()
	ofSize := func(n int) domain.Attributes {
		return attributes(t, `{"key":1,"text":"`+strings.Repeat("x", n-len(`{"key":1,"text":""}`))+`"}`)
	}
	html := attributes(t, `{"<":"`+strings.Repeat(`<`, domain.MaxAttributesLength-len(`{"<":""}`))+`"}`)
	for _, tt := range []struct {
		name string
		a    domain.Attributes
		rule string
	}{
		{name: "none"},
		{name: "no keys", a: domain.Attributes{}},
		{name: "the largest", a: ofSize(domain.MaxAttributesLength)},
		{name: "one byte more", a: ofSize(domain.MaxAttributesLength + 1), rule: "must be at most 65536 bytes"},
		{name: "the largest HTML", a: html},
		{name: "the largest HTML from a snapshot", a: snapshot(t, html)},
		{name: "a value that is not UTF-8", a: attributes(t, "{\"a\":{\"b\":\"\xff\"}}"), rule: "must be valid UTF-8"},
		{name: "a key that is not UTF-8", a: domain.Attributes{{Key: "\xff", Value: json.RawMessage("1")}}, rule: "must be valid UTF-8"},
		{name: "lists within lists", a: attributes(t, `{"a":`+strings.Repeat("[", 32)+strings.Repeat("]", 32)+`}`), rule: "must be nested at most 32 deep"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			checkFault(t, tt.a.Validate("x.attributes"), "x.attributes", tt.rule)
		})
	}
	if size := len(encoded(t, ofSize(domain.MaxAttributesLength))); size != domain.MaxAttributesLength {
		t.Errorf("the largest object has %d bytes; want %d", size, domain.MaxAttributesLength)
	}
}

func TestAttributesEqual(t *testing.T) {
	t.Parallel()
	a := attributes(t, `{"a":1,"b":"<"}`)
	if !a.Equal(snapshot(t, a)) {
		t.Error("an object is not equal to itself from a snapshot")
	}
	if !domain.Attributes(nil).Equal(domain.Attributes{}) {
		t.Error("none is not equal to no keys")
	}
	for _, other := range []string{`{"b":"<","a":1}`, `{"a":1}`, `{"a":1,"b":">"}`, `{"a":1,"c":"<"}`, `{"a":1,"b":"<","c":0}`} {
		if a.Equal(attributes(t, other)) {
			t.Errorf("%v is equal to %s", a, other)
		}
	}
}

func TestAttributesChanged(t *testing.T) {
	t.Parallel()
	a := attributes(t, `{"a":1,"b":2}`)
	for _, tt := range []struct {
		name, key, current, want string
	}{
		{"replaced", "attributes.a", `"x"`, `{"a":"x","b":2}`},
		{"added", "attributes.c", `3`, `{"a":1,"b":2,"c":3}`},
		{"added under no name", "attributes.", `3`, `{"a":1,"b":2,"":3}`},
		{"removed", "attributes.a", `null`, `{"b":2}`},
		{"of something else", "subject", `"x"`, `{"a":1,"b":2}`},
		{"spelled as in an old log", "attributes.a", `"\u003c"`, `{"a":"<","b":2}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := a.Changed("attributes.", domain.Change{Key: tt.key, Current: json.RawMessage(tt.current)})
			if diff := cmp.Diff(tt.want, encoded(t, got)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	if !a.Equal(attributes(t, `{"a":1,"b":2}`)) {
		t.Errorf("the receiver became %v", a)
	}
}

func attributes(tb testing.TB, object string) domain.Attributes {
	tb.Helper()
	var a domain.Attributes
	if err := json.Unmarshal([]byte(object), &a); err != nil {
		tb.Fatalf("%.99s: %v", object, err)
	}
	return a
}

// encoded returns a as the log has it.
func encoded(tb testing.TB, a domain.Attributes) string {
	tb.Helper()
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(a); err != nil {
		tb.Fatalf("%v does not encode: %v", a, err)
	}
	return strings.TrimSuffix(buf.String(), "\n")
}

// snapshot returns a as it comes back from a snapshot, which escapes what only
// HTML needs escaped.
func snapshot(tb testing.TB, a domain.Attributes) domain.Attributes {
	tb.Helper()
	b, err := json.Marshal(a)
	if err != nil {
		tb.Fatalf("%v does not encode: %v", a, err)
	}
	return attributes(tb, string(b))
}
