package shape_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"pgregory.net/rapid"

	"verbatim/webhooks/dialect"
	"verbatim/webhooks/shape"
)

const id = "77aa4a2b-7d7a-4a0c-a9a5-3d0f6b8d9e03"

func person() shape.Shape {
	return shape.Struct("A person.",
		shape.Has("id", shape.Formatted("uuid", "")),
		shape.May("name", shape.Text("").OrNull()),
		shape.Has("tags", shape.List("", shape.Text(""))),
	)
}

func TestCheckAccepts(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		shape shape.Shape
		body  string
	}{
		{shape.Shape{}, `{"a":[1,null,{"b":"c"}],"d":1.5}`},
		{shape.Shape{}, `null`},
		{shape.Shape{}, `1`},
		{shape.Nothing(""), `null`},
		{shape.Bool(""), ` false `},
		{shape.Int(""), `-9223372036854775808`},
		{shape.Float(""), `1`},
		{shape.Float(""), `1.5e3`},
		{shape.Float(""), `99999999999999999999`},
		{shape.Float("").OrNull(), `null`},
		{shape.Text(""), `""`},
		{shape.Text("").OrNull(), `null`},
		{shape.OneOfTexts("", "a", "b"), `"b"`},
		{shape.OneOfTexts("", "a", "b").OrNull(), `null`},
		{shape.Matching("^a+$", ""), `"aa"`},
		{shape.Formatted("uuid", ""), `"` + id + `"`},
		{shape.Formatted("date-time", ""), `"2026-03-01T12:00:00.123+01:00"`},
		{shape.Formatted("uri", ""), `"https://x"`},
		{shape.List("", shape.Int("")), `[]`},
		{shape.List("", shape.Int("")), `[1,2]`},
		{shape.Shape{Kind: shape.Array}, `[1,"a",{}]`},
		{person(), `{"id":"` + id + `","name":null,"tags":[]}`},
		{person(), `{"id":"` + id + `","tags":["a"]}`},
		{person().OrNull(), `null`},
		{person().With(shape.Has("n", shape.Int(""))), `{"id":"` + id + `","tags":[],"n":1}`},
		{person().OrOthers(shape.Int("")), `{"x":1,"id":"` + id + `","y":2,"tags":[],"z":3}`},
		{shape.Struct(""), `{}`},
		{shape.Open("", shape.Bool("")), `{"a":true,"b":false}`},
		{shape.Open("", shape.Bool("")), `{}`},
		{shape.Either("", shape.Int(""), shape.Text("")), `"a"`},
		{shape.Either("", shape.Int(""), person()), `{"id":"` + id + `","tags":[]}`},
		{shape.Either("", shape.Int(""), shape.Text("")).OrNull(), `null`},
		{shape.List("", shape.Either("", shape.Int(""), shape.List("", shape.Text("")))), `[1,["a"],2]`},
	} {
		if err := shape.Check(c.shape, []byte(c.body)); err != nil {
			t.Errorf("%s: %v", c.body, err)
		}
	}
}

// Every refusal has a case, and names the place.
func TestCheckRefuses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		shape shape.Shape
		body  string
		want  string
	}{
		{shape.Shape{}, ``, "$: EOF"},
		{shape.Shape{}, `{`, "$: "},
		{shape.Shape{}, `nul`, "$: "},
		{shape.Shape{}, `{"a":1,}`, "$: "},
		{shape.Shape{}, `[1`, "$: "},
		{shape.Shape{}, `{1:2}`, "$: "},
		{shape.Shape{}, `{"a":1}}`, "$: more than one value"},
		{shape.Shape{}, `1 2`, "$: more than one value"},
		{shape.Shape{}, `{"a":{"b":1,"b":2}}`, "$.a.b: is there twice"},
		{shape.Nothing(""), `""`, "$: is string, must be null"},
		{shape.Bool(""), `null`, "$: is null, must be boolean"},
		{shape.Text(""), `true`, "$: is boolean, must be string"},
		{shape.Text(""), `1`, "$: is integer, must be string"},
		{shape.Text(""), `1.5`, "$: is number, must be string"},
		{shape.Text("").OrNull(), `1`, "$: is integer, must be string"},
		{shape.Int(""), `1.5`, "$: is number, must be integer"},
		{shape.Int(""), `1.0`, "$: is number, must be integer"},
		{shape.Int(""), `9223372036854775808`, "$: is number, must be integer"},
		{shape.Int(""), `"1"`, "$: is string, must be integer"},
		{shape.Float(""), `[]`, "$: is array, must be number"},
		{shape.List("", shape.Text("")), `{}`, "$: is object, must be array"},
		{shape.OneOfTexts("", "a", "b"), `"c"`, `$: is "c", must be one of a, b`},
		{shape.Matching("^a$", ""), `"aa"`, `$: is "aa", must match ^a$`},
		{shape.Matching("(", ""), `"a"`, "$: error parsing regexp"},
		{shape.Formatted("uuid", ""), `"77aa4a2b7d7a4a0ca9a53d0f6b8d9e03"`, "$: is"},
		{shape.Formatted("uuid", ""), `"x"`, "must be a UUID"},
		{shape.Formatted("uuid", ""), `"` + strings.Replace(id, "7", "g", 1) + `"`, "must be a UUID"},
		{shape.Formatted("date-time", ""), `"2026-03-01 12:00:00"`, "must be a time as in RFC 3339"},
		{shape.List("", shape.List("", shape.Int(""))), `[[1],[2,"3"]]`, "$[1][1]: is string, must be integer"},
		{person(), `[]`, "$: is array, must be object"},
		{person(), `{"id":"` + id + `","tags":[],"more":1}`, "$.more: is not a member"},
		{person(), `{"tags":[]}`, "$.id: is missing"},
		{person(), `{"id":"` + id + `"}`, "$.tags: is missing"},
		{person(), `{"tags":[],"id":"` + id + `"}`, "$.id: stands behind tags"},
		{person(), `{"id":"` + id + `","tags":[],"name":"a"}`, "$.name: stands behind tags"},
		{person(), `{"id":"` + id + `","tags":["a"],"tags":["a"]}`, "$.tags: is there twice"},
		{person(), `{"id":"` + id + `","tags":[1]}`, "$.tags[0]: is integer, must be string"},
		{person(), `{"id":"` + id + `","tags":[]`, "$: "},
		{person().OrOthers(shape.Int("")), `{"x":"1","id":"` + id + `","tags":[]}`, "$.x: is string, must be integer"},
		{person().OrOthers(shape.Int("")), `{"x":1}`, "$.id: is missing"},
		{shape.Struct(""), `{"a":1}`, "$.a: is not a member"},
		{shape.Open("", shape.Bool("")), `{"a":1}`, "$.a: is integer, must be boolean"},
		{shape.Either("", shape.Int(""), shape.Text("")), `true`, "$: none of the shapes it may have"},
		{shape.Either("", shape.Int(""), shape.Text("")), `null`, "$: none of the shapes it may have"},
		{shape.Either("", shape.Int("")), `[`, "$: "},
		{shape.Struct("", shape.Has("a", shape.Either("", shape.Int(""), shape.List("", shape.Int(""))))), `{"a":["x"]}`, "$.a[0]: is string, must be integer"},
	} {
		err := shape.Check(c.shape, []byte(c.body))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %s", c.body, err, c.want)
		}
	}
}

func TestWithAndOrOthersLeaveTheirShapeAlone(t *testing.T) {
	t.Parallel()
	base := person()
	a, b := base.With(shape.Has("a", shape.Int(""))), base.With(shape.Has("b", shape.Int("")))
	if a.Members[3].Name != "a" || b.Members[3].Name != "b" || len(base.Members) != 3 {
		t.Error("shapes share their members")
	}
	if base.OrOthers(shape.Int("")).Rest == nil || base.Rest != nil {
		t.Error("the shape was opened")
	}
}

func TestSchema(t *testing.T) {
	t.Parallel()
	got, err := shape.Schema("Title", shape.Struct("About.",
		shape.Has("z", shape.OneOfTexts("One.", "b", "a").OrNull()),
		shape.May("a", shape.List("Two.", shape.Formatted("uuid", ""))),
		shape.Has("m", shape.Either("Three.", shape.Int(""), shape.Matching("^<$", "")).OrNull()),
		shape.Has("o", shape.Open("Four.", shape.Text(""))),
		shape.Has("x", shape.Open("", shape.Shape{})),
		shape.Has("n", shape.Nothing("")),
	))
	if err != nil {
		t.Fatal(err)
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, got); err != nil {
		t.Fatal(err)
	}
	want := `{"$schema":"https://json-schema.org/draft/2020-12/schema","title":"Title","description":"About.","type":"object","properties":{` +
		`"z":{"description":"One.","type":["string","null"],"enum":["b","a",null]},` +
		`"a":{"description":"Two.","type":"array","items":{"type":"string","format":"uuid"}},` +
		`"m":{"description":"Three.","anyOf":[{"type":"integer"},{"type":"string","pattern":"^\u003c$"},{"type":"null"}]},` +
		`"o":{"description":"Four.","type":"object","additionalProperties":{"type":"string"}},` +
		`"x":{"type":"object"},"n":{"type":"null"}},"required":["z","m","o","x","n"],"additionalProperties":false}`
	if diff := cmp.Diff(want, compact.String()); diff != "" {
		t.Error(diff)
	}
}

// compiled returns the schema of s as an independent library understands it,
// after holding it against the schema of schemas.
func compiled(tb rapid.TB, s shape.Shape) *jsonschema.Schema {
	tb.Helper()
	raw, err := shape.Schema("Title", s)
	if err != nil {
		tb.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	if err := compiler.AddResource("mem://shape", parsed(tb, raw)); err != nil {
		tb.Fatal(err)
	}
	schema, err := compiler.Compile("mem://shape")
	if err != nil {
		tb.Fatalf("%v in %s", err, raw)
	}
	return schema
}

func parsed(tb rapid.TB, raw []byte) any {
	tb.Helper()
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		tb.Fatalf("%v in %s", err, raw)
	}
	return v
}

func TestEveryBodyOfEveryFormatHasAValidSchema(t *testing.T) {
	t.Parallel()
	for _, name := range dialect.All().Names() {
		d, err := dialect.All().Find(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, event := range d.Vocabulary() {
			schema := compiled(t, event.Body)
			if len(event.Sample) == 0 {
				continue // that there is one is told where vocabularies are
			}
			if err := schema.Validate(parsed(t, event.Sample)); err != nil {
				t.Errorf("%s: sample of %s: %v", name, event.Name, err)
			}
		}
	}
}

// Where order and repetition are not in play, of which schemas know nothing,
// Check and the schema say yes and no to the same.
func TestSchemaAndCheckAgree(t *testing.T) {
	t.Parallel()
	var yes, no int
	rapid.Check(t, func(r *rapid.T) {
		s := drawShape(r, 3)
		schema := compiled(r, s)
		for range 5 {
			body := drawBody(r, &s)
			checked, validated := shape.Check(s, []byte(body)), schema.Validate(parsed(r, []byte(body)))
			if (checked == nil) != (validated == nil) {
				r.Fatalf("%s\nChecked: %v\nvalidated: %v", body, checked, validated)
			}
			if checked == nil {
				yes++
			} else {
				no++
			}
		}
	})
	if yes < 50 || no < 50 {
		t.Errorf("%d yes, %d no: too few to tell", yes, no)
	}
}

func drawShape(r *rapid.T, depth int) shape.Shape {
	simple := []shape.Shape{
		{},
		shape.Nothing(""), shape.Bool(""), shape.Int(""), shape.Float(""), shape.Text("A text."), shape.OneOfTexts("", "a", "b"),
		shape.Matching("^a+$", ""), shape.Formatted("uuid", ""), shape.Formatted("date-time", ""),
	}
	n := rapid.IntRange(0, len(simple)+4).Draw(r, "shape")
	var s shape.Shape
	switch inner := func() shape.Shape { return drawShape(r, depth-1) }; {
	case n < len(simple) || depth == 0:
		s = simple[n%len(simple)]
	case n == len(simple):
		s = shape.List("", inner())
	case n == len(simple)+1:
		s = shape.Open("", inner())
	case n == len(simple)+2:
		s = shape.Either("", inner(), inner())
	default:
		s = shape.Struct("")
		for i := range rapid.IntRange(0, 4).Draw(r, "members") {
			m := shape.Has(string(rune('d'-i)), inner()) // not in the order of the alphabet
			m.Optional = rapid.Bool().Draw(r, "optional")
			s = s.With(m)
		}
		if rapid.Bool().Draw(r, "open") {
			s = s.OrOthers(inner())
		}
	}
	if rapid.Bool().Draw(r, "nullable") {
		s = s.OrNull()
	}
	return s
}

// drawBody returns a body of the shape or, every now and then, something else.
func drawBody(r *rapid.T, s *shape.Shape) string {
	if rapid.IntRange(0, 11).Draw(r, "wrong") == 0 {
		return rapid.SampledFrom([]string{
			`null`, `true`, `1`, `1.5`, `"x"`, `"a"`, `""`, `[]`, `["a"]`, `[1]`, `{}`, `{"a":1}`, `{"z":"a"}`, `{"z":{"a":null}}`,
		}).Draw(r, "body")
	}
	if len(s.OneOf) > 0 {
		return drawBody(r, &s.OneOf[rapid.IntRange(0, len(s.OneOf)-1).Draw(r, "either")])
	}
	if s.Nullable && rapid.IntRange(0, 3).Draw(r, "null") == 0 {
		return "null"
	}
	switch s.Kind {
	case shape.Any:
		return rapid.SampledFrom([]string{`null`, `1`, `"x"`, `[1,[]]`, `{"a":{"b":1}}`}).Draw(r, "any")
	case shape.Null:
		return "null"
	case shape.Boolean:
		return fmt.Sprint(rapid.Bool().Draw(r, "boolean"))
	case shape.Integer:
		return fmt.Sprint(rapid.Int64().Draw(r, "integer"))
	case shape.Number:
		return rapid.SampledFrom([]string{`0`, `-1`, `1.5`, `1e3`}).Draw(r, "number")
	case shape.String:
		text := rapid.SampledFrom([]string{"a", "aa", "b", "c", "", id, "2026-03-01T12:00:00Z", "2026-03-01"}).Draw(r, "string")
		switch {
		case rapid.IntRange(0, 3).Draw(r, "any string") == 0:
		case len(s.Values) > 0:
			text = s.Values[0]
		case s.Pattern != "":
			text = "aaa"
		case s.Format == "uuid":
			text = id
		case s.Format == "date-time":
			text = "2026-03-01T12:00:00.5+01:00"
		}
		return `"` + text + `"`
	case shape.Array:
		var items []string
		for range rapid.IntRange(0, 3).Draw(r, "items") {
			items = append(items, drawBody(r, s.Items))
		}
		return "[" + strings.Join(items, ",") + "]"
	default:
		return drawObject(r, s)
	}
}

func drawObject(r *rapid.T, s *shape.Shape) string {
	var members []string
	other := func(name string) {
		if often := s.Rest != nil; rapid.IntRange(0, 15).Draw(r, "other") < map[bool]int{true: 8, false: 1}[often] {
			value := `1`
			if s.Rest != nil {
				value = drawBody(r, s.Rest)
			}
			members = append(members, `"`+name+`":`+value)
		}
	}
	other("y")
	for i := range s.Members {
		m := &s.Members[i]
		left := rapid.IntRange(0, 15).Draw(r, "left out")
		if left == 0 || m.Optional && left < 8 {
			continue
		}
		members = append(members, `"`+m.Name+`":`+drawBody(r, &m.Shape))
	}
	other("z")
	return "{" + strings.Join(members, ",") + "}"
}
