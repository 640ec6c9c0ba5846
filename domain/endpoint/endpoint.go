// Package endpoint holds the rules of one endpoint: a URL to which an account
// has its webhooks sent, in one dialect, with its filter and its limits.
package endpoint

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"verbatim/domain"
)

// Settings is what a webhook endpoint is set to. Secrets are never among it:
// the signing secret, the values of Headers, and user name and password live in a
// table that can be erased.
type Settings struct {
	URL           string   `json:"url"`
	Dialect       string   `json:"dialect"` // name and version, "closer@1"
	Events        []string `json:"events"`  // facts or the dialect's own names; "*" is all
	Filters       Filters  `json:"filters,omitzero"`
	History       string   `json:"history,omitempty"`        // "full", "none" or "last:N"; where the dialect has one
	Headers       []string `json:"headers,omitempty"`        // names of the headers sent along
	BasicAuth     bool     `json:"basic_auth,omitempty"`     // a user name and a password are sent along
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

// Registered sets an endpoint up; it is sent what happens after it, or from
// Start on.
type Registered struct {
	Account  domain.Account `json:"account"`
	Settings Settings       `json:"settings"`
	Start    *Start         `json:"start,omitempty"`
}

// A Start is where in the log an endpoint begins, if not where the event stands
// that says so.
type Start struct {
	From int64 `json:"from,omitempty"` // position of the first event that it is sent; 0 is the one behind this
	Rate int   `json:"rate,omitempty"` // deliveries a second of what had happened before; 0 is no limit
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

// Disabled stops deliveries to the endpoint. They are kept until it is enabled.
type Disabled struct {
	Reason string `json:"reason,omitempty"` // in words
	Cause  Cause  `json:"cause,omitempty"`
}

// Cause is what led to an endpoint's being disabled.
type Cause string

// The causes. One that was recorded without any was ByHand.
const (
	ByHand         Cause = "manual"  // somebody asked for it
	ReceiverGone   Cause = "gone"    // the receiver said that it wants nothing more (410)
	ReceiverFailed Cause = "failing" // for days there was nothing but failures
)

// Enabled lets deliveries to the endpoint flow again. What was known of its
// health is forgotten. Without a Start it is sent what was kept; with one, what
// was kept from before it is not sent any more, and all that lies behind it is
// sent in order.
type Enabled struct {
	Start *Start `json:"start,omitempty"`
}

// Failing says that attempt after attempt has failed, so that the endpoint is
// left alone and only asked from time to time whether it is back.
type Failing struct {
	Since time.Time `json:"since"` // the first of the failures in a row
	Outcome
}

// Recovered says that an endpoint that was Failing takes deliveries again.
type Recovered struct {
	Since time.Time `json:"since"` // since when it had been failing
}

// Exhausted says that a delivery was given up: nothing will send it again
// unless somebody asks for it.
type Exhausted struct {
	DeliveryID string `json:"delivery_id"`
	Event      string `json:"event"`  // what the endpoint's dialect calls it
	Stream     string `json:"stream"` // of what it was about
	Attempts   int    `json:"attempts"`
	Reason     string `json:"reason"`
	Outcome
}

// An Outcome is what the last attempt came to. What the receiver said is no part
// of it: it may be anything, and a log is for ever.
type Outcome struct {
	Status int    `json:"status,omitempty"` // of HTTP, if there was an answer
	Fault  string `json:"fault,omitempty"`  // why there was none
}

// Deleted ends the endpoint.
type Deleted struct{}

func (Registered) EventType() string    { return "endpoint.registered" }
func (Updated) EventType() string       { return "endpoint.updated" }
func (SecretRotated) EventType() string { return "endpoint.secret_rotated" }
func (Disabled) EventType() string      { return "endpoint.disabled" }
func (Enabled) EventType() string       { return "endpoint.enabled" }
func (Failing) EventType() string       { return "endpoint.failing" }
func (Recovered) EventType() string     { return "endpoint.recovered" }
func (Exhausted) EventType() string     { return "endpoint.exhausted" }
func (Deleted) EventType() string       { return "endpoint.deleted" }

func (Registered) event()    {}
func (Updated) event()       {}
func (SecretRotated) event() {}
func (Disabled) event()      {}
func (Enabled) event()       {}
func (Failing) event()       {}
func (Recovered) event()     {}
func (Exhausted) event()     {}
func (Deleted) event()       {}

// Command is a request to an endpoint. The set is closed.
//
//sumtype:decl
type Command interface{ command() }

// Register sets the endpoint up. Times and the like have been turned into the
// position of Start by whoever sends it.
type Register struct {
	Account  domain.Account
	Settings Settings
	Start    *Start
}

// Update is a merge-patch (RFC 7396) of the settings. The dialect and the
// signature are pinned: a receiver that reads another format, or checks with
// another kind of key, is another endpoint.
type Update struct {
	URL           domain.Patch[string]
	Events        domain.Patch[[]string]
	Filters       domain.Patch[FiltersPatch]
	History       domain.Patch[string]
	Headers       domain.Patch[[]string]
	BasicAuth     domain.Patch[bool]
	RateLimit     domain.Patch[int]
	RetrySchedule domain.Patch[[]string]
	Ordering      domain.Patch[string]
	OnExhausted   domain.Patch[string]
	Concurrency   domain.Patch[int]
	MaxBodyBytes  domain.Patch[int]
}

// RotateSecret says that a new secret was made.
type RotateSecret struct{ PreviousUntil time.Time }

// Disable stops deliveries. Without a cause it is done by hand.
type Disable struct {
	Reason string
	Cause  Cause
}

// Enable lets deliveries flow again.
type Enable struct{ Start *Start }

// NoteFailing says that nothing but failures come of attempts.
type NoteFailing Failing

// NoteRecovered says that a delivery was accepted after many had failed.
type NoteRecovered Recovered

// NoteExhausted says that a delivery was given up.
type NoteExhausted Exhausted

// Delete ends the endpoint.
type Delete struct{}

func (Register) command()      {}
func (Update) command()        {}
func (RotateSecret) command()  {}
func (Disable) command()       {}
func (Enable) command()        {}
func (NoteFailing) command()   {}
func (NoteRecovered) command() {}
func (NoteExhausted) command() {}
func (Delete) command()        {}

// Refusals: what an endpoint may say no to.
const (
	NotRegistered     domain.Refusal = "endpoint.not_found"
	AlreadyRegistered domain.Refusal = "endpoint.already_exists"
	AlreadyEnabled    domain.Refusal = "endpoint.already_enabled" // and so begins nowhere else
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

	// DefaultOverlap is how long the secret before a new one still signs: long
	// enough to roll a receiver out by hand during a working day. MaxOverlap is a
	// month for those who deploy on a fixed day: until then a secret that got out
	// can sign.
	DefaultOverlap = 24 * time.Hour
	MaxOverlap     = 31 * 24 * time.Hour
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
const StateSchema = 2

// State is what an endpoint must remember in order to decide. The zero State is
// an endpoint that was never registered.
type State struct {
	Registered bool     `json:"registered"`
	Deleted    bool     `json:"deleted,omitempty"`
	Disabled   bool     `json:"disabled,omitempty"`
	Failing    bool     `json:"failing,omitempty"`
	Settings   Settings `json:"settings"`
	// GivenUp is the delivery that was last given up, after so many attempts.
	GivenUp  string `json:"given_up,omitempty"`
	Attempts int    `json:"attempts,omitempty"`
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
		if err == nil {
			err = c.Start.check()
		}
		if err != nil {
			return nil, err
		}
		return []Event{Registered{c.Account, settings, c.Start}}, nil
	case Update:
		return s.update(c)
	case RotateSecret:
		return []Event{SecretRotated(c)}, nil
	case Disable:
		if err := domain.Text("reason", c.Reason, MaxReasonLength); err != nil {
			return nil, err
		}
		if c.Cause == "" {
			c.Cause = ByHand
		}
		return when(!s.Disabled, Disabled(c))
	case Enable:
		if err := c.Start.check(); err != nil {
			return nil, err
		}
		if c.Start != nil && !s.Disabled {
			return nil, AlreadyEnabled
		}
		return when(s.Disabled, Enabled(c))

	// Whoever does not know whether a note was heard says it again. And attempts
	// that were under way when the endpoint was disabled say nothing of how it is.
	case NoteFailing:
		return when(!s.Failing && !s.Disabled, Failing(c))
	case NoteRecovered:
		return when(s.Failing && !s.Disabled, Recovered(c))
	case NoteExhausted:
		return when(s.GivenUp != c.DeliveryID || s.Attempts != c.Attempts, Exhausted(c))
	case Delete:
		return []Event{Deleted{}}, nil
	default:
		panic("endpoint: a command outside the closed set")
	}
}

// check returns what is wrong with where an endpoint is to begin.
func (s *Start) check() error {
	switch {
	case s == nil:
		return nil
	case s.From < 0:
		return &domain.FieldError{Field: "start", Rule: "must be a position in the log, from 1"}
	case s.Rate < 0 || s.Rate > MaxRateLimit:
		return &domain.FieldError{Field: "start_rate", Rule: "must be between 0 and " + strconv.Itoa(MaxRateLimit)}
	default:
		return nil
	}
}

// when returns e if it says anything new.
func when(news bool, e Event) ([]Event, error) {
	if !news {
		return nil, nil
	}
	return []Event{e}, nil
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
	settings.BasicAuth = c.BasicAuth.Or(settings.BasicAuth)
	settings.RateLimit = c.RateLimit.Or(settings.RateLimit)
	settings.RetrySchedule = c.RetrySchedule.Or(settings.RetrySchedule)
	settings.Ordering = c.Ordering.Or(settings.Ordering)
	settings.OnExhausted = c.OnExhausted.Or(settings.OnExhausted)
	settings.Concurrency = c.Concurrency.Or(settings.Concurrency)
	settings.MaxBodyBytes = c.MaxBodyBytes.Or(settings.MaxBodyBytes)
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
		s.Disabled, s.Failing = false, false
	case Failing:
		s.Failing = true
	case Recovered:
		s.Failing = false
	case Exhausted:
		s.GivenUp, s.Attempts = e.DeliveryID, e.Attempts
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
	if s.History == "" {
		s.History = HistoryFull
	}
	if len(s.Events) > MaxEvents {
		return s, &domain.FieldError{Field: "events", Rule: "must be at most " + strconv.Itoa(MaxEvents) + " names"}
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
	if err := checkHeaders(s.Headers); err != nil {
		return s, err
	}
	if s.BasicAuth && slices.ContainsFunc(s.Headers, isAuthorization) {
		return s, &domain.FieldError{Field: "basic_auth", Rule: "is the header Authorization, which is set already; set one of the two"}
	}
	return normalLimits(s)
}

func isAuthorization(header string) bool { return strings.EqualFold(header, "Authorization") }

// normalLimits is normal for how deliveries are sent.
func normalLimits(s Settings) (Settings, error) {
	for _, choice := range []struct {
		field, normal, other string
		value                *string
	}{
		{"ordering", PerConversation, Unordered, &s.Ordering},
		{"on_exhausted", ParkDelivery, StopLane, &s.OnExhausted},
		{"signature", SignatureHMAC, SignatureEd25519, &s.Signature},
	} {
		switch *choice.value {
		case choice.normal, choice.other:
		case "":
			*choice.value = choice.normal
		default:
			return s, &domain.FieldError{Field: choice.field, Rule: `must be "` + choice.normal + `" or "` + choice.other + `"`}
		}
	}
	for _, limit := range []struct {
		field       string
		value       int
		least, most int // beside 0
	}{
		{"rate_limit", s.RateLimit, 1, MaxRateLimit},
		{"concurrency", s.Concurrency, 1, MaxConcurrency},
		{"max_body_bytes", s.MaxBodyBytes, MinBodyLimit, MaxBodyLimit},
	} {
		if limit.value != 0 && (limit.value < limit.least || limit.value > limit.most) {
			return s, &domain.FieldError{
				Field: limit.field,
				Rule:  "must be 0, or between " + strconv.Itoa(limit.least) + " and " + strconv.Itoa(limit.most),
			}
		}
	}
	return s, nil
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

// reserved reports whether the header is not an endpoint's to set: the sender
// itself sets it, a format does, or it is about the connection (RFC 9110, 7.6)
// and not about what is sent over it.
func reserved(name string) bool {
	switch lower := strings.ToLower(name); lower {
	case "host", "content-type", "content-length", "content-encoding", "user-agent", "accept", "accept-encoding",
		"transfer-encoding", "connection", "keep-alive", "expect", "te", "trailer", "upgrade", "http2-settings",
		"traceparent", "tracestate", // which lead back to the command
		"x-idempotency-key": // with which the sender marks what may be sent twice
		return true
	default:
		return strings.HasPrefix(lower, "webhook-") || strings.HasPrefix(lower, "x-chatwoot-") || strings.HasPrefix(lower, "proxy-")
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

// ParseOverlap returns how long the secret before a new one still signs:
// DefaultOverlap if nothing is said, and not at all for "0s".
func ParseOverlap(s string) (time.Duration, error) {
	if s == "" {
		return DefaultOverlap, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 || d > MaxOverlap {
		return 0, &domain.FieldError{Field: "overlap", Rule: `must be a duration such as "24h", at most ` + MaxOverlap.String()}
	}
	return d, nil
}
