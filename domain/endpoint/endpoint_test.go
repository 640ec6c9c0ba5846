package endpoint_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"verbatim/domain"
	"verbatim/domain/endpoint"
)

// A scenario is what has happened so far.
type scenario struct {
	t     *testing.T
	state endpoint.State
}

// An outcome is what a command came to.
type outcome struct {
	t      *testing.T
	events []endpoint.Event
	err    error
}

func given(t *testing.T, events ...endpoint.Event) scenario {
	t.Helper()
	return scenario{t, fold(events...)}
}

func (s scenario) when(c endpoint.Command) outcome {
	s.t.Helper()
	events, err := endpoint.Decide(s.state, c, noon)
	return outcome{s.t, events, err}
}

func (o outcome) then(want ...endpoint.Event) {
	o.t.Helper()
	if o.err != nil {
		o.t.Fatalf("refused: %v; want %d events", o.err, len(want))
	}
	if diff := cmp.Diff(want, o.events); diff != "" {
		o.t.Errorf("events differ (-want +got):\n%s", diff)
	}
}

func (o outcome) thenNothing() {
	o.t.Helper()
	if o.err != nil || len(o.events) != 0 {
		o.t.Errorf("got events %+v and error %v; want neither", o.events, o.err)
	}
}

func (o outcome) thenRefused(want domain.Refusal) {
	o.t.Helper()
	if !errors.Is(o.err, want) || len(o.events) != 0 {
		o.t.Errorf("got events %+v and error %v; want the refusal %s", o.events, o.err, want)
	}
}

func (o outcome) thenFieldError(field string) {
	o.t.Helper()
	fault, ok := errors.AsType[*domain.FieldError](o.err)
	if !ok || len(o.events) != 0 {
		o.t.Fatalf("got events %+v and error %v; want a complaint about %s", o.events, o.err, field)
	}
	if fault.Field != field || fault.Rule == "" {
		o.t.Errorf("got the complaint %q; want one about %s", fault, field)
	}
}

// thenAllowed is for limits: what exactly follows is said elsewhere.
func (o outcome) thenAllowed() {
	o.t.Helper()
	if o.err != nil || len(o.events) == 0 {
		o.t.Errorf("got events %+v and error %v; want events", o.events, o.err)
	}
}

func fold(events ...endpoint.Event) endpoint.State {
	var s endpoint.State
	for _, e := range events {
		s = endpoint.Evolve(s, e)
	}
	return s
}

// broken is a text that is not UTF-8.
const broken = "caf\xe9"

const hook = "https://example.com/hook"

var (
	noon       = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)
	account    = domain.Account{ID: "acme", Number: 1, Name: "Acme"}
	registered = endpoint.Registered{Account: account, Settings: settings()}
)

// settings returns the settings of an endpoint that sets nothing but must.
func settings() endpoint.Settings {
	return endpoint.Settings{
		URL: hook, Dialect: "closer@1", Events: []string{"*"}, History: "full", Ordering: "conversation",
	}
}

func with(change func(*endpoint.Settings)) endpoint.Settings {
	s := settings()
	change(&s)
	return s
}

func set[T any](v T) domain.Patch[T] { return domain.Patch[T]{Set: true, Value: &v} }

func removed[T any]() domain.Patch[T] { return domain.Patch[T]{Set: true} }

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
			when(endpoint.Register{Account: account, Settings: endpoint.Settings{URL: hook, Dialect: "closer@1"}}).
			then(registered)
	})

	t.Run("keeps everything that was set", func(t *testing.T) {
		t.Parallel()
		all := endpoint.Settings{
			URL: "http://10.0.0.1:8080/hook?a=b", Dialect: "verbatim@1", Events: []string{"conversation.created"},
			Filters: endpoint.Filters{Inboxes: []string{"site"}, Channels: []string{"web"}}, History: "last:20",
			Headers: []string{"Authorization"}, RateLimit: 5, RetrySchedule: []string{"5s", "1m"}, Ordering: "conversation",
		}
		given(t).
			when(endpoint.Register{Account: account, Settings: all}).
			then(endpoint.Registered{Account: account, Settings: all})
	})

	t.Run("happens once, even to one that is deleted", func(t *testing.T) {
		t.Parallel()
		again := endpoint.Register{Account: account, Settings: settings()}
		given(t, registered).when(again).thenRefused(endpoint.AlreadyRegistered)
		given(t, registered, endpoint.Deleted{}).when(again).thenRefused(endpoint.AlreadyRegistered)
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
		{"another ordering", "ordering", with(func(s *endpoint.Settings) { s.Ordering = "none" })},

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
			register := given(t).when(endpoint.Register{Settings: tt.settings})
			if tt.field != "" {
				register.thenFieldError(tt.field)
			} else {
				register.then(endpoint.Registered{Settings: tt.settings})
			}
			if tt.field == "dialect" || tt.field == "ordering" {
				return // is not among what an update can change
			}
			update := given(t, registered).when(endpoint.Update{
				Events: set(tt.settings.Events), History: set(tt.settings.History), Headers: set(tt.settings.Headers),
				RateLimit: set(tt.settings.RateLimit), RetrySchedule: set(tt.settings.RetrySchedule),
				Filters: set(endpoint.FiltersPatch{
					Inboxes: set(tt.settings.Filters.Inboxes), Channels: set(tt.settings.Filters.Channels),
				}),
			})
			if tt.field != "" {
				update.thenFieldError(tt.field)
			} else {
				update.then(endpoint.Updated{Settings: tt.settings})
			}
		})
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
		given(t).when(endpoint.Register{Settings: with(func(s *endpoint.Settings) { s.URL = good })}).thenAllowed()
		if good != hook {
			given(t, registered).when(endpoint.Update{URL: set(good)}).thenAllowed()
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
		given(t).when(endpoint.Register{Settings: with(func(s *endpoint.Settings) { s.URL = bad })}).thenFieldError("url")
		given(t, registered).when(endpoint.Update{URL: set(bad)}).thenFieldError("url")
	}
	given(t, registered).when(endpoint.Update{URL: removed[string]()}).thenFieldError("url")
}

func TestUpdate(t *testing.T) {
	t.Parallel()
	full := endpoint.Registered{Account: account, Settings: endpoint.Settings{
		URL: hook, Dialect: "closer@1", Events: []string{"a"}, History: "none", Ordering: "conversation",
		Filters: endpoint.Filters{Inboxes: []string{"site"}, Channels: []string{"web"}},
		Headers: []string{"X-A"}, RateLimit: 5, RetrySchedule: []string{"5s"},
	}}
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
		{
			"one filter leaves the other",
			endpoint.Update{Filters: set(endpoint.FiltersPatch{Inboxes: set([]string{"shop"})})},
			fullWith(func(s *endpoint.Settings) { s.Filters.Inboxes = []string{"shop"} }),
		},
		{
			"one filter removed leaves the other",
			endpoint.Update{Filters: set(endpoint.FiltersPatch{Channels: removed[[]string]()})},
			fullWith(func(s *endpoint.Settings) { s.Filters.Channels = nil }),
		},
		{"no filters", endpoint.Update{Filters: removed[endpoint.FiltersPatch]()}, fullWith(func(s *endpoint.Settings) { s.Filters = endpoint.Filters{} })},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			given(t, full).when(tt.patch).then(endpoint.Updated{Settings: tt.want})
			given(t, full, endpoint.Updated{Settings: tt.want}).when(tt.patch).thenNothing()
		})
	}

	t.Run("of nothing is nothing", func(t *testing.T) {
		t.Parallel()
		given(t, full).when(endpoint.Update{}).thenNothing()
		given(t, full).when(endpoint.Update{Filters: set(endpoint.FiltersPatch{})}).thenNothing()
	})

	t.Run("to empty lists where there are none is nothing", func(t *testing.T) {
		t.Parallel()
		given(t, registered).
			when(endpoint.Update{
				Filters: set(endpoint.FiltersPatch{Inboxes: set([]string{}), Channels: set([]string{})}),
				Headers: set([]string{}), RetrySchedule: set([]string{}),
			}).
			thenNothing()
	})

	t.Run("works while disabled", func(t *testing.T) {
		t.Parallel()
		given(t, full, endpoint.Disabled{}).when(endpoint.Update{RateLimit: set(6)}).thenAllowed()
	})
}

func TestUpdateDecodesAsMergePatch(t *testing.T) {
	t.Parallel()
	var p domain.Patch[endpoint.FiltersPatch]
	if err := json.Unmarshal([]byte(`{"inboxes":null}`), &p); err != nil {
		t.Fatal(err)
	}
	filters := endpoint.Filters{Inboxes: []string{"site"}, Channels: []string{"web"}}
	given(t, endpoint.Registered{Settings: with(func(s *endpoint.Settings) { s.Filters = filters })}).
		when(endpoint.Update{Filters: p}).
		then(endpoint.Updated{Settings: with(func(s *endpoint.Settings) { s.Filters.Channels = []string{"web"} })})
}

func TestDisableAndEnable(t *testing.T) {
	t.Parallel()
	disabled := endpoint.Disabled{Reason: "410 Gone"}
	given(t, registered).when(endpoint.Disable{Reason: "410 Gone"}).then(disabled)
	given(t, registered, disabled).when(endpoint.Disable{Reason: "again"}).thenNothing()
	given(t, registered, disabled).when(endpoint.Enable{}).then(endpoint.Enabled{})
	given(t, registered).when(endpoint.Enable{}).thenNothing()
	given(t, registered, disabled, endpoint.Enabled{}).when(endpoint.Enable{}).thenNothing()
	given(t, registered, disabled, endpoint.Enabled{}).when(endpoint.Disable{}).then(endpoint.Disabled{})

	longest := strings.Repeat("é", endpoint.MaxReasonLength)
	given(t, registered).when(endpoint.Disable{Reason: longest}).then(endpoint.Disabled{Reason: longest})
	given(t, registered).when(endpoint.Disable{Reason: longest + "é"}).thenFieldError("reason")
	given(t, registered).when(endpoint.Disable{Reason: broken}).thenFieldError("reason")
}

func TestRotateSecret(t *testing.T) {
	t.Parallel()
	rotated := endpoint.SecretRotated{PreviousUntil: noon.Add(24 * time.Hour)}
	given(t, registered).when(endpoint.RotateSecret(rotated)).then(rotated)
	given(t, registered, rotated).when(endpoint.RotateSecret(rotated)).then(rotated)
}

func TestDelete(t *testing.T) {
	t.Parallel()
	given(t, registered).when(endpoint.Delete{}).then(endpoint.Deleted{})
	given(t, registered, endpoint.Disabled{}).when(endpoint.Delete{}).then(endpoint.Deleted{})
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
		"Delete":       endpoint.Delete{},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			given(t).when(c).thenRefused(endpoint.NotRegistered)
			given(t, registered, endpoint.Deleted{}).when(c).thenRefused(endpoint.NotRegistered)
		})
	}
}

func TestFiltersPass(t *testing.T) {
	t.Parallel()
	both := endpoint.Filters{Inboxes: []string{"site", "shop"}, Channels: []string{"web"}}
	for _, tt := range []struct {
		filters        endpoint.Filters
		inbox, channel string
		want           bool
	}{
		{endpoint.Filters{}, "site", "web", true},
		{endpoint.Filters{}, "", "", true},
		{both, "shop", "web", true},
		{both, "shop", "mail", false},
		{both, "other", "web", false},
		{endpoint.Filters{Inboxes: []string{"site"}}, "site", "mail", true},
		{endpoint.Filters{Inboxes: []string{"site"}}, "", "mail", false},
		{endpoint.Filters{Channels: []string{"web"}}, "other", "web", true},
		{endpoint.Filters{Channels: []string{"web"}}, "other", "Web", false},
	} {
		if got := tt.filters.Pass(tt.inbox, tt.channel); got != tt.want {
			t.Errorf("%+v lets %q, %q pass: %t; want %t", tt.filters, tt.inbox, tt.channel, got, tt.want)
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
	panics("Decide of no command", func() { _, _ = endpoint.Decide(fold(registered), nil, noon) })
	panics("Evolve of no event", func() { endpoint.Evolve(fold(registered), nil) })
}

// TestProperties asks commands at random: the rules answer alike on a state and
// on its snapshot, change neither, turn off and on by turns, and stop at the
// deletion.
func TestProperties(t *testing.T) {
	t.Parallel()
	texts := rapid.SampledFrom([][]string{nil, {}, {"a"}, {"5s"}, {broken}, {"5s", "1m"}, {"host"}, many(101)})
	address := rapid.SampledFrom([]string{hook, "https://other.example/?a&b", "", "ftp://x", "https://" + broken})
	history := rapid.SampledFrom([]string{"", "full", "none", "last:7", "last:x"})
	rate := rapid.SampledFrom([]int{0, 1, 10_000, 10_001, -1})
	command := rapid.Custom(func(t *rapid.T) endpoint.Command {
		return rapid.SampledFrom([]endpoint.Command{
			endpoint.Update{
				URL: drawPatch(t, address), Events: drawPatch(t, texts), Headers: drawPatch(t, texts),
				History: drawPatch(t, history), RateLimit: drawPatch(t, rate), RetrySchedule: drawPatch(t, texts),
				Filters: drawPatch(t, rapid.Custom(func(t *rapid.T) endpoint.FiltersPatch {
					return endpoint.FiltersPatch{Inboxes: drawPatch(t, texts), Channels: drawPatch(t, texts)}
				})),
			},
			endpoint.Register{Account: account, Settings: endpoint.Settings{
				URL: address.Draw(t, "url"), Dialect: "closer@1", Events: texts.Draw(t, "events"),
				History: history.Draw(t, "history"), Headers: texts.Draw(t, "headers"),
			}},
			endpoint.Register{Account: account, Settings: settings()},
			endpoint.Disable{Reason: history.Draw(t, "reason")},
			endpoint.Enable{},
			endpoint.RotateSecret{PreviousUntil: noon},
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
				s = endpoint.Evolve(s, e)
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
	if len(s.Events) == 0 || s.Ordering == "" || s.History == "" {
		t.Fatalf("the settings %+v lack a default", s)
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
		s := fold(events...)
		checkSettings(t, s.Settings)
		again := endpoint.Register{Settings: s.Settings}
		given(t).when(again).then(events...)
		given(t, events...).when(endpoint.Update{
			URL: set(s.Settings.URL), History: set(s.Settings.History),
			RetrySchedule: set(s.Settings.RetrySchedule), Headers: set(s.Settings.Headers),
		}).thenNothing()
	})
}
