package main

import (
	"encoding/json"
	"flag"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// load returns the configuration that variables and flags make.
func load(variables map[string]string, args ...string) (*config, error) {
	sh := &shell{
		lookup: func(name string) (string, bool) { v, ok := variables[name]; return v, ok },
		out:    io.Discard, err: io.Discard,
	}
	fs := flag.NewFlagSet("test", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	c, finish, err := loadConfig(sh, fs)
	if err != nil {
		return nil, err
	}
	if err := fs.Parse(args); err != nil {
		return nil, err
	}
	return c, finish()
}

func TestEgressOfTheConfiguration(t *testing.T) {
	t.Parallel()
	type egress struct {
		Networks, Hosts []string
		HTTP            bool
		Proxy           string
	}
	for _, c := range []struct {
		name      string
		variables map[string]string
		args      []string
		want      egress
	}{
		{"nothing", nil, nil, egress{}},
		{"empty", map[string]string{
			"VERBATIM_ALLOW_PRIVATE_NETWORKS": "", "VERBATIM_ALLOW_HOSTS": "", "VERBATIM_ALLOW_HTTP": "", "VERBATIM_WEBHOOK_PROXY": "",
		}, nil, egress{}},
		{"the proxy of everybody else", map[string]string{"HTTP_PROXY": "http://proxy:1", "https_proxy": "http://proxy:1", "ALL_PROXY": "socks5://proxy:1"}, nil, egress{}},
		{"variables", map[string]string{
			"VERBATIM_ALLOW_PRIVATE_NETWORKS": "10.1.2.3/8, ,fd00::/8", "VERBATIM_ALLOW_HOSTS": "Hooks.example.com, 10.0.0.1,,[::1],my_host.",
			"VERBATIM_ALLOW_HTTP": "true", "VERBATIM_WEBHOOK_PROXY": "http://a:b@proxy:3128",
		}, nil, egress{
			[]string{"10.0.0.0/8", "fd00::/8"},
			[]string{"Hooks.example.com", "10.0.0.1", "[::1]", "my_host."},
			true, "http://a:b@proxy:3128",
		}},
		{"flags beat variables", map[string]string{
			"VERBATIM_ALLOW_PRIVATE_NETWORKS": "10.0.0.0/8", "VERBATIM_ALLOW_HOSTS": "a.test", "VERBATIM_ALLOW_HTTP": "1", "VERBATIM_WEBHOOK_PROXY": "http://proxy:1",
		}, []string{"-allow-private-networks", "", "-allow-hosts", "b.test", "-allow-http=false", "-webhook-proxy", "https://proxy:2"}, egress{
			nil, []string{"b.test"}, false, "https://proxy:2",
		}},
		{"a flag without a value", nil, []string{"-allow-http"}, egress{HTTP: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			cfg, err := load(c.variables, c.args...)
			if err != nil {
				t.Fatal(err)
			}
			got := egress{Hosts: cfg.egress.AllowHosts, HTTP: cfg.egress.AllowHTTP}
			for _, p := range cfg.egress.AllowPrivate {
				got.Networks = append(got.Networks, p.String())
			}
			if cfg.egress.Proxy != nil {
				got.Proxy = cfg.egress.Proxy.String()
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Each error names its variable, and is one of usage.
func TestEgressThatCannotBe(t *testing.T) {
	t.Parallel()
	for variable, values := range map[string][]string{
		"VERBATIM_ALLOW_PRIVATE_NETWORKS": {"10.0.0.1", "10.0.0.0/33", "localhost", "10.0.0.0/8;fd00::/8", "fe80::1%eth0/64"},
		"VERBATIM_ALLOW_HOSTS":            {"https://hooks.example.com", "hooks.example.com:443", "*.example.com", "a b", "user@a.test", "10.0.0.0/8", "bücher.example", "a.test;b.test"},
		"VERBATIM_ALLOW_HTTP":             {"perhaps", "yes", "2"},
		"VERBATIM_WEBHOOK_PROXY": {
			"proxy", "proxy:3128", "socks5://proxy:1080", "http://", "http://:3128", "http://proxy:port", "//proxy:3128",
			"ftp://verbatim:hunter2@proxy", "http://verbatim:hunter2@ proxy:3128", "verbatim:hunter2@proxy",
		},
		"VERBATIM_HISTORY_MEMORY": {"-1", "much"},
	} {
		for _, value := range values {
			var errs strings.Builder
			exit := run(t.Context(), []string{"serve", "-print-config"}, func(name string) (string, bool) { return value, name == variable }, nil, io.Discard, &errs)
			if exit != exitUsage || !strings.Contains(errs.String(), variable) || strings.Contains(errs.String(), "hunter2") || strings.Contains(errs.String(), "strconv") {
				t.Errorf("%s=%s: exit %d, %s", variable, value, exit, errs.String())
			}
		}
	}
	if _, err := load(nil, "-allow-http=perhaps"); err == nil {
		t.Error("a flag that is no yes or no was taken")
	}
}

// The password of a proxy is not shown with the other settings, nor as the default
// that a flag has from its variable.
func TestTheProxyIsNotPrinted(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	lookup := func(name string) (string, bool) {
		return "http://verbatim:hunter2@proxy:3128", name == "VERBATIM_WEBHOOK_PROXY"
	}
	exit := run(t.Context(), []string{"serve", "-print-config", "-allow-hosts", "a.test"}, lookup, nil, &out, io.Discard)
	if exit != exitDone || strings.Contains(out.String(), "hunter2") || !strings.Contains(out.String(), "VERBATIM_WEBHOOK_PROXY=(secret)\n") ||
		!strings.Contains(out.String(), "VERBATIM_ALLOW_HOSTS=[a.test]\n") {
		t.Errorf("exit %d, %s", exit, out.String())
	}
	out.Reset()
	exit = run(t.Context(), []string{"serve", "-print-config", "-json"}, lookup, nil, &out, io.Discard)
	var shown map[string]string
	if err := json.Unmarshal([]byte(out.String()), &shown); exit != exitDone || err != nil || shown["VERBATIM_WEBHOOK_PROXY"] != "(secret)" {
		t.Errorf("for machines: exit %d, %v, %s", exit, err, out.String())
	}
	for _, args := range [][]string{{"serve", "-h"}, {"serve", "-misspelt"}, {"endpoints", "list", "-h"}} {
		var help strings.Builder
		run(t.Context(), args, lookup, nil, &help, &help)
		if strings.Contains(help.String(), "hunter2") || !strings.Contains(help.String(), "-webhook-proxy") {
			t.Errorf("%v: %s", args, help.String())
		}
	}
}
