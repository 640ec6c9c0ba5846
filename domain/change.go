package domain

import (
	"bytes"
	"encoding/json"
)

// A Change is one attribute before and after. Null stands for "not set".
type Change struct {
	Key      string          `json:"key"`
	Previous json.RawMessage `json:"previous"`
	Current  json.RawMessage `json:"current"`
}

// Changed returns the change of key from before to after, and whether there is
// one: values that encode alike are the same. An empty string, list or number
// is a value; nil is null.
func Changed(key string, before, after any) (Change, bool) {
	c := Change{key, encode(before), encode(after)}
	return c, !bytes.Equal(c.Previous, c.Current)
}

// encode returns v as the log has it: compact, and without the escapes that only
// HTML pages need.
func encode(v any) json.RawMessage {
	if raw, ok := v.(json.RawMessage); ok && len(raw) == 0 {
		return json.RawMessage("null")
	}
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic("domain: a value of a command does not encode: " + err.Error())
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n"))
}

// A Patch is one member of a merge-patch (RFC 7396): not set means "leave as it
// is", set with a nil Value means "remove".
type Patch[T any] struct {
	Set   bool
	Value *T
}

// UnmarshalJSON is only called for a member that is present.
func (p *Patch[T]) UnmarshalJSON(data []byte) error {
	p.Set = true
	return json.Unmarshal(data, &p.Value)
}

// Or returns the patched value: before if not set, T's zero if removed.
func (p Patch[T]) Or(before T) T {
	switch {
	case !p.Set:
		return before
	case p.Value == nil:
		var zero T
		return zero
	default:
		return *p.Value
	}
}
