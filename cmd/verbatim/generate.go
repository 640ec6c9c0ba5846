package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"verbatim/adapters/httpapi"
	"verbatim/eventstore"
	"verbatim/webhooks/dialect"
)

//go:generate go run . generate ../../docs

// generate writes the documents that are made from the program itself.
func generate(_ context.Context, sh *shell, args []string) error {
	names, err := parse(sh.flags("generate", "FOLDER"), args, "FOLDER")
	if err != nil {
		return err
	}
	openapi, err := httpapi.OpenAPI()
	if err != nil {
		return err
	}
	for name, content := range map[string]string{
		"openapi.json": string(openapi), "CONFIG.md": configDocs(), "EVENTS.md": eventDocs(),
	} {
		err := writeFile(filepath.Join(names[0], name), func(w io.Writer) error {
			_, err := io.WriteString(w, content)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// eventDocs is docs/EVENTS.md: every fact and what each dialect calls it.
func eventDocs() string {
	dialects := dialect.All()
	facts := eventstore.Catalogue().Types()
	var b strings.Builder
	b.WriteString("# Events\n\n<!-- Made by `make generate` from the catalogue of facts and the dialects. -->\n\n" +
		"An endpoint names the events it wants by fact (`conversation.created`), by group (`conversation.*`), by the\n" +
		"dialect's own name, or `*` for all. A dialect that has no word for a fact sends nothing for it.\n\n| fact |")
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
					if slices.Contains(t.Facts, fact) {
						words = append(words, t.Name)
					}
				}
			}
			cell := " |"
			if len(words) > 0 {
				cell = " `" + strings.Join(words, "`, `") + "` |"
			}
			b.WriteString(cell)
		}
		b.WriteByte('\n')
	}
	return b.String()
}
