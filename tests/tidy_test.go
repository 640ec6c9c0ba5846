package tests_test

import (
	"errors"
	"fmt"
	"go/parser"
	"go/scanner"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// maxFileSize keeps clones small: what is bigger is generated, downloaded or
// split. The number is ten times our longest source file.
const maxFileSize = 256 << 10

// What a package is for is said once, where its reader looks first. A folder
// that holds nothing but tests says it in one of them.
func TestEveryPackageSaysWhatItIsFor(t *testing.T) {
	t.Parallel()
	house := os.DirFS(top)
	type folder struct{ code, codeDoc, testDoc bool }
	folders := map[string]folder{}
	for _, name := range goFiles(t, house) {
		file, err := parser.ParseFile(token.NewFileSet(), name, read(t, house, name), parser.PackageClauseOnly|parser.ParseComments)
		if err != nil {
			t.Error(err)
			continue
		}
		f := folders[path.Dir(name)]
		says := file.Doc.Text() != ""
		if strings.HasSuffix(name, "_test.go") {
			f.testDoc = f.testDoc || says
		} else {
			f.code = true
			f.codeDoc = f.codeDoc || says
		}
		folders[path.Dir(name)] = f
	}
	for name, f := range folders {
		switch {
		case f.code && !f.codeDoc:
			t.Errorf("%s: no file but perhaps a test has a package comment", name)
		case !f.code && !f.testDoc:
			t.Errorf("%s: no test has a package comment", name)
		}
	}
}

// What is to be done is written where it can be planned, not where it is
// forgotten.
func TestNothingIsLeftForLater(t *testing.T) {
	t.Parallel()
	house := os.DirFS(top)
	later := regexp.MustCompile(`\b(TODO|FIXME)\b`)
	for _, name := range goFiles(t, house) {
		source := read(t, house, name)
		files := token.NewFileSet()
		var s scanner.Scanner
		// Errors are the compiler's business; the scanner goes on after them.
		s.Init(files.AddFile(name, -1, len(source)), source, func(token.Position, string) {}, scanner.ScanComments)
		for {
			at, what, text := s.Scan()
			if what == token.EOF {
				break
			}
			if what == token.COMMENT && later.MatchString(text) {
				t.Errorf("%s: %s", files.Position(at), text)
			}
		}
	}
}

func TestChangelogHasUnreleased(t *testing.T) {
	t.Parallel()
	changes := read(t, os.DirFS(top), "CHANGELOG.md")
	if !regexp.MustCompile(`(?m)^## \[Unreleased\]\s*$`).Match(changes) {
		t.Error("CHANGELOG.md has no section ## [Unreleased]")
	}
}

func TestNoFileIsTooBig(t *testing.T) {
	t.Parallel()
	names := trackedFiles(t)
	if len(names) == 0 {
		t.Fatal("found no files")
	}
	for _, name := range names {
		info, err := os.Lstat(filepath.Join(top, filepath.FromSlash(name)))
		if errors.Is(err, fs.ErrNotExist) {
			continue // deleted, not yet committed
		}
		if err != nil {
			t.Error(err)
			continue
		}
		if name != "go.sum" && info.Size() > maxFileSize {
			t.Errorf("%s has %d bytes, more than %d", name, info.Size(), maxFileSize)
		}
	}
}

// Decisions are cited by number: 1, 2, 3…, each once.
func TestDecisionsAreNumbered(t *testing.T) {
	t.Parallel()
	const folder = "docs/adr"
	entries, err := fs.ReadDir(os.DirFS(top), folder)
	if err != nil {
		t.Fatal(err)
	}
	form := regexp.MustCompile(`^\d{4}-[a-z0-9]+(-[a-z0-9]+)*\.md$`)
	last := 0
	for _, entry := range entries { // in order of name
		name := entry.Name()
		if name == "README.md" {
			continue
		}
		if !form.MatchString(name) {
			t.Errorf("%s/%s is not named NNNN-what-was-decided.md", folder, name)
			continue
		}
		if want := fmt.Sprintf("%04d-", last+1); !strings.HasPrefix(name, want) {
			t.Errorf("%s/%s should begin with %s", folder, name, want)
		}
		last++
	}
	if last == 0 {
		t.Errorf("%s holds no decision", folder)
	}
}

// trackedFiles returns what git tracks or, outside of a checkout, every file
// that is not a product of building or running.
func trackedFiles(t *testing.T) []string {
	t.Helper()
	if _, err := os.Stat(filepath.Join(top, ".git")); err == nil {
		// go test repeats a result until a file that it saw the test look at has
		// changed. It does not see git look at its index; hence a look of our own.
		_, _ = os.Stat(filepath.Join(top, ".git", "index"))
		list := exec.CommandContext(t.Context(), "git", "ls-files", "-z")
		list.Dir = top
		out, err := list.Output()
		if err == nil {
			return strings.FieldsFunc(string(out), func(r rune) bool { return r == 0 })
		}
		t.Logf("git ls-files: %v; looking at every file instead", err)
	}
	var names []string
	err := fs.WalkDir(os.DirFS(top), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && (name == ".git" || name == "bin" || name == "verbatim-data") {
			return fs.SkipDir
		}
		if entry.Type().IsRegular() {
			names = append(names, name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}
