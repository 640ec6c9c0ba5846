package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"verbatim/domain"
	"verbatim/domain/endpoint"
	"verbatim/eventstore"
	"verbatim/eventstore/eventstoretest"
	"verbatim/webhooks"
	"verbatim/webhooks/webhookstest"
)

var errFull = errors.New("the disk is full")

// A desk is a notary whose log does what a test wants.
type desk struct {
	*notary

	mu    sync.Mutex
	queue *webhookstest.Queue // what is kept
	told  int
	said  []string // "endpoint Command"
	woken []string
	tries int
	fail  func(endpointID string, try int) error // why a command is not taken
	same  bool                                   // nothing comes of commands
	log   bytes.Buffer
}

func newDesk() *desk {
	d := &desk{queue: webhookstest.NewQueue()}
	d.notary = newNotary(nil, d.queue, func(id string) { d.woken = append(d.woken, id) }, slog.New(slog.NewTextHandler(&d.log, nil)))
	d.pause = 0
	d.execute = func(_ context.Context, one *noted) (bool, error) {
		account, id, c := one.account, one.endpointID, one.command
		d.mu.Lock()
		defer d.mu.Unlock()
		d.tries++
		if d.fail != nil {
			if err := d.fail(id, d.tries); err != nil {
				return false, err
			}
		}
		d.said = append(d.said, strings.TrimPrefix(fmt.Sprintf("%s %T", id, c), "endpoint."))
		if account != "acme" {
			return false, eventstore.ErrForeign
		}
		return !d.same, nil
	}
	return d
}

// tell has notices kept and told, as the dispatcher does.
func tell(d *desk, id string, kinds ...webhooks.NoticeKind) {
	for _, kind := range kinds {
		d.told++
		one := webhooks.Notice{
			EndpointID: id, Account: "acme", Kind: kind, Delivery: &webhooks.Delivery{ID: "dlv_" + id, Attempts: d.told},
		}
		_ = d.queue.Record(context.Background(), []webhooks.Report{{Notices: []webhooks.Notice{one}}}) // it is in memory
		d.notice(one)
	}
}

// left returns what is kept still.
func (d *desk) left(t *testing.T) int {
	t.Helper()
	kept, err := d.queue.Notices(t.Context(), 1_000_000)
	if err != nil {
		t.Fatal(err)
	}
	return len(kept)
}

// sayAll has everything said that waits.
func (d *desk) sayAll(t *testing.T) {
	t.Helper()
	for d.say(t.Context()) {
	}
}

func (d *desk) check(t *testing.T, woken []string, said ...string) {
	t.Helper()
	if diff := cmp.Diff(said, d.said); diff != "" {
		t.Errorf("said (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(woken, d.woken); diff != "" {
		t.Errorf("woken (-want +got):\n%s", diff)
	}
}

func TestNoticesAreSaidInOrder(t *testing.T) {
	t.Parallel()
	d := newDesk()
	tell(d, "a", webhooks.NoticeFailing, webhooks.NoticeExhausted)
	tell(d, "b", webhooks.NoticeGone)
	tell(d, "a", webhooks.NoticeRecovered, webhooks.NoticeHopeless)
	d.sayAll(t)
	d.check(t, nil, "a endpoint.NoteFailing", "a endpoint.NoteExhausted", "b endpoint.Disable", "a endpoint.NoteRecovered", "a endpoint.Disable")
	if n := d.left(t); n > 0 || len(d.waiting) > 0 {
		t.Errorf("there wait %v, and %d are kept", d.waiting, n)
	}
	tell(d, "b", webhooks.NoticeGone) // it was enabled, and is gone again
	d.sayAll(t)
	if len(d.said) != 6 {
		t.Errorf("said %v", d.said)
	}
}

// Of a flood some wait in memory, and none is lost.
func TestAFloodOfNotices(t *testing.T) {
	t.Parallel()
	d := newDesk()
	d.sayAll(t) // what was kept before: nothing
	var want []string
	for i := range maxNotices + 100 {
		id := fmt.Sprint(i)
		tell(d, id, webhooks.NoticeExhausted)
		want = append(want, id+" endpoint.NoteExhausted")
	}
	if n := len(d.waiting); n != maxNotices {
		t.Errorf("%d wait", n)
	}
	d.sayAll(t)
	d.check(t, nil, want...)
	if n := d.left(t); n > 0 {
		t.Errorf("%d are kept", n)
	}
}

// What an earlier run of the program has kept is said by the next one, once: even
// if it had been said, and only that was not yet kept.
func TestNoticesOutliveACrash(t *testing.T) {
	t.Parallel()
	log := eventstoretest.NewMemory()
	endpoints := eventstore.NewAggregates(log, eventstore.Catalogue(), time.Now,
		eventstore.Rules[endpoint.State, endpoint.Command, endpoint.Event]{
			Kind: "endpoint", Schema: endpoint.StateSchema, Decide: endpoint.Decide, Evolve: endpoint.Evolve,
		})
	const id = "01931b3e-7c1f-7d2a-9d5e-0a6f3c2b1a01"
	_, err := endpoints.Execute(t.Context(), eventstore.Order[endpoint.State, endpoint.Command]{
		Account: "acme", ID: id, Command: endpoint.Register{Settings: endpoint.Settings{URL: "https://example.com/", Dialect: "verbatim@1"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	kept := &forgetful{Queue: webhookstest.NewQueue()}
	for i := range 3 {
		one := webhooks.Notice{
			EndpointID: id, Account: "acme", Kind: webhooks.NoticeExhausted,
			Delivery: &webhooks.Delivery{ID: fmt.Sprint("dlv_", i), Stream: "conversation-1", Attempts: 12, Reason: webhooks.ReasonExhausted},
		}
		if err := kept.Record(t.Context(), []webhooks.Report{{Notices: []webhooks.Notice{one}}}); err != nil {
			t.Fatal(err)
		}
	}
	for run := range 3 {
		ctx, crash := context.WithCancel(t.Context())
		kept.crash = func() bool {
			if run < 2 {
				crash()
			}
			return run < 2
		}
		n := newNotary(endpoints, kept, func(string) {}, slog.New(slog.DiscardHandler))
		for more := true; more && ctx.Err() == nil; {
			more = n.say(ctx)
		}
		crash()
	}
	var told []string
	for r, err := range log.ReadStream(t.Context(), eventstore.StreamName("endpoint", id), 1) {
		if err != nil {
			t.Fatal(err)
		}
		told = append(told, string(r.Data[:len(`{"delivery_id":"dlv_0"`)]))
	}
	want := []string{`{"delivery_id":"dlv_0"`, `{"delivery_id":"dlv_1"`, `{"delivery_id":"dlv_2"`}
	if diff := cmp.Diff(want, told); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// forgetful is a keeper that goes down when it is told that something was said.
type forgetful struct {
	*webhookstest.Queue

	crash func() bool
}

func (f *forgetful) Said(ctx context.Context, key string) error {
	if f.crash() {
		return ctx.Err()
	}
	return f.Queue.Said(context.WithoutCancel(ctx), key)
}

// The dispatcher lets an endpoint sleep that is to be disabled. If it stays as it
// is, for it was deleted, is another's, or is disabled already, nobody but the
// notary would wake it.
func TestTheDispatcherIsWokenWhereNothingChanges(t *testing.T) {
	t.Parallel()
	d := newDesk()
	d.fail = func(id string, _ int) error {
		return map[string]error{
			"deleted": endpoint.NotRegistered, "faulty": &domain.FieldError{Field: "reason"},
			"foreign": fmt.Errorf("append: %w", eventstore.ErrForeign),
		}[id]
	}
	for _, id := range []string{"deleted", "faulty", "foreign"} {
		tell(d, id, webhooks.NoticeGone, webhooks.NoticeFailing)
	}
	d.sayAll(t)
	d.check(t, []string{"deleted", "faulty", "foreign"})
	if d.tries != 6 {
		t.Errorf("%d tries; a refusal is for good", d.tries)
	}
	d.same = true
	tell(d, "disabled", webhooks.NoticeHopeless, webhooks.NoticeFailing)
	d.sayAll(t)
	d.check(t, []string{"deleted", "faulty", "foreign", "disabled"}, "disabled endpoint.Disable", "disabled endpoint.NoteFailing")
}

func TestALogThatTakesNothingIsTriedAgain(t *testing.T) {
	t.Parallel()
	d := newDesk()
	d.fail = func(_ string, try int) error {
		if try < 5 {
			return errFull
		}
		return nil
	}
	tell(d, "a", webhooks.NoticeFailing, webhooks.NoticeRecovered)
	d.sayAll(t)
	d.check(t, nil, "a endpoint.NoteFailing", "a endpoint.NoteRecovered")
	if n := strings.Count(d.log.String(), "trying again"); n != 1 {
		t.Errorf("%d words to the operator", n)
	}
}

// A single stream that takes nothing does not hold up the others, and its
// endpoint is disabled all the same, in the end.
func TestAStreamThatTakesNothing(t *testing.T) {
	t.Parallel()
	d := newDesk()
	d.fail = func(id string, try int) error {
		if id == "stuck" && try < 5*noticeTries {
			return errFull
		}
		return nil
	}
	tell(d, "stuck", webhooks.NoticeFailing, webhooks.NoticeGone)
	tell(d, "a", webhooks.NoticeGone)
	d.sayAll(t)
	d.check(t, nil, "a endpoint.Disable", "stuck endpoint.NoteFailing", "stuck endpoint.Disable")
	if n := d.left(t); n > 0 {
		t.Errorf("%d are kept", n)
	}
}

// What is told until the end is said before the end, if the log takes it.
func TestWhatIsLeftIsSaidAtTheEnd(t *testing.T) {
	t.Parallel()
	for _, full := range []bool{false, true} {
		d := newDesk()
		ctx, cancel := context.WithCancel(t.Context())
		d.fail = func(string, int) error {
			cancel() // while the first is being said
			if full || ctx.Err() == nil {
				return errFull
			}
			return nil
		}
		d.pause = time.Hour
		tell(d, "a", webhooks.NoticeFailing, webhooks.NoticeGone)
		bounded, stop := context.WithCancel(context.WithoutCancel(ctx))
		if full {
			stop() // as if the time for it were over
			d.run(bounded)
			if len(d.said) > 0 || !strings.Contains(d.log.String(), "notices=2") {
				t.Errorf("said %v; the log says %s", d.said, d.log.String())
			}
			continue
		}
		d.run(ctx)
		stop()
		d.check(t, nil, "a endpoint.NoteFailing", "a endpoint.Disable")
	}
}

// run sleeps while there is nothing to say.
func TestRunWaitsForNotices(t *testing.T) {
	t.Parallel()
	d := newDesk()
	ctx, cancel := context.WithCancel(t.Context())
	said := make(chan struct{})
	execute := d.execute
	d.execute = func(ctx context.Context, one *noted) (bool, error) {
		defer func() { said <- struct{}{} }()
		return execute(ctx, one)
	}
	var done sync.WaitGroup
	done.Go(func() { d.run(ctx) })
	for range 3 {
		tell(d, "a", webhooks.NoticeFailing)
		<-said
	}
	cancel()
	done.Wait()
	if len(d.said) != 3 {
		t.Errorf("said %v", d.said)
	}
}

// What is told stands on the stream of the endpoint, in words and without what
// the receiver said.
func TestNoticesOnTheStream(t *testing.T) {
	t.Parallel()
	log, codec := eventstoretest.NewMemory(), eventstore.Catalogue()
	at := time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)
	endpoints := eventstore.NewAggregates(log, codec, func() time.Time { return at },
		eventstore.Rules[endpoint.State, endpoint.Command, endpoint.Event]{
			Kind: "endpoint", Schema: endpoint.StateSchema, Decide: endpoint.Decide, Evolve: endpoint.Evolve,
		})
	const id = "01931b3e-7c1f-7d2a-9d5e-0a6f3c2b1a01"
	order := eventstore.Order[endpoint.State, endpoint.Command]{
		Account: "acme", ID: id, Command: endpoint.Register{Settings: endpoint.Settings{URL: "https://example.com/", Dialect: "verbatim@1"}},
	}
	if _, err := endpoints.Execute(t.Context(), order); err != nil {
		t.Fatal(err)
	}
	var woken []string
	kept := webhookstest.NewQueue()
	n := newNotary(endpoints, kept, func(id string) { woken = append(woken, id) }, slog.New(slog.DiscardHandler))
	said := "<html>whsec_secret</html>"
	down := webhooks.Outcome{Status: 503, Detail: said}
	n.say(t.Context()) // nothing is kept from before
	for i, one := range []webhooks.Notice{
		{Kind: webhooks.NoticeFailing, Since: at, Outcome: down},
		{Kind: webhooks.NoticeExhausted, Outcome: webhooks.Outcome{Fault: webhooks.TimedOut, Detail: said}, Delivery: &webhooks.Delivery{
			ID: "dlv_1", Name: "conversation.created", Stream: "conversation-1", Attempts: 12, Reason: webhooks.ReasonExhausted,
		}},
		{Kind: webhooks.NoticeRecovered, Since: at, Outcome: webhooks.Outcome{Status: 204}},
		{Kind: webhooks.NoticeGone, Outcome: webhooks.Outcome{Status: 410, Detail: said}},
		{Kind: webhooks.NoticeHopeless, Since: at, Outcome: down},
	} {
		one.EndpointID, one.Account = id, "acme"
		if one.Delivery == nil {
			one.Delivery = &webhooks.Delivery{ID: fmt.Sprint("dlv_of_", i)}
		}
		n.notice(one)
		n.say(t.Context())
	}
	want := []string{
		`endpoint.failing {"since":"2026-03-02T12:00:00Z","status":503}`,
		`endpoint.exhausted {"delivery_id":"dlv_1","event":"conversation.created","stream":"conversation-1","attempts":12,"reason":"exhausted","fault":"timed_out"}`,
		`endpoint.recovered {"since":"2026-03-02T12:00:00Z"}`,
		`endpoint.disabled {"reason":"the receiver said that it wants nothing more: 410 Gone","cause":"gone"}`,
	}
	var got []string
	for r, err := range log.ReadStream(t.Context(), eventstore.StreamName("endpoint", id), 1) {
		if err != nil {
			t.Fatal(err)
		}
		if r.DecodeMetadata().Actor != "system:deliveries" {
			t.Errorf("%s is by %s", r.Type, r.Metadata)
		}
		got = append(got, r.Type+" "+string(r.Data))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{id}, woken); diff != "" { // disabled once; the second time it was already
		t.Errorf("woken (-want +got):\n%s", diff)
	}
	hopeless := commandOf(&webhooks.Notice{Kind: webhooks.NoticeHopeless, Since: at, Outcome: down})
	if diff := cmp.Diff(endpoint.Disable{
		Reason: "nothing but failures since 2026-03-02T12:00:00Z, at last: 503 Service Unavailable", Cause: endpoint.ReceiverFailed,
	}, hopeless); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Every outcome has words, and no two faults the same.
func TestOutcomesInWords(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, o := range []webhooks.Outcome{
		{Status: 500},
		{Status: 599},
		{Fault: webhooks.NameUnresolved},
		{Fault: webhooks.Unreachable},
		{Fault: webhooks.ConnectTimeout},
		{Fault: webhooks.TLSFailed},
		{Fault: webhooks.TimedOut},
		{Fault: webhooks.PrivateRange},
		{Fault: webhooks.Unrendered},
		{Fault: webhooks.TooLarge},
		{Fault: "another"},
	} {
		o.Detail = "secret"
		words := inWords(o)
		if words == "" || seen[words] || strings.Contains(words, "secret") {
			t.Errorf("%+v: %q", o, words)
		}
		seen[words] = true
	}
}
