package domain_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"verbatim/domain"
)

func TestRoleValid(t *testing.T) {
	t.Parallel()
	for _, r := range []domain.Role{domain.Customer, domain.Agent, domain.Bot, domain.System} {
		if !r.Valid() {
			t.Errorf("%s is not valid", r)
		}
	}
	for _, r := range []domain.Role{"", "boss", "Customer"} {
		if r.Valid() {
			t.Errorf("%q is valid", r)
		}
	}
}

func TestPersonCompleted(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name     string
		in, want domain.Person
	}{
		{"takes the implied role", domain.Person{}, domain.Person{Role: domain.Agent}},
		{"keeps its role", domain.Person{Role: domain.Customer}, domain.Person{Role: domain.Customer}},
		{"marks a bot", domain.Person{Role: domain.Bot}, domain.Person{Role: domain.Bot, IsBot: true}},
		{
			"does not make a bot of an agent that is marked",
			domain.Person{Role: domain.Agent, IsBot: true},
			domain.Person{Role: domain.Agent, IsBot: true},
		},
		{"one name is the first", domain.Person{Name: "Ann"}, domain.Person{Role: domain.Agent, Name: "Ann", FirstName: "Ann"}},
		{
			"all but the first is the last",
			domain.Person{Name: "Ann van der Lee"},
			domain.Person{Role: domain.Agent, Name: "Ann van der Lee", FirstName: "Ann", LastName: "van der Lee"},
		},
		{
			"spaces are no names",
			domain.Person{Name: "  Ann   Lee "},
			domain.Person{Role: domain.Agent, Name: "  Ann   Lee ", FirstName: "Ann", LastName: "Lee"},
		},
		{"a first name is the whole", domain.Person{FirstName: "Ann"}, domain.Person{Role: domain.Agent, Name: "Ann", FirstName: "Ann"}},
		{"a last name is the whole", domain.Person{LastName: "Lee"}, domain.Person{Role: domain.Agent, Name: "Lee", LastName: "Lee"}},
		{
			"both make the whole",
			domain.Person{FirstName: "Ann", LastName: "Lee"},
			domain.Person{Role: domain.Agent, Name: "Ann Lee", FirstName: "Ann", LastName: "Lee"},
		},
		{
			"what is said is not corrected",
			domain.Person{Name: "Ann Lee", LastName: "Lee-Berg"},
			domain.Person{Role: domain.Agent, Name: "Ann Lee", LastName: "Lee-Berg"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := tt.in.Completed(domain.Agent)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(got, got.Completed(domain.System)); diff != "" {
				t.Errorf("completed twice (-once +twice):\n%s", diff)
			}
		})
	}
}

func TestPersonFilledFrom(t *testing.T) {
	t.Parallel()
	known := domain.Person{
		ID: "ann", Role: domain.Customer, Number: 7, Name: "Ann Lee", FirstName: "Ann", LastName: "Lee", Email: "a@b",
		Phone: "1", AvatarURL: "https://c", Identifier: "d", IsBot: true, Attributes: attributes(t, `{"e":1}`),
	}
	if diff := cmp.Diff(known, domain.Person{ID: "ann"}.FilledFrom(known)); diff != "" {
		t.Errorf("who says nothing is filled in (-want +got):\n%s", diff)
	}
	other := domain.Person{
		ID: "ann", Role: domain.Agent, Number: 8, Name: "B", FirstName: "C", LastName: "D", Email: "e",
		Phone: "f", AvatarURL: "g", Identifier: "h", IsBot: true, Attributes: attributes(t, `{}`),
	}
	if diff := cmp.Diff(other, other.FilledFrom(known)); diff != "" {
		t.Errorf("who says everything is not (-want +got):\n%s", diff)
	}
	// A name is one thing: half a new one and half an old one is nobody's.
	for _, p := range []domain.Person{{Name: "B"}, {FirstName: "B"}, {LastName: "B"}} {
		got := p.FilledFrom(known)
		if got.Name != p.Name || got.FirstName != p.FirstName || got.LastName != p.LastName {
			t.Errorf("%+v got the name %q, %q, %q", p, got.Name, got.FirstName, got.LastName)
		}
	}
}

func TestPersonValidate(t *testing.T) {
	t.Parallel()
	if err := (domain.Person{ID: "x"}).Validate(); err != nil {
		t.Errorf("an id alone: %v", err)
	}
	for _, tt := range []struct {
		field, rule string
		p           domain.Person
	}{
		{"id", "must not be empty", domain.Person{Name: "Ann"}},
		{"role", "must be one of customer, agent, bot, system", domain.Person{ID: "x", Role: "boss"}},
		{"number", "must not be negative", domain.Person{ID: "x", Number: -1}},
		{"attributes", "must be valid UTF-8", domain.Person{ID: "x", Attributes: attributes(t, "{\"a\":\"\xff\"}")}},
	} {
		checkFault(t, tt.p.Validate(), tt.field, tt.rule)
	}
	for _, tt := range []struct {
		field string
		most  int
		rule  string
		make  func(string) domain.Person
	}{
		{"id", 128, "must be at most 128 characters", func(s string) domain.Person { return domain.Person{ID: s} }},
		{"name", 255, "must be at most 255 characters", func(s string) domain.Person { return domain.Person{ID: "x", Name: s} }},
		{"first_name", 255, "must be at most 255 characters", func(s string) domain.Person { return domain.Person{ID: "x", FirstName: s} }},
		{"last_name", 255, "must be at most 255 characters", func(s string) domain.Person { return domain.Person{ID: "x", LastName: s} }},
		{"email", 255, "must be at most 255 characters", func(s string) domain.Person { return domain.Person{ID: "x", Email: s} }},
		{"phone", 255, "must be at most 255 characters", func(s string) domain.Person { return domain.Person{ID: "x", Phone: s} }},
		{"identifier", 255, "must be at most 255 characters", func(s string) domain.Person { return domain.Person{ID: "x", Identifier: s} }},
		{"avatar_url", 2048, "must be at most 2048 characters", func(s string) domain.Person { return domain.Person{ID: "x", AvatarURL: s} }},
	} {
		t.Run(tt.field, func(t *testing.T) {
			t.Parallel()
			checkFault(t, tt.make(strings.Repeat("é", tt.most)).Validate(), "", "")
			checkFault(t, tt.make(strings.Repeat("é", tt.most+1)).Validate(), tt.field, tt.rule)
			checkFault(t, tt.make("\xff").Validate(), tt.field, "must be valid UTF-8")
		})
	}
}

// TestPersonEqual goes over all fields, so that a new one is not forgotten.
func TestPersonEqual(t *testing.T) {
	t.Parallel()
	var p, nobody domain.Person
	if !p.Equal(nobody) {
		t.Error("nobody is not equal to nobody")
	}
	for i := range reflect.TypeFor[domain.Person]().NumField() {
		q := p
		f := reflect.ValueOf(&q).Elem().Field(i)
		switch v := f.Addr().Interface().(type) {
		case *string:
			*v = "x"
		case *domain.Role:
			*v = domain.Bot
		case *int64:
			*v = 1
		case *bool:
			*v = true
		case *domain.Attributes:
			*v = attributes(t, `{"a":1}`)
		default:
			t.Fatalf("a person has a field of type %s, which this test does not know", f.Type())
		}
		if p.Equal(q) || q.Equal(p) {
			t.Errorf("people who differ in %s are equal", reflect.TypeFor[domain.Person]().Field(i).Name)
		}
		if same := q; !q.Equal(same) {
			t.Errorf("%+v is not equal to themself", q)
		}
	}
}

func TestPersonPatch(t *testing.T) {
	t.Parallel()
	ann := domain.Person{
		ID: "ann", Role: domain.Customer, Number: 7, Name: "Ann Lee", FirstName: "Ann", LastName: "Lee",
		Email: "a@b", Attributes: attributes(t, `{"x":1,"y":{"z":2}}`),
	}
	named := func(name, first, last string) domain.Person {
		p := ann
		p.Name, p.FirstName, p.LastName = name, first, last
		return p
	}
	change := func(key, previous, current string) domain.Change {
		return domain.Change{Key: key, Previous: json.RawMessage(previous), Current: json.RawMessage(current)}
	}
	for _, tt := range []struct {
		patch   string
		want    domain.Person
		changes []domain.Change
	}{
		{`{}`, ann, nil},
		{`{"name":"Ann Lee","email":"a@b","phone":null,"attributes":{"x":1,"gone":null}}`, ann, nil},
		{`{"name":"Bea"}`, named("Bea", "Bea", ""), []domain.Change{
			change("name", `"Ann Lee"`, `"Bea"`), change("first_name", `"Ann"`, `"Bea"`), change("last_name", `"Lee"`, `null`),
		}},
		{`{"name":null}`, named("", "", ""), []domain.Change{
			change("name", `"Ann Lee"`, `null`), change("first_name", `"Ann"`, `null`), change("last_name", `"Lee"`, `null`),
		}},
		{`{"last_name":"Berg"}`, named("Ann Berg", "Ann", "Berg"), []domain.Change{
			change("name", `"Ann Lee"`, `"Ann Berg"`), change("last_name", `"Lee"`, `"Berg"`),
		}},
		{`{"first_name":null}`, named("Lee", "", "Lee"), []domain.Change{
			change("name", `"Ann Lee"`, `"Lee"`), change("first_name", `"Ann"`, `null`),
		}},
		{`{"first_name":null,"last_name":null}`, named("", "", ""), []domain.Change{
			change("name", `"Ann Lee"`, `null`), change("first_name", `"Ann"`, `null`), change("last_name", `"Lee"`, `null`),
		}},
		{`{"name":"Dr Ann","last_name":"Lee-Berg"}`, named("Dr Ann", "Ann", "Lee-Berg"), []domain.Change{
			change("name", `"Ann Lee"`, `"Dr Ann"`), change("last_name", `"Lee"`, `"Lee-Berg"`),
		}},
		{
			`{"email":null,"phone":"1","avatar_url":"https://c","identifier":"<d>"}`,
			func() domain.Person {
				p := ann
				p.Email, p.Phone, p.AvatarURL, p.Identifier = "", "1", "https://c", "<d>"
				return p
			}(),
			[]domain.Change{
				change("email", `"a@b"`, `null`), change("phone", `null`, `"1"`),
				change("avatar_url", `null`, `"https://c"`), change("identifier", `null`, `"<d>"`),
			},
		},
		{
			`{"attributes":{"y":{"z":null,"w":3},"v":4,"x":null}}`,
			func() domain.Person {
				p := ann
				p.Attributes = attributes(t, `{"y":{"w":3},"v":4}`)
				return p
			}(),
			[]domain.Change{
				change("attributes.y", `{"z":2}`, `{"w":3}`), change("attributes.v", `null`, `4`), change("attributes.x", `1`, `null`),
			},
		},
	} {
		t.Run(tt.patch, func(t *testing.T) {
			t.Parallel()
			var patch domain.PersonPatch
			if err := json.Unmarshal([]byte(tt.patch), &patch); err != nil {
				t.Fatal(err)
			}
			got, changes := patch.Apply(ann)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("the person (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.changes, changes); diff != "" {
				t.Errorf("the changes (-want +got):\n%s", diff)
			}
		})
	}
}
