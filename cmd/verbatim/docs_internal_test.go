package main

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"verbatim/domain"
	"verbatim/webhooks"
	"verbatim/webhooks/dialect"
	"verbatim/webhooks/shape"
)

// described is a dialect that is only described.
type described struct {
	name, guide string
	types       []webhooks.EventType
}

func (d described) Name() string                     { return d.name }
func (d described) Vocabulary() []webhooks.EventType { return d.types }
func (d described) Guide() string                    { return d.guide }
func (described) Words(domain.Event) []webhooks.Word { return nil }
func (described) AppendBody(dst []byte, _ *webhooks.PublicEvent) ([]byte, error) {
	return dst, nil
}

func morse() described {
	person := shape.Struct("Who.",
		shape.Has("id", shape.Formatted("uuid", "Id.")),
		shape.May("name", shape.Text("What <they> are called, or `a|b`.").OrNull()),
		shape.May("tags", shape.List("", shape.Text(""))))
	beep := shape.Struct("", shape.Has("event", shape.OneOfTexts("What.", "beep", "boop")), shape.Has("by", person), shape.Has("to", person.OrNull()))
	return described{
		name: "morse@1", guide: "## Dots\n\nAnd dashes.\n",
		types: []webhooks.EventType{
			{
				Word: webhooks.Word{Name: "beep.short_one"}, Facts: []string{"conversation.created", "contact.created"}, About: "A beep.",
				Body: beep, Sample: []byte("{\n  \"event\": \"beep\"\n}\n"),
			},
			{
				Word: webhooks.Word{Name: "boop", OptIn: true}, Facts: []string{"conversation.closed"}, About: "A boop.",
				Body: shape.List("Always one.", shape.Struct("",
					shape.Has("by", person),
					shape.Has("code", shape.Matching("^(a|b)$", "The code.")),
					shape.May("more", shape.Either("Anything else.", shape.Int(""), shape.Text(""), shape.Nothing(""))),
				).OrOthers(shape.Shape{})),
				Sample: []byte("[]"),
			},
		},
	}
}

const morseDocs = `# morse@1

<!-- Made by ''make generate'' from webhooks/dialect/morse. -->

## Dots

And dashes.

## Events

| event | facts | opt-in |
|---|---|---|
| [''beep.short_one''](#beepshort_one) | ''conversation.created'', ''contact.created'' |  |
| [''boop''](#boop) | ''conversation.closed'' | yes |

### beep.short_one

A beep.

| member | type | may be | meaning |
|---|---|---|---|
| ''event'' | ''beep'', ''boop'' |  | What. |
| ''by'' | object |  | Who. |
| ''by.id'' | string, uuid |  | Id. |
| ''by.name'' | string | null, left out | What \<they> are called, or ''a\|b''. |
| ''by.tags'' | array | left out |  |
| ''by.tags[]'' | string |  |  |
| ''to'' | object, as ''by'' | null | Who. |

Its JSON Schema: [beep.short_one.json](../schemas/morse@1/beep.short_one.json). A body:

''''''json
{
  "event": "beep"
}
''''''

### boop

A boop. It is sent only to endpoints that ask for it by name. The body: Always one.

| member | type | may be | meaning |
|---|---|---|---|
| ''[]'' | object |  |  |
| ''[].by'' | object, as ''by'' of [beep.short_one](#beepshort_one) |  | Who. |
| ''[].code'' | string like ''^(a\|b)$'' |  | The code. |
| ''[].more'' | integer or string | null, left out | Anything else. |
| ''[].*'' | anything | left out |  |

Its JSON Schema: [boop.json](../schemas/morse@1/boop.json). A body:

''''''json
[]
''''''
`

func TestThePageOfADialect(t *testing.T) {
	t.Parallel()
	if diff := cmp.Diff(strings.ReplaceAll(morseDocs, "''", "`"), dialectDocs(morse())); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	events := eventDocs(webhooks.NewDialects(morse()))
	for fact, cell := range map[string]string{
		"conversation.created": "`beep.short_one`", "conversation.closed": "`boop` (opt-in)", "contact.created": "`beep.short_one`",
	} {
		if line := "| `" + fact + "` | " + cell + " |\n"; !strings.Contains(events, line) {
			t.Errorf("no line %s in\n%s", line, events)
		}
	}
	second := morse()
	second.name = "morse@2"
	if _, err := dialectFiles(webhooks.NewDialects(morse(), second)); err == nil || !strings.Contains(err.Error(), "morse.md") {
		t.Errorf("two versions in one page came to %v", err)
	}
}

// TestEveryEventIsDocumented makes the documents twice.
func TestEveryEventIsDocumented(t *testing.T) {
	t.Parallel()
	dialects := dialect.All()
	files, err := dialectFiles(dialects)
	if err != nil {
		t.Fatal(err)
	}
	again, err := dialectFiles(dialect.All())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(files, again); diff != "" {
		t.Errorf("made again, the documents are others:\n%s", diff)
	}
	want := 0
	for _, name := range dialects.Names() {
		d, err := dialects.Find(name)
		if err != nil {
			t.Fatal(err)
		}
		bare, _, _ := strings.Cut(name, "@")
		page := files["dialects/"+bare+".md"]
		want++
		for _, event := range d.Vocabulary() {
			want++
			if !strings.Contains(page, "\n### "+event.Name+"\n\n"+event.About) || !strings.Contains(page, string(event.Sample)) {
				t.Errorf("%s: %s is not in the page", name, event.Name)
			}
			if schema := files["schemas/"+name+"/"+event.Name+".json"]; !strings.Contains(schema, `"title": "`+name+" "+event.Name+`"`) {
				t.Errorf("%s: the schema of %s is %q", name, event.Name, schema)
			}
		}
	}
	if len(files) != want {
		t.Errorf("there are %d documents, want %d", len(files), want)
	}
}

// TestGenerate writes the documents, over old ones among them: what nothing
// makes any more is gone, what is none of ours is left, and a second time changes
// nothing.
func TestGenerate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	put := func(name string) {
		t.Helper()
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte("old"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	stale := []string{"dialects/morse.md", "schemas/closer@1/OldEvent.json", "schemas/morse@1/beep.json"}
	for _, name := range append(stale, "NOTES.md", "adr/dialects/0001.md", "dialects/closer.md") {
		put(name)
	}
	generated := func() map[string]string {
		t.Helper()
		if code, errs := command(context.Background(), nil, "docs", dir); code != exitDone {
			t.Fatalf("exit %d: %s", code, errs)
		}
		files := make(map[string]string)
		err := filepath.WalkDir(dir, func(name string, entry os.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			content, err := os.ReadFile(name)
			name, _ = filepath.Rel(dir, name)
			files[filepath.ToSlash(name)] = string(content)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return files
	}
	files := generated()
	for _, name := range stale {
		if _, there := files[name]; there {
			t.Errorf("%s is still there", name)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "schemas", "morse@1")); !os.IsNotExist(err) {
		t.Errorf("an empty folder is still there: %v", err)
	}
	want, err := dialectFiles(dialect.All())
	if err != nil {
		t.Fatal(err)
	}
	maps.Copy(want, map[string]string{"NOTES.md": "old", "adr/dialects/0001.md": "old"})
	for _, name := range []string{"openapi.json", "CONFIG.md", "EVENTS.md"} {
		want[name] = files[name]
	}
	if diff := cmp.Diff(want, files); diff != "" || files["EVENTS.md"] == "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if diff := cmp.Diff(files, generated()); diff != "" {
		t.Errorf("the second time (-first +second):\n%s", diff)
	}
}
