package eventstore

import (
	"fmt"
	"strings"

	"verbatim/domain/contact"
	"verbatim/domain/conversation"
	"verbatim/domain/endpoint"
)

// Check returns what is wrong with an event that comes from outside, or nil.
// What it lets pass, every reader of the log can take on: the fact is known in
// that schema version, has no member that is not known, belongs to a stream of
// its kind, stands first in it if it opens one and never otherwise, and can be
// folded. What depends on other events it does not see.
func (c *Codec) Check(r *Recorded) (err error) {
	e, err := c.decode(r, true)
	if err != nil {
		return err
	}
	if kind, _ := SplitStream(r.Stream); !strings.HasPrefix(r.Type, kind+".") {
		return fmt.Errorf("position %d: %s is no event of a stream %s-…", r.Position, r.Type, kind)
	}
	// Evolve cannot fail: it takes what the rules decided. What a stranger wrote
	// may be something that they would never decide.
	defer func() {
		if broken := recover(); broken != nil {
			err = fmt.Errorf("position %d: %s cannot be folded: %v", r.Position, r.Type, broken)
		}
	}()
	var opens bool
	switch e := e.(type) {
	case conversation.Event:
		conversation.Evolve(conversation.State{}, e)
		_, opens = e.(conversation.Created)
	case contact.Event:
		contact.Evolve(contact.State{}, e)
		_, opens = e.(contact.Created)
	case endpoint.Event:
		endpoint.Evolve(endpoint.State{}, e)
		_, opens = e.(endpoint.Registered)
	default:
		return nil // of no stream whose rules are known here
	}
	switch {
	case opens && r.Version > 1:
		return fmt.Errorf("position %d: %s is the first event of a stream, not version %d", r.Position, r.Type, r.Version)
	case !opens && r.Version == 1:
		return fmt.Errorf("position %d: %s cannot be the first event of a stream", r.Position, r.Type)
	}
	return nil
}
