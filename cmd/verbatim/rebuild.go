package main

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"runtime"
	"runtime/debug"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"verbatim/adapters/sqlite"
	"verbatim/domain/conversation"
	"verbatim/domain/endpoint"
	"verbatim/eventstore"
	"verbatim/projections"
	"verbatim/webhooks"
	"verbatim/webhooks/dialect"
)

// Limits of a rebuild. Beside the warm conversations, whose memory has a bound
// of its own, it holds some pages of the log and, for each worker, some chunks
// of output; a chunk is larger than chunkBytes by one event's bodies at most.
const (
	// maxWorkers is far above the processors of any machine; more would only
	// take memory.
	maxWorkers = 256
	// pageEvents is room for what the store reads at a time, which is handed out
	// together: enough for that to cost nothing beside the rendering.
	pageEvents = 512
	// pagesAhead is how many pages may be read and not yet written.
	pagesAhead = 4
	// chunkBytes and chunksAhead are how much output a worker may be ahead of
	// the writer. A slow conversation holds back those of its own worker; the
	// others go on until their chunks are full, and wait. Many workers together
	// may be aheadBytes ahead.
	chunkBytes  = 256 << 10
	chunksAhead = 4
	aheadBytes  = 32 << 20
	// garbagePercent and memoryLimit are when garbage is collected: what SQLite
	// takes beside is a few megabytes, and all of it stays under 256.
	garbagePercent = 400
	memoryLimit    = 192 << 20
)

func rebuild(ctx context.Context, sh *shell, args []string) (err error) {
	fs := sh.flags("rebuild", "")
	cfg, finish, err := loadConfig(sh, fs, "database", "history-memory")
	if err != nil {
		return err
	}
	var sel selection
	fs.StringVar(&sel.dialect, "dialect", "", "render every event that this dialect has a name for, as if an endpoint wanted all of them")
	fs.StringVar(&sel.endpoint, "endpoint", "", "render what this endpoint was and would be sent, from where it began")
	fs.Func("schema-version", "version of the dialect, 2 of closer being closer@2; by default the newest, and with --endpoint the one that it is set to",
		func(v string) (err error) {
			if sel.version, err = strconv.Atoi(v); err != nil || sel.version < 1 {
				return errors.New("must be a number from 1 on")
			}
			return nil
		})
	fs.StringVar(&sel.conversation, "conversation", "", "only this conversation")
	fs.Func("events", `only these, separated by commas: the dialect's own names, facts, groups of facts, "*"`, func(v string) error {
		sel.events = strings.Split(v, ",")
		return nil
	})
	fs.Int64Var(&sel.from, "from", 1, "first position; one that was interrupted says where to go on")
	fs.Int64Var(&sel.to, "to", projections.Newest, "last position")
	workers := fs.Int("workers", min(runtime.GOMAXPROCS(0), maxWorkers), "how many conversations to render at once; what is written is the same")
	_, err = parse(fs, args)
	if err == nil {
		err = finish()
	}
	if err != nil {
		return err
	}
	if (sel.dialect == "") == (sel.endpoint == "") {
		return usage("rebuild wants either --dialect or --endpoint")
	}
	if *workers < 1 || *workers > maxWorkers {
		return usage("--workers must be 1 to %d", maxWorkers)
	}
	if sel.dialect != "" && sel.events == nil {
		sel.events = []string{endpoint.AllEvents}
	}
	r := &rebuilding{codec: eventstore.Catalogue(), dialects: dialect.All(), selection: sel}
	if sel.dialect != "" { // before anything is opened: what is wrong is the command
		if err := r.speak(sel.dialect); err != nil {
			return err
		}
	}
	store, err := openReader(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	defer sh.spendMemory()()
	r.log = store
	r.transcripts = projections.NewTranscripts(store, r.codec, r.dialects, cfg.HistoryMemory)
	if err := r.findEnds(ctx); err != nil {
		return err
	}
	return r.run(ctx, *workers, newWhole(sh, r.from, r.to))
}

// spendMemory has garbage collected seldom, and often again when there is much of
// it, until what it returns is called: a rebuild makes a few kilobytes of it with
// each event and is all that the process does. What the environment says of it
// counts.
func (sh *shell) spendMemory() (restore func()) {
	for _, name := range []string{"GOGC", "GOMEMLIMIT"} {
		if _, ok := sh.lookup(name); ok {
			return func() {}
		}
	}
	percent, limit := debug.SetGCPercent(garbagePercent), debug.SetMemoryLimit(memoryLimit)
	return func() {
		debug.SetGCPercent(percent)
		debug.SetMemoryLimit(limit)
	}
}

// selection is what of the log is rendered, and how.
type selection struct {
	dialect, endpoint, conversation string
	version                         int      // of the dialect; 0: the newest, or what an endpoint is set to
	events                          []string // none: what an endpoint was sent, or what "*" means
	from, to                        int64
}

// rebuilding writes the body of every selected event as one line of NDJSON, in
// the order of the log.
//
// The log is read once, page by page, by whichever worker has nothing else to do.
// Every page goes to every worker, who renders the events of its own streams, so
// that their histories are never taken on by two; the writer puts together what
// the workers made, event by event. A page is handed to all of them before the
// writer knows of it: what the writer waits for is always with the worker who
// will make it next.
type rebuilding struct {
	selection

	log         *sqlite.Store
	codec       *eventstore.Codec
	dialects    *webhooks.Dialects
	transcripts *projections.Transcripts
	speaks      webhooks.Dialect

	workers []*worker
	chunk   int          // bytes of output that are handed over together
	seed    maphash.Seed // of who renders which stream, which does not show
	pages   chan *page   // to the writer
	spare   chan *page   // that nobody looks at any more, to be filled again
	turn    chan struct{}
	behind  int64        // the last event that was read; of who has the turn
	ahead   atomic.Int32 // pages that were read and are not yet written
}

// speak sets the dialect, in the version that was asked for, and checks the names
// of events against it.
func (r *rebuilding) speak(name string) (err error) {
	if _, version, ok := strings.Cut(name, "@"); ok && r.endpoint == "" && r.version > 0 && version != strconv.Itoa(r.version) {
		return usage("--dialect %s and --schema-version %d contradict each other: leave one of them out", name, r.version)
	}
	if r.version > 0 {
		r.speaks, err = r.dialects.FindVersion(name, r.version)
	} else {
		r.speaks, err = r.dialects.Find(name)
	}
	if err == nil {
		err = webhooks.CheckEvents(r.speaks, r.codec.Types(), r.events)
	}
	if err != nil {
		return usage("--%w", err)
	}
	return nil
}

// findEnds finds the positions that there are of those that were asked for. What
// an endpoint is sent begins behind its registration, and is in its dialect.
func (r *rebuilding) findEnds(ctx context.Context) error {
	head, err := r.log.Head(ctx)
	if err != nil {
		return err
	}
	r.from, r.to = max(1, r.from), min(r.to, head)
	if r.conversation != "" {
		events, _, err := r.log.ReadPage(ctx, nil, eventstore.StreamName("conversation", r.conversation), 0)
		if err != nil {
			return err
		}
		if len(events) == 0 {
			return &fault{exit: exitFailed, code: "conversation.not_found", err: fmt.Errorf("there is no conversation %s", r.conversation)}
		}
	}
	if r.endpoint == "" {
		return nil
	}
	course, err := r.course(ctx)
	if err != nil {
		return err
	}
	r.from = max(r.from, course.Begin())
	return r.speak(course.Endpoint().Settings.Dialect)
}

// course returns what the endpoint is owed.
func (r *rebuilding) course(ctx context.Context) (*projections.Course, error) {
	c, err := projections.NewCourse(ctx, r.log, r.codec, r.dialects, r.endpoint)
	if errors.Is(err, projections.ErrNoEndpoint) {
		return nil, &fault{exit: exitFailed, code: "endpoint.not_found", err: fmt.Errorf("there is no endpoint %s", r.endpoint)}
	}
	if err != nil || r.version == 0 {
		return c, err
	}
	if err := c.Speak(r.version); err != nil {
		return nil, usage("--schema-version %d: %w", r.version, err)
	}
	return c, nil
}

// A page is a piece of the log, with the worker of each event.
type page struct {
	events []eventstore.Recorded
	owners []*worker
	last   bool
	err    error        // of the reading, behind the events of the last page
	users  atomic.Int32 // who still looks at it: workers and writer
}

// A chunk is what a worker made of some of its events.
type chunk struct {
	lines []byte
	ends  []int // where the lines of each event end
	err   error // of the event behind them, which is the worker's last
}

// run writes everything, or all that comes before an error.
func (r *rebuilding) run(ctx context.Context, n int, out *whole) (err error) {
	defer func() { err = out.end(err) }()
	ctx, stop := context.WithCancel(ctx)
	var all sync.WaitGroup
	defer all.Wait()
	defer stop()
	r.pages, r.spare, r.turn = make(chan *page, pagesAhead), make(chan *page, pagesAhead), make(chan struct{}, 1)
	r.seed, r.behind = maphash.MakeSeed(), r.from-1
	r.chunk = min(chunkBytes, aheadBytes/(n*chunksAhead))
	if r.conversation != "" {
		r.behind = 0 // of its stream, whose versions are not positions
	}
	for range n {
		w, err := newWorker(ctx, r)
		if err != nil {
			return err
		}
		r.workers = append(r.workers, w)
	}
	r.turn <- struct{}{}
	for _, w := range r.workers {
		all.Go(func() { w.run(ctx) })
	}
	for {
		p, err := receive(ctx, r.pages)
		if err != nil {
			return err
		}
		for i, w := range p.owners {
			lines, err := w.next(ctx)
			if err == nil {
				err = ctx.Err() // from then on workers leave out what nobody may take any more
			}
			if err != nil {
				return err
			}
			if err := out.write(lines, p.events[i].Position); err != nil {
				return err
			}
		}
		if p.last {
			return p.err
		}
		r.leave(p)
		if r.ahead.Add(-1) == pagesAhead-1 {
			r.turn <- struct{}{} // nobody has it: there was no room for another page
		}
	}
}

// read reads the next page and hands it to the workers, and then to the writer.
// It is for who has the turn, and gives that away if there is room for another
// page. A worker who has no room is one who has yet to look at pages that are
// written already, and waits for nobody.
func (r *rebuilding) read(ctx context.Context) {
	p := r.nextPage(ctx)
	for _, w := range r.workers {
		send(ctx, w.pages, p)
	}
	send(ctx, r.pages, p)
	if r.ahead.Add(1) < pagesAhead && !p.last {
		r.turn <- struct{}{}
	}
}

// nextPage reads a page of the selected events.
func (r *rebuilding) nextPage(ctx context.Context) *page {
	p, stream := r.room(), ""
	if r.conversation != "" {
		stream = eventstore.StreamName("conversation", r.conversation)
	}
	var more bool
	p.events, more, p.err = r.log.ReadPage(ctx, p.events, stream, r.behind)
	if n := len(p.events); n > 0 {
		if r.behind = p.events[n-1].Position; stream != "" {
			r.behind = p.events[n-1].Version
		}
	}
	before := sort.Search(len(p.events), func(i int) bool { return p.events[i].Position >= r.from })
	behind := sort.Search(len(p.events), func(i int) bool { return p.events[i].Position > r.to })
	p.last = !more || behind < len(p.events)
	p.events = p.events[before:max(before, behind)]
	for i := range p.events {
		p.owners = append(p.owners, r.workers[maphash.String(r.seed, p.events[i].Stream)%uint64(len(r.workers))])
	}
	p.users.Store(int32(len(r.workers)) + 1)
	return p
}

// room returns an empty page.
func (r *rebuilding) room() *page {
	select {
	case p := <-r.spare:
		p.events, p.owners = p.events[:0], p.owners[:0]
		return p
	default:
		return &page{events: make([]eventstore.Recorded, 0, pageEvents), owners: make([]*worker, 0, pageEvents)}
	}
}

// leave says that one of its users has done with a page.
func (r *rebuilding) leave(p *page) {
	if p.users.Add(-1) > 0 {
		return
	}
	select {
	case r.spare <- p:
	default: // there are enough
	}
}

// A worker renders the events of some streams.
type worker struct {
	*rebuilding

	course *projections.Course // of the endpoint, if it is one's
	owes   []webhooks.Delivery // room for what the dialect alone owes
	words  map[string]webhooks.Word

	pages chan *page
	empty chan *chunk // to be filled
	full  chan *chunk // to be written
	now   *chunk      // the writer's
	at    int         // of now, the writer's next event
}

func newWorker(ctx context.Context, r *rebuilding) (w *worker, err error) {
	w = &worker{
		rebuilding: r, words: make(map[string]webhooks.Word),
		pages: make(chan *page, pagesAhead), empty: make(chan *chunk, chunksAhead), full: make(chan *chunk, chunksAhead),
		now: &chunk{},
	}
	for range chunksAhead - 1 {
		w.empty <- &chunk{}
	}
	for _, t := range r.speaks.Vocabulary() {
		w.words[t.Name] = t.Word
	}
	if r.endpoint != "" {
		w.course, err = r.course(ctx)
	}
	return w, err
}

// run renders page by page until the last one or an error.
func (w *worker) run(ctx context.Context) {
	for {
		p, err := w.take(ctx)
		if err != nil {
			return
		}
		last := p.last
		if !w.render(ctx, p) || last {
			return
		}
	}
}

// take returns the worker's next page. Before that it reads some, if there is room
// and nobody else does: while somebody reads, the others are to have something to
// render.
func (w *worker) take(ctx context.Context) (*page, error) {
	for {
		if len(w.pages) < pagesAhead { // nobody but the worker itself would make room
			select {
			case <-w.turn:
				w.read(ctx)
				continue
			default:
			}
		}
		if len(w.pages) > 0 {
			return <-w.pages, nil
		}
		select {
		case p := <-w.pages:
			return p, nil
		case <-w.turn:
			w.read(ctx)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// render fills chunks with what becomes of a page, and reports whether the
// worker can go on.
func (w *worker) render(ctx context.Context, p *page) bool {
	c, err := receive(ctx, w.empty)
	if err != nil {
		return false
	}
	for i, owner := range p.owners {
		if owner != w {
			continue
		}
		start := len(c.lines)
		lines, err := w.appendLines(ctx, c.lines, &p.events[i])
		if err != nil {
			c.lines, c.err = lines[:start], err
			send(ctx, w.full, c)
			return false
		}
		c.lines, c.ends = lines, append(c.ends, len(lines))
		if len(c.lines) < w.chunk {
			continue
		}
		if !send(ctx, w.full, c) {
			return false
		}
		if c, err = receive(ctx, w.empty); err != nil {
			return false
		}
	}
	w.leave(p)
	if len(c.ends) == 0 {
		w.empty <- c // the writer will not ask for it
		return true
	}
	return send(ctx, w.full, c)
}

// next returns what the worker made of its next event. It is for the writer.
func (w *worker) next(ctx context.Context) (lines []byte, err error) {
	for w.at == len(w.now.ends) {
		if w.now.err != nil {
			return nil, w.now.err
		}
		w.now.lines, w.now.ends, w.at = w.now.lines[:0], w.now.ends[:0], 0
		w.empty <- w.now // there is room for all chunks
		if w.now, err = receive(ctx, w.full); err != nil {
			return nil, err
		}
	}
	start := 0
	if w.at > 0 {
		start = w.now.ends[w.at-1]
	}
	w.at++
	return w.now.lines[start:w.now.ends[w.at-1]], nil
}

// appendLines appends a line for each body that the event becomes.
func (w *worker) appendLines(ctx context.Context, dst []byte, e *eventstore.Recorded) ([]byte, error) {
	event, err := w.codec.Decode(e)
	if err != nil {
		return dst, err
	}
	f := webhooks.Fact{Recorded: e, Event: event}
	owed, err := w.owed(ctx, f)
	if err != nil {
		return dst, fmt.Errorf("position %d: %w", e.Position, err)
	}
	kind, id := eventstore.SplitStream(e.Stream)
	if len(owed) == 0 {
		err = w.transcripts.Follow(&f)
	}
	for i := range owed {
		d := &owed[i]
		dst = append(dst, `{"position":`...)
		dst = strconv.AppendInt(dst, d.Position, 10)
		dst = append(dst, `,"event":`...)
		dst = webhooks.AppendString(dst, d.Name)
		if w.endpoint != "" {
			dst = append(dst, `,"webhook_id":`...)
			dst = webhooks.AppendString(dst, d.WebhookID)
		}
		dst = append(dst, `,"conversation":`...)
		if kind != "conversation" {
			id = ""
		}
		dst = webhooks.AppendOptional(dst, id)
		dst = append(dst, `,"body":`...)
		if dst, err = w.transcripts.AppendBody(ctx, dst, d, &f); err != nil {
			return dst, fmt.Errorf("position %d: %w", d.Position, err)
		}
		dst = append(dst, "}\n"...)
	}
	if _, ok := event.(conversation.Closed); ok {
		w.transcripts.Forget(e.Stream) // or memory would be full of conversations that have ended
	}
	return dst, err
}

// owed returns the deliveries that an event makes for the selection, until it is
// called again.
func (w *worker) owed(ctx context.Context, f webhooks.Fact) ([]webhooks.Delivery, error) {
	if w.course == nil {
		w.owes = w.owes[:0]
		for _, word := range w.speaks.Words(f.Event) {
			if webhooks.Wants(w.events, f.Type, word) {
				w.owes = append(w.owes, webhooks.Delivery{
					Stream: f.Stream, Position: f.Position, Version: f.Version, EventID: f.ID, Event: f.Type, Name: word.Name,
					Dialect: w.speaks.Name(), History: endpoint.HistoryFull,
				})
			}
		}
		return w.owes, nil
	}
	owed, err := w.course.Owed(ctx, f)
	if len(w.events) == 0 {
		return owed, err
	}
	return slices.DeleteFunc(owed, func(d webhooks.Delivery) bool { return !webhooks.Wants(w.events, d.Event, w.words[d.Name]) }), err
}

func send[T any](ctx context.Context, to chan<- T, v T) bool {
	select {
	case to <- v:
		return true
	case <-ctx.Done():
		return false
	}
}

func receive[T any](ctx context.Context, from <-chan T) (v T, err error) {
	select {
	case v = <-from:
		return v, nil
	case <-ctx.Done():
		return v, ctx.Err()
	}
}
