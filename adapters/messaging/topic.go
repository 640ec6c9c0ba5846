package messaging

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	wsql "github.com/ThreeDotsLabs/watermill-sql/v4/pkg/sql"

	"verbatim/eventstore"
	"verbatim/projections"
)

var errReadOnlyTopic = errors.New("only the event store appends to the log")

// schema reads the events table as a topic.
type schema struct {
	topic Topic
	group *projections.Group
}

// InsertQuery refuses: the log is appended to by commands.
func (schema) InsertQuery(wsql.InsertQueryParams) (wsql.Query, error) {
	return wsql.Query{}, errReadOnlyTopic
}

// SelectQuery selects the page behind the checkpoint.
func (s schema) SelectQuery(p wsql.SelectQueryParams) (wsql.Query, error) {
	next, err := p.OffsetsAdapter.NextOffsetQuery(wsql.NextOffsetQueryParams{Topic: p.Topic, ConsumerGroup: p.ConsumerGroup})
	if err != nil {
		return wsql.Query{}, err
	}
	return wsql.Query{Query: s.topic.Select, Args: append(next.Args, projections.PageSize)}, nil
}

// UnmarshalMessage turns a row into a message.
func (s schema) UnmarshalMessage(p wsql.UnmarshalMessageParams) (wsql.Row, error) {
	var r eventstore.Recorded
	if err := s.topic.Scan(p.Row, &r); err != nil {
		return wsql.Row{}, fmt.Errorf("scan event: %w", err)
	}
	m := Message(&r)
	return wsql.Row{Offset: r.Position, UUID: []byte(m.UUID), Payload: m.Payload, Msg: m}, nil
}

// SchemaInitializingQueries returns none: migrations own the tables.
func (schema) SchemaInitializingQueries(wsql.SchemaInitializingQueriesParams) ([]wsql.Query, error) {
	return nil, nil
}

// SubscribeIsolationLevel is the engine's own.
func (schema) SubscribeIsolationLevel() sql.IsolationLevel { return sql.LevelDefault }

// offsets keeps the place of the group: its checkpoints, which it commits with
// its rows.
type offsets struct{ group *projections.Group }

// commitPage stands for the commit in Watermill's trace; the page is not SQL.
const commitPage = "commit page"

// AckMessageQuery ends a page.
func (offsets) AckMessageQuery(wsql.AckMessageQueryParams) (wsql.Query, error) {
	return wsql.Query{Query: commitPage}, nil
}

// ConsumedMessageQuery returns none: a message counts when its page does.
func (offsets) ConsumedMessageQuery(wsql.ConsumedMessageQueryParams) (wsql.Query, error) {
	return wsql.Query{}, nil
}

// NextOffsetQuery is the position behind which the next page begins.
func (o offsets) NextOffsetQuery(wsql.NextOffsetQueryParams) (wsql.Query, error) {
	return wsql.Query{Args: []any{o.group.Position()}}, nil
}

// SchemaInitializingQueries returns none: migrations own the tables.
func (offsets) SchemaInitializingQueries(wsql.OffsetsSchemaInitializingQueriesParams) ([]wsql.Query, error) {
	return nil, nil
}

// BeforeSubscribingQueries returns none.
func (offsets) BeforeSubscribingQueries(wsql.BeforeSubscribingQueriesParams) ([]wsql.Query, error) {
	return nil, nil
}

// beginner hands Watermill transactions that hold nothing: a page is read
// without one, and what comes of it is committed by the group.
type beginner struct{ *Subscription }

// BeginTx begins a page.
func (b beginner) BeginTx(context.Context, *sql.TxOptions) (wsql.Tx, error) {
	return page{b.Subscription}, nil
}

// QueryContext reads outside of pages. Watermill does not.
func (b beginner) QueryContext(ctx context.Context, query string, args ...any) (wsql.Rows, error) {
	return page{b.Subscription}.QueryContext(ctx, query, args...)
}

// ExecContext refuses: nothing is written outside of pages.
func (beginner) ExecContext(context.Context, string, ...any) (wsql.Result, error) {
	return nil, errReadOnlyTopic
}

// page is Watermill's transaction over one page of the log.
type page struct{ sub *Subscription }

// QueryContext reads the page.
func (p page) QueryContext(ctx context.Context, query string, args ...any) (wsql.Rows, error) {
	rows, err := p.sub.topic.DB.QueryContext(ctx, query, args...) //nolint:rowserrcheck // by Close
	if err != nil {
		return nil, err
	}
	return checkedRows{rows}, nil
}

// ExecContext commits the page: rows, deliveries and checkpoints together. Its
// error ends Watermill's transaction, and the page comes again.
func (p page) ExecContext(ctx context.Context, query string, _ ...any) (wsql.Result, error) {
	if query != commitPage {
		return nil, errReadOnlyTopic
	}
	// Closing must not take back what was projected.
	return committed{}, p.sub.commit(context.WithoutCancel(ctx))
}

// Rollback drops what was projected since the last commit.
func (p page) Rollback() error { return p.sub.discard(context.Background()) }

// Commit has nothing to do: Watermill only logs its errors, so that the page is
// committed before, where an error counts.
func (page) Commit() error { return nil }

// checkedRows says on closing that the rows broke off, which Watermill does not
// ask.
type checkedRows struct{ *sql.Rows }

// Close closes the rows and returns what ended them early.
func (r checkedRows) Close() error { return errors.Join(r.Err(), r.Rows.Close()) }

type committed struct{}

// RowsAffected is only traced.
func (committed) RowsAffected() (int64, error) { return 1, nil }
