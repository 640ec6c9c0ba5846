package sqlite

import (
	"bytes"
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"verbatim/domain/conversation"
	"verbatim/projections"
)

var _ projections.ShadowStore = (*Store)(nil)

// A read model that is made anew is a table beside the one that serves. It is
// renamed to take its place, and the one before it is renamed to be emptied, a
// little at a time.
const (
	shadowSuffix = "_shadow"
	oldSuffix    = "_old"
	// indexSuffix tells the indices of two tables apart: an index cannot be renamed,
	// so that those of a read model bear their names and that suffix in turns.
	indexSuffix = "_b"
)

// readModel is a table that can be made anew.
type readModel struct {
	table  string
	kind   string   // of the stream that a row is made of
	key    []string // columns
	values []string // the others
	// later is a column with a time, the last of values, that may be put off in the
	// rows that serve without anything being in the log: see ExtendTyping.
	later bool
}

// readModels returns them by the names of their projections.
func readModels() map[string]readModel {
	return map[string]readModel{
		"inbox":     {table: "inbox", kind: "conversation", key: []string{"conversation"}, values: []string{"account", "status", "active_at", "row"}},
		"typing":    {table: "typing", kind: "conversation", key: []string{"conversation", "author"}, values: []string{"account", "until"}, later: true},
		"endpoints": {table: "endpoints", kind: "endpoint", key: []string{"id"}, values: []string{"account", "number", "deleted", "row"}},
	}
}

func findReadModel(projection string) (readModel, error) {
	m, ok := readModels()[projection]
	if !ok {
		return m, fmt.Errorf("%s: %w", projection, projections.ErrNoReadModel)
	}
	return m, nil
}

// Rebuilds returns the last rebuild of each projection.
func (s *Store) Rebuilds(ctx context.Context) ([]projections.Rebuild, error) {
	var out []projections.Rebuild
	err := each(ctx, s.read, "SELECT report FROM rebuilds ORDER BY projection", nil, func(rows *sql.Rows) error {
		r, err := scanJSON[projections.Rebuild](rows)
		out = append(out, r)
		return err
	})
	return out, err
}

// SaveRebuild keeps how a rebuild stands.
func (s *Store) SaveRebuild(ctx context.Context, r projections.Rebuild) error {
	return s.write1(ctx, func(t *tx) error { return saveRebuild(t, &r) })
}

func saveRebuild(t *tx, r *projections.Rebuild) error {
	b, err := json.Marshal(r)
	if err == nil {
		_, err = t.exec("INSERT INTO rebuilds (projection, report) VALUES (?,?) ON CONFLICT (projection) DO UPDATE SET report = excluded.report",
			r.Projection, string(b))
	}
	return err
}

// OpenShadow makes the tables of a new read model as those are that serve, which
// migrations may have changed.
func (s *Store) OpenShadow(ctx context.Context, projection string) error {
	m, err := findReadModel(projection)
	if err != nil {
		return err
	}
	return s.write1(ctx, func(t *tx) error {
		var statements []string
		err := t.query("SELECT type, name, sql FROM sqlite_schema WHERE tbl_name = ? AND sql IS NOT NULL ORDER BY type DESC", []any{m.table},
			func(v []driver.Value) error {
				// What is in parentheses is about columns and stays.
				head, columns, ok := strings.Cut(v[2].(string), "(")
				if !ok {
					return fmt.Errorf("the schema has %q", head)
				}
				switch v[0].(string) {
				case "table":
					head = "CREATE TABLE " + m.table + shadowSuffix
				case "index":
					words := strings.Fields(head) // CREATE [UNIQUE] INDEX name ON table
					head = strings.Join(words[:len(words)-3], " ") + " " + otherIndex(v[1].(string)) + " ON " + m.table + shadowSuffix
				default:
					return fmt.Errorf("a %s of a read model is not known here", v[0])
				}
				statements = append(statements, head+" ("+columns)
				return nil
			})
		if err != nil {
			return err
		}
		for _, statement := range statements { // the table first
			if err := t.run(statement); err != nil {
				return err
			}
		}
		return nil
	})
}

func otherIndex(name string) string {
	if was, ok := strings.CutSuffix(name, indexSuffix); ok {
		return was
	}
	return name + indexSuffix
}

// ClearShadows removes what is left of new read models and of old ones.
func (s *Store) ClearShadows(ctx context.Context, limit int) (more bool, err error) {
	var left string
	var of readModel
	err = each(ctx, s.read, "SELECT name FROM sqlite_schema WHERE type = 'table'", nil, func(rows *sql.Rows) error {
		var name string
		if err := rows.Scan(&name); err != nil {
			return err
		}
		for _, m := range readModels() {
			if name == m.table+shadowSuffix || name == m.table+oldSuffix {
				left, of = name, m
			}
		}
		return nil
	})
	if err != nil || left == "" {
		return false, err
	}
	keys := strings.Join(of.key, ", ")
	return true, s.write1(ctx, func(t *tx) error {
		n, err := t.exec("DELETE FROM "+left+" WHERE ("+keys+") IN (SELECT "+keys+" FROM "+left+" LIMIT ?)", limit)
		if err == nil && n < int64(limit) {
			err = t.run("DROP TABLE " + left) // it is empty: that is quick
		}
		return err
	})
}

// shadowed are the statements that write rows of new read models, by those that
// write rows that serve. What is done beside that is not done again.
func shadowed(query string) (string, bool) {
	switch query {
	case upsertInbox, upsertTyping, upsertEndpoint, deleteTyping:
		words := strings.SplitN(query, " ", 4) // INSERT INTO table …
		return words[0] + " " + words[1] + " " + words[2] + shadowSuffix + " " + words[3], true
	default:
		return "", false
	}
}

// WriteShadow writes rows of new read models.
func (s *Store) WriteShadow(ctx context.Context, rows *projections.Rows) error {
	statements, err := encodeRows(rows, time.Time{}) // in which nothing is planned
	if err != nil {
		return err
	}
	return s.write1(ctx, func(t *tx) error {
		for i := range statements {
			query, ok := shadowed(statements[i].query)
			if !ok {
				continue
			}
			if _, err := t.exec(query, statements[i].args...); err != nil {
				return err
			}
		}
		return nil
	})
}

// ShadowInboxRow returns the new row of a conversation.
func (s *Store) ShadowInboxRow(ctx context.Context, id string) (row projections.InboxRow, found bool, err error) {
	var b []byte
	err = s.read.QueryRowContext(ctx, "SELECT row FROM inbox_shadow WHERE conversation = ?", id).Scan(&b)
	if errors.Is(err, sql.ErrNoRows) {
		return row, false, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &row)
	}
	if err != nil {
		return row, false, fmt.Errorf("read new inbox row: %w", err)
	}
	return row, true, nil
}

// content is a row but for its key.
type content struct {
	key   projections.RowKey
	data  []byte // of all values, each behind its length
	later int64  // of a readModel that has it, apart from data
}

// contents reads rows of a table.
func (m *readModel) contents(ctx context.Context, t *sql.Tx, table, where string, args ...any) (out []content, err error) {
	columns := strings.Join(append(append([]string{}, m.key...), m.values...), ", ")
	rows, err := t.QueryContext(ctx, "SELECT "+columns+" FROM "+table+" WHERE "+where, args...) //nolint:gosec // all of them are our own
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	raw := make([]sql.RawBytes, len(m.key)+len(m.values))
	places := make([]any, len(raw))
	for i := range raw {
		places[i] = &raw[i]
	}
	for rows.Next() {
		if err := rows.Scan(places...); err != nil {
			return nil, err
		}
		c := content{key: projections.RowKey{ID: string(raw[0])}}
		if len(m.key) > 1 {
			c.key.Person = string(raw[1])
		}
		values := raw[len(m.key):]
		if m.later {
			if c.later, err = strconv.ParseInt(string(values[len(values)-1]), 10, 64); err != nil {
				return nil, err
			}
			values = values[:len(values)-1]
		}
		for _, v := range values {
			c.data = append(append(strconv.AppendInt(c.data, int64(len(v)), 10), ':'), v...)
		}
		out = append(out, c)
	}
	return out, rows.Err()
}

// after returns the condition for rows behind a key, in order, and its arguments.
func (m *readModel) after(key projections.RowKey, limit int) (where string, args []any) {
	columns := strings.Join(m.key, ", ")
	if len(m.key) == 1 {
		return columns + " > ? ORDER BY " + columns + " LIMIT ?", []any{key.ID, limit}
	}
	return "(" + columns + ") > (?, ?) ORDER BY " + columns + " LIMIT ?", []any{key.ID, key.Person, limit}
}

// of returns the condition for one row, and its arguments.
func (m *readModel) of(key projections.RowKey) (where string, args []any) {
	if len(m.key) == 1 {
		return m.key[0] + " = ?", []any{key.ID}
	}
	return m.key[0] + " = ? AND " + m.key[1] + " = ?", []any{key.ID, key.Person}
}

// same reports whether a row that serves is what the log makes of it.
func (m *readModel) same(serving, made *content, now time.Time) bool {
	if !bytes.Equal(serving.data, made.data) {
		return false
	}
	// Who types and goes on typing is given more time than the log says, but never
	// more than anybody gets.
	return serving.later == made.later ||
		serving.later > made.later && serving.later <= micros(now.Add(conversation.MaxTypingTTL))
}

// compared adds what comes of comparing two rows with one key, of which one may
// not be there.
func (m *readModel) compared(out *projections.Comparison, serving, made *content, now time.Time) {
	d := projections.RowDifference{}
	switch {
	case serving == nil && made == nil:
		return
	case serving == nil:
		d.Key, d.Kind = made.key, projections.RowMissing
	case made == nil:
		d.Key, d.Kind = serving.key, projections.RowSurplus
	case m.same(serving, made, now):
		return
	default:
		d.Key, d.Kind = made.key, projections.RowChanged
	}
	d.Stream = m.kind + "-" + d.Key.ID
	out.Different = append(out.Different, d)
}

// snapshot calls do with all as it is at one moment, and with the checkpoint of
// the projection then.
func (s *Store) snapshot(ctx context.Context, projection string, do func(t *sql.Tx, at int64) error) (err error) {
	t, err := s.read.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("compare rows: %w", err)
	}
	defer t.Rollback()
	var at int64
	err = t.QueryRowContext(ctx, "SELECT position FROM checkpoints WHERE projection = ?", projection).Scan(&at)
	if errors.Is(err, sql.ErrNoRows) {
		err = nil
	}
	if err == nil {
		err = do(t, at)
	}
	if err != nil {
		return fmt.Errorf("compare rows: %w", err)
	}
	return nil
}

// CompareShadow compares the next rows; see projections.ShadowStore.
func (s *Store) CompareShadow(
	ctx context.Context, projection string, after projections.RowKey, limit int, now time.Time,
) (out projections.Comparison, err error) {
	m, err := findReadModel(projection)
	if err != nil {
		return out, err
	}
	err = s.snapshot(ctx, projection, func(t *sql.Tx, at int64) error {
		out = projections.Comparison{At: at, Next: after}
		where, args := m.after(after, limit)
		serving, err := m.contents(ctx, t, m.table, where, args...)
		if err != nil {
			return err
		}
		made, err := m.contents(ctx, t, m.table+shadowSuffix, where, args...)
		if err != nil {
			return err
		}
		// Behind the end of a full page there is more that was not read.
		moreServing, moreMade := len(serving) == limit, len(made) == limit
		out.Done = !moreServing && !moreMade
		for i, k := 0, 0; i < len(serving) || k < len(made); {
			if i == len(serving) && moreServing || k == len(made) && moreMade {
				break
			}
			order := -1
			switch {
			case i == len(serving):
				order = 1
			case k < len(made):
				order = serving[i].key.Compare(made[k].key)
			}
			var a, b *content
			if order <= 0 {
				a, out.Next = &serving[i], serving[i].key
				i++
			}
			if order >= 0 {
				b, out.Next = &made[k], made[k].key
				k++
				out.Rows++
			}
			m.compared(&out, a, b, now)
		}
		return nil
	})
	return out, err
}

// CompareRows compares single rows; see projections.ShadowStore.
func (s *Store) CompareRows(
	ctx context.Context, projection string, keys []projections.RowKey, now time.Time,
) (out projections.Comparison, err error) {
	m, err := findReadModel(projection)
	if err != nil {
		return out, err
	}
	err = s.snapshot(ctx, projection, func(t *sql.Tx, at int64) error {
		out = projections.Comparison{At: at, Done: true}
		for _, key := range keys {
			where, args := m.of(key)
			serving, err := m.contents(ctx, t, m.table, where, args...)
			if err != nil {
				return err
			}
			made, err := m.contents(ctx, t, m.table+shadowSuffix, where, args...)
			if err != nil {
				return err
			}
			m.compared(&out, first(serving), first(made), now)
		}
		return nil
	})
	return out, err
}

func first(rows []content) *content {
	if len(rows) == 0 {
		return nil
	}
	return &rows[0]
}

// SwapShadow puts the new rows in place of the old; see projections.ShadowStore.
func (s *Store) SwapShadow(ctx context.Context, swap projections.Swap, now time.Time) error {
	projection := swap.Report.Projection
	m, err := findReadModel(projection)
	if err != nil {
		return err
	}
	return s.write1(ctx, func(t *tx) error {
		if err := moveCheckpoint(t, projections.Checkpoint{Projection: projection, From: swap.At, To: swap.At}); err != nil {
			return err
		}
		if m.later { // few rows: of those who type just now
			if _, err := t.exec(`UPDATE typing_shadow SET until = typing.until FROM typing
				WHERE (typing.conversation, typing.author) = (typing_shadow.conversation, typing_shadow.author)
				AND typing.until > typing_shadow.until AND typing.until <= ?`, micros(now.Add(conversation.MaxTypingTTL))); err != nil {
				return err
			}
		}
		for _, statement := range []string{
			"ALTER TABLE " + m.table + " RENAME TO " + m.table + oldSuffix,
			"ALTER TABLE " + m.table + shadowSuffix + " RENAME TO " + m.table,
		} {
			if err := t.run(statement); err != nil {
				return err
			}
		}
		if _, err := t.exec("DELETE FROM parked WHERE projection = ?", projection); err != nil {
			return err
		}
		for i := range swap.Parked {
			if err := park(t, &swap.Parked[i]); err != nil {
				return err
			}
		}
		return saveRebuild(t, &swap.Report)
	})
}
