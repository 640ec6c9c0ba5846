package tests_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"verbatim/domain"
	"verbatim/domain/endpoint"
	"verbatim/eventstore"
)

// TestRebuildGoesOn cuts a rebuild at every kind of place: what is made before and
// after it is what is made at once, byte for byte, for a dialect, a conversation
// and an endpoint.
func TestRebuildGoesOn(t *testing.T) {
	t.Parallel()
	l := newSeededLog(t)
	l.talk(3, 10)
	id := newID(t)
	l.add(eventstore.StreamName("endpoint", id), endpoint.Registered{
		Account:  domain.Account{ID: "default"},
		Settings: endpoint.Settings{URL: "https://example.com/", Dialect: "chatwoot@1", Events: []string{"*"}, History: "full"},
	})
	streams := l.talk(3, 40)
	l.keep()
	_, about := eventstore.SplitStream(streams[1])
	head := int64(len(l.rows))
	for _, what := range [][]string{
		{"--dialect", "verbatim"},
		{"--dialect", "chatwoot", "--workers", "3"},
		{"--dialect", "verbatim", "--conversation", about},
		{"--endpoint", id},
	} {
		whole := l.rebuild(what...)
		if whole.code != 0 || whole.out == "" || whole.errors != "" {
			t.Fatalf("%v: exit %d: %s", what, whole.code, whole.errors)
		}
		for _, at := range []int64{1, 2, head / 3, head / 2, head - 1, head, head + 1, head + 100} {
			before := l.rebuild(append(what, "--to", strconv.FormatInt(at-1, 10))...)
			after := l.rebuild(append(what, "--from", strconv.FormatInt(at, 10))...)
			if before.code != 0 || after.code != 0 || before.out+after.out != whole.out {
				t.Errorf("%v cut before %d: %d and %d bytes are not the %d of all; exit %d and %d: %s%s",
					what, at, len(before.out), len(after.out), len(whole.out), before.code, after.code, before.errors, after.errors)
			}
		}
		if r := l.rebuild(append(what, "--from", "30", "--to", "20")...); r.code != 0 || r.out != "" {
			t.Errorf("%v of no positions: exit %d: %s%s", what, r.code, r.out, r.errors)
		}
	}
}

// rebuilding starts a rebuild whose output is a pipe that is full long before it
// is done. What it says to a person goes to errs.
func (l *seededLog) rebuilding(out *os.File, errs *os.File, args ...string) *exec.Cmd {
	l.tb.Helper()
	cmd := exec.CommandContext(l.tb.Context(), binary(l.tb), append([]string{"rebuild", "-database", "sqlite:" + l.folder}, args...)...)
	cmd.Env = []string{"HOME=" + l.tb.TempDir()}
	cmd.Stdout, cmd.Stderr = out, errs
	if err := cmd.Start(); err != nil {
		l.tb.Fatal(err)
	}
	return cmd
}

// TestRebuildIsInterrupted interrupts a rebuild in the middle: what it has written
// is whole lines, it says where to go on, and both together are the whole.
func TestRebuildIsInterrupted(t *testing.T) {
	t.Parallel()
	l := newSeededLog(t)
	l.talk(7, 120)
	l.keep()
	whole := l.rebuild("--dialect", "verbatim")
	for _, workers := range []string{"1", "3"} {
		out, write := pipe(t)
		said, errs := pipe(t)
		cmd := l.rebuilding(write, errs, "--dialect", "verbatim", "--workers", workers)
		write.Close()
		errs.Close()
		written := bufio.NewReader(out)
		if _, err := written.Peek(1); err != nil { // it is at work, and cannot end: nobody reads
			t.Fatal(err)
		}
		if err := cmd.Process.Signal(os.Interrupt); err != nil {
			t.Fatal(err)
		}
		before, err := io.ReadAll(written)
		if err != nil {
			t.Fatal(err)
		}
		message, err := io.ReadAll(said)
		if err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // for its exit code
		from := regexp.MustCompile(`go on with --from (\d+)`).FindSubmatch(message)
		if from == nil || cmd.ProcessState.ExitCode() != 1 || bytes.Count(message, []byte("\n")) != 1 {
			t.Fatalf("exit %d: %q", cmd.ProcessState.ExitCode(), message)
		}
		if len(before) == 0 || len(before) == len(whole.out) || before[len(before)-1] != '\n' {
			t.Fatalf("%d bytes of %d were written", len(before), len(whole.out))
		}
		after := l.rebuild("--dialect", "verbatim", "--from", string(from[1]))
		if string(before)+after.out != whole.out {
			t.Errorf("%d bytes before position %s and %d from there on are not the %d of all", len(before), from[1], len(after.out), len(whole.out))
		}
	}
}

func pipe(t *testing.T) (read, write *os.File) {
	t.Helper()
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { read.Close(); write.Close() })
	return read, write
}

// TestRebuildShowsProgress has a terminal watch a rebuild whose output nobody
// takes.
func TestRebuildShowsProgress(t *testing.T) {
	t.Parallel()
	l := newSeededLog(t)
	l.talk(7, 120)
	l.keep()
	screen, terminal := openTerminal(t)
	out, write := pipe(t)
	cmd := l.rebuilding(write, terminal, "--dialect", "verbatim")
	write.Close()
	terminal.Close()
	lines := bufio.NewReader(screen)
	line := ""
	for !strings.HasSuffix(line, " left") {
		more, err := lines.ReadString('t')
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		line += more
	}
	line = line[strings.LastIndex(line, "\r"):]
	go func() { _, _ = io.Copy(io.Discard, out) }()
	_, _ = io.Copy(io.Discard, lines) // until the program has ended, and the terminal is gone
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf(`^\r\x1b\[K\d+ of %d positions \(\d+ %%\), \d+/s, [0-9hms]+ left$`, len(l.rows))
	if !regexp.MustCompile(want).MatchString(line) {
		t.Errorf("shown: %q", line)
	}
}

// openTerminal returns the two ends of a terminal of our own.
func openTerminal(t *testing.T) (screen, terminal *os.File) {
	t.Helper()
	screen, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skip("there are no terminals:", err)
	}
	t.Cleanup(func() { screen.Close() })
	var number, unlock uint32
	for request, argument := range map[uintptr]*uint32{syscall.TIOCSPTLCK: &unlock, syscall.TIOCGPTN: &number} {
		if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, screen.Fd(), request, uintptr(unsafe.Pointer(argument))); errno != 0 {
			t.Fatal(errno)
		}
	}
	terminal, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { terminal.Close() })
	return screen, terminal
}

// TestRebuildInAVersion asks for versions of dialects, those that there are and
// those that there are not.
func TestRebuildInAVersion(t *testing.T) {
	t.Parallel()
	l := newSeededLog(t)
	id := newID(t)
	l.add(eventstore.StreamName("endpoint", id), endpoint.Registered{
		Account:  domain.Account{ID: "default"},
		Settings: endpoint.Settings{URL: "https://example.com/", Dialect: "closer@1", Events: []string{"*"}, History: "full"},
	})
	l.talk(2, 5)
	l.keep()
	for _, what := range [][2]string{{"--dialect", "chatwoot"}, {"--dialect", "chatwoot@1"}, {"--endpoint", id}} {
		want := l.rebuild(what[:]...)
		if r := l.rebuild(what[0], what[1], "--schema-version", "1"); r.code != 0 || r.out != want.out || r.out == "" {
			t.Errorf("%v: exit %d: %s", what, r.code, r.errors)
		}
	}
	for _, test := range []struct {
		args []string
		says string
	}{
		{[]string{"--dialect", "chatwoot", "--schema-version", "2"}, "must be one of chatwoot@1\n"},
		{[]string{"--dialect", "chatwoot@1", "--schema-version", "2"}, "--dialect chatwoot@1 and --schema-version 2 contradict each other"},
		{[]string{"--dialect", "chatwoot@2", "--schema-version", "1"}, "--dialect chatwoot@2 and --schema-version 1 contradict each other"},
		{[]string{"--dialect", "chatwoot@2"}, "must be one of chatwoot@1\n"},
		{[]string{"--dialect", "chatwoot", "--schema-version", "0"}, "a number from 1 on"},
		{[]string{"--dialect", "chatwoot", "--schema-version", "new"}, "a number from 1 on"},
		{[]string{"--endpoint", id, "--schema-version", "7"}, "must be one of closer@1\n"},
	} {
		if r := l.rebuild(test.args...); r.code != 2 || r.out != "" || !strings.Contains(r.errors, test.says) {
			t.Errorf("%v: exit %d: %s%s", test.args, r.code, r.out, r.errors)
		}
	}
}
