package httpapi

import (
	"context"
	"net/http"
	"strings"
	"time"

	"verbatim/domain"
	"verbatim/domain/endpoint"
	"verbatim/webhooks"
)

// jobUnknown is the code for a job that is not there.
const jobUnknown domain.Refusal = "job.not_found"

func (s *Server) jobRoutes() {
	register(s, withStatus(recordOperation("retry-failed", "/v1/endpoints/{id}/retry-failed",
		"Send again what was given up", "A job that makes the parked deliveries of the endpoint pending again, oldest first; those that are parked while "+
			"it runs are not among them. Of a disabled endpoint they wait until it is enabled. The body may be empty: then it is all of them. "+
			"One such job runs for an endpoint at a time."),
		http.StatusAccepted), s.retryFailed)
	register(s, withErrors(operation(http.MethodGet, "list-jobs", "/v1/jobs", tagDeliveries,
		"List jobs", "Newest first. Those that have ended are kept as long as deliveries that have."), http.StatusBadRequest), s.listJobs)
	register(s, operation(http.MethodGet, "get-job", "/v1/jobs/{id}", tagDeliveries, "Read how far a job has got", ""), s.getJob)
	register(s, withStatus(recordOperation("cancel-job", "/v1/jobs/{id}/cancel",
		"Stop a job", "What it has done stays done."), http.StatusOK), s.cancelJob)
}

// JobView is a job as its account sees it.
type JobView struct {
	ID         string            `json:"id" example:"job_01931b3e7c1f7d2a9d5e0a6f3c2b1a00"`
	Kind       string            `json:"kind" enum:"retry_failed"`
	EndpointID string            `json:"endpoint_id"`
	State      webhooks.JobState `json:"state" enum:"running,done,cancelled,failed"`
	Error      string            `json:"error,omitempty" doc:"Why it failed."`
	Total      *int64            `json:"total,omitempty" doc:"Deliveries that it is about. Absent where that is known only once it is done."`
	Done       int64             `json:"done" doc:"Deliveries that it has made pending again."`
	CreatedAt  time.Time         `json:"created_at"`
	EndedAt    *time.Time        `json:"ended_at,omitempty"`
}

func newJobView(j *webhooks.Job) JobView {
	return JobView{
		ID: j.ID, Kind: j.Kind, EndpointID: j.EndpointID, State: j.State, Error: j.Error,
		Total: j.Total, Done: j.Done, CreatedAt: j.CreatedAt, EndedAt: j.EndedAt,
	}
}

type retryFailedBody struct {
	From    string   `json:"from,omitempty" format:"date-time" doc:"Only deliveries created then or later."`
	To      string   `json:"to,omitempty" format:"date-time" doc:"Only deliveries created before."`
	Events  []string `json:"events,omitempty" doc:"Only deliveries of these events: facts, groups of them (conversation.*), or the dialect's own names."`
	Reasons []string `json:"reasons,omitempty" enum:"exhausted,body too large" doc:"Only deliveries that were parked for one of these reasons."`
}

type retryFailedInput struct {
	EndpointPath
	Body *retryFailedBody
}

func (s *Server) retryFailed(ctx context.Context, in *retryFailedInput) (*jobStarted, error) {
	row, err := s.endpointRow(ctx, in.ID)
	if err == nil && row.Deleted {
		err = endpoint.NotRegistered
	}
	if err != nil {
		return nil, err
	}
	b, c := orZero(in.Body), callOf(ctx)
	job := webhooks.Job{
		ID: "job_" + strings.ReplaceAll(newID(), "-", ""), Kind: webhooks.RetryFailed, EndpointID: row.ID, Account: c.account,
		Selection: webhooks.Selection{Events: b.Events, Reasons: b.Reasons},
		State:     webhooks.JobRunning, CreatedAt: s.now(),
	}
	if c.key != nil {
		job.Key = c.key.Name
	}
	if err := span(&job.Selection, b.From, b.To); err != nil {
		return nil, err
	}
	if err := s.checkEvents(&row, b.Events); err != nil {
		return nil, err
	}
	again, err := s.once(ctx, func() error {
		kept, added, err := s.cfg.Models.AddJob(ctx, job)
		if err != nil || added {
			job = kept
			return err
		}
		p := newProblem(http.StatusConflict, "job.running", "the job "+kept.ID+" does this for the endpoint already; wait for its end, or cancel it")
		p.header("Location", jobPath(kept.ID))
		return p
	})
	if err != nil {
		return nil, err
	}
	if again {
		var found bool
		if job, found, err = s.cfg.Models.JobByKey(ctx, c.account, c.key.Name); err == nil && !found {
			err = jobUnknown // it ended so long ago that it is not kept any more
		}
		if err != nil {
			return nil, err
		}
	} else {
		s.cfg.JobAdded()
	}
	out := changed(again, startedJob{newJobView(&job), row.Disabled})
	return &jobStarted{out.Replayed, jobPath(job.ID), out.Body}, nil
}

// startedJob is a job that was asked for.
type startedJob struct {
	JobView

	EndpointDisabled bool `json:"endpoint_disabled,omitempty" doc:"The endpoint is disabled: what becomes pending goes out when it is enabled."`
}

type jobStarted struct {
	Replayed string `header:"Idempotency-Replayed" doc:"true if it was asked for before, and not again."`
	Location string `header:"Location" doc:"Path of the job."`
	Body     startedJob
}

func jobPath(id string) string { return "/v1/jobs/" + id }

type listJobsInput struct {
	Endpoint string `query:"endpoint" doc:"Only those on this endpoint: its id."`
	Cursor   string `query:"cursor" doc:"page.next of the page before."`
	Limit    int    `query:"limit" minimum:"1" maximum:"200" default:"50"`
}

func (s *Server) listJobs(ctx context.Context, in *listJobsInput) (*listAnswer[JobView], error) {
	from, err := parseCursor(listJobs, in.Cursor)
	if err != nil {
		return nil, err
	}
	jobs, err := s.cfg.Models.Jobs(ctx, callOf(ctx).account, in.Endpoint, from.Name, in.Limit+1)
	if err != nil {
		return nil, err
	}
	views := make([]JobView, len(jobs))
	for i := range jobs {
		views[i] = newJobView(&jobs[i])
	}
	return newList(views, in.Limit, func(last JobView) cursor { return cursor{List: listJobs, Name: last.ID} }), nil
}

type pathJob struct {
	ID string `path:"id" doc:"Id of the job." example:"job_01931b3e7c1f7d2a9d5e0a6f3c2b1a00"`
}

// job returns a job of the account.
func (s *Server) job(ctx context.Context, id string) (webhooks.Job, error) {
	j, found, err := s.cfg.Models.Job(ctx, id)
	if err == nil && (!found || j.Account != callOf(ctx).account) {
		err = jobUnknown
	}
	return j, err
}

type jobAnswer struct{ Body JobView }

func (s *Server) getJob(ctx context.Context, in *pathJob) (*jobAnswer, error) {
	j, err := s.job(ctx, in.ID)
	return &jobAnswer{newJobView(&j)}, err
}

func (s *Server) cancelJob(ctx context.Context, in *pathJob) (*recordChanged[JobView], error) {
	j, err := s.job(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	again, err := s.once(ctx, func() error {
		done, err := s.cfg.Models.CancelJob(ctx, j.ID, s.now())
		if err != nil || done {
			return err
		}
		if j, err = s.job(ctx, in.ID); err != nil {
			return err
		}
		return newProblem(http.StatusConflict, "job.not_running", "the job is "+string(j.State)+"; only one that runs can be stopped")
	})
	if err != nil {
		return nil, err
	}
	if j, err = s.job(ctx, in.ID); err != nil {
		return nil, err
	}
	return changed(again, newJobView(&j)), nil
}
