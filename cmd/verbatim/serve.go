package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"

	"verbatim/adapters/httpapi"
)

// writers is how many goroutines there are that spend their time in SQLite and in
// waiting for the disk, which keeps a processor of Go's from others although none
// of the machine's is busy. So many more of Go's make up for it: on two cores, an
// eighth more deliveries.
const writers = 1

func serve(ctx context.Context, sh *shell, args []string) error {
	fs := sh.flags("serve", "")
	cfg, finish, err := loadConfig(sh, fs)
	if err != nil {
		return err
	}
	show := fs.Bool("print-config", false, "print the settings, without secrets, and end")
	_, err = parse(fs, args)
	if err == nil {
		err = finish()
	}
	if err != nil {
		return err
	}
	if *show {
		sh.printConfig(cfg)
		return nil
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", cfg.Addr)
	if err != nil {
		return fmt.Errorf("%w; choose another address with -addr or VERBATIM_ADDR", err)
	}
	if _, set := sh.lookup("GOMAXPROCS"); !set {
		runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + writers)
	}
	app, err := newApp(ctx, cfg, cfg.logger(sh.err), listener)
	if err != nil {
		return openFault(err)
	}
	firstKey, err := app.makeFirstKey(ctx)
	if err != nil {
		return errors.Join(err, app.close(ctx))
	}
	sh.greet(cfg, listener.Addr().String(), firstKey)
	if err := app.run(ctx); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// printConfig prints the settings, without secrets.
func (sh *shell) printConfig(cfg *config) {
	all := make(map[string]string)
	for _, s := range cfg.settings() {
		value := fmt.Sprint(s.value.Interface())
		if s.secret && value != "" {
			value = "(secret)"
		}
		all[s.variable] = value
		if !sh.json {
			fmt.Fprintf(sh.out, "%s=%s\n", s.variable, value)
		}
	}
	if sh.json {
		sh.printJSON(sh.out, all)
	}
}

// greet says where the server is and, once in the life of a data folder, its
// first key.
func (sh *shell) greet(cfg *config, addr, firstKey string) {
	if sh.json {
		sh.printJSON(sh.out, struct {
			URL      string `json:"url"`
			Database string `json:"database"`
			Key      string `json:"key,omitempty"`
		}{"http://" + addr, cfg.Database, firstKey})
		return
	}
	fmt.Fprintf(sh.out, "verbatim %s listens on http://%s, data in %s\n", Version, addr, cfg.Database)
	if firstKey != "" {
		fmt.Fprintf(sh.out, "API key of account %q, shown this once: %s\n", defaultAccount, firstKey)
	}
}

func openapi(_ context.Context, sh *shell, args []string) error {
	fs := sh.flags("openapi", "")
	if _, err := parse(fs, args); err != nil {
		return err
	}
	doc, err := httpapi.OpenAPI()
	if err != nil {
		return err
	}
	_, err = sh.out.Write(doc)
	return err
}
