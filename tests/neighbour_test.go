package tests_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"verbatim/webhooks"
	"verbatim/webhooks/webhookstest"
)

// TestNoisyNeighbour has endpoints that hang, each with up to a thousand conversations
// waiting, beside one that is well. In a clock that moves only when nobody has
// anything to do, each delivery to that one is taken in the very moment in which
// it was planned, through the time-outs, the breaks and the retries of the
// others: it waits for nobody.
func TestNoisyNeighbour(t *testing.T) {
	t.Parallel()
	for _, hanging := range []int{1, 9, 64} {
		t.Run(fmt.Sprintf("%d hang", hanging), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { testNeighbours(t, hanging) })
		})
	}
}

const (
	neighbourWaiting = 1000 // conversations of each that hangs, as long as they are not more than
	neighbourAll     = 9000 // of all together
	neighbourBursts  = 200
	neighbourBurst   = 3 // deliveries at a time, of different conversations
	neighbourTimeout = 15 * time.Second
)

// street is receivers beside each other: one is well, the others hang.
type street struct {
	mu      sync.Mutex
	taken   map[string]time.Time // by webhook-id
	hung    int
	hanging int // now
	most    int
}

func (s *street) Send(ctx context.Context, r webhooks.Request) webhooks.Outcome {
	if strings.Contains(r.URL, "well") {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.taken[r.Headers["webhook-id"]] = time.Now()
		return webhooks.Outcome{Status: 200}
	}
	s.mu.Lock()
	s.hung++
	s.hanging++
	s.most = max(s.most, s.hanging)
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.hanging--
	}()
	timer := time.NewTimer(neighbourTimeout)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	return webhooks.Outcome{Fault: webhooks.TimedOut, Took: neighbourTimeout}
}

func (*street) Body(context.Context, *webhooks.Delivery) ([]byte, error) { return []byte("{}"), nil }

func testNeighbours(t *testing.T, hanging int) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	queue, s := webhookstest.NewQueue(), &street{taken: make(map[string]time.Time)}
	d := webhooks.NewDispatcher(queue, s, s, time.Now, webhooks.Config{Grace: -1})
	waiting := min(neighbourWaiting, neighbourAll/hanging)
	position := int64(0)
	plan := func(endpoint, conversation int) webhooks.Delivery {
		position++
		p := webhookstest.Planned(webhookstest.Endpoint(endpoint), webhookstest.Stream(conversation), position, position, "b")
		p.DueAt, p.CreatedAt = time.Now(), time.Now()
		return p
	}
	target := func(endpoint int, url string) {
		if err := queue.SetTarget(ctx, webhookstest.Endpoint(endpoint), webhookstest.TargetOf(url)); err != nil {
			t.Fatal(err)
		}
	}
	target(0, "https://well.example/")
	for n := 1; n <= hanging; n++ {
		target(n, "https://hangs.example/")
		var page []webhooks.Delivery
		for c := range waiting {
			page = append(page, plan(n, c))
		}
		if err := queue.Plan(ctx, page); err != nil {
			t.Fatal(err)
		}
		d.Offer(page)
	}
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	synctest.Wait()
	if s.hung < hanging {
		t.Errorf("%d attempts hang, of %d endpoints", s.hung, hanging)
	}
	for burst := 0; burst < neighbourBursts && !t.Failed(); burst++ {
		time.Sleep(317 * time.Millisecond) // of the bubble: a minute in all
		var page []webhooks.Delivery
		for n := range neighbourBurst {
			page = append(page, plan(0, burst+n))
		}
		if err := queue.Plan(ctx, page); err != nil {
			t.Error(err)
		}
		planned := time.Now()
		d.Offer(page)
		synctest.Wait()
		for i := range page {
			if at, taken := s.taken[page[i].WebhookID]; !taken || !at.Equal(planned) {
				t.Errorf("burst %d, number %d: taken %t, %v after it was planned", burst, i, taken, at.Sub(planned))
			}
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	t.Logf("neighbour: %d deliveries beside %d endpoints that hang with %d conversations each: none waited; %d attempts hung, at most %d at a time",
		len(s.taken), hanging, waiting, s.hung, s.most)
}
