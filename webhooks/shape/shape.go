// Package shape describes the JSON that a format's bodies are: which members, of
// which type, in which order. It is said once; documentation, JSON Schemas and
// the tests that hold bodies against both are made from it.
package shape

import (
	"regexp"
	"slices"
)

// A Kind is a type of JSON value.
type Kind string

// The kinds. An integer is a number without a fraction, as JSON Schema has it.
const (
	Any     Kind = ""
	Null    Kind = "null"
	Boolean Kind = "boolean"
	Integer Kind = "integer"
	Number  Kind = "number"
	String  Kind = "string"
	Array   Kind = "array"
	Object  Kind = "object"
)

// A Shape is what a JSON value looks like. The zero Shape is any value.
type Shape struct {
	Kind     Kind
	Nullable bool     // or null
	About    string   // what it means, in a few words
	Format   string   // of a string, as JSON Schema names it: "uuid", "date-time", "uri"
	Pattern  string   // of a string: a regular expression that it matches
	Values   []string // the strings there are; none if it can be any
	Items    *Shape   // of an array
	Members  []Member // of an object, in the order in which they stand
	Rest     *Shape   // of members of an object beside those, which may stand anywhere; nil if there are none
	OneOf    []Shape  // one of these instead

	compiled *regexp.Regexp // Pattern, where it was known to be one from the beginning
}

// A Member is a member of an object.
type Member struct {
	Name     string
	Optional bool // may be left out
	Shape    Shape
}

// Text is a string.
func Text(about string) Shape { return Shape{Kind: String, About: about} }

// Formatted is a string in a format of JSON Schema.
func Formatted(format, about string) Shape { return Shape{Kind: String, Format: format, About: about} }

// Matching is a string that matches a regular expression.
func Matching(pattern, about string) Shape {
	compiled, _ := regexp.Compile(pattern) // Check tells of one that is none
	return Shape{Kind: String, Pattern: pattern, About: about, compiled: compiled}
}

// OneOfTexts is one of a few strings.
func OneOfTexts(about string, values ...string) Shape {
	return Shape{Kind: String, About: about, Values: values}
}

// Int is a whole number.
func Int(about string) Shape { return Shape{Kind: Integer, About: about} }

// Float is a number.
func Float(about string) Shape { return Shape{Kind: Number, About: about} }

// Bool is true or false.
func Bool(about string) Shape { return Shape{Kind: Boolean, About: about} }

// List is an array of items.
func List(about string, items Shape) Shape {
	return Shape{Kind: Array, About: about, Items: &items}
}

// Struct is an object with those members, in that order, and no others.
func Struct(about string, members ...Member) Shape {
	return Shape{Kind: Object, About: about, Members: members}
}

// Open is an object whose members are not known beforehand.
func Open(about string, values Shape) Shape {
	return Shape{Kind: Object, About: about, Rest: &values}
}

// Either is one of several shapes.
func Either(about string, shapes ...Shape) Shape { return Shape{About: about, OneOf: shapes} }

// Nothing is null and nothing else.
func Nothing(about string) Shape { return Shape{Kind: Null, About: about} }

// Has is a member that is always there.
func Has(name string, s Shape) Member { return Member{Name: name, Shape: s} }

// May is a member that is left out when there is nothing to say.
func May(name string, s Shape) Member { return Member{Name: name, Optional: true, Shape: s} }

// OrNull returns s, or null.
func (s Shape) OrNull() Shape {
	s.Nullable = true
	return s
}

// With returns the object s with further members behind its own.
func (s Shape) With(members ...Member) Shape {
	s.Members = append(slices.Clip(s.Members), members...)
	return s
}

// OrOthers returns the object s, open for members beside its own.
func (s Shape) OrOthers(values Shape) Shape {
	s.Rest = &values
	return s
}
