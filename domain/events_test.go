package domain_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"unicode"

	"verbatim/domain"
	"verbatim/domain/contact"
	"verbatim/domain/conversation"
	"verbatim/domain/endpoint"
)

// facts are all events there are. The names are data: they are in every log
// that was ever written, so that none of them may ever change.
var facts = []struct {
	fact domain.Event
	name string
}{
	{contact.Created{}, "contact.created"},
	{contact.Erased{}, "contact.erased"},
	{contact.Updated{}, "contact.updated"},
	{contact.WidgetTriggered{}, "contact.widget_triggered"},

	{conversation.ActivityRecorded{}, "conversation.activity_recorded"},
	{conversation.Assigned{}, "conversation.assigned"},
	{conversation.AttributesChanged{}, "conversation.attributes_changed"},
	{conversation.Closed{}, "conversation.closed"},
	{conversation.Created{}, "conversation.created"},
	{conversation.CustomerUpdated{}, "conversation.customer_updated"},
	{conversation.MessageDeleted{}, "conversation.message_deleted"},
	{conversation.MessageEdited{}, "conversation.message_edited"},
	{conversation.MessagePlayed{}, "conversation.message_played"},
	{conversation.MessagePosted{}, "conversation.message_posted"},
	{conversation.Read{}, "conversation.read"},
	{conversation.Reopened{}, "conversation.reopened"},
	{conversation.StatusChanged{}, "conversation.status_changed"},
	{conversation.TypingStarted{}, "conversation.typing_started"},
	{conversation.TypingStopped{}, "conversation.typing_stopped"},
	{conversation.Unassigned{}, "conversation.unassigned"},

	{endpoint.Deleted{}, "endpoint.deleted"},
	{endpoint.Disabled{}, "endpoint.disabled"},
	{endpoint.Enabled{}, "endpoint.enabled"},
	{endpoint.Exhausted{}, "endpoint.exhausted"},
	{endpoint.Failing{}, "endpoint.failing"},
	{endpoint.Recovered{}, "endpoint.recovered"},
	{endpoint.Registered{}, "endpoint.registered"},
	{endpoint.SecretRotated{}, "endpoint.secret_rotated"},
	{endpoint.Updated{}, "endpoint.updated"},
}

// TestEventTypes: a fact is called package.snake_case_of_its_type, and the name
// is written down, here and there, by hand.
func TestEventTypes(t *testing.T) {
	t.Parallel()
	for _, f := range facts {
		typ := reflect.TypeOf(f.fact)
		if got := f.fact.EventType(); got != f.name {
			t.Errorf("%s is called %q; want %q", typ, got, f.name)
		}
		if want := path.Base(typ.PkgPath()) + "." + snakeCase(typ.Name()); f.name != want {
			t.Errorf("%s is called %q; its type says %q", typ, f.name, want)
		}
	}
}

// TestEventTypesAreComplete: every type in the packages' source that has an
// EventType method is in the table, once.
func TestEventTypesAreComplete(t *testing.T) {
	t.Parallel()
	listed := map[string]int{}
	for _, f := range facts {
		listed[reflect.TypeOf(f.fact).String()]++
	}
	for _, folder := range []string{"contact", "conversation", "endpoint"} {
		for _, typ := range typesWithEventType(t, folder) {
			if listed[typ] != 1 {
				t.Errorf("%s is in the table of facts %d times; want once", typ, listed[typ])
			}
			delete(listed, typ)
		}
	}
	for typ := range listed {
		t.Errorf("%s is in the table of facts, but not in the source of an aggregate", typ)
	}
}

// typesWithEventType returns "package.Type" for each receiver of an EventType
// method in the folder.
func typesWithEventType(t *testing.T, folder string) []string {
	t.Helper()
	files, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), ".go") || strings.HasSuffix(f.Name(), "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(folder, f.Name()), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			method, ok := d.(*ast.FuncDecl)
			if !ok || method.Recv == nil || method.Name.Name != "EventType" {
				continue
			}
			receiver, ok := method.Recv.List[0].Type.(*ast.Ident)
			if !ok {
				t.Errorf("%s: EventType has a receiver that is not a plain type; events are values", f.Name())
				continue
			}
			out = append(out, file.Name.Name+"."+receiver.Name)
		}
	}
	return out
}

func snakeCase(name string) string {
	var b strings.Builder
	for i, r := range name {
		if unicode.IsUpper(r) && i > 0 {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}
