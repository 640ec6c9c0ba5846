package eventstoretest

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"pgregory.net/rapid"

	"verbatim/eventstore"
)

// The model test draws from little, so that things meet.
var (
	modelStreams  = []string{"a-1", "a-2", "b-1", "b-2", "c-1"}
	modelAccounts = []string{account, account, account, "other"}
	modelKeys     = []string{"k1", "k2", "k3", "k4"}
)

// model runs the same calls on two stores and compares their answers.
type model struct {
	ctx    context.Context
	real   eventstore.Store
	oracle *Memory
	ids    uint64 // how many were given out
}

func testModel(t *testing.T, open func(t *testing.T) eventstore.Store) {
	t.Helper()
	rapid.Check(t, func(rt *rapid.T) {
		m := &model{ctx: t.Context(), real: open(t), oracle: NewMemory()}
		if c, ok := m.real.(io.Closer); ok {
			defer c.Close()
		}
		if rapid.Bool().Draw(rt, "begin with an import") {
			m.importFile(rt)
		}
		rt.Repeat(map[string]func(*rapid.T){
			"commit": m.commit, "commit again": m.commit, "import": m.importFile, "read log": m.readLog,
			"read stream": m.readStream, "find": m.find, "snapshot": m.snapshot,
		})
		m.compareLogs(rt, 0)
	})
}

// id returns a new id or, seldom, one that was given out before.
func (m *model) id(t *rapid.T) uuid.UUID {
	n := m.ids + 1
	if m.ids > 0 && rapid.IntRange(0, 15).Draw(t, "id used before") == 0 {
		n = rapid.Uint64Range(1, m.ids).Draw(t, "id")
	} else {
		m.ids++
	}
	var id uuid.UUID
	binary.BigEndian.PutUint64(id[8:], n)
	return id
}

// owner returns whose a stream is, or, seldom or if it is nobody's, anybody.
func (m *model) owner(t *rapid.T, stream string) string {
	if _, owner := m.oracle.end(stream); owner != "" && rapid.IntRange(0, 9).Draw(t, "any account") > 0 {
		return owner
	}
	return rapid.SampledFrom(modelAccounts).Draw(t, "account")
}

// off is mostly nothing.
func off(t *rapid.T, what string) int64 {
	return rapid.SampledFrom([]int64{0, 0, 0, 0, 0, 0, 0, 0, 0, 1, -1}).Draw(t, what)
}

func (m *model) commit(t *rapid.T) {
	var c eventstore.Commit
	for _, stream := range rapid.SliceOfNDistinct(rapid.SampledFrom(modelStreams), 1, 3, rapid.ID).Draw(t, "streams") {
		if c.Account == "" {
			c.Account = m.owner(t, stream)
		}
		version, _ := m.oracle.end(stream)
		a := eventstore.Append{Stream: stream, Expected: version + off(t, "version off by")}
		for range rapid.IntRange(0, 3).Draw(t, "events") {
			a.Events = append(a.Events, eventstore.Draft{
				ID: m.id(t), Type: "thing.happened", Schema: rapid.IntRange(1, 3).Draw(t, "schema"), Time: at(),
				Data: fmt.Appendf(nil, `{"id":%d}`, m.ids),
			})
		}
		c.Appends = append(c.Appends, a)
	}
	c.Metadata.Actor = rapid.SampledFrom([]string{"", "key:1"}).Draw(t, "actor")
	if rapid.IntRange(0, 3).Draw(t, "with a key") == 0 {
		c.Key = key(rapid.SampledFrom(modelKeys).Draw(t, "key"))
	}
	want, wantErr := m.oracle.Append(m.ctx, c)
	got, gotErr := m.real.Append(m.ctx, c)
	m.compare(t, want, got, wantErr, gotErr)
}

func (m *model) importFile(t *rapid.T) {
	versions := make(map[string]int64)
	var file []eventstore.Recorded
	for i := range rapid.IntRange(0, 6).Draw(t, "lines") {
		stream := rapid.SampledFrom(modelStreams).Draw(t, "stream")
		if _, ok := versions[stream]; !ok {
			versions[stream], _ = m.oracle.end(stream)
		}
		versions[stream]++
		r := line(stream, versions[stream]+off(t, "version off by"))
		r.ID, r.Account = m.id(t), m.owner(t, stream)
		r.Position = int64(i) + 1 + off(t, "position off by")
		file = append(file, r)
	}
	var end error
	if rapid.IntRange(0, 9).Draw(t, "broken") == 0 {
		end = errors.New("the file is broken")
	}
	events := func(yield func(eventstore.Recorded, error) bool) {
		for _, r := range file {
			if !yield(r, nil) {
				return
			}
		}
		if end != nil {
			yield(eventstore.Recorded{}, end)
		}
	}
	want, wantErr := m.oracle.Import(m.ctx, events)
	got, gotErr := m.real.Import(m.ctx, events)
	m.compare(t, want, got, wantErr, gotErr)
	if end != nil && errors.Is(wantErr, end) != errors.Is(gotErr, end) {
		t.Fatalf("error is %v; want %v", gotErr, wantErr)
	}
}

func (m *model) readLog(t *rapid.T) {
	head, _ := m.oracle.Head(m.ctx)
	m.compareLogs(t, rapid.Int64Range(-1, head+1).Draw(t, "after"))
}

func (m *model) compareLogs(t *rapid.T, after int64) {
	want, wantErr := collect(m.oracle.ReadLog(m.ctx, after))
	got, gotErr := collect(m.real.ReadLog(m.ctx, after))
	m.compareEvents(t, want, got, wantErr, gotErr)
	wantHead, wantErr := m.oracle.Head(m.ctx)
	gotHead, gotErr := m.real.Head(m.ctx)
	m.compare(t, wantHead, gotHead, wantErr, gotErr)
}

func (m *model) readStream(t *rapid.T) {
	stream := rapid.SampledFrom(modelStreams).Draw(t, "stream")
	after := rapid.Int64Range(-1, 20).Draw(t, "after")
	want, wantErr := collect(m.oracle.ReadStream(m.ctx, stream, after))
	got, gotErr := collect(m.real.ReadStream(m.ctx, stream, after))
	m.compareEvents(t, want, got, wantErr, gotErr)
}

func (m *model) find(t *rapid.T) {
	owner, name := rapid.SampledFrom(modelAccounts).Draw(t, "account"), rapid.SampledFrom(modelKeys).Draw(t, "key")
	want, wantErr := m.oracle.FindCommand(m.ctx, owner, name)
	got, gotErr := m.real.FindCommand(m.ctx, owner, name)
	if wantErr != nil {
		want, got = eventstore.Command{}, eventstore.Command{}
	}
	m.compare(t, want, got, wantErr, gotErr)
}

func (m *model) snapshot(t *rapid.T) {
	s := eventstore.Snapshot{
		Stream:  rapid.SampledFrom(modelStreams).Draw(t, "stream"),
		Version: rapid.Int64Range(1, 5).Draw(t, "version"), Schema: rapid.IntRange(1, 2).Draw(t, "schema"),
	}
	s.State = fmt.Appendf(nil, `{"v":%d,"s":%d}`, s.Version, s.Schema)
	m.oracle.SaveSnapshot(s)
	m.real.SaveSnapshot(s)
	// Behind a commit that waits for the writer the snapshot is there.
	m.ids++
	barrier := eventstore.Commit{Account: account, Key: key(fmt.Sprintf("barrier %d", m.ids))}
	if _, err := m.real.Append(m.ctx, barrier); err != nil {
		t.Fatal(err)
	}
	want, wantErr := m.oracle.LoadSnapshot(m.ctx, s.Stream)
	got, gotErr := m.real.LoadSnapshot(m.ctx, s.Stream)
	m.compare(t, want, got, wantErr, gotErr)
}

func (m *model) compareEvents(t *rapid.T, want, got []eventstore.Recorded, wantErr, gotErr error) {
	t.Helper()
	m.compare(t, nil, nil, wantErr, gotErr)
	if diff := difference(want, got); diff != "" {
		t.Fatal(diff)
	}
}

// compare fails unless two calls gave the same answer. Errors are the same if
// they are of the same kinds and say the same numbers.
func (*model) compare(t *rapid.T, want, got any, wantErr, gotErr error) {
	t.Helper()
	if (wantErr == nil) != (gotErr == nil) {
		t.Fatalf("error is %v; want %v", gotErr, wantErr)
	}
	for _, kind := range []error{
		eventstore.ErrConflict, eventstore.ErrForeign, eventstore.ErrDuplicate, eventstore.ErrKeyUsed, eventstore.ErrNotFound,
		eventstore.ErrBusy, eventstore.ErrClosed, eventstore.ErrTooLarge, eventstore.ErrPositionGap, eventstore.ErrVersionGap,
	} {
		if errors.Is(wantErr, kind) != errors.Is(gotErr, kind) {
			t.Fatalf("error is %v; want %v", gotErr, wantErr)
		}
	}
	if w, ok := errors.AsType[*eventstore.ConflictError](wantErr); ok {
		if g, ok := errors.AsType[*eventstore.ConflictError](gotErr); !ok || *g != *w {
			t.Fatalf("error is %v; want %v", gotErr, wantErr)
		}
	}
	if w, ok := errors.AsType[*eventstore.ImportError](wantErr); ok {
		if g, ok := errors.AsType[*eventstore.ImportError](gotErr); !ok || g.Number != w.Number {
			t.Fatalf("error is %v; want %v", gotErr, wantErr)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("other answers (-want +got):\n%.4000s", diff)
	}
}
