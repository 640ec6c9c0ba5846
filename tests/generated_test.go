package tests_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"hash"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"time"

	"verbatim/domain/endpoint"
	"verbatim/webhooks"
)

// generatedEnv is how many events the made-up log has; the whole of it is
// 1000000, with 20 GB of bodies each time that it is rebuilt.
const (
	generatedEnv    = "GENERATED_EVENTS"
	generatedEvents = 3000
)

// TestGenerated makes up a log, imports it, renders all of it in every dialect,
// exports it, imports it elsewhere and renders it again: the same bytes, and the
// same seal on both. It says how long each took, and how much memory.
func TestGenerated(t *testing.T) {
	t.Parallel()
	events := generatedEvents
	if s := os.Getenv(generatedEnv); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatalf("%s: %v", generatedEnv, err)
		}
		events = n
	}
	folder := t.TempDir()
	file := func(name string) string { return filepath.Join(folder, name) }
	m := &measured{TB: t, events: events}

	m.run(nil, "generate", "-events", strconv.Itoa(events), "-seed", "42", "-out", file("made.ndjson.zst"))
	again := newSummed()
	m.run(again, "generate", "-events", strconv.Itoa(events), "-seed", "42")

	first, second := "sqlite:"+file("first"), "sqlite:"+file("second")
	m.run(nil, "import", "-database", first, file("made.ndjson.zst"))
	exported := newSummed()
	m.run(exported, "export", "-database", first, "-")
	if exported.sum() != again.sum() {
		t.Errorf("of the same seed, what was made up, imported and exported has %d bytes, and what was made up %d", exported.n, again.n)
	}
	bodies := m.rebuildAll(first)
	seal := m.verify(first)

	m.run(nil, "export", "-database", first, file("moved.ndjson.zst"))
	m.run(nil, "import", "-database", second, file("moved.ndjson.zst"))
	for name, sum := range m.rebuildAll(second) {
		if sum != bodies[name] {
			t.Errorf("%s: the log that was moved renders as other bytes", name)
		}
	}
	if moved := m.verify(second); moved != seal {
		t.Errorf("the log is sealed with %s, and with %s where it was moved to", seal, moved)
	}
}

// measured runs the program over a log of so many events.
type measured struct {
	testing.TB

	events int
}

// rebuildAll renders every body of a log in every dialect and returns their sums.
func (m *measured) rebuildAll(database string) map[string]string {
	sums := make(map[string]string)
	for _, d := range dialects(m) {
		out := newSummed()
		m.run(out, "rebuild", "-database", database, "-dialect", d.Name(), "-events", everyEvent(d))
		if out.n == 0 {
			m.Errorf("%s: no bodies", d.Name())
		}
		sums[d.Name()] = out.sum()
	}
	return sums
}

// verify has the log proven, and returns its seal.
func (m *measured) verify(database string) string {
	var out bytes.Buffer
	m.run(&out, "verify", "--json", "-database", database)
	var report struct{ Log struct{ Seal string } }
	if err := json.Unmarshal(out.Bytes(), &report); err != nil || report.Log.Seal == "" {
		m.Fatalf("%v: %s", err, out.String())
	}
	return report.Log.Seal
}

// everyEvent is what a dialect has to be asked for to send all that it can.
func everyEvent(d webhooks.Dialect) string {
	names := endpoint.AllEvents
	for _, t := range d.Vocabulary() {
		if t.OptIn {
			names += "," + t.Name
		}
	}
	return names
}

// run runs the program, which must succeed, and says how long it took. Whatever
// waits for it has as much patience more as there are more events than usual.
func (m *measured) run(out io.Writer, args ...string) {
	m.Helper()
	ctx, cancel := context.WithTimeout(m.Context(), patience*time.Duration(1+m.events/(10*generatedEvents)))
	defer cancel()
	cmd := exec.CommandContext(ctx, binary(m), args...)
	var errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = io.Discard, &errs
	if out != nil {
		cmd.Stdout = out
	}
	cmd.Env = []string{"HOME=" + m.TempDir()}
	start := time.Now()
	if err := cmd.Run(); err != nil {
		m.Fatalf("%v: %v\n%s", args, err, errs.String())
	}
	took := time.Since(start)
	bytes := int64(0)
	if to, ok := out.(*summed); ok {
		bytes = to.n
	}
	m.Logf("generated: %-8s %-13s %9.2f s %9.0f events/s %6d MB written, %3d MB of memory, %.1f s of processors",
		args[0], dialectOf(args), took.Seconds(), float64(m.events)/took.Seconds(), bytes>>20, peak(cmd.ProcessState)>>20,
		(cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds())
}

func dialectOf(args []string) string {
	for i, arg := range args {
		if arg == "-dialect" {
			return args[i+1]
		}
	}
	return ""
}

// peak is the most memory that a process had, as far as the system tells.
func peak(s *os.ProcessState) int64 {
	usage, ok := s.SysUsage().(*syscall.Rusage)
	switch {
	case !ok:
		return 0
	case runtime.GOOS == "darwin":
		return usage.Maxrss
	default:
		return usage.Maxrss << 10
	}
}

// summed is a writer that keeps a sum of what was written, and how much it was.
type summed struct {
	hash.Hash

	n int64
}

func newSummed() *summed { return &summed{Hash: sha256.New()} }

func (s *summed) Write(p []byte) (int, error) {
	s.n += int64(len(p))
	return s.Hash.Write(p)
}

func (s *summed) sum() string { return hex.EncodeToString(s.Sum(nil)) }
