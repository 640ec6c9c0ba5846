package cloudevents_test

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"maps"
	"mime"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/go-cmp/cmp"

	"verbatim/domain"
	"verbatim/domain/conversation"
	"verbatim/eventstore"
	"verbatim/webhooks"
	"verbatim/webhooks/dialect/cloudevents"
	"verbatim/webhooks/dialect/verbatim"
	"verbatim/webhooks/webhookstest"
)

const fixture = "../../../tests/fixtures/every-fact.ndjson"

var update = flag.Bool("update", false, "rewrite the golden files")

// A golden that changed is a new version of the dialect, or a mistake.
func TestGoldens(t *testing.T) {
	t.Parallel()
	webhookstest.CompareGoldens(t, cloudevents.New(), fixture, *update)
}

func rendered(t *testing.T, d webhooks.Dialect) []webhookstest.Rendering {
	t.Helper()
	return webhookstest.Rendered(t, d, webhookstest.Facts(t, fixture), webhooks.FullView())
}

// Every body of the fixture keeps the rules of the specification, section by
// section: "core" is the core specification, "JSON" the JSON format.
func TestBodiesAreCloudEvents(t *testing.T) {
	t.Parallel()
	seen := make(map[string]bool)
	sequence := ""
	for _, r := range rendered(t, cloudevents.New()) {
		var members map[string]json.RawMessage
		if err := json.Unmarshal(r.Body, &members); err != nil {
			t.Fatalf("%v in %s", err, r.Body)
		}
		attributes := make(map[string]string)
		for name, raw := range members {
			if name == "data" {
				continue
			}
			// core, Naming Conventions: lower-case letters and digits, at most 20.
			if !regexp.MustCompile(`^[a-z0-9]{1,20}$`).MatchString(name) {
				t.Errorf("%s: attribute %q", r.Name, name)
			}
			// JSON, 2.2: all of ours are of types that are strings in JSON; what is
			// unset is left out. core, REQUIRED and OPTIONAL Attributes: none is empty.
			var value *string
			if err := json.Unmarshal(raw, &value); err != nil || value == nil || *value == "" {
				t.Errorf("%s: attribute %s is %s", r.Name, name, raw)
				continue
			}
			attributes[name] = *value
		}

		// core, REQUIRED Attributes.
		if attributes["specversion"] != "1.0" {
			t.Errorf("%s: specversion %q", r.Name, attributes["specversion"])
		}
		// core, id: source and id together are of one event.
		identity := attributes["source"] + " " + attributes["id"]
		if seen[identity] || attributes["id"] == "" {
			t.Errorf("%s: %s is of two events", r.Name, identity)
		}
		seen[identity] = true
		// core, source: a URI-reference, not empty.
		if source, err := url.Parse(attributes["source"]); err != nil || source.Path != "/accounts/default" {
			t.Errorf("%s: source %q, %v", r.Name, attributes["source"], err)
		}
		// core, type: begins with a name of ours.
		if attributes["type"] != "verbatim."+r.Name {
			t.Errorf("%s: type %q", r.Name, attributes["type"])
		}

		// core, OPTIONAL Attributes: a time as in RFC 3339, a media type as in RFC
		// 2046, and no schema that nobody could fetch.
		if _, err := time.Parse(time.RFC3339, attributes["time"]); err != nil {
			t.Errorf("%s: %v", r.Name, err)
		}
		if media, _, err := mime.ParseMediaType(attributes["datacontenttype"]); err != nil || media != "application/json" {
			t.Errorf("%s: datacontenttype %q, %v", r.Name, attributes["datacontenttype"], err)
		}
		if _, there := attributes["dataschema"]; there {
			t.Errorf("%s: dataschema %q", r.Name, attributes["dataschema"])
		}

		// JSON, 3.1.1: data that is JSON stands there as it is, and not as a text.
		if data := members["data"]; len(data) == 0 || data[0] != '{' {
			t.Errorf("%s: data is %s", r.Name, data)
		}

		// extensions/sequence.md: sorts as text like the log; the two events that are
		// one fact are in one place.
		if attributes["sequence"] < sequence {
			t.Errorf("%s: sequence %s comes after %s", r.Name, attributes["sequence"], sequence)
		}
		sequence = attributes["sequence"]
		// extensions/partitioning.md: what is about one thing has one key.
		if kind, id := eventstore.SplitStream(attributes["partitionkey"]); kind+"/"+id != attributes["subject"] {
			t.Errorf("%s: partition %q, subject %q", r.Name, attributes["partitionkey"], attributes["subject"])
		}
	}
	if sequence != "00000000000000000046" {
		t.Errorf("the last sequence is %s", sequence)
	}
}

// An independent reader finds what was written.
func TestTheReaderOfTheSDKTakesThem(t *testing.T) {
	t.Parallel()
	facts := webhookstest.Facts(t, fixture)
	for _, r := range rendered(t, cloudevents.New()) {
		var e event.Event
		if err := json.Unmarshal(r.Body, &e); err != nil {
			t.Fatalf("%s: %v", r.Name, err)
		}
		if err := e.Validate(); err != nil {
			t.Errorf("%s: %v", r.Name, err)
		}
		f := facts[r.Position-1]
		kind, id := eventstore.SplitStream(f.Stream)
		got := []string{e.SpecVersion(), strings.TrimSuffix(e.ID(), ".transcript"), e.Source(), e.Type(), e.Subject(), e.DataContentType(), e.DataSchema()}
		want := []string{"1.0", f.ID.String(), "/accounts/default", "verbatim." + r.Name, kind + "/" + id, "application/json", ""}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", r.Name, diff)
		}
		if strings.HasSuffix(e.ID(), ".transcript") != (r.Name == verbatim.Transcript) {
			t.Errorf("%s: id %s", r.Name, e.ID())
		}
		if !e.Time().Equal(f.Time) {
			t.Errorf("%s: time %s, want %s", r.Name, e.Time(), f.Time)
		}
		if e.Extensions()["partitionkey"] != f.Stream {
			t.Errorf("%s: extensions %v", r.Name, e.Extensions())
		}
	}
}

// What verbatim@1 says is what is said here, byte for byte.
func TestDataIsThatOfVerbatim(t *testing.T) {
	t.Parallel()
	ours, theirs := rendered(t, cloudevents.New()), rendered(t, verbatim.New())
	if len(ours) != len(theirs) {
		t.Fatalf("%d events, want %d", len(ours), len(theirs))
	}
	for i := range ours {
		_, data, _ := bytes.Cut(ours[i].Body, []byte(`,"data":`))
		_, want, _ := bytes.Cut(theirs[i].Body, []byte(`,"data":`))
		if ours[i].Word != theirs[i].Word || !bytes.Equal(data, want) {
			t.Errorf("%s: got %s, want %s", ours[i].Name, data, want)
		}
	}
}

func attributes(t *testing.T, s *webhookstest.Story) map[string]string {
	t.Helper()
	before, _, _ := bytes.Cut(s.Body(cloudevents.New(), s.Fact.Type), []byte(`,"data":`))
	var out map[string]string
	if err := json.Unmarshal(append(before, '}'), &out); err != nil {
		t.Fatalf("%v in %s", err, before)
	}
	return out
}

func TestTheCauseIsSaidIfItIsKnown(t *testing.T) {
	t.Parallel()
	const trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	some := []string{"correlationid", "causationid", "traceparent"}
	for _, c := range []struct {
		metadata string
		want     map[string]string
	}{
		{``, nil},
		{`{"actor":"key:1","command":"c"}`, nil},
		{
			`{"correlation":"r-1","causation":"e-1","trace":"` + trace + `"}`,
			map[string]string{"correlationid": "r-1", "causationid": "e-1", "traceparent": trace},
		},
		{`{"correlation":"<é> \"q\""}`, map[string]string{"correlationid": `<é> "q"`}},
		// What is no string in CloudEvents, or no traceparent, cannot be said.
		{`{"correlation":"a\nb","causation":"a\u0085b","trace":"t"}`, nil},
		{`{"correlation":"a\ufffe","causation":"\ufdd0","trace":"` + strings.ToUpper(trace) + `"}`, nil},
		{`{"trace":"` + strings.ReplaceAll(trace, "-", "0") + `"}`, nil},
		{`{"trace":"` + strings.Replace(trace, "0a", "-a", 1) + `"}`, nil},
	} {
		s := webhookstest.Tell(t, conversation.Created{Customer: domain.Person{ID: "c"}})
		s.Fact.Metadata = []byte(c.metadata)
		got := attributes(t, s)
		maps.DeleteFunc(got, func(name, _ string) bool { return !slices.Contains(some, name) })
		if !maps.Equal(c.want, got) {
			t.Errorf("%s: got %v, want %v", c.metadata, got, c.want)
		}
	}
}

func TestSourceAndSequence(t *testing.T) {
	t.Parallel()
	for account, want := range map[string]string{
		"acme": "/accounts/acme", "a/b?c#d e%": "/accounts/a%2Fb%3Fc%23d%20e%25", "é\"\xff": "/accounts/%C3%A9%22%FF",
	} {
		s := webhookstest.TellAt(t, 1<<63-1, conversation.Created{Customer: domain.Person{ID: "c"}})
		s.Fact.Account = account
		got := attributes(t, s)
		if got["source"] != want || got["sequence"] != "09223372036854775807" {
			t.Errorf("%q: source %s, sequence %s", account, got["source"], got["sequence"])
		}
		if u, err := url.Parse(got["source"]); err != nil || u.Path != "/accounts/"+account {
			t.Errorf("%q: %v, %v", account, u, err)
		}
	}
}

// The envelope counts: a body is no larger than its endpoint takes.
func TestTheEnvelopeCounts(t *testing.T) {
	t.Parallel()
	s := webhookstest.Tell(t, conversation.Created{Customer: domain.Person{ID: "c"}})
	for range 100 {
		s.Then(conversation.MessagePosted{MessageID: "m", Author: domain.Person{ID: "c"}, Text: strings.Repeat("x", 10)})
	}
	for most := 4096; most < 5096; most += 7 {
		e := s.Event("conversation.message_posted")
		e.View.MaxBytes = most
		if raw := webhookstest.Body(t, cloudevents.New(), e); len(raw) > most || len(raw) < most-1500 {
			t.Errorf("%d bytes, and %d are taken", len(raw), most)
		}
	}
}

// A test is a CloudEvent too, or receivers would refuse it for what it is not.
func TestATestIsACloudEvent(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 1, 12, 0, 0, 123456000, time.UTC)
	id, of := "019cadd3-77f0-7b34-9bc2-c05eb4d7e25d", webhookstest.Endpoint(1)
	raw := cloudevents.New().AppendTest([]byte("-"), "a/b", of, id, at)
	var e event.Event
	if err := json.Unmarshal(raw[1:], &e); err != nil {
		t.Fatalf("%v in %s", err, raw)
	}
	if err := e.Validate(); err != nil {
		t.Error(err)
	}
	got := []string{e.ID(), e.Source(), e.Type(), e.Subject(), e.Time().Format(time.RFC3339Nano), string(e.Data())}
	want := []string{
		id, "/accounts/a%2Fb", "verbatim.endpoint.test", "endpoint/" + of, "2026-03-01T12:00:00.123456Z", `{"endpoint":{"id":"` + of + `"}}`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestWithoutAConversationThereIsNoBody(t *testing.T) {
	t.Parallel()
	e := webhookstest.Tell(t, conversation.Created{Customer: domain.Person{ID: "c"}}).Event("conversation.created")
	e.History = nil
	if _, err := cloudevents.New().AppendBody(nil, e); err == nil || !strings.HasPrefix(err.Error(), cloudevents.Name) {
		t.Errorf("got %v", err)
	}
}

// receiver is what a delivery is rendered for and sent to.
type receiver struct{ requests chan webhooks.Request }

func (receiver) Body(context.Context, *webhooks.Delivery) ([]byte, error) { return []byte("{}"), nil }

func (r receiver) Send(_ context.Context, request webhooks.Request) webhooks.Outcome {
	r.requests <- request
	return webhooks.Outcome{Status: 204}
}

// The JSON format, 3, and the HTTP binding, 3.2: a structured event is sent as
// application/cloudevents+json.
func TestTheContentTypeIsThatOfAStructuredEvent(t *testing.T) {
	t.Parallel()
	queue, to := webhookstest.NewQueue(), receiver{make(chan webhooks.Request, 1)}
	endpoint := webhookstest.Endpoint(1)
	if err := queue.SetTarget(t.Context(), endpoint, webhookstest.TargetOf("https://example.com/")); err != nil {
		t.Fatal(err)
	}
	d := webhookstest.Planned(endpoint, webhookstest.Stream(1), 1, 1, "conversation.created")
	d.Dialect = cloudevents.Name
	if err := queue.Plan(t.Context(), []webhooks.Delivery{d}); err != nil {
		t.Fatal(err)
	}
	dispatcher := webhooks.NewDispatcher(queue, to, to, func() time.Time { return d.DueAt },
		webhooks.Config{Dialects: webhooks.NewDialects(cloudevents.New())})
	if _, _, err := dispatcher.Step(t.Context()); err != nil {
		t.Fatal(err)
	}
	var request webhooks.Request
	select {
	case request = <-to.requests:
	case <-time.After(time.Minute):
		t.Fatal("nothing was sent")
	}
	if got := request.Headers["content-type"]; got != "application/cloudevents+json" {
		t.Errorf("content-type is %q", got)
	}
	if request.Headers["webhook-signature"] == "" {
		t.Error("it is signed all the same")
	}
}
