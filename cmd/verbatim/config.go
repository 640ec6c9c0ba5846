package main

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"net/url"
	"reflect"
	"strings"
	"time"

	"github.com/caarlos0/env/v11"

	"verbatim/adapters/httpsender"
	"verbatim/adapters/telemetry"
)

// config is how the program is set. Its tags are the one list: flags, variables
// and docs/CONFIG.md are made from them.
type config struct {
	Addr          string   `env:"VERBATIM_ADDR" envDefault:"127.0.0.1:8080" flag:"addr" desc:"Address to listen on. The default is reachable from this machine alone."`
	Database      string   `env:"VERBATIM_DATABASE" envDefault:"sqlite:verbatim-data" flag:"database" desc:"Where the log is kept: sqlite:FOLDER."`
	AdminKey      string   `env:"VERBATIM_ADMIN_KEY" flag:"-" secret:"true" desc:"Operator's key. It may do everything, in any account (header Verbatim-Account). None by default."`
	SecretKey     string   `env:"VERBATIM_SECRET_KEY" flag:"-" secret:"true" desc:"Key that endpoints' secrets are sealed with in the database: 32 bytes in base64. By default that of the file."`
	SecretKeyFile string   `env:"VERBATIM_SECRET_KEY_FILE" flag:"secret-key-file" desc:"File with that key, readable by its owner alone. By default secret.key in the data folder, made the first time. Without it a copy of the database cannot sign."`
	AllowPrivate  []string `env:"VERBATIM_ALLOW_PRIVATE_NETWORKS" flag:"allow-private-networks" desc:"Networks (CIDR, separated by commas) that webhooks may reach although they are private, over plain http too."`
	AllowHosts    []string `env:"VERBATIM_ALLOW_HOSTS" flag:"allow-hosts" desc:"Host names or addresses (separated by commas) that webhooks may reach wherever they lead, over plain http too."`
	AllowHTTP     bool     `env:"VERBATIM_ALLOW_HTTP" envDefault:"false" flag:"allow-http" desc:"Whether webhooks may go over plain http to the public internet. To the networks above they may in any case."`
	Proxy         string   `env:"VERBATIM_WEBHOOK_PROXY" flag:"webhook-proxy" secret:"true" desc:"Proxy (http://HOST:PORT, with USER:PASSWORD@ if it asks for them) that webhooks go through. It resolves names and is dialled instead of the receivers, so that names that lead to private networks are for it to refuse; plain http through it needs one of the two settings above. None by default, whatever HTTP_PROXY says."`
	HistoryMemory int      `env:"VERBATIM_HISTORY_MEMORY" envDefault:"67108864" flag:"history-memory" desc:"Bytes of conversations kept in memory, ready for their next webhook. Those used longest ago go first and are read from the log again."`
	OTLPEndpoint  string   `env:"VERBATIM_OTLP_ENDPOINT" flag:"otlp-endpoint" desc:"Base URL of an OpenTelemetry collector (http://localhost:4318) that spans are sent to, over OTLP/HTTP. By default that of OTEL_EXPORTER_OTLP_ENDPOINT; without either there are no spans."`
	OTELEndpoint  string   `env:"OTEL_EXPORTER_OTLP_ENDPOINT" flag:"-" desc:"As VERBATIM_OTLP_ENDPOINT, under the name that OpenTelemetry gave it."`
	LogLevel      string   `env:"VERBATIM_LOG_LEVEL" envDefault:"info" flag:"log-level" desc:"debug, info, warn or error."`
	LogFormat     string   `env:"VERBATIM_LOG_FORMAT" envDefault:"text" flag:"log-format" desc:"text or json; logs go to standard error."`

	KeepDeliveries time.Duration `env:"VERBATIM_KEEP_DELIVERIES" envDefault:"720h" flag:"keep-deliveries" desc:"How long deliveries that have ended are kept with their attempts, 720h being 30 days; 0 is for ever. With them goes the digest of what was sent: what is gone cannot be verified, sent again or listed. The conversation itself stays in the log."`
	KeepPending    time.Duration `env:"VERBATIM_KEEP_PENDING" envDefault:"720h" flag:"keep-pending" desc:"How long deliveries wait for an endpoint that is disabled, and has not been changed, before they are cancelled; 0 is for ever. Those of enabled endpoints are never touched."`
	KeepCount      int           `env:"VERBATIM_KEEP_PENDING_COUNT" envDefault:"1000000" flag:"keep-pending-count" desc:"How many deliveries wait for an endpoint that is disabled; of more the oldest are cancelled. 0 is any number."`

	egress httpsender.Egress
}

// setting is one field of config as its tags describe it.
type setting struct {
	variable, flag, fallback, desc string
	secret                         bool
	value                          reflect.Value
}

func (c *config) settings() []setting {
	v := reflect.ValueOf(c).Elem()
	var out []setting
	for i := range v.NumField() {
		tag := v.Type().Field(i).Tag
		if tag.Get("env") == "" {
			continue
		}
		out = append(out, setting{
			tag.Get("env"), tag.Get("flag"), tag.Get("envDefault"), tag.Get("desc"), tag.Get("secret") == "true", v.Field(i),
		})
	}
	return out
}

// loadConfig reads the variables and gives a flag set the flags that beat them.
// finish is called after the flags were parsed.
func loadConfig(sh *shell, fs *flag.FlagSet, only ...string) (c *config, finish func() error, err error) {
	c = &config{}
	environment := make(map[string]string)
	for _, s := range c.settings() {
		if v, ok := sh.lookup(s.variable); ok {
			environment[s.variable] = v
		}
	}
	if err := env.ParseWithOptions(c, env.Options{Environment: environment}); err != nil {
		return nil, nil, &fault{exit: exitUsage, code: "usage", err: misread(err)}
	}
	for _, s := range c.settings() {
		if s.flag == "-" || len(only) > 0 && !strings.Contains(" "+strings.Join(only, " ")+" ", " "+s.flag+" ") {
			continue
		}
		usage := s.desc + " (" + s.variable + ")"
		switch to := s.value.Addr().Interface().(type) {
		case *string:
			fs.StringVar(to, s.flag, *to, usage)
			if s.secret {
				fs.Lookup(s.flag).DefValue = "" // what help shows, also beneath a flag that was misspelt
			}
		case *bool:
			fs.BoolVar(to, s.flag, *to, usage)
		case *int:
			fs.IntVar(to, s.flag, *to, usage)
		case *time.Duration:
			fs.DurationVar(to, s.flag, *to, usage)
		case *[]string:
			fs.Func(s.flag, usage, func(v string) error {
				*to = strings.Split(v, ",")
				return nil
			})
		}
	}
	return c, c.check, nil
}

// misread says which variable could not be read, rather than which field.
func misread(err error) error {
	p, ok := errors.AsType[env.ParseError](err)
	if !ok {
		return err
	}
	field, _ := reflect.TypeFor[config]().FieldByName(p.Name)
	wants := "a number"
	switch p.Type {
	case reflect.TypeFor[bool]():
		wants = "true or false"
	case reflect.TypeFor[time.Duration]():
		wants = "a duration such as 720h"
	}
	return fmt.Errorf("%s: must be %s", field.Tag.Get("env"), wants)
}

func (c *config) check() error {
	var errs []error
	if _, err := c.folder(); err != nil {
		errs = append(errs, err)
	}
	c.egress = httpsender.Egress{AllowHTTP: c.AllowHTTP}
	for _, s := range c.AllowPrivate {
		if s = strings.TrimSpace(s); s == "" {
			continue
		}
		p, err := netip.ParsePrefix(s)
		if err != nil {
			errs = append(errs, fmt.Errorf("VERBATIM_ALLOW_PRIVATE_NETWORKS: %q is not a network such as 10.0.0.0/8", s))
			continue
		}
		c.egress.AllowPrivate = append(c.egress.AllowPrivate, p.Masked())
	}
	for _, h := range c.AllowHosts {
		if h = strings.TrimSpace(h); h == "" {
			continue
		}
		if !isHost(h) {
			errs = append(errs, fmt.Errorf("VERBATIM_ALLOW_HOSTS: %q is not a name such as hooks.example.com or an address", h))
			continue
		}
		c.egress.AllowHosts = append(c.egress.AllowHosts, h)
	}
	if c.Proxy != "" {
		proxy, err := url.Parse(c.Proxy)
		if err != nil || proxy.Hostname() == "" || proxy.Scheme != "http" && proxy.Scheme != "https" {
			// Without its value, which may hold a password.
			errs = append(errs, errors.New("VERBATIM_WEBHOOK_PROXY: must be a URL such as http://proxy:3128"))
		}
		c.egress.Proxy = proxy
	}
	for name, endpoint := range map[string]string{"VERBATIM_OTLP_ENDPOINT": c.OTLPEndpoint, "OTEL_EXPORTER_OTLP_ENDPOINT": c.OTELEndpoint} {
		if endpoint == "" {
			continue
		}
		if err := telemetry.CheckEndpoint(endpoint); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
		}
	}
	if c.HistoryMemory < 0 {
		errs = append(errs, fmt.Errorf("VERBATIM_HISTORY_MEMORY: %d is not a number of bytes", c.HistoryMemory))
	}
	for _, keep := range []struct {
		variable string
		value    time.Duration
	}{{"VERBATIM_KEEP_DELIVERIES", c.KeepDeliveries}, {"VERBATIM_KEEP_PENDING", c.KeepPending}} {
		if keep.value < 0 {
			errs = append(errs, fmt.Errorf("%s: %s is in the past", keep.variable, keep.value))
		}
	}
	if c.KeepCount < 0 {
		errs = append(errs, fmt.Errorf("VERBATIM_KEEP_PENDING_COUNT: %d is not a number of deliveries", c.KeepCount))
	}
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.LogLevel)); err != nil {
		errs = append(errs, fmt.Errorf("VERBATIM_LOG_LEVEL: %q is not debug, info, warn or error", c.LogLevel))
	}
	if c.LogFormat != "text" && c.LogFormat != "json" {
		errs = append(errs, fmt.Errorf("VERBATIM_LOG_FORMAT: %q is not text or json", c.LogFormat))
	}
	if err := errors.Join(errs...); err != nil {
		return &fault{exit: exitUsage, code: "usage", err: err}
	}
	return nil
}

// isHost reports whether s is a host alone: an address, or a name in the letters
// that are sent to a name server. A wildcard is none, nor is a URL.
func isHost(s string) bool {
	if _, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
		return true
	}
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_."
	return strings.Trim(s, letters) == ""
}

// folder returns the data folder that Database names.
func (c *config) folder() (string, error) {
	dir, ok := strings.CutPrefix(c.Database, "sqlite:")
	if !ok || dir == "" {
		return "", fmt.Errorf("VERBATIM_DATABASE: %q is not sqlite:FOLDER", c.Database)
	}
	return dir, nil
}

// collector returns where spans go, "" for nowhere.
func (c *config) collector() string { return cmp.Or(c.OTLPEndpoint, c.OTELEndpoint) }

func (c *config) logger(w io.Writer) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(c.LogLevel)) // checked
	o := &slog.HandlerOptions{Level: level}
	if c.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}

// configDocs is docs/CONFIG.md.
func configDocs() string {
	var b strings.Builder
	b.WriteString("# Configuration\n\n<!-- Made by `make generate` from cmd/verbatim/config.go. -->\n\n" +
		"Flags beat variables beat defaults.\n\n| variable | flag | default | |\n|---|---|---|---|\n")
	for _, s := range (&config{}).settings() {
		flagName, fallback := "", ""
		if s.flag != "-" {
			flagName = "`-" + s.flag + "`"
		}
		if s.fallback != "" {
			fallback = "`" + s.fallback + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", s.variable, flagName, fallback, s.desc)
	}
	return b.String()
}
