// Package clarityflow writes webhooks as Clarityflow has them.
package clarityflow

import (
	"fmt"

	"verbatim/domain"
	"verbatim/webhooks"
)

// Name is the dialect and the version of its bytes.
const Name = "clarityflow@1"

// Dialect writes clarityflow@1.
type Dialect struct{}

// New returns the dialect.
func New() *Dialect { return &Dialect{} }

// Name returns "clarityflow@1".
func (*Dialect) Name() string { return Name }

// Vocabulary describes the events of the format.
func (*Dialect) Vocabulary() []webhooks.EventType { return nil }

// Guide tells what an integrator should know.
func (*Dialect) Guide() string { return "" }

// Words returns the format's names for e.
func (*Dialect) Words(domain.Event) []webhooks.Word { return nil }

// AppendBody appends the body of one event.
func (*Dialect) AppendBody(dst []byte, e *webhooks.PublicEvent) ([]byte, error) {
	return dst, fmt.Errorf("%s: position %d: no word for %s", Name, e.Position, e.Type)
}
