package chatwoot

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"verbatim/domain"
	"verbatim/domain/conversation"
	"verbatim/webhooks"
)

// A change is a column of Chatwoot before and after, as JSON.
type change struct {
	column            string
	previous, current []byte
}

// appendChanged appends changed_attributes: a list of objects of one column each,
// with when the row was changed before and now behind the others.
func appendChanged(dst []byte, changes []change, before, at time.Time) []byte {
	changes = append(changes, change{"updated_at", appendMoment(nil, &before), appendMoment(nil, &at)})
	dst = append(dst, `,"changed_attributes":[`...)
	for i, c := range changes {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, `{"`...)
		dst = append(dst, c.column...)
		dst = append(dst, `":{"previous_value":`...)
		dst = append(dst, c.previous...)
		dst = append(dst, `,"current_value":`...)
		dst = append(dst, c.current...)
		dst = append(dst, `}}`...)
	}
	return append(dst, ']')
}

func appendIfChanged(changes []change, column string, previous, current []byte) []change {
	if bytes.Equal(previous, current) {
		return changes
	}
	return append(changes, change{column, previous, current})
}

// conversationChanges returns what an event changed of a conversation, of what
// Chatwoot shows.
func conversationChanges(s *scene, event conversation.Event) []change {
	switch e := event.(type) {
	case conversation.StatusChanged:
		return s.statusChanges(e.From)
	case conversation.Closed:
		return s.statusChanges(e.From)
	case conversation.Reopened:
		return s.statusChanges(conversation.StatusEnded)
	case conversation.Assigned:
		return assigneeChanges(e.Previous, &e.Agent)
	case conversation.Unassigned:
		return assigneeChanges(&e.Previous, nil)
	case conversation.AttributesChanged:
		return s.attributeChanges(e.Changes)
	case conversation.Created, conversation.CustomerUpdated, conversation.ActivityRecorded,
		conversation.MessagePosted, conversation.MessageEdited, conversation.MessageDeleted, conversation.MessagePlayed,
		conversation.TypingStarted, conversation.TypingStopped, conversation.Read:
		return nil
	default:
		panic("chatwoot: an event outside the closed set")
	}
}

// statusChanges returns the change of the status, and of the time until which the
// conversation sleeps if that is another one. An old event may not say what the
// status was before.
func (s *scene) statusChanges(from conversation.Status) []change {
	previous := []byte("null")
	if from != "" {
		previous = quoted(statusOf(from))
	}
	changes := []change{{"status", previous, quoted(statusOf(s.c.Status))}}
	return appendIfChanged(changes, "snoozed_until", appendMoment(nil, s.h.SnoozedBefore), appendMoment(nil, s.c.SnoozedUntil))
}

func quoted(s string) []byte { return webhooks.AppendStringHTML(nil, s) }

// assigneeChanges returns the changes of who is in charge: users and bots have a
// column each.
func assigneeChanges(before, after *domain.Person) []change {
	previous, current := assigneeOf(before), assigneeOf(after)
	changes := appendIfChanged(nil, "assignee_id", appendAssigneeID(nil, previous), appendAssigneeID(nil, current))
	return appendIfChanged(changes, "assignee_agent_bot_id", appendBotID(nil, previous), appendBotID(nil, current))
}

func assigneeOf(p *domain.Person) *party {
	if p == nil {
		return nil
	}
	a := newParty(p)
	return &a
}

func appendBotID(dst []byte, p *party) []byte {
	if p == nil || !p.isBot() {
		return append(dst, "null"...)
	}
	return strconv.AppendInt(dst, p.number, 10)
}

// attributeChanges returns the changes of the conversation's own attributes, in
// the order of Chatwoot's columns. Objects are told whole, before and after.
func (s *scene) attributeChanges(all []domain.Change) []change {
	subject := s.c.Subject
	var columns []change
	for _, c := range all {
		switch c.Key {
		case "subject":
			subject = decoded[string](c.Previous)
		case "priority":
			columns = append(columns, change{
				"priority",
				appendPriority(nil, decoded[conversation.Priority](c.Previous)), appendPriority(nil, decoded[conversation.Priority](c.Current)),
			})
		case "team":
			columns = append(columns, change{
				"team_id",
				appendTeamID(nil, decoded[*conversation.Team](c.Previous)), appendTeamID(nil, decoded[*conversation.Team](c.Current)),
			})
		case "labels":
			columns = append(columns, change{
				"label_list",
				appendTexts(nil, decoded[[]string](c.Previous)), appendTexts(nil, decoded[[]string](c.Current)),
			})
		}
	}
	before := undone(s.open, all)
	changes := appendIfChanged(nil, "additional_attributes", s.appendAdditional(nil, before, subject), s.appendAdditional(nil, s.open, s.c.Subject))
	changes = appendIfChanged(changes, "custom_attributes", s.appendCustom(nil, before), s.appendCustom(nil, s.open))
	return append(changes, columns...)
}

func appendTeamID(dst []byte, t *conversation.Team) []byte {
	if t == nil {
		return append(dst, "null"...)
	}
	return strconv.AppendInt(dst, or(t.Number, t.ID), 10)
}

// ofConversation reports whether Chatwoot shows what changed.
func ofConversation(c domain.Change) bool {
	switch c.Key {
	case "subject", "priority", "team", "labels":
		return true
	default:
		return openKey(c.Key) != ""
	}
}

// openKey returns the name of the open attribute that changed, or "" if it was
// something else: what is addressed to a format is not shown by itself.
func openKey(key string) string {
	name, ok := strings.CutPrefix(key, "attributes.")
	if !ok || len(webhooks.OpenAttributes(domain.Attributes{{Key: name}})) == 0 {
		return ""
	}
	return name
}

// decoded returns the value of one side of a change, or nothing if it is another.
func decoded[T any](raw json.RawMessage) T {
	var v T
	if json.Unmarshal(raw, &v) != nil {
		var none T
		return none
	}
	return v
}
