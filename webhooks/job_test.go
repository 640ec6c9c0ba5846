package webhooks_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"testing"
	"time"

	"verbatim/eventstore"
	"verbatim/webhooks"
)

// oneJob is a store with one job, of three batches.
type oneJob struct {
	job  webhooks.Job
	err  error
	lost error // of NextJob
}

func (s *oneJob) NextJob(context.Context, string) (webhooks.Job, bool, error) {
	return s.job, s.job.State == webhooks.JobRunning, s.lost
}

func (s *oneJob) RetryParked(_ context.Context, j webhooks.Job, _ time.Time) (webhooks.Job, []webhooks.Lane, error) {
	if s.err != nil {
		return j, []webhooks.Lane{{EndpointID: "never"}}, s.err
	}
	if s.job.Done++; s.job.Done == 3 {
		s.job.State = webhooks.JobDone
	}
	return s.job, []webhooks.Lane{{EndpointID: "ep", Key: "a"}, {EndpointID: "ep", Key: "b"}}, nil
}

// A worker whose store fails it tries again, tells of lanes once they are
// committed, and sleeps until it is rung when there is no job.
func TestJobsAreTriedAgain(t *testing.T) {
	t.Parallel()
	store := &oneJob{job: webhooks.Job{ID: "job_1", State: webhooks.JobRunning}}
	var reloads []string
	w := webhooks.NewJobs(store, func(l webhooks.Lane) { reloads = append(reloads, l.EndpointID+" "+l.Key) }, time.Now, slog.New(slog.DiscardHandler))
	step := func(worked bool, wait time.Duration, failed bool) {
		t.Helper()
		gotWorked, gotWait, err := w.Step(t.Context())
		if gotWorked != worked || gotWait != wait || (err != nil) != failed {
			t.Fatalf("worked %t, wait %v, error %v", gotWorked, gotWait, err)
		}
	}
	store.lost = errors.New("disk full")
	step(false, webhooks.Pause, true)
	store.lost, store.err = nil, errors.New("disk full")
	step(false, webhooks.Pause, true)
	store.err = eventstore.ErrBusy // which is no fault
	step(false, webhooks.Pause, false)
	store.err = nil
	step(true, webhooks.JobBreath, false)
	if want := []string{"ep a", "ep b"}; !slices.Equal(reloads, want) {
		t.Errorf("reloaded %v, want %v", reloads, want)
	}
	step(true, webhooks.JobBreath, false)
	step(true, webhooks.JobBreath, false)
	step(false, webhooks.Forever, false)
	w.Ring()
	w.Ring() // twice before anybody listens is once
	<-w.Rung()
	select {
	case <-w.Rung():
		t.Error("rung again")
	default:
	}
}

func TestSelects(t *testing.T) {
	t.Parallel()
	asked := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	j := webhooks.Job{Selection: webhooks.Selection{Reasons: []string{webhooks.ReasonExhausted}}, CreatedAt: asked}
	ended, late := asked, asked.Add(time.Microsecond)
	for _, c := range []struct {
		d    webhooks.Delivery
		want bool
	}{
		{webhooks.Delivery{State: webhooks.Parked, Reason: webhooks.ReasonExhausted, EndedAt: &ended}, true},
		{webhooks.Delivery{State: webhooks.Parked, Reason: webhooks.ReasonExhausted, EndedAt: &late}, false},
		{webhooks.Delivery{State: webhooks.Parked, Reason: webhooks.ReasonTooLarge, EndedAt: &ended}, false},
		{webhooks.Delivery{State: webhooks.Cancelled, Reason: webhooks.ReasonExhausted, EndedAt: &ended}, false},
		{webhooks.Delivery{State: webhooks.Pending, Reason: webhooks.ReasonExhausted}, false},
	} {
		if got := j.Selects(&c.d); got != c.want {
			t.Errorf("%+v: %t, want %t", c.d, got, c.want)
		}
	}
}
