package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
)

const (
	// feedPage is how many events a page of a feed has at most.
	feedPage = 500
	// feedWait is how long one request waits when a feed is followed.
	feedWait = "20s"
)

// feed prints what an endpoint is sent, in the lines that rebuild writes.
func feed(ctx context.Context, sh *shell, args []string) error {
	var f feeding
	define := func(fs *flag.FlagSet) {
		fs.StringVar(&f.after, "after", "", "only what is behind this position, or what next said")
		fs.StringVar(&f.cursor, "cursor", "", "go on from this cursor, which the server keeps, and move it behind what was printed")
		fs.BoolVar(&f.follow, "follow", false, "wait for what happens next, until interrupted")
		fs.IntVar(&f.limit, "limit", 0, "how many to print at most; 0 is all of them")
	}
	return act(ctx, sh, "feed", args, []string{"ENDPOINT"}, define, func(c *client, names []string) error {
		switch {
		case f.after != "" && f.cursor != "":
			return usage("feed wants --after or --cursor, not both")
		case f.limit < 0:
			return usage("--limit must not be negative")
		}
		return f.run(ctx, sh, c, endpointPath(names[0])+"/feed")
	})
}

type feeding struct {
	after, cursor string
	follow        bool
	limit         int
}

func (f *feeding) run(ctx context.Context, sh *shell, c *client, path string) error {
	query := url.Values{}
	for name, value := range map[string]string{"after": f.after, "cursor": f.cursor} {
		if value != "" {
			query.Set(name, value)
		}
	}
	if f.follow {
		query.Set("wait", feedWait)
	}
	for printed := 0; ; {
		limit := feedPage
		if f.limit > 0 {
			limit = min(limit, f.limit-printed)
		}
		query.Set("limit", strconv.Itoa(limit))
		var page struct {
			Data []json.RawMessage `json:"data"`
			Next string            `json:"next"`
			More bool              `json:"more"`
		}
		if err := c.call(ctx, http.MethodGet, path+"?"+query.Encode(), nil, &page); err != nil {
			if f.follow && ctx.Err() != nil {
				return nil //nolint:nilerr // it was interrupted, as it wants to be
			}
			return err
		}
		for _, item := range page.Data {
			if _, err := fmt.Fprintf(sh.out, "%s\n", item); err != nil {
				return err // and the cursor stays before what was not taken
			}
		}
		if printed += len(page.Data); f.cursor == "" {
			query.Set("after", page.Next)
		} else {
			query.Set("ack", page.Next)
		}
		if printed == f.limit && f.limit > 0 || !page.More && !f.follow {
			return f.end(ctx, c, path, page.Next)
		}
	}
}

// end has the server know of the last page.
func (f *feeding) end(ctx context.Context, c *client, path, next string) error {
	if f.cursor == "" {
		return nil
	}
	query := url.Values{"cursor": {f.cursor}, "ack": {next}, "limit": {"1"}}
	return c.call(ctx, http.MethodGet, path+"?"+query.Encode(), nil, nil)
}
