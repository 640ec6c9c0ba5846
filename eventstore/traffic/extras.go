package traffic

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"verbatim/domain"
	"verbatim/domain/contact"
	"verbatim/domain/endpoint"
	"verbatim/eventstore"
)

// An extra is something that happens beside the conversations, behind a
// position. Each is one event.
type extra struct {
	after int64
	do    func()
}

// erasureEvents and endpointEvents are the events of one contact that is erased,
// and of one endpoint.
const (
	erasureEvents  = 2
	endpointEvents = 9
)

func extraEvents(events int64) int64 {
	if events < leastForExtras {
		return 0
	}
	return erasures(events)*erasureEvents + endpointCount(events)*endpointEvents
}

func erasures(events int64) int64      { return max(1, events/eventsPerErasure) }
func endpointCount(events int64) int64 { return max(1, events/eventsPerEndpoint) }

// extras returns what happens beside conversations in a log of so many events,
// in order. It is spread over the log, each life over a fifth of it.
func (g *generator) extras(events int64) []extra {
	n := extraEvents(events)
	if n == 0 {
		return nil
	}
	var lives [][]func()
	for range endpointCount(events) {
		lives = append(lives, g.endpoint())
	}
	for range erasures(events) {
		lives = append(lives, g.erasure())
	}
	out := make([]extra, 0, n)
	for i, life := range lives {
		begins := (events - events/4) * int64(i) / int64(len(lives))
		for k, do := range life {
			out = append(out, extra{begins + events/5*int64(k+1)/int64(len(life)), do})
		}
	}
	slices.SortStableFunc(out, func(a, b extra) int { return cmp.Compare(a.after, b.after) })
	return out
}

// erasure is a contact out of which a person was erased: of the person nothing
// is left but an id.
func (g *generator) erasure() []func() {
	p := &person{}
	decide := func(c contact.Command) {
		events, err := contact.Decide(p.state, c, g.now)
		g.fail(err)
		g.recordContact(p, events)
	}
	return []func(){
		func() {
			p.id = g.uuid().String()
			p.name = eventstore.StreamName("contact", p.id)
			decide(contact.Create{Account: account(), Profile: domain.Person{ID: p.id}})
		},
		func() { decide(contact.Erase{By: one(g, g.agents), Parts: []contact.Part{{}}}) },
	}
}

// endpoint is the life of an endpoint, all of it: what is imported must not
// begin to send. Its URL is nobody's (RFC 2606) in any case.
func (g *generator) endpoint() []func() {
	var s stream
	var state endpoint.State
	decide := func(actor string, of func() endpoint.Command) func() {
		return func() {
			if s.name == "" {
				s.name = eventstore.StreamName("endpoint", g.uuid().String())
			}
			events, err := endpoint.Decide(state, of(), g.now)
			g.fail(err)
			for _, e := range events {
				state = endpoint.Evolve(state, e)
				g.record(&s, actor, e)
			}
		}
	}
	const byDeliveries = "system:deliveries"
	since := func() time.Time { return g.now.Add(-time.Hour) }
	return []func(){
		decide(byOffice, func() endpoint.Command {
			return endpoint.Register{Account: account(), Settings: endpoint.Settings{
				URL: "https://crm.example/hooks/" + g.uuid().String(), Dialect: "verbatim@1",
				Events: []string{"conversation.closed"}, History: one(g, []string{"full", "last:20", "none"}),
			}}
		}),
		decide(byOffice, func() endpoint.Command {
			return endpoint.Update{RateLimit: set(1 + g.chance.IntN(100)), Headers: set([]string{"X-Tenant"})}
		}),
		decide(byDeliveries, func() endpoint.Command {
			return endpoint.NoteFailing{Since: since(), Outcome: endpoint.Outcome{Status: 503}}
		}),
		decide(byDeliveries, func() endpoint.Command { return endpoint.NoteRecovered{Since: since()} }),
		decide(byDeliveries, func() endpoint.Command {
			return endpoint.NoteExhausted{
				DeliveryID: fmt.Sprintf("dlv_%032x", g.chance.Uint64()), Event: "conversation.closed",
				Stream: eventstore.StreamName("conversation", g.uuid().String()), Attempts: 12, Reason: "exhausted",
				Outcome: endpoint.Outcome{Fault: "timeout"},
			}
		}),
		decide(byOffice, func() endpoint.Command {
			return endpoint.RotateSecret{PreviousUntil: g.now.Add(endpoint.DefaultOverlap)}
		}),
		decide(byDeliveries, func() endpoint.Command {
			return endpoint.Disable{Reason: "nothing but failures for five days", Cause: endpoint.ReceiverFailed}
		}),
		decide(byOffice, func() endpoint.Command { return endpoint.Enable{} }),
		decide(byOffice, func() endpoint.Command { return endpoint.Delete{} }),
	}
}
