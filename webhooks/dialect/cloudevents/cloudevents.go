// Package cloudevents writes webhooks as structured CloudEvents 1.0.2 in JSON:
// what verbatim@1 says as data stands in the envelope that routers and brokers
// know, with the place of the event, its stream and its cause as attributes.
//
// Sources: CloudEvents 1.0.2, core specification
// (https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md), JSON
// format (formats/json-format.md beside it) and documented extensions
// (extensions/: sequence, partitioning, correlation, distributed tracing).
package cloudevents

import (
	"embed"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"verbatim/domain"
	"verbatim/eventstore"
	"verbatim/webhooks"
	"verbatim/webhooks/dialect/verbatim"
	"verbatim/webhooks/shape"
)

// Name is the dialect and the version of its bytes.
const Name = "cloudevents@1"

const (
	// ContentType is the media type of a body (JSON format, 3).
	ContentType = "application/cloudevents+json"
	// typePrefix stands before the name of an event in the attribute type, so
	// that it is nobody else's conversation.created.
	typePrefix = "verbatim."
	// transcriptSuffix stands behind the id of the event that a transcript is
	// made of: the two are two CloudEvents, and must have two ids.
	transcriptSuffix = ".transcript"
	// sequenceDigits is how many the largest position there can be has, and one
	// more: positions padded to it sort as text.
	sequenceDigits = 20
)

// Dialect writes cloudevents@1.
type Dialect struct {
	verbatim   *verbatim.Dialect
	vocabulary []webhooks.EventType
}

// New returns the dialect.
func New() *Dialect {
	d := &Dialect{verbatim: verbatim.New()}
	for _, t := range d.verbatim.Vocabulary() {
		t.Body = body(t.Name)
		t.Sample, _ = golden.ReadFile("golden/" + t.Name + ".json") // a test says which is missing
		d.vocabulary = append(d.vocabulary, t)
	}
	return d
}

// golden has a body of every event, as it was once rendered.
//
//go:embed golden/*.json
var golden embed.FS

//go:embed guide.md
var guide string

// Name returns "cloudevents@1".
func (*Dialect) Name() string { return Name }

// Vocabulary returns the events of verbatim@1, in the envelope.
func (d *Dialect) Vocabulary() []webhooks.EventType { return d.vocabulary }

// Guide tells what an integrator should know.
func (*Dialect) Guide() string { return guide }

// Words returns those of verbatim@1: an endpoint asks for conversation.created,
// whatever stands before it in the attribute type.
func (d *Dialect) Words(e domain.Event) []webhooks.Word { return d.verbatim.Words(e) }

// Headers says what kind of JSON a body is.
func (*Dialect) Headers(string, time.Time, []string, []byte) map[string]string {
	return map[string]string{"content-type": ContentType}
}

func body(name string) shape.Shape {
	return shape.Struct("",
		shape.Has("specversion", shape.OneOfTexts("Version of CloudEvents.", "1.0")),
		shape.Has("id", shape.Matching(`^[0-9a-f-]{36}(\`+transcriptSuffix+`)?$`, "Id of the recorded event; of a transcript, with `"+transcriptSuffix+"` behind it.")),
		shape.Has("source", shape.Matching(`^/accounts/[^/?#]*$`, "The account, as a path.")),
		shape.Has("type", shape.OneOfTexts("Name of the event.", typePrefix+name)),
		shape.Has("subject", shape.Matching(`^(conversation|contact|endpoint)/[0-9a-f-]{36}$`, "The conversation, contact or endpoint.")),
		shape.Has("time", shape.Formatted("date-time", "When it happened.")),
		shape.Has("datacontenttype", shape.OneOfTexts("What data is.", "application/json")),
		shape.Has("sequence", shape.Matching(`^[0-9]{`+strconv.Itoa(sequenceDigits)+`}$`, "Place in the whole log, padded so that it sorts as text.")),
		shape.Has("partitionkey", shape.Text("The stream of the conversation, contact or endpoint.")),
		shape.May("correlationid", shape.Text("The request that all of it goes back to.")),
		shape.May("causationid", shape.Text("Id of the event that led to this one.")),
		shape.May("traceparent", shape.Matching(`^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$`, "The trace of that request, as in W3C Trace Context.")),
		shape.Has("data", verbatim.Data(name)),
	)
}

// AppendBody appends the body of one event.
func (*Dialect) AppendBody(dst []byte, e *webhooks.PublicEvent) ([]byte, error) {
	start := len(dst)
	id := e.ID.String()
	if e.Name == verbatim.Transcript {
		id += transcriptSuffix
	}
	dst = appendContext(dst, id, e.Account, e.Name, e.Stream, e.Time)
	dst = append(dst, `,"sequence":"`...)
	dst = appendPadded(dst, e.Position)
	dst = append(dst, `","partitionkey":`...)
	dst = webhooks.AppendString(dst, e.Stream)
	m := e.DecodeMetadata()
	dst = appendSome(dst, `,"correlationid":`, m.Correlation)
	dst = appendSome(dst, `,"causationid":`, m.Causation)
	if eventstore.ValidTrace(m.Trace) {
		dst = appendSome(dst, `,"traceparent":`, m.Trace)
	}
	dst = append(dst, `,"data":`...)
	dst, err := verbatim.AppendData(dst, start, e)
	if err != nil {
		return dst, fmt.Errorf("%s: %w", Name, err)
	}
	return append(dst, '}'), nil
}

// AppendTest appends the body of a test: who reads CloudEvents takes nothing else.
func (*Dialect) AppendTest(dst []byte, account, endpointID, id string, at time.Time) []byte {
	dst = appendContext(dst, id, account, webhooks.TestEvent, eventstore.StreamName("endpoint", endpointID), at)
	dst = append(dst, `,"data":`...)
	dst = webhooks.AppendTestData(dst, endpointID)
	return append(dst, '}')
}

// appendContext appends the attributes that every event has, and the bracket
// before them.
func appendContext(dst []byte, id, account, name, stream string, at time.Time) []byte {
	dst = append(dst, `{"specversion":"1.0","id":"`...)
	dst = append(dst, id...)
	dst = append(dst, `","source":"/accounts/`...)
	dst = append(dst, url.PathEscape(account)...)
	dst = append(dst, `","type":`...)
	dst = webhooks.AppendString(dst, typePrefix+name)
	dst = append(dst, `,"subject":`...)
	kind, subject := eventstore.SplitStream(stream)
	dst = webhooks.AppendString(dst, kind+"/"+subject)
	dst = append(dst, `,"time":`...)
	dst = at.UTC().AppendFormat(dst, `"2006-01-02T15:04:05.999999999Z"`)
	return append(dst, `,"datacontenttype":"application/json"`...)
}

func appendPadded(dst []byte, position int64) []byte {
	var digits [sequenceDigits]byte
	text := strconv.AppendInt(digits[:0], position, 10)
	dst = append(dst, "00000000000000000000"[len(text):]...)
	return append(dst, text...)
}

// appendSome appends an attribute that has something to say.
func appendSome(dst []byte, key, value string) []byte {
	if value == "" || !isString(value) {
		return dst
	}
	return webhooks.AppendString(append(dst, key...), value)
}

// isString reports whether s is a String of the type system of CloudEvents (core
// specification, Type System): neither control characters nor code points that
// are no characters. What came in by import may be anything; an attribute that
// may not be sent is left out.
func isString(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool {
		const lastTwo = 0xfffe // of each plane
		control := r < ' ' || r >= 0x7f && r <= 0x9f
		return control || r&lastTwo == lastTwo || r >= 0xfdd0 && r <= 0xfdef
	})
}
