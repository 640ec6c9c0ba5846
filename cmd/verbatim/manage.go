package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"verbatim/adapters/sqlite"
)

// The commands of this file manage what a server has. They speak to it over
// HTTP, so that there is one way in, with one set of rules.

// act parses the flags of a subcommand, connects, and calls do.
func act(
	ctx context.Context, sh *shell, name string, args, wants []string, define func(*flag.FlagSet),
	do func(c *client, names []string) error,
) (err error) {
	fs := sh.flags(name, strings.Join(wants, " "))
	cfg, finish, err := loadConfig(sh, fs, "database", "secret-key-file", "allow-private-networks", "allow-hosts", "allow-http", "webhook-proxy", "log-level")
	if err != nil {
		return err
	}
	account := fs.String("account", defaultAccount, "account to act in")
	if define != nil {
		define(fs)
	}
	names, err := parse(fs, args, wants...)
	if err == nil {
		err = finish()
	}
	if err != nil {
		return err
	}
	if _, set := sh.lookup("VERBATIM_LOG_LEVEL"); !set && cfg.LogLevel == "info" {
		cfg.LogLevel = "warn" // what a server says while it starts is no answer
	}
	if !strings.HasSuffix(name, " create") { // of a folder that is not there nothing can be asked
		dir, err := cfg.folder()
		if err == nil {
			err = sqlite.Find(dir)
		}
		if err != nil {
			return openFault(err)
		}
	}
	c, done, err := connect(ctx, sh, cfg, *account, asks(name))
	if err != nil {
		return openFault(err)
	}
	defer func() { err = errors.Join(err, done()) }()
	return do(c, names)
}

// asks reports whether a command changes nothing and waits for nothing, so that it
// need not wait for receivers either.
func asks(name string) bool {
	switch name {
	case "endpoints list", "endpoints show", "deliveries", "feed", "keys list", "replays list", "projections list":
		return true
	default:
		return false
	}
}

// choose splits a command's arguments into the subcommand and the rest.
func (sh *shell) choose(name string, args []string, choices ...string) (string, []string, error) {
	if len(args) > 0 && slices.Contains([]string{"-h", "-help", "--help"}, args[0]) {
		fmt.Fprintf(sh.err, "Usage: verbatim %s %s [flags]\n\nverbatim %s %s -h shows the flags of one of them.\n",
			name, strings.Join(choices, "|"), name, choices[0])
		return "", nil, flag.ErrHelp
	}
	for _, c := range choices {
		if len(args) > 0 && args[0] == c {
			return c, args[1:], nil
		}
	}
	return "", nil, usage("%s wants one of %s", name, strings.Join(choices, ", "))
}

type endpointView struct {
	ID       string   `json:"id"`
	URL      string   `json:"url"`
	Dialect  string   `json:"dialect"`
	Events   []string `json:"events"`
	Disabled bool     `json:"disabled"`
	Secret   string   `json:"secret"`
}

func endpoints(ctx context.Context, sh *shell, args []string) error {
	what, rest, err := sh.choose("endpoints", args, "list", "show", "create", "update", "rotate-secret", "enable", "disable", "test", "retry-failed", "delete")
	if err != nil {
		return err
	}
	name := "endpoints " + what
	switch what {
	case "retry-failed":
		return retryFailed(ctx, sh, rest)
	case "list":
		return act(ctx, sh, name, rest, nil, nil, func(c *client, _ []string) error {
			list, err := listAll[json.RawMessage](ctx, c, "/v1/endpoints")
			if err != nil {
				return err
			}
			return sh.printList(list, []string{"ID", "DIALECT", "EVENTS", "STATE", "URL"}, func(raw json.RawMessage) ([]string, error) {
				var e endpointView
				err := json.Unmarshal(raw, &e)
				state := "enabled"
				if e.Disabled {
					state = "disabled"
				}
				return []string{e.ID, e.Dialect, strings.Join(e.Events, ","), state, e.URL}, err
			})
		})
	case "create", "update":
		var url, dialect, events, history, start string
		var rate int
		define := func(fs *flag.FlagSet) {
			fs.StringVar(&url, "url", "", "where to send webhooks")
			fs.StringVar(&events, "events", "", `names separated by commas; "*" is every event`)
			fs.StringVar(&history, "history", "", "full, none or last:N, where the dialect has a choice")
			if what == "create" {
				fs.StringVar(&dialect, "dialect", "", "the format, for example closer@1")
				startFlags(fs, &start, &rate)
			}
		}
		wants := []string{"ID"}
		if what == "create" {
			wants = nil
		}
		return act(ctx, sh, name, rest, wants, define, func(c *client, names []string) error {
			if what == "create" && (url == "" || dialect == "") {
				return usage("endpoints create wants --url and --dialect")
			}
			body := make(map[string]any)
			for key, value := range map[string]string{"url": url, "dialect": dialect, "history": history, "start": start} {
				if value != "" {
					body[key] = value
				}
			}
			if rate != 0 {
				body["start_rate"] = rate
			}
			if events != "" {
				body["events"] = strings.Split(events, ",")
			}
			method, path := http.MethodPost, "/v1/endpoints"
			if len(names) > 0 {
				method, path = http.MethodPatch, endpointPath(names[0])
			}
			return sh.callAndPrint(ctx, c, method, path, body)
		})
	case "enable":
		var start string
		var rate int
		define := func(fs *flag.FlagSet) { startFlags(fs, &start, &rate) }
		return act(ctx, sh, name, rest, []string{"ID"}, define, func(c *client, names []string) error {
			body := make(map[string]any)
			if start != "" {
				body["start"] = start
			}
			if rate != 0 {
				body["start_rate"] = rate
			}
			return sh.callAndPrint(ctx, c, http.MethodPost, endpointPath(names[0])+"/enable", body)
		})
	}
	return act(ctx, sh, name, rest, []string{"ID"}, nil, func(c *client, names []string) error {
		switch path := endpointPath(names[0]); what {
		case "show":
			return sh.callAndPrint(ctx, c, http.MethodGet, path, nil)
		case "delete":
			return sh.callAndPrint(ctx, c, http.MethodDelete, path, nil)
		case "test":
			return sh.testEndpoint(ctx, c, path)
		default:
			return sh.callAndPrint(ctx, c, http.MethodPost, path+"/"+what, nil)
		}
	})
}

// testEndpoint has an endpoint sent a test event, and fails if it did not accept it.
func (sh *shell) testEndpoint(ctx context.Context, c *client, path string) error {
	var raw json.RawMessage
	if err := c.call(ctx, http.MethodPost, path+"/test", nil, &raw); err != nil {
		return err
	}
	var answer struct {
		Accepted bool   `json:"accepted"`
		Status   int    `json:"status"`
		Fault    string `json:"fault"`
		Detail   string `json:"detail"`
	}
	if err := json.Unmarshal(raw, &answer); err != nil {
		return err
	}
	if err := sh.printAnswer(raw); err != nil {
		return err
	}
	switch {
	case answer.Accepted:
		return nil
	case answer.Status != 0:
		return &fault{exit: exitFailed, code: "not_accepted", err: fmt.Errorf("the endpoint answered %d; only 2xx counts as delivered", answer.Status)}
	default:
		return &fault{exit: exitFailed, code: "not_accepted", err: fmt.Errorf("the endpoint was not reached (%s): %s", answer.Fault, answer.Detail)}
	}
}

// startFlags say where in the log an endpoint begins.
func startFlags(fs *flag.FlagSet, start *string, rate *int) {
	fs.StringVar(start, "start", "", "where it begins: now, beginning, position:N, or a time (2026-03-01T12:00:00Z)")
	fs.IntVar(rate, "start-rate", 0, "deliveries a second of what had happened before; 0 is as fast as it takes them")
}

func endpointPath(id string) string { return "/v1/endpoints/" + url.PathEscape(id) }

type keyView struct {
	ID        string     `json:"id"`
	Account   string     `json:"account"`
	Name      string     `json:"name"`
	CreatedAt time.Time  `json:"created_at"`
	RevokedAt *time.Time `json:"revoked_at"`
}

func keys(ctx context.Context, sh *shell, args []string) error {
	what, rest, err := sh.choose("keys", args, "list", "create", "revoke")
	if err != nil {
		return err
	}
	name := "keys " + what
	switch what {
	case "list":
		return act(ctx, sh, name, rest, nil, nil, func(c *client, _ []string) error {
			list, err := listAll[json.RawMessage](ctx, c, "/v1/keys")
			if err != nil {
				return err
			}
			return sh.printList(list, []string{"ID", "ACCOUNT", "NAME", "CREATED", "REVOKED"}, func(raw json.RawMessage) ([]string, error) {
				var k keyView
				err := json.Unmarshal(raw, &k)
				revoked := "-"
				if k.RevokedAt != nil {
					revoked = k.RevokedAt.Format(time.DateTime)
				}
				return []string{k.ID, k.Account, k.Name, k.CreatedAt.Format(time.DateTime), revoked}, err
			})
		})
	case "create":
		var label, accountName string
		define := func(fs *flag.FlagSet) {
			fs.StringVar(&label, "name", "", "what the key is for")
			fs.StringVar(&accountName, "account-name", "", "name of the account, if it is made with this key")
		}
		return act(ctx, sh, name, rest, nil, define, func(c *client, _ []string) error {
			account := c.account
			c.account = defaultAccount // the other one may not be there yet
			return sh.callAndPrint(ctx, c, http.MethodPost, "/v1/keys",
				map[string]string{"account": account, "account_name": accountName, "name": label})
		})
	default:
		return act(ctx, sh, name, rest, []string{"ID"}, nil, func(c *client, names []string) error {
			return sh.callAndPrint(ctx, c, http.MethodDelete, "/v1/keys/"+url.PathEscape(names[0]), nil)
		})
	}
}

// callAndPrint prints the answer as it came, indented for people.
func (sh *shell) callAndPrint(ctx context.Context, c *client, method, path string, body any) error {
	var answer json.RawMessage
	if err := c.call(ctx, method, path, body, &answer); err != nil {
		return err
	}
	return sh.printAnswer(answer)
}

// printAnswer prints an answer as callAndPrint does.
func (sh *shell) printAnswer(answer json.RawMessage) error {
	switch {
	case len(answer) == 0 && sh.json:
		fmt.Fprintln(sh.out, "{}")
	case len(answer) == 0:
		fmt.Fprintln(sh.out, "done")
	case sh.json:
		fmt.Fprintln(sh.out, string(answer))
	default:
		b, err := json.MarshalIndent(answer, "", "  ")
		if err != nil {
			return err
		}
		fmt.Fprintln(sh.out, string(b))
	}
	return nil
}

// printList prints a list as a table for people, or one JSON value a line.
func (sh *shell) printList(list []json.RawMessage, head []string, row func(json.RawMessage) ([]string, error)) error {
	if sh.json {
		for _, raw := range list {
			fmt.Fprintln(sh.out, string(raw))
		}
		return nil
	}
	tab := tabwriter.NewWriter(sh.out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(tab, strings.Join(head, "\t"))
	for _, raw := range list {
		cells, err := row(raw)
		if err != nil {
			return err
		}
		fmt.Fprintln(tab, strings.Join(cells, "\t"))
	}
	return tab.Flush()
}
