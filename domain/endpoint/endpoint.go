// Package endpoint holds the rules of one endpoint: a URL to which an account
// has its webhooks sent, in one dialect, with its filter and its limits.
package endpoint

import (
	"net/url"
	"strconv"
	"strings"
	"time"

	"verbatim/domain"
)

// Settings is what a webhook endpoint is set to. Secrets are never among it:
// the signing secret and the values of Headers live in a table that can be
// erased.
type Settings struct {
	URL           string   `json:"url"`
	Dialect       string   `json:"dialect"` // name and version, "closer@1"
	Events        []string `json:"events"`  // facts or the dialect's own names; "*" is all
	Filters       Filters  `json:"filters,omitzero"`
	History       string   `json:"history,omitempty"`        // "full", "none" or "last:N"; where the dialect has one
	Headers       []string `json:"headers,omitempty"`        // names of the headers sent along
	RateLimit     int      `json:"rate_limit,omitempty"`     // deliveries a second; 0 is no limit
	RetrySchedule []string `json:"retry_schedule,omitempty"` // delays between attempts, "5s"; empty is the default
	Ordering      string   `json:"ordering,omitempty"`       // "conversation" or "none"
	OnExhausted   string   `json:"on_exhausted,omitempty"`   // "park" or "stop"
	Concurrency   int      `json:"concurrency,omitempty"`    // attempts at a time; 0 is the default
	MaxBodyBytes  int      `json:"max_body_bytes,omitempty"` // largest body; 0 is the default
	Signature     string   `json:"signature,omitempty"`      // "v1" or "v1a"
}

// BodyLimit returns the bytes of the largest body that the endpoint is sent.
func (s Settings) BodyLimit() int {
	if s.MaxBodyBytes > 0 {
		return s.MaxBodyBytes
	}
	return DefaultBodyLimit
}

// Event is something that happened to an endpoint. The set is closed.
//
//sumtype:decl
type Event interface {
	domain.Event
	event()
}

// Registered sets an endpoint up; it is sent what happens after it.
type Registered struct {
	Account  domain.Account `json:"account"`
	Settings Settings       `json:"settings"`
}

// Updated changes an endpoint's settings; Settings is all of them after it.
type Updated struct {
	Settings Settings `json:"settings"`
}

// SecretRotated says that a new signing secret was made; the one before it
// still signs until PreviousUntil.
type SecretRotated struct {
	PreviousUntil time.Time `json:"previous_until"`
}

// Disabled stops deliveries to the endpoint.
type Disabled struct {
	Reason string `json:"reason,omitempty"`
}

// Enabled lets deliveries to the endpoint flow again.
type Enabled struct{}

// Deleted ends the endpoint.
type Deleted struct{}

func (Registered) EventType() string    { return "endpoint.registered" }
func (Updated) EventType() string       { return "endpoint.updated" }
func (SecretRotated) EventType() string { return "endpoint.secret_rotated" }
func (Disabled) EventType() string      { return "endpoint.disabled" }
func (Enabled) EventType() string       { return "endpoint.enabled" }
func (Deleted) EventType() string       { return "endpoint.deleted" }

func (Registered) event()    {}
func (Updated) event()       {}
func (SecretRotated) event() {}
func (Disabled) event()      {}
func (Enabled) event()       {}
func (Deleted) event()       {}

// Command is a request to an endpoint. The set is closed.
//
//sumtype:decl
type Command interface{ command() }

// Register sets the endpoint up.
type Register struct {
	Account  domain.Account
	Settings Settings
}

// Update is a merge-patch (RFC 7396) of the settings. The dialect is pinned:
// a receiver that reads another format is another endpoint.
type Update struct {
	URL           domain.Patch[string]
	Events        domain.Patch[[]string]
	Filters       domain.Patch[FiltersPatch]
	History       domain.Patch[string]
	Headers       domain.Patch[[]string]
	RateLimit     domain.Patch[int]
	RetrySchedule domain.Patch[[]string]
}

// RotateSecret says that a new secret was made.
type RotateSecret struct{ PreviousUntil time.Time }

// Disable stops deliveries.
type Disable struct{ Reason string }

// Enable lets deliveries flow again.
type Enable struct{}

// Delete ends the endpoint.
type Delete struct{}

func (Register) command()     {}
func (Update) command()       {}
func (RotateSecret) command() {}
func (Disable) command()      {}
func (Enable) command()       {}
func (Delete) command()       {}

// Refusals: what an endpoint may say no to.
const (
	NotRegistered     domain.Refusal = "endpoint.not_found"
	AlreadyRegistered domain.Refusal = "endpoint.already_exists"
)

// Limits on an endpoint's settings.
const (
	MaxEvents        = 100            // names in one filter; there are fewer facts than that
	MaxFilterValues  = 100            // values of one filter: each event may be held against all of them
	MaxChannelLength = 500            // characters of a channel's name, as in a conversation
	MaxLabelLength   = 500            // characters of a label, as in a conversation
	MaxHeaders       = 20             // headers sent along; receivers refuse long header blocks
	MaxHeaderName    = 128            // characters of a header's name
	MaxRateLimit     = 10_000         // deliveries a second; more is no limit at all
	MaxRetries       = 30             // delays in a schedule
	MaxRetryDelay    = 24 * time.Hour // a receiver that is away for longer wants a redelivery
	MaxHistoryLength = 10_000         // messages in "last:N"
	MaxConcurrency   = 64             // attempts at a time to one endpoint
	MinBodyLimit     = 4 << 10        // bytes; a smaller body bears nothing
	DefaultBodyLimit = 8 << 20        // bytes; a long history, and as much as most servers take when told to
	MaxBodyLimit     = 64 << 20       // bytes; a body is in memory as a whole
	MaxReasonLength  = 500            // characters of the reason for disabling
)

// History settings beside "last:N".
const (
	HistoryFull = "full"
	HistoryNone = "none"
)

// Orderings.
const (
	PerConversation = "conversation" // first in, first out within a conversation
	Unordered       = "none"         // each delivery on its own, as fast as it goes
)

// What happens when every attempt of a delivery has failed.
const (
	ParkDelivery = "park" // it is parked, and the next one follows
	StopLane     = "stop" // it stays before those that follow, until it is redelivered or cancelled
)

// Signature schemes of Standard Webhooks.
const (
	SignatureHMAC    = "v1"  // HMAC-SHA256 with a shared secret
	SignatureEd25519 = "v1a" // Ed25519 with a public key
)

// AllEvents in Settings.Events stands for every event.
const AllEvents = "*"

// StateSchema is the version of State's stored shape.
const StateSchema = 1

// State is what an endpoint must remember in order to decide. The zero State is
// an endpoint that was never registered.
type State struct {
	Registered bool     `json:"registered"`
	Deleted    bool     `json:"deleted,omitempty"`
	Disabled   bool     `json:"disabled,omitempty"`
	Settings   Settings `json:"settings"`
}

// Decide returns what follows from asking c of s, or why it is refused: a
// domain.Refusal or a *domain.FieldError. Which dialects and events there are
// is not known here; whoever sends the command has checked it.
func Decide(s State, c Command, _ time.Time) ([]Event, error) {
	if _, registers := c.(Register); !registers && (!s.Registered || s.Deleted) {
		return nil, NotRegistered
	}
	switch c := c.(type) {
	case Register:
		if s.Registered {
			return nil, AlreadyRegistered
		}
		settings, err := normal(c.Settings)
		if err != nil {
			return nil, err
		}
		return []Event{Registered{c.Account, settings}}, nil
	case Update:
		return s.update(c)
	case RotateSecret:
		return []Event{SecretRotated(c)}, nil
	case Disable:
		if err := domain.Text("reason", c.Reason, MaxReasonLength); err != nil {
			return nil, err
		}
		if s.Disabled {
			return nil, nil
		}
		return []Event{Disabled(c)}, nil
	case Enable:
		if !s.Disabled {
			return nil, nil
		}
		return []Event{Enabled{}}, nil
	case Delete:
		return []Event{Deleted{}}, nil
	default:
		panic("endpoint: a command outside the closed set")
	}
}

func (s State) update(c Update) ([]Event, error) {
	settings := s.Settings
	settings.URL = c.URL.Or(settings.URL)
	settings.Events = c.Events.Or(settings.Events)
	if c.Filters.Set {
		settings.Filters = settings.Filters.patched(c.Filters.Value)
	}
	settings.History = c.History.Or(settings.History)
	settings.Headers = c.Headers.Or(settings.Headers)
	settings.RateLimit = c.RateLimit.Or(settings.RateLimit)
	settings.RetrySchedule = c.RetrySchedule.Or(settings.RetrySchedule)
	settings, err := normal(settings)
	if err != nil {
		return nil, err
	}
	if _, changed := domain.Changed("settings", s.Settings, settings); !changed {
		return nil, nil
	}
	return []Event{Updated{settings}}, nil
}

// Evolve returns s after e. It cannot fail: e has already happened.
func Evolve(s State, e Event) State {
	switch e := e.(type) {
	case Registered:
		s.Registered, s.Settings = true, e.Settings
	case Updated:
		s.Settings = e.Settings
	case SecretRotated:
	case Disabled:
		s.Disabled = true
	case Enabled:
		s.Disabled = false
	case Deleted:
		s.Deleted = true
	default:
		panic("endpoint: an event outside the closed set")
	}
	return s
}

// normal returns the settings with their defaults, or what is wrong with them.
func normal(s Settings) (Settings, error) {
	if err := checkURL(s.URL); err != nil {
		return s, err
	}
	if s.Dialect == "" {
		return s, &domain.FieldError{Field: "dialect", Rule: "must not be empty"}
	}
	if len(s.Events) == 0 {
		s.Events = []string{AllEvents}
	}
	if s.Ordering == "" {
		s.Ordering = PerConversation
	}
	if s.History == "" {
		s.History = HistoryFull
	}
	switch {
	case len(s.Events) > MaxEvents:
		return s, &domain.FieldError{Field: "events", Rule: "must be at most " + strconv.Itoa(MaxEvents) + " names"}
	case s.Ordering != PerConversation:
		return s, &domain.FieldError{Field: "ordering", Rule: `must be "conversation"`}
	case s.RateLimit < 0 || s.RateLimit > MaxRateLimit:
		return s, &domain.FieldError{Field: "rate_limit", Rule: "must be between 0 and " + strconv.Itoa(MaxRateLimit)}
	}
	for i, name := range s.Events {
		if err := domain.Text(at("events", i), name, domain.MaxNameLength); err != nil {
			return s, err
		}
	}
	var err error
	if s.Filters, err = normalFilters(s.Filters); err != nil {
		return s, err
	}
	if _, err := ParseHistory(s.History); err != nil {
		return s, err
	}
	if _, err := ParseSchedule(s.RetrySchedule); err != nil {
		return s, err
	}
	return s, checkHeaders(s.Headers)
}

func checkURL(raw string) error {
	if err := domain.Text("url", raw, domain.MaxURLLength); err != nil {
		return err
	}
	u, err := url.Parse(raw)
	switch {
	case err != nil || u.Host == "" || u.Hostname() == "":
		return &domain.FieldError{Field: "url", Rule: "must be an absolute URL such as https://example.com/hook"}
	case u.Scheme != "https" && u.Scheme != "http":
		return &domain.FieldError{Field: "url", Rule: "must begin with https:// or http://"}
	case !validPort(u.Port()):
		return &domain.FieldError{Field: "url", Rule: "must have a port from 1 to 65535, or none"}
	case u.User != nil:
		return &domain.FieldError{Field: "url", Rule: "must not carry a user name or password; use headers"}
	case u.Fragment != "":
		return &domain.FieldError{Field: "url", Rule: "must not have a fragment"}
	}
	return nil
}

// validPort reports whether a URL's port, digits or nothing, is one that can be
// called.
func validPort(port string) bool {
	n, err := strconv.ParseUint(port, 10, 16)
	return port == "" || err == nil && n > 0
}

// reserved reports whether the sender itself sets the header.
func reserved(name string) bool {
	switch lower := strings.ToLower(name); lower {
	case "host", "content-type", "content-length", "transfer-encoding", "connection", "user-agent":
		return true
	default:
		return strings.HasPrefix(lower, "webhook-")
	}
}

const headerCharacters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_."

func checkHeaders(names []string) error {
	if len(names) > MaxHeaders {
		return &domain.FieldError{Field: "headers", Rule: "must be at most " + strconv.Itoa(MaxHeaders) + " headers"}
	}
	for _, n := range names {
		// The name as it is, not in lower case: the Kelvin sign (U+212A) becomes a k.
		token := n != "" && len(n) <= MaxHeaderName && strings.Trim(n, headerCharacters) == ""
		if !token {
			return &domain.FieldError{Field: "headers", Rule: "names are letters, digits, and - _ ."}
		}
		if reserved(n) {
			return &domain.FieldError{Field: "headers." + n, Rule: "is set by the sender itself"}
		}
	}
	return nil
}

// ParseHistory returns how many messages a history setting lets through: -1 for
// all of them.
func ParseHistory(s string) (int, error) {
	switch s {
	case "", HistoryFull:
		return -1, nil
	case HistoryNone:
		return 0, nil
	}
	if digits, ok := strings.CutPrefix(s, "last:"); ok {
		if n, err := strconv.Atoi(digits); err == nil && n >= 1 && n <= MaxHistoryLength {
			return n, nil
		}
	}
	return 0, &domain.FieldError{
		Field: "history",
		Rule:  `must be "none", "full" or "last:N" with N from 1 to ` + strconv.Itoa(MaxHistoryLength),
	}
}

// ParseSchedule returns the delays between attempts.
func ParseSchedule(delays []string) ([]time.Duration, error) {
	if len(delays) > MaxRetries {
		return nil, &domain.FieldError{Field: "retry_schedule", Rule: "must be at most " + strconv.Itoa(MaxRetries) + " delays"}
	}
	out := make([]time.Duration, len(delays))
	for i, s := range delays {
		d, err := time.ParseDuration(s)
		if err != nil || d < 0 || d > MaxRetryDelay {
			return nil, &domain.FieldError{
				Field: at("retry_schedule", i),
				Rule:  `must be a duration such as "5s", at most ` + MaxRetryDelay.String(),
			}
		}
		out[i] = d
	}
	return out, nil
}
