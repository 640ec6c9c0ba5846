//go:build failpoints

package main

import (
	"context"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"verbatim/eventstore"
	"verbatim/projections"
	"verbatim/webhooks"
)

// failAt names where this build is killed, "after-append:17" for the seventeenth
// time that it comes there. Only tests build with the tag failpoints.
const failAt = "VERBATIM_FAIL_AT"

// A failPoint counts down to its end.
type failPoint struct {
	left atomic.Int64
}

// newFailPoint returns the fail point of that name. It does nothing unless it is
// the one that failAt names.
func newFailPoint(name string) *failPoint {
	p := &failPoint{}
	if point, count, _ := strings.Cut(os.Getenv(failAt), ":"); point == name {
		n, err := strconv.ParseInt(count, 10, 64)
		if err != nil || n < 1 {
			panic(failAt + ": " + point + " needs a number from 1")
		}
		p.left.Store(n)
	}
	return p
}

// reached ends the process if its time has come, as a power cut would: nothing
// that comes behind it is done.
func (p *failPoint) reached() {
	if p.left.Add(-1) == 0 {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
}

// failAfterAppend fails when a command is in the log and nobody was told.
func failAfterAppend(s eventstore.Store) eventstore.Store {
	return failingLog{s, newFailPoint("after-append")}
}

type failingLog struct {
	eventstore.Store

	point *failPoint
}

func (s failingLog) Append(ctx context.Context, c eventstore.Commit) (int64, error) {
	first, err := s.Store.Append(ctx, c)
	s.point.reached()
	return first, err
}

// failAfterProjection fails when a page is committed and nobody was told.
func failAfterProjection(s projections.Store) projections.Store {
	return failingModels{s, newFailPoint("after-projection")}
}

type failingModels struct {
	projections.Store

	point *failPoint
}

func (s failingModels) CommitPage(ctx context.Context, p *projections.Page) error {
	err := s.Store.CommitPage(ctx, p)
	s.point.reached()
	return err
}

// failAfterSend fails when a receiver has answered and nothing is on record.
func failAfterSend(s webhooks.Sender) webhooks.Sender {
	return failingSender{s, newFailPoint("after-send")}
}

type failingSender struct {
	webhooks.Sender

	point *failPoint
}

func (s failingSender) Send(ctx context.Context, r webhooks.Request) webhooks.Outcome {
	o := s.Sender.Send(ctx, r)
	s.point.reached()
	return o
}

// failAfterRecord fails when attempts are on record and nothing follows them.
func failAfterRecord(q webhooks.Queue) webhooks.Queue {
	return failingQueue{q, newFailPoint("after-record")}
}

type failingQueue struct {
	webhooks.Queue

	point *failPoint
}

func (q failingQueue) Record(ctx context.Context, reports []webhooks.Report) error {
	err := q.Queue.Record(ctx, reports)
	q.point.reached()
	return err
}

// failAfterOverwriting fails when some events of a person are overwritten.
func failAfterOverwriting(s projections.ErasureStore) projections.ErasureStore {
	return failingErasures{s, newFailPoint("after-overwriting")}
}

type failingErasures struct {
	projections.ErasureStore

	point *failPoint
}

func (s failingErasures) Overwrite(ctx context.Context, erasureID string, left []projections.Left) error {
	err := s.ErasureStore.Overwrite(ctx, erasureID, left)
	s.point.reached()
	return err
}

// failAfterReplay fails when a step of a replay is committed and nobody was told.
func failAfterReplay(s webhooks.ReplayStore) webhooks.ReplayStore {
	return failingReplays{s, newFailPoint("after-replay")}
}

type failingReplays struct {
	webhooks.ReplayStore

	point *failPoint
}

func (s failingReplays) StepReplay(
	ctx context.Context, before webhooks.Replay, step webhooks.ReplayStep, at time.Time,
) (webhooks.Replay, []webhooks.Lane, error) {
	after, lanes, err := s.ReplayStore.StepReplay(ctx, before, step, at)
	s.point.reached()
	return after, lanes, err
}
