// Package traffic makes up a log as a busy account leaves one: many
// conversations side by side, most of them short and a few very long, in several
// languages, in which all that can happen does. Whatever is in it was decided by
// the rules of the aggregates, and all of it follows from a seed, byte for byte.
package traffic

import (
	"container/heap"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"math"
	"math/rand/v2"
	"time"

	"github.com/google/uuid"

	"verbatim/domain"
	"verbatim/eventstore"
)

const (
	// usualLength is how many events a conversation has on average, if nothing
	// else is said.
	usualLength = 24
	// leastLength has room for a contact, the beginning of a conversation and
	// something in it.
	leastLength = 3
	// tail is how long the tail of the lengths is: the deviation of their
	// logarithm. Half of the conversations are under half the average, one in a
	// hundred has eight times as many events, one in ten thousand forty times.
	tail = 1.2
	// liveAtOnce is how many conversations go on side by side, and knownAtOnce
	// how many contacts may come back: with them the memory is bounded, but for
	// four bytes a conversation.
	liveAtOnce  = 400
	knownAtOnce = 1000
	// Extras are what happens beside conversations: contacts that are erased, and
	// endpoints. There is one such contact for every so many events, and one
	// endpoint; a log below the first number has none.
	leastForExtras    = 500
	eventsPerErasure  = 2_000
	eventsPerEndpoint = 200_000
)

// begins is when the log begins: the time is as made up as all else.
var begins = time.Date(2024, 1, 8, 8, 0, 0, 0, time.UTC) //nolint:gochecknoglobals // a constant, were it one

// Options say what log is made up. Of Conversations and Length at most one is
// given.
type Options struct {
	Events        int64  // in the log
	Conversations int64  // how many; 0 for as many as are usual
	Length        int64  // events of each conversation, its contact's among them; 0 for a long tail
	Seed          uint64 // from which all of it follows
}

// Check returns what is wrong with the options, or nil.
func (o Options) Check() error {
	switch {
	case o.Events < leastLength:
		return fmt.Errorf("events must be %d or more", leastLength)
	case o.Conversations < 0 || o.Length < 0 || o.Conversations > 0 && o.Length > 0:
		return errors.New("either conversations or length may be given")
	case o.Conversations > 0 && o.Conversations*leastLength > o.Events-extraEvents(o.Events):
		return fmt.Errorf("events must be %d or more for each conversation", leastLength)
	case o.Length > 0 && (o.Length < leastLength || o.Length > o.Events):
		return fmt.Errorf("length must be from %d to the number of events", leastLength)
	}
	return nil
}

// Generate yields the log, one event after the other. Digests and hashes are
// left to whoever records it. The options must be in order.
func Generate(codec *eventstore.Codec, o Options) iter.Seq2[eventstore.Recorded, error] {
	return func(yield func(eventstore.Recorded, error) bool) {
		var seed [32]byte
		binary.BigEndian.PutUint64(seed[:], o.Seed)
		g := &generator{codec: codec, chance: rand.New(rand.NewChaCha8(seed)), now: begins}
		g.cast()
		extras := g.extras(o.Events)
		g.plan(o, extraEvents(o.Events))
		for g.err == nil && g.position < o.Events {
			g.out = g.out[:0]
			switch {
			case len(extras) > 0 && (g.position >= extras[0].after || len(g.live) == 0):
				extras[0].do()
				extras = extras[1:]
			case len(g.live) == 0:
				g.fail(errors.New("nothing is left to happen"))
			default:
				g.step()
			}
			for i := range g.out {
				if !yield(g.out[i], nil) {
					return
				}
			}
		}
		if g.err != nil {
			yield(eventstore.Recorded{}, g.err)
		}
	}
}

type generator struct {
	codec    *eventstore.Codec
	chance   *rand.Rand
	now      time.Time
	position int64
	commands int64
	out      []eventstore.Recorded
	err      error

	agents []domain.Person
	bots   []domain.Person

	lengths []int32 // of the conversations that have not begun yet, last first
	live    talks
	known   []*person // contacts that may come back
}

// plan draws how long each conversation will be: together as long as the log,
// without what happens beside them.
func (g *generator) plan(o Options, extras int64) {
	events := o.Events - extras
	count := o.Conversations
	switch {
	case o.Length > 0:
		count = max(1, events/o.Length)
	case count == 0:
		count = max(1, events/usualLength)
	}
	g.lengths = make([]int32, count)
	spare := events - count*leastLength
	if o.Length > 0 {
		for i := range g.lengths {
			g.lengths[i] = int32(o.Length)
		}
		g.lengths[0] += int32(events - count*o.Length)
	} else {
		weights, sum := make([]float32, count), 0.0
		for i := range weights {
			weights[i] = float32(math.Exp(tail * g.chance.NormFloat64()))
			sum += float64(weights[i])
		}
		left := spare
		for i := range g.lengths {
			share := int64(float64(weights[i]) / sum * float64(spare))
			g.lengths[i] = int32(leastLength + share)
			left -= share
		}
		for i := int64(0); left > 0; i, left = i+1, left-1 {
			g.lengths[i%count]++
		}
	}
	for range min(count, liveAtOnce) {
		g.begin(begins.Add(g.pause(20 * time.Minute)))
	}
}

// begin lets the next conversation begin at that time.
func (g *generator) begin(at time.Time) {
	last := len(g.lengths) - 1
	if last < 0 {
		return
	}
	heap.Push(&g.live, &talk{g: g, due: at, left: int64(g.lengths[last])})
	g.lengths = g.lengths[:last]
}

// step lets happen what is due next.
func (g *generator) step() {
	t := g.live[0]
	if t.due.After(g.now) {
		g.now = t.due
	}
	t.step()
	if t.left > 0 {
		heap.Fix(&g.live, 0)
		return
	}
	heap.Pop(&g.live)
	g.begin(g.now.Add(g.pause(10 * time.Second)))
}

// talks is a heap of conversations by what is due first.
type talks []*talk

func (t *talks) Len() int           { return len(*t) }
func (t *talks) Less(i, j int) bool { return (*t)[i].due.Before((*t)[j].due) }
func (t *talks) Swap(i, j int)      { (*t)[i], (*t)[j] = (*t)[j], (*t)[i] }
func (t *talks) Push(x any)         { *t = append(*t, x.(*talk)) }

func (t *talks) Pop() any {
	last := (*t)[len(*t)-1]
	*t = (*t)[:len(*t)-1]
	return last
}

// A stream is where events of one aggregate go.
type stream struct {
	name    string
	version int64
}

// record adds what a command led to.
func (g *generator) record(s *stream, actor string, events ...domain.Event) {
	g.commands++
	metadata, err := json.Marshal(eventstore.Metadata{
		Actor: actor, Command: fmt.Sprintf("c-%07d", g.commands), Correlation: g.uuid().String(),
	})
	g.fail(err)
	for _, e := range events {
		name, schema, data, err := g.codec.Encode(e)
		g.fail(err)
		g.position++
		s.version++
		g.out = append(g.out, eventstore.Recorded{
			Position: g.position, Stream: s.name, Version: s.version, ID: g.uuid(), Type: name, Schema: schema,
			Time: g.now, Account: account().ID, Data: data, Metadata: metadata,
		})
	}
}

func (g *generator) fail(err error) {
	if g.err == nil && err != nil {
		g.err = fmt.Errorf("position %d: %w", g.position, err)
	}
}

// pause is some time, mostly less than usual and seldom much more.
func (g *generator) pause(usual time.Duration) time.Duration {
	return time.Duration(g.chance.ExpFloat64()*float64(usual)).Truncate(time.Microsecond) + time.Microsecond
}

// uuid returns a UUIDv7 of now.
func (g *generator) uuid() (id uuid.UUID) {
	binary.BigEndian.PutUint64(id[:8], uint64(g.now.UnixMilli())<<16|g.chance.Uint64()&0x0fff)
	binary.BigEndian.PutUint64(id[8:], g.chance.Uint64())
	id[6] = id[6]&0x0f | 0x70
	id[8] = id[8]&0x3f | 0x80
	return id
}

// one returns one of a list.
func one[T any](g *generator, list []T) T { return list[g.chance.IntN(len(list))] }

// in reports true once in n times.
func (g *generator) in(n int) bool { return g.chance.IntN(n) == 0 }

func account() domain.Account { return domain.Account{ID: "default", Number: 1, Name: "Default"} }
