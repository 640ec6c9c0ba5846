package shape

import "encoding/json"

// draft is the version of JSON Schema that is written.
const draft = "https://json-schema.org/draft/2020-12/schema"

// schema is the part of JSON Schema (draft 2020-12) that shapes need, its
// keywords in the order in which a person reads them.
type schema struct {
	Schema               string      `json:"$schema,omitempty"`
	Title                string      `json:"title,omitempty"`
	Description          string      `json:"description,omitempty"`
	Type                 any         `json:"type,omitempty"`
	Format               string      `json:"format,omitempty"`
	Pattern              string      `json:"pattern,omitempty"`
	Enum                 []any       `json:"enum,omitempty"`
	Items                *schema     `json:"items,omitempty"`
	Properties           *properties `json:"properties,omitempty"`
	Required             []string    `json:"required,omitempty"`
	AdditionalProperties any         `json:"additionalProperties,omitempty"` //nolint:tagliatelle // JSON Schema's own name
	AnyOf                []*schema   `json:"anyOf,omitempty"`                //nolint:tagliatelle // likewise
}

// properties are schemas by name, in order.
type properties []property

type property struct {
	name   string
	schema *schema
}

// MarshalJSON writes the properties as an object, in order.
func (ps properties) MarshalJSON() ([]byte, error) {
	out := []byte{'{'}
	for i, p := range ps {
		if i > 0 {
			out = append(out, ',')
		}
		name, err := json.Marshal(p.name)
		if err != nil {
			return nil, err
		}
		value, err := json.Marshal(p.schema)
		if err != nil {
			return nil, err
		}
		out = append(append(append(out, name...), ':'), value...)
	}
	return append(out, '}'), nil
}

// Schema returns the JSON Schema of s, indented, with a title. The order of
// members is not part of it: JSON Schema has no word for that.
func Schema(title string, s Shape) ([]byte, error) {
	top := describe(&s)
	top.Schema, top.Title = draft, title
	return json.MarshalIndent(top, "", "  ")
}

func describe(s *Shape) *schema {
	out := &schema{Description: s.About, Format: s.Format, Pattern: s.Pattern}
	switch {
	case s.Kind == Any:
	case s.Nullable && s.Kind != Null: // types stand there once
		out.Type = []Kind{s.Kind, Null}
	default:
		out.Type = s.Kind
	}
	for _, v := range s.Values {
		out.Enum = append(out.Enum, v)
	}
	if len(out.Enum) > 0 && s.Nullable {
		out.Enum = append(out.Enum, nil)
	}
	if s.Items != nil {
		out.Items = describe(s.Items)
	}
	for i := range s.OneOf {
		out.AnyOf = append(out.AnyOf, describe(&s.OneOf[i]))
	}
	if len(s.OneOf) > 0 && s.Nullable {
		out.AnyOf = append(out.AnyOf, &schema{Type: Null})
	}
	if s.Kind != Object {
		return out
	}
	if len(s.Members) > 0 {
		out.Properties = &properties{}
	}
	for i := range s.Members {
		m := &s.Members[i]
		*out.Properties = append(*out.Properties, property{m.Name, describe(&m.Shape)})
		if !m.Optional {
			out.Required = append(out.Required, m.Name)
		}
	}
	switch {
	case s.Rest == nil:
		out.AdditionalProperties = false
	case s.Rest.Kind != Any || len(s.Rest.OneOf) > 0:
		out.AdditionalProperties = describe(s.Rest)
	}
	return out
}
