package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"unicode"

	"verbatim/adapters/httpapi"
	"verbatim/eventstore"
	"verbatim/webhooks"
	"verbatim/webhooks/dialect"
	"verbatim/webhooks/shape"
)

//go:generate go run . docs ../../docs

// Where the documents of the formats are: all that is in these folders is
// generated, and what is not any more is removed.
const (
	dialectFolder = "dialects"
	schemaFolder  = "schemas"
)

// docs writes the documents that are made from the program itself.
func docs(_ context.Context, sh *shell, args []string) error {
	names, err := parse(sh.flags("docs", "FOLDER"), args, "FOLDER")
	if err != nil {
		return err
	}
	openapi, err := httpapi.OpenAPI()
	if err != nil {
		return err
	}
	dialects := dialect.All()
	files, err := dialectFiles(dialects)
	if err != nil {
		return err
	}
	files["openapi.json"], files["CONFIG.md"], files["EVENTS.md"] = string(openapi), configDocs(), eventDocs(dialects)
	for name, content := range files {
		name = filepath.Join(names[0], filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil { //nolint:gosec // documents are for everybody
			return err
		}
		err := writeFile(name, func(w io.Writer) error {
			_, err := io.WriteString(w, content)
			return err
		})
		if err != nil {
			return err
		}
	}
	for _, pattern := range []string{dialectFolder + "/*.md", schemaFolder + "/*/*.json"} {
		if err := removeStale(names[0], pattern, files); err != nil {
			return err
		}
	}
	return nil
}

// removeStale removes the files of a pattern that are not among those that were
// made, and folders that have become empty.
func removeStale(folder, pattern string, made map[string]string) error {
	there, err := fs.Glob(os.DirFS(folder), pattern)
	if err != nil {
		return err
	}
	for _, name := range there {
		if _, ok := made[name]; ok {
			continue
		}
		file := filepath.Join(folder, filepath.FromSlash(name))
		if err := os.Remove(file); err != nil { //nolint:gosec // found in our own folders above
			return err
		}
		if left, err := os.ReadDir(filepath.Dir(file)); err == nil && len(left) == 0 {
			if err := os.Remove(filepath.Dir(file)); err != nil { //nolint:gosec // likewise
				return err
			}
		}
	}
	return nil
}

// dialectFiles returns the page of every dialect and the schema of every event,
// by their paths in docs.
func dialectFiles(dialects *webhooks.Dialects) (map[string]string, error) {
	files := make(map[string]string)
	for _, name := range dialects.Names() {
		d, err := dialects.Find(name)
		if err != nil {
			return nil, err
		}
		bare, _, _ := strings.Cut(name, "@")
		page := path.Join(dialectFolder, bare+".md")
		if _, taken := files[page]; taken {
			return nil, fmt.Errorf("%s: another version of it has the page %s already", name, page)
		}
		files[page] = dialectDocs(d)
		types := d.Vocabulary()
		for i := range types {
			schema, err := shape.Schema(name+" "+types[i].Name, types[i].Body)
			if err != nil {
				return nil, fmt.Errorf("%s: %s: %w", name, types[i].Name, err)
			}
			files[path.Join(schemaFolder, name, types[i].Name+".json")] = string(schema) + "\n"
		}
	}
	return files, nil
}

// sharedFields is from how many members on an object is listed once in a page,
// and named from then on. Most events bear the same conversation: with all of it
// in every table nobody would find what makes them differ.
const sharedFields = 3

// A place is where an object is listed in the page of a dialect.
type place struct{ event, path string }

// dialectDocs is the page of a dialect: its guide, and then each event with what
// is in its body.
func dialectDocs(d webhooks.Dialect) string {
	bare, _, _ := strings.Cut(d.Name(), "@")
	types := d.Vocabulary()
	listed := make(map[string]place)
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n\n<!-- Made by `make generate` from webhooks/dialect/%s. -->\n\n%s\n\n", d.Name(), bare, strings.TrimSpace(d.Guide()))
	b.WriteString("## Events\n\n| event | facts | opt-in |\n|---|---|---|\n")
	for i := range types {
		t := &types[i]
		optIn := ""
		if t.OptIn {
			optIn = "yes"
		}
		fmt.Fprintf(&b, "| [`%s`](#%s) | `%s` | %s |\n", t.Name, anchor(t.Name), strings.Join(t.Facts, "`, `"), optIn)
	}
	for i := range types {
		t := &types[i]
		fmt.Fprintf(&b, "\n### %s\n\n%s", t.Name, t.About)
		if t.OptIn {
			b.WriteString(" It is sent only to endpoints that ask for it by name.")
		}
		if t.Body.About != "" {
			fmt.Fprintf(&b, " The body: %s", t.Body.About)
		}
		b.WriteString("\n\n| member | type | may be | meaning |\n|---|---|---|---|\n")
		writeFields(&b, t, listed)
		fmt.Fprintf(&b, "\nIts JSON Schema: [%s.json](../%s/%s/%s.json). A body:\n\n```json\n%s\n```\n",
			t.Name, schemaFolder, d.Name(), t.Name, bytes.TrimSpace(t.Sample))
	}
	return b.String()
}

// writeFields writes a row for everything in the body of an event. What is
// listed already is not listed again.
func writeFields(b *strings.Builder, t *webhooks.EventType, listed map[string]place) {
	fields := shape.Fields(&t.Body)
	for i := 0; i < len(fields); i++ {
		f := fields[i]
		docs := typeDocs(f.Shape)
		if inside := shape.Fields(f.Shape); len(inside) >= sharedFields {
			var all strings.Builder
			for _, in := range inside {
				writeField(&all, in, typeDocs(in.Shape))
			}
			switch at, known := listed[all.String()]; {
			case !known:
				listed[all.String()] = place{t.Name, f.Path}
			case at.event == t.Name:
				docs, i = docs+", as `"+at.path+"`", i+len(inside)
			default:
				docs, i = fmt.Sprintf("%s, as `%s` of [%s](#%s)", docs, at.path, at.event, anchor(at.event)), i+len(inside)
			}
		}
		writeField(b, f, docs)
	}
}

func writeField(b *strings.Builder, f shape.Field, docs string) {
	fmt.Fprintf(b, "| `%s` | %s | %s | %s |\n", f.Path, cell(docs), mayBe(f), cell(f.Shape.About))
}

// anchor is how GitHub names a heading.
func anchor(heading string) string {
	return strings.Map(func(r rune) rune {
		if r == '_' || r == '-' || unicode.IsLetter(r) || unicode.IsDigit(r) {
			return unicode.ToLower(r)
		}
		return -1
	}, heading)
}

// cell returns Markdown as it can stand in a table. What looks like a tag of
// HTML is none, but code is left as it is.
func cell(s string) string {
	var b strings.Builder
	code := false
	for _, r := range s {
		switch {
		case r == '`':
			code = !code
		case r == '|', r == '<' && !code:
			b.WriteByte('\\')
		case r == '\n':
			r = ' '
		}
		b.WriteRune(r)
	}
	return b.String()
}

// typeDocs says what a value may be, but for null.
func typeDocs(s *shape.Shape) string {
	var kinds []string
	for _, k := range s.Kinds() {
		switch k {
		case shape.Any:
			kinds = append(kinds, "anything")
		case shape.Null:
		default:
			kinds = append(kinds, string(k))
		}
	}
	docs := strings.Join(kinds, " or ")
	if len(s.Values) > 0 {
		docs = "`" + strings.Join(s.Values, "`, `") + "`"
	}
	if s.Format != "" {
		docs += ", " + s.Format
	}
	if s.Pattern != "" {
		docs += " like `" + s.Pattern + "`"
	}
	return docs
}

// mayBe says what a member may be instead of having its type.
func mayBe(f shape.Field) string {
	var may []string
	if slices.Contains(f.Shape.Kinds(), shape.Null) {
		may = append(may, "null")
	}
	if f.Optional {
		may = append(may, "left out")
	}
	return strings.Join(may, ", ")
}

// eventDocs is docs/EVENTS.md: every fact and what each dialect calls it.
func eventDocs(dialects *webhooks.Dialects) string {
	facts := eventstore.Catalogue().Types()
	var b strings.Builder
	b.WriteString("# Events\n\n<!-- Made by `make generate` from the catalogue of facts and the dialects. -->\n\n" +
		"An endpoint names the events it wants by fact (`conversation.created`), by group (`conversation.*`), by the\n" +
		"dialect's own name, or `*` for all. A dialect that has no word for a fact sends nothing for it. What is marked as\n" +
		"opt-in is sent only to an endpoint that names it: `*` and the fact do not mean it.\n\n| fact |")
	for _, d := range dialects.Names() {
		fmt.Fprintf(&b, " %s |", d)
	}
	b.WriteString("\n|---|" + strings.Repeat("---|", len(dialects.Names())) + "\n")
	for _, fact := range slices.Sorted(maps.Keys(facts)) {
		fmt.Fprintf(&b, "| `%s` |", fact)
		for _, name := range dialects.Names() {
			words := []string{}
			if d, err := dialects.Find(name); err == nil {
				for _, t := range d.Vocabulary() {
					if !slices.Contains(t.Facts, fact) {
						continue
					}
					word := "`" + t.Name + "`"
					if t.OptIn {
						word += " (opt-in)"
					}
					words = append(words, word)
				}
			}
			if len(words) > 0 {
				b.WriteByte(' ')
			}
			b.WriteString(strings.Join(words, ", ") + " |")
		}
		b.WriteByte('\n')
	}
	return b.String()
}
