package tests_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
)

// received is what came to one endpoint: a body for each webhook-id.
type received struct {
	mu     sync.Mutex
	bodies map[string][]byte
}

// add remembers a body, which must be the one that came under that id before.
func (r *received) add(tb testing.TB, id string, body []byte) {
	tb.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.bodies == nil {
		r.bodies = make(map[string][]byte)
	}
	if known, ok := r.bodies[id]; ok && !bytes.Equal(known, body) {
		tb.Errorf("%s came with two bodies:\n%s\n%s", id, known, body)
	}
	r.bodies[id] = bytes.Clone(body)
}

// bodyLine is a line of what an endpoint was and would be sent.
type bodyLine struct {
	Position  int64
	WebhookID string `json:"webhook_id"`
	Body      json.RawMessage
}

// prove holds what came against what is rebuilt from the log: the same bytes
// under the same id. If all of it has come, there is nothing else to rebuild.
func (r *received) prove(tb testing.TB, folder, endpoint string, all bool) {
	tb.Helper()
	made := runCommand(tb, "", "rebuild", "-database", "sqlite:"+folder, "--endpoint", endpoint)
	if made.code != 0 {
		tb.Fatalf("rebuild: exit %d: %s", made.code, made.errors)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	left := maps.Clone(r.bodies)
	for text := range strings.Lines(made.out) {
		var line bodyLine
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			tb.Fatalf("%v: %s", err, text)
		}
		body, came := left[line.WebhookID]
		switch {
		case came && !bytes.Equal(body, line.Body):
			tb.Errorf("position %d, %s: came as\n%s\nand is rebuilt as\n%s", line.Position, line.WebhookID, body, line.Body)
		case !came && all:
			tb.Errorf("position %d, %s: is rebuilt and never came", line.Position, line.WebhookID)
		}
		delete(left, line.WebhookID)
	}
	for _, id := range slices.Sorted(maps.Keys(left)) {
		tb.Errorf("%s came and is not rebuilt", id)
	}
}

// proveAll is prove for the one endpoint of a folder, to which all has come that
// is owed to it.
func (r *received) proveAll(tb testing.TB, folder string) {
	tb.Helper()
	v := verify(tb, folder, 0)
	if n := v.identical(tb); n != len(r.bodies) || len(v.Deliveries.Endpoints) != 1 {
		tb.Fatalf("%d bodies came, and %d are identical: %+v", len(r.bodies), n, v.Deliveries.Endpoints)
	}
	r.prove(tb, folder, v.Deliveries.Endpoints[0].Endpoint, true)
}

// verified is what a verification says.
type verified struct {
	Identical bool
	Log       struct {
		From, To, Events, Streams, Erased int64
		Seal                              string
		Expected                          []struct {
			Seal  string
			Holds bool
		}
		Faults struct {
			Total int64
			First []struct {
				Position, Version int64
				Stream, Defect    string
			}
		}
	}
	Deliveries struct {
		Endpoints []struct {
			Endpoint                                            string
			Identical, Changed, Erased, Missing, Pruned, Strays int64
			NeverSent                                           []struct {
				State, Reason string
				Count, Tried  int64
			} `json:"never_sent"`
		}
		Changed []struct {
			Dialect, Event, Cause string
			Count                 int64
			First                 []struct {
				Delivery, Recorded, Rendered string
				Position                     int64
			}
		}
		Missing, Strays []struct {
			Endpoint, Event string
			Position        int64
		}
		Faults []string
	}
}

// verify verifies a folder, with a certain exit code.
func verify(tb testing.TB, folder string, code int, args ...string) (v verified) {
	tb.Helper()
	r := runCommand(tb, "", append([]string{"verify", "--json", "-database", "sqlite:" + folder}, args...)...)
	if err := json.Unmarshal([]byte(r.out), &v); r.code != code || err != nil {
		tb.Fatalf("verify %v: exit %d, want %d: %s%s", args, r.code, code, r.out, r.errors)
	}
	if v.Identical != (code == 0) {
		tb.Errorf("verify: exit %d, and identical: %t", code, v.Identical)
	}
	return v
}

// identical returns how many deliveries are identical. None may differ.
func (v *verified) identical(tb testing.TB) (n int) {
	tb.Helper()
	for _, e := range v.Deliveries.Endpoints {
		n += int(e.Identical)
		if e.Changed+e.Erased+e.Missing+e.Pruned+e.Strays > 0 {
			tb.Errorf("%+v", e)
		}
	}
	return n
}
