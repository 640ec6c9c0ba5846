package tests_test

import (
	"crypto/sha256"
	"database/sql"
	"strings"
	"testing"
)

// TestVerifyTellsErasedFromTamperedWith erases a person: what was told of them
// differs, and is not called changed; the seal holds. What is left is as sound as
// the log is: nobody puts anything else there, nor marks another event as erased.
func TestVerifyTellsErasedFromTamperedWith(t *testing.T) {
	t.Parallel()
	p := prove(t)
	_, db := p.copy(t)
	person := column(t, db, "SELECT stream FROM events WHERE stream LIKE 'contact-%' ORDER BY position LIMIT 1")[0]
	if r := runCommand(t, "", "erase", "-database", "sqlite:"+p.folder, "-contact", strings.TrimPrefix(person, "contact-")); r.code != 0 {
		t.Fatalf("erase: exit %d: %s%s", r.code, r.out, r.errors)
	}
	v := verify(t, p.folder, 0, "--expect", p.seal)
	erased, identical := 0, 0
	for _, e := range v.Deliveries.Endpoints {
		erased, identical = erased+int(e.Erased), identical+int(e.Identical)
	}
	if len(v.Log.Expected) != 1 || !v.Log.Expected[0].Holds || v.Log.Erased == 0 || erased != p.delivered/2 || identical != p.delivered/2 {
		t.Errorf("of %d deliveries %d are erased and %d identical: %+v", p.delivered, erased, identical, v.Log)
	}

	_, db = p.copy(t)
	var position int64
	var content []byte
	if err := db.QueryRowContext(t.Context(), "SELECT position, content FROM remains ORDER BY position LIMIT 1").Scan(&position, &content); err != nil {
		t.Fatal(err)
	}
	const head = 4 + sha256.Size // version of the shape, digest of the rest
	for name, c := range map[string]struct {
		do   func(t *testing.T, db *sql.DB)
		want []string
	}{
		"what is left": {func(t *testing.T, db *sql.DB) {
			t.Helper()
			other := append([]byte{}, content...)
			other[len(other)-1] ^= 1
			set(t, db, "UPDATE remains SET content = ? WHERE position = ?", other, position)
		}, []string{"data", "undecodable"}},
		"what is left, and its digest": {func(t *testing.T, db *sql.DB) {
			t.Helper()
			data := []byte(strings.Replace(string(content[head:]), `"role":"customer"`, `"role":"agent"`, 1))
			sum := sha256.Sum256(data)
			other := append(append(append([]byte{}, content[:4]...), sum[:]...), data...)
			set(t, db, "UPDATE remains SET content = ? WHERE position = ?", other, position)
		}, []string{"unvouched"}},
		"another event": {func(t *testing.T, db *sql.DB) {
			t.Helper()
			data := []byte(`{"message_id":"m","author":{"id":"a","role":"agent"},"text":"","content_type":"text"}`)
			sum := sha256.Sum256(data)
			set(t, db, "UPDATE events SET data = zeroblob(length(data)) WHERE stream = ? AND version = 2", p.other)
			set(t, db, "INSERT INTO remains (position, erasure, content) SELECT position, '', ? FROM events WHERE stream = ? AND version = 2",
				append(append([]byte{0, 0, 0, 1}, sum[:]...), data...), p.other)
		}, []string{"unvouched"}},
		"no remains": {func(t *testing.T, db *sql.DB) {
			t.Helper()
			set(t, db, "DELETE FROM remains WHERE position = ?", position)
		}, []string{"data", "undecodable", "unvouched"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			folder, db := p.copy(t)
			c.do(t, db)
			v := verify(t, folder, 3)
			found := make(map[string]bool)
			for _, f := range v.Log.Faults.First {
				found[f.Defect] = true
			}
			for _, want := range c.want {
				if !found[want] {
					t.Errorf("no fault says %q: %+v", want, v.Log.Faults)
				}
			}
		})
	}
}
