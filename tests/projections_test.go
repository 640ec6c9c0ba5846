package tests_test

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
)

// TestAReadModelIsMadeAnew has somebody tamper with the inbox of a server that
// serves. One command mends it, says what was wrong, and nobody notices: what is
// written meanwhile and afterwards is there.
func TestAReadModelIsMadeAnew(t *testing.T) {
	t.Parallel()
	folder := filepath.Join(t.TempDir(), "data")
	s := startServer(t, folder)
	var ids []string
	for i := range 20 {
		var c struct{ ID string }
		s.call(http.MethodPost, "/v1/conversations", s.key, fmt.Sprintf(`{"customer":{"name":"Faceless %d"}}`, i), &c)
		ids = append(ids, c.ID)
	}
	list := func() (names []string) {
		t.Helper()
		var page struct {
			Data []struct{ Customer struct{ Name string } }
		}
		s.call(http.MethodGet, "/v1/conversations?limit=100", s.key, "", &page)
		for _, c := range page.Data {
			names = append(names, c.Customer.Name)
		}
		return names
	}
	right := list()

	db, err := sql.Open("sqlite3", "file:"+filepath.Join(folder, "verbatim.db")+"?_busy_timeout=5000")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, statement := range []string{
		"DELETE FROM inbox WHERE conversation = '" + ids[3] + "'",
		"UPDATE inbox SET row = cast(replace(cast(row AS TEXT), 'Faceless', 'Nameless') AS BLOB) WHERE conversation IN ('" + ids[4] + "', '" + ids[5] + "')",
	} {
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	if got := list(); len(got) != 19 {
		t.Fatalf("%q", got)
	}
	command := func(args ...string) result {
		t.Helper()
		return runCommand(t, "", append(args, "-database", "sqlite:"+folder)...)
	}
	r := command("rebuild-projection", "inbox", "--wait", "--json")
	var report struct {
		State       string
		Differences struct{ Missing, Surplus, Changed int }
	}
	if err := json.Unmarshal([]byte(r.out), &report); err != nil || r.code != 0 || report.State != "done" ||
		report.Differences.Missing != 1 || report.Differences.Surplus != 0 || report.Differences.Changed != 2 {
		t.Fatalf("%v %+v", err, r)
	}
	if got := list(); fmt.Sprint(got) != fmt.Sprint(right) {
		t.Errorf("%q, want %q", got, right)
	}
	s.call(http.MethodPost, "/v1/conversations/"+ids[3]+"/messages", s.key, `{"text":"Valar dohaeris"}`, nil)
	if got := list(); len(got) != 20 || got[0] != "Faceless 3" {
		t.Errorf("%q", got)
	}
	if r := command("rebuild-projection", "webhooks"); r.code != 1 || !strings.Contains(r.errors, "projection.no_read_model") {
		t.Errorf("%+v", r)
	}
	if r := command("projections", "list"); r.code != 0 || !strings.Contains(r.out, "done, 1 rows were missing, 0 too many, 2 others") {
		t.Errorf("%+v", r)
	}
	if code := s.stop(); code != 0 {
		t.Errorf("exit code %d: %s", code, s.errs)
	}
}
