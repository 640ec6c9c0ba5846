package endpoint_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"verbatim/domain"
	"verbatim/domain/domaintest"
	"verbatim/domain/endpoint"
)

// rules are what these tests are about.
var rules = domaintest.Rules[endpoint.State, endpoint.Command, endpoint.Event]{Decide: endpoint.Decide, Evolve: endpoint.Evolve}

type scenario = domaintest.Scenario[endpoint.State, endpoint.Command, endpoint.Event]

type outcome = domaintest.Outcome[endpoint.Event]

func given(t *testing.T, events ...endpoint.Event) scenario {
	t.Helper()
	return rules.Given(t, events...)
}

// broken is a text that is not UTF-8.
const broken = "caf\xe9"

const hook = "https://example.com/hook"

var (
	noon       = domaintest.Noon()
	account    = domain.Account{ID: "acme", Number: 1, Name: "Acme"}
	registered = endpoint.Registered{Account: account, Settings: settings()}
)

// settings returns the settings of an endpoint that sets nothing but must.
func settings() endpoint.Settings {
	return endpoint.Settings{
		URL: hook, Dialect: "closer@1", Events: []string{"*"}, History: "full",
		Ordering: "conversation", OnExhausted: "park", Signature: "v1",
	}
}

func with(change func(*endpoint.Settings)) endpoint.Settings {
	s := settings()
	change(&s)
	return s
}

// everyFilter returns filters of which each is set.
func everyFilter() endpoint.Filters {
	return endpoint.Filters{
		Inboxes: []string{"site"}, Channels: []string{"web"}, Labels: []string{"vip", "late"},
		AuthorRoles: []domain.Role{domain.Customer, domain.Agent, domain.Bot, domain.System}, Private: new(false),
		ProductIDs: []string{"17"}, FormIDs: []string{"contact-us"},
	}
}

func set[T any](v T) domain.Patch[T] { return domain.Patch[T]{Set: true, Value: &v} }

func removed[T any]() domain.Patch[T] { return domain.Patch[T]{Set: true} }

// patchTo returns the patch that makes any filters those.
func patchTo(f endpoint.Filters) endpoint.FiltersPatch {
	return endpoint.FiltersPatch{
		Inboxes: set(f.Inboxes), Channels: set(f.Channels), Labels: set(f.Labels), AuthorRoles: set(f.AuthorRoles),
		Private:    domain.Patch[bool]{Set: true, Value: f.Private},
		ProductIDs: set(f.ProductIDs), FormIDs: set(f.FormIDs),
	}
}

// many returns n texts.
func many(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("x%d", i)
	}
	return out
}

func TestRegister(t *testing.T) {
	t.Parallel()

	t.Run("fills in the defaults", func(t *testing.T) {
		t.Parallel()
		given(t).
			When(endpoint.Register{Account: account, Settings: endpoint.Settings{URL: hook, Dialect: "closer@1"}}).
			Then(registered)
	})

	t.Run("keeps everything that was set", func(t *testing.T) {
		t.Parallel()
		all := endpoint.Settings{
			URL: "http://10.0.0.1:8080/hook?a=b", Dialect: "verbatim@1", Events: []string{"conversation.created"},
			Filters: everyFilter(), History: "last:20",
			Headers: []string{"Authorization"}, RateLimit: 5, RetrySchedule: []string{"5s", "1m"},
			Ordering: "none", OnExhausted: "stop", Concurrency: 3, MaxBodyBytes: 1 << 20, Signature: "v1a",
		}
		given(t).
			When(endpoint.Register{Account: account, Settings: all}).
			Then(endpoint.Registered{Account: account, Settings: all})
	})

	t.Run("happens once, even to one that is deleted", func(t *testing.T) {
		t.Parallel()
		again := endpoint.Register{Account: account, Settings: settings()}
		given(t, registered).When(again).ThenRefused(endpoint.AlreadyRegistered)
		given(t, registered, endpoint.Deleted{}).When(again).ThenRefused(endpoint.AlreadyRegistered)
	})
}

// TestSettings: bad settings are refused on registering as on updating.
func TestSettings(t *testing.T) {
	t.Parallel()
	const longest = endpoint.MaxChannelLength
	for _, tt := range []struct {
		name, field string // field: none if the settings are good
		settings    endpoint.Settings
	}{
		{"no dialect", "dialect", with(func(s *endpoint.Settings) { s.Dialect = "" })},
		{"another signature", "signature", with(func(s *endpoint.Settings) { s.Signature = "v2" })},
		{"no order", "", with(func(s *endpoint.Settings) { s.Ordering = "none" })},
		{"another ordering", "ordering", with(func(s *endpoint.Settings) { s.Ordering = "position" })},
		{"stopping", "", with(func(s *endpoint.Settings) { s.OnExhausted = "stop" })},
		{"another end", "on_exhausted", with(func(s *endpoint.Settings) { s.OnExhausted = "Park" })},

		{"the most at a time", "", with(func(s *endpoint.Settings) { s.Concurrency = 64 })},
		{"more at a time", "concurrency", with(func(s *endpoint.Settings) { s.Concurrency = 65 })},
		{"fewer than none at a time", "concurrency", with(func(s *endpoint.Settings) { s.Concurrency = -1 })},
		{"the smallest bodies", "", with(func(s *endpoint.Settings) { s.MaxBodyBytes = 4 << 10 })},
		{"smaller bodies", "max_body_bytes", with(func(s *endpoint.Settings) { s.MaxBodyBytes = 4<<10 - 1 })},
		{"the largest bodies", "", with(func(s *endpoint.Settings) { s.MaxBodyBytes = 64 << 20 })},
		{"larger bodies", "max_body_bytes", with(func(s *endpoint.Settings) { s.MaxBodyBytes = 64<<20 + 1 })},
		{"bodies below nothing", "max_body_bytes", with(func(s *endpoint.Settings) { s.MaxBodyBytes = -1 })},

		{"100 events", "", with(func(s *endpoint.Settings) { s.Events = many(100) })},
		{"101 events", "events", with(func(s *endpoint.Settings) { s.Events = many(101) })},

		{"a broken event", "events[1]", with(func(s *endpoint.Settings) { s.Events = []string{"*", broken} })},
		{"a long event", "", with(func(s *endpoint.Settings) { s.Events = []string{strings.Repeat("é", domain.MaxNameLength)} })},
		{"a longer event", "events[0]", with(func(s *endpoint.Settings) { s.Events = []string{strings.Repeat("é", domain.MaxNameLength+1)} })},

		{"100 inboxes", "", with(func(s *endpoint.Settings) { s.Filters.Inboxes = many(100) })},
		{"101 inboxes", "filters.inboxes", with(func(s *endpoint.Settings) { s.Filters.Inboxes = many(101) })},
		{"a long inbox", "", with(func(s *endpoint.Settings) { s.Filters.Inboxes = []string{strings.Repeat("é", domain.MaxIDLength)} })},
		{"a longer inbox", "filters.inboxes[1]", with(func(s *endpoint.Settings) {
			s.Filters.Inboxes = []string{"a", strings.Repeat("é", domain.MaxIDLength+1)}
		})},
		{"a broken inbox", "filters.inboxes[0]", with(func(s *endpoint.Settings) { s.Filters.Inboxes = []string{broken} })},

		{"100 channels", "", with(func(s *endpoint.Settings) { s.Filters.Channels = many(100) })},
		{"101 channels", "filters.channels", with(func(s *endpoint.Settings) { s.Filters.Channels = many(101) })},
		{"a long channel", "", with(func(s *endpoint.Settings) { s.Filters.Channels = []string{strings.Repeat("é", longest)} })},
		{"a longer channel", "filters.channels[1]", with(func(s *endpoint.Settings) { s.Filters.Channels = []string{"", strings.Repeat("é", longest+1)} })},
		{"a broken channel", "filters.channels[0]", with(func(s *endpoint.Settings) { s.Filters.Channels = []string{broken} })},

		{"100 labels", "", with(func(s *endpoint.Settings) { s.Filters.Labels = many(100) })},
		{"101 labels", "filters.labels", with(func(s *endpoint.Settings) { s.Filters.Labels = many(101) })},
		{"a long label", "", with(func(s *endpoint.Settings) { s.Filters.Labels = []string{strings.Repeat("é", endpoint.MaxLabelLength)} })},
		{"a longer label", "filters.labels[1]", with(func(s *endpoint.Settings) {
			s.Filters.Labels = []string{"a", strings.Repeat("é", endpoint.MaxLabelLength+1)}
		})},
		{"an empty label", "filters.labels[1]", with(func(s *endpoint.Settings) { s.Filters.Labels = []string{"a", ""} })},
		{"a broken label", "filters.labels[0]", with(func(s *endpoint.Settings) { s.Filters.Labels = []string{broken} })},

		{"every role", "", with(func(s *endpoint.Settings) { s.Filters.AuthorRoles = everyFilter().AuthorRoles })},
		{"another role", "filters.author_roles[1]", with(func(s *endpoint.Settings) { s.Filters.AuthorRoles = []domain.Role{"agent", "king"} })},
		{"an empty role", "filters.author_roles[0]", with(func(s *endpoint.Settings) { s.Filters.AuthorRoles = []domain.Role{""} })},
		{"a role 100 times", "", with(func(s *endpoint.Settings) { s.Filters.AuthorRoles = slices.Repeat([]domain.Role{"bot"}, 100) })},
		{"a role 101 times", "filters.author_roles", with(func(s *endpoint.Settings) { s.Filters.AuthorRoles = slices.Repeat([]domain.Role{"bot"}, 101) })},

		{"only what is private", "", with(func(s *endpoint.Settings) { s.Filters.Private = new(true) })},
		{"nothing private", "", with(func(s *endpoint.Settings) { s.Filters.Private = new(false) })},

		{"100 products", "", with(func(s *endpoint.Settings) { s.Filters.ProductIDs = many(100) })},
		{"101 products", "filters.product_ids", with(func(s *endpoint.Settings) { s.Filters.ProductIDs = many(101) })},
		{"a long product", "", with(func(s *endpoint.Settings) { s.Filters.ProductIDs = []string{strings.Repeat("é", domain.MaxIDLength)} })},
		{"a longer product", "filters.product_ids[0]", with(func(s *endpoint.Settings) {
			s.Filters.ProductIDs = []string{strings.Repeat("é", domain.MaxIDLength+1)}
		})},
		{"an empty product", "filters.product_ids[0]", with(func(s *endpoint.Settings) { s.Filters.ProductIDs = []string{""} })},
		{"a broken product", "filters.product_ids[0]", with(func(s *endpoint.Settings) { s.Filters.ProductIDs = []string{broken} })},

		{"100 forms", "", with(func(s *endpoint.Settings) { s.Filters.FormIDs = many(100) })},
		{"101 forms", "filters.form_ids", with(func(s *endpoint.Settings) { s.Filters.FormIDs = many(101) })},
		{"a long form", "", with(func(s *endpoint.Settings) { s.Filters.FormIDs = []string{strings.Repeat("é", domain.MaxIDLength)} })},
		{"a longer form", "filters.form_ids[0]", with(func(s *endpoint.Settings) {
			s.Filters.FormIDs = []string{strings.Repeat("é", domain.MaxIDLength+1)}
		})},
		{"an empty form", "filters.form_ids[0]", with(func(s *endpoint.Settings) { s.Filters.FormIDs = []string{""} })},
		{"a broken form", "filters.form_ids[0]", with(func(s *endpoint.Settings) { s.Filters.FormIDs = []string{broken} })},

		{"the highest rate", "", with(func(s *endpoint.Settings) { s.RateLimit = 10_000 })},
		{"a higher rate", "rate_limit", with(func(s *endpoint.Settings) { s.RateLimit = 10_001 })},
		{"a negative rate", "rate_limit", with(func(s *endpoint.Settings) { s.RateLimit = -1 })},

		{"20 headers", "", with(func(s *endpoint.Settings) { s.Headers = many(20) })},
		{"21 headers", "headers", with(func(s *endpoint.Settings) { s.Headers = many(21) })},
		{"every character of headers", "", with(func(s *endpoint.Settings) { s.Headers = []string{"X_y-Z.09"} })},
		{"the longest header", "", with(func(s *endpoint.Settings) { s.Headers = []string{strings.Repeat("x", 128)} })},
		{"a longer header", "headers", with(func(s *endpoint.Settings) { s.Headers = []string{strings.Repeat("x", 129)} })},
		{"a header without a name", "headers", with(func(s *endpoint.Settings) { s.Headers = []string{""} })},
		{"a header with a space", "headers", with(func(s *endpoint.Settings) { s.Headers = []string{"x y"} })},
		{"a header with its value", "headers", with(func(s *endpoint.Settings) { s.Headers = []string{"x: y"} })},
		{"a header with a line", "headers", with(func(s *endpoint.Settings) { s.Headers = []string{"x\r\ny"} })},
		{"a header in Greek", "headers", with(func(s *endpoint.Settings) { s.Headers = []string{"Αα"} })},
		{"a header that is only lower case in ASCII", "headers", with(func(s *endpoint.Settings) { s.Headers = []string{"\u212Aelvin"} })},
		{"our signature", "headers.Webhook-Signature", with(func(s *endpoint.Settings) { s.Headers = []string{"ok", "Webhook-Signature"} })},
		{"our host", "headers.HOST", with(func(s *endpoint.Settings) { s.Headers = []string{"HOST"} })},
		{"our type", "headers.content-type", with(func(s *endpoint.Settings) { s.Headers = []string{"content-type"} })},
		{"our length", "headers.Content-Length", with(func(s *endpoint.Settings) { s.Headers = []string{"Content-Length"} })},
		{"our encoding", "headers.Transfer-Encoding", with(func(s *endpoint.Settings) { s.Headers = []string{"Transfer-Encoding"} })},
		{"our connection", "headers.connection", with(func(s *endpoint.Settings) { s.Headers = []string{"connection"} })},
		{"our name", "headers.User-Agent", with(func(s *endpoint.Settings) { s.Headers = []string{"User-Agent"} })},

		{"a user and a password", "", with(func(s *endpoint.Settings) { s.BasicAuth, s.Headers = true, []string{"X-A"} })},
		{"a token", "", with(func(s *endpoint.Settings) { s.Headers = []string{"Authorization"} })},
		{"both", "basic_auth", with(func(s *endpoint.Settings) { s.BasicAuth, s.Headers = true, []string{"X-A", "authorization"} })},

		{"no history", "", with(func(s *endpoint.Settings) { s.History = "none" })},
		{"the shortest history", "", with(func(s *endpoint.Settings) { s.History = "last:1" })},
		{"the longest history", "", with(func(s *endpoint.Settings) { s.History = "last:10000" })},
		{"a longer history", "history", with(func(s *endpoint.Settings) { s.History = "last:10001" })},
		{"the last none", "history", with(func(s *endpoint.Settings) { s.History = "last:0" })},
		{"the last minus one", "history", with(func(s *endpoint.Settings) { s.History = "last:-1" })},
		{"the last", "history", with(func(s *endpoint.Settings) { s.History = "last:" })},
		{"the last and a space", "history", with(func(s *endpoint.Settings) { s.History = "last: 1" })},
		{"the last of too many", "history", with(func(s *endpoint.Settings) { s.History = "last:99999999999999999999" })},
		{"another history", "history", with(func(s *endpoint.Settings) { s.History = "Full" })},

		{"30 delays", "", with(func(s *endpoint.Settings) { s.RetrySchedule = slices.Repeat([]string{"1s"}, 30) })},
		{"31 delays", "retry_schedule", with(func(s *endpoint.Settings) { s.RetrySchedule = slices.Repeat([]string{"1s"}, 31) })},
		{"at once and a day later", "", with(func(s *endpoint.Settings) { s.RetrySchedule = []string{"0s", "24h"} })},
		{"more than a day later", "retry_schedule[1]", with(func(s *endpoint.Settings) { s.RetrySchedule = []string{"1s", "24h1ns"} })},
		{"before", "retry_schedule[0]", with(func(s *endpoint.Settings) { s.RetrySchedule = []string{"-1s"} })},
		{"a delay without a unit", "retry_schedule[0]", with(func(s *endpoint.Settings) { s.RetrySchedule = []string{"5"} })},
		{"no delay", "retry_schedule[0]", with(func(s *endpoint.Settings) { s.RetrySchedule = []string{""} })},
		{"a delay of for ever", "retry_schedule[0]", with(func(s *endpoint.Settings) { s.RetrySchedule = []string{"9999999h"} })},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			register := given(t).When(endpoint.Register{Settings: tt.settings})
			if tt.field != "" {
				register.ThenFieldError(tt.field)
			} else {
				register.Then(endpoint.Registered{Settings: tt.settings})
			}
			if tt.field == "dialect" || tt.field == "signature" {
				return // is not among what an update can change
			}
			update := given(t, registered).When(endpoint.Update{
				Events: set(tt.settings.Events), History: set(tt.settings.History), Headers: set(tt.settings.Headers),
				RateLimit: set(tt.settings.RateLimit), RetrySchedule: set(tt.settings.RetrySchedule),
				Filters: set(patchTo(tt.settings.Filters)), BasicAuth: set(tt.settings.BasicAuth),
				Ordering: set(tt.settings.Ordering), OnExhausted: set(tt.settings.OnExhausted),
				Concurrency: set(tt.settings.Concurrency), MaxBodyBytes: set(tt.settings.MaxBodyBytes),
			})
			if tt.field != "" {
				update.ThenFieldError(tt.field)
			} else {
				update.Then(endpoint.Updated{Settings: tt.settings})
			}
		})
	}
}

// TestARoleThatIsNone: who is refused is told which roles there are.
func TestARoleThatIsNone(t *testing.T) {
	t.Parallel()
	roles := []domain.Role{"king"}
	for _, o := range []outcome{
		given(t).When(endpoint.Register{Settings: with(func(s *endpoint.Settings) { s.Filters.AuthorRoles = roles })}),
		given(t, registered).When(endpoint.Update{Filters: set(endpoint.FiltersPatch{AuthorRoles: set(roles)})}),
	} {
		o.ThenFieldError("filters.author_roles[0]")
		if !strings.Contains(o.Err.Error(), "customer, agent, bot, system") {
			t.Errorf("the complaint %q does not list the roles", o.Err)
		}
	}
}

// TestReservedHeaders: an endpoint may not set what is the sender's, a format's
// or the connection's, in whatever case it is written.
func TestReservedHeaders(t *testing.T) {
	t.Parallel()
	for _, name := range []string{
		"host", "content-type", "content-length", "content-encoding", "user-agent", "accept", "accept-encoding",
		"transfer-encoding", "connection", "keep-alive", "expect", "te", "trailer", "upgrade", "http2-settings", "traceparent", "tracestate",
		"proxy-authorization", "proxy-connection", "webhook-id", "webhook-anything", "x-chatwoot-signature", "x-idempotency-key",
	} {
		for _, name := range []string{name, strings.ToUpper(name), http.CanonicalHeaderKey(name)} {
			given(t).
				When(endpoint.Register{Settings: with(func(s *endpoint.Settings) { s.Headers = []string{"X-A", name} })}).
				ThenFieldError("headers." + name)
			given(t, registered).When(endpoint.Update{Headers: set([]string{name})}).ThenFieldError("headers." + name)
		}
	}
	for _, name := range []string{"Authorization", "X-Webhook-Id", "X-Api-Key", "Cookie", "Accept-Language", "Tea", "Idempotency-Key"} {
		given(t, registered).When(endpoint.Update{Headers: set([]string{name})}).ThenAllowed()
	}
}

func TestURL(t *testing.T) {
	t.Parallel()
	const scheme = "https://example.com/"
	for _, good := range []string{
		hook, "http://example.com", "HTTPS://EXAMPLE.COM/", "https://example.com:1/", "https://example.com:65535/",
		"https://example.com:/", "https://10.0.0.1/", "https://[::1]:8443/a?b=c&d=%20", "https://bücher.example/",
		"https://example.com/#", scheme + strings.Repeat("x", domain.MaxURLLength-len(scheme)),
	} {
		given(t).When(endpoint.Register{Settings: with(func(s *endpoint.Settings) { s.URL = good })}).ThenAllowed()
		if good != hook {
			given(t, registered).When(endpoint.Update{URL: set(good)}).ThenAllowed()
		}
	}
	for _, bad := range []string{
		"", "example.com", "//example.com/hook", "/hook", "https:", "https://", "https:example.com", "https:///hook",
		"https://:443/hook", "ftp://example.com/", "file:///etc/passwd", "javascript:alert(1)", "unix://socket/",
		"https://user@example.com/", "https://user:secret@example.com/", "https://@example.com/",
		"https://example.com/#fragment", "https://example.com:0/", "https://example.com:65536/", "https://example.com:http/",
		"https://exa mple.com/", "https://example.com/\r\nHost: other", "https://[::1/", "https://example.com/%zz",
		" https://example.com/", "https://example.com/" + broken,
		scheme + strings.Repeat("x", domain.MaxURLLength-len(scheme)+1),
	} {
		given(t).When(endpoint.Register{Settings: with(func(s *endpoint.Settings) { s.URL = bad })}).ThenFieldError("url")
		given(t, registered).When(endpoint.Update{URL: set(bad)}).ThenFieldError("url")
	}
	given(t, registered).When(endpoint.Update{URL: removed[string]()}).ThenFieldError("url")
}

func TestUpdate(t *testing.T) {
	t.Parallel()
	full := endpoint.Registered{Account: account, Settings: endpoint.Settings{
		URL: hook, Dialect: "closer@1", Events: []string{"a"}, History: "none", Ordering: "conversation",
		Filters: everyFilter(), Headers: []string{"X-A"}, BasicAuth: true, RateLimit: 5, RetrySchedule: []string{"5s"},
		OnExhausted: "stop", Concurrency: 2, MaxBodyBytes: 8192, Signature: "v1a",
	}}
	filters := func(p endpoint.FiltersPatch) endpoint.Update { return endpoint.Update{Filters: set(p)} }
	fullWith := func(change func(*endpoint.Settings)) endpoint.Settings {
		s := full.Settings
		change(&s)
		return s
	}
	for _, tt := range []struct {
		name  string
		patch endpoint.Update
		want  endpoint.Settings
	}{
		{"url", endpoint.Update{URL: set("https://other.example/")}, fullWith(func(s *endpoint.Settings) { s.URL = "https://other.example/" })},
		{"events", endpoint.Update{Events: set([]string{"b", "c"})}, fullWith(func(s *endpoint.Settings) { s.Events = []string{"b", "c"} })},
		{"no events are all", endpoint.Update{Events: removed[[]string]()}, fullWith(func(s *endpoint.Settings) { s.Events = []string{"*"} })},
		{"history", endpoint.Update{History: set("last:3")}, fullWith(func(s *endpoint.Settings) { s.History = "last:3" })},
		{"history by default", endpoint.Update{History: removed[string]()}, fullWith(func(s *endpoint.Settings) { s.History = "full" })},
		{"headers", endpoint.Update{Headers: set([]string{"X-B"})}, fullWith(func(s *endpoint.Settings) { s.Headers = []string{"X-B"} })},
		{"no headers", endpoint.Update{Headers: removed[[]string]()}, fullWith(func(s *endpoint.Settings) { s.Headers = nil })},
		{"rate", endpoint.Update{RateLimit: set(6)}, fullWith(func(s *endpoint.Settings) { s.RateLimit = 6 })},
		{"no rate", endpoint.Update{RateLimit: removed[int]()}, fullWith(func(s *endpoint.Settings) { s.RateLimit = 0 })},
		{"schedule", endpoint.Update{RetrySchedule: set([]string{"1s", "2s"})}, fullWith(func(s *endpoint.Settings) { s.RetrySchedule = []string{"1s", "2s"} })},
		{"schedule by default", endpoint.Update{RetrySchedule: removed[[]string]()}, fullWith(func(s *endpoint.Settings) { s.RetrySchedule = nil })},
		{"no user", endpoint.Update{BasicAuth: removed[bool]()}, fullWith(func(s *endpoint.Settings) { s.BasicAuth = false })},
		{"no order", endpoint.Update{Ordering: set("none")}, fullWith(func(s *endpoint.Settings) { s.Ordering = "none" })},
		{"parking by default", endpoint.Update{OnExhausted: removed[string]()}, fullWith(func(s *endpoint.Settings) { s.OnExhausted = "park" })},
		{"more at a time", endpoint.Update{Concurrency: set(4)}, fullWith(func(s *endpoint.Settings) { s.Concurrency = 4 })},
		{"as many as usual", endpoint.Update{Concurrency: removed[int]()}, fullWith(func(s *endpoint.Settings) { s.Concurrency = 0 })},
		{"larger bodies", endpoint.Update{MaxBodyBytes: set(1 << 20)}, fullWith(func(s *endpoint.Settings) { s.MaxBodyBytes = 1 << 20 })},
		{"bodies as usual", endpoint.Update{MaxBodyBytes: removed[int]()}, fullWith(func(s *endpoint.Settings) { s.MaxBodyBytes = 0 })},
		{"inboxes alone", filters(endpoint.FiltersPatch{Inboxes: set([]string{"shop"})}), fullWith(func(s *endpoint.Settings) { s.Filters.Inboxes = []string{"shop"} })},
		{"no inboxes", filters(endpoint.FiltersPatch{Inboxes: removed[[]string]()}), fullWith(func(s *endpoint.Settings) { s.Filters.Inboxes = nil })},
		{"channels alone", filters(endpoint.FiltersPatch{Channels: set([]string{"mail"})}), fullWith(func(s *endpoint.Settings) { s.Filters.Channels = []string{"mail"} })},
		{"no channels", filters(endpoint.FiltersPatch{Channels: removed[[]string]()}), fullWith(func(s *endpoint.Settings) { s.Filters.Channels = nil })},
		{"labels alone", filters(endpoint.FiltersPatch{Labels: set([]string{"new"})}), fullWith(func(s *endpoint.Settings) { s.Filters.Labels = []string{"new"} })},
		{"no labels", filters(endpoint.FiltersPatch{Labels: removed[[]string]()}), fullWith(func(s *endpoint.Settings) { s.Filters.Labels = nil })},
		{"roles alone", filters(endpoint.FiltersPatch{AuthorRoles: set([]domain.Role{"bot"})}), fullWith(func(s *endpoint.Settings) { s.Filters.AuthorRoles = []domain.Role{"bot"} })},
		{"no roles", filters(endpoint.FiltersPatch{AuthorRoles: removed[[]domain.Role]()}), fullWith(func(s *endpoint.Settings) { s.Filters.AuthorRoles = nil })},
		{"private alone", filters(endpoint.FiltersPatch{Private: set(true)}), fullWith(func(s *endpoint.Settings) { s.Filters.Private = new(true) })},
		{"private or not", filters(endpoint.FiltersPatch{Private: removed[bool]()}), fullWith(func(s *endpoint.Settings) { s.Filters.Private = nil })},
		{"products alone", filters(endpoint.FiltersPatch{ProductIDs: set([]string{"18"})}), fullWith(func(s *endpoint.Settings) { s.Filters.ProductIDs = []string{"18"} })},
		{"no products", filters(endpoint.FiltersPatch{ProductIDs: removed[[]string]()}), fullWith(func(s *endpoint.Settings) { s.Filters.ProductIDs = nil })},
		{"forms alone", filters(endpoint.FiltersPatch{FormIDs: set([]string{"order"})}), fullWith(func(s *endpoint.Settings) { s.Filters.FormIDs = []string{"order"} })},
		{"no forms", filters(endpoint.FiltersPatch{FormIDs: removed[[]string]()}), fullWith(func(s *endpoint.Settings) { s.Filters.FormIDs = nil })},
		{"no filters", endpoint.Update{Filters: removed[endpoint.FiltersPatch]()}, fullWith(func(s *endpoint.Settings) { s.Filters = endpoint.Filters{} })},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			given(t, full).When(tt.patch).Then(endpoint.Updated{Settings: tt.want})
			given(t, full, endpoint.Updated{Settings: tt.want}).When(tt.patch).ThenNothing()
		})
	}

	t.Run("of nothing is nothing", func(t *testing.T) {
		t.Parallel()
		given(t, full).When(endpoint.Update{}).ThenNothing()
		given(t, full).When(endpoint.Update{Filters: set(endpoint.FiltersPatch{})}).ThenNothing()
	})

	t.Run("to empty lists where there are none is nothing", func(t *testing.T) {
		t.Parallel()
		given(t, registered).
			When(endpoint.Update{
				Filters: set(endpoint.FiltersPatch{
					Inboxes: set([]string{}), Channels: set([]string{}), Labels: set([]string{}), AuthorRoles: set([]domain.Role{}),
					ProductIDs: set([]string{}), FormIDs: set([]string{}),
				}),
				Headers: set([]string{}), RetrySchedule: set([]string{}),
			}).
			ThenNothing()
	})

	t.Run("works while disabled", func(t *testing.T) {
		t.Parallel()
		given(t, full, endpoint.Disabled{}).When(endpoint.Update{RateLimit: set(6)}).ThenAllowed()
	})
}

func TestUpdateDecodesAsMergePatch(t *testing.T) {
	t.Parallel()
	full := with(func(s *endpoint.Settings) { s.Filters = everyFilter() })
	for patch, change := range map[string]func(*endpoint.Filters){
		`{"inboxes":null}`:           func(f *endpoint.Filters) { f.Inboxes = nil },
		`{"channels":["a"]}`:         func(f *endpoint.Filters) { f.Channels = []string{"a"} },
		`{"labels":["a"]}`:           func(f *endpoint.Filters) { f.Labels = []string{"a"} },
		`{"author_roles":["agent"]}`: func(f *endpoint.Filters) { f.AuthorRoles = []domain.Role{domain.Agent} },
		`{"private":true}`:           func(f *endpoint.Filters) { f.Private = new(true) },
		`{"private":null}`:           func(f *endpoint.Filters) { f.Private = nil },
		`{"product_ids":["a"]}`:      func(f *endpoint.Filters) { f.ProductIDs = []string{"a"} },
		`{"form_ids":null}`:          func(f *endpoint.Filters) { f.FormIDs = nil },
		`null`:                       func(f *endpoint.Filters) { *f = endpoint.Filters{} },
	} {
		var p domain.Patch[endpoint.FiltersPatch]
		if err := json.Unmarshal([]byte(patch), &p); err != nil {
			t.Fatal(err)
		}
		want := full
		change(&want.Filters)
		given(t, endpoint.Registered{Settings: full}).When(endpoint.Update{Filters: p}).Then(endpoint.Updated{Settings: want})
	}
}

func TestDisableAndEnable(t *testing.T) {
	t.Parallel()
	disabled := endpoint.Disabled{Reason: "410 Gone", Cause: endpoint.ByHand}
	given(t, registered).When(endpoint.Disable{Reason: "410 Gone"}).Then(disabled)
	given(t, registered, disabled).When(endpoint.Disable{Reason: "again"}).ThenNothing()
	given(t, registered, disabled).When(endpoint.Enable{}).Then(endpoint.Enabled{})
	given(t, registered).When(endpoint.Enable{}).ThenNothing()
	given(t, registered, disabled, endpoint.Enabled{}).When(endpoint.Enable{}).ThenNothing()
	given(t, registered, disabled, endpoint.Enabled{}).When(endpoint.Disable{}).Then(endpoint.Disabled{Cause: endpoint.ByHand})
	gone := endpoint.Disabled{Reason: "410 Gone", Cause: endpoint.ReceiverGone}
	given(t, registered).When(endpoint.Disable(gone)).Then(gone)
	given(t, registered, disabled).When(endpoint.Disable(gone)).ThenNothing()
	given(t, registered, endpoint.Disabled{}).When(endpoint.Enable{}).Then(endpoint.Enabled{}) // recorded before there were causes

	longest := strings.Repeat("é", endpoint.MaxReasonLength)
	given(t, registered).When(endpoint.Disable{Reason: longest}).Then(endpoint.Disabled{Reason: longest, Cause: endpoint.ByHand})
	given(t, registered).When(endpoint.Disable{Reason: longest + "é"}).ThenFieldError("reason")
	given(t, registered).When(endpoint.Disable{Reason: broken}).ThenFieldError("reason")
}

// TestStart: an endpoint begins in the past when it is registered, or enabled after
// it was disabled.
func TestStart(t *testing.T) {
	t.Parallel()
	disabled := endpoint.Disabled{Cause: endpoint.ByHand}
	start := &endpoint.Start{From: 7, Rate: 5}
	given(t, registered, disabled).When(endpoint.Enable{Start: start}).Then(endpoint.Enabled{Start: start})
	given(t, registered, disabled).When(endpoint.Enable{Start: &endpoint.Start{}}).Then(endpoint.Enabled{Start: &endpoint.Start{}})
	given(t, registered).When(endpoint.Enable{Start: start}).ThenRefused(endpoint.AlreadyEnabled)
	given(t).When(endpoint.Register{Account: registered.Account, Settings: registered.Settings, Start: start}).
		Then(endpoint.Registered{Account: registered.Account, Settings: registered.Settings, Start: start})
	for field, bad := range map[string]endpoint.Start{"start": {From: -1}, "start_rate": {From: 1, Rate: endpoint.MaxRateLimit + 1}} {
		given(t, registered, disabled).When(endpoint.Enable{Start: &bad}).ThenFieldError(field)
		given(t).When(endpoint.Register{Settings: registered.Settings, Start: &bad}).ThenFieldError(field)
	}
}

// TestHealth: an endpoint fails and recovers by turns, one that is enabled
// begins anew, and while it is disabled nothing is said of how it is.
func TestHealth(t *testing.T) {
	t.Parallel()
	failing := endpoint.Failing{Since: noon, Outcome: endpoint.Outcome{Status: 503}}
	recovered := endpoint.Recovered{Since: noon}
	later := endpoint.NoteFailing{Since: noon.Add(time.Hour), Outcome: endpoint.Outcome{Fault: "dns"}}
	given(t, registered).When(endpoint.NoteFailing(failing)).Then(failing)
	given(t, registered, failing).When(endpoint.NoteFailing(failing)).ThenNothing()
	given(t, registered, failing).When(later).ThenNothing()
	given(t, registered, failing).When(endpoint.NoteRecovered(recovered)).Then(recovered)
	given(t, registered).When(endpoint.NoteRecovered(recovered)).ThenNothing()
	given(t, registered, failing, recovered).When(endpoint.NoteRecovered(recovered)).ThenNothing()
	given(t, registered, failing, recovered).When(later).Then(endpoint.Failing(later))

	given(t, registered, endpoint.Disabled{}).When(later).ThenNothing()
	given(t, registered, failing, endpoint.Disabled{}).When(endpoint.NoteRecovered(recovered)).ThenNothing()
	given(t, registered, failing, endpoint.Disabled{}, endpoint.Enabled{}).When(endpoint.NoteRecovered(recovered)).ThenNothing()
	given(t, registered, failing, endpoint.Disabled{}, endpoint.Enabled{}).When(later).Then(endpoint.Failing(later))
}

// TestExhausted: a delivery that is given up is told of once, and again when it
// was redelivered and given up again.
func TestExhausted(t *testing.T) {
	t.Parallel()
	one := endpoint.Exhausted{
		DeliveryID: "dlv_1", Event: "e", Stream: "s", Attempts: 12, Reason: "exhausted", Outcome: endpoint.Outcome{Status: 500},
	}
	again, other := one, one
	again.Attempts, other.DeliveryID = 24, "dlv_2"
	given(t, registered).When(endpoint.NoteExhausted(one)).Then(one)
	given(t, registered, one).When(endpoint.NoteExhausted(one)).ThenNothing()
	given(t, registered, one).When(endpoint.NoteExhausted(again)).Then(again)
	given(t, registered, one).When(endpoint.NoteExhausted(other)).Then(other)
	given(t, registered, endpoint.Disabled{}).When(endpoint.NoteExhausted(one)).Then(one)
}

// TestHealthIsStoredUnderItsNames: what is in the log is read for ever.
func TestHealthIsStoredUnderItsNames(t *testing.T) {
	t.Parallel()
	for want, e := range map[string]endpoint.Event{
		`{"reason":"r","cause":"manual"}`:               endpoint.Disabled{Reason: "r", Cause: endpoint.ByHand},
		`{"cause":"gone"}`:                              endpoint.Disabled{Cause: endpoint.ReceiverGone},
		`{"cause":"failing"}`:                           endpoint.Disabled{Cause: endpoint.ReceiverFailed},
		`{"since":"2026-03-02T12:00:00Z","status":503}`: endpoint.Failing{Since: noon, Outcome: endpoint.Outcome{Status: 503}},
		`{"since":"2026-03-02T12:00:00Z"}`:              endpoint.Recovered{Since: noon},
		`{"delivery_id":"d","event":"e","stream":"s","attempts":1,"reason":"r","fault":"dns"}`: endpoint.Exhausted{
			DeliveryID: "d", Event: "e", Stream: "s", Attempts: 1, Reason: "r", Outcome: endpoint.Outcome{Fault: "dns"},
		},
	} {
		if b, err := json.Marshal(e); err != nil || string(b) != want {
			t.Errorf("got %s, error %v; want %s", b, err, want)
		}
	}
}

func TestRotateSecret(t *testing.T) {
	t.Parallel()
	rotated := endpoint.SecretRotated{PreviousUntil: noon.Add(24 * time.Hour)}
	given(t, registered).When(endpoint.RotateSecret(rotated)).Then(rotated)
	given(t, registered, rotated).When(endpoint.RotateSecret(rotated)).Then(rotated)
}

func TestDelete(t *testing.T) {
	t.Parallel()
	given(t, registered).When(endpoint.Delete{}).Then(endpoint.Deleted{})
	given(t, registered, endpoint.Disabled{}).When(endpoint.Delete{}).Then(endpoint.Deleted{})
}

// TestBeforeAndAfter: an endpoint that is deleted is as good as one that never
// was.
func TestBeforeAndAfter(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]endpoint.Command{
		"Update":       endpoint.Update{RateLimit: set(1)},
		"RotateSecret": endpoint.RotateSecret{},
		"Disable":      endpoint.Disable{},
		"Enable":       endpoint.Enable{},
		"Failing":      endpoint.NoteFailing{},
		"Recovered":    endpoint.NoteRecovered{},
		"Exhausted":    endpoint.NoteExhausted{DeliveryID: "d"},
		"Delete":       endpoint.Delete{},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			given(t).When(c).ThenRefused(endpoint.NotRegistered)
			given(t, registered, endpoint.Deleted{}).When(c).ThenRefused(endpoint.NotRegistered)
		})
	}
}

// TestFiltersAreStoredUnderTheirNames: what is in the log is read for ever.
func TestFiltersAreStoredUnderTheirNames(t *testing.T) {
	t.Parallel()
	for want, filters := range map[string]endpoint.Filters{
		`{}`:                {},
		`{"private":true}`:  {Private: new(true)},
		`{"private":false}`: {Private: new(false)},
		`{"inboxes":["site"],"channels":["web"],"labels":["vip","late"],"author_roles":["customer","agent","bot","system"],` +
			`"private":false,"product_ids":["17"],"form_ids":["contact-us"]}`: everyFilter(),
	} {
		b, err := json.Marshal(filters)
		if err != nil || string(b) != want {
			t.Errorf("got %s, error %v; want %s", b, err, want)
		}
		if filters.Empty() != (want == `{}`) {
			t.Errorf("%s is empty: %t", want, filters.Empty())
		}
	}
}

func TestFiltersPassConversation(t *testing.T) {
	t.Parallel()
	both := endpoint.Filters{Inboxes: []string{"site", "shop"}, Channels: []string{"web"}}
	labels := endpoint.Filters{Labels: []string{"vip", "late"}}
	for _, tt := range []struct {
		filters        endpoint.Filters
		inbox, channel string
		labels         []string
		want           bool
	}{
		{endpoint.Filters{}, "site", "web", nil, true},
		{endpoint.Filters{}, "", "", nil, true},
		{both, "shop", "web", nil, true},
		{both, "shop", "mail", nil, false},
		{both, "other", "web", nil, false},
		{endpoint.Filters{Inboxes: []string{"site"}}, "site", "mail", nil, true},
		{endpoint.Filters{Inboxes: []string{"site"}}, "", "mail", nil, false},
		{endpoint.Filters{Channels: []string{"web"}}, "other", "web", nil, true},
		{endpoint.Filters{Channels: []string{"web"}}, "other", "Web", nil, false},
		{labels, "", "", []string{"new", "late"}, true},
		{labels, "", "", []string{"vip"}, true},
		{labels, "", "", []string{"new", "VIP"}, false},
		{labels, "", "", nil, false},
		{endpoint.Filters{Inboxes: []string{"site"}, Labels: []string{"vip"}}, "shop", "", []string{"vip"}, false},
	} {
		if got := tt.filters.PassConversation(tt.inbox, tt.channel, tt.labels); got != tt.want {
			t.Errorf("%+v lets %q, %q, %q pass: %t; want %t", tt.filters, tt.inbox, tt.channel, tt.labels, got, tt.want)
		}
		if got := tt.filters.AboutConversations(); got == tt.filters.Empty() {
			t.Errorf("%+v is about conversations: %t", tt.filters, got)
		}
	}
}

func TestFiltersPassMessage(t *testing.T) {
	t.Parallel()
	staff := endpoint.Filters{AuthorRoles: []domain.Role{domain.Agent, domain.Bot}}
	private, public := endpoint.Filters{Private: new(true)}, endpoint.Filters{Private: new(false)}
	for _, tt := range []struct {
		filters endpoint.Filters
		author  domain.Role
		private bool
		want    bool
	}{
		{endpoint.Filters{}, domain.Customer, false, true},
		{endpoint.Filters{}, "", true, true},
		{staff, domain.Agent, true, true},
		{staff, domain.Bot, false, true},
		{staff, domain.Customer, false, false},
		{staff, domain.System, false, false},
		{staff, "", false, false},
		{private, domain.Agent, true, true},
		{private, domain.Agent, false, false},
		{public, domain.Agent, false, true},
		{public, domain.Agent, true, false},
		{endpoint.Filters{AuthorRoles: staff.AuthorRoles, Private: public.Private}, domain.Agent, true, false},
		{endpoint.Filters{AuthorRoles: staff.AuthorRoles, Private: public.Private}, domain.Customer, false, false},
	} {
		if got := tt.filters.PassMessage(tt.author, tt.private); got != tt.want {
			t.Errorf("%+v lets %q, private: %t, pass: %t; want %t", tt.filters, tt.author, tt.private, got, tt.want)
		}
	}
	if !public.HidesNotes() || private.HidesNotes() || staff.HidesNotes() {
		t.Error("notes are hidden from those who are sent them, or from nobody")
	}
}

func TestFiltersPassActivities(t *testing.T) {
	t.Parallel()
	f := endpoint.Filters{ProductIDs: []string{"17", "a"}, FormIDs: []string{"x"}}
	for _, tt := range []struct {
		ids            []string
		products, form bool
	}{
		{nil, false, false},
		{[]string{"18"}, false, false},
		{[]string{"18", "17"}, true, false},
		{[]string{"A"}, false, false},
		{[]string{"x"}, false, true},
	} {
		if got := f.PassProducts(tt.ids); got != tt.products {
			t.Errorf("products %q pass: %t", tt.ids, got)
		}
		if got := f.PassForms(tt.ids); got != tt.form {
			t.Errorf("forms %q pass: %t", tt.ids, got)
		}
		if none := (&endpoint.Filters{}); !none.PassProducts(tt.ids) || !none.PassForms(tt.ids) {
			t.Errorf("without filters %q does not pass", tt.ids)
		}
	}
}

func TestParseHistory(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]int{"": -1, "full": -1, "none": 0, "last:1": 1, "last:10000": 10_000} {
		if got, err := endpoint.ParseHistory(in); err != nil || got != want {
			t.Errorf("%q is %d, error %v; want %d", in, got, err, want)
		}
	}
}

func TestParseSchedule(t *testing.T) {
	t.Parallel()
	got, err := endpoint.ParseSchedule([]string{"0s", "1.5s", "1m30s", "24h"})
	want := []time.Duration{0, 1500 * time.Millisecond, 90 * time.Second, 24 * time.Hour}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("error %v (-want +got):\n%s", err, diff)
	}
	if got, err := endpoint.ParseSchedule(nil); err != nil || len(got) != 0 {
		t.Errorf("no schedule is %v, error %v; want none", got, err)
	}
}

func TestParseOverlap(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]time.Duration{
		"": endpoint.DefaultOverlap, "0": 0, "0s": 0, "90m": 90 * time.Minute, "744h": endpoint.MaxOverlap,
	} {
		if got, err := endpoint.ParseOverlap(in); err != nil || got != want {
			t.Errorf("%q is %s, error %v; want %s", in, got, err, want)
		}
	}
	for _, bad := range []string{"-1s", "744h1s", "24", "1 day", broken} {
		_, err := endpoint.ParseOverlap(bad)
		if fault, ok := errors.AsType[*domain.FieldError](err); !ok || fault.Field != "overlap" {
			t.Errorf("%q: got %v", bad, err)
		}
	}
}

func TestOutsideTheClosedSets(t *testing.T) {
	t.Parallel()
	panics := func(what string, f func()) {
		defer func() {
			if recover() == nil {
				t.Errorf("%s did not panic; a fault of the program must not pass in silence", what)
			}
		}()
		f()
	}
	panics("Decide of no command", func() { _, _ = endpoint.Decide(rules.Fold(registered), nil, noon) })
	panics("Evolve of no event", func() { endpoint.Evolve(rules.Fold(registered), nil) })
}

// TestProperties asks commands at random: the rules answer alike on a state and
// on its snapshot, change neither, turn off and on by turns, and stop at the
// deletion.
func TestProperties(t *testing.T) {
	t.Parallel()
	texts := rapid.SampledFrom([][]string{nil, {}, {"a"}, {"5s"}, {broken}, {"5s", "1m"}, {"host"}, many(101)})
	roles := rapid.SampledFrom([][]domain.Role{nil, {}, {"agent"}, {"customer", "bot"}, {"king"}})
	address := rapid.SampledFrom([]string{hook, "https://other.example/?a&b", "", "ftp://x", "https://" + broken})
	history := rapid.SampledFrom([]string{"", "full", "none", "last:7", "last:x"})
	rate := rapid.SampledFrom([]int{0, 1, 10_000, 10_001, -1})
	word := rapid.SampledFrom([]string{"", "none", "conversation", "park", "stop", "v1", "v1a"})
	command := rapid.Custom(func(t *rapid.T) endpoint.Command {
		return rapid.SampledFrom([]endpoint.Command{
			endpoint.Update{
				URL: drawPatch(t, address), Events: drawPatch(t, texts), Headers: drawPatch(t, texts),
				History: drawPatch(t, history), RateLimit: drawPatch(t, rate), RetrySchedule: drawPatch(t, texts),
				BasicAuth: drawPatch(t, rapid.Bool()), Ordering: drawPatch(t, word), OnExhausted: drawPatch(t, word),
				Concurrency: drawPatch(t, rate), MaxBodyBytes: drawPatch(t, rate),
				Filters: drawPatch(t, rapid.Custom(func(t *rapid.T) endpoint.FiltersPatch {
					return endpoint.FiltersPatch{
						Inboxes: drawPatch(t, texts), Channels: drawPatch(t, texts), Labels: drawPatch(t, texts),
						AuthorRoles: drawPatch(t, roles), Private: drawPatch(t, rapid.Bool()),
						ProductIDs: drawPatch(t, texts), FormIDs: drawPatch(t, texts),
					}
				})),
			},
			endpoint.Register{Account: account, Settings: endpoint.Settings{
				URL: address.Draw(t, "url"), Dialect: "closer@1", Events: texts.Draw(t, "events"),
				History: history.Draw(t, "history"), Headers: texts.Draw(t, "headers"),
				Signature: word.Draw(t, "signature"), MaxBodyBytes: rate.Draw(t, "bytes"),
			}},
			endpoint.Register{Account: account, Settings: settings()},
			endpoint.Disable{Reason: history.Draw(t, "reason")},
			endpoint.Enable{},
			endpoint.RotateSecret{PreviousUntil: noon},
			endpoint.NoteFailing{Since: noon},
			endpoint.NoteRecovered{Since: noon},
			endpoint.NoteExhausted{DeliveryID: "d", Attempts: rapid.IntRange(1, 2).Draw(t, "attempts")},
			endpoint.Delete{},
		}).Draw(t, "command")
	})
	rapid.Check(t, func(t *rapid.T) {
		var s endpoint.State
		for range rapid.IntRange(1, 20).Draw(t, "steps") {
			c := command.Draw(t, "next")
			before, asked := encoded(t, s), encoded(t, c)
			events, err := endpoint.Decide(s, c, noon)
			var restored endpoint.State
			if err := json.Unmarshal([]byte(before), &restored); err != nil {
				t.Fatal(err)
			}
			again, errAgain := endpoint.Decide(restored, c, noon)
			if encoded(t, events) != encoded(t, again) || !cmp.Equal(err, errAgain) {
				t.Fatalf("%+v came to %+v and %v; on a snapshot to %+v and %v", c, events, err, again, errAgain)
			}
			if encoded(t, s) != before || encoded(t, c) != asked {
				t.Fatalf("deciding %+v changed the state or the command", c)
			}
			if len(events) > 1 || len(events) == 1 && (err != nil || s.Deleted) {
				t.Fatalf("%+v came to %+v and %v; deleted: %t", c, events, err, s.Deleted)
			}
			for _, e := range events {
				_, off := e.(endpoint.Disabled)
				_, on := e.(endpoint.Enabled)
				if off && s.Disabled || on && !s.Disabled {
					t.Fatalf("%s while disabled: %t", e.EventType(), s.Disabled)
				}
				_, failing := e.(endpoint.Failing)
				_, recovered := e.(endpoint.Recovered)
				if (failing || recovered) && (s.Disabled || s.Failing != recovered) {
					t.Fatalf("%s while failing: %t, disabled: %t", e.EventType(), s.Failing, s.Disabled)
				}
				s = endpoint.Evolve(s, e)
			}
			switch c.(type) {
			case endpoint.NoteFailing, endpoint.NoteRecovered, endpoint.NoteExhausted:
				if more, err := endpoint.Decide(s, c, noon); len(more) > 0 {
					t.Fatalf("said again, %+v came to %+v, %v", c, more, err)
				}
			}
			if s.Registered {
				checkSettings(t, s.Settings)
			}
		}
	})
}

// checkSettings checks that settings which the rules let through can be used.
func checkSettings(t interface {
	Helper()
	Fatalf(format string, args ...any)
}, s endpoint.Settings,
) {
	t.Helper()
	u, err := url.Parse(s.URL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil {
		t.Fatalf("the URL %q is allowed: %+v, %v", s.URL, u, err)
	}
	if n, err := endpoint.ParseHistory(s.History); err != nil || n < -1 || n > endpoint.MaxHistoryLength {
		t.Fatalf("the history %q is allowed: %d, %v", s.History, n, err)
	}
	delays, err := endpoint.ParseSchedule(s.RetrySchedule)
	if err != nil || len(delays) != len(s.RetrySchedule) || len(delays) > endpoint.MaxRetries {
		t.Fatalf("the schedule %q is allowed: %v, %v", s.RetrySchedule, delays, err)
	}
	for _, d := range delays {
		if d < 0 || d > endpoint.MaxRetryDelay {
			t.Fatalf("the delay %s is allowed", d)
		}
	}
	for _, h := range s.Headers {
		if h == "" || strings.ContainsFunc(h, func(r rune) bool { return r <= ' ' || r > '~' || r == ':' }) {
			t.Fatalf("the header %q is allowed", h)
		}
	}
	if len(s.Events) == 0 || s.History == "" {
		t.Fatalf("the settings %+v lack a default", s)
	}
	if s.Ordering != "conversation" && s.Ordering != "none" || s.OnExhausted != "park" && s.OnExhausted != "stop" ||
		s.Signature != "v1" && s.Signature != "v1a" {
		t.Fatalf("the settings %+v are allowed", s)
	}
	if s.Concurrency < 0 || s.Concurrency > endpoint.MaxConcurrency || s.BodyLimit() < endpoint.MinBodyLimit || s.BodyLimit() > endpoint.MaxBodyLimit {
		t.Fatalf("the limits of %+v are allowed", s)
	}
}

func drawPatch[T any](t *rapid.T, value *rapid.Generator[T]) domain.Patch[T] {
	switch rapid.SampledFrom([]string{"as it is", "removed", "set"}).Draw(t, "patch") {
	case "set":
		return set(value.Draw(t, "value"))
	case "removed":
		return removed[T]()
	default:
		return domain.Patch[T]{}
	}
}

func encoded(t *rapid.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatalf("%T does not encode: %v", v, err)
	}
	return string(b)
}

// FuzzSettings: whatever is registered either can be used or is refused with a
// complaint about a field; registered settings are in order for good.
func FuzzSettings(f *testing.F) {
	f.Add(hook, "full", "5s,1m", "X-A")
	f.Add("http://[::1]:65535/?a#", "last:10000", "24h,0", "Webhook-Id")
	f.Add("https://user@:0/%zz", "last:+1", "-1ns", "\u212A")
	f.Add("HTTPS://\x00", "last:", "1e9h,", "a\r\nb")
	f.Fuzz(func(t *testing.T, address, history, schedule, header string) {
		asked := endpoint.Settings{
			URL: address, Dialect: "closer@1", History: history, RetrySchedule: strings.Split(schedule, ","), Headers: []string{header},
		}
		events, err := endpoint.Decide(endpoint.State{}, endpoint.Register{Settings: asked}, noon)
		if err != nil {
			if _, ok := errors.AsType[*domain.FieldError](err); !ok || len(events) != 0 {
				t.Fatalf("got events %+v and error %v; want a complaint about a field", events, err)
			}
			return
		}
		s := rules.Fold(events...)
		checkSettings(t, s.Settings)
		again := endpoint.Register{Settings: s.Settings}
		given(t).When(again).Then(events...)
		given(t, events...).When(endpoint.Update{
			URL: set(s.Settings.URL), History: set(s.Settings.History),
			RetrySchedule: set(s.Settings.RetrySchedule), Headers: set(s.Settings.Headers),
		}).ThenNothing()
	})
}
