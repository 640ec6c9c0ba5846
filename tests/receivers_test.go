package tests_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"verbatim/adapters/httpsender"
	"verbatim/domain/endpoint"
	"verbatim/eventstore"
	"verbatim/webhooks"
)

// TestReceivers sends over real connections, from a real file, to receivers that
// do as they please, drawn from a seed: they are slow, hang, fail, put off, send
// elsewhere, are gone for a while, break off, answer with something that is no
// HTTP, and lie. Whatever they do, each delivery is taken in the end, nothing of
// a conversation comes before what stands before it was taken, and what is on
// record of each attempt is what the receiver did, and what came is what is
// rendered again from the log.
//
// SEED=n runs one seed, SEEDS=n that many.
func TestReceivers(t *testing.T) {
	t.Parallel()
	first, n := uint64(1), number("SEEDS", 4)
	if seed := number("SEED", 0); seed > 0 {
		first, n = seed, 1
	}
	var moods sync.Map
	var deliveries, arrivals atomic.Int64
	t.Cleanup(func() {
		var kinds []string
		for name := range moods.Range {
			kinds = append(kinds, name.(string))
		}
		slices.Sort(kinds)
		t.Logf("receivers: %d seeds, %d deliveries in %d requests; moods: %v", n, deliveries.Load(), arrivals.Load(), kinds)
	})
	for seed := first; seed < first+n; seed++ {
		t.Run(fmt.Sprintf("SEED=%d", seed), func(t *testing.T) {
			t.Parallel()
			w := newWilful(t, seed)
			w.run()
			w.check()
			w.prove()
			deliveries.Add(int64(w.delivered))
			for _, r := range w.receivers {
				arrivals.Add(int64(len(r.arrived)))
				for name := range r.moods {
					moods.Store(name, true)
				}
			}
		})
	}
}

const (
	wilfulReceivers     = 4
	wilfulConversations = 6
	wilfulMessages      = 12
	// wilfulTimeout is how long an attempt may take: far more than a receiver on
	// this machine needs, and little enough to wait for some that hang.
	wilfulTimeout = 250 * time.Millisecond
)

// wilful is a rig whose receivers do as they please.
type wilful struct {
	t         *testing.T
	rig       *rig
	receivers []*wilfulReceiver
	trap      atomic.Int64 // requests to where redirects lead

	mu        sync.Mutex
	changed   *sync.Cond
	delivered int
}

type wilfulReceiver struct {
	endpoint string
	url      string
	verifier *standardwebhooks.Webhook
	got      received

	mu      sync.Mutex
	chance  *rand.Rand
	moods   map[string]int
	arrived []wilfulArrival
}

type wilfulArrival struct {
	id     string
	status int // as far as it was sent
	at     time.Time
	wait   time.Duration // that was asked for
}

// taken reports whether the sender may take it for delivered.
func (a wilfulArrival) taken() bool { return a.status/100 == 2 }

func newWilful(t *testing.T, seed uint64) *wilful {
	t.Helper()
	w := &wilful{t: t, rig: openRig(t)}
	w.changed = sync.NewCond(&w.mu)
	trap := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { w.trap.Add(1) }))
	t.Cleanup(trap.Close)
	moods := wilfulMoods(trap.URL)
	for n := range wilfulReceivers {
		r := &wilfulReceiver{chance: rand.New(rand.NewPCG(seed, uint64(n))), moods: make(map[string]int)}
		srv := httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) { r.take(t, rw, req, moods) }))
		srv.Config.ErrorLog = log.New(io.Discard, "", 0)
		srv.Start()
		t.Cleanup(srv.Close)
		r.url = srv.URL
		r.endpoint = w.rig.register(t, endpoint.Settings{
			URL: r.url, Dialect: "verbatim@1", Events: []string{"conversation.*"}, History: "last:3",
			RetrySchedule: slices.Repeat([]string{"10ms"}, endpoint.MaxRetries),
		})
		secrets, err := w.rig.store.Secrets(t.Context(), r.endpoint, time.Now())
		if err == nil {
			r.verifier, err = standardwebhooks.NewWebhook(secrets[0])
		}
		if err != nil {
			t.Fatal(err)
		}
		w.receivers = append(w.receivers, r)
	}
	return w
}

// command has a command executed on an endpoint, by whoever looks after it.
func (w *wilful) command(id string, c endpoint.Command) {
	_, err := w.rig.endpoints.Execute(context.Background(), eventstore.Order[endpoint.State, endpoint.Command]{Account: "default", ID: id, Command: c})
	if err != nil {
		w.t.Error(err)
	}
}

// run has everybody talk until each delivery has ended.
func (w *wilful) run() {
	w.t.Helper()
	var looking sync.WaitGroup
	w.t.Cleanup(looking.Wait)
	w.rig.dispatchWith(w.t, httpsender.Config{Timeout: wilfulTimeout}, webhooks.Config{
		Notice: func(n webhooks.Notice) {
			if n.Kind.Disables() { // and somebody enables it again
				looking.Go(func() {
					w.command(n.EndpointID, endpoint.Disable{Reason: string(n.Kind)})
					w.command(n.EndpointID, endpoint.Enable{})
				})
			}
		},
		Recorded: func(reports []webhooks.Report) {
			w.mu.Lock()
			defer w.mu.Unlock()
			for i := range reports {
				switch d := &reports[i].Delivery; d.State {
				case webhooks.Delivered:
					w.delivered++
				case webhooks.Parked, webhooks.Cancelled:
					w.t.Errorf("%s is %s: %s", d.ID, d.State, d.Reason)
				case webhooks.Pending:
				}
			}
			w.changed.Broadcast()
		},
	})
	w.rig.follow(w.t)
	ids := w.rig.createMany(w.t, wilfulConversations)
	w.rig.talk(w.t, ids, wilfulConversations*wilfulMessages)
	w.mu.Lock()
	defer w.mu.Unlock()
	if want := w.owed(); !await(w.changed, func() bool { return w.delivered >= want }) {
		w.t.Fatalf("%d of %d were delivered", w.delivered, want)
	}
}

// owed is how many deliveries there are to be: one for each event of a
// conversation and endpoint.
func (*wilful) owed() int { return wilfulReceivers * wilfulConversations * (1 + wilfulMessages) }

func (w *wilful) check() {
	w.t.Helper()
	if n := w.trap.Load(); n > 0 {
		w.t.Errorf("redirects were followed %d times", n)
	}
	all := 0
	for _, r := range w.receivers {
		ds, _, err := w.rig.store.Deliveries(w.t.Context(), r.endpoint, webhooks.Selection{}, webhooks.Mark{}, 10_000)
		if err != nil {
			w.t.Fatal(err)
		}
		all += len(ds)
		r.mu.Lock()
		w.checkReceiver(r, ds)
		r.mu.Unlock()
	}
	if want := w.owed(); all != want || w.delivered != want {
		w.t.Errorf("%d deliveries, %d delivered; want %d", all, w.delivered, want)
	}
}

// prove holds what the receivers got against the log.
func (w *wilful) prove() {
	w.t.Helper()
	for _, r := range w.receivers {
		r.got.prove(w.t, w.rig.folder, r.endpoint, true)
	}
	v := verify(w.t, w.rig.folder, 0)
	if n := v.identical(w.t); n != w.owed() {
		w.t.Errorf("%d of %d deliveries are identical", n, w.owed())
	}
}

// checkReceiver holds what is on record against what a receiver saw and did.
func (w *wilful) checkReceiver(r *wilfulReceiver, ds []webhooks.Delivery) {
	w.t.Helper()
	answers := make(map[string]map[int]int) // by webhook-id and status
	version, stream := make(map[string]int64), make(map[string]string)
	for i := range ds {
		d := &ds[i]
		version[d.WebhookID], stream[d.WebhookID] = d.Version, d.Stream
		answers[d.WebhookID] = make(map[int]int)
	}
	done := make(map[string]int64) // version that was taken, by stream
	ready := make(map[string]time.Time)
	for _, a := range r.arrived {
		if version[a.id] == 0 {
			w.t.Errorf("an unknown id arrived: %s", a.id)
			continue
		}
		if v := version[a.id]; v > done[stream[a.id]]+1 {
			w.t.Errorf("version %d of %s came before %d was taken", v, stream[a.id], done[stream[a.id]]+1)
		} else if a.taken() {
			done[stream[a.id]] = max(v, done[stream[a.id]])
		}
		if a.at.Before(ready[a.id]) {
			w.t.Errorf("%s came %v before it was asked for", a.id, ready[a.id].Sub(a.at))
		}
		ready[a.id] = a.at.Add(a.wait)
		answers[a.id][a.status]++
	}
	for i := range ds {
		d := &ds[i]
		_, attempts, _, err := w.rig.store.Delivery(w.t.Context(), d.ID)
		if err != nil {
			w.t.Fatal(err)
		}
		if d.State != webhooks.Delivered || len(attempts) != d.Attempts {
			w.t.Errorf("%s is %s after %d attempts, of which %d are on record", d.ID, d.State, d.Attempts, len(attempts))
		}
		recorded := make(map[int]int)
		for n, a := range attempts {
			if a.Number != n+1 {
				w.t.Errorf("%s: attempt %d stands at %d", d.ID, a.Number, n+1)
			}
			if string(a.Digest) != string(attempts[0].Digest) {
				w.t.Errorf("%s was sent with two bodies", d.ID)
			}
			if last := n == len(attempts)-1; last != (a.Outcome.Status/100 == 2) {
				w.t.Errorf("%s: attempt %d of %d came to %d %s", d.ID, a.Number, len(attempts), a.Outcome.Status, a.Outcome.Fault)
			}
			recorded[a.Outcome.Status]++
		}
		delete(recorded, 0) // no answer, for whatever reason
		for status, n := range recorded {
			if answers[d.WebhookID][status] < n {
				w.t.Errorf("%s: %d is %d times on record; what was answered: %v", d.ID, status, n, answers[d.WebhookID])
			}
		}
	}
}

// A mood is one way of answering. What will be sent is known before it is: the
// next request may come before the handler of this one has returned.
type mood struct {
	name   string
	weight int
	status func(chance func(n int) int) int // as far as it is sent; 0 is none
	wait   time.Duration                    // asked for
	answer func(w http.ResponseWriter, r *http.Request, status int)
}

// wilfulMoods are weighted so that ten failures in a row are seldom: an endpoint
// is left alone for seconds then.
func wilfulMoods(elsewhere string) []mood {
	one := func(status ...int) func(func(int) int) int {
		return func(chance func(int) int) int { return status[chance(len(status))] }
	}
	say := func(w http.ResponseWriter, _ *http.Request, status int) { w.WriteHeader(status) }
	// raw writes what it likes and hangs up.
	raw := func(text string) func(http.ResponseWriter, *http.Request, int) {
		return func(w http.ResponseWriter, _ *http.Request, _ int) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				return
			}
			_, _ = io.WriteString(conn, text)
			_ = conn.Close()
		}
	}
	hang := func(_ http.ResponseWriter, r *http.Request, _ int) { <-r.Context().Done() }
	const second = "1" // the shortest that can be asked for
	return []mood{
		{"takes", 70, one(http.StatusOK, http.StatusCreated, http.StatusNoContent), 0, say},
		{"is slow", 10, one(http.StatusAccepted), 0, func(w http.ResponseWriter, r *http.Request, status int) {
			select {
			case <-time.After(wilfulTimeout / 10):
			case <-r.Context().Done():
			}
			w.WriteHeader(status)
		}},
		{"lies", 5, one(http.StatusOK), 0, func(w http.ResponseWriter, _ *http.Request, _ int) {
			_, _ = io.WriteString(w, `{"error":"internal server error"}`)
		}},
		{"breaks off its answer", 5, one(http.StatusOK), 0, raw("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nthe first")},
		{"never ends its answer", 1, one(http.StatusOK), 0, func(w http.ResponseWriter, r *http.Request, status int) {
			w.WriteHeader(status)
			_ = http.NewResponseController(w).Flush()
			hang(w, r, status)
		}},
		{"hangs", 1, one(0), 0, hang},
		{"hangs up", 2, one(0), 0, raw("")},
		{"breaks off its header", 1, one(0), 0, raw("HTTP/1.1 200 OK\r\nContent-Le")},
		{"speaks another language", 1, one(0), 0, raw("220 mail.example.com ESMTP\r\n")},
		{"fails", 6, one(500, 501, 502, 503, 504, 599), 0, say},
		{"refuses", 2, one(400, 401, 403, 404, 409, 413, 422), 0, say},
		{"is gone", 1, one(http.StatusGone), 0, say},
		{"sends elsewhere", 2, one(301, 302, 303, 307, 308), 0, func(w http.ResponseWriter, r *http.Request, status int) {
			http.Redirect(w, r, elsewhere, status)
		}},
		{
			"puts off", 1, one(http.StatusTooManyRequests, http.StatusServiceUnavailable), time.Second,
			func(w http.ResponseWriter, _ *http.Request, status int) {
				w.Header().Set("Retry-After", second)
				w.WriteHeader(status)
			},
		},
		{"puts off for no time", 2, one(http.StatusTooManyRequests), 0, func(w http.ResponseWriter, _ *http.Request, status int) {
			w.Header().Set("Retry-After", "soon")
			w.WriteHeader(status)
		}},
	}
}

func (r *wilfulReceiver) take(t *testing.T, w http.ResponseWriter, req *http.Request, moods []mood) {
	t.Helper()
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return // the sender has given up
	}
	if err := r.verifier.Verify(body, req.Header); err != nil {
		t.Errorf("the signature: %v", err)
	}
	r.got.add(t, req.Header.Get("webhook-id"), body)
	r.mu.Lock()
	total := 0
	for i := range moods {
		total += moods[i].weight
	}
	draw := r.chance.IntN(total)
	m := &moods[slices.IndexFunc(moods, func(m mood) bool { draw -= m.weight; return draw < 0 })]
	a := wilfulArrival{id: req.Header.Get("webhook-id"), at: time.Now(), status: m.status(r.chance.IntN), wait: m.wait}
	r.arrived = append(r.arrived, a)
	r.moods[m.name]++
	r.mu.Unlock()
	m.answer(w, req, a.status)
}
