package webhookstest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A Sample is a body that a vendor's server sends, and the event of a fixture
// that we make of it.
type Sample struct {
	Sample  string `json:"sample"`  // file beside the index
	Fixture string `json:"fixture"` // file in tests/fixtures
	Event   string `json:"event"`   // name in the format
	At      int64  `json:"at"`      // position of the fact in the fixture
	// Differs says by path, such as "$.conversation.updated_at", what had to
	// have another value than the sample, and why. The shape is never another,
	// unless the reason begins with "shape: ".
	Differs map[string]string `json:"differs"`
}

// Samples reads the index of a folder of samples, index.json.
func Samples(tb testing.TB, dir string) []Sample {
	tb.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "index.json"))
	if err != nil {
		tb.Fatal(err)
	}
	var samples []Sample
	if err := json.Unmarshal(data, &samples); err != nil {
		tb.Fatalf("%s: %v", dir, err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		tb.Fatal(err)
	}
	for _, f := range files {
		name := filepath.Base(f)
		if name != "index.json" && !slices.ContainsFunc(samples, func(s Sample) bool { return s.Sample == name }) {
			tb.Errorf("%s: %s is not in the index", dir, name)
		}
	}
	return samples
}

// Compare fails the test unless body is the sample, but for what Differs says;
// what it says and is not so fails too. It returns a line for each difference.
func (s *Sample) Compare(tb testing.TB, dir string, body []byte) []string {
	tb.Helper()
	data, err := os.ReadFile(filepath.Join(dir, s.Sample))
	if err != nil {
		tb.Fatal(err)
	}
	found := map[string]difference{}
	compare("$", parse(tb, data), parse(tb, body), found)
	var lines []string
	for path, d := range found {
		why, known := s.Differs[path]
		switch {
		case !known:
			tb.Errorf("%s: %s: %s", s.Sample, path, d.what)
		case d.shape && !strings.HasPrefix(why, "shape: "):
			tb.Errorf("%s: %s: the shape is another: %s", s.Sample, path, d.what)
		default:
			lines = append(lines, fmt.Sprintf("%s: %s: %s: %s", s.Sample, path, d.what, why))
		}
	}
	for path := range s.Differs {
		if _, differs := found[path]; !differs {
			tb.Errorf("%s: %s is said to differ and does not", s.Sample, path)
		}
	}
	slices.Sort(lines)
	return lines
}

type difference struct {
	what  string
	shape bool // of keys, of their order, of types or of formats
}

// ordered is a JSON object with its members in order.
type ordered []orderedMember

type orderedMember struct {
	name  string
	value any
}

func (o ordered) names() []string {
	names := make([]string, len(o))
	for i := range o {
		names[i] = o[i].name
	}
	return names
}

func parse(tb testing.TB, data []byte) any {
	tb.Helper()
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	v, err := parseValue(dec)
	if err != nil {
		tb.Fatalf("%v in %s", err, data)
	}
	return v
}

func parseValue(dec *json.Decoder) (any, error) {
	token, err := dec.Token()
	if err != nil {
		return nil, err
	}
	switch token {
	case json.Delim('{'):
		o := ordered{}
		for dec.More() {
			name, err := dec.Token()
			if err != nil {
				return nil, err
			}
			v, err := parseValue(dec)
			if err != nil {
				return nil, err
			}
			o = append(o, orderedMember{fmt.Sprint(name), v})
		}
		_, err = dec.Token()
		return o, err
	case json.Delim('['):
		list := []any{}
		for dec.More() {
			v, err := parseValue(dec)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err = dec.Token()
		return list, err
	default:
		return token, nil
	}
}

func compare(path string, want, got any, found map[string]difference) {
	w, g := typeOf(want), typeOf(got)
	if w != g {
		found[path] = difference{fmt.Sprintf("%s is %s (%v is %v)", w, g, want, got), true}
		return
	}
	switch want := want.(type) {
	case ordered:
		got, _ := got.(ordered)
		if !slices.Equal(want.names(), got.names()) {
			found[path] = difference{fmt.Sprintf("members %v are %v", want.names(), got.names()), true}
			return
		}
		for i := range want {
			compare(path+"."+want[i].name, want[i].value, got[i].value, found)
		}
	case []any:
		got, _ := got.([]any)
		if len(want) != len(got) {
			found[path] = difference{fmt.Sprintf("%d items are %d", len(want), len(got)), true}
			return
		}
		for i := range want {
			compare(fmt.Sprintf("%s[%d]", path, i), want[i], got[i], found)
		}
	default:
		if want != got {
			found[path] = difference{fmt.Sprintf("%v is %v", want, got), false}
		}
	}
}

// formats are the strings that receivers parse.
var formats = []struct {
	name    string
	pattern *regexp.Regexp
}{
	{"a UUID", regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)},
	{"a time in UTC with milliseconds", regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$`)},
	{"a time with milliseconds and offset", regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d$`)},
	{"a time with epoch seconds", regexp.MustCompile(`^\d{4}-\d\d-\d\d \d\d:\d\d:\d+$`)},
	{"a JavaScript date", regexp.MustCompile(`^[A-Z][a-z]{2} [A-Z][a-z]{2} \d\d \d{4} \d\d:\d\d:\d\d GMT[+-]\d{4} \(.*\)$`)},
	{"a URL", regexp.MustCompile(`^https?://`)},
}

func typeOf(v any) string {
	switch v := v.(type) {
	case ordered:
		return "an object"
	case []any:
		return "an array"
	case string:
		for _, f := range formats {
			if f.pattern.MatchString(v) {
				return f.name
			}
		}
		return "a string"
	case json.Number:
		if strings.ContainsAny(v.String(), ".eE") {
			return "a number with a fraction"
		}
		return "an integer"
	case bool:
		return "a boolean"
	default:
		return "null"
	}
}
