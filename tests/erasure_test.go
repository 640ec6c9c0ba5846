package tests_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"verbatim/adapters/sqlite"
	"verbatim/domain"
	"verbatim/domain/contact"
	"verbatim/domain/conversation"
	"verbatim/domain/endpoint"
	"verbatim/eventstore"
	"verbatim/projections"
	"verbatim/webhooks"
	"verbatim/webhooks/dialect"
	"verbatim/webhooks/webhookstest"
)

// erasable is a log with a person in it who is to go, and others who stay.
type erasable struct {
	*rig

	dir     string
	jon     domain.Person
	jons    []string // his conversations
	anns    []string // others', in some of which he writes
	endings []string // endpoints, one a dialect
}

const jonsEmail = "SECRET.jon@winterfell.com"

// fillErasable makes the log. Jon has conversations with short and with very long
// messages, of which snapshots are taken again and again; what receivers answered
// quotes him.
func fillErasable(t *testing.T, messages int) *erasable {
	t.Helper()
	e := &erasable{dir: t.TempDir()}
	e.rig = openRigIn(t, e.dir, dialect.All())
	e.jon = domain.Person{
		ID: jonsID, Role: domain.Customer, Name: "SECRET Jon Snöw", Email: jonsEmail, Phone: "SECRET+1", AvatarURL: "https://SECRET/a.png",
		Attributes: domain.Attributes{{Key: "plan", Value: json.RawMessage(`"SECRET plan"`)}},
	}
	ann := domain.Person{ID: "ann", Role: domain.Customer, Name: "Ann", Email: "ann@x"}
	for _, d := range dialects(t) {
		e.endings = append(e.endings, e.register(t, endpoint.Settings{URL: "https://x.test/", Dialect: d.Name(), Events: []string{"*"}, History: "full"}))
	}
	e.known(t, "default", webhooks.AsUUID(e.jon.ID), e.jon)
	e.known(t, "default", webhooks.AsUUID(ann.ID), ann)
	e.known(t, "other", webhooks.AsUUID("other\x00"+e.jon.ID), domain.Person{ID: jonsID, Role: domain.Customer, Name: "Another account's Jon"})
	agent := domain.Person{ID: "amy", Role: domain.Agent, Name: "Amy"}
	for i := range 6 {
		customer, list := ann, &e.anns
		if i%2 == 0 {
			customer, list = e.jon, &e.jons
		}
		id := newID(t)
		*list = append(*list, id)
		e.do(t, id, conversation.Create{
			Account: domain.Account{ID: "default", Number: 1}, Inbox: domain.Inbox{ID: "default"}, Channel: "api", Customer: customer,
			Subject:    whose(customer, "subject"),
			Attributes: domain.Attributes{{Key: "referer", Value: json.RawMessage(`"` + whose(customer, "referer") + `"`)}},
		})
	}
	// Neighbours in the log and in every table: a row that shrinks or grows moves
	// others, and what is moved must not stay behind.
	var lanes sync.WaitGroup
	for i := range 3 {
		lanes.Go(func() { // commits are shared
			for n := range messages {
				size := 1 + (n*7919+i*104729)%900
				if n%97 == 11 {
					size = 100_000 // in overflow pages
				}
				e.do(t, e.jons[i], conversation.PostMessage{MessageID: newID(t), Author: e.jon, Text: strings.Repeat("SECRET ö\n", 1+size/9)})
				e.do(t, e.jons[i], conversation.PostMessage{MessageID: newID(t), Author: agent, Text: "Amy says " + strings.Repeat("hello ", size/11)})
				e.do(t, e.anns[i], conversation.PostMessage{MessageID: newID(t), Text: "Ann says " + strings.Repeat("goodbye ", size/13)})
				if n%5 == 0 {
					e.do(t, e.anns[i], conversation.PostMessage{MessageID: newID(t), Author: e.jon, Text: "SECRET in hers"})
					e.do(t, e.jons[i], conversation.ChangeAttributes{
						Subject:    domain.Patch[string]{Set: true, Value: new(fmt.Sprintf("SECRET subject %d", n))},
						Labels:     domain.Patch[[]string]{Set: true, Value: &[]string{fmt.Sprint("label", n)}},
						Attributes: domain.Attributes{{Key: "SECRET", Value: fmt.Appendf(nil, `"SECRET %0*d"`, n%300, n)}},
					})
				}
				e.store.SaveSnapshot(eventstore.Snapshot{ // of every length, again and again
					Stream: eventstore.StreamName("conversation", e.jons[i]), Version: int64(n + 1), Schema: 99,
					State: []byte(strings.Repeat("SECRET state ", 1+size)),
				})
				if n%7 == 0 && i == 0 {
					e.project(t)
				}
			}
		})
	}
	lanes.Wait()
	e.do(t, e.jons[0], conversation.SetTyping{Author: domain.Person{ID: e.jon.ID}, On: true})
	e.do(t, e.jons[1], conversation.UpdateCustomer{Patch: domain.PersonPatch{Email: domain.Patch[string]{Set: true, Value: new("SECRET@new")}}})
	e.do(t, e.jons[1], conversation.RecordActivity{Kind: conversation.TaskCompleted, Data: domain.Attributes{{Key: "title", Value: json.RawMessage(`"SECRET"`)}}})
	e.do(t, e.jons[2], conversation.Close{By: &agent})
	e.project(t)
	e.answer(t)
	return e
}

func whose(p domain.Person, what string) string {
	if p.ID == jonsID {
		return "SECRET " + what
	}
	return "Ann's " + what
}

func (e *erasable) known(t *testing.T, account, id string, p domain.Person) {
	t.Helper()
	_, err := e.contacts.Execute(t.Context(), eventstore.Order[contact.State, contact.Command]{
		Account: account, ID: id, Command: contact.Create{Account: domain.Account{ID: account}, Profile: p},
	})
	if err != nil {
		t.Fatal(err)
	}
}

func (e *erasable) project(t *testing.T) {
	t.Helper()
	if err := errors.Join(e.group.Load(t.Context()), e.group.CatchUp(t.Context())); err != nil {
		t.Fatal(err)
	}
}

// answer has receivers answer the first deliveries with what they were sent.
func (e *erasable) answer(t *testing.T) {
	t.Helper()
	for _, lane := range e.heads(t) {
		ds, err := e.store.Next(t.Context(), lane, 8)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range ds {
			d.Attempts = 1
			detail := "cannot take SECRET, says " + d.Stream
			if d.Stream == eventstore.StreamName("contact", webhooks.AsUUID("ann")) {
				detail = "cannot take Ann"
			}
			a := webhooks.Attempt{Number: 1, At: time.Now(), Outcome: webhooks.Outcome{Status: 500, Detail: detail}}
			if err := e.store.Record(t.Context(), []webhooks.Report{{Delivery: d, Attempt: a}}); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func (e *erasable) heads(t *testing.T) (lanes []webhooks.Lane) {
	t.Helper()
	heads, err := e.store.Heads(t.Context(), webhooks.Lane{}, 1000)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range heads {
		lanes = append(lanes, webhooks.Lane{EndpointID: d.EndpointID, Key: d.Lane})
	}
	return lanes
}

// ask puts an erasure of Jon on record.
func (e *erasable) ask(t *testing.T) projections.Erasure {
	t.Helper()
	ers := projections.Erasure{
		ID: "ers_" + newID(t), Account: "default", ContactID: webhooks.AsUUID(jonsID), PersonID: webhooks.AsUUID(jonsID),
		By: domain.Person{ID: "dpo", Role: domain.Agent, Name: "Officer"}, State: projections.ErasureRunning, CreatedAt: time.Now(),
	}
	kept, added, err := e.store.AddErasure(t.Context(), ers)
	if err != nil || !added || kept.ID != ers.ID {
		t.Fatal(kept, added, err)
	}
	if other, added, err := e.store.AddErasure(t.Context(), projections.Erasure{ID: "ers_2", Account: "default", ContactID: ers.ContactID, State: ers.State}); added || other.ID != ers.ID || err != nil {
		t.Fatalf("two erasures of one person run: %+v, %v", other, err)
	}
	return ers
}

// erase takes steps until there is nothing more to do.
func steps(t *testing.T, x *projections.Eraser) error {
	t.Helper()
	const most = 100_000
	for range most {
		worked, wait, err := x.Step(t.Context())
		if err != nil {
			return err
		}
		if !worked && wait == webhooks.Forever {
			return nil
		}
	}
	t.Fatal("it never ends")
	return nil
}

// copies counts a text in every file of the data folder, as it is and escaped.
func copies(t *testing.T, dir, text string) map[string]int {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	out := make(map[string]int)
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if n := bytes.Count(b, []byte(text)); n > 0 {
			out[filepath.Base(file)] = n
		}
	}
	return out
}

func (e *erasable) log(t *testing.T) []eventstore.Recorded {
	t.Helper()
	var out []eventstore.Recorded
	for r, err := range e.store.ReadLog(t.Context(), 0) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, r)
	}
	return out
}

// checkErased holds a log in which Jon was erased against what it was before.
func (e *erasable) checkErased(t *testing.T, before []eventstore.Recorded) {
	t.Helper()
	after := e.log(t)
	if len(after) <= len(before) {
		t.Fatalf("%d events became %d", len(before), len(after))
	}
	marks := make(map[int64][32]byte)
	hashes := make(map[string][32]byte)
	var told []contact.Erased
	for i := range after {
		r := &after[i]
		if i < len(before) {
			b := before[i]
			if r.Remains != nil && b.Remains == nil {
				b.Data, b.Remains = r.Data, r.Remains
			}
			if diff := cmp.Diff(b, *r); diff != "" {
				t.Fatalf("position %d is another event (-before +after):\n%s", r.Position, diff)
			}
		}
		if !r.Intact() || eventstore.Chain(hashes[r.Stream], r) != r.Hash {
			t.Fatalf("position %d is not intact", r.Position)
		}
		hashes[r.Stream] = r.Hash
		if r.Remains != nil {
			marks[r.Position] = r.Remains.Digest
		}
		event, err := e.codec.Decode(r)
		if err != nil {
			t.Fatal(err)
		}
		if erased, ok := event.(contact.Erased); ok {
			told = append(told, erased)
		}
		if r.Account == "default" && bytes.Contains(r.Data, []byte(theirs)) {
			t.Errorf("position %d has %s", r.Position, r.Data)
		}
	}
	proofs := contact.NewProofs(func(position int64) ([32]byte, bool) { d, ok := marks[position]; return d, ok })
	events := int64(0)
	for _, erased := range slices.Backward(told) {
		if err := proofs.Check(erased); err != nil {
			t.Errorf("%s: %v", erased.Positions, err)
		}
		events += erased.Events
	}
	for position := range marks {
		if !proofs.Covered(position) {
			t.Errorf("position %d is marked, and nobody says why", position)
		}
	}
	if events != int64(len(marks)) {
		t.Errorf("%d events were erased, %d are marked", events, len(marks))
	}
}

// TestErasedIsNowhere: before, what a person said is in the file in many places;
// after, it is in no byte of any file, and everything else is as it was.
func TestErasedIsNowhere(t *testing.T) {
	t.Parallel()
	e := fillErasable(t, 40)
	before := e.log(t)
	for _, text := range []string{theirs, "Ann says", "Amy says", "goodbye"} {
		if len(copies(t, e.dir, text)) == 0 {
			t.Fatalf("%q is in no file", text)
		}
	}
	t.Logf("before: %v", copies(t, e.dir, theirs))
	ers := e.ask(t)
	dry, err := e.eraser(e.store).Count(t.Context(), &ers)
	if err != nil {
		t.Fatal(err)
	}
	if got := e.log(t); !cmp.Equal(before, got) {
		t.Error("counting changed the log")
	}
	began := time.Now()
	if err := steps(t, e.eraser(e.store)); err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v in %v", dry, time.Since(began))
	e.checkErased(t, before)
	ended, _, err := e.store.Erasure(t.Context(), ers.ID)
	if err != nil || ended.State != projections.ErasureDone || ended.EndedAt == nil {
		t.Fatalf("the erasure is %+v, %v", ended, err)
	}
	if ended.ErasureCounts != dry || dry.Events == 0 || dry.Conversations != 6 || dry.Deliveries == 0 || dry.Snapshots == 0 {
		t.Errorf("it did %+v, and counted %+v", ended.ErasureCounts, dry)
	}
	e.project(t)
	if left := copies(t, e.dir, theirs); len(left) > 0 && !onlyTheOther(t, e, left) {
		t.Errorf("left are %v", left)
	}
	for _, text := range []string{"Ann says", "Amy says", "goodbye", "Another account"} {
		if len(copies(t, e.dir, text)) == 0 {
			t.Errorf("%q is gone", text)
		}
	}
	e.checkModels(t)
	e.checkBodies(t)

	// Whoever came back is known anew, and can be erased again.
	id := newID(t)
	e.do(t, id, conversation.Create{Account: domain.Account{ID: "default"}, Customer: e.jon, Message: &conversation.PostMessage{MessageID: newID(t), Text: "SECRET again"}})
	e.do(t, e.anns[0], conversation.PostMessage{MessageID: newID(t), Author: e.jon, Text: "SECRET again"})
	before = e.log(t)
	e.ask(t)
	if err := steps(t, e.eraser(e.store)); err != nil {
		t.Fatal(err)
	}
	e.checkErased(t, before)
	if left := copies(t, e.dir, theirs); len(left) > 0 && !onlyTheOther(t, e, left) {
		t.Errorf("after the second time left are %v", left)
	}
}

// onlyTheOther reports whether all that is left is the id of somebody of the same
// name in another account.
func onlyTheOther(t *testing.T, e *erasable, left map[string]int) bool {
	t.Helper()
	count := 0
	for _, n := range left {
		count += n
	}
	others := copies(t, e.dir, "Another account")["verbatim.db"]
	return count == copies(t, e.dir, jonsID)["verbatim.db"] && count <= others
}

// checkModels holds the read models against those that another store makes of the
// exported log, which keeps digests, hashes and marks.
func (e *erasable) checkModels(t *testing.T) {
	t.Helper()
	other := openRig(t)
	log := e.log(t)
	n, err := other.store.Import(t.Context(), func(yield func(eventstore.Recorded, error) bool) {
		for i := range log {
			line, err := eventstore.AppendLine(nil, &log[i])
			if err == nil && log[i].Remains == nil {
				if bytes.Contains(line, []byte(`"erased":{`)) {
					err = errors.New("marked")
				}
			}
			var r eventstore.Recorded
			if err == nil {
				r, err = eventstore.ParseLine(line)
			}
			if !yield(r, err) {
				return
			}
		}
	})
	if err != nil || n != int64(len(log)) {
		t.Fatal(n, err)
	}
	if diff := cmp.Diff(log, (&erasable{rig: other}).log(t)); diff != "" {
		t.Errorf("exported and imported, the log is another (-want +got):\n%s", diff)
	}
	if err := errors.Join(other.group.Load(t.Context()), other.group.CatchUp(t.Context())); err != nil {
		t.Fatal(err)
	}
	want, err := other.store.Inbox(t.Context(), "default", "", 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	got, err := e.store.Inbox(t.Context(), "default", "", 0, 100)
	if err != nil || len(want) == 0 {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the inbox is not what the log makes it (-want +got):\n%s", diff)
	}
	wantTyping, err := other.store.TypingDue(t.Context(), time.Now().Add(time.Hour), 100)
	if err != nil {
		t.Fatal(err)
	}
	gotTyping, err := e.store.TypingDue(t.Context(), time.Now().Add(time.Hour), 100)
	if diff := cmp.Diff(wantTyping, gotTyping); err != nil || diff != "" || len(gotTyping) != 1 {
		t.Errorf("who types, %v (-want +got):\n%s", err, diff)
	}
}

// checkBodies renders what was pending in every dialect: it goes out without the
// person, and with what the others said.
func (e *erasable) checkBodies(t *testing.T) {
	t.Helper()
	amy := make(map[string]bool)
	for _, lane := range e.heads(t) {
		ds, err := e.store.Next(t.Context(), lane, 40)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range ds {
			body, err := e.transcripts.Body(t.Context(), &d)
			if err != nil {
				t.Fatalf("%s of position %d in %s: %v", d.Name, d.Position, d.Dialect, err)
			}
			if bytes.Contains(body, []byte(theirs)) && d.Account == "default" {
				t.Fatalf("%s of position %d in %s: %s", d.Name, d.Position, d.Dialect, body)
			}
			amy[d.Dialect] = amy[d.Dialect] || bytes.Contains(body, []byte("Amy"))
			_, attempts, _, err := e.store.Delivery(t.Context(), d.ID)
			if err != nil {
				t.Fatal(err)
			}
			for _, a := range attempts {
				if strings.Contains(a.Outcome.Detail, theirs) {
					t.Fatalf("an answer is %q", a.Outcome.Detail)
				}
			}
		}
	}
	if len(amy) != len(e.endings) {
		t.Errorf("bodies of %v", amy)
	}
}

// TestErasureOfSomebodyMovedIn: a log that was moved in may have a contact in a
// stream that is not named after them.
func TestErasureOfSomebodyMovedIn(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	e := &erasable{rig: openRigIn(t, dir, dialect.All()), dir: dir}
	facts := webhookstest.Facts(t, longFixture)
	_, err := e.store.Import(t.Context(), func(yield func(eventstore.Recorded, error) bool) {
		for _, f := range facts {
			if !yield(*f.Recorded, nil) {
				return
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	created, ok := facts[0].Event.(contact.Created)
	_, stream := eventstore.SplitStream(facts[0].Stream)
	if !ok || created.Profile.ID == stream || created.Profile.Name == "" {
		t.Fatalf("the fixture begins with %+v", facts[0].Event)
	}
	before := e.log(t)
	_, _, err = e.store.AddErasure(t.Context(), projections.Erasure{
		ID: "ers_1", Account: facts[0].Account, ContactID: stream, PersonID: webhooks.AsUUID(created.Profile.ID),
		By: domain.Person{ID: "dpo"}, State: projections.ErasureRunning, CreatedAt: time.Now(),
	})
	if err == nil {
		err = steps(t, e.eraser(e.store))
	}
	if err != nil {
		t.Fatal(err)
	}
	e.checkErased(t, before)
	if left := copies(t, dir, created.Profile.Name); len(left) > 0 {
		t.Errorf("left are %v", left)
	}
	if len(copies(t, dir, created.Profile.ID)) == 0 {
		t.Error("a UUID is gone")
	}
}

// TestErasureGoesOnAfterACrash ends the work after each of its transactions, and
// begins it anew.
func TestErasureGoesOnAfterACrash(t *testing.T) {
	t.Parallel()
	e := fillErasable(t, 40)
	before := e.log(t)
	ers := e.ask(t)
	frail := &frailErasures{Store: e.store}
	crashes := 0
	for {
		err := steps(t, e.eraser(frail))
		if err == nil {
			break
		}
		if !errors.Is(err, errCrashed) {
			t.Fatal(err)
		}
		crashes++
	}
	if crashes < 6 || frail.cleaned < 2 || frail.told != 2 {
		t.Errorf("it crashed %d times, %+v", crashes, frail)
	}
	e.checkErased(t, before)
	told := 0
	for _, r := range e.log(t) {
		if r.Type == (contact.Erased{}).EventType() {
			told++
		}
	}
	if ended, _, err := e.store.Erasure(t.Context(), ers.ID); err != nil || ended.State != projections.ErasureDone || told != 1 {
		t.Errorf("it is %+v, %v, and was told %d times", ended, err, told)
	}
	if left := copies(t, e.dir, theirs); len(left) > 0 && !onlyTheOther(t, e, left) {
		t.Errorf("left are %v", left)
	}
}

var errCrashed = errors.New("crashed")

// frailErasures fails behind what it has committed: behind every batch of events,
// and now and then behind the others.
type frailErasures struct {
	*sqlite.Store

	cleaned, told int
}

func (f *frailErasures) Overwrite(ctx context.Context, id string, left []projections.Left) error {
	return errors.Join(f.Store.Overwrite(ctx, id, left), errCrashed)
}

func (f *frailErasures) CleanStreams(ctx context.Context, streams []string, who *domain.Removal) error {
	if err := f.Store.CleanStreams(ctx, streams, who); err != nil || f.cleaned == 2 {
		return err
	}
	f.cleaned++
	return errCrashed
}

// ErasureTold fails before it: contact.erased is in the log, and nothing says so.
func (f *frailErasures) ErasureTold(ctx context.Context, id string, counts projections.ErasureCounts) error {
	if f.told++; f.told == 1 {
		return errCrashed
	}
	return f.Store.ErasureTold(ctx, id, counts)
}

// TestErasureWhileOthersWrite has agents and the projections work on while a
// person is erased: nothing of what was remembered of him comes back.
func TestErasureWhileOthersWrite(t *testing.T) {
	t.Parallel()
	e := fillErasable(t, 30)
	e.follow(t)
	agent := domain.Person{ID: "amy", Role: domain.Agent, Name: "Amy"}
	ctx, stop := context.WithCancel(t.Context())
	var writers sync.WaitGroup
	for i, id := range []string{e.jons[0], e.jons[1], e.anns[0]} {
		writers.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				e.do(t, id, conversation.PostMessage{MessageID: newID(t), Author: agent, Text: "Amy goes on"})
				// Open fields are filled with what is remembered of him.
				e.do(t, id, conversation.SetTyping{Author: domain.Person{ID: webhooks.AsUUID(jonsID), Role: domain.Customer}, On: n%2 == 0})
				e.do(t, id, conversation.MarkRead{By: domain.Person{Role: domain.Customer}, UpTo: int64(n + i + 1)})
			}
		})
	}
	e.ask(t)
	err := steps(t, e.eraser(e.store))
	stop()
	writers.Wait()
	if err != nil {
		t.Fatal(err)
	}
	e.caughtUp(t)
	if left := copies(t, e.dir, theirs); len(left) > 0 && !onlyTheOther(t, e, left) {
		// What was written behind the end of it may have been written to the file's log.
		t.Errorf("left are %v", left)
	}
	for _, r := range e.log(t) {
		if r.Account == "default" && bytes.Contains(r.Data, []byte(theirs)) {
			t.Fatalf("position %d has %s", r.Position, r.Data)
		}
	}
	rows, err := e.store.Inbox(t.Context(), "default", "", 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := json.Marshal(rows); err != nil || bytes.Contains(b, []byte(theirs)) {
		t.Errorf("the inbox has %s", b)
	}
}
