package eventstore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"verbatim/eventstore"
)

// soundLog returns a log of streams that go on in turns, with the digests and
// hashes that a store gives them.
func soundLog(streams, events int) (log []eventstore.Recorded) {
	heads := make([][32]byte, streams)
	for n := range events {
		s := n % streams
		r := eventstore.Recorded{
			Position: int64(n + 1), Stream: fmt.Sprintf("ledger-%d", s), Version: int64(n/streams + 1), ID: uuid.UUID{15: byte(n + 1)},
			Type: "ledger.booked", Schema: 1, Time: time.Unix(int64(n), 0).UTC(), Account: acme,
			Data: []byte(fmt.Sprintf(`{"amount":%d}`, n)), Metadata: []byte("{}"),
		}
		r.Digest = eventstore.Digest(r.Data)
		r.Hash = eventstore.Chain(heads[s], &r)
		heads[s] = r.Hash
		log = append(log, r)
	}
	return log
}

// found is what an audit says of a log, and what is wrong with each event by
// itself, as "position defect".
func found(t *testing.T, log []eventstore.Recorded, a *eventstore.Audit) (out []string) {
	t.Helper()
	codec := eventstore.NewCodec(eventstore.KindOf[booked]())
	for i := range log {
		faults, err := a.Take(t.Context(), &log[i])
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range append(faults, eventstore.Inspect(codec, &log[i])...) {
			if f.Detail == "" {
				t.Errorf("%+v", f)
			}
			out = append(out, fmt.Sprintf("%d %s", f.Position, f.Defect))
		}
	}
	return out
}

func TestAudit(t *testing.T) {
	t.Parallel()
	const streams, events = 3, 12
	// Position 5 is version 2 of the second stream, 8 is version 3.
	for _, c := range []struct {
		name   string
		tamper func(log []eventstore.Recorded) []eventstore.Recorded
		want   []string
	}{
		{"nothing", func(log []eventstore.Recorded) []eventstore.Recorded { return log }, nil},
		{"data", change(5, func(r *eventstore.Recorded) { r.Data[2] ^= 1 }), []string{"5 data"}},
		{"data and digest", change(5, func(r *eventstore.Recorded) {
			r.Data = []byte(`{"amount":50}`)
			r.Digest = eventstore.Digest(r.Data)
		}), []string{"5 hash"}},
		{"hash", change(5, func(r *eventstore.Recorded) { r.Hash[0] ^= 1 }), []string{"5 hash", "8 hash"}},
		{"the hash of the last", change(12, func(r *eventstore.Recorded) { r.Hash[0] ^= 1 }), []string{"12 hash"}},
		{"metadata", change(5, func(r *eventstore.Recorded) { r.Metadata = []byte(`{"actor":"key:1"}`) }), []string{"5 hash"}},
		{"time", change(5, func(r *eventstore.Recorded) { r.Time = r.Time.Add(time.Microsecond) }), []string{"5 hash"}},
		{"id", change(5, func(r *eventstore.Recorded) { r.ID[0] ^= 1 }), []string{"5 hash"}},
		{"account", change(5, func(r *eventstore.Recorded) { r.Account = "other" }), []string{"5 account", "5 hash", "8 account"}},
		{"type", change(5, func(r *eventstore.Recorded) { r.Type = "ledger.burnt" }), []string{"5 hash", "5 undecodable"}},
		{"version", change(5, func(r *eventstore.Recorded) { r.Version = 9 }), []string{"5 version", "8 version"}},
		{"stream", change(5, func(r *eventstore.Recorded) { r.Stream = "ledger-9" }), []string{"5 version", "8 version"}},
		{"a gap", func(log []eventstore.Recorded) []eventstore.Recorded { return slices.Delete(log, 4, 5) }, []string{"5 position", "8 version"}},
		{"a wide gap", func(log []eventstore.Recorded) []eventstore.Recorded {
			return slices.Delete(log, 0, 9)
		}, []string{"1 position", "10 version", "11 version", "12 version"}},
		{"twice", func(log []eventstore.Recorded) []eventstore.Recorded {
			return slices.Insert(log, 5, log[4])
		}, []string{"5 position", "5 version"}},
		{"erased", erase(5), nil},
		{"erased, and changed", func(log []eventstore.Recorded) []eventstore.Recorded {
			log = erase(5)(log)
			log[4].Data = []byte(`{"amount":-1}`)
			return log
		}, []string{"5 data"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			a := eventstore.NewAudit(0, nil)
			if diff := cmp.Diff(c.want, found(t, c.tamper(soundLog(streams, events)), a)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func change(position int, how func(*eventstore.Recorded)) func([]eventstore.Recorded) []eventstore.Recorded {
	return func(log []eventstore.Recorded) []eventstore.Recorded {
		log[position-1].Data = bytes.Clone(log[position-1].Data)
		how(&log[position-1])
		return log
	}
}

// erase leaves another data, and says so.
func erase(position int) func([]eventstore.Recorded) []eventstore.Recorded {
	return change(position, func(r *eventstore.Recorded) {
		r.Data = []byte(`{"amount":0}`)
		r.Remains = &eventstore.Remains{Schema: 1, Digest: eventstore.Digest(r.Data)}
	})
}

// TestAuditFromTheMiddle finds the events before those it is told in the log, and
// none that stand behind.
func TestAuditFromTheMiddle(t *testing.T) {
	t.Parallel()
	log := soundLog(3, 12)
	asked := 0
	before := func(_ context.Context, stream string, version int64) (*eventstore.Recorded, error) {
		asked++
		for i := range log {
			if log[i].Stream == stream && log[i].Version == version {
				return &log[i], nil
			}
		}
		return nil, nil
	}
	a := eventstore.NewAudit(6, before)
	if got := found(t, log[6:], a); got != nil || asked != 3 || a.Streams() != 0 || a.Next() != 13 {
		t.Errorf("%v, after %d questions; %d streams, next is %d", got, asked, a.Streams(), a.Next())
	}
	log[3].Hash[0] ^= 1 // of version 2 of the first stream, which is not looked at
	if got := found(t, log[6:], eventstore.NewAudit(6, before)); !slices.Equal(got, []string{"7 hash"}) {
		t.Errorf("got %v", got)
	}
	log[3].Position = 100
	if got := found(t, log[6:], eventstore.NewAudit(6, before)); !slices.Equal(got, []string{"7 version"}) {
		t.Errorf("one that stands behind: got %v", got)
	}
	a = eventstore.NewAudit(6, func(context.Context, string, int64) (*eventstore.Recorded, error) { return nil, errors.New("torn") })
	a.Skip(7)
	if got := found(t, log[7:8], a); !slices.Equal(got, []string{"8 unreadable"}) {
		t.Errorf("one that cannot be read: got %v", got)
	}
}

func TestSeal(t *testing.T) {
	t.Parallel()
	log := soundLog(3, 12)
	a := eventstore.NewAudit(0, nil)
	found(t, log, a)
	seal := a.Seal()
	if seal.Position != 12 {
		t.Errorf("got %s", seal)
	}
	again, err := eventstore.ParseSeal(seal.String())
	if err != nil || again != seal {
		t.Errorf("%s was read as %s, %v", seal, again, err)
	}
	for name, c := range map[string]struct {
		log  []eventstore.Recorded
		same bool
	}{
		"erased":  {erase(5)(soundLog(3, 12)), true},
		"cut off": {soundLog(3, 11), false},
		"changed": {change(5, func(r *eventstore.Recorded) { r.Hash[31] ^= 1 })(soundLog(3, 12)), false},
	} {
		other := eventstore.NewAudit(0, nil)
		found(t, c.log, other)
		if (other.Seal() == seal) != c.same {
			t.Errorf("%s: %s and %s", name, seal, other.Seal())
		}
	}
	for _, bad := range []string{
		"", "12", "12:", ":", "x:" + strings.Repeat("0", 64), "-1:" + strings.Repeat("0", 64), "12:" + strings.Repeat("0", 63),
		"12:" + strings.Repeat("0", 66), "12:" + strings.Repeat("g", 64), "12 " + strings.Repeat("0", 64),
	} {
		if s, err := eventstore.ParseSeal(bad); err == nil {
			t.Errorf("%q was read as %s", bad, s)
		}
	}
	if empty, err := eventstore.ParseSeal("0:" + strings.Repeat("0", 64)); err != nil || empty != (eventstore.Seal{}) {
		t.Errorf("the seal of the empty log: %s, %v", empty, err)
	}
}
