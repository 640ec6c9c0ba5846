// Package webhookstest has what tests of deliveries need: a queue in memory,
// which is the oracle of what a queue does, a suite that holds any other queue
// to it, and the reading of fixtures.
package webhookstest

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"verbatim/webhooks"
)

// A Subject is a queue, and what a test needs to fill it and to look into it.
type Subject interface {
	webhooks.Queue
	webhooks.NoticeKeeper
	// Plan adds pending deliveries, as the plan does. It is not called twice for
	// one id.
	Plan(ctx context.Context, ds []webhooks.Delivery) error
	// SetTarget registers an endpoint or changes it.
	SetTarget(ctx context.Context, endpointID string, t webhooks.Target) error
	// DeleteTarget deletes an endpoint; its deliveries stay.
	DeleteTarget(ctx context.Context, endpointID string) error
	// Redeliver makes a delivery due at once whatever became of it, with the
	// whole schedule before it, and reports whether there is one.
	Redeliver(ctx context.Context, id string, at time.Time) (bool, error)
	// Cancel ends a delivery that is pending, and reports whether it was.
	Cancel(ctx context.Context, id, reason string, at time.Time) (bool, error)
	// PruneDeliveries, Crowded and CancelWaiting are those of webhooks.RecordKeeper.
	PruneDeliveries(ctx context.Context, before time.Time, rows int) (int, error)
	Crowded(ctx context.Context, endpointID string, keep int) (webhooks.Mark, bool, error)
	CancelWaiting(ctx context.Context, endpointID string, w webhooks.Waiting, reason string, at time.Time) (webhooks.Mark, int, error)
	// Delivery returns a delivery as it is now.
	Delivery(ctx context.Context, id string) (webhooks.Delivery, error)
	// Attempts returns the attempts of a delivery in order.
	Attempts(ctx context.Context, deliveryID string) ([]webhooks.Attempt, error)
}

// Queue is a Subject in memory.
type Queue struct {
	mu         sync.Mutex
	deliveries map[string]webhooks.Delivery
	attempts   map[string][]webhooks.Attempt
	targets    map[string]webhooks.Target
	health     map[string]webhooks.Health
	pending    map[webhooks.Lane][]string // ids in order
	notices    []webhooks.Notice
}

var _ Subject = (*Queue)(nil)

// NewQueue returns an empty queue.
func NewQueue() *Queue {
	return &Queue{
		deliveries: make(map[string]webhooks.Delivery),
		attempts:   make(map[string][]webhooks.Attempt),
		targets:    make(map[string]webhooks.Target),
		health:     make(map[string]webhooks.Health),
		pending:    make(map[webhooks.Lane][]string),
	}
}

// Heads returns the oldest pending delivery of every lane after the given one.
func (q *Queue) Heads(ctx context.Context, after webhooks.Lane, limit int) ([]webhooks.Delivery, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	lanes := slices.SortedFunc(maps.Keys(q.pending), compareLanes)
	var heads []webhooks.Delivery
	for _, l := range lanes {
		if len(heads) < limit && compareLanes(l, after) > 0 {
			heads = append(heads, q.deliveries[q.pending[l][0]])
		}
	}
	return heads, nil
}

func compareLanes(a, b webhooks.Lane) int {
	return cmp.Or(strings.Compare(a.EndpointID, b.EndpointID), strings.Compare(a.Key, b.Key))
}

// Next returns the pending deliveries of a lane, oldest first.
func (q *Queue) Next(ctx context.Context, lane webhooks.Lane, limit int) ([]webhooks.Delivery, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	var ds []webhooks.Delivery
	for _, id := range q.pending[lane] {
		if len(ds) < limit {
			ds = append(ds, q.deliveries[id])
		}
	}
	return ds, nil
}

// Notices returns the oldest notices that are kept.
func (q *Queue) Notices(ctx context.Context, limit int) ([]webhooks.Notice, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return slices.Clone(q.notices[:min(limit, len(q.notices))]), ctx.Err()
}

// Said forgets a notice.
func (q *Queue) Said(ctx context.Context, key string) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if i := q.noticed(key); i >= 0 {
		q.notices = slices.Delete(q.notices, i, i+1)
	}
	return ctx.Err()
}

func (q *Queue) noticed(key string) int {
	return slices.IndexFunc(q.notices, func(n webhooks.Notice) bool { return n.Key() == key })
}

// Record commits attempts and the states they lead to.
func (q *Queue) Record(ctx context.Context, reports []webhooks.Report) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, r := range reports {
		for _, n := range r.Notices {
			if q.noticed(n.Key()) < 0 {
				q.notices = append(q.notices, n.Kept())
			}
		}
		if r.Attempt.Number > 0 {
			q.health[r.Delivery.EndpointID] = r.Health
		}
		d, ok := q.deliveries[r.Delivery.ID]
		if !ok {
			continue
		}
		if n := r.Attempt.Number; n > 0 {
			known := slices.ContainsFunc(q.attempts[d.ID], func(a webhooks.Attempt) bool { return a.Number == n })
			if known {
				continue
			}
			q.attempts[d.ID] = append(q.attempts[d.ID], r.Attempt)
		}
		if d.State != webhooks.Pending {
			d.Attempts = max(d.Attempts, r.Attempt.Number)
			q.deliveries[d.ID] = d
			continue
		}
		after := r.Delivery
		if after.State == webhooks.Pending && d.Reason == webhooks.ReasonInTurn {
			after.Reason, after.DueAt = d.Reason, d.DueAt // it was told to stand still
		}
		d.State, d.Reason, d.Attempts, d.DueAt = after.State, after.Reason, after.Attempts, after.DueAt
		d.EndedAt, d.Digest, d.Bytes = after.EndedAt, after.Digest, after.Bytes
		q.deliveries[d.ID] = d
		if d.State != webhooks.Pending {
			q.dequeue(d)
		}
	}
	return nil
}

func (q *Queue) dequeue(d webhooks.Delivery) {
	lane := webhooks.Lane{EndpointID: d.EndpointID, Key: d.Lane}
	if ids := q.pending[lane]; ids[0] == d.ID {
		q.pending[lane] = ids[1:] // nearly always
	} else {
		q.pending[lane] = slices.DeleteFunc(ids, func(id string) bool { return id == d.ID })
	}
	if len(q.pending[lane]) == 0 {
		delete(q.pending, lane)
	}
}

// Target returns an endpoint, or webhooks.ErrNoTarget.
func (q *Queue) Target(ctx context.Context, endpointID string) (webhooks.Target, error) {
	if err := ctx.Err(); err != nil {
		return webhooks.Target{}, err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	t, ok := q.targets[endpointID]
	if !ok {
		return webhooks.Target{}, webhooks.ErrNoTarget
	}
	t.Health = q.health[endpointID]
	return t, nil
}

// Plan adds pending deliveries.
func (q *Queue) Plan(_ context.Context, ds []webhooks.Delivery) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, d := range ds {
		if _, known := q.deliveries[d.ID]; known {
			return fmt.Errorf("delivery %s is planned already", d.ID)
		}
		q.deliveries[d.ID] = d
		q.enqueue(d)
	}
	return nil
}

func (q *Queue) enqueue(d webhooks.Delivery) {
	lane := webhooks.Lane{EndpointID: d.EndpointID, Key: d.Lane}
	byAge := func(a, b string) int {
		x, y := q.deliveries[a], q.deliveries[b]
		return cmp.Or(cmp.Compare(x.Position, y.Position), strings.Compare(x.Name, y.Name))
	}
	q.pending[lane] = append(q.pending[lane], d.ID)
	ids := q.pending[lane]
	if n := len(ids); n > 1 && byAge(ids[n-2], ids[n-1]) > 0 { // hardly ever
		slices.SortFunc(ids, byAge)
	}
}

// Redeliver makes a delivery due at once, with the whole schedule before it.
func (q *Queue) Redeliver(_ context.Context, id string, at time.Time) (bool, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	d, ok := q.deliveries[id]
	if !ok {
		return false, nil
	}
	waits := d.State == webhooks.Pending
	d = d.Redelivered(at)
	q.deliveries[id] = d
	if !waits {
		q.enqueue(d)
	}
	return true, nil
}

// Cancel ends a delivery that is pending.
func (q *Queue) Cancel(_ context.Context, id, reason string, at time.Time) (bool, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	d, ok := q.deliveries[id]
	if !ok || d.State != webhooks.Pending {
		return false, nil
	}
	d.State, d.Reason, d.EndedAt = webhooks.Cancelled, reason, &at
	q.deliveries[id] = d
	q.dequeue(d)
	return true, nil
}

// PruneDeliveries removes deliveries that ended before then, with their attempts,
// oldest first.
func (q *Queue) PruneDeliveries(_ context.Context, before time.Time, rows int) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	var old []webhooks.Delivery
	for _, d := range q.deliveries {
		if d.EndedAt != nil && d.EndedAt.Before(before) {
			old = append(old, d)
		}
	}
	slices.SortFunc(old, func(a, b webhooks.Delivery) int {
		return cmp.Or(a.EndedAt.Compare(*b.EndedAt), strings.Compare(a.ID, b.ID))
	})
	n := 0
	for _, d := range old {
		if rows -= 1 + d.Attempts; rows < 0 && n > 0 {
			break
		}
		delete(q.deliveries, d.ID)
		delete(q.attempts, d.ID)
		n++
	}
	return n, nil
}

// waiting returns the pending deliveries of an endpoint, oldest first.
func (q *Queue) waiting(endpointID string) []webhooks.Delivery {
	var ds []webhooks.Delivery
	for _, d := range q.deliveries {
		if d.EndpointID == endpointID && d.State == webhooks.Pending {
			ds = append(ds, d)
		}
	}
	slices.SortFunc(ds, func(a, b webhooks.Delivery) int { return webhooks.MarkOf(&a).Compare(webhooks.MarkOf(&b)) })
	return ds
}

// Crowded returns the newest pending delivery that has keep others behind it.
func (q *Queue) Crowded(_ context.Context, endpointID string, keep int) (webhooks.Mark, bool, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	ds := q.waiting(endpointID)
	if len(ds) <= keep {
		return webhooks.Mark{}, false, nil
	}
	return webhooks.MarkOf(&ds[len(ds)-1-keep]), true, nil
}

// CancelWaiting cancels deliveries that wait for a disabled endpoint.
func (q *Queue) CancelWaiting(
	_ context.Context, endpointID string, w webhooks.Waiting, reason string, at time.Time,
) (last webhooks.Mark, cancelled int, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	last = w.After
	if !q.targets[endpointID].Disabled {
		return last, 0, nil
	}
	looked := 0
	for _, d := range q.waiting(endpointID) {
		m := webhooks.MarkOf(&d)
		if m.Compare(w.After) <= 0 || w.UpTo != nil && m.Compare(*w.UpTo) > 0 || looked == w.Limit {
			continue
		}
		last, looked = m, looked+1
		if !w.Before.IsZero() && !d.WaitingSince().Before(w.Before) {
			continue
		}
		d.State, d.Reason, d.EndedAt = webhooks.Cancelled, reason, &at
		q.deliveries[d.ID] = d
		q.dequeue(d)
		cancelled++
	}
	return last, cancelled, nil
}

// SetTarget registers an endpoint or changes it.
func (q *Queue) SetTarget(_ context.Context, endpointID string, t webhooks.Target) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.targets[endpointID] = t
	return nil
}

// DeleteTarget deletes an endpoint.
func (q *Queue) DeleteTarget(_ context.Context, endpointID string) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.targets, endpointID)
	return nil
}

// Delivery returns a delivery as it is now.
func (q *Queue) Delivery(_ context.Context, id string) (webhooks.Delivery, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	d, ok := q.deliveries[id]
	if !ok {
		return d, fmt.Errorf("there is no delivery %s", id)
	}
	return d, nil
}

// Attempts returns the attempts of a delivery in order.
func (q *Queue) Attempts(_ context.Context, deliveryID string) ([]webhooks.Attempt, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return slices.Clone(q.attempts[deliveryID]), nil
}

// Deliveries returns all deliveries, those of a lane behind each other.
func (q *Queue) Deliveries() []webhooks.Delivery {
	q.mu.Lock()
	defer q.mu.Unlock()
	return slices.SortedFunc(maps.Values(q.deliveries), func(a, b webhooks.Delivery) int {
		return cmp.Or(
			strings.Compare(a.EndpointID, b.EndpointID), strings.Compare(a.Stream, b.Stream),
			cmp.Compare(a.Position, b.Position), strings.Compare(a.Name, b.Name),
		)
	})
}
