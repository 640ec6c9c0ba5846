package main

import (
	"bytes"
	"strings"
	"testing"
)

// A collector has two names; what cannot be one is said before anything runs.
func TestWhereSpansGo(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, ours, theirs, want string // want is "" if it is refused
	}{
		{"none", "", "", "none"},
		{"ours", "http://localhost:4318", "", "http://localhost:4318"},
		{"OpenTelemetry's", "", "https://otel.example.com", "https://otel.example.com"},
		{"ours first", "http://localhost:4318", "https://otel.example.com", "http://localhost:4318"},
		{"no URL", "localhost:4318", "", ""},
		{"with a token", "", "https://otel.example.com/?token=secret", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var errs bytes.Buffer
			sh := &shell{err: &errs, lookup: func(name string) (string, bool) {
				v := map[string]string{"VERBATIM_OTLP_ENDPOINT": tt.ours, "OTEL_EXPORTER_OTLP_ENDPOINT": tt.theirs}[name]
				return v, v != ""
			}}
			cfg, finish, err := loadConfig(sh, sh.flags("serve", ""))
			if err != nil {
				t.Fatal(err)
			}
			err = finish()
			switch {
			case tt.want == "":
				if err == nil || !strings.Contains(err.Error(), "OTLP_ENDPOINT: must be a URL") || strings.Contains(err.Error(), "secret") {
					t.Errorf("got %v", err)
				}
			case err != nil:
				t.Error(err)
			case cfg.collector() != strings.TrimPrefix(tt.want, "none"):
				t.Errorf("got %q", cfg.collector())
			}
		})
	}
}
