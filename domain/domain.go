// Package domain holds what every aggregate shares: what a fact is, how a rule
// says no, and the people, accounts and inboxes that facts name. It is pure:
// time, ids and chance arrive as arguments.
package domain

import "strings"

// An Event is a fact: something that has happened and can no longer be refused.
// Each aggregate closes its own set of events over this interface.
type Event interface {
	// EventType is the name under which the fact is stored, package.snake_case.
	// It is data: written by hand, never changed once recorded.
	EventType() string
}

// A Refusal is a rule's no. Its text is the stable code that a client sees;
// being a constant it is its own sentinel for errors.Is.
type Refusal string

// Error returns the code.
func (r Refusal) Error() string { return string(r) }

// A FieldError says which part of a command breaks which rule, so that a
// client can point at it. Field is a dotted path into the command as it was
// sent, for example "author.id" or "attachments[3].url".
type FieldError struct {
	Field string
	Rule  string
}

// Error returns "field: rule".
func (e *FieldError) Error() string { return e.Field + ": " + e.Rule }

// Within returns the same complaint one level further out: the field of a
// person becomes the field of the command that named the person.
func (e *FieldError) Within(field string) *FieldError {
	if strings.HasPrefix(e.Field, "[") {
		return &FieldError{Field: field + e.Field, Rule: e.Rule}
	}
	return &FieldError{Field: field + "." + e.Field, Rule: e.Rule}
}

// An Account owns streams; keys, endpoints and conversations belong to exactly
// one. Number is the integer id that some formats want.
type Account struct {
	ID     string `json:"id"`
	Number int64  `json:"number,omitempty"`
	Name   string `json:"name,omitempty"`
}

// An Inbox is the door through which a conversation came in.
type Inbox struct {
	ID      string `json:"id"`
	Number  int64  `json:"number,omitempty"`
	Name    string `json:"name,omitempty"`
	Channel string `json:"channel,omitempty"`
}
