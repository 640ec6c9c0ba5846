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
	"text/tabwriter"
	"time"
)

type projectionView struct {
	Name       string  `json:"name"`
	Position   int64   `json:"position"`
	LagEvents  int64   `json:"lag_events"`
	LagSeconds float64 `json:"lag_seconds"`
	Parked     int     `json:"parked"`
	LastError  *struct {
		At    time.Time `json:"at"`
		Error string    `json:"error"`
	} `json:"last_error"`
	Rebuild json.RawMessage `json:"rebuild"`
}

type rebuildView struct {
	State       string    `json:"state"`
	Phase       string    `json:"phase"`
	Error       string    `json:"error"`
	Position    int64     `json:"position"`
	Target      int64     `json:"target"`
	AskedAt     time.Time `json:"asked_at"`
	Differences struct {
		Missing int64 `json:"missing"`
		Surplus int64 `json:"surplus"`
		Changed int64 `json:"changed"`
	} `json:"differences"`
}

func (r *rebuildView) ended() bool { return r.State != "waiting" && r.State != "running" }

// String says in a few words how a rebuild stands.
func (r *rebuildView) String() string {
	switch r.State {
	case "running":
		return fmt.Sprintf("%s, %d of %d", r.Phase, r.Position, r.Target)
	case "done":
		d := &r.Differences
		return fmt.Sprintf("done, %d rows were missing, %d too many, %d others", d.Missing, d.Surplus, d.Changed)
	case "failed":
		return "failed: " + r.Error
	default:
		return r.State
	}
}

type parkedView struct {
	Projection string `json:"projection"`
	Stream     string `json:"stream"`
	Position   int64  `json:"position"`
	Attempts   int    `json:"attempts"`
	Error      string `json:"error"`
}

func projectionsVerb(ctx context.Context, sh *shell, args []string) error {
	what, rest, err := sh.choose("projections", args, "list", "retry")
	if err != nil {
		return err
	}
	if what == "retry" {
		var projection string
		define := func(fs *flag.FlagSet) {
			fs.StringVar(&projection, "projection", "", "only what this projection has parked")
		}
		return act(ctx, sh, "projections retry", rest, nil, define, func(c *client, _ []string) error {
			return sh.callAndPrint(ctx, c, http.MethodPost, "/v1/projections/retry", map[string]string{"projection": projection})
		})
	}
	return act(ctx, sh, "projections list", rest, nil, nil, func(c *client, _ []string) error {
		if sh.json {
			return sh.callAndPrint(ctx, c, http.MethodGet, "/v1/projections", nil)
		}
		var answer struct {
			Head        int64            `json:"head"`
			Projections []projectionView `json:"projections"`
			Parked      []parkedView     `json:"parked"`
		}
		if err := c.call(ctx, http.MethodGet, "/v1/projections", nil, &answer); err != nil {
			return err
		}
		fmt.Fprintf(sh.out, "the log is at %d\n", answer.Head)
		tab := tabwriter.NewWriter(sh.out, 0, 4, 2, ' ', 0)
		fmt.Fprintln(tab, strings.Join([]string{"NAME", "POSITION", "BEHIND", "PARKED", "REBUILD", "LAST ERROR"}, "\t"))
		for i := range answer.Projections {
			cells, err := answer.Projections[i].cells()
			if err != nil {
				return err
			}
			fmt.Fprintln(tab, strings.Join(cells, "\t"))
		}
		if err := tab.Flush(); err != nil {
			return err
		}
		for _, p := range answer.Parked {
			fmt.Fprintf(sh.out, "parked in %s at %d (%s), %d attempts: %s\n", p.Projection, p.Position, p.Stream, p.Attempts, p.Error)
		}
		return nil
	})
}

func (p *projectionView) cells() ([]string, error) {
	behind, rebuild, last := "-", "-", "-"
	if p.LagEvents > 0 {
		behind = fmt.Sprintf("%d events, %gs", p.LagEvents, p.LagSeconds)
	}
	if p.LastError != nil {
		last = p.LastError.At.Format(time.DateTime) + " " + p.LastError.Error
	}
	if p.Rebuild != nil {
		var r rebuildView
		if err := json.Unmarshal(p.Rebuild, &r); err != nil {
			return nil, err
		}
		rebuild = r.String()
	}
	return []string{p.Name, strconv.FormatInt(p.Position, 10), behind, strconv.Itoa(p.Parked), rebuild, last}, nil
}

// rebuildProjection makes a read model anew, or no longer.
func rebuildProjection(ctx context.Context, sh *shell, args []string) error {
	var wait, cancel bool
	define := func(fs *flag.FlagSet) {
		fs.BoolVar(&wait, "wait", false, "wait until the new rows serve, and say what was found")
		fs.BoolVar(&cancel, "cancel", false, "end the rebuild that waits or runs: what serves goes on serving")
	}
	return act(ctx, sh, "rebuild-projection", args, []string{"NAME"}, define, func(c *client, names []string) error {
		path := "/v1/projections/" + url.PathEscape(names[0]) + "/rebuild"
		if wait && cancel {
			return usage("--wait and --cancel contradict each other: leave one of them out")
		}
		if cancel {
			return sh.callAndPrint(ctx, c, http.MethodDelete, path, nil)
		}
		if !wait {
			return sh.callAndPrint(ctx, c, http.MethodPost, path, nil)
		}
		var r rebuildView
		if err := c.call(ctx, http.MethodPost, path, nil, &r); err != nil {
			return err
		}
		return sh.awaitRebuild(ctx, c, names[0], r.AskedAt)
	})
}

// awaitRebuild follows a rebuild to its end and prints it as it is then. A terminal
// is shown how far it has got.
func (sh *shell) awaitRebuild(ctx context.Context, c *client, name string, asked time.Time) error {
	terminal := isTerminal(sh.err)
	tick := time.NewTicker(jobPoll)
	defer tick.Stop()
	for {
		raw, err := findRebuild(ctx, c, name)
		if err != nil {
			return err
		}
		var r rebuildView
		if err := json.Unmarshal(raw, &r); err != nil {
			return err
		}
		if !r.AskedAt.Equal(asked) {
			return fmt.Errorf("%s is being rebuilt once more meanwhile; verbatim projections list shows how far that is", name)
		}
		if terminal {
			fmt.Fprintf(sh.err, "\r\x1b[K%s", r.String())
		}
		if r.ended() {
			if terminal {
				fmt.Fprintln(sh.err)
			}
			if err := sh.printAnswer(raw); err != nil {
				return err
			}
			if r.State == "cancelled" {
				return fmt.Errorf("the rebuild of %s was cancelled, and it is as it was", name)
			}
			if r.State != "done" {
				return fmt.Errorf("%s could not be rebuilt, and is as it was: %s", name, r.Error)
			}
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("the rebuild of %s goes on without this command: %w", name, ctx.Err())
		}
	}
}

// findRebuild returns the last rebuild of a projection.
func findRebuild(ctx context.Context, c *client, name string) (json.RawMessage, error) {
	var answer struct {
		Projections []projectionView `json:"projections"`
	}
	if err := c.call(ctx, http.MethodGet, "/v1/projections", nil, &answer); err != nil {
		return nil, err
	}
	for _, p := range answer.Projections {
		if p.Name == name && p.Rebuild != nil {
			return p.Rebuild, nil
		}
	}
	return nil, fmt.Errorf("the server knows of no rebuild of %s any more", name)
}
