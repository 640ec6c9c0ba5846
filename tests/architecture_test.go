// Package tests_test sees what only the outside can see: the shape of the code
// and whole runs of it.
package tests_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The module whose shape is tested, and where it is from here.
const (
	module = "verbatim"
	top    = ".."
)

// A room is one row of the import table in docs/ARCHITECTURE.md: a kind of
// folder, and what its code may import beside the standard library.
//
// Folders are patterns: "a" is the folder a alone, "a/..." is a and all below
// it, and "*" is any one name, the same one throughout the row.
type room struct {
	folder  string
	ours    []string // patterns of our own folders
	modules []string // modules of others; "..." is any
	not     []string // parts of the standard library that may not be imported
	outside bool     // looks at the house from outside: may use test helpers too
}

// The house: what is not in a row is not allowed, and a folder without a row is
// not part of the house. The first matching row counts.
func house() []room {
	uuid := []string{"github.com/google/uuid"}
	// The rules are pure: no transport, no storage, no process, no chance.
	impure := []string{"net/http", "database/sql", "os", "math/rand", "crypto/rand"}
	anything := []string{"..."}

	return []room{
		{folder: "domain", modules: uuid, not: impure},
		{folder: "domain/*/...", ours: []string{"domain", "domain/*/..."}, modules: uuid, not: impure},
		{folder: "eventstore/...", ours: []string{"domain/...", "eventstore/..."}, modules: uuid},
		{
			folder:  "webhooks/...",
			ours:    []string{"domain/...", "eventstore", "webhooks/..."},
			modules: []string{"github.com/google/uuid", "golang.org/x/sync", "golang.org/x/time"},
		},
		{folder: "projections/...", ours: []string{"domain/...", "eventstore", "webhooks/...", "projections/..."}},
		{
			folder:  "adapters/*/...",
			ours:    []string{"domain/...", "eventstore/...", "webhooks/...", "projections/...", "web/...", "adapters/*/..."},
			modules: anything,
		},
		{folder: "web/..."},
		{folder: "cmd/verbatim/...", ours: anything, modules: anything},
		{folder: "tests/...", ours: anything, modules: anything, outside: true},
		{folder: "examples/...", ours: anything, modules: anything, outside: true},
	}
}

// A violation is one import that the table forbids, or a folder that it does
// not know (with an empty Import).
type violation struct{ Import, Why string }

// violations returns what the table has against the imports of pkg, a package
// of our module that is not a test.
func violations(pkg string, imports []string) []violation {
	folder := strings.TrimPrefix(strings.TrimPrefix(pkg, module), "/")
	for _, r := range house() {
		name, ok := match(r.folder, folder, "")
		if !ok {
			continue
		}
		var vs []violation
		for _, imported := range imports {
			if why := r.objection(folder, name, imported); why != "" {
				vs = append(vs, violation{imported, why})
			}
		}
		return vs
	}
	return []violation{{"", "the folder is not in the table"}}
}

// objection returns why a package in this room may not import another, or
// nothing. Name is what "*" stands for.
func (r room) objection(folder, name, imported string) string {
	helper := isHelper(folder)
	switch {
	case within(imported, module):
		target := strings.TrimPrefix(imported, module+"/")
		if !slices.ContainsFunc(r.ours, func(p string) bool { _, ok := match(p, target, name); return ok }) {
			return "this folder may not import that one"
		}
		if isHelper(target) && !helper && !r.outside {
			return "only tests and their helpers import a test helper"
		}
	case isStandard(imported):
		if within(imported, "testing") && !helper && !r.outside {
			return "only tests and their helpers import testing"
		}
		if slices.ContainsFunc(r.not, func(p string) bool { return within(imported, p) }) {
			return "this folder is pure"
		}
	default:
		allowed := r.modules
		if helper {
			allowed = append(slices.Clone(allowed), "github.com/google/go-cmp", "pgregory.net/rapid")
		}
		if !slices.ContainsFunc(allowed, func(m string) bool { return m == "..." || within(imported, m) }) {
			return "this folder may not use that module"
		}
	}
	return ""
}

// match says whether a folder fits a pattern, and what "*" stood for. A name
// given beforehand is the only one that "*" then fits.
func match(pattern, folder, name string) (string, bool) {
	if pattern == "..." {
		return name, true
	}
	pattern, tree := strings.CutSuffix(pattern, "/...")
	want, have := strings.Split(pattern, "/"), strings.Split(folder, "/")
	if len(have) < len(want) || len(have) > len(want) && !tree {
		return "", false
	}
	for i, w := range want {
		if w == "*" && name == "" {
			name = have[i]
		}
		if have[i] != w && (w != "*" || have[i] != name) {
			return "", false
		}
	}
	return name, true
}

// within says whether an import path is root or below it.
func within(imported, root string) bool {
	return imported == root || strings.HasPrefix(imported, root+"/")
}

// isHelper says whether a folder holds what several tests share, such as
// eventstore/eventstoretest: by our habit, and that of net/http/httptest, its
// name ends in test.
func isHelper(folder string) bool { return strings.HasSuffix(folder, "test") }

// isStandard says whether an import path is of the standard library: those have
// no dot in their first element. C is a technology, not a library.
func isStandard(imported string) bool {
	first, _, _ := strings.Cut(imported, "/")
	return imported != "C" && !strings.Contains(first, ".")
}

func TestImportsFollowTheTable(t *testing.T) {
	t.Parallel()
	house := os.DirFS(top)
	// Were the module called otherwise, its imports would pass for standard ones.
	mod, err := fs.ReadFile(house, "go.mod")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(string(mod), "module "+module+"\n") {
		t.Fatalf("go.mod does not begin with: module %s", module)
	}

	files := 0
	for _, name := range goFiles(t, house) {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		files++
		file, err := parser.ParseFile(token.NewFileSet(), name, read(t, house, name), parser.ImportsOnly)
		if err != nil {
			t.Error(err)
			continue
		}
		var imports []string
		for _, spec := range file.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			imports = append(imports, imported)
		}
		for _, v := range violations(path.Join(module, path.Dir(name)), imports) {
			t.Errorf("%s: %s: %s", name, v.Import, v.Why)
		}
	}
	if files == 0 {
		t.Error("found no Go files: the test looks in the wrong place")
	}
}

func TestTheTableCatches(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, pkg    string
		good, caught []string
	}{
		{
			name:   "what the domain must not know",
			pkg:    "verbatim/domain",
			good:   []string{"time", "encoding/json", "net/url", "math", "github.com/google/uuid"},
			caught: []string{"verbatim/eventstore", "verbatim/domain/contact", "net/http", "net/http/httptest", "database/sql", "os", "os/exec", "math/rand/v2", "crypto/rand", "golang.org/x/sync/errgroup", "github.com/google/uuidv7", "C"},
		},
		{
			name:   "an aggregate that imports another",
			pkg:    "verbatim/domain/conversation",
			good:   []string{"verbatim/domain", "verbatim/domain/conversation/rules", "slices"},
			caught: []string{"verbatim/domain/contact", "verbatim/domain/conversations", "verbatim/webhooks", "os"},
		},
		{
			name:   "what is below an aggregate is the aggregate",
			pkg:    "verbatim/domain/conversation/rules",
			good:   []string{"verbatim/domain", "verbatim/domain/conversation"},
			caught: []string{"verbatim/domain/contact", "math/rand"},
		},
		{
			name:   "a store that looks outward",
			pkg:    "verbatim/eventstore",
			good:   []string{"verbatim/domain", "verbatim/domain/contact", "net/http", "github.com/google/uuid"},
			caught: []string{"verbatim/webhooks", "verbatim/adapters/sqlite", "verbatim/eventstore/eventstoretest", "testing", "github.com/google/go-cmp/cmp", "github.com/ThreeDotsLabs/watermill/message"},
		},
		{
			name:   "a test helper is still in its room",
			pkg:    "verbatim/eventstore/eventstoretest",
			good:   []string{"testing", "testing/synctest", "verbatim/eventstore", "github.com/google/go-cmp/cmp"},
			caught: []string{"verbatim/adapters/sqlite", "github.com/mattn/go-sqlite3"},
		},
		{
			name:   "webhooks that look outward",
			pkg:    "verbatim/webhooks",
			good:   []string{"verbatim/domain/endpoint", "verbatim/eventstore", "verbatim/webhooks/dialect", "net/http", "github.com/google/uuid", "golang.org/x/sync/errgroup", "golang.org/x/time/rate"},
			caught: []string{"verbatim/projections", "verbatim/eventstore/eventstoretest", "verbatim/web", "golang.org/x/text/cases", "code.dny.dev/ssrf"},
		},
		{
			name:   "a dialect",
			pkg:    "verbatim/webhooks/dialect/closer",
			good:   []string{"verbatim/domain/conversation", "verbatim/webhooks/dialect"},
			caught: []string{"verbatim/adapters/httpsender"},
		},
		{
			name:   "a projection with a library",
			pkg:    "verbatim/projections",
			good:   []string{"verbatim/domain/conversation", "verbatim/eventstore", "verbatim/webhooks", "database/sql"},
			caught: []string{"github.com/google/uuid", "github.com/ThreeDotsLabs/watermill", "verbatim/adapters/messaging"},
		},
		{
			name:   "an adapter that imports a sibling",
			pkg:    "verbatim/adapters/sqlite",
			good:   []string{"verbatim/eventstore", "verbatim/projections", "verbatim/web", "verbatim/adapters/sqlite/migrations", "github.com/mattn/go-sqlite3", "C"},
			caught: []string{"verbatim/adapters/messaging", "verbatim/adapters/sqlitex", "verbatim/cmd/verbatim", "verbatim/tests", "testing"},
		},
		{
			name:   "web with a library",
			pkg:    "verbatim/web",
			good:   []string{"embed", "net/http"},
			caught: []string{"verbatim/domain", "github.com/google/uuid"},
		},
		{
			name:   "main",
			pkg:    "verbatim/cmd/verbatim",
			good:   []string{"os", "verbatim/adapters/sqlite", "verbatim/adapters/messaging", "github.com/caarlos0/env/v11"},
			caught: []string{"testing", "verbatim/eventstore/eventstoretest"},
		},
		{
			name: "outside",
			pkg:  "verbatim/tests/simulator",
			good: []string{"testing", "verbatim/eventstore/eventstoretest", "verbatim/adapters/sqlite", "pgregory.net/rapid"},
		},
		{name: "the module's own folder", pkg: "verbatim", caught: []string{""}},
		{name: "no such room", pkg: "verbatim/internal/helpers", caught: []string{""}},
		{name: "no such command", pkg: "verbatim/cmd/other", caught: []string{""}},
		{name: "an adapter of nothing", pkg: "verbatim/adapters", caught: []string{""}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var caught []string
			for _, v := range violations(tt.pkg, append(tt.good, tt.caught...)) {
				caught = append(caught, v.Import)
			}
			if diff := cmp.Diff(tt.caught, caught); diff != "" {
				t.Errorf("caught in %s (-want +got):\n%s", tt.pkg, diff)
			}
		})
	}
}

// goFiles returns the Go files of the module, in order. Like the go command it
// passes over testdata, names that begin with a dot or an underscore, and other
// modules.
func goFiles(t *testing.T, fsys fs.FS) []string {
	t.Helper()
	var names []string
	err := fs.WalkDir(fsys, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		hidden := name != "." && strings.ContainsAny(entry.Name()[:1], "._")
		switch {
		case entry.IsDir() && name != ".":
			_, err := fs.Stat(fsys, path.Join(name, "go.mod"))
			if hidden || entry.Name() == "testdata" || err == nil {
				return fs.SkipDir
			}
		case !hidden && path.Ext(name) == ".go":
			names = append(names, name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func read(t *testing.T, fsys fs.FS, name string) []byte {
	t.Helper()
	content, err := fs.ReadFile(fsys, name)
	if err != nil {
		t.Fatal(err)
	}
	return content
}
