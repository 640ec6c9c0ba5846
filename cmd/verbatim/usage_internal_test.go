package main

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// said runs the program and returns its exit code and what it said.
func said(t *testing.T, args ...string) (code int, words string) {
	t.Helper()
	var errs strings.Builder
	code = run(t.Context(), args, func(string) (string, bool) { return "", false }, nil, io.Discard, &errs)
	return code, errs.String()
}

// Help is there for every command and for those that they consist of, whichever
// way it is asked for.
func TestHelpOfEveryCommand(t *testing.T) {
	t.Parallel()
	for _, v := range verbs() {
		asked := [][]string{{v.name}}
		if strings.Contains(v.args, "|") {
			for part := range strings.SplitSeq(v.args, "|") {
				asked = append(asked, []string{v.name, part})
			}
		}
		for _, names := range asked {
			want := "Usage: verbatim " + strings.Join(names, " ") + " "
			for _, args := range [][]string{append(slices.Clip(names), "-h"), append([]string{"help"}, names...)} {
				if code, words := said(t, args...); code != exitDone || !strings.HasPrefix(words, want) {
					t.Errorf("%v: exit %d: %s", args, code, words)
				}
			}
		}
	}
	if code, words := said(t, "help", "dance"); code != exitUsage || !strings.Contains(words, `no command "dance"`) {
		t.Errorf("exit %d: %s", code, words)
	}
}

// Who interrupts a command is told that, and not how.
func TestAnInterruptionIsCalledSo(t *testing.T) {
	t.Parallel()
	database := "sqlite:" + filepath.Join(t.TempDir(), "data")
	fixture := filepath.Join("..", "..", "tests", "fixtures", "closer-conversation.ndjson")
	if code, words := said(t, "import", "-database", database, fixture); code != exitDone {
		t.Fatal(words)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var errs strings.Builder
	code := run(ctx, []string{"export", "-database", database, "-"}, func(string) (string, bool) { return "", false }, nil, io.Discard, &errs)
	if code != exitFailed || errs.String() != "verbatim: interrupted\n" {
		t.Errorf("exit %d: %s", code, errs.String())
	}
}

// A folder that was misspelt is not made by those who ask what is in it.
func TestWhatIsNotThereIsNotMade(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	for _, args := range [][]string{
		{"endpoints", "list"},
		{"endpoints", "delete", "x"},
		{"keys", "list"},
		{"deliveries", "x"},
		{"feed", "x"},
		{"redeliver", "x"},
		{"replay", "--endpoint", "x"},
		{"replays", "list", "x"},
		{"erase", "--contact", "x"},
		{"projections", "list"},
		{"rebuild-projection", "inbox"},
		{"rebuild", "--dialect", "closer"},
		{"verify"},
		{"export", "-"},
	} {
		code, words := said(t, slices.Concat(args, []string{"-database", "sqlite:" + dir})...)
		if _, err := os.Stat(dir); code != exitFailed || !strings.Contains(words, "no Verbatim database") || !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%v: exit %d: %s, the folder: %v", args, code, words, err)
		}
	}
}

// What cannot be meant is said, and is no empty answer.
func TestWhatCannotBeMeant(t *testing.T) {
	t.Parallel()
	database := "sqlite:" + filepath.Join(t.TempDir(), "data")
	if code, words := said(t, "import", "-database", database, filepath.Join("..", "..", "tests", "fixtures", "closer-conversation.ndjson")); code != exitDone {
		t.Fatal(words)
	}
	for _, c := range []struct {
		args []string
		exit int
		says string
	}{
		{[]string{"endpoints", "create", "--url", "https://example.com/"}, exitUsage, "--dialect"},
		{[]string{"endpoints", "create", "--dialect", "closer"}, exitUsage, "--url"},
		{[]string{"deliveries", "x", "--limit", "0"}, exitUsage, "--limit"},
		{[]string{"deliveries", "x", "--limit", "-1"}, exitUsage, "--limit"},
		{[]string{"rebuild", "--dialect", "closer", "--conversation", "x"}, exitFailed, "no conversation x"},
		{[]string{"verify", "--log-only", "--endpoint", "x"}, exitUsage, "--endpoint"},
	} {
		if code, words := said(t, slices.Concat(c.args, []string{"-database", database})...); code != c.exit || !strings.Contains(words, c.says) {
			t.Errorf("%v: exit %d: %s", c.args, code, words)
		}
	}
}
