package main

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"sync"
	"time"

	"verbatim/domain"
	"verbatim/domain/endpoint"
	"verbatim/eventstore"
	"verbatim/webhooks"
)

const (
	// maxNotices bounds the notices that wait in memory for the log, at a few
	// hundred bytes each. One comes of ten attempts or more, so that they are some
	// seconds of the worst day; those behind them are read when these are said.
	maxNotices = 4096
	// noticePause is how long a log that took nothing is left alone.
	noticePause = time.Second
	// noticeTries is how often a notice is tried before those behind it: a single
	// stream that takes nothing must not hold up the others for ever.
	noticeTries = 30
	// noticeDrain bounds the writing of what is left when the program stops: some
	// commits, and what they do not get to is kept for the next start.
	noticeDrain = time.Second

	deliveriesActor = "system:deliveries"
)

// A notary has the endpoints' own streams say what the dispatcher tells of them,
// in order. It is the wire between the two: what is told is for the dispatcher to
// decide, and what follows from it for the domain. Notices are kept with the
// attempts that told them, so that a crash loses none, until the log has taken or
// refused them; the key of each is the command's, so that none is said twice.
type notary struct {
	// execute reports whether anything came of a command, once for each key.
	execute func(ctx context.Context, one *noted) (changed bool, err error)
	kept    webhooks.NoticeKeeper
	wake    func(endpointID string) // the dispatcher, which let the endpoint sleep
	log     *slog.Logger
	pause   time.Duration

	ring chan struct{}

	mu      sync.Mutex
	waiting []noted // in order; the first is being said
	more    bool    // may be kept than wait
	passed  bool    // a notice that was told since it was last looked which are kept
}

// noted is a notice that waits for the log.
type noted struct {
	key                 string
	account, endpointID string
	kind                webhooks.NoticeKind
	command             endpoint.Command
}

func newNotary(
	endpoints *eventstore.Aggregates[endpoint.State, endpoint.Command, endpoint.Event], kept webhooks.NoticeKeeper,
	wake func(string), log *slog.Logger,
) *notary {
	return &notary{
		execute: func(ctx context.Context, one *noted) (bool, error) {
			done, err := endpoints.Execute(ctx, eventstore.Order[endpoint.State, endpoint.Command]{
				Account: one.account, ID: one.endpointID, Command: one.command,
				Key:      &eventstore.Key{Name: "notice/" + one.key, Fingerprint: eventstore.Digest([]byte(one.key))},
				Metadata: eventstore.Metadata{Actor: deliveriesActor},
			})
			return len(done.Events) > 0, err
		},
		kept: kept, wake: wake, log: log, pause: noticePause, ring: make(chan struct{}, 1),
		more: true, // what an earlier run of the program has left
	}
}

// notice takes a notice that is kept. It never waits.
func (n *notary) notice(one webhooks.Notice) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.more || len(n.waiting) >= maxNotices {
		n.more, n.passed = true, true // it is read in its turn
	} else {
		n.waiting = append(n.waiting, notedOf(&one))
	}
	select {
	case n.ring <- struct{}{}:
	default:
	}
}

func notedOf(one *webhooks.Notice) noted {
	return noted{one.Key(), one.Account, one.EndpointID, one.Kind, commandOf(one)}
}

// run says what it is told until ctx is done, and then what is left.
func (n *notary) run(ctx context.Context) {
	for ctx.Err() == nil {
		if n.say(ctx) {
			continue
		}
		select {
		case <-n.ring:
		case <-ctx.Done():
		}
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), noticeDrain)
	defer cancel()
	for more := true; more && last.Err() == nil; {
		more = n.say(last)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if left := len(n.waiting); left > 0 {
		n.log.Warn("what became of endpoints is not in the log yet; it will be said with the next start", "notices", left)
	}
}

// say has the first of the notices said, and reports whether there was one. One
// that is interrupted stays the first; one that the log does not take for long
// lets the others go before it.
func (n *notary) say(ctx context.Context) bool {
	one, ok := n.first(ctx)
	if !ok {
		return false
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for try := 1; ctx.Err() == nil; try++ {
		changed, err := n.execute(ctx, &one)
		refused := err != nil && isRefusal(err)
		if refused {
			n.log.Info("a notice was refused", "endpoint", one.endpointID, "notice", one.kind, "reason", err.Error())
		}
		if err == nil || refused {
			if err = n.kept.Said(context.WithoutCancel(ctx), one.key); err == nil {
				n.done(false)
				if one.kind.Disables() && !changed {
					n.wake(one.endpointID) // nobody else will
				}
				return true
			}
		}
		switch {
		case ctx.Err() != nil:
			return true
		case try == 1:
			n.log.Warn("what became of an endpoint cannot be written; trying again", "endpoint", one.endpointID, "notice", one.kind, "error", err)
		case try == noticeTries:
			n.done(true)
			return true
		}
		timer.Reset(n.pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
	}
	return true
}

// first returns the notice to say next. Where none waits it looks for those that
// are kept.
func (n *notary) first(ctx context.Context) (noted, bool) {
	n.mu.Lock()
	look := len(n.waiting) == 0 && n.more
	n.passed = n.passed && !look
	n.mu.Unlock()
	var kept []webhooks.Notice
	if look {
		var err error
		if kept, err = n.kept.Notices(ctx, maxNotices); err != nil {
			n.log.Error("what became of endpoints cannot be read; it will be with the next notice", "error", err)
			return noted{}, false
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if look {
		for i := range kept {
			n.waiting = append(n.waiting, notedOf(&kept[i]))
		}
		n.more = n.passed || len(kept) == maxNotices
	}
	if len(n.waiting) == 0 {
		return noted{}, false
	}
	return n.waiting[0], true
}

// done takes the first notice away; if it is put off, until those behind it are
// said.
func (n *notary) done(putOff bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.waiting[0] = noted{}
	n.waiting = n.waiting[1:]
	n.more = n.more || putOff
}

// isRefusal reports whether a command will never be taken.
func isRefusal(err error) bool {
	_, refused := errors.AsType[domain.Refusal](err)
	_, faulty := errors.AsType[*domain.FieldError](err)
	return refused || faulty || errors.Is(err, eventstore.ErrForeign)
}

// commandOf returns what a notice asks of its endpoint.
func commandOf(n *webhooks.Notice) endpoint.Command {
	last := endpoint.Outcome{Status: n.Outcome.Status, Fault: string(n.Outcome.Fault)}
	switch n.Kind {
	case webhooks.NoticeGone:
		return endpoint.Disable{Cause: endpoint.ReceiverGone, Reason: "the receiver said that it wants nothing more: " + inWords(n.Outcome)}
	case webhooks.NoticeHopeless:
		return endpoint.Disable{
			Cause:  endpoint.ReceiverFailed,
			Reason: "nothing but failures since " + n.Since.UTC().Format(time.RFC3339) + ", at last: " + inWords(n.Outcome),
		}
	case webhooks.NoticeFailing:
		return endpoint.NoteFailing{Since: n.Since, Outcome: last}
	case webhooks.NoticeRecovered:
		return endpoint.NoteRecovered{Since: n.Since}
	case webhooks.NoticeExhausted:
		return endpoint.NoteExhausted{
			DeliveryID: n.Delivery.ID, Event: n.Delivery.Name, Stream: n.Delivery.Stream,
			Attempts: n.Delivery.Attempts, Reason: n.Delivery.Reason, Outcome: last,
		}
	default:
		panic("verbatim: a notice outside the closed set")
	}
}

// inWords says what an attempt came to, without what the receiver said.
func inWords(o webhooks.Outcome) string {
	switch o.Fault {
	case webhooks.NoFault:
		words := strconv.Itoa(o.Status)
		if text := http.StatusText(o.Status); text != "" {
			words += " " + text
		}
		return words
	case webhooks.NameUnresolved:
		return "its name leads to no address"
	case webhooks.Unreachable:
		return "no connection"
	case webhooks.ConnectTimeout:
		return "no connection in time"
	case webhooks.TLSFailed:
		return "no secure connection"
	case webhooks.TimedOut:
		return "no answer in time"
	case webhooks.PrivateRange:
		return "its address is one that webhooks may not reach"
	case webhooks.Unrendered:
		return "the body could not be made"
	case webhooks.TooLarge:
		return "the body is larger than it takes"
	default:
		return string(o.Fault)
	}
}
