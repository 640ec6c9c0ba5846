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
	// maxNotices bounds the notices that wait for the log, but for those that
	// disable an endpoint. One comes of ten attempts or more, so that they are some
	// seconds of the worst day, at a few hundred bytes each.
	maxNotices = 4096
	// noticePause is how long a log that took nothing is left alone.
	noticePause = time.Second
	// noticeTries is how often a notice is tried before those behind it: a single
	// stream that takes nothing must not hold up the others for ever.
	noticeTries = 30
	// noticeDrain bounds the writing of what is left when the program stops.
	noticeDrain = 2 * time.Second

	deliveriesActor = "system:deliveries"
)

// A notary has the endpoints' own streams say what the dispatcher tells of them,
// in order. It is the wire between the two: what is told is for the dispatcher to
// decide, and what follows from it for the domain. A notice that an endpoint is to
// be disabled waits until the log has taken or refused it. Of the others some may
// be lost, with a word to the operator, and with a crash all that wait: what they
// tell of stands with the deliveries.
type notary struct {
	// execute reports whether anything came of a command.
	execute func(ctx context.Context, account, endpointID string, c endpoint.Command) (changed bool, err error)
	wake    func(endpointID string) // the dispatcher, which let the endpoint sleep
	log     *slog.Logger
	pause   time.Duration

	ring chan struct{}

	mu        sync.Mutex
	waiting   []noted         // in order; the first is being said
	disabling map[string]bool // endpoints that one of them disables
	dropped   int
}

// noted is a notice that waits for the log.
type noted struct {
	account, endpointID string
	kind                webhooks.NoticeKind
	command             endpoint.Command
}

func newNotary(
	endpoints *eventstore.Aggregates[endpoint.State, endpoint.Command, endpoint.Event], wake func(string), log *slog.Logger,
) *notary {
	return &notary{
		execute: func(ctx context.Context, account, id string, c endpoint.Command) (bool, error) {
			done, err := endpoints.Execute(ctx, eventstore.Order[endpoint.State, endpoint.Command]{
				Account: account, ID: id, Command: c, Metadata: eventstore.Metadata{Actor: deliveriesActor},
			})
			return len(done.Events) > 0, err
		},
		wake: wake, log: log, pause: noticePause, ring: make(chan struct{}, 1), disabling: make(map[string]bool),
	}
}

// notice takes a notice. It never waits.
func (n *notary) notice(one webhooks.Notice) {
	disables := one.Kind.Disables()
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case disables && n.disabling[one.EndpointID]:
		return // it will be, and why is said already
	case !disables && len(n.waiting)-len(n.disabling) >= maxNotices:
		n.dropped++
		return
	}
	if disables {
		n.disabling[one.EndpointID] = true
	}
	n.waiting = append(n.waiting, noted{one.Account, one.EndpointID, one.Kind, commandOf(&one)})
	select {
	case n.ring <- struct{}{}:
	default:
	}
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
		n.log.Error("what became of endpoints is not in the log; those to be disabled will be tried once more", "notices", left)
	}
}

// say has the first of the notices said, and reports whether there was one. One
// that is interrupted stays the first.
func (n *notary) say(ctx context.Context) bool {
	one, ok := n.first()
	if !ok {
		return false
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for try := 1; ctx.Err() == nil; try++ {
		changed, err := n.execute(ctx, one.account, one.endpointID, one.command)
		switch {
		case err == nil || isRefusal(err):
			n.done()
			if err != nil {
				n.log.Info("a notice was refused", "endpoint", one.endpointID, "notice", one.kind, "reason", err.Error())
			}
			if one.kind.Disables() && !changed {
				n.wake(one.endpointID) // nobody else will
			}
			return true
		case ctx.Err() != nil:
			return true
		case try == 1:
			n.log.Warn("what became of an endpoint cannot be written; trying again", "endpoint", one.endpointID, "notice", one.kind, "error", err)
		case try == noticeTries:
			n.putOff(&one, err)
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

// first returns the notice to say next, and tells how many found no room since.
func (n *notary) first() (noted, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.dropped > 0 {
		n.log.Error("more became of endpoints than could be written; their streams do not say all of it", "notices", n.dropped)
		n.dropped = 0
	}
	if len(n.waiting) == 0 {
		return noted{}, false
	}
	return n.waiting[0], true
}

// done takes the first notice away.
func (n *notary) done() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.waiting[0].kind.Disables() {
		delete(n.disabling, n.waiting[0].endpointID)
	}
	n.waiting[0] = noted{}
	n.waiting = n.waiting[1:]
}

// putOff lets the others go before the first notice, if that disables its
// endpoint, and else gives it up.
func (n *notary) putOff(one *noted, err error) {
	n.done()
	if !one.kind.Disables() {
		n.log.Error("what became of an endpoint was not written", "endpoint", one.endpointID, "notice", one.kind, "error", err)
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.disabling[one.endpointID] {
		n.disabling[one.endpointID] = true
		n.waiting = append(n.waiting, *one)
	}
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
