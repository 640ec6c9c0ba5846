package traffic_test

import (
	"crypto/sha256"
	"encoding/hex"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"verbatim/domain/conversation"
	"verbatim/eventstore"
	"verbatim/eventstore/traffic"
)

func events(t *testing.T, o traffic.Options) []eventstore.Recorded {
	t.Helper()
	if err := o.Check(); err != nil {
		t.Fatal(err)
	}
	var all []eventstore.Recorded
	for r, err := range traffic.Generate(eventstore.Catalogue(), o) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
	}
	return all
}

func sum(t *testing.T, all []eventstore.Recorded) string {
	t.Helper()
	h := sha256.New()
	for i := range all {
		line, err := eventstore.AppendLine(nil, &all[i])
		if err != nil {
			t.Fatal(err)
		}
		h.Write(append(line, '\n'))
	}
	return hex.EncodeToString(h.Sum(nil))
}

// TestTheLogFollowsFromTheSeed, and from nothing else.
func TestTheLogFollowsFromTheSeed(t *testing.T) {
	t.Parallel()
	o := traffic.Options{Events: 3000, Seed: 7}
	once := sum(t, events(t, o))
	if again := sum(t, events(t, o)); again != once {
		t.Error("the same seed makes two logs")
	}
	o.Seed = 8
	if other := sum(t, events(t, o)); other == once {
		t.Error("two seeds make the same log")
	}
}

// TestTheLogIsOne holds made-up logs of all sizes against what a log must be.
func TestTheLogIsOne(t *testing.T) {
	t.Parallel()
	codec := eventstore.Catalogue()
	for _, o := range []traffic.Options{
		{Events: 3},
		{Events: 4},
		{Events: 50},
		{Events: 499},
		{Events: 500},
		{Events: 501},
		{Events: 2500, Conversations: 1},
		{Events: 2500, Conversations: 800},
		{Events: 2500, Length: 10},
		{Events: 2500, Length: 2500},
		{Events: 2503, Length: 3},
		{Events: 10_000, Seed: math.MaxUint64},
	} {
		all := events(t, o)
		if int64(len(all)) != o.Events {
			t.Errorf("%+v: %d events", o, len(all))
		}
		versions, ids := make(map[string]int64), make(map[uuid.UUID]bool)
		states := make(map[string]conversation.State)
		var before time.Time
		for i := range all {
			r := &all[i]
			versions[r.Stream]++
			switch {
			case r.Position != int64(i)+1 || r.Version != versions[r.Stream]:
				t.Fatalf("%+v: event %d is at position %d, version %d", o, i+1, r.Position, r.Version)
			case ids[r.ID] || r.ID.Version() != 7:
				t.Fatalf("%+v: position %d has the id %s", o, r.Position, r.ID)
			case r.Time.Before(before) || !r.Time.Equal(r.Time.Truncate(time.Microsecond)):
				t.Fatalf("%+v: position %d is at %s, behind %s", o, r.Position, r.Time, before)
			}
			ids[r.ID], before = true, r.Time
			if err := codec.Check(r); err != nil {
				t.Fatalf("%+v: %v", o, err)
			}
			e, err := codec.Decode(r)
			if err != nil {
				t.Fatal(err)
			}
			if e, ok := e.(conversation.Event); ok {
				s := states[r.Stream]
				if _, reopened := e.(conversation.Reopened); s.Status == conversation.StatusEnded && !reopened {
					t.Fatalf("%+v: position %d: %s in a closed conversation", o, r.Position, r.Type)
				}
				states[r.Stream] = conversation.Evolve(s, e)
			}
		}
		if o.Conversations > 0 && int64(len(states)) != o.Conversations {
			t.Errorf("%+v: %d conversations", o, len(states))
		}
	}
}

// TestEverythingHappens: each fact of the catalogue, whatever the seed.
func TestEverythingHappens(t *testing.T) {
	t.Parallel()
	for seed := range uint64(5) {
		seen := make(map[string]int)
		for _, r := range events(t, traffic.Options{Events: 5000, Seed: seed}) {
			seen[r.Type]++
		}
		for name := range eventstore.Catalogue().Types() {
			if seen[name] == 0 {
				t.Errorf("seed %d: there is no %s in 5,000 events", seed, name)
			}
		}
	}
}

// TestTheLogIsLikeOne: conversations go on side by side, most are short, some
// long; what is said is in several scripts, and sometimes a page.
func TestTheLogIsLikeOne(t *testing.T) {
	t.Parallel()
	all := events(t, traffic.Options{Events: 30_000, Seed: 3})
	lengths, same := make(map[string]int), 0
	var text strings.Builder
	longest := 0
	for i := range all {
		if strings.HasPrefix(all[i].Stream, "conversation-") {
			lengths[all[i].Stream]++
		}
		if i > 0 && all[i].Stream == all[i-1].Stream {
			same++
		}
		if all[i].Type == "conversation.message_posted" {
			text.Write(all[i].Data)
			longest = max(longest, len(all[i].Data))
		}
	}
	var sorted []int
	for _, n := range lengths {
		sorted = append(sorted, n)
	}
	slices.Sort(sorted)
	median, most := sorted[len(sorted)/2], sorted[len(sorted)-1]
	if mean := 30_000 / len(sorted); median > mean || most < 10*mean {
		t.Errorf("of %d conversations the middle one has %d events and the longest %d", len(sorted), median, most)
	}
	if same > len(all)/3 {
		t.Errorf("%d of %d events follow one of the same stream", same, len(all))
	}
	for _, part := range []string{"Größe", "Здравствуйте", "مرحبا", "שלום", "こんにちは", "नमस्ते", "👩‍👩‍👧‍👦", "𠮷", "\u200f", "video/mp4", `"private":true`, `"reply_to":`, "input_select", `\"error 500\" & then <nothing>`} {
		if !strings.Contains(text.String(), part) {
			t.Errorf("nobody says %s", part)
		}
	}
	if longest < 5000 {
		t.Errorf("the longest message has %d bytes", longest)
	}
}

func TestLengthsAreAsAsked(t *testing.T) {
	t.Parallel()
	lengths := make(map[string]int)
	for _, r := range events(t, traffic.Options{Events: 400, Length: 20}) {
		lengths[r.Stream]++
	}
	conversations := 0
	for stream, n := range lengths {
		if strings.HasPrefix(stream, "conversation-") {
			conversations++
			if n > 20 {
				t.Errorf("%s has %d events", stream, n)
			}
		}
	}
	if conversations != 20 {
		t.Errorf("there are %d conversations, want 20", conversations)
	}
}

func TestOptionsThatCannotBe(t *testing.T) {
	t.Parallel()
	for _, o := range []traffic.Options{
		{},
		{Events: 2},
		{Events: -1},
		{Events: 100, Conversations: 2, Length: 3},
		{Events: 100, Conversations: 34},
		{Events: 600, Conversations: 200},
		{Events: 100, Length: 2},
		{Events: 100, Length: 101},
		{Events: 100, Conversations: -1},
		{Events: 100, Length: -1},
	} {
		if err := o.Check(); err == nil {
			t.Errorf("%+v: want an error", o)
		}
	}
}
