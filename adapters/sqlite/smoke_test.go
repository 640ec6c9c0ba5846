package sqlite_test

import (
	"context"
	"testing"
	"time"
	"fmt"

	"verbatim/adapters/sqlite"
	"verbatim/domain"
	"verbatim/domain/conversation"
	"verbatim/eventstore"
	"github.com/google/uuid"
)

func TestSmoke(t *testing.T) {
	ctx := context.Background()
	s, err := sqlite.Open(ctx, t.TempDir(), sqlite.Options{})
	if err != nil { t.Fatal(err) }
	defer s.Close()
	agg := eventstore.NewAggregates(s, eventstore.Catalogue(), time.Now, eventstore.Rules[conversation.State, conversation.Command, conversation.Event]{
		Kind: "conversation", Schema: conversation.StateSchema, Decide: conversation.Decide, Evolve: conversation.Evolve})
	id, _ := uuid.NewV7()
	d, err := agg.Execute(ctx, eventstore.Order[conversation.State, conversation.Command]{Account: "default", ID: id.String(),
		Command: conversation.Create{Customer: domain.Person{ID: "c1", Name: "Jon Snow"}}})
	if err != nil { t.Fatal(err) }
	for i := range 300 {
		d, err = agg.Execute(ctx, eventstore.Order[conversation.State, conversation.Command]{Account: "default", ID: id.String(),
			Command: conversation.PostMessage{MessageID: fmt.Sprint(i), Text: "hi"}})
		if err != nil { t.Fatal(err) }
	}
	t.Log(d.Version, d.Events[0].Position)
	n := 0
	for r, err := range s.ReadLog(ctx, 0) {
		if err != nil { t.Fatal(err) }
		n++
		if r.Position != int64(n) { t.Fatal(r.Position) }
	}
	t.Log(n)
	if _, err := s.LoadSnapshot(ctx, d.Stream); err != nil { t.Fatal(err) }
}
