package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// Version is the version of the program.
const Version = "0.1.0"

// Exit codes.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitDifferent   = 3 // a verification found a difference
	exitUnreachable = 4 // a server that should be there does not answer
)

// A fault is an error that knows its exit code and, for machines, its name.
type fault struct {
	exit int
	code string
	line int64 // of the input, 0 if it is not about one
	err  error
}

func (f *fault) Error() string { return f.err.Error() }
func (f *fault) Unwrap() error { return f.err }

func usage(format string, args ...any) error {
	return &fault{exit: exitUsage, code: "usage", err: fmt.Errorf(format, args...)}
}

// A verb is one of the program's commands.
type verb struct {
	name, args, summary string
	run                 func(ctx context.Context, sh *shell, args []string) error
}

func verbs() []verb {
	return []verb{
		{"serve", "", "run the server", serve},
		{"demo", "", "show the whole of it on a throw-away store", demo},
		{"import", "FILE", "add recorded events, one a line, to the log", importEvents},
		{"export", "FILE", "write the log, one recorded event a line", exportEvents},
		{"fixtures", "record", "write a conversation of the log as a fixture, without its people", fixtures},
		{"generate", "", "write a made-up log, one recorded event a line", generate},
		{"rebuild", "", "render every body again from the log", rebuild},
		{"verify", "", "prove the log, and what was delivered from it", verify},
		{"endpoints", "list|show|create|update|rotate-secret|enable|disable|test|retry-failed|delete", "manage webhook endpoints", endpoints},
		{"deliveries", "ENDPOINT", "list what was sent to an endpoint, and what waits", deliveries},
		{"feed", "ENDPOINT", "pull what an endpoint is sent", feed},
		{"redeliver", "DELIVERY", "send a delivery again", redeliver},
		{"replay", "", "send an endpoint the past, or see what that would be", replay},
		{"replays", "list|show|pause|resume|cancel", "look after replays and backfills", replays},
		{"erase", "", "take a person out of the log for good", erase},
		{"keys", "list|create|revoke", "manage API keys", keys},
		{"projections", "list|retry", "look after the projections", projectionsVerb},
		{"rebuild-projection", "NAME", "make a read model anew from the log while the old one serves, or stop that", rebuildProjection},
		{"openapi", "", "print the OpenAPI document", openapi},
		{"version", "", "print the version", version},
	}
}

// shell is what a command has of the outside.
type shell struct {
	lookup func(string) (string, bool)
	in     io.Reader
	out    io.Writer
	err    io.Writer
	json   bool
}

// run executes the command line args and returns the exit code.
func run(
	ctx context.Context, args []string, lookup func(string) (string, bool), in io.Reader, out, errs io.Writer,
) int {
	sh := &shell{lookup: lookup, in: in, out: out, err: errs}
	err := dispatch(ctx, sh, args)
	if err == nil || errors.Is(err, flag.ErrHelp) {
		return exitDone
	}
	f, ok := errors.AsType[*fault](err)
	switch {
	case ok:
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		err = errors.New("interrupted")
		f = &fault{exit: exitFailed, code: "interrupted", err: err}
	default:
		f = &fault{exit: exitFailed, code: "failed", err: err}
	}
	if sh.json {
		sh.printJSON(sh.err, struct {
			Code  string `json:"code"`
			Error string `json:"error"`
			Line  int64  `json:"line,omitempty"`
		}{f.code, err.Error(), f.line})
	} else {
		fmt.Fprintln(errs, "verbatim:", err)
	}
	return f.exit
}

func dispatch(ctx context.Context, sh *shell, args []string) error {
	if len(args) == 0 {
		printHelp(sh.err)
		return usage("which command?")
	}
	switch args[0] {
	case "help", "-h", "-help", "--help":
		if len(args) > 1 {
			return dispatch(ctx, sh, append(args[1:], "-h"))
		}
		printHelp(sh.out)
		return nil
	case "-version", "--version":
		args[0] = "version"
	}
	for _, v := range append(verbs(), verb{name: "docs", run: docs}) { // for the makers of Verbatim
		if v.name == args[0] {
			return v.run(ctx, sh, args[1:])
		}
	}
	return usage("there is no command %q; verbatim help lists them", args[0])
}

func printHelp(w io.Writer) {
	fmt.Fprint(w, "Verbatim keeps conversations as an event log and delivers webhooks that bear their history.\n\nUsage: verbatim COMMAND [flags]\n\n")
	tab := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	for _, v := range verbs() {
		fmt.Fprintf(tab, "  %s\t%s\n", v.name, v.summary)
	}
	_ = tab.Flush() // to where the errors of printing would go
	fmt.Fprint(w, "\nverbatim COMMAND -h shows its flags. Flags beat VERBATIM_* variables beat defaults.\n"+
		"Exit codes: 0 done, 1 failed, 2 usage, 3 a verification found a difference, 4 the server does not answer.\n")
}

// flags returns a flag set for a command, with what every command has.
func (sh *shell) flags(name, args string) *flag.FlagSet {
	fs := flag.NewFlagSet(name, flag.ContinueOnError)
	fs.SetOutput(sh.err)
	fs.BoolVar(&sh.json, "json", false, "answer in JSON, for machines")
	fs.Usage = func() {
		fmt.Fprintf(sh.err, "Usage: verbatim %s [flags] %s\n\n", name, args)
		fs.PrintDefaults()
	}
	return fs
}

// parse parses flags that may stand before, between and behind the arguments,
// of which there must be exactly as many as names.
func parse(fs *flag.FlagSet, args []string, names ...string) ([]string, error) {
	var rest []string
	for {
		if err := fs.Parse(args); err != nil {
			if errors.Is(err, flag.ErrHelp) {
				return nil, err
			}
			return nil, &fault{exit: exitUsage, code: "usage", err: err}
		}
		if fs.NArg() == 0 {
			break
		}
		rest = append(rest, fs.Arg(0))
		args = fs.Args()[1:]
	}
	switch {
	case len(rest) < len(names):
		return nil, usage("%s wants %s", fs.Name(), strings.Join(names, " "))
	case len(rest) > len(names):
		return nil, usage("%s does not know what to do with %q", fs.Name(), rest[len(names)])
	}
	return rest, nil
}

func (sh *shell) printJSON(w io.Writer, v any) {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(v) // to where the errors of printing would go
}

func version(_ context.Context, sh *shell, args []string) error {
	if _, err := parse(sh.flags("version", ""), args); err != nil {
		return err
	}
	if sh.json {
		sh.printJSON(sh.out, map[string]string{"version": Version})
		return nil
	}
	fmt.Fprintln(sh.out, "verbatim", Version)
	return nil
}
