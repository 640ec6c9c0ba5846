package shape_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"verbatim/webhooks/shape"
)

func TestFieldsAreWhatIsInAValue(t *testing.T) {
	t.Parallel()
	person := shape.Struct("", shape.Has("id", shape.Int("")), shape.May("name", shape.Text("").OrNull()))
	body := shape.List("", shape.Struct("",
		shape.Has("by", person.OrNull()),
		shape.Has("labels", shape.List("", shape.Text(""))),
		shape.May("open", shape.Open("", shape.Shape{})),
		shape.Has("either", shape.Either("", shape.Nothing(""), shape.Text(""), person, shape.Text(""))),
	).OrOthers(shape.Bool("")))
	var got []string
	for _, f := range shape.Fields(&body) {
		line := fmt.Sprintf("%s %q", f.Path, f.Shape.Kinds())
		if f.Optional {
			line += " optional"
		}
		got = append(got, line)
	}
	want := []string{
		`[] ["object"]`,
		`[].by ["object" "null"]`,
		`[].by.id ["integer"]`,
		`[].by.name ["string" "null"] optional`,
		`[].labels ["array"]`,
		`[].labels[] ["string"]`,
		`[].open ["object"] optional`,
		`[].open.* [""] optional`,
		`[].either ["string" "object" "null"]`,
		`[].either.id ["integer"]`,
		`[].either.name ["string" "null"] optional`,
		`[].* ["boolean"] optional`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
