package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// replay sends an endpoint the past, or says what that would be.
func replay(ctx context.Context, sh *shell, args []string) error {
	var endpointID, events string
	var wait, dryRun, diff bool
	var rate int
	texts, positions := make(map[string]*string), make(map[string]*int64)
	define := func(fs *flag.FlagSet) {
		fs.StringVar(&endpointID, "endpoint", "", "the endpoint's id")
		for _, f := range []struct{ name, usage string }{
			{"since", "only what happened then or later (2026-03-01T12:00:00Z)"},
			{"until", "only what happened before"},
			{"conversation", "only the conversation with this id"},
			{"only", "failed: what was given up; missing: what nothing is on record of; all: both, and what was delivered (default all)"},
		} {
			texts[f.name] = fs.String(f.name, "", f.usage)
		}
		positions["from"] = fs.Int64("from", 0, "only events at this position or behind it")
		positions["to"] = fs.Int64("to", 0, "only events at this position or before it")
		fs.StringVar(&events, "events", "", "only these events, separated by commas: facts, groups of facts (conversation.*), or the dialect's own names")
		fs.IntVar(&rate, "rate", 0, "deliveries a second; 0 is as fast as the endpoint takes them")
		fs.BoolVar(&dryRun, "dry-run", false, "send nothing, and say what would be sent")
		fs.BoolVar(&diff, "diff", false, "with -dry-run, compare the bodies with those that were accepted")
		fs.BoolVar(&wait, "wait", false, "wait until everything has ended, and print the receipt")
	}
	return act(ctx, sh, "replay", args, nil, define, func(c *client, _ []string) error {
		switch {
		case endpointID == "":
			return usage("replay wants --endpoint ID; verbatim endpoints list shows them")
		case diff && !dryRun:
			return usage("--diff is for --dry-run")
		case dryRun && wait:
			return usage("there is nothing to wait for in a dry run; leave out --wait")
		}
		body := make(map[string]any)
		for name, value := range texts {
			if *value != "" {
				body[name] = *value
			}
		}
		for name, value := range positions {
			if *value != 0 {
				body[name] = *value
			}
		}
		if events != "" {
			body["events"] = strings.Split(events, ",")
		}
		if rate != 0 {
			body["rate"] = rate
		}
		path := endpointPath(endpointID) + "/replays"
		if dryRun {
			body["dry_run"], body["diff"] = true, diff
			return sh.dryRun(ctx, c, path, body)
		}
		if !wait {
			return sh.callAndPrint(ctx, c, http.MethodPost, path, body)
		}
		var r replayView
		if err := c.call(ctx, http.MethodPost, path, body, &r); err != nil {
			return err
		}
		return sh.awaitReplay(ctx, c, r)
	})
}

// dryRunView is one page of a dry run, or all of them together.
type dryRunView struct {
	DryRun    bool            `json:"dry_run"`
	Selection json.RawMessage `json:"selection"`
	Complete  bool            `json:"complete"`
	Next      string          `json:"next,omitempty"`
	Count     int64           `json:"count"`
	Left      int64           `json:"left"`
	Bytes     int64           `json:"bytes"`
	Unmade    int64           `json:"unmade,omitempty"`
	First     json.RawMessage `json:"first,omitempty"`
	Last      json.RawMessage `json:"last,omitempty"`
	Seconds   *float64        `json:"estimated_seconds,omitempty"`
	Basis     string          `json:"estimated_from,omitempty"`
	Diff      *dryRunDiff     `json:"diff,omitempty"`
}

type dryRunDiff struct {
	Identical int64    `json:"identical"`
	Different int64    `json:"different"`
	NeverSent int64    `json:"never_sent"`
	Examples  []string `json:"examples"`
}

// maxExamples bounds the examples over all pages, as a page does its own.
const maxExamples = 10

// add adds the page that follows.
func (v *dryRunView) add(page *dryRunView) {
	v.Selection, v.Complete, v.Next, v.DryRun = page.Selection, page.Complete, "", true
	v.Count += page.Count
	v.Left += page.Left
	v.Bytes += page.Bytes
	v.Unmade += page.Unmade
	if v.First == nil {
		v.First = page.First
	}
	if page.Last != nil {
		v.Last = page.Last
	}
	if page.Seconds != nil {
		seconds := *page.Seconds
		if v.Seconds != nil {
			seconds += *v.Seconds
		}
		v.Seconds, v.Basis = &seconds, page.Basis
	}
	if page.Diff == nil {
		return
	}
	if v.Diff == nil {
		v.Diff = &dryRunDiff{Examples: []string{}}
	}
	v.Diff.Identical += page.Diff.Identical
	v.Diff.Different += page.Diff.Different
	v.Diff.NeverSent += page.Diff.NeverSent
	v.Diff.Examples = append(v.Diff.Examples, page.Diff.Examples...)
	v.Diff.Examples = v.Diff.Examples[:min(len(v.Diff.Examples), maxExamples)]
}

// dryRun asks page after page, and prints their sum.
func (sh *shell) dryRun(ctx context.Context, c *client, path string, body map[string]any) error {
	terminal := isTerminal(sh.err)
	var sum dryRunView
	for {
		var page dryRunView
		if err := c.call(ctx, http.MethodPost, path, body, &page); err != nil {
			return err
		}
		sum.add(&page)
		if page.Next == "" {
			break
		}
		if terminal {
			fmt.Fprintf(sh.err, "\r%d deliveries so far", sum.Count)
		}
		body["cursor"] = page.Next
	}
	if terminal {
		fmt.Fprint(sh.err, "\r")
	}
	if sh.json {
		sh.printJSON(sh.out, sum)
		return nil
	}
	b, err := json.MarshalIndent(sum, "", "  ")
	if err != nil {
		return err
	}
	fmt.Fprintln(sh.out, string(b))
	return nil
}

type replayView struct {
	ID        string          `json:"id"`
	Kind      string          `json:"kind"`
	State     string          `json:"state"`
	Error     string          `json:"error"`
	Position  int64           `json:"position"`
	To        int64           `json:"to"`
	Selected  int64           `json:"selected"`
	Pending   int64           `json:"pending"`
	Delivered int64           `json:"delivered"`
	Parked    int64           `json:"parked"`
	Created   time.Time       `json:"created_at"`
	Receipt   json.RawMessage `json:"receipt"`
}

func (r *replayView) progress() string {
	to := "?"
	if r.To > 0 {
		to = strconv.FormatInt(r.To, 10)
	}
	return fmt.Sprintf("at %d of %s: %d found, %d pending, %d delivered, %d parked", r.Position, to, r.Selected, r.Pending, r.Delivered, r.Parked)
}

// awaitReplay follows a replay until its receipt is there, and prints it. A
// terminal is shown how far it has got.
func (sh *shell) awaitReplay(ctx context.Context, c *client, r replayView) error {
	terminal := isTerminal(sh.err)
	tick := time.NewTicker(jobPoll)
	defer tick.Stop()
	path := replayPath(r.ID)
	for r.Receipt == nil {
		if terminal {
			fmt.Fprintf(sh.err, "\r%s", r.progress())
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("the replay %s goes on without this command: %w", r.ID, ctx.Err())
		}
		r = replayView{}
		if err := c.call(ctx, http.MethodGet, path, nil, &r); err != nil {
			return err
		}
	}
	if terminal {
		fmt.Fprintf(sh.err, "\r%s\n", r.progress())
	}
	if err := sh.callAndPrint(ctx, c, http.MethodGet, path, nil); err != nil {
		return err
	}
	if r.State != "done" {
		return fmt.Errorf("the replay %s is %s: %s", r.ID, r.State, r.Error)
	}
	return nil
}

func replayPath(id string) string { return "/v1/replays/" + url.PathEscape(id) }

// replays looks after those there are.
func replays(ctx context.Context, sh *shell, args []string) error {
	what, rest, err := sh.choose("replays", args, "list", "show", "pause", "resume", "cancel")
	if err != nil {
		return err
	}
	name := "replays " + what
	switch what {
	case "list":
		limit := shownDeliveries
		define := func(fs *flag.FlagSet) { fs.IntVar(&limit, "limit", limit, "how many to list at most, newest first") }
		return act(ctx, sh, name, rest, []string{"ENDPOINT"}, define, func(c *client, names []string) error {
			list, err := listSome(ctx, c, endpointPath(names[0])+"/replays", url.Values{}, limit)
			if err != nil {
				return err
			}
			return sh.printList(list, []string{"ID", "KIND", "STATE", "POSITION", "FOUND", "CREATED"}, func(raw json.RawMessage) ([]string, error) {
				var r replayView
				err := json.Unmarshal(raw, &r)
				return []string{
					r.ID, r.Kind, r.State, strconv.FormatInt(r.Position, 10), strconv.FormatInt(r.Selected, 10), r.Created.Format(time.DateTime),
				}, err
			})
		})
	case "show":
		wait := false
		define := func(fs *flag.FlagSet) { fs.BoolVar(&wait, "wait", false, "wait until everything has ended") }
		return act(ctx, sh, name, rest, []string{"REPLAY"}, define, func(c *client, names []string) error {
			if wait {
				return sh.awaitReplay(ctx, c, replayView{ID: names[0]})
			}
			return sh.callAndPrint(ctx, c, http.MethodGet, replayPath(names[0]), nil)
		})
	}
	return act(ctx, sh, name, rest, []string{"REPLAY"}, nil, func(c *client, names []string) error {
		return sh.callAndPrint(ctx, c, http.MethodPost, replayPath(names[0])+"/"+what, nil)
	})
}
