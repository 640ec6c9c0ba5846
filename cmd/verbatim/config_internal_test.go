package main

import (
	"flag"
	"io"
	"strings"
	"testing"
	"time"

	"verbatim/eventstore"
	"verbatim/webhooks"
)

// configOf returns the settings that follow from variables and flags.
func configOf(t *testing.T, variables map[string]string, flags ...string) (*config, error) {
	t.Helper()
	sh := &shell{lookup: func(name string) (string, bool) { v, ok := variables[name]; return v, ok }, err: io.Discard}
	fs := flag.NewFlagSet("test", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	cfg, finish, err := loadConfig(sh, fs)
	if err != nil {
		return nil, err
	}
	if err := fs.Parse(flags); err != nil {
		return nil, err
	}
	return cfg, finish()
}

func TestWhatIsKept(t *testing.T) {
	t.Parallel()
	const month = 30 * 24 * time.Hour
	for _, c := range []struct {
		variables map[string]string
		flags     []string
		want      webhooks.Keeping
	}{
		{nil, nil, webhooks.Keeping{Deliveries: month, Pending: month, PendingCount: 1_000_000}},
		{
			map[string]string{"VERBATIM_KEEP_DELIVERIES": "0", "VERBATIM_KEEP_PENDING": "0s", "VERBATIM_KEEP_PENDING_COUNT": "0"},
			nil,
			webhooks.Keeping{},
		},
		{
			map[string]string{"VERBATIM_KEEP_DELIVERIES": "48h", "VERBATIM_KEEP_PENDING": "90m", "VERBATIM_KEEP_PENDING_COUNT": "7"},
			[]string{"-keep-deliveries", "24h", "-keep-pending-count", "8"},
			webhooks.Keeping{Deliveries: 24 * time.Hour, Pending: 90 * time.Minute, PendingCount: 8},
		},
	} {
		cfg, err := configOf(t, c.variables, c.flags...)
		if err != nil {
			t.Errorf("%v %v: %v", c.variables, c.flags, err)
			continue
		}
		c.want.Keys = eventstore.KeepKeys
		if got := cfg.keeping(); got != c.want {
			t.Errorf("%v %v: got %+v, want %+v", c.variables, c.flags, got, c.want)
		}
	}
	for name, value := range map[string]string{
		"VERBATIM_KEEP_DELIVERIES": "-1h", "VERBATIM_KEEP_PENDING": "-1s", "VERBATIM_KEEP_PENDING_COUNT": "-1",
	} {
		if _, err := configOf(t, map[string]string{name: value}); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s=%s: %v", name, value, err)
		}
	}
	if _, err := configOf(t, map[string]string{"VERBATIM_KEEP_DELIVERIES": "30 days"}); err == nil {
		t.Error("thirty days is no duration")
	}
	for _, s := range (&config{}).settings() {
		if s.variable == "VERBATIM_KEEP_DELIVERIES" && !strings.Contains(s.desc, "digest") {
			t.Error("it does not say that the proof goes too")
		}
	}
}
