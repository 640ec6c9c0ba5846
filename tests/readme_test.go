package tests_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// volatile is what of an output follows from when and where it was made.
var volatile = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|(?:msg|dlv|job|rpl)_[0-9a-f]{32}|\b[0-9a-f]{64}\b|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d|\b\d{13}\b|"randomName": ?"[^"]*"|\d{4}-\d\d-\d\dT[\d:.]+Z`)

// TestQuickStart runs the quick start of the README line by line and compares
// what it prints with what the README says it does.
func TestQuickStart(t *testing.T) {
	t.Parallel()
	shown := runSection(t, "Quick start", 5)
	if bodies := strings.Count(shown, `{"position":`); bodies != 2 {
		t.Errorf("rebuild printed %d bodies:\n%s", bodies, shown)
	}
}

// TestDeliveriesOfTheReadme does so with its section on deliveries.
func TestDeliveriesOfTheReadme(t *testing.T) {
	t.Parallel()
	runSection(t, "Deliveries", 3)
}

// TestReplayOfTheReadme does so with its section on the past.
func TestReplayOfTheReadme(t *testing.T) {
	t.Parallel()
	runSection(t, "Replay with proof", 4)
}

// runSection runs the commands of a section of the README, looks for what it says
// that they print, and returns what they printed. Only the places are others:
// those of the README may be somebody's.
func runSection(t *testing.T, name string, blocksOfCommands int) string {
	t.Helper()
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(readme), "\n## "+name+"\n")
	section, _, _ = strings.Cut(section, "\n## ")
	commands, printed := blocks(section, "sh"), blocks(section, "text")
	if len(commands) != blocksOfCommands || len(printed) == 0 {
		t.Fatalf("%s has %d blocks of commands and %d of output", name, len(commands), len(printed))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience) // it compiles two programs
	defer cancel()
	api, receiver, folder := freeAddr(t), freeAddr(t), t.TempDir()
	script := strings.NewReplacer("127.0.0.1:8080", api, "127.0.0.1:9000", receiver, "received.txt", folder+"/received.txt",
		"./examples/receiver -", "./examples/receiver -addr "+receiver+" -",
		"bin/receiver ", folder+"/receiver -addr "+receiver+" ", "bin/", folder+"/",
	).Replace(strings.Join(commands, "\n"))
	cmd := exec.CommandContext(ctx, "bash", "-c", "set -e\n"+script)
	cmd.Dir = ".."
	cmd.Env = append(os.Environ(), "VERBATIM_ADDR="+api, "VERBATIM_DATABASE=sqlite:"+filepath.Join(folder, "data"))
	// A group of its own, so that what it starts in the background ends with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	out, err := os.CreateTemp(t.TempDir(), "output")
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	err = cmd.Run()
	if kill := syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL); kill != nil && !errors.Is(kill, syscall.ESRCH) {
		t.Error(kill)
	}
	shown, rerr := os.ReadFile(out.Name())
	if err := errors.Join(err, rerr); err != nil {
		t.Fatalf("%v\n%s", err, shown)
	}
	got := volatile.ReplaceAll(shown, []byte("…"))
	for part := range strings.SplitSeq(strings.TrimSpace(strings.Join(printed, "\n")), "\n\n") {
		want := volatile.ReplaceAll([]byte(part), []byte("…"))
		if !bytes.Contains(got, want) {
			t.Errorf("the README shows\n%s\nwhich is not in\n%s", want, got)
		}
	}
	return string(shown)
}

// freeAddr returns an address of this machine that nobody listened on just now.
func freeAddr(tb testing.TB) string {
	tb.Helper()
	l, err := (&net.ListenConfig{}).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	if err := l.Close(); err != nil {
		tb.Fatal(err)
	}
	return l.Addr().String()
}

// blocks returns the fenced blocks of that kind.
func blocks(markdown, kind string) []string {
	var out []string
	for {
		_, rest, ok := strings.Cut(markdown, "```"+kind+"\n")
		if !ok {
			return out
		}
		block, rest, _ := strings.Cut(rest, "```")
		out = append(out, block)
		markdown = rest
	}
}
