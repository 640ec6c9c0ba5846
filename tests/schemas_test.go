package tests_test

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"verbatim/webhooks"
	"verbatim/webhooks/dialect"
	"verbatim/webhooks/shape"
)

// schemas is the folder of the generated JSON Schemas.
const schemas = "../docs/schemas"

// compile reads a schema file as JSON Schema draft 2020-12 has it, formats being
// assertions.
func compile(tb testing.TB, name string) *jsonschema.Schema {
	tb.Helper()
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.AssertFormat()
	s, err := c.Compile(name)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func decoded(tb testing.TB, data []byte) any {
	tb.Helper()
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		tb.Fatal(err)
	}
	return v
}

// TestSchemasSayWhatSamplesAre holds the sample of every event against its JSON
// Schema by a validator that is not ours. What it cannot be, the schema refuses:
// each sample is spoilt in every way there is.
func TestSchemasSayWhatSamplesAre(t *testing.T) {
	t.Parallel()
	for _, name := range dialect.All().Names() {
		d, err := dialect.All().Find(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, event := range d.Vocabulary() {
			s := compile(t, filepath.Join(schemas, name, event.Name+".json"))
			if err := s.Validate(decoded(t, event.Sample)); err != nil {
				t.Errorf("%s: the sample of %s: %v", name, event.Name, err)
			}
			for _, spoilt := range spoil(&event.Body, decoded(t, event.Sample)) {
				if s.Validate(spoilt.value) == nil {
					sample, _ := json.Marshal(spoilt.value)
					t.Errorf("%s: %s passes with a wrong %s: %s", name, event.Name, spoilt.what, sample)
				}
			}
		}
	}
}

// spoilt is a value with one fault.
type spoilt struct {
	what  string
	value any
}

// spoil returns v, which is of the shape s, with one fault each: a member that
// is none, one that is missing, one of another type, a string that breaks its
// format. Values that may be anything are left alone.
func spoil(s *shape.Shape, v any) (all []spoilt) {
	if s == nil || len(s.OneOf) > 0 || s.Kind == shape.Any || v == nil {
		return nil
	}
	wrong := any([]any{"planted"})
	if s.Kind == shape.Array {
		wrong = "planted"
	}
	all = append(all, spoilt{"type", wrong})
	if s.Format != "" || s.Pattern != "" || len(s.Values) > 0 {
		all = append(all, spoilt{"format", "\x00 planted"})
	}
	within := func(what string, value any) { all = append(all, spoilt{what, value}) }
	switch v := v.(type) {
	case []any:
		for i, item := range v {
			for _, bad := range spoil(s.Items, item) {
				list := slices.Clone(v)
				list[i] = bad.value
				within(bad.what, list)
			}
		}
	case map[string]any:
		with := func(name string, value any) map[string]any {
			object := maps.Clone(v)
			object[name] = value
			return object
		}
		if s.Rest == nil {
			within("member", with("planted", true))
		}
		for i := range s.Members {
			m := &s.Members[i]
			value, there := v[m.Name]
			if !there {
				continue
			}
			if !m.Optional {
				object := with(m.Name, nil)
				delete(object, m.Name)
				within("member missing", object)
			}
			for _, bad := range spoil(&m.Shape, value) {
				within(bad.what, with(m.Name, bad.value))
			}
		}
	}
	return all
}

// TestSchemasAreThoseOfTheEvents compares the files with the vocabularies.
func TestSchemasAreThoseOfTheEvents(t *testing.T) {
	t.Parallel()
	var want []string
	for _, name := range dialect.All().Names() {
		d, err := dialect.All().Find(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, event := range webhooks.EventNames(d) {
			want = append(want, path.Join(name, event+".json"))
		}
	}
	var got []string
	err := fs.WalkDir(os.DirFS(schemas), ".", func(name string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			got = append(got, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("run make generate (-events +files):\n%s", diff)
	}
}

// TestASchemaThatSaysNothingIsFound spoils a value whose schema lets anything
// pass, and one whose schema does not.
func TestASchemaThatSaysNothingIsFound(t *testing.T) {
	t.Parallel()
	s := shape.Struct("", shape.Has("id", shape.Formatted("uuid", "")), shape.May("at", shape.Formatted("date-time", "").OrNull()),
		shape.Has("list", shape.List("", shape.Int(""))), shape.Has("any", shape.Shape{}))
	value := decoded(t, []byte(`{"id":"0192f7a8-c1d2-7e5f-8a9b-0c1d2e3f4a5b","at":"2026-08-03T12:00:00Z","list":[1],"any":7}`))
	schema, err := shape.Schema("strict", s)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, content := range map[string][]byte{"strict.json": schema, "lax.json": []byte(`{"type":"object"}`)} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	strict, lax := compile(t, filepath.Join(dir, "strict.json")), compile(t, filepath.Join(dir, "lax.json"))
	all := spoil(&s, value)
	if len(all) != 11 {
		t.Errorf("there are %d ways to spoil it: %v", len(all), all)
	}
	passed := 0
	for _, bad := range all {
		if strict.Validate(bad.value) == nil {
			t.Errorf("a wrong %s passes: %v", bad.what, bad.value)
		}
		if lax.Validate(bad.value) == nil {
			passed++
		}
	}
	if strict.Validate(value) != nil || passed != len(all)-1 { // a list is no object
		t.Errorf("%d of %d pass a schema that asks for an object", passed, len(all))
	}
}
