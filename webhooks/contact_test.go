package webhooks_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"verbatim/domain"
	"verbatim/domain/contact"
	"verbatim/eventstore"
	"verbatim/webhooks"
	"verbatim/webhooks/webhookstest"
)

func TestAContactIsWhatItsEventsMadeOfIt(t *testing.T) {
	t.Parallel()
	var c webhooks.Contact
	n := int64(0)
	apply := func(e contact.Event) {
		n++
		r := recordedAt(n, e)
		r.Stream = eventstore.StreamName("contact", webhookstest.ID("cont", 1).String())
		c = c.Evolve(r, e)
	}
	check := func(want webhooks.Contact) {
		t.Helper()
		want.Version = n
		if diff := cmp.Diff(want, c); diff != "" {
			t.Fatalf("version %d (-want +got):\n%s", n, diff)
		}
	}
	ann := domain.Person{ID: "ann", Role: domain.Customer, Email: "ann@x"}
	apply(contact.Created{Account: domain.Account{ID: "acme"}, Profile: ann})
	ann.Number = 10 // the position of the first event
	want := webhooks.Contact{
		ID: webhookstest.ID("cont", 1).String(), Number: 10, Account: domain.Account{ID: "acme"}, Profile: ann,
		CreatedAt: second(1), UpdatedAt: second(1),
	}
	check(want)

	apply(contact.WidgetTriggered{Contact: domain.Person{ID: "ann", Name: "Another"}})
	check(want) // opening the widget does not update a person

	ann.Name, ann.Number = "Ann", 0
	apply(contact.Updated{Profile: ann})
	ann.Number = 10
	want.Profile, want.UpdatedAt, want.UpdatedBefore = ann, second(3), second(1)
	check(want)

	ann.Number = 77 // as somebody gave it
	apply(contact.Updated{Profile: ann})
	want.Profile, want.UpdatedAt, want.UpdatedBefore = ann, second(4), second(3)
	check(want)

	apply(contact.Erased{By: domain.Person{ID: "op"}})
	want.Profile, want.Erased = domain.Person{ID: "ann", Role: domain.Customer, Number: 10}, true
	want.UpdatedAt, want.UpdatedBefore = second(5), second(4)
	check(want)

	defer func() {
		if recover() == nil {
			t.Error("an event outside the set was taken")
		}
	}()
	c.Evolve(recordedAt(n, contact.Erased{}), nil)
}
