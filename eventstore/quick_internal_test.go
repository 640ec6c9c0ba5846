package eventstore

import (
	"reflect"
	"testing"

	"verbatim/domain/endpoint"
)

// TestEncodedIsReadQuickly: what Encode writes is not left to encoding/json, but
// for two rare facts with a struct embedded in them.
func TestEncodedIsReadQuickly(t *testing.T) {
	t.Parallel()
	codec := Catalogue()
	for name, zero := range codec.Types() {
		read := readingOf(reflect.TypeOf(zero))
		if name == (endpoint.Failing{}).EventType() || name == (endpoint.Exhausted{}).EventType() {
			if read != nil {
				t.Errorf("%s is read quickly", name)
			}
			continue
		}
		_, _, data, err := codec.Encode(zero)
		if err != nil {
			t.Fatal(err)
		}
		v := reflect.New(reflect.TypeOf(zero)).Elem()
		if read == nil || !read.read(data, v) {
			t.Errorf("%s is not read quickly: %s", name, data)
		}
	}
}
