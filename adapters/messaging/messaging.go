// Package messaging runs the projections as a Watermill subscription. The
// events table is the topic: there is no outbox and no second write. Rows and
// checkpoint of a page are buffered and handed to the store's writer as one
// job, so that a slow page never holds the database's write lock.
package messaging

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	wsql "github.com/ThreeDotsLabs/watermill-sql/v4/pkg/sql"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/message/router/middleware"

	"verbatim/eventstore"
	"verbatim/projections"
)

const (
	// topic is the name of the log in Watermill.
	topic = "events"
	// consumerGroup is the name of the projections as a reader of it.
	consumerGroup = "projections"
	// fallbackPoll is how often a reader looks that nobody woke. The bell wakes
	// it in well under a millisecond; this is for what another process wrote, and
	// for parked streams that somebody asked to try again.
	fallbackPoll = time.Second
	// retryPause keeps a database that fails from being asked without a pause.
	retryPause = time.Second
	// busyPage is how many new events in a page make the log a busy one. While
	// it is, events are read straight from the log, as after a start, and the
	// reader pauses between pages: rows that are written again and again are
	// written once a page, and the machine is left to the appends. A log with
	// fewer new events than that is followed at once.
	busyPage  = 4
	busyPause = 20 * time.Millisecond
	// closeTimeout bounds the end of a run: a page takes milliseconds.
	closeTimeout = 10 * time.Second
)

// Topic says how the log is read as a topic: the engine's own SELECT with the
// position to go on behind and the length of a page as its two arguments, in
// the order of positions, and how one of its rows is scanned.
type Topic struct {
	DB     *sql.DB
	Select string
	Scan   func(row interface{ Scan(...any) error }, r *eventstore.Recorded) error
}

// Subscription keeps a group of projections at the head of the log.
type Subscription struct {
	topic Topic
	group *projections.Group
	bell  *eventstore.Bell
	slog  *slog.Logger

	// Set by tests: when the fallback poll comes round, and the pause after an
	// error.
	polls <-chan time.Time
	pause time.Duration

	// The subscriber's goroutine commits pages, the router's projects events;
	// they take turns, but for the moment in which a subscription is closed.
	mu    sync.Mutex
	count int // events since the last page
}

// New returns a subscription of group to the log, woken by bell.
func New(t Topic, group *projections.Group, bell *eventstore.Bell, logger *slog.Logger) *Subscription {
	return &Subscription{topic: t, group: group, bell: bell, slog: logger, pause: retryPause}
}

// Run loads the group, takes up what was parked, catches up straight from the
// log, and then follows it until the context is done; a page that is open then
// is committed first. It returns nil after an orderly end.
func (s *Subscription) Run(ctx context.Context) error {
	err := s.begin(ctx)
	for ctx.Err() == nil {
		if errors.Is(err, eventstore.ErrUnwritable) {
			s.slog.Error("the projections cannot catch up; it is tried again", "error", err)
			pause(ctx, s.pause)
		} else if !errors.Is(err, projections.ErrLostCheckpoint) && !errors.Is(err, projections.ErrOvertaken) {
			break
		} // somebody else has got further, and is not waited for
		err = s.begin(ctx)
	}
	if ctx.Err() != nil {
		return nil //nolint:nilerr // an orderly end; what was caught up is committed
	}
	if err != nil {
		return err
	}
	return s.follow(ctx)
}

// begin takes the group to the head straight from the log.
func (s *Subscription) begin(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.group.Load(ctx); err != nil {
		return err
	}
	if err := s.group.Retry(ctx, true); err != nil {
		return err
	}
	return s.group.CatchUp(ctx)
}

func (s *Subscription) follow(ctx context.Context) error {
	latch, stop := s.bell.Listen()
	defer stop()
	polls := s.polls
	if polls == nil {
		ticker := time.NewTicker(fallbackPoll)
		defer ticker.Stop()
		polls = ticker.C
	}
	noDeadline := time.Duration(0) // half-done work would be committed at a deadline
	logger := quiet{s.slog, ctx.Done()}
	subscriber, err := wsql.NewSubscriber(beginner{s}, wsql.SubscriberConfig{
		ConsumerGroup:  consumerGroup,
		AckDeadline:    &noDeadline,
		SchemaAdapter:  schema{s.topic, s.group},
		OffsetsAdapter: offsets{s.group},
		BackoffManager: &waiter{ctx: ctx, sub: s, latch: latch, polls: polls},
	}, logger)
	if err != nil {
		return fmt.Errorf("make subscriber: %w", err)
	}
	router, err := message.NewRouter(message.RouterConfig{CloseTimeout: closeTimeout}, logger)
	if err != nil {
		return fmt.Errorf("make router: %w", err)
	}
	router.AddMiddleware(middleware.CorrelationID, middleware.Recoverer)
	router.AddConsumerHandler(consumerGroup, topic, subscriber, s.handle)

	// A cancelled context would drop what was projected since the last commit;
	// closing the subscriber commits it.
	ended := make(chan error, 1)
	go func() { ended <- router.Run(context.WithoutCancel(ctx)) }()
	select {
	case <-router.Running(): // before that, closing would wait for handlers that never begin
	case err = <-ended:
		return fmt.Errorf("start router: %w", err)
	}
	select {
	case err = <-ended:
		return errors.Join(errors.New("the router stopped by itself"), err)
	case <-ctx.Done():
	}
	return errors.Join(subscriber.Close(), router.Close(), <-ended)
}

// handle projects one message. It never fails: an event that a projection
// cannot take is parked by the group. A message for which the subscriber waits
// no longer is left: its page has ended without it, and it comes again.
func (s *Subscription) handle(m *message.Message) error {
	r, err := Event(m)
	if err != nil {
		return err // not a message of ours; it is sent again until somebody looks
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if m.Context().Err() != nil {
		return nil // nobody hears of it
	}
	s.group.Project(m.Context(), &r)
	s.count++
	return nil
}

// takeCount returns how many events the last page had.
func (s *Subscription) takeCount() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.count
	s.count = 0
	return n
}

func (s *Subscription) commit(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.group.Commit(ctx)
}

func (s *Subscription) discard(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.group.Discard(ctx)
}

// catchUp projects what is new straight from the log, and returns how much it
// was.
func (s *Subscription) catchUp(ctx context.Context) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.group.Position()
	err := s.group.CatchUp(ctx)
	return int(s.group.Position() - before), err
}

// Between calls do while nothing is projected; see projections.Group.
func (s *Subscription) Between(ctx context.Context, do func(ctx context.Context) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.group.Between(ctx, do)
}

func (s *Subscription) retry(ctx context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.group.Retry(ctx, false); errors.Is(err, projections.ErrOvertaken) {
		s.slog.Debug("parked streams are tried again at the next poll", "error", err)
	} else if err != nil && ctx.Err() == nil {
		s.slog.Error("parked streams could not be tried again", "error", err)
	}
}

// waiter waits between pages: not at all behind a page with messages, else for
// the bell. Watermill calls it in the subscriber's goroutine.
type waiter struct {
	ctx   context.Context //nolint:containedctx // of the run; Watermill hands none on
	sub   *Subscription
	latch <-chan struct{}
	polls <-chan time.Time
}

// HandleError returns at once if there is more to read, and when there is.
func (w *waiter) HandleError(_ watermillLogger, noMessage bool, err error) time.Duration {
	if w.ctx.Err() != nil {
		return 0 // about to be closed
	}
	if errors.Is(err, projections.ErrOvertaken) {
		// It comes again at once, as it is now. A backfill does that to it once.
		w.sub.slog.Debug("a page was dropped: a backfill has gone over to live events", "error", err)
		return 0
	}
	if errors.Is(err, projections.ErrVoid) {
		w.sub.slog.Debug("a page is projected again, for a person was erased meanwhile")
		return 0
	}
	if err != nil {
		w.sub.slog.Error("a page could not be projected; it is tried again", "error", err)
		pause(w.ctx, w.sub.pause)
		return 0
	}
	if noMessage {
		select {
		case <-w.latch:
		case <-w.polls:
			w.sub.retry(w.ctx)
		case <-w.ctx.Done():
		}
		return 0
	}
	w.poll()
	for n := w.sub.takeCount(); n >= busyPage; w.poll() {
		if n < projections.PageSize && !pause(w.ctx, busyPause) {
			return 0
		}
		if n, err = w.sub.catchUp(w.ctx); err != nil {
			return w.HandleError(nil, false, err)
		}
	}
	return 0
}

// poll does what is due at a poll. A log in which something happens all the time
// must not keep it from coming round.
func (w *waiter) poll() {
	select {
	case <-w.polls:
		w.sub.retry(w.ctx)
	default:
	}
}

// pause returns false if the context ends before it.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
