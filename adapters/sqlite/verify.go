package sqlite

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	sqlite3 "github.com/mattn/go-sqlite3"

	"verbatim/eventstore"
	"verbatim/webhooks"
)

// EventAt returns the event at a position, and whether there is one.
func (s *Store) EventAt(ctx context.Context, position int64) (r eventstore.Recorded, found bool, err error) {
	return s.event(ctx, "position = ?", position)
}

// EventOf returns the event of a stream at a version, and whether there is one.
func (s *Store) EventOf(ctx context.Context, stream string, version int64) (r eventstore.Recorded, found bool, err error) {
	return s.event(ctx, "stream = ? AND version = ?", stream, version)
}

func (s *Store) event(ctx context.Context, where string, args ...any) (r eventstore.Recorded, found bool, err error) {
	err = ScanEvent(s.read.QueryRowContext(ctx, "SELECT "+eventColumns+" FROM events WHERE "+where, args...), &r)
	if errors.Is(err, sql.ErrNoRows) {
		return r, false, nil
	}
	if err != nil {
		return r, false, fmt.Errorf("read an event: %w", err)
	}
	return r, true, nil
}

// A Span is a stream, the positions of its first and its last event, and how
// long it is.
type Span struct {
	Stream      string
	First, Last int64
	Version     int64 // of the last
}

// selectSpans hops through the index from stream to stream: a stream costs a few
// looks, however long it is.
const selectSpans = `WITH RECURSIVE names (name) AS (
		SELECT min(stream) FROM events WHERE stream > ?
		UNION ALL SELECT (SELECT min(stream) FROM events WHERE stream > name) FROM names WHERE name IS NOT NULL
	)
	SELECT name, (SELECT position FROM events WHERE stream = name ORDER BY version LIMIT 1),
		(SELECT position FROM events WHERE stream = name ORDER BY version DESC LIMIT 1),
		(SELECT max(version) FROM events WHERE stream = name)
	FROM names WHERE name IS NOT NULL LIMIT ?`

// Spans returns the streams whose names are behind that one, in order of their
// names, at most limit.
func (s *Store) Spans(ctx context.Context, after string, limit int) ([]Span, error) {
	var spans []Span
	err := each(ctx, s.read, selectSpans, []any{after, limit}, func(rows *sql.Rows) error {
		var at Span
		err := rows.Scan(&at.Stream, &at.First, &at.Last, &at.Version)
		spans = append(spans, at)
		return err
	})
	return spans, err
}

// A Sending is a delivery with what its attempts sent.
type Sending struct {
	webhooks.Delivery

	Sent [][]byte // the digests of its attempts, each once, but for the one that the delivery has
}

// Sendings returns what is owed to an endpoint for the events of a stream between
// two versions, both of them included, in order of version.
func (s *Store) Sendings(ctx context.Context, stream string, from, to int64, endpointID string) ([]Sending, error) {
	var out []Sending
	// The events of the stream are found in the index alone, and the deliveries of
	// each in the index of states.
	query := "SELECT " + prefixed("d.", deliveryColumns) + `, a.digest
		FROM events AS e INDEXED BY events_stream
		CROSS JOIN deliveries AS d INDEXED BY deliveries_state
		LEFT JOIN attempts AS a ON a.delivery = d.id AND a.digest IS NOT NULL AND a.digest IS NOT d.digest
		WHERE e.stream = ? AND e.version >= ? AND e.version <= ? AND d.endpoint = ? AND d.position = e.position
			AND d.state IN ('cancelled', 'delivered', 'parked', 'pending')
		ORDER BY e.version`
	err := each(ctx, s.read, query, []any{stream, from, to, endpointID}, func(rows *sql.Rows) error {
		var sent []byte
		d, err := scanDelivery(besides{rows, &sent})
		if err != nil {
			return err
		}
		if n := len(out); n == 0 || out[n-1].ID != d.ID {
			out = append(out, Sending{Delivery: d})
		}
		last := &out[len(out)-1]
		if sent != nil && !slices.ContainsFunc(last.Sent, func(known []byte) bool { return bytes.Equal(known, sent) }) {
			last.Sent = append(last.Sent, sent)
		}
		return nil
	})
	return out, err
}

// besides is a row with one more column than whoever scans it knows of.
type besides struct {
	*sql.Rows

	last any
}

func (b besides) Scan(dest ...any) error { return b.Rows.Scan(append(dest, b.last)...) }

// strayWindow is how many positions are looked at by one statement: no read of a
// file that is written to may be long.
const strayWindow = 50_000

const selectStrays = "SELECT " + deliveryColumns + ` FROM deliveries AS d INDEXED BY deliveries_state
	WHERE endpoint = ? AND state IN ('cancelled', 'delivered', 'parked', 'pending') AND position > ? AND position <= ?
		AND NOT EXISTS (SELECT 1 FROM events WHERE events.position = d.position)
	ORDER BY position, name`

// Strays yields the deliveries to an endpoint whose events, up to a position, are
// not in the log.
func (s *Store) Strays(ctx context.Context, endpointID string, after, to int64, stray func(*webhooks.Delivery)) error {
	head, err := s.Head(ctx)
	if err != nil {
		return err
	}
	for after < to {
		until := min(after+strayWindow, to)
		if until >= head {
			until = to // behind the head there is nothing, or little
		}
		ds, err := s.deliveries(ctx, selectStrays, endpointID, after, until)
		if err != nil {
			return err
		}
		for i := range ds {
			stray(&ds[i])
		}
		after = until
	}
	return nil
}

// Receivers returns the endpoints that there are deliveries to, in order.
func (s *Store) Receivers(ctx context.Context) (ids []string, err error) {
	err = each(ctx, s.read, `WITH RECURSIVE receivers (receiver) AS (
			SELECT min(endpoint) FROM deliveries
			UNION ALL SELECT (SELECT min(endpoint) FROM deliveries WHERE endpoint > receiver) FROM receivers WHERE receiver IS NOT NULL
		)
		SELECT receiver FROM receivers WHERE receiver IS NOT NULL`, nil, func(rows *sql.Rows) error {
		var id string
		err := rows.Scan(&id)
		ids = append(ids, id)
		return err
	})
	return ids, err
}

// FirstDelivery returns the position of the first delivery to an endpoint, or
// another one if that comes first.
func (s *Store) FirstDelivery(ctx context.Context, endpointID string, otherwise int64) (int64, error) {
	first := otherwise
	for _, state := range statesOf(&webhooks.Selection{}) {
		var at sql.NullInt64
		err := s.read.QueryRowContext(ctx, "SELECT min(position) FROM deliveries INDEXED BY deliveries_state WHERE endpoint = ? AND state = ?",
			endpointID, string(state)).Scan(&at)
		if err != nil {
			return 0, fmt.Errorf("read the first delivery: %w", err)
		}
		if at.Valid {
			first = min(first, at.Int64)
		}
	}
	return first, nil
}

// OldestEnded returns when the delivery ended that did so first of those that are
// kept, and whether there is one. What was removed because it was old, ended
// before that.
func (s *Store) OldestEnded(ctx context.Context) (time.Time, bool, error) {
	var at sql.NullInt64
	err := s.read.QueryRowContext(ctx, "SELECT min(ended_at) FROM deliveries INDEXED BY deliveries_ended WHERE ended_at IS NOT NULL").Scan(&at)
	if err != nil {
		return time.Time{}, false, fmt.Errorf("read the oldest delivery: %w", err)
	}
	return fromMicros(at.Int64), at.Valid, nil
}

// CheckFile returns what SQLite finds wrong with the table of events and with its
// indices, which keep ids and versions unique: a bounded list, empty if they are
// sound. It reads all of them, some 1.5 seconds for a million events, and what is
// written meanwhile stays in the write-ahead log.
func (s *Store) CheckFile(ctx context.Context) (faults []string, err error) {
	err = each(ctx, s.read, "PRAGMA integrity_check(events)", nil, func(rows *sql.Rows) error {
		var text string
		err := rows.Scan(&text)
		if text != "ok" {
			faults = append(faults, text)
		}
		return err
	})
	if code(err) == sqlite3.ErrCorrupt {
		return append(faults, err.Error()), nil
	}
	return faults, err
}
