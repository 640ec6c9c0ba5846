package tests_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"
)

// patience bounds every wait of these tests: far above what is ever needed, so
// that reaching it means that something never came.
const patience = 60 * time.Second

// buildFolder is where the program is built; empty if no test needed it.
var buildFolder string

var makeBuildFolder = sync.OnceValues(func() (dir string, err error) {
	buildFolder, err = os.MkdirTemp("", "verbatim-tests-")
	return buildFolder, err
})

// The program is built the first time a test needs it, and so is the one that
// can be killed at named points.
var (
	buildOnce  = build("verbatim")
	buildFrail = build("verbatim-frail", "-tags", "failpoints")
)

func build(name string, flags ...string) func() (string, error) {
	return sync.OnceValues(func() (string, error) {
		dir, err := makeBuildFolder()
		if err != nil {
			return "", err
		}
		binary := filepath.Join(dir, name)
		args := append(append([]string{"build", "-o", binary}, flags...), "verbatim/cmd/verbatim")
		out, err := exec.Command("go", args...).CombinedOutput()
		if err != nil {
			return "", fmt.Errorf("build: %w\n%s", err, out)
		}
		return binary, nil
	})
}

func binary(tb testing.TB) string {
	tb.Helper()
	return built(tb, buildOnce)
}

// frail returns the program that can be killed at named points.
func frail(tb testing.TB) string {
	tb.Helper()
	return built(tb, buildFrail)
}

func built(tb testing.TB, build func() (string, error)) string {
	tb.Helper()
	path, err := build()
	if err != nil {
		tb.Fatal(err)
	}
	return path
}

func TestMain(m *testing.M) {
	if os.Getenv(sinkEnv) != "" {
		runSink()
		return
	}
	code := m.Run()
	printSpeed(os.Stdout)
	if buildFolder != "" {
		_ = os.RemoveAll(buildFolder)
	}
	os.Exit(code)
}

// result is what a finished command left.
type result struct {
	code        int
	out, errors string
}

// runCommand runs the program to its end.
func runCommand(tb testing.TB, stdin string, args ...string) result {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary(tb), args...)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewBufferString(stdin), &out, &errs
	cmd.Env = []string{"HOME=" + tb.TempDir()}
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		tb.Fatal(err)
	}
	return result{cmd.ProcessState.ExitCode(), out.String(), errs.String()}
}

// server is the program serving, in a process of its own.
type server struct {
	tb   testing.TB
	cmd  *exec.Cmd
	url  string
	key  string // of a new data folder only
	errs *output
	done chan struct{}
}

// output is what a process has written so far.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// startServer starts the program on a data folder, on a free port, allowed to
// send webhooks to this machine.
func startServer(tb testing.TB, folder string, args ...string) *server {
	tb.Helper()
	return startProcess(tb, binary(tb), folder, nil, args...)
}

// startProcess is startServer with a program and variables of its environment.
func startProcess(tb testing.TB, program, folder string, env []string, args ...string) *server {
	tb.Helper()
	s := &server{tb: tb, errs: &output{}, done: make(chan struct{})}
	s.cmd = exec.Command(program, append([]string{
		"serve", "--json", "-addr", "127.0.0.1:0", "-database", "sqlite:" + folder,
		"-allow-private-networks", "127.0.0.0/8",
	}, args...)...)
	s.cmd.Env = append([]string{"HOME=" + tb.TempDir()}, env...)
	s.cmd.Stderr = s.errs
	stdout, err := s.cmd.StdoutPipe()
	if err != nil {
		tb.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	var hello struct{ URL, Key string }
	line, err := bufio.NewReader(stdout).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &hello)
	}
	if err != nil {
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
		tb.Fatalf("the server did not come up: %v\n%s", err, s.errs)
	}
	s.url, s.key = hello.URL, hello.Key
	go func() { defer close(s.done); _ = s.cmd.Wait() }()
	tb.Cleanup(func() { s.kill() })
	return s
}

// kill ends the process as a power cut would, and waits until it is gone.
func (s *server) kill() {
	_ = s.cmd.Process.Kill()
	<-s.done
}

// stop ends the process in order and returns its exit code.
func (s *server) stop() int {
	s.tb.Helper()
	if err := s.cmd.Process.Signal(os.Interrupt); err != nil {
		s.tb.Fatal(err)
	}
	select {
	case <-s.done:
	case <-time.After(patience):
		s.tb.Fatal("the server did not stop")
	}
	return s.cmd.ProcessState.ExitCode()
}

// try sends a request, with headers by name and value, and returns status and
// body, or the error of a server that went away.
func (s *server) try(method, path, key, body string, headers ...string) (int, []byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, s.url+path, bytes.NewBufferString(body))
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Authorization", "Bearer "+key)
	for pair := range slices.Chunk(headers, 2) {
		req.Header.Set(pair[0], pair[1])
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, b, err
}

// call sends a request that must succeed and decodes the answer.
func (s *server) call(method, path, key, body string, answer any) {
	s.tb.Helper()
	status, b, err := s.try(method, path, key, body)
	if err != nil || status >= 300 {
		s.tb.Fatalf("%s %s: %d %s %v\n%s", method, path, status, b, err, s.errs)
	}
	if answer != nil {
		if err := json.Unmarshal(b, answer); err != nil {
			s.tb.Fatalf("%s %s: %v: %s", method, path, err, b)
		}
	}
}

// arrived is a webhook as it came in.
type arrived struct {
	header http.Header
	body   []byte
}

// await returns true when it is so, asking at every change, and false when
// patience is at its end. The condition's lock is held.
func await(changed *sync.Cond, so func() bool) bool {
	end := time.Now().Add(patience)
	timer := time.AfterFunc(patience, changed.Broadcast)
	defer timer.Stop()
	for !so() {
		if !time.Now().Before(end) {
			return false
		}
		changed.Wait()
	}
	return true
}

// poll asks again and again until it is so: for what a process does by itself
// and tells nobody.
func poll(tb testing.TB, so func() bool) {
	tb.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); !so(); <-tick.C {
		if time.Now().After(end) {
			tb.Fatal("it did not come to be")
		}
	}
}
