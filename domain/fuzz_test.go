package domain_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"reflect"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"verbatim/domain"
)

// FuzzAttributes: whatever object is read comes out with the same keys in the
// same order and the same values, from the log as from a snapshot, and reading
// it again changes nothing any more.
func FuzzAttributes(f *testing.F) {
	for _, seed := range []string{
		`{}`, `null`, `{"b":1,"a":2}`, `{"a":1,"a":2}`, `{"a":"<\u003c\\u003c&\u2028"}`, `{"a":{"b":[1.0,{"c":null}]}}`,
		"{\"\xff\":\"\xff\"}", `{"\ud800":"\ud800\u0000"}`, ` { "a" : 1e400 } `, `{"<":{"<":"<"}}`, `[]`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var a domain.Attributes
		if err := json.Unmarshal(data, &a); err != nil {
			if isObject(data) {
				t.Fatalf("an object was not read: %v", err)
			}
			return
		}
		if diff := cmp.Diff(keysOf(t, data), keys(a)); diff != "" {
			t.Fatalf("read other keys (-want +got):\n%s", diff)
		}
		out := encoded(t, a)
		if want, got := value(t, orEmpty(data)), value(t, []byte(out)); !reflect.DeepEqual(want, got) {
			t.Fatalf("%s means something else than %s", out, data)
		}
		if again := attributes(t, out); !again.Equal(a) || encoded(t, again) != out {
			t.Fatalf("read again, %s became %s", out, encoded(t, again))
		}
		if from := snapshot(t, a); !from.Equal(a) {
			t.Fatalf("read from a snapshot, %s became %s", out, encoded(t, from))
		}
		if before, after := a.Validate("a"), snapshot(t, a).Validate("a"); (before == nil) != (after == nil) {
			t.Fatalf("said to be %v; from a snapshot %v", before, after)
		}
		for _, at := range a {
			if set := a.Set(at.Key, at.Value); !set.Equal(a) {
				t.Fatalf("setting %q to what it is made %v of %v", at.Key, set, a)
			}
		}
	})
}

// FuzzAttributesMerge holds Merge against RFC 7396 as it is written down there,
// on plain maps.
func FuzzAttributesMerge(f *testing.F) {
	for _, seed := range [][2]string{
		{`{}`, `{}`},
		{`null`, `{"a":null}`},
		{`{"a":1,"b":2}`, `{"b":null,"c":{"d":null}}`},
		{`{"a":{"b":{"c":1}}}`, `{"a":{"b":{"c":null,"d":"<"}}}`},
		{`{"a":[1]}`, `{"a":{"b":1}}`},
		{`{"a":{"b":1,"b":2}}`, `{"a":{"b":null,"b":3}}`},
	} {
		f.Add([]byte(seed[0]), []byte(seed[1]))
	}
	f.Fuzz(func(t *testing.T, into, patch []byte) {
		var a, p domain.Attributes
		if json.Unmarshal(into, &a) != nil || json.Unmarshal(patch, &p) != nil || p.Validate("patch") != nil {
			return
		}
		before, asked := encoded(t, a), encoded(t, p)
		merged := a.Merge(p)
		if encoded(t, a) != before || encoded(t, p) != asked {
			t.Fatalf("merging %s into %s changed one of them", asked, before)
		}
		out := encoded(t, merged)
		if want := mergePatch(value(t, []byte(before)), value(t, []byte(asked))); !reflect.DeepEqual(want, value(t, []byte(out))) {
			t.Fatalf("merging %s into %s came to %s", asked, before, out)
		}
		if !merged.Merge(p).Equal(merged) {
			t.Fatalf("merging %s into %s twice came to %s, then to %s", asked, before, out, encoded(t, merged.Merge(p)))
		}
		// Changes say what Merge does, as far as it can be seen.
		said := a
		for _, c := range p.Changes(a, merged) {
			said = said.Changed("attributes.", c)
		}
		if len(p.Changes(said, merged)) != 0 {
			t.Fatalf("merging %s into %s came to %s; its changes come to %s", asked, before, out, encoded(t, said))
		}
	})
}

// mergePatch is MergePatch of RFC 7396, section 2.
func mergePatch(target, patch any) any {
	p, ok := patch.(map[string]any)
	if !ok {
		return patch
	}
	t, ok := target.(map[string]any)
	if !ok {
		t = map[string]any{}
	}
	for name, value := range p {
		if value == nil {
			delete(t, name)
		} else {
			t[name] = mergePatch(t[name], value)
		}
	}
	return t
}

func isObject(data []byte) bool {
	trimmed := bytes.TrimSpace(data)
	return json.Valid(data) && (trimmed[0] == '{' || string(trimmed) == "null")
}

// orEmpty is data, or an object without keys for null.
func orEmpty(data []byte) []byte {
	if string(bytes.TrimSpace(data)) == "null" {
		return []byte("{}")
	}
	return data
}

// value is what data means: without order, but with numbers as they are spelled.
func value(t *testing.T, data []byte) any {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		t.Fatalf("%s: %v", data, err)
	}
	return v
}

func keys(a domain.Attributes) []string {
	out := []string{}
	for _, at := range a {
		out = append(out, at.Key)
	}
	return out
}

// keysOf returns the keys of an object in the order in which they first appear.
func keysOf(t *testing.T, data []byte) []string {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	out, depth, key := []string{}, 0, false
	for {
		token, err := dec.Token()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatalf("%s: %v", data, err)
		}
		if name, ok := token.(string); ok && depth == 1 && key {
			if !slices.Contains(out, name) {
				out = append(out, name)
			}
			key = false
			continue
		}
		switch token {
		case json.Delim('{'), json.Delim('['):
			depth++
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
		key = depth == 1
	}
}
