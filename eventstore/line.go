package eventstore

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
)

// line is a recorded event as one line of NDJSON: the format of fixtures,
// backups, moves and event streams. Digest and hash are not part of it; they
// follow from the rest.
type line struct {
	Position int64           `json:"position"`
	Stream   string          `json:"stream"`
	Version  int64           `json:"version"`
	ID       uuid.UUID       `json:"id"`
	Type     string          `json:"type"`
	Schema   int             `json:"schema"`
	Time     time.Time       `json:"time"`
	Account  string          `json:"account"`
	Data     json.RawMessage `json:"data"`
	Metadata json.RawMessage `json:"metadata,omitempty"`
}

// AppendLine appends r as one line of NDJSON, without the newline.
func AppendLine(dst []byte, r *Recorded) ([]byte, error) {
	buf := bytes.NewBuffer(dst)
	enc := json.NewEncoder(buf)
	enc.SetEscapeHTML(false)
	err := enc.Encode(line{
		r.Position, r.Stream, r.Version, r.ID, r.Type, r.Schema, r.Time.UTC(), r.Account, r.Data, r.Metadata,
	})
	if err != nil {
		return dst, fmt.Errorf("position %d: encode: %w", r.Position, err)
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n")), nil
}

// ParseLine reads one line of NDJSON. It checks the shape of the line, and
// nothing that depends on other lines.
func ParseLine(data []byte) (Recorded, error) {
	if !utf8.Valid(data) {
		return Recorded{}, errors.New("is not valid UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	var l line
	if err := dec.Decode(&l); err != nil {
		return Recorded{}, fmt.Errorf("is not a recorded event: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return Recorded{}, errors.New("has something behind the event")
	}
	kind, _ := SplitStream(l.Stream)
	at := l.Time.UTC().Truncate(time.Microsecond)
	switch {
	case l.Position < 1:
		return Recorded{}, errors.New("position must be 1 or more")
	case l.Version < 1:
		return Recorded{}, errors.New("version must be 1 or more")
	case l.Schema < 1:
		return Recorded{}, errors.New("schema must be 1 or more")
	case kind == "":
		return Recorded{}, errors.New(`stream must be a kind and a UUID, "conversation-<uuid>"`)
	case l.ID == uuid.Nil:
		return Recorded{}, errors.New("id must be a UUID")
	case l.Type == "":
		return Recorded{}, errors.New("type must not be empty")
	case l.Account == "":
		return Recorded{}, errors.New("account must not be empty")
	case at.IsZero():
		return Recorded{}, errors.New("time must not be empty")
	case at.Year() < 0 || at.Year() > 9999: // in UTC, as it will be written
		return Recorded{}, errors.New("time must be in the years 0 to 9999")
	case len(l.Data) == 0 || l.Data[0] != '{':
		return Recorded{}, errors.New("data must be an object")
	case len(l.Metadata) == 0:
		l.Metadata = json.RawMessage("{}")
	case l.Metadata[0] != '{':
		return Recorded{}, errors.New("metadata must be an object")
	}
	return Recorded{
		Position: l.Position, Stream: l.Stream, Version: l.Version, ID: l.ID, Type: l.Type, Schema: l.Schema,
		Time: at, Account: l.Account, Data: compact(l.Data), Metadata: compact(l.Metadata),
	}, nil
}

// compact returns JSON without white space, as AppendLine writes it: what was
// exported and imported again has the same digest.
func compact(data json.RawMessage) []byte {
	var buf bytes.Buffer
	if err := json.Compact(&buf, data); err != nil {
		panic("eventstore: JSON that was just read is none: " + err.Error())
	}
	return buf.Bytes()
}
