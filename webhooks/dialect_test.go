package webhooks_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"pgregory.net/rapid"

	"verbatim/domain"
	"verbatim/eventstore"
	"verbatim/webhooks"
	"verbatim/webhooks/dialect"
	"verbatim/webhooks/shape"
)

// named is a dialect that is nothing but a name.
type named struct {
	webhooks.Dialect
	name string
}

func (n named) Name() string { return n.name }
func (n named) Vocabulary() []webhooks.EventType {
	return []webhooks.EventType{{Word: webhooks.Word{Name: "BigBang"}, Facts: []string{"conversation.created"}}}
}

func TestDialectsAreFoundByName(t *testing.T) {
	t.Parallel()
	ds := webhooks.NewDialects(named{name: "x@2"}, named{name: "x@10"}, named{name: "x@9"}, named{name: "xy@11"})
	for ask, want := range map[string]string{"x": "x@10", "x@2": "x@2", "xy": "xy@11", "x@3": "", "": "", "x@": ""} {
		got := ""
		d, err := ds.Find(ask)
		if err == nil {
			got = d.Name()
		}
		var f *domain.FieldError
		if got != want || (want == "") != (errors.As(err, &f) && f.Field == "dialect") {
			t.Errorf("%q: got %q, %v", ask, got, err)
		}
	}
	if diff := cmp.Diff([]string{"x@10", "x@2", "x@9", "xy@11"}, ds.Names()); diff != "" {
		t.Error(diff)
	}
	for _, ask := range []string{"x", "x@2", "x@3"} {
		if d, err := ds.FindVersion(ask, 9); err != nil || d.Name() != "x@9" {
			t.Errorf("version 9 of %s: got %v, %v", ask, d, err)
		}
	}
	for ask, want := range map[string]string{"x@3": "one of x@2, x@9, x@10", "z": "one of x@10, x@2, x@9, xy@11"} {
		if _, err := ds.FindVersion(ask, 3); err == nil || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("version 3 of %s: %v, want %s", ask, err, want)
		}
	}
	defer func() {
		if recover() == nil {
			t.Error("a name was used twice")
		}
	}()
	webhooks.NewDialects(named{name: "x@1"}, named{name: "x@1"})
}

func TestEveryDialectIsInTheList(t *testing.T) {
	t.Parallel()
	if diff := cmp.Diff([]string{"chatwoot@1", "clarityflow@1", "closer@1", "cloudevents@1", "talkus@1", "verbatim@1"}, dialect.All().Names()); diff != "" {
		t.Error(diff)
	}
}

// What the vocabulary says of a fact is what becomes of it. Some facts are an
// event of a format only with what they carry; those are told in the dialect's
// own tests.
func TestVocabulariesAreComplete(t *testing.T) {
	t.Parallel()
	facts := eventstore.Catalogue().Types()
	for _, name := range dialect.All().Names() {
		d, err := dialect.All().Find(name)
		if err != nil {
			t.Fatal(err)
		}
		seen := map[string]bool{}
		for _, event := range d.Vocabulary() {
			if seen[event.Name] {
				t.Errorf("%s: %s is there twice", name, event.Name)
			}
			seen[event.Name] = true
			for _, fact := range event.Facts {
				if _, known := facts[fact]; !known {
					t.Errorf("%s: %s is made of %s, which is no fact", name, event.Name, fact)
				}
			}
			if event.About == "" || len(event.Facts) == 0 || len(event.Body.Members)+len(event.Body.OneOf) == 0 && event.Body.Items == nil {
				t.Errorf("%s: %s is not described", name, event.Name)
			}
			if err := shape.Check(event.Body, event.Sample); err != nil {
				t.Errorf("%s: sample of %s: %v", name, event.Name, err)
			}
		}
		for fact, e := range facts {
			for _, word := range d.Words(e) {
				i := slices.IndexFunc(d.Vocabulary(), func(t webhooks.EventType) bool { return t.Word == word })
				if i < 0 || !slices.Contains(d.Vocabulary()[i].Facts, fact) {
					t.Errorf("%s: %s becomes %s, and the vocabulary does not say so", name, fact, word.Name)
				}
			}
		}
	}
}

func TestWhatAnEndpointAsksFor(t *testing.T) {
	t.Parallel()
	facts := eventstore.Catalogue().Types()
	d := named{name: "x@1"}
	if err := webhooks.CheckEvents(d, facts, []string{"*", "conversation.*", "contact.created", "BigBang"}); err != nil {
		t.Error(err)
	}
	for i, bad := range []string{
		"conversation.exploded", "BigBangs", "", "nothing.*", "conversation", "endpoint.deleted", "endpoint.*", "conversation.message_*",
	} {
		err := webhooks.CheckEvents(d, facts, append(strings.Split(strings.Repeat("*", i), ""), bad))
		var f *domain.FieldError
		if !errors.As(err, &f) || f.Field != fmt.Sprintf("events[%d]", i) {
			t.Errorf("%q: got %v", bad, err)
			continue
		}
		// Each name on the list is one that can be asked for.
		_, list, _ := strings.Cut(f.Rule, ": ")
		names := strings.Split(list, ", ")
		if err := webhooks.CheckEvents(d, facts, names); err != nil || slices.Contains(names, bad) {
			t.Errorf("%q: the list %q has %v", bad, names, err)
		}
		for _, name := range []string{"*", "BigBang", "conversation.*", "contact.*", "conversation.created", "contact.erased"} {
			if !slices.Contains(names, name) {
				t.Errorf("%q: the list %q does not have %s", bad, names, name)
			}
		}
	}
	for _, c := range []struct {
		names []string
		want  bool
	}{
		{nil, false},
		{[]string{"*"}, true},
		{[]string{"conversation.*"}, true},
		{[]string{"contact.*"}, false},
		{[]string{"conversation.created"}, true},
		{[]string{"conversation.closed"}, false},
		{[]string{"BigBang"}, true},
		{[]string{"contact.*", "BigCrunch", "BigBang"}, true},
	} {
		if got := webhooks.Wants(c.names, "conversation.created", webhooks.Word{Name: "BigBang", OptIn: true}); got != slices.Contains(c.names, "BigBang") {
			t.Errorf("%v: got %t for an opt-in", c.names, got)
		}
		if got := webhooks.Wants(c.names, "conversation.created", webhooks.Word{Name: "BigBang"}); got != c.want {
			t.Errorf("%v: got %t", c.names, got)
		}
	}
}

func TestViewsAreReadAsTheyWereWritten(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		view webhooks.View
		want string
	}{
		{webhooks.View{}, "none,public"},
		{webhooks.FullView(), "full"},
		{webhooks.View{Last: -1}, "full,public"},
		{webhooks.View{Last: 5, Notes: true}, "last:5"},
		{webhooks.View{Last: 5}, "last:5,public"},
		{webhooks.View{Notes: true}, "none"},
		{webhooks.View{Last: -1, Notes: true, MaxBytes: 65536}, "full,max:65536"},
		{webhooks.View{Last: 5, MaxBytes: 4096}, "last:5,public,max:4096"},
	} {
		if got := c.view.String(); got != c.want {
			t.Errorf("%+v: got %s, want %s", c.view, got, c.want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		v := webhooks.View{
			Last: rapid.IntRange(-1, 100).Draw(t, "last"), Notes: rapid.Bool().Draw(t, "notes"),
			MaxBytes: rapid.IntRange(0, 1<<30).Draw(t, "bytes"),
		}
		if got, err := webhooks.ParseView(v.String()); err != nil || got != v {
			t.Fatalf("%+v is read as %+v, %v", v, got, err)
		}
	})
	for _, s := range []string{
		"last:0", "last:-1", "last:", "last:x", "all", "public", "full,publicly", "full,public,public", "full, public", "FULL",
		"full,max:", "full,max:0", "full,max:-1", "full,max:x", "full,max:1,public", "last:0,max:1", "max:1",
	} {
		if v, err := webhooks.ParseView(s); err == nil {
			t.Errorf("%q is read as %+v", s, v)
		}
	}
	for s, want := range map[string]webhooks.View{"": webhooks.FullView(), ",public": {Last: -1}} { // of a time before there were settings
		if got, err := webhooks.ParseView(s); err != nil || got != want {
			t.Errorf("%q: got %+v, %v", s, got, err)
		}
	}
}

// Facts about endpoints are for those who name them or their group, where the
// dialect has words for them.
func TestWhatIsToldOfEndpoints(t *testing.T) {
	t.Parallel()
	facts := eventstore.Catalogue().Types()
	for _, name := range dialect.All().Names() {
		d, err := dialect.All().Find(name)
		if err != nil {
			t.Fatal(err)
		}
		speaks := strings.HasPrefix(name, "verbatim@") || strings.HasPrefix(name, "cloudevents@")
		for fact, e := range facts {
			if !strings.HasPrefix(fact, "endpoint.") {
				continue
			}
			words := d.Words(e)
			if err := webhooks.CheckEvents(d, facts, []string{fact}); (err == nil) != (len(words) == 1) {
				t.Errorf("%s: %s can be asked for: %v, words %v", name, fact, err, words)
			}
			for _, word := range words {
				for asked, want := range map[string]bool{
					fact: true, "endpoint.*": true, "*": false, "conversation.*": false, "endpoint": false, "endpoint.": false,
				} {
					if got := webhooks.Wants([]string{asked}, fact, word); got != want {
						t.Errorf("%s: %q is sent %s: %t", name, asked, fact, got)
					}
				}
			}
		}
		if err := webhooks.CheckEvents(d, facts, []string{"*", "endpoint.*"}); (err == nil) != speaks {
			t.Errorf("%s: the group can be asked for: %v", name, err)
		}
	}
}

// Receivers keep these ids: they are the same for ever.
func TestIDsAreStable(t *testing.T) {
	t.Parallel()
	event := uuid.MustParse("016b5507-3795-738b-8328-962f35e9fb7c")
	id, delivery := webhooks.ID("ep_1", event, "conversation.created"), webhooks.DeliveryID("ep_1", event, "conversation.created")
	if id != "msg_dd0c7b7acb3ea50addf9bbaf06053bf8" || delivery != "dlv_016b550737958c59ad84b85dd65173f5" {
		t.Errorf("got %s, %s", id, delivery)
	}
	for _, other := range []string{
		webhooks.ID("ep_2", event, "conversation.created"), webhooks.ID("ep_1", event, "conversation.closed"),
		webhooks.ID("ep_1", uuid.Nil, "conversation.created"), webhooks.ID("ep_1\x00", event, "conversation.created"),
	} {
		if other == id {
			t.Error("two deliveries share an id")
		}
	}
}
