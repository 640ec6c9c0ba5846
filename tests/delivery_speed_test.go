package tests_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"verbatim/adapters/httpsender"
	"verbatim/domain"
	"verbatim/domain/conversation"
	"verbatim/domain/endpoint"
	"verbatim/webhooks"
	"verbatim/webhooks/dialect/verbatim"
)

// The benchmarks of deliveries stand beside each other in one run, and what is
// compared takes turns: machines differ, and from one minute to the next.
//
// Publishers, log, projections and dispatcher are in this process, the sink that
// takes the webhooks is in another: what it costs is the receiver's, and the bare
// loop that ours is held against posts to the same one. A delivery counts when it
// is on record, which is later than when it has arrived.

// fullLog is how many events DELIVERY_EVENTS=1000000 makes of largeLog.
const largeLog = 100_000

// speedTable is what the benchmarks of deliveries found, printed at the end.
var speedTable struct {
	sync.Mutex
	rows [][3]string // measure, found, wanted
}

func found(measure, wanted, format string, args ...any) {
	speedTable.Lock()
	defer speedTable.Unlock()
	speedTable.rows = append(speedTable.rows, [3]string{measure, fmt.Sprintf(format, args...), wanted})
}

// printSpeed prints the table, if there is one.
func printSpeed(w io.Writer) {
	if len(speedTable.rows) == 0 {
		return
	}
	fmt.Fprintf(w, "\n%s %s/%s, %d processors\n\n| measured | found | wanted |\n|---|---|---|\n",
		runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU())
	for _, row := range speedTable.rows {
		fmt.Fprintf(w, "| %s | %s | %s |\n", row[0], row[1], row[2])
	}
}

// sinkEnv makes the test binary a sink instead.
const sinkEnv = "VERBATIM_TESTS_SINK"

// runSink takes webhooks until its input is closed. What is posted to /hang is
// never answered.
func runSink() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Printf("http://%s\n", listener.Addr())
	buffers := sync.Pool{New: func() any { b := make([]byte, 64<<10); return &b }}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		buffer := buffers.Get().(*[]byte)
		_, _ = io.CopyBuffer(struct{ io.Writer }{io.Discard}, r.Body, *buffer)
		buffers.Put(buffer)
		if r.URL.Path == "/hang" {
			<-r.Context().Done()
		}
		w.WriteHeader(http.StatusNoContent)
	})}
	go func() { _ = server.Serve(listener) }()
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// startSink runs a sink in a process of its own and returns its URL.
func startSink(b *testing.B) string {
	b.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), sinkEnv+"=1")
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe() // so that it does not outlive us
	if err != nil {
		b.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = stdin.Close(); _ = cmd.Wait() })
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	return strings.TrimSpace(line)
}

// A post is a rig that delivers, and counts what was delivered.
type post struct {
	*rig
	tally
}

type tally struct {
	mu        sync.Mutex
	more      *sync.Cond
	delivered map[string]int // by endpoint
	all       int
	first     time.Time
}

func openPost(b *testing.B) *post {
	b.Helper()
	runtime.GOMAXPROCS(runtime.NumCPU() + 1) // as the server has it
	p := &post{rig: openRigWith(b, webhooks.NewDialects(plain{}, verbatim.New()))}
	p.more = sync.NewCond(&p.mu)
	p.tally.delivered = make(map[string]int)
	return p
}

func (p *post) start(b *testing.B) {
	b.Helper()
	p.dispatchWith(b, httpsender.Config{}, webhooks.Config{Recorded: p.count})
	p.follow(b)
}

func (t *tally) count(reports []webhooks.Report) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range reports {
		if reports[i].Delivery.State == webhooks.Delivered {
			t.delivered[reports[i].Delivery.EndpointID]++
			t.all++
			if t.first.IsZero() {
				t.first = time.Now()
			}
		}
	}
	t.more.Broadcast()
}

// await waits until so many are delivered to an endpoint, or to all together if
// it is "".
func (t *tally) await(b *testing.B, endpoint string, n int) {
	b.Helper()
	t.mu.Lock()
	defer t.mu.Unlock()
	got := func() int {
		if endpoint == "" {
			return t.all
		}
		return t.delivered[endpoint]
	}
	for last := got(); !await(t.more, func() bool { return got() >= n }); last = got() {
		if got() == last { // nothing came in all that time
			b.Fatalf("%d of %d were delivered", last, n)
		}
	}
}

func (t *tally) total() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.all
}

// A letter is bytes to be posted by the bare loop, with the headers of ours.
type letter struct {
	body   []byte
	header http.Header
}

func newLetter(b *testing.B, body []byte) letter {
	b.Helper()
	signed, err := webhooks.Sign([]string{"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}, "msg_01931b3e7c1f7d2a9d5e0a6f3c2b1a00", time.Now(), body)
	if err != nil {
		b.Fatal(err)
	}
	h := http.Header{"Content-Type": {"application/json"}, "Accept": {"application/json"}, "User-Agent": {webhooks.DefaultUserAgent}}
	for name, value := range signed {
		h.Set(name, value)
	}
	return letter{body, h}
}

// bare posts n letters, so many at a time, as little else as can be done: no
// log, no order, no record. Its transport is set as the sender's.
func bare(b *testing.B, url string, l letter, n, concurrency int) time.Duration {
	b.Helper()
	transport := &http.Transport{
		ForceAttemptHTTP2: true, DisableCompression: true, MaxIdleConns: 256, MaxIdleConnsPerHost: 64, MaxResponseHeaderBytes: 64 << 10,
	}
	defer transport.CloseIdleConnections()
	var left atomic.Int64
	left.Store(int64(n))
	start := time.Now()
	var wg sync.WaitGroup
	for range concurrency {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, url, bytes.NewReader(l.body))
				if err != nil {
					b.Error(err)
					return
				}
				req.Header = l.header
				resp, err := transport.RoundTrip(req)
				if err != nil {
					b.Error(err)
					return
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
			}
		})
	}
	wg.Wait()
	return time.Since(start)
}

// smallBody is the size of a common webhook: a message, and who wrote it where.
const smallBody = 463

// plain is a dialect of one event, whose body is as long as smallBody however
// long the conversation is. Our own formats say more.
type plain struct{}

const plainName = "plain@1"

func (plain) Name() string                     { return plainName }
func (plain) Vocabulary() []webhooks.EventType { return nil }
func (plain) Guide() string                    { return "" }

func (plain) Words(e domain.Event) []webhooks.Word {
	if _, ok := e.(conversation.MessagePosted); !ok {
		return nil
	}
	return []webhooks.Word{{Name: "message"}}
}

func (plain) AppendBody(dst []byte, e *webhooks.PublicEvent) ([]byte, error) {
	m, ok := e.Event.(conversation.MessagePosted)
	if !ok {
		return dst, fmt.Errorf("%T is no message", e.Event)
	}
	at := len(dst)
	dst = slices.Grow(dst, smallBody)
	dst = append(dst, `{"event":"message","conversation":"`...)
	dst = append(dst, e.History.Conversation.ID...)
	dst = append(dst, `","message":"`...)
	dst = append(dst, m.MessageID...)
	dst = append(dst, `","author":`...)
	dst = webhooks.AppendString(dst, m.Author.Name)
	dst = append(dst, `,"text":`...)
	dst = webhooks.AppendString(dst, m.Text)
	dst = append(dst, `,"more":"`...)
	for len(dst)-at < smallBody-len(`"}`) {
		dst = append(dst, '.')
	}
	return append(dst, `"}`...), nil
}

// small is an endpoint that is sent such bodies.
func small(url string) endpoint.Settings {
	return endpoint.Settings{URL: url, Dialect: plainName, Events: []string{endpoint.AllEvents}, History: "none"}
}

// saySmall posts n messages, by one client for each conversation.
func (p *post) saySmall(b *testing.B, ids []string, n int) {
	b.Helper()
	var wg sync.WaitGroup
	for i, id := range ids {
		wg.Go(func() {
			for range n/len(ids) + min(1, max(0, n%len(ids)-i)) {
				p.do(b, id, conversation.PostMessage{MessageID: newID(b), Text: "Has it been sent?"})
			}
		})
	}
	wg.Wait()
}

// smallLetter returns the last body of an endpoint, which has to be a small one.
func (p *post) smallLetter(b *testing.B, endpoint string) letter {
	b.Helper()
	ds, _, err := p.store.Deliveries(b.Context(), endpoint, webhooks.Selection{}, webhooks.Mark{}, 1)
	if err != nil || len(ds) != 1 {
		b.Fatal(len(ds), err)
	}
	body, err := p.transcripts.Body(b.Context(), &ds[0])
	if err != nil || len(body) != smallBody {
		b.Fatalf("a body of %d bytes, want %d: %v", len(body), smallBody, err)
	}
	return newLetter(b, body)
}

// BenchmarkDelivery has 64 publishers, each with a conversation, append as fast
// as they can, and waits until everything is delivered in order. In turns with
// it as many POSTs of the same bytes are made by the bare loop, with as many at a
// time as the dispatcher allows.
func BenchmarkDelivery(b *testing.B) {
	for _, endpoints := range []int{1, 4} {
		b.Run(fmt.Sprintf("endpoints=%d", endpoints), func(b *testing.B) { benchmarkDelivery(b, endpoints) })
	}
}

const (
	publishers = 64
	turns      = 4 // of which the first is for warming up
)

func benchmarkDelivery(b *testing.B, endpoints int) {
	b.Helper()
	const deliveries = 8_000 // a turn
	url := startSink(b)
	p := openPost(b)
	p.start(b)
	var last string
	for range endpoints {
		last = p.register(b, small(url))
	}
	ids := p.createMany(b, publishers)
	var ours, theirs, cpu time.Duration
	for turn := range turns {
		before, used, start := p.total(), cpuTime(b), time.Now()
		p.saySmall(b, ids, deliveries/endpoints)
		p.await(b, "", before+deliveries)
		took, spent := time.Since(start), cpuTime(b)-used
		bareTook := bare(b, url, p.smallLetter(b, last), deliveries, min(webhooks.DefaultPerEndpoint*endpoints, publishers*endpoints))
		if turn > 0 {
			ours, theirs, cpu = ours+took, theirs+bareTook, cpu+spent
		}
	}
	const n = (turns - 1) * deliveries
	b.ReportMetric(n/ours.Seconds(), "deliveries/s")
	b.ReportMetric(n/theirs.Seconds(), "bare/s")
	b.ReportMetric(theirs.Seconds()/ours.Seconds(), "×bare")
	b.ReportMetric(float64(cpu.Microseconds())/n, "cpu-µs")
	found(fmt.Sprintf("deliveries of %d bytes in order, %d conversations, %d endpoint(s)", smallBody, publishers, endpoints),
		"≥ 5,000/s, ≥ 25 % of the bare loop", "%.0f/s, %.0f %% of the bare loop (%.0f/s); %.0f µs of CPU each",
		n/ours.Seconds(), 100*theirs.Seconds()/ours.Seconds(), n/theirs.Seconds(), float64(cpu.Microseconds())/n)
}

// cpuTime is what this process has used, the sink not being of it.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// latencies says a message 20 times a second and returns how long each took from
// the command to its delivery being on record, sorted.
func (p *post) latencies(b *testing.B, endpoint, conversation string, samples int) []time.Duration {
	b.Helper()
	tick := time.NewTicker(time.Second / 20)
	defer tick.Stop()
	took := make([]time.Duration, samples)
	p.mu.Lock()
	before := p.delivered[endpoint]
	p.mu.Unlock()
	for i := range took {
		<-tick.C
		start := time.Now()
		p.saySmall(b, []string{conversation}, 1)
		p.tally.await(b, endpoint, before+i+1)
		took[i] = time.Since(start)
	}
	slices.Sort(took)
	return took
}

func percentile(sorted []time.Duration, p int) float64 {
	return float64(sorted[min(len(sorted)-1, len(sorted)*p/100)].Microseconds()) / 1000
}

// BenchmarkDeliveryLatency says 20 messages a second.
func BenchmarkDeliveryLatency(b *testing.B) {
	p := openPost(b)
	p.start(b)
	ep := p.register(b, small(startSink(b)))
	id := p.createMany(b, 1)[0]
	p.latencies(b, ep, id, 20)
	took := p.latencies(b, ep, id, 300)
	b.ReportMetric(percentile(took, 50), "p50-ms")
	b.ReportMetric(percentile(took, 99), "p99-ms")
	found("append → delivered at 20/s", "p50 ≤ 5 ms", "p50 %.1f ms, p99 %.1f ms", percentile(took, 50), percentile(took, 99))
}

// BenchmarkDeliveryNeighbour says 20 messages a second to an endpoint that is
// alone, then beside one that hangs with a thousand conversations waiting, and
// beside one that takes what has waited for it as fast as it can.
func BenchmarkDeliveryNeighbour(b *testing.B) {
	url := startSink(b)
	waiting := int(number("DELIVERY_EVENTS", largeLog))
	measure := func(b *testing.B, neighbour func(p *post)) []time.Duration {
		b.Helper()
		p := openPost(b)
		if err := p.group.Load(b.Context()); err != nil {
			b.Fatal(err)
		}
		neighbour(p)
		if err := p.group.CatchUp(b.Context()); err != nil {
			b.Fatal(err)
		}
		ep := p.register(b, small(url))
		id := p.createMany(b, 1)[0]
		p.start(b)
		p.latencies(b, ep, id, 20)
		return p.latencies(b, ep, id, 200)
	}
	alone := measure(b, func(*post) {})
	for _, n := range []struct {
		name, what, wanted string
		prepare            func(p *post)
	}{
		{"hanging", "beside one that hangs with 1,000 waiting", "p50 ≤ 2 × of alone", func(p *post) {
			p.register(b, small(url+"/hang"))
			p.saySmall(b, p.createMany(b, 1000), 1000)
		}},
		{"waiting", fmt.Sprintf("beside one that catches up with %d", waiting), "", func(p *post) {
			p.register(b, small(url))
			p.seed(b, waiting)
		}},
	} {
		took := measure(b, n.prepare)
		b.ReportMetric(percentile(took, 50)/percentile(alone, 50), n.name+"-×alone")
		found("append → delivered at 20/s, "+n.what, n.wanted, "p50 %.1f ms, p99 %.1f ms; alone %.1f ms and %.1f ms: × %.1f",
			percentile(took, 50), percentile(took, 99), percentile(alone, 50), percentile(alone, 99), percentile(took, 50)/percentile(alone, 50))
	}
}

// BenchmarkDeliveryHistory sends whole conversations of 256 KB with each message
// and, in turns with it, posts as many bytes by the bare loop.
func BenchmarkDeliveryHistory(b *testing.B) {
	const size, conversations, turn = 256 << 10, 64, 1024
	url := startSink(b)
	p := openPost(b)
	ids := p.createMany(b, conversations)
	text := strings.Repeat("Winter is coming. ", 55)
	for _, id := range ids {
		for range size / 1500 {
			p.do(b, id, conversation.PostMessage{MessageID: newID(b), Text: text})
		}
	}
	var sent atomic.Int64 // bytes
	p.dispatchWith(b, httpsender.Config{}, webhooks.Config{Recorded: p.count})
	ep := p.register(b, endpoint.Settings{URL: url, Dialect: "verbatim@1", Events: []string{"conversation.message_posted"}, History: "full"})
	p.follow(b)
	var ours, theirs, cpu time.Duration
	for n := range turns {
		before, used, start := p.total(), cpuTime(b), time.Now()
		p.saySmall(b, ids, turn)
		p.tally.await(b, "", before+turn)
		took, spent := time.Since(start), cpuTime(b)-used
		ds, _, err := p.store.Deliveries(b.Context(), ep, webhooks.Selection{}, webhooks.Mark{}, turn)
		if err != nil {
			b.Fatal(err)
		}
		bytes := 0
		for _, i := range []int{0, len(ds) - 1} { // they grow by a little
			body, err := p.transcripts.Body(b.Context(), &ds[i])
			if err != nil {
				b.Fatal(err)
			}
			bytes += len(body) / 2
		}
		bareTook := bare(b, url, newLetter(b, make([]byte, bytes)), turn, webhooks.DefaultPerEndpoint)
		if n > 0 {
			ours, theirs, cpu = ours+took, theirs+bareTook, cpu+spent
			sent.Add(int64(bytes * turn))
		}
	}
	mb := float64(sent.Load()) / 1e6
	b.ReportMetric(mb/ours.Seconds(), "MB/s")
	b.ReportMetric(mb/theirs.Seconds(), "bare-MB/s")
	b.ReportMetric(float64(cpu.Microseconds())/((turns-1)*turn), "cpu-µs")
	b.ReportMetric(theirs.Seconds()/ours.Seconds(), "×bare")
	found(fmt.Sprintf("whole conversations of %.0f KB", mb*1e3/1.024/((turns-1)*turn)), "≥ 50 % of the bare loop",
		"%.0f/s, %.0f MB/s, %.0f %% of the bare loop (%.0f MB/s)",
		(turns-1)*turn/ours.Seconds(), mb/ours.Seconds(), 100*theirs.Seconds()/ours.Seconds(), mb/theirs.Seconds())
}

// BenchmarkDeliveryGrowth compares what a delivery costs behind a log of 1,000
// events and behind a large one, in turns. What it costs is all of it: command,
// append, projection, body, sending and record.
func BenchmarkDeliveryGrowth(b *testing.B) {
	const deliveries = 8_000 // a turn
	url := startSink(b)
	logs := []int{1_000, int(number("DELIVERY_EVENTS", largeLog))}
	var posts []*post
	var ids [][]string
	for _, events := range logs {
		p := openPost(b)
		p.seed(b, events)
		if err := skipTo(b.Context(), p.rig); err != nil {
			b.Fatal(err)
		}
		p.start(b)
		p.register(b, small(url))
		posts, ids = append(posts, p), append(ids, p.createMany(b, publishers))
	}
	var cpu, took [2]time.Duration
	for turn := range turns {
		for i, p := range posts {
			before, used, start := p.total(), cpuTime(b), time.Now()
			p.saySmall(b, ids[i], deliveries)
			p.await(b, "", before+deliveries)
			if turn > 0 {
				cpu[i] += cpuTime(b) - used
				took[i] += time.Since(start)
			}
		}
	}
	const n = (turns - 1) * deliveries
	b.ReportMetric(float64(cpu[1].Microseconds())/n, "cpu-µs")
	b.ReportMetric(cpu[1].Seconds()/cpu[0].Seconds(), "×small")
	found(fmt.Sprintf("CPU of a delivery, all of it, behind %d and %d events", logs[0], logs[1]), "flat",
		"%.0f µs and %.0f µs: × %.2f (%.0f/s and %.0f/s)", float64(cpu[0].Microseconds())/n, float64(cpu[1].Microseconds())/n,
		cpu[1].Seconds()/cpu[0].Seconds(), n/took[0].Seconds(), n/took[1].Seconds())
}

// BenchmarkDeliveryBacklog starts with many deliveries waiting, in conversations
// of a hundred each: how long until the first is on record, what they take of
// memory, and how fast they go out.
func BenchmarkDeliveryBacklog(b *testing.B) {
	waiting := int(number("DELIVERY_EVENTS", largeLog))
	const drained = 20_000
	p := openPost(b)
	if err := p.group.Load(b.Context()); err != nil {
		b.Fatal(err)
	}
	p.register(b, small(startSink(b)))
	p.seed(b, waiting)
	if err := p.group.CatchUp(b.Context()); err != nil {
		b.Fatal(err)
	}
	idle := heapInUse()
	stop, peak := make(chan struct{}), make(chan uint64)
	go func() {
		most := uint64(0)
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				most = max(most, m.HeapInuse)
			case <-stop:
				peak <- most
				return
			}
		}
	}()
	start := time.Now()
	p.dispatchWith(b, httpsender.Config{}, webhooks.Config{Recorded: p.count})
	p.tally.await(b, "", 1)
	p.mu.Lock()
	first := p.first.Sub(start)
	p.mu.Unlock()
	p.tally.await(b, "", min(drained, waiting/2))
	took := time.Since(start)
	close(stop)
	most := <-peak
	settled := heapInUse()
	const mb = 1 << 20
	b.ReportMetric(float64(first.Microseconds())/1000, "first-ms")
	b.ReportMetric(float64(most)/mb, "peak-MB")
	b.ReportMetric(float64(min(drained, waiting/2))/took.Seconds(), "deliveries/s")
	found(fmt.Sprintf("%d deliveries waiting at the start", waiting), "bounded memory",
		"first on record after %.0f ms; heap %d MB at the most, %d MB after a collection (%d MB before); then %.0f/s",
		float64(first.Microseconds())/1000, most/mb, settled/mb, idle/mb, float64(min(drained, waiting/2))/took.Seconds())
}

// heapInUse is the heap after a collection.
func heapInUse() uint64 {
	runtime.GC()
	runtime.GC() // what was in pools goes with the second
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse
}
