package eventstore

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
)

// line is a recorded event as one line of NDJSON: the format of fixtures,
// backups, moves and event streams. Digest and hash are not part of it; they
// follow from the rest. Where the rest is only what an erasure left, the digest
// is.
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
	Erased   *erasedLine     `json:"erased,omitempty"`
}

// erasedLine marks an event out of which a person was erased: the version of the
// shape of what is left, and the SHA-256 of what was appended.
type erasedLine struct {
	Schema int    `json:"schema"`
	Digest string `json:"digest"` // 64 hexadecimal digits
}

// erasure returns the mark of r, nil if it has none.
func erasure(r *Recorded) *erasedLine {
	if r.Remains == nil {
		return nil
	}
	return &erasedLine{r.Remains.Schema, hex.EncodeToString(r.Digest[:])}
}

// digest returns the digest that the mark bears.
func (e *erasedLine) digest() (d [32]byte, err error) {
	const digits = "0123456789abcdef"
	if len(e.Digest) != hex.EncodedLen(len(d)) || strings.Trim(e.Digest, digits) != "" {
		return d, errors.New("erased.digest must be 64 hexadecimal digits in lower case")
	}
	_, err = hex.Decode(d[:], []byte(e.Digest))
	return d, err
}

// AppendLine appends r as one line of NDJSON, without the newline.
func AppendLine(dst []byte, r *Recorded) ([]byte, error) {
	buf := bytes.NewBuffer(dst)
	enc := json.NewEncoder(buf)
	enc.SetEscapeHTML(false)
	err := enc.Encode(line{
		r.Position, r.Stream, r.Version, r.ID, r.Type, r.Schema, r.Time.UTC(), r.Account, r.Data, r.Metadata,
		erasure(r),
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
	case l.Erased != nil && l.Erased.Schema < 1:
		return Recorded{}, errors.New("erased.schema must be 1 or more")
	}
	r := Recorded{
		Position: l.Position, Stream: l.Stream, Version: l.Version, ID: l.ID, Type: l.Type, Schema: l.Schema,
		Time: at, Account: l.Account, Data: compact(l.Data), Metadata: compact(l.Metadata),
	}
	if l.Erased != nil {
		var err error
		if r.Digest, err = l.Erased.digest(); err != nil {
			return Recorded{}, err
		}
		r.Remains = &Remains{Schema: l.Erased.Schema, Digest: Digest(r.Data)}
	}
	return r, nil
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
