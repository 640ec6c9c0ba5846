package httpapi

import (
	"context"
	"errors"
	"net/http"
	"reflect"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"verbatim/domain"
	"verbatim/domain/endpoint"
	"verbatim/eventstore"
	"verbatim/projections"
	"verbatim/webhooks"
)

// Limits of feeds.
const (
	// feedLooks is how many requests look into the log at a time, each with a page
	// in memory. Others take their turn; those that wait for something to happen
	// do not count.
	feedLooks = 4
	// maxFeedWait is how long a request may wait: less than the proxies commonly
	// put before a server give a silent one, and than a request may take to be read.
	maxFeedWait = 30 * time.Second
	// feedPause lies between two looks of a request that waits: one that wants
	// nothing of a busy log must not look at every commit.
	feedPause = 20 * time.Millisecond
	// maxFeedCursors is how many cursors an endpoint may have: one for each part of
	// a receiver, and room for some that were forgotten.
	maxFeedCursors = 100
)

const feedCursorUnknown domain.Refusal = "feed_cursor.not_found"

func (s *Server) feedRoutes() {
	const feed = "/v1/endpoints/{id}/feed"
	op := operation(http.MethodGet, "read-feed", feed, tagDeliveries, "Pull what an endpoint is sent",
		"The same events in the same bytes under the same webhook-id, in the order of the log, from the endpoint's registration on: whatever became "+
			"of its deliveries, and also while it is disabled. A receiver that was away fetches what it missed with after, the position of the last event it "+
			"took, and goes on with next until more is false. A cursor keeps that place here: reading does not move it, ack does, to the next of a page that was "+
			"taken to its end. So nothing is lost with an answer that is lost; what was sent before it is recognised by its webhook_id. "+
			"A page goes past "+strconv.Itoa(projections.FeedLook)+" events of the log at most, so that it may be short or empty and more still be true.")
	op.Responses = map[string]*huma.Response{"200": {
		Description: "OK",
		Content: map[string]*huma.MediaType{
			mediaJSON: {Schema: s.api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[feedPage](), true, "")},
		},
	}}
	register(s, op, s.readFeed)
	register(s, operation(http.MethodGet, "list-feed-cursors", feed+"/cursors", tagDeliveries, "List the cursors of a feed", ""), s.listFeedCursors)
	register(s, cursorOperation(http.MethodPut, "put-feed-cursor", "Put a cursor of a feed somewhere",
		"Forwards or backwards. It is made if it is not there."), s.putFeedCursor)
	register(s, cursorOperation(http.MethodDelete, "delete-feed-cursor", "Forget a cursor of a feed", ""), s.deleteFeedCursor)
}

// cursorOperation returns what writes of cursors have in common. They change no
// stream, and do the same when they are repeated.
func cursorOperation(method, id, summary, description string) huma.Operation {
	op := operation(method, id, "/v1/endpoints/{id}/feed/cursors/{name}", tagDeliveries, summary, description)
	op.Parameters = []*huma.Param{commonParameter("RequestID")}
	return op
}

// feedPage describes a page of a feed, as appendFeed writes it.
type feedPage struct {
	Data []feedItem `json:"data"`
	Next string     `json:"next" doc:"Where to go on: for after, or for ack once this page was taken." example:"4711"`
	More bool       `json:"more" doc:"There was more of the log to look at. Ask again at once; otherwise with wait."`
}

type feedItem struct {
	Position     int64          `json:"position" doc:"Of the event in the log."`
	Event        string         `json:"event" doc:"The dialect's name of it."`
	WebhookID    string         `json:"webhook_id" doc:"The same that deliveries of it bear."`
	Conversation *string        `json:"conversation" doc:"Id, null if it is of none."`
	Body         feedBody       `json:"body" doc:"Byte for byte what is sent. Null with a fault."`
	Fault        webhooks.Fault `json:"fault,omitempty" enum:"too_large" doc:"Why there is no body: too_large is never sent."`
}

// feedBody describes the body of a webhook, or that there is none.
type feedBody struct{}

// Schema returns that of a body, or of null.
func (feedBody) Schema(huma.Registry) *huma.Schema {
	schema := bodySchema()
	schema.OneOf = append(schema.OneOf, &huma.Schema{Type: "null"})
	return schema
}

// FeedQuery says where a page of a feed begins.
type FeedQuery struct {
	After        string `query:"after" doc:"Only what is behind this: next of a page, or the position of an event. Without it and without cursor, everything since the endpoint was registered." example:"4711"`
	Cursor       string `query:"cursor" pattern:"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$" patternDescription:"1 to 64 letters, digits, and . _ -, not beginning with these" doc:"Name of a cursor that is kept here: the page begins where it stands. One that is not there stands at the beginning." example:"crm"`
	Ack          string `query:"ack" doc:"Moves the cursor there first, never backwards: next of a page that was taken to its end."`
	Conversation string `query:"conversation" doc:"Only what is of this conversation: its id."`
	Limit        int    `query:"limit" minimum:"1" maximum:"1000" default:"100"`
	Wait         string `query:"wait" doc:"How long to wait for something to happen if there is nothing: 30s at the most." example:"30s"`
}

type readFeedInput struct {
	EndpointPath
	FeedQuery
}

type feedAnswer struct {
	ContentType string `header:"Content-Type"`
	Body        []byte
}

func (s *Server) readFeed(ctx context.Context, in *readFeedInput) (*feedAnswer, error) {
	wait, err := in.waiting()
	if err != nil {
		return nil, err
	}
	head, err := s.cfg.Log.Head(ctx) // before the endpoint is read: a mark behind it is not of this log
	if err != nil {
		return nil, err
	}
	feed, err := s.feed(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	if in.Conversation != "" {
		feed.Only(eventstore.StreamName("conversation", in.Conversation))
	}
	from, err := s.beginning(ctx, in, head)
	if err != nil {
		return nil, err
	}
	page, err := s.await(ctx, feed, from, in.Limit, wait)
	if ctx.Err() == nil {
		s.cfg.FeedPulled(len(page.Items), err)
	}
	if inTheWay, ok := errors.AsType[*projections.FeedError](err); ok && ctx.Err() == nil {
		s.logInternal(ctx, err)
		return nil, newProblem(http.StatusInternalServerError, "feed.unreadable",
			"the next event cannot be read or its body not be made; the log has more under the request_id. after="+
				projections.FormatFeedMark(inTheWay.Behind)+" goes on behind it, and leaves it out")
	}
	if err != nil {
		return nil, err
	}
	return &feedAnswer{mediaJSON, appendFeed(nil, &page)}, nil
}

// waiting returns how long to wait, or what is wrong with the parameters.
func (q *FeedQuery) waiting() (wait time.Duration, err error) {
	switch {
	case q.Cursor != "" && q.After != "":
		return 0, &domain.FieldError{Field: "after", Rule: "must be absent where a cursor says where to begin; ack moves it"}
	case q.Cursor != "" && q.Conversation != "":
		return 0, &domain.FieldError{Field: "conversation", Rule: "must be absent with a cursor, which is for the whole feed; use after"}
	case q.Cursor == "" && q.Ack != "":
		return 0, &domain.FieldError{Field: "ack", Rule: "must have a cursor to move"}
	}
	if q.Wait != "" {
		wait, err = time.ParseDuration(q.Wait)
	}
	if err != nil || wait < 0 || wait > maxFeedWait {
		return 0, &domain.FieldError{Field: "wait", Rule: "must be a duration up to " + maxFeedWait.String()}
	}
	return wait, nil
}

// feed returns the feed of an endpoint of the account, also of a deleted one. The
// log alone is asked: read models that are behind hold nobody up.
func (s *Server) feed(ctx context.Context, id string) (*projections.Feed, error) {
	feed, err := projections.NewFeed(ctx, s.cfg.Log, s.cfg.Codec, s.cfg.Dialects, s.cfg.Pulled, s.cfg.Clock, id)
	if errors.Is(err, projections.ErrNoEndpoint) {
		return nil, endpoint.NotRegistered
	}
	if err != nil {
		return nil, err
	}
	row := feed.Endpoint()
	if row.Account.ID != callOf(ctx).account {
		return nil, endpoint.NotRegistered
	}
	return feed, nil
}

// feedMark returns the place that a client names. One behind the end of the log is
// refused: of what is going to happen up to there nothing would be seen.
func feedMark(field, s string, head int64) (webhooks.Mark, error) {
	m, ok := projections.ParseFeedMark(s)
	if !ok {
		return m, &domain.FieldError{Field: field, Rule: "must be next of a page, or a position"}
	}
	if last := m.Position - 1; last > head || m.Name != "" && last >= head {
		return m, &domain.FieldError{Field: field, Rule: notBehind(head)}
	}
	return m, nil
}

// notBehind is the rule for a place in the log that a client names.
func notBehind(head int64) string {
	return "must not be behind the end of the log, which is at " + strconv.FormatInt(head, 10)
}

// beginning returns where the page begins, after the cursor was moved.
func (s *Server) beginning(ctx context.Context, in *readFeedInput, head int64) (from webhooks.Mark, err error) {
	switch {
	case in.After != "":
		return feedMark("after", in.After, head)
	case in.Cursor == "":
		return from, nil
	}
	var ack webhooks.Mark
	if in.Ack != "" {
		if callOf(ctx).method == http.MethodHead { // it is routed here with GET
			return from, &domain.FieldError{Field: "ack", Rule: "must be absent from HEAD, which changes nothing; send GET"}
		}
		if ack, err = feedMark("ack", in.Ack, head); err != nil {
			return from, err
		}
	}
	cursors, err := s.cfg.Models.FeedCursors(ctx, in.ID)
	if err != nil {
		return from, err
	}
	for _, c := range cursors {
		if c.Name == in.Cursor {
			from = c.After
		}
	}
	if ack.Compare(from) <= 0 {
		return from, nil
	}
	return ack, s.moveFeedCursor(ctx, in.ID, projections.FeedCursor{Name: in.Cursor, After: ack, At: s.now()}, true)
}

func (s *Server) moveFeedCursor(ctx context.Context, endpointID string, c projections.FeedCursor, forward bool) error {
	kept, err := s.cfg.Models.MoveFeedCursor(ctx, endpointID, c, forward, maxFeedCursors)
	if err == nil && !kept {
		err = newProblem(http.StatusConflict, "feed_cursor.too_many",
			"the endpoint has "+strconv.Itoa(maxFeedCursors)+" cursors; delete one that nobody uses: GET …/feed/cursors lists them")
	}
	return err
}

// await looks into a feed until there is something, the time is over or the
// server closes.
func (s *Server) await(
	ctx context.Context, feed *projections.Feed, from webhooks.Mark, limit int, wait time.Duration,
) (projections.FeedPage, error) {
	latch, stop := s.cfg.Events.Listen() // from before the first look: what comes behind it rings
	defer stop()
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for waited := false; ; waited = true {
		page, err := s.look(ctx, feed, from, limit)
		row := feed.Endpoint()
		if err != nil || len(page.Items) > 0 || page.More || wait == 0 || row.Deleted {
			if waited && err == nil && !s.stillValid(ctx, callOf(ctx)) {
				err = revokedKey()
			}
			return page, err
		}
		from = page.Next
		s.waiting.Add(1)
		goesOn, err := heard(ctx, latch, timer.C, s.closing)
		if goesOn && waited {
			goesOn, err = heard(ctx, time.After(feedPause), timer.C, s.closing)
		}
		s.waiting.Add(-1)
		if !goesOn {
			return page, err
		}
	}
}

// heard waits for a sound. It returns false if the time was over before, or the
// server or the request came to an end.
func heard[T any](ctx context.Context, sound <-chan T, over <-chan time.Time, closing <-chan struct{}) (bool, error) {
	select {
	case <-sound:
		return true, nil
	case <-over:
	case <-closing:
	case <-ctx.Done():
		return false, ctx.Err()
	}
	return false, nil
}

// look looks into a feed once it is its turn.
func (s *Server) look(ctx context.Context, feed *projections.Feed, from webhooks.Mark, limit int) (projections.FeedPage, error) {
	select {
	case s.looks <- struct{}{}:
	case <-ctx.Done():
		return projections.FeedPage{}, ctx.Err()
	}
	defer func() { <-s.looks }()
	return feed.Read(ctx, from, limit)
}

// appendFeed writes a page. An item has the members of a line of the command
// rebuild, in their order.
func appendFeed(dst []byte, page *projections.FeedPage) []byte {
	dst = append(dst, `{"data":[`...)
	for i := range page.Items {
		item := &page.Items[i]
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, `{"position":`...)
		dst = strconv.AppendInt(dst, item.Position, 10)
		dst = append(dst, `,"event":`...)
		dst = webhooks.AppendString(dst, item.Name)
		dst = append(dst, `,"webhook_id":`...)
		dst = webhooks.AppendString(dst, item.WebhookID)
		dst = append(dst, `,"conversation":`...)
		dst = webhooks.AppendOptional(dst, item.Conversation())
		dst = append(dst, `,"body":`...)
		if item.Fault == webhooks.NoFault {
			dst = append(dst, item.Body...)
		} else {
			dst = append(dst, `null,"fault":`...)
			dst = webhooks.AppendString(dst, string(item.Fault))
		}
		dst = append(dst, '}')
	}
	dst = append(dst, `],"next":`...)
	dst = webhooks.AppendString(dst, projections.FormatFeedMark(page.Next))
	dst = append(dst, `,"more":`...)
	dst = strconv.AppendBool(dst, page.More)
	return append(dst, "}\n"...)
}

// FeedCursorView is a cursor of a feed.
type FeedCursorView struct {
	Name    string    `json:"name" example:"crm"`
	After   string    `json:"after" doc:"It stands behind this."`
	MovedAt time.Time `json:"moved_at"`
}

func newFeedCursorView(c projections.FeedCursor) FeedCursorView {
	return FeedCursorView{c.Name, projections.FormatFeedMark(c.After), c.At}
}

type listFeedCursorsInput struct {
	EndpointPath
	WholeQuery
}

func (s *Server) listFeedCursors(ctx context.Context, in *listFeedCursorsInput) (*listAnswer[FeedCursorView], error) {
	if _, err := s.feed(ctx, in.ID); err != nil {
		return nil, err
	}
	cursors, err := s.cfg.Models.FeedCursors(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	views := make([]FeedCursorView, len(cursors))
	for i := range cursors {
		views[i] = newFeedCursorView(cursors[i])
	}
	return newWholeList(listFeedCursors, &in.WholeQuery, views)
}

// FeedCursorPath is the cursor a request is about.
type FeedCursorPath struct {
	EndpointPath

	Name string `path:"name" pattern:"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$" patternDescription:"1 to 64 letters, digits, and . _ -, not beginning with these" doc:"Name of the cursor." example:"crm"`
}

type putFeedCursorInput struct {
	FeedCursorPath

	Body struct {
		After string `json:"after" doc:"next of a page, or a position; \"0\" is the beginning." example:"4711"`
	}
}

type feedCursorAnswer struct{ Body FeedCursorView }

func (s *Server) putFeedCursor(ctx context.Context, in *putFeedCursorInput) (*feedCursorAnswer, error) {
	head, err := s.cfg.Log.Head(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := s.feed(ctx, in.ID); err != nil {
		return nil, err
	}
	after, err := feedMark("after", in.Body.After, head)
	if err != nil {
		return nil, err
	}
	c := projections.FeedCursor{Name: in.Name, After: after, At: s.now()}
	if err := s.moveFeedCursor(ctx, in.ID, c, false); err != nil {
		return nil, err
	}
	return &feedCursorAnswer{newFeedCursorView(c)}, nil
}

func (s *Server) deleteFeedCursor(ctx context.Context, in *FeedCursorPath) (*struct{}, error) {
	if _, err := s.feed(ctx, in.ID); err != nil {
		return nil, err
	}
	dropped, err := s.cfg.Models.DropFeedCursor(ctx, in.ID, in.Name)
	if err == nil && !dropped {
		err = feedCursorUnknown
	}
	return nil, err
}
