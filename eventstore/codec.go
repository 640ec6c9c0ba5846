package eventstore

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"sync"

	"verbatim/domain"
)

// An Upcaster lifts the stored shape of an event from one schema version to the
// next.
type Upcaster func(json.RawMessage) (json.RawMessage, error)

// A Kind is one fact that a codec knows.
type Kind struct {
	name     string
	upcasts  []Upcaster
	decode   func(data []byte, strict bool) (domain.Event, error)
	newEvent domain.Event
}

// KindOf returns the kind of T. The upcasters lead from schema version 1 to 2,
// from 2 to 3, and so on; T has the shape after the last of them.
func KindOf[T domain.Event](upcasts ...Upcaster) Kind {
	var zero T
	quickly := readingOf(reflect.TypeFor[T]())
	room := sync.Pool{New: func() any { return new(T) }} // or each event would be made twice: to be read, and as an Event
	return Kind{
		name:    zero.EventType(),
		upcasts: upcasts,
		decode: func(data []byte, strict bool) (domain.Event, error) {
			e := room.Get().(*T)
			defer func() { *e = zero; room.Put(e) }()
			if strict {
				dec := json.NewDecoder(bytes.NewReader(data))
				dec.DisallowUnknownFields()
				if err := dec.Decode(e); err != nil {
					return nil, err
				}
				return *e, nil
			}
			if quickly != nil && quickly.read(data, reflect.ValueOf(e).Elem()) {
				return *e, nil
			}
			*e = zero
			if err := json.Unmarshal(data, e); err != nil {
				return nil, err
			}
			return *e, nil
		},
		newEvent: zero,
	}
}

func (k Kind) schema() int { return len(k.upcasts) + 1 }

// A Codec turns facts into their stored shape and back. It does not change
// after it was made.
type Codec struct {
	kinds   map[string]Kind
	buffers sync.Pool // for Encode; an event is a few hundred bytes, a page of text at most
}

// NewCodec returns a codec of those kinds. It panics on a name that is used
// twice or empty: that is a fault of the program.
func NewCodec(kinds ...Kind) *Codec {
	c := &Codec{
		kinds:   make(map[string]Kind, len(kinds)),
		buffers: sync.Pool{New: func() any { return new(bytes.Buffer) }},
	}
	for _, k := range kinds {
		if _, known := c.kinds[k.name]; known || k.name == "" {
			panic("eventstore: event name used twice or empty: " + k.name)
		}
		c.kinds[k.name] = k
	}
	return c
}

// Types returns the zero value of every event the codec knows, by name.
func (c *Codec) Types() map[string]domain.Event {
	out := make(map[string]domain.Event, len(c.kinds))
	for name, k := range c.kinds {
		out[name] = k.newEvent
	}
	return out
}

// Encode returns the type, the schema version and the stored shape of e.
func (c *Codec) Encode(e domain.Event) (name string, schema int, data []byte, err error) {
	name = e.EventType()
	k, ok := c.kinds[name]
	if !ok {
		return "", 0, nil, fmt.Errorf("encode %s: not in the catalogue", name)
	}
	buf := c.buffers.Get().(*bytes.Buffer)
	defer c.buffers.Put(buf)
	buf.Reset()
	enc := json.NewEncoder(buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(e); err != nil {
		return "", 0, nil, fmt.Errorf("encode %s: %w", name, err)
	}
	return name, k.schema(), bytes.Clone(bytes.TrimSuffix(buf.Bytes(), []byte("\n"))), nil
}

// Decode returns the fact that r records, lifted to its present shape. An
// unknown type or a schema newer than this program is an error: what happened
// must not be passed over.
func (c *Codec) Decode(r *Recorded) (domain.Event, error) { return c.decode(r, false) }

// decode is Decode. When it is strict, a member that the fact does not have is
// an error too.
func (c *Codec) decode(r *Recorded, strict bool) (domain.Event, error) {
	k, ok := c.kinds[r.Type]
	if !ok {
		return nil, fmt.Errorf("position %d: unknown event type %q", r.Position, r.Type)
	}
	schema := r.Schema
	if r.Remains != nil {
		schema = r.Remains.Schema
	}
	if schema < 1 || schema > k.schema() {
		return nil, fmt.Errorf("position %d: %s has schema %d, this program knows 1 to %d", r.Position, r.Type, schema, k.schema())
	}
	data := r.Data
	for i, up := range k.upcasts[schema-1:] {
		lifted, err := up(data)
		if err != nil {
			return nil, fmt.Errorf("position %d: lift %s from schema %d: %w", r.Position, r.Type, schema+i, err)
		}
		data = lifted
	}
	e, err := k.decode(data, strict)
	if err != nil {
		return nil, fmt.Errorf("position %d: decode %s: %w", r.Position, r.Type, err)
	}
	return e, nil
}
