package webhooks

import (
	"net/url"
	"time"

	"verbatim/domain/endpoint"
	"verbatim/eventstore"
)

// An Endpoint is an endpoint as of one of the versions of its stream: what other
// endpoints may be told of it. Secrets are no part of it, and neither is what may
// stand for one in its URL.
type Endpoint struct {
	ID       string `json:"id"`
	URL      string `json:"url"` // without query, user and password
	Dialect  string `json:"dialect"`
	Disabled bool   `json:"disabled"`
	Version  int64  `json:"-"`
}

// Evolve returns ep after the fact e that r records. It is a pure fold: the same
// stream gives the same endpoint, at every version.
func (ep Endpoint) Evolve(r *eventstore.Recorded, e endpoint.Event) Endpoint {
	ep.Version = r.Version
	switch e := e.(type) {
	case endpoint.Registered:
		_, ep.ID = eventstore.SplitStream(r.Stream)
		ep.URL, ep.Dialect = publicURL(e.Settings.URL), e.Settings.Dialect
	case endpoint.Updated:
		ep.URL = publicURL(e.Settings.URL)
	case endpoint.Disabled:
		ep.Disabled = true
	case endpoint.Enabled:
		ep.Disabled = false
	case endpoint.SecretRotated, endpoint.Failing, endpoint.Recovered, endpoint.Exhausted, endpoint.Deleted:
		// Facts about what was sent to it; the endpoint is as it was.
	default:
		panic("webhooks: an event outside the closed set")
	}
	return ep
}

// publicURL returns a URL without its query and its user, where tokens stand. Of
// what is no URL, which can only come in by import, nothing is told.
func publicURL(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return ""
	}
	u.User, u.RawQuery, u.ForceQuery, u.Fragment, u.RawFragment = nil, "", false, "", ""
	return u.String()
}

// TestEvent is what an endpoint is sent when somebody asks whether it can be
// reached. It is no fact, and nobody else is sent it.
const TestEvent = "endpoint.test"

// A TestWriter is a dialect whose receivers would not take AppendTest for one of
// its bodies.
type TestWriter interface {
	// AppendTest appends the body of a TestEvent, as the function does.
	AppendTest(dst []byte, account, endpointID, id string, at time.Time) []byte
}

// AppendTest appends the body of a TestEvent for an endpoint at that time:
// {type, timestamp, data}, as Standard Webhooks has it.
func AppendTest(dst []byte, endpointID string, at time.Time) []byte {
	dst = append(dst, `{"type":"`+TestEvent+`","timestamp":`...)
	dst = AppendMillis(dst, at)
	dst = append(dst, `,"data":`...)
	dst = AppendTestData(dst, endpointID)
	return append(dst, '}')
}

// AppendTestData appends the data of a TestEvent.
func AppendTestData(dst []byte, endpointID string) []byte {
	dst = append(dst, `{"endpoint":{"id":`...)
	dst = AppendString(dst, endpointID)
	return append(dst, "}}"...)
}
