package eventstoretest_test

import (
	"testing"

	"verbatim/eventstore"
	"verbatim/eventstore/eventstoretest"
)

func TestMemory(t *testing.T) {
	t.Parallel()
	eventstoretest.Suite(t, func(*testing.T) eventstore.Store { return eventstoretest.NewMemory() })
}
