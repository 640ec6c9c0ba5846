// Package webhooks turns a recorded event and its history into the bodies that
// receivers know, decides what follows from each attempt to deliver one, and
// sends them at our own pace.
package webhooks

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"verbatim/domain"
	"verbatim/domain/endpoint"
	"verbatim/eventstore"
	"verbatim/webhooks/shape"
)

// A Fact is a recorded event with what it records.
type Fact struct {
	*eventstore.Recorded
	Event domain.Event
}

// A Dialect writes one format. It is pure: the same fact and history give the
// same bytes, today and in three years.
type Dialect interface {
	// Name is the dialect and the version of its bytes, "closer@1".
	Name() string
	// Vocabulary describes every event of the format, in the order in which it
	// is documented. It is not to be changed.
	Vocabulary() []EventType
	// Guide tells, in Markdown, what an integrator should know of the format as
	// we speak it: where its fields come from, and what we decided where nothing
	// public says.
	Guide() string
	// Words are the format's names for what happened: none if it has no word
	// for it, two if one fact is two events there. Where the words hang on more
	// than the kind of fact, they hang on the fact alone.
	Words(e domain.Event) []Word
	// AppendBody appends the body of one event, whose Name is one of Words.
	AppendBody(dst []byte, e *PublicEvent) ([]byte, error)
}

// A Word is what a format calls a fact.
type Word struct {
	Name string
	// OptIn is an event that an endpoint is sent only if it asks for it by name,
	// for the format never had it or it is an operator's business: "*" does not
	// mean it.
	OptIn bool
}

// An EventType is an event of a format as it is documented.
type EventType struct {
	Word

	Facts  []string    // which become it
	About  string      // when it is sent, in one sentence
	Body   shape.Shape // of its body
	Sample []byte      // a body, as it was once rendered
}

// A PublicEvent is one event on its way out, with all that its body is made of.
type PublicEvent struct {
	Fact

	Name     string    // of the event in the format
	History  *History  // as of the fact, if it is one of a conversation
	Contact  *Contact  // as of the fact, if it is one of a contact
	Endpoint *Endpoint // as of the fact, if it is one of an endpoint
	View     View
}

// A View is how much of a conversation an endpoint is shown, in formats that
// leave a choice. The zero View is the least.
type View struct {
	Last     int  // messages of history; all of them if negative
	Notes    bool // private notes are among them
	MaxBytes int  // of a body, to which the history is cut where it can be; 0 is no bound
}

// FullView shows everything.
func FullView() View { return View{Last: -1, Notes: true} }

// What a view says behind its history if it has no private notes, and before the
// bound of its bytes.
const (
	withoutNotes = ",public"
	atMostBytes  = ",max:"
)

// String returns the view as a delivery keeps it: the history setting of an
// endpoint, whether notes are left out, and the bound of its bytes: "full",
// "last:5,public,max:65536".
func (v View) String() string {
	s := endpoint.HistoryFull
	switch {
	case v.Last == 0:
		s = endpoint.HistoryNone
	case v.Last > 0:
		s = "last:" + strconv.Itoa(v.Last)
	}
	if !v.Notes {
		s += withoutNotes
	}
	if v.MaxBytes > 0 {
		s += atMostBytes + strconv.Itoa(v.MaxBytes)
	}
	return s
}

// ParseView returns the view that String wrote, or a *domain.FieldError.
func ParseView(s string) (View, error) {
	s, bytes, bounded := strings.Cut(s, atMostBytes)
	history, public := strings.CutSuffix(s, withoutNotes)
	last, err := endpoint.ParseHistory(history)
	v := View{Last: last, Notes: !public}
	if err == nil && bounded {
		if v.MaxBytes, err = strconv.Atoi(bytes); err != nil || v.MaxBytes <= 0 {
			return v, &domain.FieldError{Field: "history", Rule: "must have a number of bytes behind " + atMostBytes}
		}
	}
	return v, err
}

// A Signer is a dialect whose receivers look for headers of its own beside
// those of Standard Webhooks.
type Signer interface {
	// Headers returns them in lower case for one attempt at that time. The
	// secrets sign, newest first.
	Headers(webhookID string, at time.Time, secrets []string, body []byte) map[string]string
}

// Dialects is the set of formats that the program speaks.
type Dialects struct{ byName map[string]Dialect }

// NewDialects returns the set of ds. It panics on a name used twice: that is a
// fault of the program.
func NewDialects(ds ...Dialect) *Dialects {
	set := &Dialects{make(map[string]Dialect, len(ds))}
	for _, d := range ds {
		if _, known := set.byName[d.Name()]; known {
			panic("webhooks: dialect used twice: " + d.Name())
		}
		set.byName[d.Name()] = d
	}
	return set
}

// Names returns the names of the dialects, sorted.
func (ds *Dialects) Names() []string {
	names := make([]string, 0, len(ds.byName))
	for n := range ds.byName {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

// Find returns a dialect by its full name, or the newest version of it by its
// bare one: "closer" is "closer@1" as long as there is no "closer@2".
func (ds *Dialects) Find(name string) (Dialect, error) {
	if d, ok := ds.byName[name]; ok {
		return d, nil
	}
	bare, _, _ := strings.Cut(name, "@")
	versions := ds.versions(bare)
	switch {
	case len(versions) == 0:
		return nil, &domain.FieldError{Field: "dialect", Rule: "must be one of " + strings.Join(ds.Names(), ", ")}
	case bare != name:
		return nil, &domain.FieldError{Field: "dialect", Rule: "must be one of " + strings.Join(versions, ", ")}
	}
	return ds.byName[versions[len(versions)-1]], nil
}

// FindVersion returns a version of a dialect, whatever version its name says.
func (ds *Dialects) FindVersion(name string, version int) (Dialect, error) {
	bare, _, _ := strings.Cut(name, "@")
	return ds.Find(bare + "@" + strconv.Itoa(version))
}

// versions returns the full names of a dialect's versions, oldest first.
func (ds *Dialects) versions(bare string) []string {
	var names []string
	for full := range ds.byName {
		if strings.HasPrefix(full, bare+"@") {
			names = append(names, full)
		}
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Compare(versionOf(a), versionOf(b)) })
	return names
}

// find returns the dialect of that full name, or nil.
func (ds *Dialects) find(name string) Dialect {
	if ds == nil {
		return nil
	}
	return ds.byName[name]
}

// headers returns what a dialect adds to the headers of an attempt at that time.
// A receiver that has nothing but a public key could not check what a dialect
// signs: private keys are not among the secrets that it gets.
func (ds *Dialects) headers(dialect, webhookID string, at time.Time, secrets []string, body []byte) map[string]string {
	signer, ok := ds.find(dialect).(Signer)
	if !ok {
		return nil
	}
	shared := slices.DeleteFunc(slices.Clone(secrets), isPrivate)
	return signer.Headers(webhookID, at, shared, body)
}

func versionOf(name string) int {
	_, v, _ := strings.Cut(name, "@")
	n := 0
	_, _ = fmt.Sscanf(v, "%d", &n)
	return n
}

// endpointGroup is before the names of facts about endpoints.
const endpointGroup = "endpoint."

// CheckEvents returns a *domain.FieldError, which lists what there is, for the
// first name that is neither "*", nor one of the dialect's own, nor a fact or a
// group of facts ("conversation.*") that endpoints are sent. Facts about
// endpoints are sent in dialects that have words for them.
func CheckEvents(d Dialect, facts map[string]domain.Event, names []string) error {
	known := knownEvents(d, facts)
	for i, n := range names {
		if !slices.Contains(known, n) {
			return &domain.FieldError{
				Field: "events[" + strconv.Itoa(i) + "]",
				Rule:  "is not an event of " + d.Name() + "; those there are: " + strings.Join(known, ", "),
			}
		}
	}
	return nil
}

// knownEvents returns everything that an endpoint can ask for: all, the
// dialect's own names, groups of facts, and facts.
func knownEvents(d Dialect, facts map[string]domain.Event) []string {
	types := d.Vocabulary()
	known := append([]string{endpoint.AllEvents}, EventNames(d)...)
	var others []string
	for name, e := range facts {
		if _, internal := e.(endpoint.Event); internal &&
			!slices.ContainsFunc(types, func(t EventType) bool { return slices.Contains(t.Facts, name) }) {
			continue
		}
		group, _, _ := strings.Cut(name, ".")
		others = append(others, group+".*", name)
	}
	slices.Sort(others)
	for _, name := range slices.Compact(others) {
		if !slices.Contains(known, name) {
			known = append(known, name)
		}
	}
	return known
}

// EventNames returns the names of every event of a dialect, in the order of its
// vocabulary.
func EventNames(d Dialect) []string {
	types := d.Vocabulary()
	names := make([]string, len(types))
	for i := range types {
		names[i] = types[i].Name
	}
	return names
}

// Wants reports whether an endpoint that asked for those names is sent the
// fact as the event that the word says. Facts about endpoints are opt-ins
// altogether, so that who names their group means them.
func Wants(names []string, fact string, word Word) bool {
	for _, n := range names {
		if n == word.Name {
			return true
		}
		group, isGroup := strings.CutSuffix(n, "*")
		if word.OptIn && group != endpointGroup {
			continue
		}
		if n == fact || isGroup && strings.HasPrefix(fact, group) {
			return true
		}
	}
	return false
}

// ID returns the webhook-id: it belongs to (endpoint, recorded event, event
// name) and is the same over attempts, restarts and redeliveries.
func ID(endpointID string, event uuid.UUID, name string) string {
	_, webhookID := IDs(endpointID, event, name)
	return webhookID
}

// DeliveryID returns the id of the delivery that the plan makes for (endpoint,
// recorded event, event name); planned again it is the same. It begins with
// the event's own time, so that ids ascend like the log.
func DeliveryID(endpointID string, event uuid.UUID, name string) string {
	deliveryID, _ := IDs(endpointID, event, name)
	return deliveryID
}

// IDs returns DeliveryID and ID, for little more than one of them.
func IDs(endpointID string, event uuid.UUID, name string) (deliveryID, webhookID string) {
	var stack [256]byte
	text := append(append(stack[:0], endpointID...), 0)
	text = append(AppendUUID(text, event), 0)
	sum := sha256.Sum256(append(text, name...))
	var id uuid.UUID
	copy(id[:6], event[:6])
	copy(id[6:], sum[16:26])
	id[6] = id[6]&0x0f | 0x80 // version 8: made by our own rule (RFC 9562, 5.8)
	id[8] = id[8]&0x3f | 0x80
	deliveryID = string(hex.AppendEncode(append(stack[:0], "dlv_"...), id[:]))
	webhookID = string(hex.AppendEncode(append(stack[:0], "msg_"...), sum[:16]))
	return deliveryID, webhookID
}
