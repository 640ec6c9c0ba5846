package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

const (
	// jobPoll is how often a command that waits for a job asks how far it has got.
	jobPoll = 250 * time.Millisecond
	// shownDeliveries is how many deliveries are listed unless more are asked for.
	shownDeliveries = 50
	// pageLimit is how many items a page of a list may have.
	pageLimit = 200
)

func redeliver(ctx context.Context, sh *shell, args []string) error {
	return act(ctx, sh, "redeliver", args, []string{"DELIVERY"}, nil, func(c *client, names []string) error {
		return sh.callAndPrint(ctx, c, http.MethodPost, "/v1/deliveries/"+url.PathEscape(names[0])+"/redeliver", nil)
	})
}

type deliveryView struct {
	ID       string    `json:"id"`
	Position int64     `json:"position"`
	Name     string    `json:"name"`
	State    string    `json:"state"`
	Reason   string    `json:"reason"`
	Attempts int       `json:"attempt_count"`
	DueAt    string    `json:"due_at"`
	Created  time.Time `json:"created_at"`
}

func deliveries(ctx context.Context, sh *shell, args []string) error {
	filters := map[string]*string{}
	limit := shownDeliveries
	define := func(fs *flag.FlagSet) {
		for _, f := range []struct{ name, usage string }{
			{"state", "only those in these states, separated by commas: pending, delivered, parked, cancelled"},
			{"event", "only those of this event: a fact, a group of facts (conversation.*), or the dialect's own name"},
			{"conversation", "only those of the conversation with this id"},
			{"replay", "only those that the replay or backfill with this id sent, and nothing since sent again"},
			{"from", "only those created then or later (2026-03-01T12:00:00Z)"},
			{"to", "only those created before"},
		} {
			filters[f.name] = fs.String(f.name, "", f.usage)
		}
		fs.IntVar(&limit, "limit", limit, "how many to list at most, newest first")
	}
	return act(ctx, sh, "deliveries", args, []string{"ENDPOINT"}, define, func(c *client, names []string) error {
		if limit < 1 {
			return usage("--limit must be 1 or more")
		}
		query := url.Values{}
		for name, value := range filters {
			if *value != "" {
				query.Set(name, *value)
			}
		}
		list, err := listSome(ctx, c, endpointPath(names[0])+"/deliveries", query, limit)
		if err != nil {
			return err
		}
		return sh.printList(list, []string{"ID", "POSITION", "EVENT", "STATE", "ATTEMPTS", "DUE", "REASON"}, func(raw json.RawMessage) ([]string, error) {
			var d deliveryView
			err := json.Unmarshal(raw, &d)
			if d.DueAt == "" {
				d.DueAt = "-"
			}
			return []string{d.ID, strconv.FormatInt(d.Position, 10), d.Name, d.State, strconv.Itoa(d.Attempts), d.DueAt, d.Reason}, err
		})
	})
}

// listSome reads pages of a list until it has limit items or the list ends.
func listSome(ctx context.Context, c *client, path string, query url.Values, limit int) ([]json.RawMessage, error) {
	var all []json.RawMessage
	for len(all) < limit {
		var page struct {
			Data []json.RawMessage `json:"data"`
			Page struct {
				Next string `json:"next"`
			} `json:"page"`
		}
		query.Set("limit", strconv.Itoa(min(limit-len(all), pageLimit)))
		if err := c.call(ctx, http.MethodGet, path+"?"+query.Encode(), nil, &page); err != nil {
			return nil, err
		}
		all = append(all, page.Data...)
		if page.Page.Next == "" {
			break
		}
		query.Set("cursor", page.Page.Next)
	}
	return all, nil
}

type jobView struct {
	ID    string `json:"id"`
	State string `json:"state"`
	Error string `json:"error"`
	Total *int64 `json:"total"`
	Done  int64  `json:"done"`
}

func (j *jobView) progress() string {
	if j.Total == nil {
		return fmt.Sprintf("%d deliveries are pending again", j.Done)
	}
	return fmt.Sprintf("%d of %d deliveries are pending again", j.Done, *j.Total)
}

// retryFailed makes what an endpoint did not take pending again.
func retryFailed(ctx context.Context, sh *shell, args []string) error {
	var from, to, events, reasons string
	var wait bool
	define := func(fs *flag.FlagSet) {
		fs.StringVar(&from, "from", "", "only deliveries created then or later (2026-03-01T12:00:00Z)")
		fs.StringVar(&to, "to", "", "only deliveries created before")
		fs.StringVar(&events, "events", "", "only deliveries of these events, separated by commas")
		fs.StringVar(&reasons, "reasons", "", "only deliveries that were given up for these reasons, separated by commas")
		fs.BoolVar(&wait, "wait", false, "wait until the job has ended")
	}
	return act(ctx, sh, "endpoints retry-failed", args, []string{"ID"}, define, func(c *client, names []string) error {
		body := make(map[string]any)
		for key, value := range map[string]string{"from": from, "to": to} {
			if value != "" {
				body[key] = value
			}
		}
		for key, value := range map[string]string{"events": events, "reasons": reasons} {
			if value != "" {
				body[key] = strings.Split(value, ",")
			}
		}
		path := endpointPath(names[0]) + "/retry-failed"
		if !wait {
			return sh.callAndPrint(ctx, c, http.MethodPost, path, body)
		}
		var job jobView
		if err := c.call(ctx, http.MethodPost, path, body, &job); err != nil {
			return err
		}
		return sh.awaitJob(ctx, c, job)
	})
}

// awaitJob follows a job to its end and prints it as it is then. A terminal is
// shown how far it has got.
func (sh *shell) awaitJob(ctx context.Context, c *client, job jobView) error {
	terminal := isTerminal(sh.err)
	tick := time.NewTicker(jobPoll)
	defer tick.Stop()
	path := "/v1/jobs/" + url.PathEscape(job.ID)
	for job.State == "running" {
		if terminal {
			fmt.Fprintf(sh.err, "\r%s", job.progress())
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("the job %s goes on without this command: %w", job.ID, ctx.Err())
		}
		if err := c.call(ctx, http.MethodGet, path, nil, &job); err != nil {
			return err
		}
	}
	if terminal {
		fmt.Fprintf(sh.err, "\r%s\n", job.progress())
	}
	if err := sh.callAndPrint(ctx, c, http.MethodGet, path, nil); err != nil {
		return err
	}
	if job.State != "done" {
		return fmt.Errorf("the job %s is %s: %s", job.ID, job.State, job.Error)
	}
	return nil
}

// isTerminal reports whether somebody watches what is written to w.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
