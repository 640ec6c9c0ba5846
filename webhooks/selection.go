package webhooks

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// MaxLook bounds the deliveries that one request looks at, whether they are what
// it asks for or not: some tens of milliseconds. What matches little comes in
// pages that may be empty, each with a Mark to go on from.
const MaxLook = 5000

// A Selection says which deliveries of an endpoint are meant. What is empty in
// it selects all.
type Selection struct {
	States  []State   `json:"states,omitempty"`
	Events  []string  `json:"events,omitempty"` // facts, groups of them, the dialect's own names, or "*"; see CheckEvents
	Reasons []string  `json:"reasons,omitempty"`
	Stream  string    `json:"stream,omitempty"`
	Replay  string    `json:"replay,omitempty"` // the replay that made them pending last
	From    time.Time `json:"from,omitzero"`    // created then or later
	To      time.Time `json:"to,omitzero"`      // created before
}

// Match reports whether d is among those that are meant.
func (s *Selection) Match(d *Delivery) bool {
	return (len(s.States) == 0 || slices.Contains(s.States, d.State)) &&
		(len(s.Events) == 0 || Wants(s.Events, d.Event, Word{Name: d.Name})) &&
		(len(s.Reasons) == 0 || slices.Contains(s.Reasons, d.Reason)) &&
		(s.Stream == "" || s.Stream == d.Stream) &&
		(s.Replay == "" || s.Replay == d.Replay) &&
		(s.From.IsZero() || !d.CreatedAt.Before(s.From)) &&
		(s.To.IsZero() || d.CreatedAt.Before(s.To))
}

// All reports whether every delivery is meant.
func (s *Selection) All() bool {
	return len(s.States) == 0 && s.Stream == "" && s.Replay == "" && !s.Picky()
}

// Picky reports whether anything but state, stream and replay decides.
func (s *Selection) Picky() bool {
	return len(s.Events) > 0 || len(s.Reasons) > 0 || !s.From.IsZero() || !s.To.IsZero()
}

// A Mark is a place among the deliveries of an endpoint, which are in order of
// position, then of name. The zero Mark is before all.
type Mark struct {
	Position int64
	Name     string
}

// MarkOf returns the place of a delivery.
func MarkOf(d *Delivery) Mark { return Mark{d.Position, d.Name} }

// Compare returns -1, 0 or 1 as m is before, at or behind other.
func (m Mark) Compare(other Mark) int {
	return cmp.Or(cmp.Compare(m.Position, other.Position), strings.Compare(m.Name, other.Name))
}
