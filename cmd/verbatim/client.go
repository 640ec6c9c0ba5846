package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"time"

	"verbatim/adapters/sqlite"
	"verbatim/domain/endpoint"
	"verbatim/projections"
)

// clientTimeout bounds one call of a command line tool to its server.
const clientTimeout = 30 * time.Second

// maxAnswer bounds what is read of an answer: a page of a feed whose last body is
// the largest there can be.
const maxAnswer = projections.FeedBytes + endpoint.MaxBodyLimit + 1<<20

// client speaks to the HTTP interface as the operator of a data folder.
type client struct {
	base    string
	token   string
	account string
	http    *http.Client
}

// connect returns a client for the configured data folder: of the server that
// serves it or, if there is none, of one that is started for the occasion on a
// port of this machine, which sends nothing if the client only asks. Whoever may
// read the folder is its operator.
func connect(ctx context.Context, sh *shell, cfg *config, account string, asking bool) (c *client, done func() error, err error) {
	dir, err := cfg.folder()
	if err != nil {
		return nil, nil, err
	}
	c = &client{account: account, http: &http.Client{Timeout: clientTimeout}}
	if info, serving := sqlite.Serving(dir); serving {
		c.base, c.token = "http://"+reachable(info.Addr), info.Token
		return c, func() error { return nil }, nil
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	app, err := newApp(ctx, cfg, cfg.logger(sh.err), listener)
	if err != nil {
		return nil, nil, err
	}
	app.asking = asking
	app.janitor = nil // how long things are kept is for whoever serves to say
	c.base, c.token = "http://"+listener.Addr().String(), app.token
	running, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- app.run(running) }()
	return c, func() error { stop(); return <-ended }, nil
}

// reachable turns an address that a server listens on into one to call it at.
func reachable(addr string) string {
	at, err := netip.ParseAddrPort(addr)
	if err != nil || !at.Addr().IsUnspecified() {
		return addr
	}
	return net.JoinHostPort("localhost", strconv.Itoa(int(at.Port())))
}

// call sends body and decodes the answer into answer; both may be nil. A
// problem document becomes a fault with its code.
func (c *client) call(ctx context.Context, method, path string, body, answer any) error {
	var in io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return err
		}
		in = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, in)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	req.Header.Set("Verbatim-Account", c.account)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req) //nolint:gosec // the operator's own server
	if err != nil {
		return &fault{exit: exitUnreachable, code: "unreachable", err: fmt.Errorf("the server does not answer: %w", err)}
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return &fault{exit: exitUnreachable, code: "unreachable", err: fmt.Errorf("read the answer: %w", err)}
	}
	if resp.StatusCode >= http.StatusBadRequest {
		var problem struct {
			Code   string `json:"code"`
			Detail string `json:"detail"`
		}
		if json.Unmarshal(b, &problem) != nil || problem.Code == "" {
			return fmt.Errorf("%s %s: %s", method, path, resp.Status)
		}
		return &fault{exit: exitFailed, code: problem.Code, err: fmt.Errorf("%s: %s", problem.Code, problem.Detail)}
	}
	if answer == nil || len(b) == 0 {
		return nil
	}
	return json.Unmarshal(b, answer)
}

// listAll reads every page of a list.
func listAll[T any](ctx context.Context, c *client, path string) ([]T, error) {
	var all []T
	cursor := ""
	for {
		var page struct {
			Data []T `json:"data"`
			Page struct {
				Next string `json:"next"`
			} `json:"page"`
		}
		if err := c.call(ctx, http.MethodGet, path+"?limit=200&cursor="+url.QueryEscape(cursor), nil, &page); err != nil {
			return nil, err
		}
		all = append(all, page.Data...)
		if cursor = page.Page.Next; cursor == "" {
			return all, nil
		}
	}
}
