package projections

import (
	"context"
	"errors"
	"fmt"
	"time"

	"verbatim/domain/conversation"
	"verbatim/webhooks"
)

// Typing keeps who is typing and until when, so that typing ends in time even
// when the program was away.
type Typing struct {
	changed func() // told after the commit
	touched bool
}

// NewTyping returns the typing projection. changed, if not nil, is told when
// somebody began or stopped, after that was committed.
func NewTyping(changed func()) *Typing { return &Typing{changed: changed} }

// Name returns "typing".
func (*Typing) Name() string { return "typing" }

// Load has nothing to remember.
func (*Typing) Load(context.Context, int64) error { return nil }

// Settle says whether something has changed.
func (p *Typing) Settle(committed bool) {
	if committed && p.touched && p.changed != nil {
		p.changed()
	}
	p.touched = false
}

// Project notes who began and who stopped.
func (p *Typing) Project(_ context.Context, f webhooks.Fact, rows *Rows) error {
	_, id := splitStream(f)
	switch e := f.Event.(type) {
	case conversation.TypingStarted:
		rows.Typing[TypingKey{id, e.Author.ID}] = TypingRow{f.Recorded.Account, e.ExpiresAt}
	case conversation.TypingStopped:
		rows.Typing[TypingKey{id, e.Author.ID}] = TypingRow{}
	default:
		return nil
	}
	p.touched = true
	return nil
}

// expiryBatch bounds one step of the expirer: what a few commits take.
const expiryBatch = 64

// Expirer stops the typing of people who were not heard of in time.
type Expirer struct {
	store  Store
	clock  func() time.Time
	expire func(ctx context.Context, account, conversationID, authorID string) error
}

// NewExpirer returns an expirer; expire asks the conversation to stop the
// typing of an author, which it does only if the time has come.
func NewExpirer(
	store Store, clock func() time.Time, expire func(ctx context.Context, account, conversationID, authorID string) error,
) *Expirer {
	return &Expirer{store, clock, expire}
}

// Step expires what is due, at most a batch, and returns how many there were
// and when the next is due (zero if nobody types). One that cannot be expired
// holds back none of the others.
func (x *Expirer) Step(ctx context.Context) (expired int, next time.Time, err error) {
	due, err := x.store.TypingDue(ctx, x.clock(), expiryBatch)
	if err != nil {
		return 0, time.Time{}, err
	}
	var failed []error
	for _, d := range due {
		if err := x.expire(ctx, d.Account, d.Conversation, d.AuthorID); err != nil {
			failed = append(failed, fmt.Errorf("expire typing in %s: %w", d.Conversation, err))
			if ctx.Err() != nil {
				break
			}
			continue
		}
		expired++
	}
	if len(failed) > 0 {
		return expired, time.Time{}, errors.Join(failed...)
	}
	next, err = x.store.NextTyping(ctx)
	return expired, next, err
}
