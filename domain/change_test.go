package domain_test

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"verbatim/domain"
)

func TestChanged(t *testing.T) {
	t.Parallel()
	text := func(s string) *string { return &s }
	for _, tt := range []struct {
		name              string
		before, after     any
		previous, current string
		same              bool
	}{
		{name: "a text", before: "a", after: "b", previous: `"a"`, current: `"b"`},
		{name: "the same text", before: "a", after: text("a"), same: true, previous: `"a"`, current: `"a"`},
		{name: "an empty text is a value", before: nil, after: "", previous: `null`, current: `""`},
		{name: "an empty list is a value", before: []string(nil), after: []string{}, previous: `null`, current: `[]`},
		{name: "zero is a value", before: nil, after: 0, previous: `null`, current: `0`},
		{name: "nil pointers are null", before: (*string)(nil), after: (*int)(nil), same: true, previous: `null`, current: `null`},
		{name: "JSON", before: json.RawMessage(`{"a":1}`), after: json.RawMessage(`[1]`), previous: `{"a":1}`, current: `[1]`},
		{name: "no JSON is null", before: json.RawMessage(nil), after: json.RawMessage{}, same: true, previous: `null`, current: `null`},
		{name: "JSON null is null", before: json.RawMessage(`null`), after: nil, same: true, previous: `null`, current: `null`},
		{name: "nothing is escaped for HTML", before: "<", after: json.RawMessage(`"&"`), previous: `"<"`, current: `"&"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, changed := domain.Changed("key", tt.before, tt.after)
			want := domain.Change{Key: "key", Previous: json.RawMessage(tt.previous), Current: json.RawMessage(tt.current)}
			if diff := cmp.Diff(want, got); diff != "" || changed == tt.same {
				t.Errorf("changed: %t (-want +got):\n%s", changed, diff)
			}
		})
	}
}

func TestPatch(t *testing.T) {
	t.Parallel()
	type body struct {
		Text domain.Patch[string]   `json:"text"`
		List domain.Patch[[]string] `json:"list"`
	}
	for _, tt := range []struct {
		in   string
		text string
		list []string
	}{
		{`{}`, "before", []string{"before"}},
		{`{"text":null,"list":null}`, "", nil},
		{`{"text":"","list":[]}`, "", []string{}},
		{`{"text":"after","list":["after"]}`, "after", []string{"after"}},
		{`{"text":"a","text":null,"list":null,"list":["b"]}`, "", []string{"b"}},
	} {
		t.Run(tt.in, func(t *testing.T) {
			t.Parallel()
			var b body
			if err := json.Unmarshal([]byte(tt.in), &b); err != nil {
				t.Fatal(err)
			}
			if got := b.Text.Or("before"); got != tt.text {
				t.Errorf("the text is %q; want %q", got, tt.text)
			}
			if diff := cmp.Diff(tt.list, b.List.Or([]string{"before"})); diff != "" {
				t.Errorf("the list (-want +got):\n%s", diff)
			}
		})
	}
	var b body
	if err := json.Unmarshal([]byte(`{"text":1}`), &b); err == nil {
		t.Error("a number was read as a text")
	}
}
