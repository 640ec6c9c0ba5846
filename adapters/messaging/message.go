package messaging

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/message/router/middleware"
	"github.com/google/uuid"

	"verbatim/eventstore"
	"verbatim/projections"
)

type watermillLogger = watermill.LoggerAdapter

// Names of a message's metadata. The event's own metadata goes on as it is,
// unparsed: parsing it would cost more than all the rest.
const (
	keyPosition = "position"
	keyStream   = "stream"
	keyVersion  = "version"
	keyType     = "type"
	keySchema   = "schema" // of the payload
	keyTime     = "time"   // microseconds since 1970
	keyAccount  = "account"
	keyMetadata = "metadata"
)

// Message returns r as a Watermill message: the data is its payload, the header
// its metadata, the event's id its UUID.
func Message(r *eventstore.Recorded) *message.Message {
	schema := r.Schema
	if r.Remains != nil {
		schema = r.Remains.Schema // of what is there now
	}
	m := message.NewMessage(r.ID.String(), r.Data)
	m.Metadata = message.Metadata{
		keyPosition: strconv.FormatInt(r.Position, 10),
		keyStream:   r.Stream,
		keyVersion:  strconv.FormatInt(r.Version, 10),
		keyType:     r.Type,
		keySchema:   strconv.Itoa(schema),
		keyTime:     strconv.FormatInt(r.Time.UnixMicro(), 10),
		keyAccount:  r.Account,
		keyMetadata: string(r.Metadata),
	}
	if id := correlation(r.Metadata); id != "" {
		middleware.SetCorrelationID(id, m)
	}
	return m
}

// correlation finds the correlation id in an event's metadata without parsing
// it. Ids are plain; one that is not is left to those who parse.
func correlation(metadata []byte) string {
	_, rest, ok := bytes.Cut(metadata, []byte(`"correlation":"`))
	if !ok {
		return ""
	}
	id, _, ok := bytes.Cut(rest, []byte{'"'})
	if !ok || bytes.IndexByte(id, '\\') >= 0 {
		return ""
	}
	return string(id)
}

// Event returns the recorded event that m carries, without digest and hash.
func Event(m *message.Message) (eventstore.Recorded, error) {
	r := eventstore.Recorded{
		Stream: m.Metadata[keyStream], Type: m.Metadata[keyType], Account: m.Metadata[keyAccount],
		Data: m.Payload, Metadata: []byte(m.Metadata[keyMetadata]),
	}
	id, err := uuid.Parse(m.UUID)
	if err != nil {
		return r, fmt.Errorf("message %s is not an event: %w", m.UUID, err)
	}
	r.ID = id
	var at, schema int64
	for _, n := range []struct {
		key string
		to  *int64
	}{{keyPosition, &r.Position}, {keyVersion, &r.Version}, {keySchema, &schema}, {keyTime, &at}} {
		if *n.to, err = strconv.ParseInt(m.Metadata[n.key], 10, 64); err != nil {
			return r, fmt.Errorf("message %s: %s: %w", m.UUID, n.key, err)
		}
	}
	r.Schema, r.Time = int(schema), time.UnixMicro(at).UTC()
	return r, nil
}

// quiet passes Watermill's errors on and drops the rest: it is called several
// times a message, and With would format its fields each time. Once the run ends
// it says nothing: Watermill takes the orderly end of its handlers for an error.
type quiet struct {
	slog   *slog.Logger
	ending <-chan struct{}
}

func (q quiet) Error(msg string, err error, fields watermill.LogFields) {
	select {
	case <-q.ending:
	default:
		if errors.Is(err, projections.ErrOvertaken) {
			return // the waiter says it
		}
		q.slog.Error("watermill", "says", msg, "error", err, "fields", fields)
	}
}
func (quiet) Info(string, watermill.LogFields)  {}
func (quiet) Debug(string, watermill.LogFields) {}
func (quiet) Trace(string, watermill.LogFields) {}

func (q quiet) With(watermill.LogFields) watermill.LoggerAdapter { return q }
