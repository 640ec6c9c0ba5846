package httpapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"verbatim/adapters/httpapi"
	"verbatim/adapters/sqlite"
	"verbatim/eventstore"
	"verbatim/projections"
)

// A pulled event is one of a feed, with its body as it came.
type pulled struct {
	Position     int64           `json:"position"`
	Event        string          `json:"event"`
	WebhookID    string          `json:"webhook_id"`
	Conversation *string         `json:"conversation"`
	Body         json.RawMessage `json:"body"`
	Fault        string          `json:"fault"`
}

type pulledPage struct {
	Data []pulled `json:"data"`
	Next string   `json:"next"`
	More bool     `json:"more"`
}

func (h *house) pull(path string, options ...option) pulledPage {
	h.t.Helper()
	var page pulledPage
	h.do("GET", path, nil, options...).is(200).into(&page)
	return page
}

// pushed returns what is sent to an endpoint behind a position, in the order in
// which it is sent, as the feed should have it.
func (h *house) pushed(ep string, after int64) (out []pulled) {
	h.t.Helper()
	var list struct {
		Data []struct {
			ID, Name, Stream string
			WebhookID        string `json:"webhook_id"`
			Position         int64
		}
	}
	h.do("GET", ep+"/deliveries?limit=200", nil).is(200).into(&list)
	slices.Reverse(list.Data)
	for _, d := range list.Data {
		if d.Position <= after {
			continue
		}
		p := pulled{
			Position: d.Position, Event: d.Name, WebhookID: d.WebhookID,
			Body: bytes.TrimSpace(h.do("GET", "/v1/deliveries/"+d.ID+"/payload", nil).is(200).body),
		}
		if id, ok := strings.CutPrefix(d.Stream, "conversation-"); ok {
			p.Conversation = &id
		}
		out = append(out, p)
	}
	return out
}

func same(t *testing.T, want, got []pulled) {
	t.Helper()
	a, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	if len(want) == 0 || !bytes.Equal(a, b) {
		t.Fatalf("%d were pushed, %d pulled:\n%s\n%s", len(want), len(got), a, b)
	}
}

// TestFeedIsWhatWasMissed: a receiver that was down fetches by pull exactly what
// it is sent by push, whatever the pages, also while its endpoint is disabled and
// after it was changed.
func TestFeedIsWhatWasMissed(t *testing.T) {
	t.Parallel()
	for _, dialect := range []string{"verbatim", "cloudevents", "chatwoot", "closer", "talkus", "clarityflow"} {
		t.Run(dialect, func(t *testing.T) {
			t.Parallel()
			h := open(t)
			h.conversation() // before its time
			reply := h.do("POST", "/v1/endpoints", object{
				"url": "https://example.com/", "dialect": dialect, "events": []string{"*", "conversation.transcript"},
			})
			if reply.status == 422 {
				reply = h.do("POST", "/v1/endpoints", object{"url": "https://example.com/", "dialect": dialect})
			}
			ep := reply.is(201).header.Get("Location")
			a, b := h.conversation(), h.conversation()
			talk := func() {
				for _, c := range []string{a, b} {
					h.do("POST", c+"/messages", object{"text": "<b>łódź</b> & \u2028 \"c\""}).is(201)
					h.do("PUT", c+"/typing", object{"author": jon, "state": "on"}).is(204)
				}
			}
			talk()
			seen := h.head()
			h.do("POST", ep+"/disable", nil).is(200)
			talk()
			h.do("PATCH", ep, object{"events": []string{"conversation.*"}}).is(200)
			h.do("POST", a+"/close", object{}).is(200)
			h.do("POST", b+"/messages", object{"text": "the last"}).is(201)
			h.settled()
			for _, after := range []int64{0, seen} {
				want := h.pushed(ep, after)
				for _, limit := range []int{1, 2, 3, 100} {
					var got []pulled
					for next := fmt.Sprint(after); ; {
						page := h.pull(fmt.Sprintf("%s/feed?after=%s&limit=%d", ep, next, limit))
						if got, next = append(got, page.Data...), page.Next; !page.More {
							break
						}
					}
					same(t, want, got)
				}
			}
			same(t, h.pushed(ep, 0), h.pull(ep+"/feed").Data)
			id := strings.TrimPrefix(a, "/v1/conversations/")
			of := h.pull(ep + "/feed?conversation=" + id + "&after=" + fmt.Sprint(seen))
			same(t, slices.DeleteFunc(h.pushed(ep, seen), func(p pulled) bool { return p.Conversation == nil || *p.Conversation != id }), of.Data)
		})
	}
}

// TestFeedCursor: what was read and not acknowledged is read again; what was
// acknowledged is not, and no late request takes that back.
func TestFeedCursor(t *testing.T) {
	t.Parallel()
	h := open(t)
	ep := h.hook()
	c := h.conversation()
	for range 4 {
		h.do("POST", c+"/messages", object{"text": "Hi"}).is(201)
	}
	feed := ep + "/feed?limit=2&cursor=crm"
	first := h.pull(feed)
	if len(first.Data) != 2 || !first.More {
		t.Fatalf("%+v", first)
	}
	same(t, first.Data, h.pull(feed).Data) // the answer was lost
	h.do("GET", ep+"/feed/cursors", nil).is(200).has("data", "[]")
	second := h.pull(feed + "&ack=" + first.Next)
	same(t, second.Data, h.pull(feed+"&ack="+first.Next).Data)
	same(t, second.Data, h.pull(feed).Data)
	third := h.pull(feed + "&ack=" + second.Next)
	h.pull(feed + "&ack=" + first.Next) // late
	same(t, third.Data, h.pull(feed).Data)
	h.do("GET", ep+"/feed/cursors", nil).is(200).has("data.0.name", "crm", "data.0.after", second.Next, "data.1", nil)
	var all []pulled
	for _, page := range []pulledPage{first, second, third} {
		all = append(all, page.Data...)
	}
	same(t, h.pushed(ep, 0)[:len(all)], all)

	h.do("PUT", ep+"/feed/cursors/crm", object{"after": first.Next}).is(200).has("after", first.Next)
	same(t, second.Data, h.pull(feed).Data)
	same(t, first.Data, h.pull(ep+"/feed?limit=2&cursor=another").Data)
	h.do("DELETE", ep+"/feed/cursors/crm", nil).is(204)
	h.do("DELETE", ep+"/feed/cursors/crm", nil).fails(404, "feed_cursor.not_found")
	same(t, first.Data, h.pull(feed).Data)

	for i := range 100 {
		h.do("PUT", ep+"/feed/cursors/"+fmt.Sprint("c", i), object{"after": "0"}).is(200)
	}
	h.do("PUT", ep+"/feed/cursors/one-more", object{"after": "0"}).fails(409, "feed_cursor.too_many")
	h.do("GET", ep+"/feed?cursor=one-more&ack="+first.Next, nil).fails(409, "feed_cursor.too_many")
	h.do("PUT", ep+"/feed/cursors/c7", object{"after": first.Next}).is(200)
}

// TestFeedCursorSurvives: a cursor is where it was after the file was closed.
func TestFeedCursorSurvives(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, position := range []string{"", "7:a", "9"} {
		store, err := sqlite.Open(t.Context(), dir, sqlite.Options{})
		if err != nil {
			t.Fatal(err)
		}
		cursors, err := store.FeedCursors(t.Context(), "e")
		if err != nil || len(cursors) > 1 || len(cursors) == 0 != (position == "") ||
			position != "" && projections.FormatFeedMark(cursors[0].After) != position {
			t.Fatalf("want %s: %+v, %v", position, cursors, err)
		}
		next := map[string]string{"": "7:a", "7:a": "9", "9": "10"}[position]
		after, _ := projections.ParseFeedMark(next)
		kept, err := store.MoveFeedCursor(t.Context(), "e", projections.FeedCursor{Name: "n", After: after}, true, 1)
		if err != nil || !kept {
			t.Fatal(kept, err)
		}
		if err := store.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// A lookedLog tells of each look into it that has come to its end.
type lookedLog struct {
	eventstore.Store
	looked chan struct{}
}

func (l *lookedLog) config(cfg *httpapi.Config) {
	l.Store, l.looked, cfg.Log = cfg.Log, make(chan struct{}, 100), l
}

func (l *lookedLog) ReadLog(ctx context.Context, after int64) iter.Seq2[eventstore.Recorded, error] {
	return func(yield func(eventstore.Recorded, error) bool) {
		l.Store.ReadLog(ctx, after)(yield)
		l.looked <- struct{}{}
	}
}

// waiting asks for what comes after the end of the log, and returns once that was
// looked at in vain.
func (l *lookedLog) waiting(h *house, path string) <-chan *reply {
	h.t.Helper()
	for len(l.looked) > 0 {
		<-l.looked
	}
	answered := make(chan *reply, 1)
	path += fmt.Sprint("/feed?wait=30s&after=", h.head())
	go func() {
		r, err := h.send("GET", path, nil)
		if err != nil {
			h.t.Error(err)
		}
		answered <- r
	}()
	select {
	case <-l.looked:
	case r := <-answered:
		h.t.Fatalf("it was not waited: %s", r.body)
	}
	return answered
}

// TestFeedWaits: a request that finds nothing waits for what happens next, which
// others than its endpoint may want, and for no more than it was told.
func TestFeedWaits(t *testing.T) {
	t.Parallel()
	log := &lookedLog{}
	h := open(t, log.config)
	ep := h.do("POST", "/v1/endpoints", object{
		"url": "https://example.com/", "dialect": "verbatim", "events": []string{"conversation.message_posted"},
	}).is(201).header.Get("Location")
	c := h.conversation()
	answered := log.waiting(h, ep)
	h.do("PUT", c+"/status", object{"status": "pending"}).is(200) // not wanted
	h.do("PATCH", ep, object{"history": "none"}).is(200)
	h.do("POST", c+"/messages", object{"text": "wanted"}).is(201)
	r := <-answered
	r.is(200).has("data.0.event", "conversation.message_posted", "data.0.body.data.history.mode", "none", "data.1", nil)
	h.settled()
	same(t, h.pushed(ep, 0), []pulled{func() (p pulledPage) { r.into(&p); return p }().Data[0]})

	h.do("GET", ep+"/feed?wait=1ns&after="+fmt.Sprint(h.head()), nil).is(200).has("data", "[]", "more", false, "next", h.head())
	answered = log.waiting(h, ep)
	h.api.Close()
	(<-answered).is(200).has("data", "[]", "next", h.head())
	h.do("GET", ep+"/feed?wait=30s&after="+fmt.Sprint(h.head()), nil).is(200).has("data", "[]")
}

// TestFeedPullsAreCounted: with what they got, and while they wait; what was never
// looked for is none.
func TestFeedPullsAreCounted(t *testing.T) {
	t.Parallel()
	log := &lookedLog{}
	var pulls []string // each is told of before it is answered
	h := open(t, log.config, func(cfg *httpapi.Config) {
		cfg.FeedPulled = func(items int, err error) { pulls = append(pulls, fmt.Sprint(items, " ", err != nil)) }
	})
	ep := h.hook()
	h.conversation()
	answered := log.waiting(h, ep)
	for h.api.Waiting() == 0 {
		runtime.Gosched()
	}
	head := h.head()
	h.conversation()
	(<-answered).is(200)
	if n := h.api.Waiting(); n != 0 {
		t.Errorf("%d still wait", n)
	}
	h.do("GET", ep+"/feed?after="+fmt.Sprint(h.head()), nil).is(200)
	h.do("GET", ep+"/feed?limit=0", nil).fails(422, "invalid_field")
	if _, err := h.store.Append(t.Context(), eventstore.Commit{Account: "default", Appends: []eventstore.Append{{
		Stream: "conversation-01931b3e-7c1f-7d2a-9d5e-0a6f3c2b1a01",
		Events: []eventstore.Draft{{ID: uuid.New(), Type: "conversation.unheard_of", Schema: 1, Time: time.Now(), Data: []byte("{}")}},
	}}}); err != nil {
		t.Fatal(err)
	}
	h.do("GET", ep+"/feed?after="+fmt.Sprint(h.head()-1), nil).fails(500, "feed.unreadable")
	h.log.forget()
	want := []string{fmt.Sprint(len(h.pushed(ep, head)), " false"), "0 false", "0 true"}
	if !slices.Equal(pulls, want) {
		t.Errorf("pulled %q, want %q", pulls, want)
	}
}

func TestFeedRefuses(t *testing.T) {
	t.Parallel()
	h := open(t)
	ep := h.hook()
	h.conversation()
	h.do("GET", "/v1/endpoints/01931b3e-7c1f-7d2a-9d5e-0a6f3c2b1a01/feed", nil).fails(404, "endpoint.not_found")
	for _, r := range []*reply{
		h.do("GET", ep+"/feed", nil, as(h.other)),
		h.do("GET", ep+"/feed?cursor=c&ack=1", nil, as(h.other)),
		h.do("GET", ep+"/feed/cursors", nil, as(h.other)),
		h.do("PUT", ep+"/feed/cursors/c", object{"after": "0"}, as(h.other)),
		h.do("DELETE", ep+"/feed/cursors/c", nil, as(h.other)),
	} {
		r.fails(404, "endpoint.not_found")
	}
	h.do("GET", ep+"/feed/cursors", nil).is(200).has("data", "[]")
	beyond := fmt.Sprint(h.head() + 1)
	for query, at := range map[string]string{
		"after=-1": "query.after", "after=x": "query.after", "after=3:": "query.after", "after=" + beyond: "query.after",
		"after=" + beyond + ":n": "query.after", "after=1&cursor=c": "query.after", "conversation=x&cursor=c": "query.conversation", "ack=1": "query.ack", "cursor=c&ack=" + beyond: "query.ack",
		"cursor=.c": "query.cursor", "cursor=" + strings.Repeat("c", 65): "query.cursor",
		"wait=1": "query.wait", "wait=31s": "query.wait", "wait=-1s": "query.wait", "limit=0": "query.limit", "limit=1001": "query.limit",
	} {
		h.do("GET", ep+"/feed?"+query, nil).fails(422, "invalid_field").at(at)
	}
	h.do("PUT", ep+"/feed/cursors/c", object{"after": beyond}).fails(422, "invalid_field").at("body.after")
	h.do("PUT", ep+"/feed/cursors/c", object{}).fails(422, "invalid_field").at("body.after")
	h.do("PUT", ep+"/feed/cursors/_c", object{"after": "0"}).fails(422, "invalid_field").at("path.name")
	h.do("GET", ep+"/feed/cursors", nil).is(200).has("data", "[]")

	h.do("DELETE", ep, nil).is(204)
	h.conversation()
	gone := h.pull(ep + "/feed?wait=30s&after=0")
	if len(gone.Data) == 0 || gone.More {
		t.Fatalf("what a deleted endpoint was owed: %+v", gone)
	}
	if again := h.pull(ep + "/feed?wait=30s&after=" + gone.Next); len(again.Data) > 0 {
		t.Fatalf("a deleted endpoint is owed %+v", again)
	}
}

// TestHeadMovesNoCursor: whoever sends HEAD asks what there is, and has nothing
// acknowledged by it.
func TestHeadMovesNoCursor(t *testing.T) {
	t.Parallel()
	h := open(t)
	ep := h.hook()
	h.conversation()
	feed := ep + "/feed?cursor=crm"
	next := h.pull(feed + "&limit=1").Next
	h.pull(feed + "&ack=" + next)
	before := h.do("GET", ep+"/feed/cursors", nil).is(200).has("data.0.after", next)
	if r := h.do("HEAD", feed+"&ack="+fmt.Sprint(h.head()), nil).is(422); r.header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("HEAD with ack answers %v", r.header)
	}
	h.do("HEAD", ep+"/feed?cursor=new&ack="+next, nil).is(422)
	h.do("HEAD", feed, nil).is(200)
	h.do("GET", ep+"/feed/cursors", nil).is(200).has("data", before.get("data"))
}

// TestFeedOfARevokedKey: a key that is revoked while its request waits sees
// nothing any more.
func TestFeedOfARevokedKey(t *testing.T) {
	t.Parallel()
	log := &lookedLog{}
	h := open(t, log.config)
	ep := h.hook()
	answered := log.waiting(h, ep)
	h.do("DELETE", "/v1/keys/"+h.keyID, nil, as(adminKey)).is(204)
	h.do("POST", "/v1/conversations", object{"customer": jon}, as(adminKey)).is(201)
	(<-answered).fails(401, "revoked_key")
}

// TestFeedStops at an event that this program cannot read, and says how to go on.
func TestFeedStops(t *testing.T) {
	t.Parallel()
	h := open(t)
	ep := h.hook()
	before := h.head()
	if _, err := h.store.Append(t.Context(), eventstore.Commit{Account: "default", Appends: []eventstore.Append{{
		Stream: "conversation-01931b3e-7c1f-7d2a-9d5e-0a6f3c2b1a01",
		Events: []eventstore.Draft{{ID: uuid.New(), Type: "conversation.unheard_of", Schema: 1, Time: time.Now(), Data: []byte("{}")}},
	}}}); err != nil {
		t.Fatal(err)
	}
	h.conversation()
	h.do("GET", ep+"/feed?after="+fmt.Sprint(before), nil).fails(500, "feed.unreadable").mentions("after=" + fmt.Sprint(before+1) + " ")
	h.log.forget()
	same(t, h.pushed(ep, before), h.pull(ep+"/feed?after="+fmt.Sprint(before+1)).Data)
}
