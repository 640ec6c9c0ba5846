package sqlite_test

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"verbatim/adapters/sqlite"
	"verbatim/domain"
	"verbatim/domain/conversation"
	"verbatim/eventstore"
)

// BenchmarkAppend appends by commands of concurrent clients through Execute,
// and, in turns with it, inserts the very same rows by a bare prepared
// statement in transactions of as many rows as there are clients. ×bare is the
// ratio of the two speeds.
func BenchmarkAppend(b *testing.B) {
	for _, clients := range []int{1, 8, 64, 128} {
		b.Run(fmt.Sprintf("clients=%d", clients), func(b *testing.B) {
			benchmarkAppend(b, clients, clients)
		})
	}
	b.Run("clients=8/against=one_transaction_a_command", func(b *testing.B) {
		benchmarkAppend(b, 8, 1)
	})
}

func benchmarkAppend(b *testing.B, clients, perTransaction int) {
	b.Helper()
	const chunk = 4096 // events of ours, then the same rows bare, and so on
	store := openBench(b)
	desk := newDesk(store)
	ids := make([]string, clients)
	for i := range ids {
		ids[i] = desk.create(b)
	}
	bare := openBare(b)
	copied, err := store.Head(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	var ours, theirs time.Duration
	b.ReportAllocs()
	b.ResetTimer()
	for done := 0; done < b.N; {
		n := min(chunk, b.N-done)
		start := time.Now()
		desk.post(b, ids, n)
		ours += time.Since(start)
		done += n

		b.StopTimer()
		rows := make([]eventstore.Recorded, 0, n)
		for r, err := range store.ReadLog(b.Context(), copied) {
			if err != nil {
				b.Fatal(err)
			}
			rows = append(rows, r)
		}
		copied += int64(len(rows))
		start = time.Now()
		bare.insert(b, rows, perTransaction)
		theirs += time.Since(start)
		b.StartTimer()
	}
	b.StopTimer()
	b.ReportMetric(float64(b.N)/ours.Seconds(), "events/s")
	b.ReportMetric(float64(b.N)/theirs.Seconds(), "bare/s")
	b.ReportMetric(theirs.Seconds()/ours.Seconds(), "×bare")
}

func openBench(tb testing.TB) *sqlite.Store {
	tb.Helper()
	store, err := sqlite.Open(tb.Context(), tb.TempDir(), sqlite.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := store.Close(); err != nil {
			tb.Error(err)
		}
	})
	return store
}

// desk executes commands on conversations.
type desk struct {
	*eventstore.Aggregates[conversation.State, conversation.Command, conversation.Event]
}

func newDesk(store eventstore.Store) desk {
	return desk{eventstore.NewAggregates(store, eventstore.Catalogue(), time.Now,
		eventstore.Rules[conversation.State, conversation.Command, conversation.Event]{
			Kind: "conversation", Schema: conversation.StateSchema,
			Decide: conversation.Decide, Evolve: conversation.Evolve,
		})}
}

func (d desk) do(tb testing.TB, id string, c conversation.Command) {
	tb.Helper()
	_, err := d.Execute(context.Background(), eventstore.Order[conversation.State, conversation.Command]{
		Account: "default", ID: id, Command: c,
		Metadata: eventstore.Metadata{Actor: "key:0123456789ab", Correlation: "0192f7a8c1d24e5f8a9b0c1d2e3f4a5b"},
	})
	if err != nil {
		tb.Error(err)
	}
}

func (d desk) create(tb testing.TB) string {
	tb.Helper()
	id := newID(tb)
	d.do(tb, id, conversation.Create{
		Account: domain.Account{ID: "default", Number: 1, Name: "Default"},
		Inbox:   domain.Inbox{ID: "default", Number: 1, Name: "Default"}, Channel: "api",
		Customer: domain.Person{ID: newID(tb), Name: "Jon Snow", Email: "jon.snow@winterfell.com", Phone: "+48123456789"},
	})
	return id
}

// post posts n messages, each conversation by a client of its own.
func (d desk) post(tb testing.TB, ids []string, n int) {
	tb.Helper()
	var wg sync.WaitGroup
	for i, id := range ids {
		share := n / len(ids)
		if i < n%len(ids) {
			share++
		}
		wg.Go(func() {
			for range share {
				d.do(tb, id, conversation.PostMessage{
					MessageID: newID(tb),
					Text:      "Hello, I have a question about my last order: it has not arrived yet. Can you help me?",
				})
			}
		})
	}
	wg.Wait()
}

func newID(tb testing.TB) string {
	tb.Helper()
	id, err := uuid.NewV7()
	if err != nil {
		tb.Fatal(err)
	}
	return id.String()
}

// bareDB is what SQLite does without us: the same table, pragmas and rows.
type bareDB struct {
	db      *sql.DB
	insert1 *sql.Stmt
}

func openBare(tb testing.TB) *bareDB {
	tb.Helper()
	dir := tb.TempDir()
	store, err := sqlite.Open(tb.Context(), dir, sqlite.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	if err := store.Close(); err != nil {
		tb.Fatal(err)
	}
	db, err := sql.Open("sqlite3", "file:"+filepath.Join(dir, "verbatim.db")+
		"?_journal_mode=WAL&_synchronous=FULL&_txlock=immediate&_stmt_cache_size=64")
	if err != nil {
		tb.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	for _, pragma := range []string{"PRAGMA cache_size = -65536", "PRAGMA wal_autocheckpoint = 4096"} {
		if _, err := db.ExecContext(tb.Context(), pragma); err != nil {
			tb.Fatal(err)
		}
	}
	stmt, err := db.PrepareContext(tb.Context(), "INSERT INTO events VALUES (?,?,?,?,?,?,?,?,?,?,?,?)")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = stmt.Close(); _ = db.Close() })
	return &bareDB{db, stmt}
}

func (d *bareDB) insert(tb testing.TB, rows []eventstore.Recorded, perTransaction int) {
	tb.Helper()
	ctx := context.Background()
	for len(rows) > 0 {
		n := min(perTransaction, len(rows))
		tx, err := d.db.BeginTx(ctx, nil)
		if err != nil {
			tb.Fatal(err)
		}
		stmt := tx.StmtContext(ctx, d.insert1) //nolint:sqlclosecheck // it ends with its transaction
		for i := range rows[:n] {
			r := &rows[i]
			if _, err := stmt.ExecContext(ctx, r.Position, r.Stream, r.Version, r.ID[:], r.Type, r.Schema, r.Time.UnixMicro(),
				r.Account, r.Data, r.Metadata, r.Digest[:], r.Hash[:]); err != nil {
				tb.Fatal(err)
			}
		}
		if err := tx.Commit(); err != nil {
			tb.Fatal(err)
		}
		rows = rows[n:]
	}
}
