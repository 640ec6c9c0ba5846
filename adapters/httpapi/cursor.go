package httpapi

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"time"
)

// Pages of lists.
const (
	maxCursor = 1024 // characters; ours have less than a hundred
	// settleTime is how long a list waits for the read models to reach what was
	// in the log when it was asked for. They are there in milliseconds; if they
	// are not, an old list is better than none.
	settleTime = time.Second
)

// list is a page of a list.
type list[T any] struct {
	Data []T  `json:"data"`
	Page page `json:"page"`
}

type page struct {
	Next string `json:"next,omitempty" doc:"Cursor of the next page; absent on the last."`
}

type listAnswer[T any] struct {
	Body list[T]
}

// newList returns a page of at most limit items; items has one more if there is
// a next page, which begins behind the last item of this one.
func newList[T any](items []T, limit int, next func(last T) cursor) *listAnswer[T] {
	out := &listAnswer[T]{}
	if len(items) > limit {
		items = items[:limit]
		out.Body.Page.Next = next(items[limit-1]).String()
	}
	out.Body.Data = append([]T{}, items...) // never null
	return out
}

// WholeQuery asks for a page of a list that is short enough to be at hand whole.
type WholeQuery struct {
	Cursor string `query:"cursor" doc:"page.next of the page before."`
	Limit  int    `query:"limit" minimum:"1" maximum:"200" default:"200"`
}

// newWholeList returns a page of a list that is at hand whole.
func newWholeList[T any](of string, in *WholeQuery, all []T) (*listAnswer[T], error) {
	from, err := parseCursor(of, in.Cursor)
	if err != nil {
		return nil, err
	}
	at := min(int(from.Position), len(all))
	return newList(all[at:], in.Limit, func(T) cursor { return cursor{List: of, Position: int64(at + in.Limit)} }), nil
}

// A cursor is where a page of a list begins. Clients take it as it is.
type cursor struct {
	List     string `json:"l"`           // which list it belongs to
	Position int64  `json:"p,omitempty"` // in the log
	Version  int64  `json:"v,omitempty"` // in a stream
	Name     string `json:"n,omitempty"` // tells rows of one position apart
	Back     bool   `json:"b,omitempty"` // the list is read from its end
}

// The lists.
const (
	listConversations = "conversations"
	listMessages      = "messages"
	listEvents        = "events"
	listEndpoints     = "endpoints"
	listDeliveries    = "deliveries"
	listJobs          = "jobs"
	listReplays       = "replays"
	listReplayed      = "replayed" // a dry run
	listKeys          = "keys"
	listDialects      = "dialects"
	listFeedCursors   = "feed_cursors"
)

// String returns the cursor as it is handed out.
func (c cursor) String() string {
	b, err := json.Marshal(c)
	if err != nil {
		panic("httpapi: a cursor does not encode: " + err.Error())
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

// parseCursor returns the cursor of a list, the zero one for "". What was not
// handed out for that list is errBadCursor.
func parseCursor(of, s string) (cursor, error) {
	if s == "" {
		return cursor{List: of}, nil
	}
	if len(s) > maxCursor {
		return cursor{}, errBadCursor
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil {
		return cursor{}, errBadCursor
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	var c cursor
	if err := dec.Decode(&c); err != nil || c.List != of || c.Position < 0 || c.Version < 0 {
		return cursor{}, errBadCursor
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return cursor{}, errBadCursor
	}
	return c, nil
}

// settle waits until the read models have seen what is in the log now, but not
// for long.
func (s *Server) settle(ctx context.Context) error {
	head, err := s.cfg.Log.Head(ctx)
	if err != nil {
		return err
	}
	wait, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	if err := s.cfg.Projected.Wait(wait, head); err != nil && ctx.Err() != nil {
		return err
	}
	return nil
}
