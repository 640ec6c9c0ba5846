// Package domaintest tells what the rules of an aggregate come to: given what has
// happened, when a command comes, then these events follow, or none.
package domaintest

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"verbatim/domain"
)

// Noon is when commands come unless a scenario says otherwise.
func Noon() time.Time { return time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC) }

// Rules are those of an aggregate with states S, commands C and events E.
type Rules[S, C, E any] struct {
	Decide func(S, C, time.Time) ([]E, error)
	Evolve func(S, E) S
}

// Fold returns the state that events lead to.
func (r Rules[S, C, E]) Fold(events ...E) S {
	var s S
	for _, e := range events {
		s = r.Evolve(s, e)
	}
	return s
}

// Given begins a scenario in which these events have happened.
func (r Rules[S, C, E]) Given(t *testing.T, events ...E) Scenario[S, C, E] {
	t.Helper()
	return r.In(t, r.Fold(events...))
}

// In begins a scenario in a state.
func (r Rules[S, C, E]) In(t *testing.T, state S) Scenario[S, C, E] {
	t.Helper()
	return Scenario[S, C, E]{t, r, state, Noon()}
}

// A Scenario is what has happened so far and when the next command comes.
type Scenario[S, C, E any] struct {
	t     *testing.T
	rules Rules[S, C, E]
	State S
	now   time.Time
}

// At has the command come then.
func (s Scenario[S, C, E]) At(now time.Time) Scenario[S, C, E] { s.now = now; return s }

// When decides a command.
func (s Scenario[S, C, E]) When(c C) Outcome[E] {
	s.t.Helper()
	events, err := s.rules.Decide(s.State, c, s.now)
	return Outcome[E]{s.t, events, err}
}

// An Outcome is what a command came to.
type Outcome[E any] struct {
	t      *testing.T
	Events []E
	Err    error
}

// Then expects exactly these events.
func (o Outcome[E]) Then(want ...E) {
	o.t.Helper()
	if o.Err != nil {
		o.t.Fatalf("refused: %v; want %d events", o.Err, len(want))
	}
	if diff := cmp.Diff(want, o.Events); diff != "" {
		o.t.Errorf("events differ (-want +got):\n%s", diff)
	}
}

// ThenNothing expects neither events nor a refusal.
func (o Outcome[E]) ThenNothing() {
	o.t.Helper()
	if o.Err != nil || len(o.Events) != 0 {
		o.t.Errorf("got events %+v and error %v; want neither", o.Events, o.Err)
	}
}

// ThenRefused expects that refusal.
func (o Outcome[E]) ThenRefused(want domain.Refusal) {
	o.t.Helper()
	if !errors.Is(o.Err, want) || len(o.Events) != 0 {
		o.t.Errorf("got events %+v and error %v; want the refusal %s", o.Events, o.Err, want)
	}
}

// ThenFieldError expects a complaint about that field of the command.
func (o Outcome[E]) ThenFieldError(field string) {
	o.t.Helper()
	fault, ok := errors.AsType[*domain.FieldError](o.Err)
	if !ok || len(o.Events) != 0 {
		o.t.Fatalf("got events %+v and error %v; want a complaint about %s", o.Events, o.Err, field)
	}
	if fault.Field != field || fault.Rule == "" {
		o.t.Errorf("got the complaint %q; want one about %s", fault, field)
	}
}

// ThenAllowed is for limits: what exactly follows is said elsewhere.
func (o Outcome[E]) ThenAllowed() {
	o.t.Helper()
	if o.Err != nil || len(o.Events) == 0 {
		o.t.Errorf("got events %+v and error %v; want events", o.Events, o.Err)
	}
}
