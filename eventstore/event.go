// Package eventstore keeps what happened, in order, once. It defines the
// recorded event, the contract of a store, the codec between facts and their
// stored shape, and Execute, which runs an aggregate's rules against its stream.
package eventstore

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"log/slog"
	"strings"
	"time"

	"github.com/google/uuid"
)

// A Recorded event is an event with its place in the log and in its stream. It
// is never changed once recorded.
type Recorded struct {
	Position int64     // place in the whole log: 1, 2, 3, … without a gap
	Stream   string    // "conversation-<uuid>"
	Version  int64     // place in the stream: 1, 2, 3, … without a gap
	ID       uuid.UUID // unique over the whole log
	Type     string    // the fact's name
	Schema   int       // version of the shape of Data
	Time     time.Time // when it was decided, UTC, whole microseconds
	Account  string    // id of the account that owns the stream
	Data     []byte    // the fact, as JSON, exactly as it was appended
	Metadata []byte    // who and why, as JSON; see Metadata
	Digest   [32]byte  // SHA-256 of Data
	Hash     [32]byte  // chains the stream; see Chain
	Remains  *Remains  // of an event whose data was erased; nil for all others
}

// Remains say what is left in Data of an event out of which a person was erased:
// a fact without what was theirs. Digest and Hash of the event stay those of
// what was appended, which proves that it stood there; Remains prove that what
// stands there now was left by the erasure, and by nothing else.
type Remains struct {
	Schema int      // version of the shape of Data
	Digest [32]byte // SHA-256 of Data
}

// Sealed returns the digest and the mark that r has in a log which it is brought
// into: Digest is made anew, but of an event out of which a person was erased.
// That one keeps the digest of what was appended, which nothing can be made of
// any more.
func (r *Recorded) Sealed() (digest [32]byte, remains *Remains) {
	if r.Remains == nil {
		return Digest(r.Data), nil
	}
	return r.Digest, &Remains{Schema: r.Remains.Schema, Digest: Digest(r.Data)}
}

// Intact reports whether Data is what was appended, or what an erasure left of it.
func (r *Recorded) Intact() bool {
	if r.Remains != nil {
		return Digest(r.Data) == r.Remains.Digest
	}
	return Digest(r.Data) == r.Digest
}

// Metadata says who asked for an event and why it came about.
type Metadata struct {
	Actor       string `json:"actor,omitempty"`       // who acted: "key:<id>", "system:<part>"
	Command     string `json:"command,omitempty"`     // the client's idempotency key
	Correlation string `json:"correlation,omitempty"` // the request that all of it goes back to
	Causation   string `json:"causation,omitempty"`   // id of the event that led to this one
	Trace       string `json:"trace,omitempty"`       // W3C traceparent
}

// DecodeMetadata returns the event's metadata; what does not decode is empty,
// for it decides nothing.
func (r *Recorded) DecodeMetadata() Metadata {
	var m Metadata
	_ = json.Unmarshal(r.Metadata, &m)
	return m
}

// Actor returns who acted, as DecodeMetadata does, for those who ask for every
// event and for nothing else.
func (r *Recorded) Actor() string {
	q := quick{data: r.Metadata}
	actor, ok := q.actor()
	if !ok || q.at != len(q.data) {
		return r.DecodeMetadata().Actor
	}
	return actor
}

// Trace returns the traceparent in the event's metadata, "" if it has none that
// is one. It finds it without parsing, for those who ask for every event.
func (r *Recorded) Trace() string {
	_, rest, ok := bytes.Cut(r.Metadata, []byte(`"trace":"`))
	if !ok || len(rest) < len(traceForm) || !ValidTrace(string(rest[:len(traceForm)])) {
		return ""
	}
	return string(rest[:len(traceForm)])
}

const traceForm = "00-00000000000000000000000000000000-0000000000000000-00"

// ValidTrace reports whether s is a traceparent (W3C Trace Context, 3.2): of
// another version only if it has the form of this one, and never with an id that
// is nothing but zeros.
func ValidTrace(s string) bool {
	if len(s) != len(traceForm) || s[:2] == "ff" {
		return false
	}
	for i := range len(s) {
		if hex := s[i] >= '0' && s[i] <= '9' || s[i] >= 'a' && s[i] <= 'f'; hex != (traceForm[i] == '0') || !hex && s[i] != '-' {
			return false
		}
	}
	return s[3:35] != traceForm[3:35] && s[36:52] != traceForm[36:52]
}

// About names a stream in the log of the program: the id of a conversation or of
// a contact under that key, any other stream by its whole name. The key endpoint
// is for where something is sent.
func About(stream string) slog.Attr {
	switch kind, id := SplitStream(stream); kind {
	case "conversation":
		return slog.String("conversation", id)
	case "contact":
		return slog.String("contact", id)
	default:
		return slog.String("stream", stream)
	}
}

// StreamName returns the name of the stream of the aggregate with that id.
func StreamName(kind, id string) string { return kind + "-" + id }

// uuidLength is the length of the one spelling of a UUID that a stream may have:
// in another one it would be another stream.
const uuidLength = 36

// SplitStream returns the two halves of a stream's name. Both are empty for
// what is not the name of a stream.
func SplitStream(stream string) (kind, id string) {
	kind, id, ok := strings.Cut(stream, "-")
	if !ok || kind == "" || len(id) != uuidLength || uuid.Validate(id) != nil {
		return "", ""
	}
	return kind, id
}

// Digest returns the SHA-256 of an event's data.
func Digest(data []byte) [32]byte { return sha256.Sum256(data) }

// Chain returns the hash of r: SHA-256 over the hash of the event before it in
// its stream (zero for the first), the header and the digest of the data. The
// data itself is not hashed again, so that an event whose data was erased can
// still be proven to have stood there. Every field is length-prefixed: no two
// headers share an encoding.
func Chain(previous [32]byte, r *Recorded) [32]byte {
	var stack [512]byte
	b := append(stack[:0], previous[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(r.Position))
	b = binary.BigEndian.AppendUint64(b, uint64(r.Version))
	b = append(b, r.ID[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(r.Schema))
	b = binary.BigEndian.AppendUint64(b, uint64(r.Time.UnixMicro()))
	for _, s := range [...]string{r.Stream, r.Type, r.Account} {
		b = binary.BigEndian.AppendUint32(b, uint32(len(s)))
		b = append(b, s...)
	}
	b = binary.BigEndian.AppendUint32(b, uint32(len(r.Metadata)))
	b = append(b, r.Metadata...)
	b = append(b, r.Digest[:]...)
	return sha256.Sum256(b)
}
