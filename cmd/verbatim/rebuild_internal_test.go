package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"verbatim/adapters/sqlite"
	"verbatim/domain"
	"verbatim/domain/conversation"
	"verbatim/domain/endpoint"
	"verbatim/eventstore"
	"verbatim/projections"
	"verbatim/webhooks"
)

// seedConversations makes a log of conversations that were had side by side, of
// so many messages each, and closed, and returns its folder.
func seedConversations(tb testing.TB, conversations, messages int) string {
	tb.Helper()
	dir := tb.TempDir()
	store, err := sqlite.Open(tb.Context(), dir, sqlite.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	jon := domain.Person{ID: seededID(1, 0).String(), Role: domain.Customer, Name: "Jon Snow", Email: "jon.snow@winterfell.com", Phone: "+48123456789"}
	bob := domain.Person{ID: seededID(2, 0).String(), Role: domain.Agent, Name: "Bob Holmes", Email: "bob.holmes@closer.app"}
	codec := eventstore.Catalogue()
	position := int64(0)
	_, err = store.Import(tb.Context(), func(yield func(eventstore.Recorded, error) bool) {
		for version := range messages + 2 {
			for c := range conversations {
				var e domain.Event
				switch version {
				case 0:
					e = conversation.Created{
						Account: domain.Account{ID: "default", Number: 1}, Inbox: domain.Inbox{ID: "default", Number: 1}, Channel: "web",
						Customer: jon, Attributes: domain.Attributes{{Key: "current_page", Value: []byte(`"https://yourbusiness.com/"`)}},
					}
				case messages + 1:
					e = conversation.Closed{ClosedType: conversation.DefaultClosedType}
				default:
					author := jon
					if version%2 == 0 {
						author = bob
					}
					e = conversation.MessagePosted{
						MessageID: seededID(3+c, version).String(), Author: author, ContentType: "text",
						Text: "Hello, I have a question about my last order: it has not arrived yet. Can you help me?",
					}
				}
				name, schema, data, err := codec.Encode(e)
				position++
				if !yield(eventstore.Recorded{
					Position: position, Stream: eventstore.StreamName("conversation", seededID(c+1, 1).String()), Version: int64(version + 1),
					ID: seededID(c+1, int(position)), Type: name, Schema: schema, Time: time.Unix(1_700_000_000+position, 0).UTC(),
					Account: "default", Data: data, Metadata: []byte("{}"),
				}, err) {
					return
				}
			}
		}
	})
	if err := errors.Join(err, store.Close()); err != nil {
		tb.Fatal(err)
	}
	return dir
}

func seededID(a, b int) uuid.UUID {
	id := uuid.UUID{6: 0x70, 8: 0x80}
	binary.BigEndian.PutUint32(id[:], uint32(a))
	binary.BigEndian.PutUint32(id[12:], uint32(b))
	return id
}

// command runs the program in this process.
func command(ctx context.Context, out io.Writer, args ...string) (code int, errs string) {
	var stderr bytes.Buffer
	code = run(ctx, args, func(string) (string, bool) { return "", false }, strings.NewReader(""), out, &stderr)
	return code, stderr.String()
}

// writerFunc is an io.Writer.
type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

// TestRebuildStops takes away, in the middle, what a rebuild writes to, or asks
// it to stop: it says why, and leaves nobody behind who waits. The log is many
// times what the workers may be ahead.
func TestRebuildStops(t *testing.T) {
	t.Parallel()
	dir := seedConversations(t, 20, 60)
	for _, workers := range []int{1, 3} {
		args := []string{"rebuild", "-database", "sqlite:" + dir, "--dialect", "verbatim", "--workers", strconv.Itoa(workers)}
		written := 0
		code, errs := command(t.Context(), writerFunc(func(b []byte) (int, error) {
			if written += len(b); written > 500_000 {
				return 0, io.ErrClosedPipe
			}
			return len(b), nil
		}), args...)
		if code != exitFailed || !strings.Contains(errs, io.ErrClosedPipe.Error()) {
			t.Errorf("%d workers, an output that broke off: exit %d: %s", workers, code, errs)
		}
		ctx, stop := context.WithCancel(t.Context())
		code, errs = command(ctx, writerFunc(func(b []byte) (int, error) {
			stop()
			return len(b), nil
		}), args...)
		if code != exitFailed || !strings.Contains(errs, context.Canceled.Error()) {
			t.Errorf("%d workers, stopped: exit %d: %s", workers, code, errs)
		}
	}
}

// TestOneWorkerHasEverything rebuilds one long conversation: what nobody else has
// to do keeps nobody from reading on, and nobody waits for those who have nothing.
func TestOneWorkerHasEverything(t *testing.T) {
	t.Parallel()
	dir := seedConversations(t, 1, 20*pageEvents)
	var want string
	for _, workers := range []int{1, 2, 7} {
		var out bytes.Buffer
		code, errs := command(t.Context(), &out, "rebuild", "-database", "sqlite:"+dir, "--dialect", "closer", "--workers", strconv.Itoa(workers))
		if want == "" {
			want = out.String()
		}
		if code != exitDone || strings.Count(want, "\n") != 2 || out.String() != want {
			t.Errorf("%d workers: exit %d, %d bytes of %d: %s", workers, code, out.Len(), len(want), errs)
		}
	}
}

// slow is a dialect of large bodies, in which one conversation takes its time.
type slow struct {
	described

	stream   string
	goOn     chan struct{}
	rendered *atomic.Int64 // bytes
}

func (slow) Words(e domain.Event) []webhooks.Word { return []webhooks.Word{{Name: e.EventType()}} }

func (d slow) AppendBody(dst []byte, e *webhooks.PublicEvent) ([]byte, error) {
	if e.Stream == d.stream {
		<-d.goOn
	}
	d.rendered.Add(largeBody)
	return append(append(append(dst, '"'), bytes.Repeat([]byte{'x'}, largeBody-2)...), '"'), nil
}

const largeBody = 10_000

// TestASlowConversationHoldsBackALittle stops one conversation. The others are
// rendered until their workers are as far ahead as they may be, and nothing more
// is read; when it goes on, everything is written.
func TestASlowConversationHoldsBackALittle(t *testing.T) {
	t.Parallel()
	const conversations, messages, workers = 20, 200, 4
	dir := seedConversations(t, conversations, messages)
	synctest.Test(t, func(t *testing.T) {
		store, err := sqlite.Open(t.Context(), dir, sqlite.Options{ReadOnly: true})
		if err != nil {
			t.Fatal(err)
		}
		d := slow{
			described: described{name: "slow@1"}, stream: eventstore.StreamName("conversation", seededID(1, 1).String()),
			goOn: make(chan struct{}), rendered: &atomic.Int64{},
		}
		r := &rebuilding{
			selection: selection{dialect: "slow", events: []string{endpoint.AllEvents}, from: 1, to: projections.Newest},
			log:       store, codec: eventstore.Catalogue(), dialects: webhooks.NewDialects(d), speaks: d,
		}
		r.transcripts = projections.NewTranscripts(store, r.codec, r.dialects, projections.TranscriptMemory)
		var out bytes.Buffer
		ended := make(chan error, 1)
		go func() {
			ended <- r.run(t.Context(), workers, newWhole(&shell{out: &out, err: io.Discard}, r.from, r.to))
		}()
		synctest.Wait()
		const most = workers * chunksAhead * (chunkBytes + largeBody)
		if ahead := d.rendered.Load(); ahead < chunkBytes || ahead > most || out.Len() > 0 {
			t.Errorf("the others are %d bytes ahead, of at most %d; %d are written", ahead, most, out.Len())
		}
		close(d.goOn)
		if err := errors.Join(<-ended, store.Close()); err != nil {
			t.Fatal(err)
		}
		lines := bytes.Split(bytes.TrimSpace(out.Bytes()), []byte("\n"))
		if len(lines) != conversations*(messages+2) {
			t.Errorf("%d lines are written", len(lines))
		}
		for i, line := range lines {
			if !bytes.HasPrefix(line, fmt.Appendf(nil, `{"position":%d,`, i+1)) {
				t.Fatalf("line %d is %.40s", i+1, line)
			}
		}
	})
}
