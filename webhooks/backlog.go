package webhooks

import "time"

// A Standing is how an endpoint stands, in the few words in which many of them
// are counted.
type Standing string

// The standings.
const (
	Active   Standing = "active"
	Failing  Standing = "failing"  // the breaker is open; see Health
	Disabled Standing = "disabled" // nothing is sent until it is enabled
)

// Standings returns all of them.
func Standings() []Standing { return []Standing{Active, Failing, Disabled} }

// A Backlog is what is owed to all endpoints of a standing together.
type Backlog struct {
	Endpoints int // how many there are
	Pending   int // deliveries
	// Oldest is since when that is owed which has waited longest: since it was
	// planned, or made pending again, be the event however old. It is zero if there
	// is none.
	Oldest time.Time
}
