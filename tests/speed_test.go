package tests_test

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"verbatim/adapters/sqlite"
	"verbatim/domain/endpoint"
	"verbatim/eventstore"
)

// talk has n messages posted by as many clients as there are conversations,
// and returns how long it took.
func (h *rig) talk(tb testing.TB, ids []string, n int) time.Duration {
	tb.Helper()
	start := time.Now()
	var wg sync.WaitGroup
	for i, id := range ids {
		share := n / len(ids)
		if i < n%len(ids) {
			share++
		}
		wg.Go(func() {
			for range share {
				h.say(tb, id)
			}
		})
	}
	wg.Wait()
	return time.Since(start)
}

func (h *rig) createMany(tb testing.TB, n int) []string {
	tb.Helper()
	ids := make([]string, n)
	for i := range ids {
		ids[i] = h.create(tb)
	}
	return ids
}

// BenchmarkAppendWhileProjecting appends with all projections following the
// log, an endpoint that wants every event among them, and in turns with it
// without any. ×alone is what appends keep of their speed; lag is how many
// events the projections were behind when the last append was acknowledged.
func BenchmarkAppendWhileProjecting(b *testing.B) {
	for _, clients := range []int{8, 64} {
		b.Run(fmt.Sprintf("clients=%d", clients), func(b *testing.B) {
			const chunk = 4096
			alone, followed := openRig(b), openRig(b)
			followed.register(b, endpoint.Settings{URL: "https://example.com/", Dialect: "closer@1"})
			followed.follow(b)
			quiet, busy := alone.createMany(b, clients), followed.createMany(b, clients)
			var without, with, behind time.Duration
			lag := int64(0)
			b.ResetTimer()
			for done := 0; done < b.N; {
				n := min(chunk, b.N-done)
				done += n
				without += alone.talk(b, quiet, n)
				with += followed.talk(b, busy, n)
				head, err := followed.store.Head(b.Context())
				if err != nil {
					b.Fatal(err)
				}
				lag = max(lag, head-followed.group.Position())
				start := time.Now()
				followed.caughtUp(b)
				behind += time.Since(start)
			}
			b.ReportMetric(float64(b.N)/without.Seconds(), "alone/s")
			b.ReportMetric(float64(b.N)/with.Seconds(), "events/s")
			b.ReportMetric(without.Seconds()/with.Seconds(), "×alone")
			b.ReportMetric(float64(b.N)/(with+behind).Seconds(), "projected/s")
			b.ReportMetric(float64(lag), "lag")
		})
	}
}

// seed fills the log by import: many conversations of a hundred messages.
func (h *rig) seed(tb testing.TB, events int) {
	tb.Helper()
	template := openRig(tb)
	id := template.create(tb)
	for range 99 {
		template.say(tb, id)
	}
	var rows []eventstore.Recorded
	for r, err := range template.store.ReadLog(tb.Context(), 0) {
		if err != nil {
			tb.Fatal(err)
		}
		rows = append(rows, r)
	}
	position, err := h.store.Head(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	_, err = h.store.Import(tb.Context(), func(yield func(eventstore.Recorded, error) bool) {
		for n := 0; n < events; {
			stream := eventstore.StreamName("conversation", newID(tb))
			for i := range rows {
				if n++; n > events {
					return
				}
				position++
				r := rows[i]
				r.Stream, r.Position = stream, position
				r.ID = uuidV7(tb)
				if !yield(r, nil) {
					return
				}
			}
		}
	})
	if err != nil {
		tb.Fatal(err)
	}
}

// BenchmarkCatchUp projects a log of 100,000 events from the start.
func BenchmarkCatchUp(b *testing.B) {
	const events = 100_000
	for b.Loop() {
		b.StopTimer()
		h := openRig(b)
		h.seed(b, events)
		if err := h.group.Load(b.Context()); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		if err := h.group.CatchUp(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(events*b.N)/b.Elapsed().Seconds(), "events/s")
	found(fmt.Sprintf("projections of %d events, from the start", events), "≥ 100,000/s",
		"%.0f/s", float64(events*b.N)/b.Elapsed().Seconds())
}

// BenchmarkReadLog reads a log of 100,000 events and, in turns with it, runs a
// bare SELECT of the same columns. ×bare is the ratio of the two speeds.
func BenchmarkReadLog(b *testing.B) {
	const events = 100_000
	h := openRig(b)
	h.seed(b, events)
	var ours, bare time.Duration
	for b.Loop() {
		start := time.Now()
		n := 0
		for _, err := range h.store.ReadLog(b.Context(), 0) {
			if err != nil {
				b.Fatal(err)
			}
			n++
		}
		ours += time.Since(start)
		if n != events {
			b.Fatal(n)
		}
		start = time.Now()
		bareSelect(b, h.store.Readers(), events)
		bare += time.Since(start)
	}
	b.ReportMetric(float64(events*b.N)/ours.Seconds(), "events/s")
	b.ReportMetric(float64(events*b.N)/bare.Seconds(), "bare/s")
	b.ReportMetric(bare.Seconds()/ours.Seconds(), "×bare")
}

// bareSelect reads as many rows of the log as bare as database/sql can.
func bareSelect(b *testing.B, db *sql.DB, want int) {
	b.Helper()
	rows, err := db.QueryContext(context.Background(), sqlite.SelectLog, 0, want)
	if err != nil {
		b.Fatal(err)
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		b.Fatal(err)
	}
	row, numbers, raw := make([]any, len(columns)), make([]int64, len(columns)), make([]sql.RawBytes, len(columns))
	for i, c := range columns {
		row[i] = &raw[i]
		switch c {
		case "position", "version", "schema", "time":
			row[i] = &numbers[i]
		}
	}
	n := 0
	for rows.Next() {
		if err := rows.Scan(row...); err != nil {
			b.Fatal(err)
		}
		n++
	}
	if err := rows.Err(); err != nil || n != want {
		b.Fatal(n, err)
	}
}

// BenchmarkLongConversation posts messages to a conversation that has 10,000
// and, in turns with it, to one that has 10, both by one client. ×short is what
// a message costs in the long one, against the short one.
func BenchmarkLongConversation(b *testing.B) {
	h := openRig(b)
	long := h.create(b)
	h.talk(b, []string{long}, 10_000)
	var inLong, inShort time.Duration
	const turn = 20
	for b.Loop() {
		short := h.create(b)
		h.talk(b, []string{short}, 10)
		inShort += h.talk(b, []string{short}, turn)
		inLong += h.talk(b, []string{long}, turn)
	}
	b.ReportMetric(inLong.Seconds()*1e6/float64(b.N*turn), "long-µs")
	b.ReportMetric(inShort.Seconds()*1e6/float64(b.N*turn), "short-µs")
	b.ReportMetric(inLong.Seconds()/inShort.Seconds(), "×short")
}

// BenchmarkLogGrowth compares a log of 1,000,000 events with one of 1,000, in
// turns: appends by 64 clients, reading a stream cold, and projecting a run of
// new events. Each figure is the speed on the large log against the small one.
func BenchmarkLogGrowth(b *testing.B) {
	small, large := openRig(b), openRig(b)
	small.seed(b, 1_000)
	large.seed(b, 1_000_000)
	const clients, run = 64, 4096
	rigs := []*rig{small, large}
	ids := make([][]string, len(rigs))
	for i, h := range rigs {
		ids[i] = h.createMany(b, clients)
		h.talk(b, ids[i], run) // the first commits take the import's pages into the file
		if err := skipTo(b.Context(), h); err != nil {
			b.Fatal(err)
		}
	}
	var appends, reads, projects [2]time.Duration
	for b.Loop() {
		for i, h := range rigs {
			appends[i] += h.talk(b, ids[i], run)
			start := time.Now()
			for _, id := range ids[i] {
				for _, err := range h.store.ReadStream(b.Context(), eventstore.StreamName("conversation", id), 0) {
					if err != nil {
						b.Fatal(err)
					}
				}
			}
			reads[i] += time.Since(start)
			start = time.Now()
			if err := h.group.CatchUp(b.Context()); err != nil {
				b.Fatal(err)
			}
			projects[i] += time.Since(start)
		}
	}
	b.ReportMetric(appends[0].Seconds()/appends[1].Seconds(), "×append")
	b.ReportMetric(reads[0].Seconds()/reads[1].Seconds(), "×read")
	b.ReportMetric(projects[0].Seconds()/projects[1].Seconds(), "×project")
	b.ReportMetric(float64(run*b.N)/appends[1].Seconds(), "events/s")
}

// skipTo projects what is in the log of a rig, so that what comes is new.
func skipTo(ctx context.Context, h *rig) error {
	if err := h.group.Load(ctx); err != nil {
		return err
	}
	return h.group.CatchUp(ctx)
}

// BenchmarkHTTP posts messages over HTTP by 64 clients and, in turns with it,
// the same bodies to a server that reads them and answers as many bytes.
// ×bare is the ratio of the two speeds.
func BenchmarkHTTP(b *testing.B) {
	const clients, chunk = 64, 4096
	r := openRig(b)
	r.follow(b)
	url, key := r.serveHTTP(b)
	answer := []byte(`{"id":"01931b3e-7c1f-7d2a-9d5e-0a6f3c2b1a00","number":123456,"version":1234,"created_at":"2026-11-21T07:20:47.123456Z"}`)
	bare := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if _, err := io.Copy(io.Discard, req.Body); err != nil {
			b.Error(err)
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusCreated)
		_, _ = w.Write(answer)
	}))
	b.Cleanup(bare.Close)
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: clients}}
	b.Cleanup(client.CloseIdleConnections)
	ids := r.createMany(b, clients)
	post := func(base string, n int) time.Duration {
		start := time.Now()
		var wg sync.WaitGroup
		for i, id := range ids {
			wg.Go(func() {
				for range n/clients + min(1, max(0, n%clients-i)) {
					postMessage(b, client, base+"/v1/conversations/"+id+"/messages", key)
				}
			})
		}
		wg.Wait()
		return time.Since(start)
	}
	var ours, theirs time.Duration
	for done := 0; done < b.N; {
		n := min(chunk, b.N-done)
		done += n
		ours += post(url, n)
		theirs += post(bare.URL, n)
	}
	b.ReportMetric(float64(b.N)/ours.Seconds(), "posts/s")
	b.ReportMetric(float64(b.N)/theirs.Seconds(), "bare/s")
	b.ReportMetric(theirs.Seconds()/ours.Seconds(), "×bare")
}

func postMessage(tb testing.TB, client *http.Client, url, key string) {
	tb.Helper()
	const body = `{"text":"Hello, I have a question about my last order: it has not arrived yet. Can you help me?"}`
	req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		tb.Error(err)
		return
	}
	req.Header.Set("Authorization", "Bearer "+key)
	req.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		tb.Error(err)
		return
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != http.StatusCreated {
		tb.Error(resp.Status, err)
	}
}

// BenchmarkWebhookLatency appends 20 messages a second and measures the time
// from the command to the first byte at a receiver on this machine.
func BenchmarkWebhookLatency(b *testing.B) {
	r := openRig(b)
	arrivals := make(chan time.Time, 1)
	receiver := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { arrivals <- time.Now() }))
	b.Cleanup(receiver.Close)
	r.dispatch(b)
	r.follow(b)
	r.register(b, endpoint.Settings{
		URL: receiver.URL, Dialect: "verbatim@1", Events: []string{"conversation.message_posted"}, History: "last:10",
	})
	id := r.create(b)
	tick := time.NewTicker(time.Second / 20)
	defer tick.Stop()
	took := make([]time.Duration, 0, b.N)
	for b.Loop() {
		<-tick.C
		start := time.Now()
		r.say(b, id)
		select {
		case at := <-arrivals:
			took = append(took, at.Sub(start))
		case <-time.After(patience):
			b.Fatal("no webhook came")
		}
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
}
