package sqlite_test

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// childEnv names the data folder to a child process that is going to be killed;
// see TestSurvivesKill.
const childEnv = "VERBATIM_TEST_APPEND_TO"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		os.Exit(appendUntilKilled(dir))
	}
	goleak.VerifyTestMain(m)
}
