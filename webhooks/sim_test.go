package webhooks_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"verbatim/domain/endpoint"
	"verbatim/webhooks"
	"verbatim/webhooks/webhookstest"
)

// A world is a dispatcher between a queue that keeps what it commits and
// receivers that do as they please, all of it drawn from one seed: commands,
// faults, crashes, and the order in which attempts end.
type world struct {
	tb     testing.TB
	chance *rand.Rand
	now    time.Time
	latest time.Time // that it ever was
	cfg    webhooks.Config
	queue  *unreliable
	d      *webhooks.Dispatcher

	endpoints []*receiver
	position  int64
	versions  map[string]int64
	planned   map[string]webhooks.Delivery // by webhook-id
	late      [][]webhooks.Delivery        // committed, not yet offered
	tasks     []*task                      // attempts under way
	sent      map[string]int               // by webhook-id
	accepted  map[webhooks.Lane][]string   // webhook-ids, at the first acceptance
	revived   map[string]bool              // by webhook-id
	muddled   map[webhooks.Lane]bool       // lanes with something revived
	cancelled map[string]bool              // by webhook-id
	sick      map[string]int               // bodies that cannot be made so many times yet
	crashes   int
	trace     []string
}

type receiver struct {
	id       string
	settings endpoint.Settings
	answer   func() webhooks.Outcome
	disabled bool
	deleted  bool
	doomed   bool // the dispatcher has asked for it to be disabled
}

// A task is an attempt under way, of the process that is alive or of one that
// is not.
type task struct {
	run  func()
	dead bool
}

// unreliable is a queue whose calls fail at times; a Record that fails may have
// been committed all the same.
type unreliable struct {
	*webhookstest.Queue
	fails func() bool
	reads int
}

var errFlaky = errors.New("the database is away")

func (q *unreliable) Heads(ctx context.Context, after webhooks.Lane, limit int) ([]webhooks.Delivery, error) {
	q.reads++
	if q.fails() {
		return nil, errFlaky
	}
	return q.Queue.Heads(ctx, after, limit)
}

func (q *unreliable) Next(ctx context.Context, lane webhooks.Lane, limit int) ([]webhooks.Delivery, error) {
	q.reads++
	if q.fails() {
		return nil, errFlaky
	}
	return q.Queue.Next(ctx, lane, limit)
}

func (q *unreliable) Target(ctx context.Context, id string) (webhooks.Target, error) {
	if q.fails() {
		return webhooks.Target{}, errFlaky
	}
	return q.Queue.Target(ctx, id)
}

func (q *unreliable) Record(ctx context.Context, reports []webhooks.Report) error {
	before, after := q.fails(), q.fails()
	if before {
		return errFlaky
	}
	if err := q.Queue.Record(ctx, reports); err != nil {
		return err
	}
	if after {
		return errFlaky
	}
	return nil
}

func newWorld(tb testing.TB, seed uint64) *world {
	tb.Helper()
	w := &world{
		tb: tb, chance: rand.New(rand.NewPCG(seed, 7)), now: webhookstest.Day(),
		versions: map[string]int64{}, planned: map[string]webhooks.Delivery{}, sent: map[string]int{},
		accepted: map[webhooks.Lane][]string{}, revived: map[string]bool{}, muddled: map[webhooks.Lane]bool{}, sick: map[string]int{},
		cancelled: map[string]bool{},
	}
	w.queue = &unreliable{Queue: webhookstest.NewQueue(), fails: func() bool { return false }}
	w.cfg = webhooks.Config{Jitter: w.chance.Float64, Go: func(attempt func()) { w.tasks = append(w.tasks, &task{run: attempt}) }}
	if w.chance.IntN(3) > 0 { // as tight as can be
		w.cfg.Concurrency, w.cfg.PerEndpoint = 1+w.chance.IntN(6), 1+w.chance.IntN(3)
		w.cfg.LaneDepth, w.cfg.MaxLanes = 1+w.chance.IntN(3), 1+w.chance.IntN(8)
		w.cfg.Page, w.cfg.Backlog = 1+w.chance.IntN(4), 1+w.chance.IntN(12)
	}
	w.cfg.Notice = func(n webhooks.Notice) {
		w.note("notice: %s is %s", n.EndpointID, n.Kind)
		if n.Kind.Disables() {
			w.receiver(n.EndpointID).doomed = true
		}
	}
	for i := range 1 + w.chance.IntN(4) {
		r := &receiver{id: webhookstest.Endpoint(i), settings: webhookstest.TargetOf("https://example.com/").Settings}
		if w.chance.IntN(4) == 0 {
			r.settings.Ordering = endpoint.Unordered
		}
		if w.chance.IntN(4) == 0 {
			r.settings.OnExhausted = endpoint.StopLane
		}
		if w.chance.IntN(4) == 0 {
			r.settings.Concurrency = 1
		}
		w.endpoints = append(w.endpoints, r)
		w.behave(r)
		w.register(r)
	}
	w.start()
	return w
}

func (w *world) register(r *receiver) {
	t := webhookstest.TargetOf("")
	t.Settings, t.Disabled = r.settings, r.disabled
	t.Headers = map[string]string{"X-Key": r.id, "Webhook-Id": "forged", "User-Agent": "forged"}
	if err := w.queue.SetTarget(context.Background(), r.id, t); err != nil {
		w.tb.Fatal(err)
	}
}

func (w *world) receiver(id string) *receiver {
	return w.endpoints[slices.IndexFunc(w.endpoints, func(r *receiver) bool { return r.id == id })]
}

// set disables an endpoint or enables it, as a command does that was projected.
func (w *world) set(r *receiver, disabled bool) {
	r.doomed = false
	if !r.deleted {
		r.disabled = disabled
		w.register(r)
	}
	w.d.Wake(r.id)
}

func (w *world) behave(r *receiver) {
	answers := []webhooks.Outcome{
		{Status: 200},
		{Status: 200},
		{Status: 200},
		{Status: 204},
		{Status: 500},
		{Status: 302},
		{Status: 503, RetryAfter: time.Minute},
		{Fault: webhooks.TimedOut, Took: 15 * time.Second},
		{Fault: webhooks.Unreachable},
		{Status: 410},
		{Status: 500, Detail: "\x00\xff"},
		{Status: 200, Detail: `{"error":"no such key"}`}, // it lies, or not: 2xx is delivered
		{Status: 429, RetryAfter: 10 * 365 * 24 * time.Hour},
		{Status: 504},
		{Fault: webhooks.NameUnresolved},
		{Fault: webhooks.ConnectTimeout, Took: 5 * time.Second},
		{Fault: webhooks.TLSFailed},
		{Fault: webhooks.PrivateRange},
	}
	switch w.chance.IntN(3) {
	case 0:
		r.answer = func() webhooks.Outcome { return webhooks.Outcome{Status: 200} }
	case 1:
		r.answer = func() webhooks.Outcome { return answers[w.chance.IntN(len(answers))] }
	default:
		always := answers[w.chance.IntN(len(answers))]
		r.answer = func() webhooks.Outcome { return always }
	}
}

func (w *world) start() {
	w.d = webhooks.NewDispatcher(w.queue, w, w, func() time.Time { return w.now }, w.cfg)
}

// crash ends the process: some attempts had reached their receiver, none will be
// recorded.
func (w *world) crash() {
	w.crashes++
	w.note("crash")
	for _, t := range w.tasks {
		if w.chance.IntN(2) == 0 {
			t.run()
		}
		t.dead = true
	}
	w.tasks, w.late = nil, nil
	w.start()
}

func (w *world) note(format string, args ...any) {
	w.trace = append(w.trace, fmt.Sprintf(format, args...))
}

// Body renders a delivery, unless it is sick.
func (w *world) Body(_ context.Context, d *webhooks.Delivery) ([]byte, error) {
	if w.sick[d.WebhookID] > 0 {
		w.sick[d.WebhookID]--
		if w.sick[d.WebhookID]%2 == 0 {
			panic("a broken dialect")
		}
		return nil, errors.New("no such event")
	}
	return bodyOf(d), nil
}

func bodyOf(d *webhooks.Delivery) []byte {
	return []byte(`{"id":"` + d.WebhookID + `","position":` + strconv.FormatInt(d.Position, 10) + `}`)
}

// Send is a receiver.
func (w *world) Send(_ context.Context, r webhooks.Request) webhooks.Outcome {
	d, ok := w.planned[r.Headers["webhook-id"]]
	if !ok {
		w.tb.Fatalf("an unknown id was sent: %v", r.Headers)
	}
	if string(r.Body) != string(bodyOf(&d)) {
		w.tb.Fatalf("%s: body %s", d.ID, r.Body)
	}
	if r.Headers["user-agent"] != "verbatim" || r.Headers["content-type"] != "application/json" || r.Headers["x-key"] != d.EndpointID {
		w.tb.Fatalf("headers %v", r.Headers)
	}
	get := func(name string) string { return r.Headers[name] }
	secrets := webhookstest.TargetOf("").Secrets
	if err := webhooks.Verify(secrets, get, r.Body, w.now, 100*24*time.Hour); err != nil {
		w.tb.Fatal(err)
	}
	lane := laneOf(d)
	if head, err := w.queue.Queue.Next(context.Background(), lane, 1); err != nil || len(head) != 1 || head[0].ID != d.ID {
		if !w.muddled[lane] {
			w.tb.Fatalf("position %d of %v was sent, and is not its head (%v)", d.Position, lane, head)
		}
	}
	w.sent[d.WebhookID]++
	if w.cancelled[d.WebhookID] {
		w.note("cancelled while under way")
	}
	o := w.receiver(d.EndpointID).answer()
	if o.Status/100 == 2 && !slices.Contains(w.accepted[lane], d.WebhookID) {
		w.accepted[lane] = append(w.accepted[lane], d.WebhookID)
	}
	w.note("send %s/%d %s: %d%s", d.EndpointID, d.Position, d.Name, o.Status, o.Fault)
	return o
}

func laneOf(d webhooks.Delivery) webhooks.Lane {
	return webhooks.Lane{EndpointID: d.EndpointID, Key: d.Lane}
}

// plan commits a page of the plan, and offers it, mostly.
func (w *world) plan() {
	var page []webhooks.Delivery
	for range 1 + w.chance.IntN(6) {
		w.position++
		stream := webhookstest.Stream(w.chance.IntN(6))
		w.versions[stream]++
		for _, r := range w.endpoints {
			if r.deleted || w.chance.IntN(4) == 0 {
				continue
			}
			names := []string{"b"}
			if w.chance.IntN(4) == 0 {
				names = []string{"b", "a"} // the dialect's order, which is not that of the lane
			}
			for _, name := range names {
				d := webhookstest.Planned(r.id, stream, w.position, w.versions[stream], name)
				d.CreatedAt, d.DueAt = w.now, w.now
				d.Lane = webhooks.LaneOf(r.settings.Ordering, &d)
				page = append(page, d)
				w.planned[d.WebhookID] = d
				if w.chance.IntN(40) == 0 {
					w.sick[d.WebhookID] = 1 + w.chance.IntN(3)
				}
			}
		}
	}
	if err := w.queue.Plan(context.Background(), page); err != nil {
		w.tb.Fatal(err)
	}
	w.late = append(w.late, page)
	if w.chance.IntN(5) > 0 {
		w.offer()
	}
}

func (w *world) offer() {
	for _, page := range w.late {
		w.d.Offer(page)
	}
	w.late = nil
}

func (w *world) step() (worked bool, wait time.Duration) {
	worked, wait, err := w.d.Step(context.Background())
	if err != nil && !errors.Is(err, errFlaky) {
		w.tb.Fatal(err)
	}
	return worked, wait
}

func (w *world) land() {
	if len(w.tasks) == 0 {
		return
	}
	i := w.chance.IntN(len(w.tasks))
	t := w.tasks[i]
	w.tasks = slices.Delete(w.tasks, i, i+1)
	t.run()
}

func (w *world) act() {
	r := w.endpoints[w.chance.IntN(len(w.endpoints))]
	switch n := w.chance.IntN(100); {
	case n < 20:
		w.plan()
	case n < 55:
		w.step()
	case n < 80:
		w.land()
	case n < 87:
		w.now = w.now.Add(time.Duration(w.chance.Int64N(int64(time.Hour))))
	case n < 88: // somebody sets the clock, or wakes a machine that has slept
		w.latest = later(w.latest, w.now)
		if w.chance.IntN(4) == 0 {
			w.now = w.now.Add(time.Duration(w.chance.Int64N(int64(10 * 24 * time.Hour))))
		} else {
			w.now = w.now.Add(time.Duration(w.chance.Int64N(int64(2*time.Minute))) - time.Minute)
		}
	case n < 91:
		w.behave(r)
	case n < 94:
		w.set(r, r.doomed || !r.disabled)
	case n < 95:
		if w.chance.IntN(3) == 0 {
			w.cancel()
		} else {
			w.revive()
		}
	case n < 96:
		if w.chance.IntN(10) == 0 && len(w.endpoints) > 1 {
			r.deleted = true
			if err := w.queue.DeleteTarget(context.Background(), r.id); err != nil {
				w.tb.Fatal(err)
			}
			w.d.Wake(r.id)
		}
	case n < 97:
		if w.chance.IntN(4) == 0 {
			w.crash()
		}
	case n < 98:
		odds := []int{0, 0, 10, 50}[w.chance.IntN(4)]
		w.queue.fails = func() bool { return w.chance.IntN(100) < odds }
	default:
		w.offer()
		w.checkLive()
	}
}

// revive redelivers something that has ended.
func (w *world) revive() {
	all := w.queue.Deliveries()
	if len(all) == 0 {
		return
	}
	d := all[w.chance.IntN(len(all))]
	if d.State == webhooks.Pending {
		return
	}
	if _, err := w.queue.Redeliver(context.Background(), d.ID, w.now); err != nil {
		w.tb.Fatal(err)
	}
	w.revived[d.WebhookID], w.muddled[laneOf(d)] = true, true
	if w.chance.IntN(2) == 0 {
		w.d.Reload(laneOf(d))
	} else {
		w.d.Wake(d.EndpointID)
	}
}

// cancel cancels something by hand, under way or not.
func (w *world) cancel() {
	all := w.queue.Deliveries()
	if len(all) == 0 {
		return
	}
	d := all[w.chance.IntN(len(all))]
	done, err := w.queue.Cancel(context.Background(), d.ID, webhooks.ReasonAsked, w.now)
	if err != nil {
		w.tb.Fatal(err)
	}
	if done {
		w.cancelled[d.WebhookID], w.muddled[laneOf(d)] = true, true
		w.d.Reload(laneOf(d))
	}
}

// idle steps until nothing is left to do now.
func (w *world) idle() (wait time.Duration) {
	for range 100_000 {
		worked, wait := w.step()
		if worked {
			continue
		}
		if len(w.tasks) == 0 {
			return wait
		}
		w.land()
	}
	w.tb.Fatal("it never comes to rest")
	return 0
}

// checkLive holds that nothing which is due is forgotten.
func (w *world) checkLive() {
	fails := w.queue.fails
	w.queue.fails = func() bool { return false }
	defer func() { w.queue.fails = fails }()
	w.now = later(w.now, w.latest) // what was put off until a time waits for it
	// What a fault or a full memory put off comes back within these.
	soon := 4*max(webhooks.ScanPause, webhooks.Pause) + webhooks.ScanPause*time.Duration(len(w.planned)/webhooks.ScanPages)
	for range 50 {
		wait := w.idle()
		if wait > soon {
			break
		}
		w.now = w.now.Add(wait)
	}
	heads, err := w.queue.Queue.Heads(context.Background(), webhooks.Lane{}, 1000)
	if err != nil {
		w.tb.Fatal(err)
	}
	wait := w.idle()
	for _, h := range heads {
		target, err := w.queue.Queue.Target(context.Background(), h.EndpointID)
		left := err == nil && target.Health.Broken() // it is asked in its own time
		if r := w.receiver(h.EndpointID); !r.disabled && !r.doomed && !left && !h.DueAt.After(w.now) && wait > soon {
			d, err := w.queue.Delivery(context.Background(), h.ID)
			if err == nil && d.Attempts == h.Attempts && d.State == webhooks.Pending {
				w.tb.Fatalf("position %d of %v is due since %v, and the dispatcher rests for %v", h.Position, laneOf(h), w.now.Sub(h.DueAt), wait)
			}
		}
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// finish lets everything come to its end.
func (w *world) finish() {
	w.queue.fails = func() bool { return false }
	for _, r := range w.endpoints {
		r.answer = func() webhooks.Outcome { return webhooks.Outcome{Status: 200} }
		w.set(r, false)
	}
	w.offer()
	const ever = 100 * 24 * time.Hour // longer than any schedule
	for range 10_000 {
		wait := w.idle()
		if wait < ever {
			w.now = w.now.Add(wait)
			continue
		}
		if !w.unblock() {
			return
		}
	}
	w.tb.Fatal("it never ends")
}

// unblock redelivers what stands still before its lane, and enables what was
// disabled meanwhile.
func (w *world) unblock() (found bool) {
	for _, r := range w.endpoints {
		if r.doomed {
			w.set(r, false)
			found = true
		}
	}
	for _, d := range w.queue.Deliveries() {
		if d.State == webhooks.Pending && d.DueAt.Equal(webhooks.Never()) {
			if _, err := w.queue.Redeliver(context.Background(), d.ID, w.now); err != nil {
				w.tb.Fatal(err)
			}
			w.d.Reload(laneOf(d))
			found = true
		}
	}
	return found
}

func (w *world) check() {
	ctx := context.Background()
	all := w.queue.Deliveries()
	if len(all) != len(w.planned) {
		w.tb.Fatalf("%d deliveries of %d", len(all), len(w.planned))
	}
	sends := 0
	inOrder := map[webhooks.Lane][]string{}
	for _, d := range all {
		attempts, err := w.queue.Attempts(ctx, d.ID)
		if err != nil {
			w.tb.Fatal(err)
		}
		reached := 0
		for i, a := range attempts {
			if a.Number != i+1 {
				w.tb.Fatalf("%s: attempt %d stands at %d", d.ID, a.Number, i)
			}
			if a.Outcome.Fault != webhooks.Unrendered {
				reached++
			}
			if body := sha256.Sum256(bodyOf(&d)); a.Digest != nil && string(a.Digest) != string(body[:]) {
				w.tb.Fatalf("%s: attempt %d sent something else than its body", d.ID, a.Number)
			}
		}
		if len(attempts) != d.Attempts {
			w.tb.Fatalf("%s: %d attempts, %d on record", d.ID, d.Attempts, len(attempts))
		}
		if w.sent[d.WebhookID] < reached || w.sent[d.WebhookID] > reached+w.crashes {
			w.tb.Fatalf("%s: sent %d times, %d on record, %d crashes", d.ID, w.sent[d.WebhookID], reached, w.crashes)
		}
		sends += w.sent[d.WebhookID]
		deleted := w.receiver(d.EndpointID).deleted
		switch d.State {
		case webhooks.Delivered:
			body := sha256.Sum256(bodyOf(&d))
			last := attempts[len(attempts)-1]
			if string(d.Digest) != string(body[:]) || string(last.Digest) != string(body[:]) || last.Outcome.Status/100 != 2 || d.EndedAt == nil {
				w.tb.Fatalf("delivered without proof: %+v", d)
			}
			if !w.revived[d.WebhookID] {
				inOrder[laneOf(d)] = append(inOrder[laneOf(d)], d.WebhookID)
			}
		case webhooks.Parked:
			if d.Reason == "" || d.EndedAt == nil {
				w.tb.Fatalf("parked without a reason: %+v", d)
			}
		case webhooks.Cancelled:
			if d.Reason == webhooks.ReasonAsked && w.cancelled[d.WebhookID] {
				break
			}
			if !deleted || d.Reason != webhooks.ReasonDeleted {
				w.tb.Fatalf("cancelled: %+v", d)
			}
		default:
			w.tb.Fatalf("position %d of %v never ended", d.Position, laneOf(d))
		}
	}
	for lane, want := range inOrder {
		got := slices.DeleteFunc(slices.Clone(w.accepted[lane]), func(id string) bool { return !slices.Contains(want, id) })
		if !slices.Equal(got, want) {
			w.tb.Fatalf("%v: accepted in the order %v, want %v", lane, got, want)
		}
	}
	w.note("%d deliveries, %d sends", len(all), sends)
}

func simulate(tb testing.TB, seed uint64) *world {
	tb.Helper()
	w := newWorld(tb, seed)
	for range 400 {
		w.act()
	}
	w.finish()
	w.check()
	return w
}

// SEED=n runs one seed, SEEDS=n that many.
func TestSimulation(t *testing.T) {
	t.Parallel()
	first, n := uint64(1), uint64(200)
	if s, err := strconv.ParseUint(os.Getenv("SEED"), 10, 64); err == nil {
		first, n = s, 1
	} else if s, err := strconv.ParseUint(os.Getenv("SEEDS"), 10, 64); err == nil {
		n = s
	}
	var deliveries, sends, crashes atomic.Int64
	t.Cleanup(func() {
		t.Logf("simulation: %d seeds, %d deliveries, %d sends, %d crashes", n, deliveries.Load(), sends.Load(), crashes.Load())
	})
	for seed := first; seed < first+n; seed++ {
		t.Run(fmt.Sprintf("SEED=%d", seed), func(t *testing.T) {
			t.Parallel()
			w := simulate(t, seed)
			deliveries.Add(int64(len(w.planned)))
			crashes.Add(int64(w.crashes))
			for _, n := range w.sent {
				sends.Add(int64(n))
			}
		})
	}
}

func TestSimulationIsDeterministic(t *testing.T) {
	t.Parallel()
	for seed := uint64(1); seed <= 10; seed++ {
		a, b := simulate(t, seed), simulate(t, seed)
		if !slices.Equal(a.trace, b.trace) {
			t.Fatalf("SEED=%d went two ways", seed)
		}
	}
}
