package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"iter"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"

	"verbatim/adapters/sqlite"
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
	// pageEvents and pageBytes are how much of the log is handed out at a time:
	// enough for the handing out to cost nothing beside the rendering.
	pageEvents = 256
	pageBytes  = 4 << 20
	// pagesAhead is how many pages the reader may be ahead of the writer.
	pagesAhead = 4
	// chunkBytes and chunksAhead are how much output a worker may be ahead of
	// the writer. A slow conversation holds back those of its own worker; the
	// others go on until their chunks are full, and wait.
	chunkBytes  = 256 << 10
	chunksAhead = 4
)

func rebuild(ctx context.Context, sh *shell, args []string) (err error) {
	fs := sh.flags("rebuild", "")
	cfg, finish, err := loadConfig(sh, fs, "database", "history-memory")
	if err != nil {
		return err
	}
	var sel selection
	fs.StringVar(&sel.dialect, "dialect", "", "render every event that this dialect has a name for, as if an endpoint wanted all of them")
	fs.StringVar(&sel.endpoint, "endpoint", "", "render what this endpoint was and would be sent")
	fs.StringVar(&sel.conversation, "conversation", "", "only this conversation")
	fs.Func("events", `only these, separated by commas: the dialect's own names, facts, groups of facts, "*"`, func(v string) error {
		sel.events = strings.Split(v, ",")
		return nil
	})
	fs.Int64Var(&sel.from, "from", 1, "first position")
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
	r.log = store
	r.transcripts = projections.NewTranscripts(store, r.codec, r.dialects, cfg.HistoryMemory)
	if sel.endpoint != "" {
		if err := r.findEndpoint(ctx); err != nil {
			return err
		}
	}
	out := bufio.NewWriter(sh.out)
	return errors.Join(r.run(ctx, *workers, out), out.Flush())
}

// selection is what of the log is rendered, and how.
type selection struct {
	dialect, endpoint, conversation string
	events                          []string // none: what an endpoint was sent, or what "*" means
	from, to                        int64
}

// rebuilding writes the body of every selected event as one line of NDJSON, in
// the order of the log.
//
// The log is read once, page by page. Every page goes to every worker, who
// renders the events of its own streams, so that their histories are never taken
// on by two; the writer puts together what the workers made, event by event. A
// page is handed to all of them before the writer knows of it: what the writer
// waits for is always with the worker who will make it next.
type rebuilding struct {
	selection

	log         *sqlite.Store
	codec       *eventstore.Codec
	dialects    *webhooks.Dialects
	transcripts *projections.Transcripts
	speaks      webhooks.Dialect
}

// speak sets the dialect and checks the names of events against it.
func (r *rebuilding) speak(name string) (err error) {
	if r.speaks, err = r.dialects.Find(name); err != nil {
		return usage("--%w", err)
	}
	if err := webhooks.CheckEvents(r.speaks, r.codec.Types(), r.events); err != nil {
		return usage("--%w", err)
	}
	return nil
}

// findEndpoint finds the endpoint in the log, where its dialect stands.
func (r *rebuilding) findEndpoint(ctx context.Context) error {
	for e, err := range r.log.ReadStream(ctx, eventstore.StreamName("endpoint", r.endpoint), 0) {
		if err != nil {
			return err
		}
		event, err := r.codec.Decode(&e)
		if err != nil {
			return err
		}
		registered, ok := event.(endpoint.Registered)
		if !ok {
			return fmt.Errorf("position %d: %s does not belong here", e.Position, e.Type)
		}
		return r.speak(registered.Settings.Dialect)
	}
	return &fault{exit: exitFailed, code: "endpoint.not_found", err: fmt.Errorf("there is no endpoint %s", r.endpoint)}
}

// A page is a piece of the log, with the worker of each event.
type page struct {
	events []eventstore.Recorded
	owners []*worker
	last   bool
	err    error // of the reading, behind the events of the last page
}

// A chunk is what a worker made of some of its events.
type chunk struct {
	lines []byte
	ends  []int // where the lines of each event end
	err   error // of the event behind them, which is the worker's last
}

// run writes everything, or all that comes before an error.
func (r *rebuilding) run(ctx context.Context, n int, out io.Writer) error {
	ctx, stop := context.WithCancel(ctx)
	var all sync.WaitGroup
	defer all.Wait()
	defer stop()
	workers := make([]*worker, n)
	for i := range workers {
		w, err := newWorker(ctx, r)
		if err != nil {
			return err
		}
		workers[i] = w
		all.Go(func() { w.run(ctx) })
	}
	pages := make(chan *page, pagesAhead)
	all.Go(func() { r.read(ctx, workers, pages) })
	for {
		p, err := receive(ctx, pages)
		if err != nil {
			return err
		}
		for _, w := range p.owners {
			lines, err := w.next(ctx)
			if err != nil {
				return err
			}
			if _, err := out.Write(lines); err != nil {
				return err
			}
		}
		if p.last {
			return p.err
		}
	}
}

// read cuts the log into pages, hands each to the workers, and then lets the
// writer know of it.
func (r *rebuilding) read(ctx context.Context, workers []*worker, pages chan<- *page) {
	hand := func(p *page) bool {
		for _, w := range workers {
			if !send(ctx, w.pages, p) {
				return false
			}
		}
		return send(ctx, pages, p)
	}
	seed := maphash.MakeSeed() // who renders a stream does not show
	p, size := &page{}, 0
	for e, err := range r.selected(ctx) {
		if err != nil {
			p.err = err
			break
		}
		p.events = append(p.events, e)
		p.owners = append(p.owners, workers[maphash.String(seed, e.Stream)%uint64(len(workers))])
		if size += len(e.Data) + len(e.Metadata); size >= pageBytes || len(p.events) == pageEvents {
			if !hand(p) {
				return
			}
			p, size = &page{}, 0
		}
	}
	p.last = true
	hand(p)
}

// selected yields the events to be rendered and, among them, those of the
// endpoint: its settings are events too, from before the first position.
func (r *rebuilding) selected(ctx context.Context) iter.Seq2[eventstore.Recorded, error] {
	settings, only := eventstore.StreamName("endpoint", r.endpoint), eventstore.StreamName("conversation", r.conversation)
	events := r.log.ReadLog(ctx, max(0, r.from-1))
	switch {
	case r.endpoint != "":
		events = r.log.ReadLog(ctx, 0)
	case r.conversation != "":
		events = r.log.ReadStream(ctx, only, 0)
	}
	return func(yield func(eventstore.Recorded, error) bool) {
		for e, err := range events {
			if err == nil && e.Position > r.to {
				return
			}
			if err == nil && e.Stream != settings && (e.Position < r.from || r.conversation != "" && e.Stream != only) {
				continue
			}
			if !yield(e, err) {
				return
			}
		}
	}
}

// A worker renders the events of some streams.
type worker struct {
	*rebuilding

	plan  *projections.Plan // of the endpoint: what it is sent is asked of what planned its deliveries
	rows  projections.Rows
	words map[string]webhooks.Word

	pages chan *page
	empty chan *chunk // to be filled
	full  chan *chunk // to be written
	now   *chunk      // the writer's
	at    int         // of now, the writer's next event
}

func newWorker(ctx context.Context, r *rebuilding) (*worker, error) {
	w := &worker{
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
	if r.endpoint == "" {
		return w, nil
	}
	w.plan = projections.NewPlan(r.log, r.codec, r.log, r.dialects, nil)
	return w, w.plan.Load(ctx, 0)
}

// run renders page by page until the last one or an error.
func (w *worker) run(ctx context.Context) {
	for {
		p, err := receive(ctx, w.pages)
		if err != nil || !w.render(ctx, p) || p.last {
			return
		}
	}
}

// render fills chunks with what becomes of a page, and reports whether the
// worker can go on.
func (w *worker) render(ctx context.Context, p *page) bool {
	settings := eventstore.StreamName("endpoint", w.endpoint)
	c, err := receive(ctx, w.empty)
	if err != nil {
		return false
	}
	for i, owner := range p.owners {
		e := &p.events[i]
		if owner != w && e.Stream != settings {
			continue
		}
		start := len(c.lines)
		lines, err := w.appendLines(ctx, c.lines, e)
		if owner != w {
			continue // it was to be heard of; what is wrong with it, its own worker says
		}
		if err != nil {
			c.lines, c.err = lines[:start], err
			send(ctx, w.full, c)
			return false
		}
		c.lines, c.ends = lines, append(c.ends, len(lines))
		if len(c.lines) < chunkBytes {
			continue
		}
		send(ctx, w.full, c)
		if c, err = receive(ctx, w.empty); err != nil {
			return false
		}
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
	if len(owed) == 0 && kind != "endpoint" {
		return dst, w.transcripts.Follow(&f)
	}
	for i := range owed {
		d := &owed[i]
		dst = append(dst, `{"position":`...)
		dst = strconv.AppendInt(dst, d.Position, 10)
		dst = append(dst, `,"event":`...)
		dst = webhooks.AppendString(dst, d.Name)
		dst = append(dst, `,"conversation":`...)
		if kind != "conversation" {
			id = ""
		}
		dst = webhooks.AppendOptional(dst, id)
		if w.endpoint != "" {
			dst = append(dst, `,"webhook_id":`...)
			dst = webhooks.AppendString(dst, d.WebhookID)
		}
		dst = append(dst, `,"body":`...)
		if dst, err = w.transcripts.AppendBody(ctx, dst, d, &f); err != nil {
			return dst, fmt.Errorf("position %d: %w", d.Position, err)
		}
		dst = append(dst, "}\n"...)
	}
	return dst, nil
}

// owed returns the deliveries that an event makes for the selection, until it is
// called again.
func (w *worker) owed(ctx context.Context, f webhooks.Fact) ([]webhooks.Delivery, error) {
	w.rows.Deliveries = w.rows.Deliveries[:0]
	if w.plan == nil {
		for _, word := range w.speaks.Words(f.Event) {
			if webhooks.Wants(w.events, f.Type, word) {
				w.rows.Deliveries = append(w.rows.Deliveries, webhooks.Delivery{
					Stream: f.Stream, Position: f.Position, Version: f.Version, EventID: f.ID, Event: f.Type, Name: word.Name,
					Dialect: w.speaks.Name(), History: endpoint.HistoryFull,
				})
			}
		}
		return w.rows.Deliveries, nil
	}
	err := w.plan.Project(ctx, f, &w.rows)
	w.plan.Settle(true) // or it would remember what it planned
	return slices.DeleteFunc(w.rows.Deliveries, func(d webhooks.Delivery) bool {
		return d.EndpointID != w.endpoint || len(w.events) > 0 && !webhooks.Wants(w.events, d.Event, w.words[d.Name])
	}), err
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
