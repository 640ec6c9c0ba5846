package tests_test

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"verbatim/adapters/sqlite"
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
	r := openRig(b)
	ids := r.createMany(b, clients)
	bare := openBare(b)
	copied, err := r.store.Head(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	var ours, theirs time.Duration
	b.ReportAllocs()
	b.ResetTimer()
	for done := 0; done < b.N; {
		n := min(chunk, b.N-done)
		ours += r.talk(b, ids, n)
		done += n

		b.StopTimer()
		rows := make([]eventstore.Recorded, 0, n)
		for e, err := range r.store.ReadLog(b.Context(), copied) {
			if err != nil {
				b.Fatal(err)
			}
			rows = append(rows, e)
		}
		copied += int64(len(rows))
		start := time.Now()
		bare.insert(b, rows, perTransaction)
		theirs += time.Since(start)
		b.StartTimer()
	}
	b.StopTimer()
	b.ReportMetric(float64(b.N)/ours.Seconds(), "events/s")
	b.ReportMetric(float64(b.N)/theirs.Seconds(), "bare/s")
	b.ReportMetric(theirs.Seconds()/ours.Seconds(), "×bare")
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
	stmt, err := db.PrepareContext(tb.Context(), "INSERT INTO events VALUES (?,?,?,?,?,?,?,?,?,?,?,?,NULL,NULL)")
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
