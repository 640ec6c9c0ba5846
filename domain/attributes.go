package domain

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Attributes is an open JSON object that keeps the order in which its keys were
// given, because some formats pass it on as a list.
type Attributes []Attribute

// An Attribute is one member of an open object; Value is compact JSON, without
// the escapes that only HTML pages need.
type Attribute struct {
	Key   string
	Value json.RawMessage
}

var errNotObject = errors.New("must be a JSON object")

// Get returns the value of key, or nil if there is none.
func (a Attributes) Get(key string) json.RawMessage {
	for i := range a {
		if a[i].Key == key {
			return a[i].Value
		}
	}
	return nil
}

// String returns the value of key if it is a JSON string, or "".
func (a Attributes) String(key string) string {
	v := a.Get(key)
	if len(v) == 0 || v[0] != '"' {
		return "" // before s is: it costs memory, and mostly there is no such key
	}
	var s string
	_ = json.Unmarshal(v, &s) // a string that does not decode is as good as none
	return s
}

// Object returns the value of key if it is a JSON object, or nil.
func (a Attributes) Object(key string) Attributes {
	v := a.Get(key)
	if len(v) == 0 || v[0] != '{' {
		return nil
	}
	var o Attributes
	_ = json.Unmarshal(v, &o)
	return o
}

// Set returns a with key set to value, or without it if value is nil. The
// receiver is not changed; a key keeps its place.
func (a Attributes) Set(key string, value json.RawMessage) Attributes {
	out := make(Attributes, 0, len(a)+1)
	found := false
	for _, at := range a {
		if at.Key == key {
			found = true
			if value == nil {
				continue
			}
			at.Value = value
		}
		out = append(out, at)
	}
	if !found && value != nil {
		out = append(out, Attribute{key, value})
	}
	return out
}

// MarshalJSON writes the object with its keys in the order given.
func (a Attributes) MarshalJSON() ([]byte, error) {
	buf := []byte{'{'}
	for i, at := range a {
		if i > 0 {
			buf = append(buf, ',')
		}
		buf = append(appendKey(buf, at.Key), ':')
		if at.isNull() {
			buf = append(buf, "null"...)
			continue
		}
		buf = append(buf, at.Value...)
	}
	return append(buf, '}'), nil
}

// appendKey appends key as a JSON string; almost every key needs no escape.
func appendKey(buf []byte, key string) []byte {
	for i := range len(key) {
		if c := key[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			return append(buf, encode(key)...)
		}
	}
	buf = append(buf, '"')
	buf = append(buf, key...)
	return append(buf, '"')
}

func (at Attribute) isNull() bool { return len(at.Value) == 0 || string(at.Value) == "null" }

// UnmarshalJSON reads an object and keeps the order of its keys. Of a key that
// stands twice the last value counts, at the place of the first.
func (a *Attributes) UnmarshalJSON(data []byte) error {
	data = bytes.TrimSpace(data)
	if bytes.Equal(data, []byte("null")) {
		*a = nil
		return nil
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return errNotObject
	}
	out, index := Attributes{}, places{}
	for dec.More() {
		t, err := dec.Token()
		if err != nil {
			return fmt.Errorf("read attribute name: %w", err)
		}
		key, ok := t.(string)
		if !ok {
			return errNotObject
		}
		var raw json.RawMessage
		if err := dec.Decode(&raw); err != nil {
			return fmt.Errorf("read attribute %q: %w", key, err)
		}
		var compact bytes.Buffer
		if err := json.Compact(&compact, raw); err != nil {
			return fmt.Errorf("read attribute %q: %w", key, err)
		}
		value := unescaped(compact.Bytes())
		if i := index.of(out, key); i >= 0 {
			out[i].Value = value
		} else {
			out = append(out, Attribute{key, value})
		}
	}
	*a = out
	return nil
}

// places finds members of an object that only grows. The object may be as large
// as a request's body: from a few keys on they are looked up, since to search
// them all for each of 60,000 keys takes seconds.
type places map[string]int

// fewKeys is how many keys are searched faster than looked up.
const fewKeys = 32

// of returns the place of key in a, or -1.
func (p places) of(a Attributes, key string) int {
	if len(a) <= fewKeys {
		return slices.IndexFunc(a, func(at Attribute) bool { return at.Key == key })
	}
	for i := len(p); i < len(a); i++ {
		p[a[i].Key] = i
	}
	if i, ok := p[key]; ok {
		return i
	}
	return -1
}

// unescaped returns compact JSON with the characters that encoding/json escapes
// for the sake of HTML pages as they are. The log is written without these
// escapes and a snapshot with them; neither the size of an object nor what is
// decided on it may depend on where it was read.
func unescaped(v []byte) []byte {
	if !bytes.Contains(v, []byte(`\u`)) {
		return v
	}
	out := make([]byte, 0, len(v))
	for i := 0; i < len(v); i++ {
		if v[i] != '\\' || i+1 == len(v) {
			out = append(out, v[i])
			continue
		}
		plain := ""
		switch string(v[i+1 : min(i+6, len(v))]) {
		case "u003c", "u003C":
			plain = "<"
		case "u003e", "u003E":
			plain = ">"
		case "u0026":
			plain = "&"
		case "u2028":
			plain = "\u2028"
		case "u2029":
			plain = "\u2029"
		}
		if plain == "" {
			out = append(out, v[i], v[i+1]) // both, so that an escaped backslash escapes nothing
			i++
			continue
		}
		out = append(out, plain...)
		i += 5
	}
	return out
}

// Validate returns a *FieldError when the object is larger than
// MaxAttributesLength, nested deeper than MaxAttributesDepth or not UTF-8.
func (a Attributes) Validate(field string) error {
	size := 2
	for i, at := range a {
		if i > 0 {
			size++ // the comma
		}
		size += len(at.Key) + len(at.Value) + 3
	}
	if size > MaxAttributesLength {
		return &FieldError{field, "must be at most " + itoa(MaxAttributesLength) + " bytes"}
	}
	for _, at := range a {
		switch {
		case !utf8.ValidString(at.Key) || !utf8.Valid(at.Value):
			return &FieldError{field, "must be valid UTF-8"}
		case 1+depth(at.Value) > MaxAttributesDepth:
			return &FieldError{field, "must be nested at most " + itoa(MaxAttributesDepth) + " deep"}
		}
	}
	return nil
}

// depth returns how many objects and lists lie within each other in v.
func depth(v []byte) int {
	deepest, now, text := 0, 0, false
	for i := 0; i < len(v); i++ {
		switch c := v[i]; {
		case text && c == '\\':
			i++
		case c == '"':
			text = !text
		case text:
		case c == '{' || c == '[':
			now++
			deepest = max(deepest, now)
		case c == '}' || c == ']':
			now--
		}
	}
	return deepest
}

func itoa(n int) string { return strconv.Itoa(n) }

// Merge returns a after the merge-patch patch (RFC 7396): null removes a key,
// an object is merged into an object, anything else replaces. Neither is
// changed. It reads a value anew for each level of objects, so that a patch of
// a stranger is to be validated before.
func (a Attributes) Merge(patch Attributes) Attributes {
	if len(patch) == 0 {
		return a
	}
	out, index := slices.Clone(a), places{}
	for _, at := range patch {
		i := index.of(out, at.Key)
		switch {
		case at.isNull():
			at.Value = nil
		case at.Value[0] == '{':
			var before, inner Attributes
			if i >= 0 {
				before = out[i : i+1].Object(at.Key)
			}
			if err := json.Unmarshal(at.Value, &inner); err != nil {
				panic("domain: an attribute that was read as JSON does not decode: " + err.Error())
			}
			at.Value = encode(before.Merge(inner))
		}
		switch {
		case i >= 0:
			out[i].Value = at.Value
		case at.Value != nil:
			out = append(out, at)
		}
	}
	return slices.DeleteFunc(out, func(at Attribute) bool { return at.Value == nil })
}

// Equal reports whether a and b have the same members in the same order.
func (a Attributes) Equal(b Attributes) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i].Key != b[i].Key || !bytes.Equal(a[i].Value, b[i].Value) {
			return false
		}
	}
	return true
}

// Changed returns a after the change c, whose key is prefix followed by the key
// of a member; null removes the member. A change of anything else is ignored.
func (a Attributes) Changed(prefix string, c Change) Attributes {
	key, ok := strings.CutPrefix(c.Key, prefix)
	switch {
	case !ok:
		return a
	case bytes.Equal(c.Current, []byte("null")):
		return a.Set(key, nil)
	default:
		return a.Set(key, unescaped(c.Current))
	}
}
