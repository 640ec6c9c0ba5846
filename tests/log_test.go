package tests_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// Whoever searches a log by a key finds every line about it: the keys that the
// code writes are those that docs/OPERATIONS.md lists, no more and no fewer.
func TestLogKeysAreListed(t *testing.T) {
	t.Parallel()
	house := os.DirFS(top)
	_, rest, _ := strings.Cut(string(read(t, house, "docs/OPERATIONS.md")), "<!-- keys:")
	table, _, ok := strings.Cut(rest, "<!-- /keys -->")
	if !ok {
		t.Fatal("docs/OPERATIONS.md has no table of keys")
	}
	listed := map[string]bool{}
	for _, row := range regexp.MustCompile("(?m)^\\| (`[^|]*`) \\|").FindAllStringSubmatch(table, -1) {
		for key := range strings.SplitSeq(row[1], ", ") {
			listed[strings.Trim(key, "`")] = false
		}
	}
	for _, name := range goFiles(t, house) {
		if strings.HasSuffix(name, "_test.go") || isHelper(path.Dir(name)) || strings.HasPrefix(name, "examples/") {
			continue
		}
		files := token.NewFileSet()
		file, err := parser.ParseFile(files, name, read(t, house, name), 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok {
				for _, key := range logKeys(call) {
					if _, ok := listed[key]; !ok {
						t.Errorf("%s: the key %q is not in docs/OPERATIONS.md", files.Position(call.Pos()), key)
					}
					listed[key] = true
				}
			}
			return true
		})
	}
	for key, used := range listed {
		if !used {
			t.Errorf("docs/OPERATIONS.md lists the key %q, which nothing writes", key)
		}
	}
}

// logKeys returns the keys that a call gives to a line of the log: one that makes
// an attribute, or one that writes a line of keys and values.
func logKeys(call *ast.CallExpr) (keys []string) {
	function, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return nil
	}
	if of, ok := function.X.(*ast.Ident); ok && of.Name == "slog" {
		if slices.Contains([]string{"String", "Int", "Int64", "Uint64", "Float64", "Bool", "Time", "Duration", "Any", "Group"}, function.Sel.Name) {
			keys = append(keys, literal(call.Args[0])...)
		}
		return keys
	}
	level, inContext := strings.CutSuffix(function.Sel.Name, "Context")
	if !slices.Contains([]string{"Debug", "Info", "Warn", "Error"}, level) || !isLogger(function.X) {
		return nil
	}
	args := call.Args[1:]
	if inContext {
		args = args[1:]
	}
	for i := 0; i < len(args); i++ {
		if key := literal(args[i]); key != nil {
			keys = append(keys, key...)
			i++ // its value
		}
	}
	return keys
}

func literal(e ast.Expr) []string {
	if lit, ok := e.(*ast.BasicLit); ok && lit.Kind == token.STRING {
		if s, err := strconv.Unquote(lit.Value); err == nil {
			return []string{s}
		}
	}
	return nil
}

// isLogger says whether an expression is called as our loggers are.
func isLogger(e ast.Expr) bool {
	name := ""
	switch e := e.(type) {
	case *ast.Ident:
		name = e.Name
	case *ast.SelectorExpr:
		name = e.Sel.Name
	}
	return slices.Contains([]string{"log", "slog", "logger"}, strings.ToLower(name))
}

func TestLogKeysAreFound(t *testing.T) {
	t.Parallel()
	for source, want := range map[string]string{
		`d.cfg.Log.WarnContext(ctx, "something", "a", 1, "b", "c")`:      "a b",
		`d.cfg.Log.Warn("something", append(more, slog.Int("a", 1))...)`: "",
		`slog.Int64("a", 1)`:                                                 "a",
		`s.slog.Error("something", "error", err)`:                            "error",
		`q.log.Info("something", slog.String("a", "b"), about(x), "c", "d")`: "c",
		`http.Error(w, "something", 500)`:                                    "",
		`t.Error("something", "else")`:                                       "",
	} {
		e, err := parser.ParseExpr(source)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(logKeys(e.(*ast.CallExpr)), " "); got != want {
			t.Errorf("%s: got %q, want %q", source, got, want)
		}
	}
}
