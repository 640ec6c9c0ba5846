package projections

import (
	"context"
	"fmt"
	"unicode/utf8"

	"verbatim/domain/conversation"
	"verbatim/webhooks"
)

// inboxCache bounds the rows remembered between pages: the conversations that
// are being had right now, a few kilobytes each.
const inboxCache = 2048

// Inbox lists conversations: where each stands, its last message, how much of
// it nobody has read.
type Inbox struct {
	store Store
	known map[string]InboxRow
}

// NewInbox returns the inbox projection.
func NewInbox(store Store) *Inbox { return &Inbox{store, make(map[string]InboxRow)} }

// Name returns "inbox".
func (*Inbox) Name() string { return "inbox" }

// Load forgets what was remembered.
func (p *Inbox) Load(context.Context, int64) error {
	clear(p.known)
	return nil
}

// Settle keeps what was committed and forgets what was not.
func (p *Inbox) Settle(committed bool) {
	if !committed || len(p.known) > inboxCache {
		clear(p.known)
	}
}

// Project folds a conversation's event into its row.
func (p *Inbox) Project(ctx context.Context, f webhooks.Fact, rows *Rows) error {
	e, ok := conversationFact(f)
	if !ok {
		return nil
	}
	row, ok := p.known[f.Stream]
	if !ok && f.Version > 1 {
		_, id := splitStream(f)
		var err error
		if row, ok, err = p.store.InboxRow(ctx, id); err != nil {
			return err
		}
		if !ok {
			return fmt.Errorf("version %d of %s comes before its first", f.Version, f.Stream)
		}
	}
	row = row.evolve(f, e)
	p.known[f.Stream] = row
	rows.Inbox[row.Conversation.ID] = row
	return nil
}

func (row InboxRow) evolve(f webhooks.Fact, e conversation.Event) InboxRow {
	row.Conversation = row.Conversation.Evolve(f.Recorded, e)
	row.Attention = row.Attention.Evolve(f.Recorded, e)
	switch e := e.(type) {
	case conversation.TypingStarted, conversation.TypingStopped, conversation.Read:
		return row
	case conversation.MessagePosted:
		m := webhooks.NewMessage(f.Recorded, e)
		if !m.Private {
			m.Text = preview(m.Text)
			row.LastMessage = &m
		}
	case conversation.MessageEdited:
		if row.LastMessage != nil && row.LastMessage.ID == e.MessageID {
			m := row.LastMessage.Edited(preview(e.Text), f.Time)
			row.LastMessage = &m
		}
	case conversation.MessageDeleted:
		if row.LastMessage != nil && row.LastMessage.ID == e.MessageID {
			m := row.LastMessage.Deleted(f.Time)
			row.LastMessage = &m
		}
	case conversation.Created, conversation.StatusChanged, conversation.Closed, conversation.Reopened,
		conversation.Assigned, conversation.Unassigned, conversation.AttributesChanged, conversation.CustomerUpdated,
		conversation.MessagePlayed, conversation.ActivityRecorded:
		// What they change is the conversation's own.
	}
	row.ActiveAt = f.Position
	return row
}

func preview(s string) string {
	if utf8.RuneCountInString(s) <= MaxPreview {
		return s
	}
	n := 0
	for i := range s {
		if n == MaxPreview {
			return s[:i]
		}
		n++
	}
	return s
}
