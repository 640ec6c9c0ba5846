package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"runtime"
	"slices"
	"strings"
	"unicode"

	"verbatim/adapters/sqlite"
	"verbatim/eventstore"
	"verbatim/projections"
	"verbatim/webhooks/dialect"
)

// Limits of what a verification tells: everything is counted, and the first of
// each kind is told in full.
const (
	keptFaults  = 100 // of the log
	shownFaults = 10  // of them, to people
	keptEach    = 5   // deliveries of a group that differs alike
	// keptStreams bounds the damaged streams that are remembered, to say of a
	// delivery that it differs because its stream is damaged: about a megabyte.
	keptStreams = 10_000
)

func verify(ctx context.Context, sh *shell, args []string) (err error) {
	fs := sh.flags("verify", "")
	cfg, finish, err := loadConfig(sh, fs, "database", "keep-deliveries")
	if err != nil {
		return err
	}
	v := &verification{codec: eventstore.Catalogue(), dialects: dialect.All(), progress: func(total int64) *progress {
		return newProgress(sh, total, "events")
	}}
	fs.StringVar(&v.endpoint, "endpoint", "", "only the deliveries to this endpoint")
	fs.Int64Var(&v.from, "from", 1, "first position")
	fs.Int64Var(&v.to, "to", projections.Newest, "last position")
	logOnly := fs.Bool("log-only", false, "only the log itself, no deliveries")
	fs.Func("expect", "a `POSITION:HASH` that was noted as the seal of the log: up to there it must be what it was then; may be given several times",
		func(text string) error {
			seal, err := eventstore.ParseSeal(text)
			v.expected = append(v.expected, expectation{Seal: seal})
			return err
		})
	fs.IntVar(&v.workers, "workers", min(runtime.GOMAXPROCS(0), maxWorkers), "how many streams to look at at once")
	_, err = parse(fs, args)
	if err == nil {
		err = finish()
	}
	switch {
	case err != nil:
		return err
	case v.workers < 1 || v.workers > maxWorkers:
		return usage("--workers must be 1 to %d", maxWorkers)
	case v.from < 1 || v.to < v.from:
		return usage("--from must be 1 or more, and --to no less")
	case *logOnly && v.endpoint != "":
		return usage("--log-only leaves out the deliveries that --endpoint is about")
	case v.from > 1 && len(v.expected) > 0:
		return usage("a seal is of the log from its beginning: leave --from out")
	}
	for _, e := range v.expected {
		if e.Seal.Position > v.to {
			return usage("--to %d leaves out what %s is to prove", v.to, e.Seal)
		}
	}
	dir, err := cfg.folder()
	if err != nil {
		return err
	}
	v.keep = cfg.KeepDeliveries
	v.log, err = sqlite.Open(ctx, dir, sqlite.Options{ReadOnly: true, Damaged: true})
	if err != nil {
		return openFault(err)
	}
	defer func() { err = errors.Join(err, v.log.Close()) }()
	if err := v.checkLog(ctx); err != nil {
		return err
	}
	if !*logOnly {
		if err := v.checkDeliveries(ctx); err != nil {
			return err
		}
	}
	r := v.report()
	if sh.json {
		sh.printJSON(sh.out, r)
	} else {
		r.writeTo(sh.out)
	}
	return r.difference()
}

// A verifyReport is what a verification found.
type verifyReport struct {
	Identical  bool            `json:"identical"` // nothing differs
	Log        logReport       `json:"log"`
	Deliveries *deliveryReport `json:"deliveries,omitempty"` // none if they were not looked at
}

type logReport struct {
	From     int64            `json:"from"`
	To       int64            `json:"to"`
	Events   int64            `json:"events"`
	Streams  int64            `json:"streams"`           // that begin there
	Erased   int64            `json:"erased"`            // events out of which a person was erased
	Erasing  bool             `json:"erasing,omitempty"` // an erasure is under way: who vouches for erased events was not looked at
	Seal     *eventstore.Seal `json:"seal,omitempty"`
	Expected []expectation    `json:"expected,omitempty"`
	Faults   findings         `json:"faults"`
}

// An expectation is a seal that was noted, and whether the log still has it.
type expectation struct {
	Seal  eventstore.Seal `json:"seal"`
	Holds bool            `json:"holds"`
}

// findings are the faults of a log.
type findings struct {
	Total int64                       `json:"total"`
	By    map[eventstore.Defect]int64 `json:"by_defect,omitempty"`
	First []eventstore.Fault          `json:"first,omitempty"`
}

func (f *findings) add(found eventstore.Fault) {
	f.Total++
	if f.By == nil {
		f.By = make(map[eventstore.Defect]int64)
	}
	f.By[found.Defect]++
	f.First = keepFirst(f.First, found, keptFaults, func(a, b eventstore.Fault) int {
		return cmp.Or(cmp.Compare(a.Position, b.Position), cmp.Compare(a.Defect, b.Defect))
	})
}

// keepFirst adds to a sorted list what belongs to its first items.
func keepFirst[T any](list []T, item T, limit int, compare func(a, b T) int) []T {
	at, _ := slices.BinarySearchFunc(list, item, compare)
	if at == limit {
		return list
	}
	list = slices.Insert(list, at, item)
	return list[:min(len(list), limit)]
}

type deliveryReport struct {
	Endpoints []*endpointTally `json:"endpoints"`
	Changed   []*changeGroup   `json:"changed,omitempty"`
	Missing   []gone           `json:"missing,omitempty"` // the first of them
	Strays    []gone           `json:"strays,omitempty"`  // likewise
	Faults    []string         `json:"faults,omitempty"`  // why something could not be compared
}

// An endpointTally counts what became of the deliveries to one endpoint.
type endpointTally struct {
	Endpoint  string        `json:"endpoint"`
	Dialect   string        `json:"dialect"`
	Identical int64         `json:"identical"` // delivered, and rendered again to the same bytes
	Changed   int64         `json:"changed"`   // to other bytes
	Erased    int64         `json:"erased"`    // to other bytes, for a person was erased from what it tells
	Missing   int64         `json:"missing"`   // owed, and never planned or removed
	Pruned    int64         `json:"pruned"`    // owed, and so old that it may have been removed since it ended
	Strays    int64         `json:"strays"`    // of events that the log does not have
	NeverSent []*unsentKind `json:"never_sent,omitempty"`
}

// An unsentKind counts deliveries that did not reach their receiver, or not yet.
type unsentKind struct {
	State  string `json:"state"`
	Reason string `json:"reason,omitempty"`
	Count  int64  `json:"count"`
	Tried  int64  `json:"tried"` // of them, those whose body was sent in vain
}

// A changeGroup is deliveries whose bodies differ alike from what was sent.
type changeGroup struct {
	Dialect string   `json:"dialect"`
	Event   string   `json:"event"`
	Cause   cause    `json:"cause"`
	Count   int64    `json:"count"`
	First   []change `json:"first"`
}

type change struct {
	Delivery  string   `json:"delivery"`
	WebhookID string   `json:"webhook_id"`
	Endpoint  string   `json:"endpoint"`
	Position  int64    `json:"position"`
	State     string   `json:"state"`
	Recorded  string   `json:"recorded,omitempty"`  // digest of what was accepted
	Attempted []string `json:"attempted,omitempty"` // other digests of what was sent
	Rendered  string   `json:"rendered,omitempty"`  // digest of what is rendered now
	Error     string   `json:"error,omitempty"`     // why nothing is
}

// A gone is a delivery without a row, or a row without an event.
type gone struct {
	Delivery string `json:"delivery"`
	Endpoint string `json:"endpoint"`
	Position int64  `json:"position"`
	Event    string `json:"event"`
}

// A cause is why a body is not what it was, as far as that can be told.
type cause string

const (
	causeRendering cause = "rendering"  // the log is sound: the program renders it otherwise, or the record was changed
	causeLog       cause = "log"        // the stream is damaged at that event or before it
	causeRecord    cause = "record"     // what is on record contradicts itself
	causeUnmade    cause = "unrendered" // no body can be made
)

func (c cause) String() string {
	switch c {
	case causeLog:
		return "its stream is damaged"
	case causeRecord:
		return "what is on record of it contradicts itself"
	case causeUnmade:
		return "no body can be made any more"
	case causeRendering:
	}
	return "the log is sound, the body is another one"
}

// report puts together what was found, in an order that is always the same.
func (v *verification) report() *verifyReport {
	r := &verifyReport{Log: v.found}
	r.Log.Expected = v.expected
	differs := r.Log.Faults.Total > 0
	if v.targets != nil {
		r.Deliveries = &v.deliveries
		r.Deliveries.Endpoints = []*endpointTally{}
		for _, t := range v.targets {
			tally := t.tally
			slices.SortFunc(tally.NeverSent, func(a, b *unsentKind) int {
				return cmp.Or(cmp.Compare(a.State, b.State), cmp.Compare(a.Reason, b.Reason))
			})
			r.Deliveries.Endpoints = append(r.Deliveries.Endpoints, tally)
			differs = differs || tally.Changed+tally.Missing+tally.Strays > 0
		}
		differs = differs || len(r.Deliveries.Changed)+len(r.Deliveries.Faults) > 0
		slices.SortFunc(r.Deliveries.Changed, func(a, b *changeGroup) int {
			return cmp.Or(cmp.Compare(a.First[0].Position, b.First[0].Position), cmp.Compare(a.key(), b.key()))
		})
		slices.Sort(r.Deliveries.Faults)
	}
	r.Identical = !differs
	return r
}

func (g *changeGroup) key() string { return g.Dialect + " " + g.Event + " " + string(g.Cause) }

// sum adds up what was counted for each endpoint.
func (d *deliveryReport) sum() (all endpointTally, never map[[2]string]unsentKind) {
	never = make(map[[2]string]unsentKind)
	for _, t := range d.Endpoints {
		all.Identical += t.Identical
		all.Changed += t.Changed
		all.Erased += t.Erased
		all.Missing += t.Missing
		all.Pruned += t.Pruned
		all.Strays += t.Strays
		for _, kind := range t.NeverSent {
			sum := never[[2]string{kind.State, kind.Reason}]
			never[[2]string{kind.State, kind.Reason}] = unsentKind{kind.State, kind.Reason, sum.Count + kind.Count, sum.Tried + kind.Tried}
		}
	}
	return all, never
}

// difference is the fault with which a verification ends that found one.
func (r *verifyReport) difference() error {
	if r.Identical {
		return nil
	}
	var what []string
	if n := r.Log.Faults.Total; n > 0 {
		what = append(what, fmt.Sprintf("faults in the log: %d", n))
	}
	if r.Deliveries != nil {
		all, _ := r.Deliveries.sum()
		for _, kind := range []struct {
			name  string
			count int64
		}{{"changed", all.Changed}, {"missing", all.Missing}, {"of events that are not in the log", all.Strays}} {
			if kind.count > 0 {
				what = append(what, fmt.Sprintf("deliveries %s: %d", kind.name, kind.count))
			}
		}
		if n := len(r.Deliveries.Faults); n > 0 {
			what = append(what, fmt.Sprintf("not comparable: %d", n))
		}
	}
	return &fault{exit: exitDifferent, code: "different", err: errors.New(strings.Join(what, "; "))}
}

// writeTo writes the report for people.
func (r *verifyReport) writeTo(w io.Writer) {
	l := &r.Log
	fmt.Fprintf(w, "log         positions %d to %d: %d events, %d streams, %d events erased\n", l.From, l.To, l.Events, l.Streams, l.Erased)
	if l.Erasing {
		fmt.Fprintln(w, "erasing     a person is being erased; verify again when that is done")
	}
	if l.Seal != nil {
		fmt.Fprintf(w, "seal        %s\n", l.Seal)
	}
	for _, e := range l.Expected {
		holds := "still holds"
		if !e.Holds {
			holds = "DOES NOT HOLD"
		}
		fmt.Fprintf(w, "expected    %s %s\n", e.Seal, holds)
	}
	fmt.Fprintf(w, "faults      %d\n", l.Faults.Total)
	for i, f := range l.Faults.First {
		if i == shownFaults {
			fmt.Fprintf(w, "  and %d more (--json tells of %d)\n", l.Faults.Total-shownFaults, len(l.Faults.First))
			break
		}
		where := fmt.Sprintf("position %d", f.Position)
		if f.Stream != "" {
			where += fmt.Sprintf(", version %d of %s", f.Version, f.Stream)
		}
		fmt.Fprintf(w, "  %s: %s\n", plain(where), plain(f.Detail))
	}
	if r.Deliveries != nil {
		r.Deliveries.writeTo(w)
	}
}

func (d *deliveryReport) writeTo(w io.Writer) {
	all, never := d.sum()
	fmt.Fprintf(w, "\nendpoints   %d\nidentical   %d\nchanged     %d\n", len(d.Endpoints), all.Identical, all.Changed)
	for _, g := range d.Changed {
		fmt.Fprintf(w, "  %d × %s %s: %s\n", g.Count, plain(g.Dialect), plain(g.Event), g.Cause)
		for i := range g.First {
			g.First[i].writeTo(w)
		}
	}
	fmt.Fprintf(w, "missing     %d\n", all.Missing)
	writeGone(w, d.Missing)
	if all.Strays > 0 {
		fmt.Fprintf(w, "strays      %d, of events that are not in the log\n", all.Strays)
		writeGone(w, d.Strays)
	}
	for _, f := range d.Faults {
		fmt.Fprintf(w, "  %s\n", plain(f))
	}
	fmt.Fprintf(w, "erased      %d\npruned      %d\n", all.Erased, all.Pruned)
	total, kinds := int64(0), []string{}
	for _, key := range slices.SortedFunc(maps.Keys(never), func(a, b [2]string) int { return slices.Compare(a[:], b[:]) }) {
		kind := never[key]
		text := fmt.Sprintf("%d %s", kind.Count, plain(kind.State))
		if kind.Reason != "" {
			text += " (" + plain(kind.Reason) + ")"
		}
		if kind.Tried > 0 {
			text += fmt.Sprintf(", %d of them tried", kind.Tried)
		}
		total, kinds = total+kind.Count, append(kinds, text)
	}
	fmt.Fprintf(w, "never sent  %d", total)
	if total > 0 {
		fmt.Fprintf(w, ": %s", strings.Join(kinds, "; "))
	}
	fmt.Fprintln(w)
}

func (c *change) writeTo(w io.Writer) {
	fmt.Fprintf(w, "    position %d, %s, %s:", c.Position, plain(c.Delivery), plain(c.WebhookID))
	sent := c.Attempted
	if c.Recorded != "" {
		sent = append([]string{c.Recorded}, sent...)
	}
	fmt.Fprintf(w, " sent as %s,", strings.Join(sent, " and "))
	if c.Error != "" {
		fmt.Fprintf(w, " %s\n", plain(c.Error))
		return
	}
	fmt.Fprintf(w, " now %s\n", c.Rendered)
}

func writeGone(w io.Writer, first []gone) {
	for _, g := range first {
		fmt.Fprintf(w, "  position %d, %s to %s: %s\n", g.Position, plain(g.Event), plain(g.Endpoint), plain(g.Delivery))
	}
}

// plain is text for a terminal: what stands in a damaged file may be anything.
func plain(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, strings.ToValidUTF8(text, string(unicode.ReplacementChar)))
}
