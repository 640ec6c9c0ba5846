// Package webhooks turns a recorded event and its history into the bodies that
// receivers know, decides what follows from each attempt to deliver one, and
// sends them at our own pace.
package webhooks

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"

	"verbatim/domain"
	"verbatim/domain/endpoint"
	"verbatim/eventstore"
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
	// Vocabulary is every event name of the format.
	Vocabulary() []string
	// Events are the format's names for what happened: none if it has no word
	// for it, two if one fact is two events there.
	Events(e domain.Event) []string
	// AppendBody appends the body for one of those names. The history is as of
	// the fact; it is nil unless the fact is one of a conversation. The setting
	// is how much of the history the endpoint wants, -1 for all of it; a format
	// whose bodies are fixed by others does not heed it.
	AppendBody(dst []byte, name string, f Fact, h *History, last int) ([]byte, error)
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
	var newest Dialect
	for full, d := range ds.byName {
		bare, _, _ := strings.Cut(full, "@")
		if bare == name && (newest == nil || versionOf(full) > versionOf(newest.Name())) {
			newest = d
		}
	}
	if newest == nil {
		return nil, &domain.FieldError{Field: "dialect", Rule: "must be one of " + strings.Join(ds.Names(), ", ")}
	}
	return newest, nil
}

func versionOf(name string) int {
	_, v, _ := strings.Cut(name, "@")
	n := 0
	_, _ = fmt.Sscanf(v, "%d", &n)
	return n
}

// CheckEvents returns a *domain.FieldError for the first name that is neither
// "*", nor a fact or a group of facts ("conversation.*"), nor one of the
// dialect's own.
func CheckEvents(d Dialect, facts map[string]domain.Event, names []string) error {
	for i, n := range names {
		group, isGroup := strings.CutSuffix(n, ".*")
		_, isFact := facts[n]
		known := n == endpoint.AllEvents || isFact || slices.Contains(d.Vocabulary(), n)
		if isGroup {
			for f := range facts {
				known = known || strings.HasPrefix(f, group+".")
			}
		}
		if !known {
			return &domain.FieldError{
				Field: fmt.Sprintf("events[%d]", i),
				Rule: fmt.Sprintf("%q is not an event; use \"*\", a fact such as conversation.created, or one of %s: %s",
					n, d.Name(), strings.Join(d.Vocabulary(), ", ")),
			}
		}
	}
	return nil
}

// Wants reports whether an endpoint that asked for those names is sent the
// fact as the event name.
func Wants(names []string, fact, name string) bool {
	for _, n := range names {
		group, isGroup := strings.CutSuffix(n, "*")
		if n == fact || n == name || isGroup && strings.HasPrefix(fact, group) {
			return true
		}
	}
	return false
}

// ID returns the webhook-id: it belongs to (endpoint, recorded event, event
// name) and is the same over attempts, restarts and redeliveries.
func ID(endpointID string, event uuid.UUID, name string) string {
	sum := identity(endpointID, event, name)
	return "msg_" + hex.EncodeToString(sum[:16])
}

// DeliveryID returns the id of the delivery that the plan makes for (endpoint,
// recorded event, event name); planned again it is the same. It begins with
// the event's own time, so that ids ascend like the log.
func DeliveryID(endpointID string, event uuid.UUID, name string) string {
	sum := identity(endpointID, event, name)
	var id uuid.UUID
	copy(id[:6], event[:6])
	copy(id[6:], sum[16:26])
	id[6] = id[6]&0x0f | 0x80 // version 8: made by our own rule (RFC 9562, 5.8)
	id[8] = id[8]&0x3f | 0x80
	return "dlv_" + strings.ReplaceAll(id.String(), "-", "")
}

func identity(endpointID string, event uuid.UUID, name string) [32]byte {
	return sha256.Sum256([]byte(endpointID + "\x00" + event.String() + "\x00" + name))
}
