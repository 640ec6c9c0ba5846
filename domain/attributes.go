package domain

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Attributes is an open JSON object that keeps the order in which its keys were
// given, because some formats pass it on as a list.
type Attributes []Attribute

// An Attribute is one member of an open object; Value is compact JSON.
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
	var s string
	if v := a.Get(key); len(v) > 0 && v[0] == '"' {
		_ = json.Unmarshal(v, &s) // a string that does not decode is as good as none
	}
	return s
}

// Object returns the value of key if it is a JSON object, or nil.
func (a Attributes) Object(key string) Attributes {
	var o Attributes
	if v := a.Get(key); len(v) > 0 && v[0] == '{' {
		_ = json.Unmarshal(v, &o)
	}
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
		key, err := json.Marshal(at.Key)
		if err != nil {
			return nil, err
		}
		buf = append(append(buf, key...), ':')
		if at.Value == nil {
			buf = append(buf, "null"...)
			continue
		}
		buf = append(buf, at.Value...)
	}
	return append(buf, '}'), nil
}

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
	out := Attributes{}
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
		if out.Get(key) != nil {
			out = out.Set(key, compact.Bytes())
		} else {
			out = append(out, Attribute{key, compact.Bytes()})
		}
	}
	*a = out
	return nil
}

// Validate returns a *FieldError when the object is larger than
// MaxAttributesLength.
func (a Attributes) Validate(field string) error {
	size := 2
	for _, at := range a {
		size += len(at.Key) + len(at.Value) + 4
	}
	if size > MaxAttributesLength {
		return &FieldError{field, "must be at most " + itoa(MaxAttributesLength) + " bytes"}
	}
	return nil
}

func itoa(n int) string { return strconv.Itoa(n) }

// Merge returns a after the merge-patch patch (RFC 7396): null removes a key,
// an object is merged into an object, anything else replaces.
func (a Attributes) Merge(patch Attributes) Attributes {
	out := a
	for _, at := range patch {
		switch {
		case bytes.Equal(at.Value, []byte("null")):
			out = out.Set(at.Key, nil)
		case at.Value[0] == '{':
			var inner Attributes
			if err := json.Unmarshal(at.Value, &inner); err != nil {
				panic("domain: an attribute that was read as JSON does not decode: " + err.Error())
			}
			merged := out.Object(at.Key).Merge(inner)
			if merged == nil {
				merged = Attributes{}
			}
			out = out.Set(at.Key, encode(merged))
		default:
			out = out.Set(at.Key, at.Value)
		}
	}
	return out
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
		return a.Set(key, c.Current)
	}
}
