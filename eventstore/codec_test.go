package eventstore_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"pgregory.net/rapid"

	"verbatim/domain"
	"verbatim/domain/conversation"
	"verbatim/eventstore"
)

// TestCodecRoundTrip: every fact comes back as it was, with every field filled
// and with none. A field without a name of its own would be lost here.
func TestCodecRoundTrip(t *testing.T) {
	t.Parallel()
	codec := eventstore.Catalogue()
	for name, zero := range codec.Types() {
		for what, e := range map[string]domain.Event{"no field": zero, "every field": filled(t, zero)} {
			typ, schema, data, err := codec.Encode(e)
			if err != nil || typ != name || schema < 1 {
				t.Errorf("%s with %s encodes as %q, schema %d, %v", name, what, typ, schema, err)
				continue
			}
			var compact bytes.Buffer
			if err := json.Compact(&compact, data); err != nil || compact.String() != string(data) || data[0] != '{' {
				t.Errorf("%s with %s is not one compact object: %.200q", name, what, data)
			}
			got, err := codec.Decode(&eventstore.Recorded{Position: 1, Type: typ, Schema: schema, Data: data})
			if err != nil {
				t.Errorf("%s with %s does not decode: %v", name, what, err)
				continue
			}
			if diff := cmp.Diff(e, got); diff != "" {
				t.Errorf("%s with %s came back as another (-want +got):\n%s", name, what, diff)
			}
			if _, _, again, err := codec.Encode(got); err != nil || string(again) != string(data) {
				t.Errorf("%s with %s encodes as\n%s and then as\n%s, %v", name, what, data, again, err)
			}
		}
	}
}

// filled returns a fact of the type of zero with every field filled.
func filled(t *testing.T, zero domain.Event) domain.Event {
	t.Helper()
	full := reflect.New(reflect.TypeOf(zero)).Elem()
	fillIn(t, full, new(int))
	return full.Interface().(domain.Event)
}

// fillIn gives every field of v a value that is not zero, each another one.
func fillIn(t *testing.T, v reflect.Value, n *int) {
	t.Helper()
	*n++
	switch x := v.Addr().Interface().(type) {
	case *time.Time:
		*x = time.Date(2024, 2, 29, 12, 0, *n, 123_456_000, time.UTC)
		return
	case *json.RawMessage:
		*x = fmt.Appendf(nil, `{"n":%d,"html":"<&>","list":[1.0,null]}`, *n)
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(fmt.Sprintf("text %d <&> \" \\ \u2028 é😀", *n))
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(*n) << 30)
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fillIn(t, v.Elem(), n)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range 2 {
			fillIn(t, v.Index(i), n)
		}
	case reflect.Struct:
		for _, field := range v.Fields() {
			fillIn(t, field, n)
		}
	default:
		t.Fatalf("a fact has a field of kind %s; fill it here", v.Kind())
	}
}

// TestCatalogueIsComplete: every type below domain that has an EventType method
// is in the catalogue, under the name package.snake_case_of_its_type.
func TestCatalogueIsComplete(t *testing.T) {
	t.Parallel()
	inSource := make(map[string]bool)
	files := 0
	err := filepath.WalkDir(filepath.Join("..", "domain"), func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
			return err
		}
		files++
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, decl := range parsed.Decls {
			f, ok := decl.(*ast.FuncDecl)
			if !ok || f.Recv == nil || f.Name.Name != "EventType" {
				continue
			}
			receiver := f.Recv.List[0].Type
			if star, ok := receiver.(*ast.StarExpr); ok {
				receiver = star.X
			}
			inSource[parsed.Name.Name+"."+receiver.(*ast.Ident).Name] = true
		}
		return nil
	})
	if err != nil || files < 3 {
		t.Fatalf("read %d files: %v", files, err)
	}
	for name, zero := range eventstore.Catalogue().Types() {
		typ := reflect.TypeOf(zero)
		if want := path.Base(typ.PkgPath()) + "." + snakeCase(typ.Name()); name != want {
			t.Errorf("%s is called %s; want %s", typ, name, want)
		}
		if !inSource[typ.String()] {
			t.Errorf("%s is in the catalogue and not below domain", typ)
		}
		delete(inSource, typ.String())
	}
	for typ := range inSource {
		t.Errorf("%s is not in the catalogue: it could not be stored", typ)
	}
}

func snakeCase(s string) string {
	var out []rune
	for i, r := range s {
		if unicode.IsUpper(r) && i > 0 {
			out = append(out, '_')
		}
		out = append(out, unicode.ToLower(r))
	}
	return string(out)
}

// priced is a made-up fact in its third shape: at first it had a price in whole
// units, then in cents, now in cents of a currency.
type priced struct {
	Cents    int    `json:"cents"`
	Currency string `json:"currency"`
}

func (priced) EventType() string { return "shop.priced" }

func toCents(data json.RawMessage) (json.RawMessage, error) {
	var v1 struct {
		Price int `json:"price"`
	}
	if err := json.Unmarshal(data, &v1); err != nil {
		return nil, err
	}
	if v1.Price < 0 {
		return nil, errNegative
	}
	return json.Marshal(map[string]int{"cents": v1.Price * 100})
}

func toCurrency(data json.RawMessage) (json.RawMessage, error) {
	var v2 map[string]any
	if err := json.Unmarshal(data, &v2); err != nil {
		return nil, err
	}
	v2["currency"] = "EUR"
	return json.Marshal(v2)
}

var errNegative = errors.New("a price must not be negative")

func TestUpcasters(t *testing.T) {
	t.Parallel()
	codec := eventstore.NewCodec(eventstore.KindOf[priced](toCents, toCurrency))
	for _, tt := range []struct {
		schema int
		data   string
		want   priced
	}{
		{1, `{"price":7}`, priced{700, "EUR"}},
		{2, `{"cents":750}`, priced{750, "EUR"}},
		{3, `{"cents":750,"currency":"USD"}`, priced{750, "USD"}},
	} {
		r := eventstore.Recorded{Type: "shop.priced", Schema: tt.schema, Data: []byte(tt.data)}
		got, err := codec.Decode(&r)
		if err != nil || got != tt.want {
			t.Errorf("schema %d: %+v, %v; want %+v", tt.schema, got, err, tt.want)
		}
		if string(r.Data) != tt.data {
			t.Errorf("schema %d: what is recorded became %s", tt.schema, r.Data)
		}
	}
	name, schema, data, err := codec.Encode(priced{1, "CHF"})
	if name != "shop.priced" || schema != 3 || string(data) != `{"cents":1,"currency":"CHF"}` || err != nil {
		t.Errorf("a new one is %s, schema %d, %s, %v", name, schema, data, err)
	}
}

// TestLiftedIsNew: what was written in an older shape is, once lifted, what would
// be written today, whatever it says; and it stays in the log as it was.
func TestLiftedIsNew(t *testing.T) {
	t.Parallel()
	codec := eventstore.NewCodec(eventstore.KindOf[priced](toCents, toCurrency))
	rapid.Check(t, func(t *rapid.T) {
		price := rapid.IntRange(0, 1<<40).Draw(t, "price")
		now := priced{price * 100, "EUR"}
		_, schema, data, err := codec.Encode(now)
		if err != nil {
			t.Fatal(err)
		}
		for older, data := range map[int]string{
			1: fmt.Sprintf(`{"price":%d}`, price), 2: fmt.Sprintf(`{"cents":%d}`, price*100), schema: string(data),
		} {
			id := uuid.New()
			recorded := eventstore.Recorded{
				Position: 1, Stream: "shop-" + id.String(), Version: 1, ID: id, Type: "shop.priced", Schema: older,
				Time: time.Unix(1, 0).UTC(), Account: "a", Data: []byte(data), Metadata: []byte("{}"),
			}
			line, err := eventstore.AppendLine(nil, &recorded)
			if err != nil {
				t.Fatal(err)
			}
			r, err := eventstore.ParseLine(line)
			if err != nil {
				t.Fatal(err)
			}
			got, err := codec.Decode(&r)
			if err != nil || got != now {
				t.Errorf("schema %d: %s lifts to %+v, %v; want %+v", older, data, got, err, now)
			}
			if again, err := eventstore.AppendLine(nil, &r); err != nil || string(again) != string(line) {
				t.Errorf("schema %d: exported again as %s, %v; was %s", older, again, err, line)
			}
		}
	})
}

// TestDecodeStops: what happened is not passed over. Each error says where.
func TestDecodeStops(t *testing.T) {
	t.Parallel()
	codec := eventstore.NewCodec(eventstore.KindOf[priced](toCents, toCurrency), eventstore.KindOf[conversation.Read]())
	for _, tt := range []struct {
		name  string
		r     eventstore.Recorded
		wants []string
	}{
		{"an unknown type", eventstore.Recorded{Type: "shop.closed", Schema: 1, Data: []byte(`{}`)}, []string{"shop.closed", "unknown"}},
		{"a newer schema", eventstore.Recorded{Type: "shop.priced", Schema: 4, Data: []byte(`{}`)}, []string{"shop.priced", "schema 4", "1 to 3"}},
		{"no schema", eventstore.Recorded{Type: "shop.priced", Data: []byte(`{}`)}, []string{"shop.priced", "schema 0"}},
		{"a negative schema", eventstore.Recorded{Type: "shop.priced", Schema: -1, Data: []byte(`{}`)}, []string{"schema -1"}},
		{"a first upcast that fails", eventstore.Recorded{Type: "shop.priced", Schema: 1, Data: []byte(`{"price":-1}`)}, []string{"schema 1", errNegative.Error()}},
		{"a second upcast that fails", eventstore.Recorded{Type: "shop.priced", Schema: 2, Data: []byte(`[]`)}, []string{"schema 2"}},
		{"data that do not fit", eventstore.Recorded{Type: "conversation.read", Schema: 1, Data: []byte(`{"up_to":"x"}`)}, []string{"conversation.read", "up_to"}},
		{"data that are none", eventstore.Recorded{Type: "conversation.read", Schema: 1}, []string{"conversation.read"}},
	} {
		tt.r.Position = 4711
		e, err := codec.Decode(&tt.r)
		if err == nil {
			t.Errorf("%s decodes as %+v", tt.name, e)
			continue
		}
		for _, want := range append(tt.wants, "position 4711") {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: the error does not say %q: %v", tt.name, want, err)
			}
		}
	}
	r := eventstore.Recorded{Type: "shop.priced", Schema: 1, Data: []byte(`{"price":-1}`)}
	if _, err := codec.Decode(&r); !errors.Is(err, errNegative) {
		t.Errorf("the upcaster's error is lost: %v", err)
	}
}

func TestEncodeRefuses(t *testing.T) {
	t.Parallel()
	codec := eventstore.NewCodec(eventstore.KindOf[unencodable]())
	for _, e := range []domain.Event{priced{}, unencodable{func() {}}} {
		if _, _, _, err := codec.Encode(e); err == nil || !strings.Contains(err.Error(), e.EventType()) {
			t.Errorf("%s encodes with %v", e.EventType(), err)
		}
	}
}

type unencodable struct{ F func() }

func (unencodable) EventType() string { return "shop.unencodable" }

type nameless struct{}

func (nameless) EventType() string { return "" }

func TestNewCodecPanics(t *testing.T) {
	t.Parallel()
	for name, kinds := range map[string][]eventstore.Kind{
		"a name twice": {eventstore.KindOf[priced](), eventstore.KindOf[priced]()},
		"no name":      {eventstore.KindOf[nameless]()},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: the codec was made", name)
				}
			}()
			eventstore.NewCodec(kinds...)
		}()
	}
}

// TestEncodeBesideOthers: buffers are shared, bytes are not.
func TestEncodeBesideOthers(t *testing.T) {
	t.Parallel()
	codec := eventstore.NewCodec(eventstore.KindOf[priced]())
	results := make(chan []byte, 400)
	atOnce(8, func(i int) {
		for k := range 50 {
			_, _, data, err := codec.Encode(priced{i*100 + k, strings.Repeat("x", k)})
			if err != nil {
				t.Error(err)
			}
			results <- data
		}
	})
	close(results)
	seen := make(map[int]bool)
	for data := range results {
		var p priced
		if err := json.Unmarshal(data, &p); err != nil || len(p.Currency) != p.Cents%100 || seen[p.Cents] {
			t.Fatalf("%s was mixed with another: %v", data, err)
		}
		seen[p.Cents] = true
	}
}

func TestTypesAreACopy(t *testing.T) {
	t.Parallel()
	codec := eventstore.NewCodec(eventstore.KindOf[priced]())
	clear(codec.Types())
	if got := codec.Types(); len(got) != 1 || got["shop.priced"] != (priced{}) {
		t.Errorf("types are %v", got)
	}
	names := make([]string, 0, 26)
	for name := range eventstore.Catalogue().Types() {
		names = append(names, name)
	}
	if slices.Sort(names); len(names) < 26 || names[0] != "contact.created" {
		t.Errorf("the catalogue has %d names, the first %s", len(names), names[0])
	}
}
