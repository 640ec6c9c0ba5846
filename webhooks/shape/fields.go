package shape

import "slices"

// A Field is a part of a JSON value: where it stands, and what it looks like.
type Field struct {
	// Path says where: a.b is the member b of a, a[] each item of a, a.* every
	// member of a beside those that are named.
	Path     string
	Optional bool // may be left out
	Shape    *Shape
}

// Fields lists what is in a value of the shape s, in the order in which it
// stands there. Alternatives stand one after the other.
func Fields(s *Shape) []Field { return appendFields(nil, "", s) }

func appendFields(fields []Field, path string, s *Shape) []Field {
	add := func(path string, optional bool, part *Shape) {
		fields = append(fields, Field{path, optional, part})
		fields = appendFields(fields, path, part)
	}
	member := path
	if path != "" {
		member += "."
	}
	for i := range s.OneOf {
		fields = appendFields(fields, path, &s.OneOf[i])
	}
	for i := range s.Members {
		m := &s.Members[i]
		add(member+m.Name, m.Optional, &m.Shape)
	}
	if s.Rest != nil {
		add(member+"*", true, s.Rest)
	}
	if s.Items != nil {
		add(path+"[]", false, s.Items)
	}
	return fields
}

// Kinds returns the kinds that a value of the shape s may be of, each once, Null
// as the last.
func (s Shape) Kinds() []Kind {
	var kinds []Kind
	null := s.Nullable
	add := func(k Kind) {
		switch {
		case k == Null:
			null = true
		case !slices.Contains(kinds, k):
			kinds = append(kinds, k)
		}
	}
	for i := range s.OneOf {
		for _, k := range s.OneOf[i].Kinds() {
			add(k)
		}
	}
	if s.Kind != Any || len(s.OneOf) == 0 {
		add(s.Kind)
	}
	if null {
		kinds = append(kinds, Null)
	}
	return kinds
}
