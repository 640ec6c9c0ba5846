package projections

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
	"time"

	"verbatim/eventstore"
	"verbatim/webhooks"
)

// Limits of one look into a feed. An endpoint that wants little of a busy log
// gets a page that is empty and leads further on, rather than an answer that
// takes minutes.
const (
	// FeedLook is how many events one look goes past: a tenth of a second of
	// decoding.
	FeedLook = 20_000
	// FeedBytes is how many bytes of bodies make a page full. The last of them may
	// reach beyond it, so that there is always one.
	FeedBytes = 4 << 20
	// FeedTime ends a look that has to read long histories. It is looked at between
	// two events.
	FeedTime = 2 * time.Second
)

// A FeedCursor is how far somebody who pulls from an endpoint's feed has taken
// it, by a name of their own.
type FeedCursor struct {
	Name  string
	After webhooks.Mark // see ParseFeedMark
	At    time.Time     // when it was last moved
}

// ParseFeedMark returns the place in a feed that "POSITION" or "POSITION:NAME"
// means: behind everything that happened at the position, or behind that event
// of it. What is none is false. The place is before every delivery of which
// webhooks.MarkOf is greater.
func ParseFeedMark(s string) (webhooks.Mark, bool) {
	number, name, named := strings.Cut(s, ":")
	position, err := strconv.ParseInt(number, 10, 64)
	if err != nil || position < 0 || position == Newest || named && (name == "" || len(name) > maxFeedName) {
		return webhooks.Mark{}, false
	}
	if !named {
		position++ // no name is before the first
	}
	return webhooks.Mark{Position: position, Name: name}, true
}

// maxFeedName is how long the name of an event may be in a mark: the longest of
// any dialect has half of it.
const maxFeedName = 64

// FormatFeedMark returns a place in a feed as ParseFeedMark takes it.
func FormatFeedMark(m webhooks.Mark) string {
	if m.Name == "" {
		return strconv.FormatInt(max(m.Position, 1)-1, 10)
	}
	return strconv.FormatInt(m.Position, 10) + ":" + m.Name
}

// A Feed is what one endpoint is sent, to be pulled: the same events under the
// same ids in the same bytes, in the order of the log, from its registration on.
// It is told from the log alone, whatever became of the deliveries.
//
// One goroutine at a time uses a Feed.
type Feed struct {
	log         eventstore.Store
	codec       *eventstore.Codec
	transcripts *Transcripts
	clock       func() time.Time
	course      *Course
	only        string // a stream; "" for all
}

// NewFeed returns the feed of an endpoint, or ErrNoEndpoint.
func NewFeed(
	ctx context.Context, log eventstore.Store, codec *eventstore.Codec, dialects *webhooks.Dialects, transcripts *Transcripts,
	clock func() time.Time, endpointID string,
) (*Feed, error) {
	course, err := NewCourse(ctx, log, codec, dialects, endpointID)
	if err != nil {
		return nil, err
	}
	return &Feed{log: log, codec: codec, transcripts: transcripts, clock: clock, course: course}, nil
}

// Only leaves out what is not of that stream.
func (f *Feed) Only(stream string) { f.only = stream }

// Endpoint returns the endpoint as far as it is known.
func (f *Feed) Endpoint() EndpointRow { return f.course.Endpoint() }

// A FeedItem is one event of a feed.
type FeedItem struct {
	webhooks.Delivery

	// Body is what the endpoint is sent. It is nil with a Fault: a body that is
	// larger than the endpoint takes is not sent.
	Body  []byte
	Fault webhooks.Fault
}

// Conversation returns the id of the conversation that it is of, or "".
func (i *FeedItem) Conversation() string {
	if kind, id := eventstore.SplitStream(i.Stream); kind == "conversation" {
		return id
	}
	return ""
}

// A FeedPage is what a look into a feed found.
type FeedPage struct {
	Items []FeedItem
	Next  webhooks.Mark // to go on from
	More  bool          // there is more of the log behind it by now
}

// A FeedError says that an event stands in the way of a feed: it cannot be
// decoded, or a body not be made. Whoever goes on from Behind leaves it out.
type FeedError struct {
	Behind webhooks.Mark
	Err    error
}

// Error returns where it stands, and why.
func (e *FeedError) Error() string {
	return fmt.Sprintf("the feed ends before %s: %v", FormatFeedMark(e.Behind), e.Err)
}

// Unwrap returns why.
func (e *FeedError) Unwrap() error { return e.Err }

// Read looks for what the endpoint is owed behind a mark, at most limit items, and
// within the limits of a look. A *FeedError comes only before the first item.
func (f *Feed) Read(ctx context.Context, after webhooks.Mark, limit int) (FeedPage, error) {
	page := FeedPage{Next: after}
	if begin := f.course.Begin(); after.Position < begin {
		page.Next = webhooks.Mark{Position: begin}
	}
	until := f.clock().Add(FeedTime)
	look, size := 0, 0
	events, last, err := f.events(ctx, page.Next.Position)
	if err != nil {
		return page, err
	}
	for r, err := range events {
		if err != nil {
			return page, err
		}
		if r.Position > last || look == FeedLook || len(page.Items) >= limit || size >= FeedBytes || look > 0 && !f.clock().Before(until) {
			page.More = true
			return page, nil
		}
		look++
		size, err = f.read(ctx, &r, &page, limit, size)
		if _, inTheWay := errors.AsType[*FeedError](err); inTheWay && len(page.Items) > 0 && ctx.Err() == nil {
			page.More, err = true, nil // it is for those who come to it
		}
		if err != nil || page.More {
			return page, err
		}
	}
	return page, nil
}

// events returns what is to be looked at from a position on, and the position up
// to which the course knows what the endpoint is owed. In the whole log the events
// of the endpoint come along and take the course on; for one stream it is asked
// what has become of the endpoint.
func (f *Feed) events(ctx context.Context, from int64) (_ iter.Seq2[eventstore.Recorded, error], last int64, err error) {
	if f.only == "" {
		return f.log.ReadLog(ctx, from-1), Newest, nil
	}
	if last, err = f.log.Head(ctx); err != nil {
		return nil, 0, err
	}
	if err := f.course.refresh(ctx); err != nil {
		return nil, 0, err
	}
	version, err := f.before(ctx, from)
	return f.log.ReadStream(ctx, f.only, version), last, err
}

// before returns the last version of the stream that lies before a position. It
// halves the stream again and again: its length does not matter.
func (f *Feed) before(ctx context.Context, position int64) (int64, error) {
	lies := func(version int64) (before bool, err error) {
		for r, err := range f.log.ReadStream(ctx, f.only, version-1) {
			return err == nil && r.Position < position, err
		}
		return false, nil // behind the end
	}
	low, high := int64(0), int64(1)
	for {
		before, err := lies(high)
		if err != nil {
			return 0, err
		}
		if !before {
			break
		}
		low, high = high, 2*high
	}
	for low+1 < high {
		middle := (low + high) / 2
		before, err := lies(middle)
		switch {
		case err != nil:
			return 0, err
		case before:
			low = middle
		default:
			high = middle
		}
	}
	return low, nil
}

// read adds what an event is to the endpoint, and returns the size of all bodies
// of the page. It sets More if there is no room for all of it.
func (f *Feed) read(ctx context.Context, r *eventstore.Recorded, page *FeedPage, limit, size int) (int, error) {
	behind := webhooks.Mark{Position: r.Position + 1}
	if r.Account != f.course.row.Account.ID {
		page.Next = behind
		return size, nil
	}
	event, err := f.codec.Decode(r)
	if err != nil {
		return size, &FeedError{behind, err}
	}
	fact := webhooks.Fact{Recorded: r, Event: event}
	owed, err := f.course.Owed(ctx, fact)
	if err != nil {
		return size, &FeedError{behind, err}
	}
	// They go out by name, as the dispatcher sends them.
	slices.SortFunc(owed, func(a, b webhooks.Delivery) int { return strings.Compare(a.Name, b.Name) })
	rendered := false
	for i := range owed {
		at := webhooks.MarkOf(&owed[i])
		if at.Compare(page.Next) <= 0 {
			continue
		}
		if len(page.Items) == limit || size >= FeedBytes {
			page.More = true
			return size, nil
		}
		item := FeedItem{Delivery: owed[i]}
		rendered = true
		if item.Body, err = f.transcripts.AppendBody(ctx, nil, &owed[i], &fact); err != nil {
			return size, &FeedError{at, err}
		}
		if len(item.Body) > f.Endpoint().Settings.BodyLimit() {
			item.Body, item.Fault = nil, webhooks.TooLarge
		}
		page.Items, page.Next = append(page.Items, item), at
		size += len(item.Body)
	}
	page.Next = behind
	if rendered {
		return size, nil
	}
	if err := f.transcripts.Follow(&fact); err != nil {
		return size, &FeedError{behind, err}
	}
	return size, nil
}
