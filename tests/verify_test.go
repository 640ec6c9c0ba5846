package tests_test

import (
	"bytes"
	"crypto/sha256"
	"database/sql"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	_ "github.com/mattn/go-sqlite3"

	"verbatim/adapters/sqlite"
	"verbatim/eventstore"
)

// A proven is a data folder of which everything is known and nothing differs, to
// be copied and tampered with.
type proven struct {
	folder            string
	full, named, held string // endpoints: a whole history, one without, a disabled one
	talk, other       string // streams of conversations
	events            int64
	delivered         int
	seal              string
}

const provenMessages = 4

// prove makes a folder by serving from it.
func prove(t *testing.T) *proven {
	t.Helper()
	p := &proven{folder: filepath.Join(t.TempDir(), "data")}
	receiver := newMoody(t)
	s := startServer(t, p.folder)
	register := func(settings string) string {
		var made struct{ ID string }
		s.call(http.MethodPost, "/v1/endpoints", s.key, `{"url":"`+receiver.url+`",`+settings+`}`, &made)
		return made.ID
	}
	p.full = register(`"dialect":"verbatim@1","events":["conversation.*"]`)
	p.named = register(`"dialect":"verbatim@1","events":["conversation.message_posted"],"history":"none"`)
	p.held = register(`"dialect":"cloudevents@1","events":["conversation.message_posted"]`)
	s.call(http.MethodPost, "/v1/endpoints/"+p.held+"/disable", s.key, "", nil)
	streams := make([]string, 2)
	for i := range streams {
		var c struct{ ID string }
		s.call(http.MethodPost, "/v1/conversations", s.key, `{"customer":{"name":"Arya Stark"}}`, &c)
		streams[i] = c.ID
	}
	for n := range provenMessages {
		for _, id := range streams {
			s.call(http.MethodPost, "/v1/conversations/"+id+"/messages", s.key, fmt.Sprintf(`{"text":"A girl has no name, %d"}`, n), nil)
		}
	}
	p.talk, p.other = eventstore.StreamName("conversation", streams[0]), eventstore.StreamName("conversation", streams[1])
	p.delivered = len(streams) * (1 + 2*provenMessages)
	for _, id := range streams {
		receiver.await(t, id, 1+2*provenMessages, taken)
	}
	for _, id := range []string{p.full, p.named} {
		poll(t, func() bool {
			var pending struct{ Data []struct{} }
			s.call(http.MethodGet, "/v1/endpoints/"+id+"/deliveries?state=pending&limit=1", s.key, "", &pending)
			return len(pending.Data) == 0
		})
	}
	beside := verify(t, p.folder, 0)
	if code := s.stop(); code != 0 {
		t.Fatal(s.errs)
	}
	v := verify(t, p.folder, 0)
	if diff := cmp.Diff(beside, v); diff != "" {
		t.Errorf("beside the server and without it:\n%s", diff)
	}
	p.events, p.seal = v.Log.To, v.Log.Seal
	if n := v.identical(t); n != p.delivered || v.Log.Events != p.events || v.Log.From != 1 || v.Log.Faults.Total > 0 {
		t.Fatalf("%d of %d are identical: %+v", n, p.delivered, v)
	}
	for _, e := range v.Deliveries.Endpoints {
		switch waits := e.NeverSent; {
		case e.Endpoint == p.held:
			if len(waits) != 1 || waits[0].State != "pending" || waits[0].Count != 2*provenMessages || waits[0].Tried != 0 {
				t.Errorf("waits for the disabled endpoint: %+v", waits)
			}
		case len(waits) > 0:
			t.Errorf("%s: %+v", e.Endpoint, waits)
		}
	}
	return p
}

// copy returns a copy of the folder, and opens it.
func (p *proven) copy(t *testing.T) (folder string, db *sql.DB) {
	t.Helper()
	folder = t.TempDir()
	for _, name := range []string{"verbatim.db", "secret.key"} {
		b, err := os.ReadFile(filepath.Join(p.folder, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(folder, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	db, err := sql.Open("sqlite3", filepath.Join(folder, "verbatim.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return folder, db
}

// place is where something is wrong, and what.
type place struct {
	Position int64
	Defect   string
}

func (v *verified) places() (out []place) {
	for _, f := range v.Log.Faults.First {
		out = append(out, place{f.Position, f.Defect})
	}
	return out
}

// causes counts the deliveries that are changed, by their cause.
func (v *verified) causes() map[string]int64 {
	var out map[string]int64
	for _, g := range v.Deliveries.Changed {
		if out == nil {
			out = make(map[string]int64)
		}
		out[g.Cause] += g.Count
	}
	return out
}

// A tampering does something to a copy.
type tampering func(t *testing.T, folder string, db *sql.DB)

func set(t *testing.T, db *sql.DB, query string, args ...any) {
	t.Helper()
	done, err := db.ExecContext(t.Context(), query, args...)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := done.RowsAffected(); err != nil || n == 0 {
		t.Fatalf("%s: %d rows, %v", query, n, err)
	}
}

// rewrite gives the events of a stream the digests and the hashes that their
// data would have, from a version on.
func rewrite(t *testing.T, folder string, db *sql.DB, stream string, from int64) {
	t.Helper()
	store, err := sqlite.Open(t.Context(), folder, sqlite.Options{ReadOnly: true, Damaged: true})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	var before [32]byte
	for r, err := range store.ReadStream(t.Context(), stream, 0) {
		if err != nil {
			t.Fatal(err)
		}
		if r.Version >= from {
			r.Digest = eventstore.Digest(r.Data)
			r.Hash = eventstore.Chain(before, &r)
			if _, err := db.ExecContext(t.Context(), "UPDATE events SET digest = ?, hash = ? WHERE position = ?",
				r.Digest[:], r.Hash[:], r.Position); err != nil {
				t.Fatal(err)
			}
		}
		before = r.Hash
	}
}

// TestVerifyFindsWhatWasTamperedWith does to copies of a folder what should not be
// done to one.
func TestVerifyFindsWhatWasTamperedWith(t *testing.T) {
	t.Parallel()
	p := prove(t)
	var positions []int64 // of the conversation's versions
	_, db := p.copy(t)
	for _, text := range column(t, db, "SELECT position FROM events WHERE stream = ? ORDER BY version", p.talk) {
		at, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		positions = append(positions, at)
	}
	second, third := positions[1], positions[2]
	// What is sent of the second version, and what tells of it behind: a history
	// does, the third message by itself does not.
	const behind = 2 + (provenMessages - 1)

	const changeData = "UPDATE events SET data = CAST(replace(CAST(data AS TEXT), 'A girl', 'A lady') AS BLOB) WHERE position = ?"
	digestOfData := func(t *testing.T, _ string, db *sql.DB) {
		t.Helper()
		var data []byte
		if err := db.QueryRowContext(t.Context(), "SELECT data FROM events WHERE position = ?", second).Scan(&data); err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(data)
		set(t, db, "UPDATE events SET digest = ? WHERE position = ?", sum[:], second)
	}
	set := func(query string, args ...any) tampering {
		return func(t *testing.T, _ string, db *sql.DB) { t.Helper(); set(t, db, query, args...) }
	}
	rewriteAll := func(t *testing.T, folder string, db *sql.DB) { t.Helper(); rewrite(t, folder, db, p.talk, 2) }
	for _, c := range []struct {
		name    string
		do      []tampering
		args    []string
		places  []place
		causes  map[string]int64
		missing []int64 // positions
		strays  []int64
		pruned  int64
	}{
		{
			name: "data", do: []tampering{set(changeData, second)},
			places: []place{{second, "data"}}, causes: map[string]int64{"log": behind},
		},
		{
			name: "data and digest", do: []tampering{set(changeData, second), digestOfData},
			places: []place{{second, "hash"}}, causes: map[string]int64{"log": behind},
		},
		{
			name: "a stream from there on", do: []tampering{set(changeData, second), rewriteAll},
			causes: map[string]int64{"rendering": behind},
		},
		{
			name: "a stream from there on, which was sealed", do: []tampering{set(changeData, second), rewriteAll},
			args: []string{"--log-only", "--expect", p.seal}, places: []place{{p.events, "seal"}},
		},
		{
			name: "a row in the middle", do: []tampering{set("DELETE FROM events WHERE position = ?", second)},
			places: []place{{second, "position"}, {third, "version"}}, causes: map[string]int64{"log": 2 * (provenMessages - 1)},
			strays: []int64{second, second, second},
		},
		{
			name: "the last rows", do: []tampering{set("DELETE FROM events WHERE position > ?", p.events-2)},
			places: []place{{p.events - 1, "cut_off"}},
			strays: []int64{p.events - 1, p.events - 1, p.events - 1, p.events, p.events},
		},
		{
			name: "the last rows, which were asked for", do: []tampering{set("DELETE FROM events WHERE position > ?", p.events-2)},
			args: []string{"--from", fmt.Sprint(p.events)}, places: []place{{p.events - 1, "cut_off"}},
		},
		{
			name: "the last rows and all that tells of them",
			do: []tampering{
				set("DELETE FROM events WHERE position > ?", p.events-2), set("DELETE FROM deliveries WHERE position > ?", p.events-2),
				set("UPDATE checkpoints SET position = ?", p.events-2),
			},
			args: []string{"--expect", p.seal}, places: []place{{p.events - 1, "cut_off"}},
		},
		{
			name: "two versions",
			do: []tampering{
				set("UPDATE events SET version = 1000 WHERE position = ?", second), set("UPDATE events SET version = 2 WHERE position = ?", third),
				set("UPDATE events SET version = 3 WHERE position = ?", second),
			},
			places: []place{{second, "version"}, {third, "version"}, {positions[3], "version"}}, causes: map[string]int64{"log": 8},
		},
		{
			name: "metadata", do: []tampering{set("UPDATE events SET metadata = ? WHERE position = ?", []byte(`{"actor":"key:0"}`), second)},
			places: []place{{second, "hash"}}, causes: map[string]int64{"log": 2}, // who did it is told of the event alone
		},
		{
			name: "time", do: []tampering{set("UPDATE events SET time = time + 1 WHERE position = ?", second)},
			places: []place{{second, "hash"}}, causes: map[string]int64{"log": behind},
		},
		{
			name: "account", do: []tampering{set("UPDATE events SET account = 'other' WHERE position = ?", second)},
			places: []place{{second, "account"}, {second, "hash"}, {third, "account"}},
		},
		{
			name: "type", do: []tampering{set("UPDATE events SET type = 'conversation.message_sung' WHERE position = ?", second)},
			places: []place{{second, "hash"}, {second, "undecodable"}}, causes: map[string]int64{"log": 2 * provenMessages},
		},
		{
			name: "hash", do: []tampering{set("UPDATE events SET hash = zeroblob(32) WHERE position = ?", second)},
			places: []place{{second, "hash"}, {third, "hash"}},
		},
		{
			name: "the first event of all", do: []tampering{set("DELETE FROM events WHERE position = 1")},
			places: []place{{1, "position"}},
		},
		{
			name: "the digest of a delivery", do: []tampering{set("UPDATE deliveries SET digest = zeroblob(32) WHERE position = ? AND endpoint = ?", second, p.full)},
			causes: map[string]int64{"record": 1},
		},
		{
			name: "every digest of a delivery",
			do: []tampering{
				set("UPDATE deliveries SET digest = zeroblob(32) WHERE position = ? AND endpoint = ?", second, p.full),
				set("UPDATE attempts SET digest = zeroblob(32) WHERE delivery = (SELECT id FROM deliveries WHERE position = ? AND endpoint = ?)", second, p.full),
			},
			causes: map[string]int64{"rendering": 1},
		},
		{
			name: "no digest at all",
			do: []tampering{
				set("UPDATE deliveries SET digest = NULL WHERE position = ? AND endpoint = ?", second, p.full),
				set("UPDATE attempts SET digest = NULL WHERE delivery = (SELECT id FROM deliveries WHERE position = ? AND endpoint = ?)", second, p.full),
			},
			causes: map[string]int64{"record": 1},
		},
		{
			name: "what a delivery tells", do: []tampering{set("UPDATE deliveries SET history = 'none' WHERE position = ? AND endpoint = ?", third, p.full)},
			causes: map[string]int64{"rendering": 1},
		},
		{
			name: "the dialect of a delivery", do: []tampering{set("UPDATE deliveries SET dialect = 'morse@1' WHERE position = ? AND endpoint = ?", third, p.full)},
			causes: map[string]int64{"unrendered": 1},
		},
		{
			name:   "whose a delivery is",
			do:     []tampering{set("UPDATE deliveries SET stream = ? WHERE position = ? AND endpoint = ?", p.other, third, p.full)},
			causes: map[string]int64{"record": 1},
		},
		{
			name: "a delivery", do: []tampering{set("DELETE FROM deliveries WHERE position = ? AND endpoint = ?", second, p.full)},
			missing: []int64{second},
		},
		{
			name: "a delivery that may have been removed",
			do: []tampering{
				set("DELETE FROM deliveries WHERE position = ? AND endpoint = ?", positions[0], p.full),
				set("UPDATE deliveries SET ended_at = ended_at + 3600000000"),
			},
			args: []string{"--keep-deliveries", "1ns"}, pruned: 1,
		},
		{
			name: "a delivery that cannot have been removed: older ones are there",
			do: []tampering{
				set("DELETE FROM deliveries WHERE position = ? AND endpoint = ?", p.events, p.full),
				set("UPDATE deliveries SET ended_at = ended_at - 3600000000"),
			},
			args: []string{"--keep-deliveries", "1ns"}, missing: []int64{p.events},
		},
		{
			name: "a delivery where none is ever removed",
			do: []tampering{
				set("DELETE FROM deliveries WHERE position = ? AND endpoint = ?", positions[0], p.full),
				set("UPDATE deliveries SET ended_at = ended_at + 3600000000"),
			},
			args: []string{"--keep-deliveries", "0"}, missing: []int64{positions[0]},
		},
		{
			name: "what is not looked at", do: []tampering{set(changeData, second)}, args: []string{"--log-only", "--from", fmt.Sprint(third)},
		},
		{
			name: "what is looked at from the middle", do: []tampering{set("UPDATE events SET metadata = CAST('{}' AS BLOB) WHERE position = ?", third)},
			args: []string{"--from", fmt.Sprint(third), "--to", fmt.Sprint(third)}, places: []place{{third, "hash"}},
			causes: map[string]int64{"log": 2},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			folder, db := p.copy(t)
			for _, act := range c.do {
				act(t, folder, db)
			}
			code := 3
			if len(c.places)+len(c.causes)+len(c.missing)+len(c.strays) == 0 {
				code = 0
			}
			v := verify(t, folder, code, c.args...)
			if diff := cmp.Diff(c.places, v.places()); diff != "" {
				t.Errorf("faults of the log (-want +got):\n%s\n%+v", diff, v.Log.Faults)
			}
			if diff := cmp.Diff(c.causes, v.causes()); diff != "" {
				t.Errorf("changed (-want +got):\n%s\n%+v", diff, v.Deliveries.Changed)
			}
			var missing, strays []int64
			for _, m := range v.Deliveries.Missing {
				missing = append(missing, m.Position)
			}
			for _, s := range v.Deliveries.Strays {
				strays = append(strays, s.Position)
			}
			if !slices.Equal(missing, c.missing) || !slices.Equal(strays, c.strays) {
				t.Errorf("missing %v, want %v; strays %v, want %v", missing, c.missing, strays, c.strays)
			}
			pruned := int64(0)
			for _, e := range v.Deliveries.Endpoints {
				pruned += e.Pruned
			}
			if pruned != c.pruned {
				t.Errorf("pruned %d, want %d", pruned, c.pruned)
			}
		})
	}
}

// TestVerifyBehindTheEnd: a range that the log does not have proves nothing, and
// whoever asks about it by mistake is not told that all is well.
func TestVerifyBehindTheEnd(t *testing.T) {
	t.Parallel()
	p := prove(t)
	folder, _ := p.copy(t)
	database := "sqlite:" + folder
	behind := fmt.Sprint(p.events + 1)
	for _, args := range [][]string{{"--from", behind}, {"--from", "99999", "--log-only"}, {"--from", behind, "--to", "99999"}} {
		r := runCommand(t, "", append([]string{"verify", "-database", database}, args...)...)
		if want := fmt.Sprintf("the log, which ends at %d", p.events); r.code != 2 || r.out != "" || !strings.Contains(r.errors, want) {
			t.Errorf("%v: exit %d: %s%s; want %q", args, r.code, r.out, r.errors, want)
		}
	}
	verify(t, folder, 0, "--from", fmt.Sprint(p.events), "--to", "99999")
	empty := filepath.Join(t.TempDir(), "data")
	startServer(t, empty)
	verify(t, empty, 0)
}

// TestOneByteChanged flips one byte of a copied database, wherever something of an
// event stands: the position is named, or, in an index, the damage.
func TestOneByteChanged(t *testing.T) {
	t.Parallel()
	p := prove(t)
	_, db := p.copy(t)
	var position int64
	var id, data []byte
	if err := db.QueryRowContext(t.Context(), "SELECT position, id, data FROM events WHERE stream = ? AND version = 3", p.talk).
		Scan(&position, &id, &data); err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile(filepath.Join(p.folder, "verbatim.db"))
	if err != nil {
		t.Fatal(err)
	}
	flip := func(t *testing.T, at int) (folder string) {
		t.Helper()
		folder = t.TempDir()
		changed := bytes.Clone(file)
		changed[at] ^= 1
		if err := os.WriteFile(filepath.Join(folder, "verbatim.db"), changed, 0o600); err != nil {
			t.Fatal(err)
		}
		return folder
	}
	t.Run("data", func(t *testing.T) {
		t.Parallel()
		at := bytes.Index(file, data)
		r := runCommand(t, "", "verify", "-database", "sqlite:"+flip(t, at+bytes.Index(data, []byte("girl"))))
		if want := fmt.Sprintf("position %d, version 3 of %s: the data is not what was appended", position, p.talk); r.code != 3 ||
			!strings.Contains(r.out, want) {
			t.Errorf("exit %d: %s%s; want %q", r.code, r.out, r.errors, want)
		}
	})
	sound := contents(t, p.folder)
	for at, n := 0, 1; ; n++ {
		next := bytes.Index(file[at:], id)
		if next < 0 {
			break
		}
		at += next + len(id)
		t.Run(fmt.Sprintf("id, %d", n), func(t *testing.T) {
			t.Parallel()
			folder, code := flip(t, at-1), 3
			if slices.Equal(contents(t, folder), sound) {
				code = 0 // nothing stands there any more
			}
			if v := verify(t, folder, code); code == 3 && v.Log.Faults.Total == 0 && len(v.Deliveries.Changed) == 0 {
				t.Errorf("%+v", v)
			}
		})
	}
}

// contents returns what is in the tables and indices that are verified.
func contents(t *testing.T, folder string) (out []string) {
	t.Helper()
	db, err := sql.Open("sqlite3", "file:"+filepath.Join(folder, "verbatim.db")+"?mode=ro")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, query := range []string{
		"SELECT hex(id) || hex(hash) FROM events NOT INDEXED ORDER BY position", "SELECT hex(id) FROM events INDEXED BY events_id ORDER BY id",
		"SELECT hex(event_id) FROM deliveries ORDER BY id",
	} {
		out = append(out, column(t, db, query)...)
	}
	return out
}

// column returns the one column of a query.
func column(t *testing.T, db *sql.DB, query string, args ...any) (out []string) {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), query, args...)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			t.Fatal(err)
		}
		out = append(out, text)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}
