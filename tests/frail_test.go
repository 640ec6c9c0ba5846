package tests_test

import (
	"bytes"
	"database/sql"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	_ "github.com/mattn/go-sqlite3"
)

// number returns a number from the environment, or another one if it is not
// there.
func number(name string, otherwise uint64) uint64 {
	if n, err := strconv.ParseUint(os.Getenv(name), 10, 64); err == nil {
		return n
	}
	return otherwise
}

// TestCrashes kills a server under load, again and again over the same folder,
// at random and at named points, while its receivers fail at random. Clients
// repeat what was not acknowledged under the same key. In the end
//
//   - every command is in the log once, positions and versions without a gap;
//   - every event was delivered to each endpoint, or parked with its reason;
//   - of a conversation nothing was sent before what comes before it was done
//     with, nor again once something behind it was sent;
//   - what was given up is told on the stream of its endpoint, once;
//   - each delivery had one webhook-id and one body over all of its attempts;
//   - what came is what is rebuilt from the log, byte for byte, and a verification
//     finds all of it identical, after every kill and in the end;
//   - attempts are numbered from one without a gap.
//
// ROUNDS=n kills that often. SEED=n draws the same points and the same moods;
// what processes make of them is theirs.
func TestCrashes(t *testing.T) {
	t.Parallel()
	rounds, seed := int(number("ROUNDS", 10)), number("SEED", uint64(time.Now().UnixNano()))
	t.Logf("SEED=%d", seed)
	c := newCrashes(t, seed)
	for range rounds {
		c.round()
	}
	c.finish()
	t.Logf("crash: %d rounds, killed %v: %d commands acknowledged, %d events, %d deliveries of which %d parked, %d attempts on record, %d arrived, %d identical when rendered again",
		rounds, c.kills, len(c.acknowledged), c.events, c.deliveries, c.parked, c.attempts, c.arrived, c.identical)
}

const (
	crashWriters  = 16 // conversations, each written to by one client
	crashCommands = 10 // of one client in one round
)

type crashes struct {
	t         *testing.T
	folder    string
	chance    *rand.Rand
	key       string // of the API
	receivers []*frailReceiver
	writers   []*crashWriter
	kills     map[string]int

	mu           sync.Mutex
	acknowledged map[string]string // message ids by the key of their command

	events, deliveries, parked, attempts, arrived, identical int
}

// A crashWriter posts to one conversation, one message after the other.
type crashWriter struct {
	conversation string
	next         int // command; it may be under way or done without our knowing
}

func newCrashes(t *testing.T, seed uint64) *crashes {
	t.Helper()
	c := &crashes{
		t: t, folder: filepath.Join(t.TempDir(), "data"), chance: rand.New(rand.NewPCG(seed, 1)),
		kills: make(map[string]int), acknowledged: make(map[string]string),
	}
	s := startServer(t, c.folder)
	c.key = s.key
	for _, r := range []frailReceiver{
		{name: "steady", retries: 30},
		{name: "moody", retries: 30, moody: true},
		{name: "picky", retries: 2, picky: true},
	} {
		r.start(t, c.chance.Uint64())
		var made struct{ ID string }
		s.call(http.MethodPost, "/v1/endpoints", c.key, `{"url":"`+r.url+`","dialect":"verbatim@1","history":"none",
			"events":["conversation.*"],"retry_schedule":[`+schedule(r.retries, "20ms")+`]}`, &made)
		r.endpoint = made.ID
		c.receivers = append(c.receivers, &r)
	}
	for range crashWriters {
		var made struct{ ID string }
		s.call(http.MethodPost, "/v1/conversations", c.key, `{"customer":{"name":"Arya Stark"}}`, &made)
		c.writers = append(c.writers, &crashWriter{conversation: made.ID})
	}
	if code := s.stop(); code != 0 {
		t.Fatal(s.errs)
	}
	return c
}

// round starts the server, puts load on it, and waits for its end: at a named
// point, or at any moment.
func (c *crashes) round() {
	c.t.Helper()
	points := []struct {
		name string
		most int // times that a round comes there, about
	}{
		{"after-append", crashWriters * crashCommands * 3 / 4}, {"after-projection", 8}, {"after-send", 200}, {"after-record", 40}, {"at random", 0}, {"at random", 0},
	}
	point := points[c.chance.IntN(len(points))]
	var env []string
	limit := 2 * time.Second // the point may lie behind all that there is to do
	if point.most > 0 {
		env = []string{fmt.Sprintf("VERBATIM_FAIL_AT=%s:%d", point.name, 1+c.chance.IntN(point.most))}
	} else {
		limit = time.Duration(c.chance.Int64N(int64(400 * time.Millisecond)))
	}
	s := startProcess(c.t, frail(c.t), c.folder, env)
	timer := time.NewTimer(limit)
	defer timer.Stop()
	var load sync.WaitGroup
	for _, w := range c.writers {
		load.Go(func() { c.write(s, w, crashCommands) })
	}
	select {
	case <-s.done:
	case <-timer.C:
		point.name = "at random"
		s.kill()
	}
	load.Wait()
	if why := s.cmd.ProcessState.String(); !strings.Contains(why, "killed") {
		c.t.Fatalf("the server ended by itself: %s\n%s", why, s.errs)
	}
	c.kills[point.name]++
	for _, r := range c.receivers {
		r.awaitQuiet() // what the dead one had sent has arrived
	}
	c.prove(false)
}

// prove holds what came against the log: in the end all of it has come.
func (c *crashes) prove(all bool) {
	c.t.Helper()
	for _, r := range c.receivers {
		r.got.prove(c.t, c.folder, r.endpoint, all)
	}
	v := verify(c.t, c.folder, 0)
	c.identical = v.identical(c.t)
}

// write posts messages until there were enough or the server is gone.
func (c *crashes) write(s *server, w *crashWriter, commands int) {
	for range commands {
		key := fmt.Sprintf("%s-%d", w.conversation, w.next)
		status, body, err := s.try(http.MethodPost, "/v1/conversations/"+w.conversation+"/messages", c.key,
			fmt.Sprintf(`{"text":"message %d"}`, w.next), "Idempotency-Key", key)
		if err != nil {
			return // it is gone; the next one is asked again
		}
		var m struct{ ID string }
		if status != http.StatusCreated || json.Unmarshal(body, &m) != nil {
			c.t.Errorf("%s: %d %s", key, status, body)
			return
		}
		c.mu.Lock()
		c.acknowledged[key] = m.ID
		c.mu.Unlock()
		w.next++
	}
}

// finish lets everything come to its end, in a server that nothing can kill, and
// checks what there is then.
func (c *crashes) finish() {
	c.t.Helper()
	s := startServer(c.t, c.folder)
	var load sync.WaitGroup
	for _, w := range c.writers {
		load.Go(func() { c.write(s, w, 1) })
	}
	load.Wait()
	for _, r := range c.receivers {
		poll(c.t, func() bool {
			var pending struct{ Data []struct{} }
			s.call(http.MethodGet, "/v1/endpoints/"+r.endpoint+"/deliveries?state=pending&limit=1", c.key, "", &pending)
			return len(pending.Data) == 0
		})
	}
	if code := s.stop(); code != 0 {
		c.t.Errorf("exit code %d\n%s", code, s.errs)
	}
	logged := checkLog(c.t, c.folder)
	c.checkCommands(logged)
	for _, r := range c.receivers {
		r.mu.Lock()
		c.checkArrivals(r, logged)
		c.checkRecord(r, logged)
		r.mu.Unlock()
	}
	if c.prove(true); c.identical != c.deliveries-c.parked {
		c.t.Errorf("%d deliveries of which %d parked, %d identical", c.deliveries, c.parked, c.identical)
	}
}

// A loggedEvent is a line of an export.
type loggedEvent struct {
	ID, Stream, Type  string
	Position, Version int64
	Data              struct {
		MessageID  string `json:"message_id"`
		DeliveryID string `json:"delivery_id"`
	}
}

// checkLog returns the log, whose positions and versions have no gap.
func checkLog(tb testing.TB, folder string) []loggedEvent {
	tb.Helper()
	var events []loggedEvent
	versions := make(map[string]int64)
	for _, line := range exportLines(tb, folder) {
		var e loggedEvent
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			tb.Fatal(err)
		}
		if due := int64(len(events)) + 1; e.Position != due {
			tb.Fatalf("position %d where %d was due", e.Position, due)
		}
		if versions[e.Stream]++; e.Version != versions[e.Stream] {
			tb.Fatalf("%s: version %d where %d was due", e.Stream, e.Version, versions[e.Stream])
		}
		events = append(events, e)
	}
	return events
}

// checkCommands holds that each command that was acknowledged is in the log
// once, and that nothing else is.
func (c *crashes) checkCommands(logged []loggedEvent) {
	c.t.Helper()
	times := make(map[string]int)
	for i := range logged {
		if logged[i].Type == "conversation.message_posted" {
			times[logged[i].Data.MessageID]++
		}
	}
	for key, id := range c.acknowledged {
		if times[id] != 1 {
			c.t.Errorf("command %s was acknowledged and is %d times in the log", key, times[id])
		}
	}
	commands := 0
	for _, w := range c.writers {
		commands += w.next
	}
	if len(times) != commands || len(c.acknowledged) != commands {
		c.t.Errorf("%d commands, %d acknowledged, %d in the log", commands, len(c.acknowledged), len(times))
	}
	c.events = len(logged)
}

// checkArrivals holds the order of what arrived at a receiver.
func (c *crashes) checkArrivals(r *frailReceiver, logged []loggedEvent) {
	c.t.Helper()
	type lane struct {
		at, attempts int64 // the version that was last seen, and how often
		done         bool  // it was taken
	}
	lanes := make(map[string]*lane)
	ids := make(map[[2]string]string)
	for _, a := range r.arrived {
		l := lanes[a.stream]
		if l == nil {
			l = &lane{at: 1}
			lanes[a.stream] = l
		}
		switch {
		case a.version == l.at:
		case a.version == l.at+1 && (l.done || r.picky && l.attempts > int64(r.retries)):
			*l = lane{at: a.version}
		default:
			c.t.Errorf("%s: version %d of %s came behind %d, which had %d attempts and was taken: %t",
				r.name, a.version, a.stream, l.at, l.attempts, l.done)
			*l = lane{at: a.version}
		}
		l.attempts++
		l.done = l.done || a.taken
		event := [2]string{a.stream, strconv.FormatInt(a.version, 10)}
		if known, ok := ids[event]; ok && known != a.id {
			c.t.Errorf("%s: %v came under %s and under %s", r.name, event, known, a.id)
		}
		ids[event] = a.id
	}
	owed := 0
	for i := range logged {
		if strings.HasPrefix(logged[i].Stream, "conversation-") {
			owed++
			if _, ok := ids[[2]string{logged[i].Stream, strconv.FormatInt(logged[i].Version, 10)}]; !ok {
				c.t.Errorf("%s: version %d of %s never came", r.name, logged[i].Version, logged[i].Stream)
			}
		}
	}
	if len(ids) != owed || len(r.got.bodies) != owed {
		c.t.Errorf("%s: %d events, %d came, under %d ids", r.name, owed, len(ids), len(r.got.bodies))
	}
	c.arrived += len(r.arrived)
}

// checkRecord holds the table of deliveries against what arrived.
func (c *crashes) checkRecord(r *frailReceiver, logged []loggedEvent) {
	c.t.Helper()
	arrivals, taken := make(map[string]int), make(map[string]bool)
	for _, a := range r.arrived {
		arrivals[a.id]++
		taken[a.id] = taken[a.id] || a.taken
	}
	db, err := sql.Open("sqlite3", "file:"+filepath.Join(c.folder, "verbatim.db")+"?mode=ro")
	if err != nil {
		c.t.Fatal(err)
	}
	defer db.Close()
	told := make(map[string]int) // of what was given up, by delivery
	for i := range logged {
		if logged[i].Type == "endpoint.exhausted" {
			told[logged[i].Data.DeliveryID]++
		}
	}
	rows, err := db.QueryContext(c.t.Context(), `SELECT id, webhook_id, state, reason, attempts,
			(SELECT count(*) FROM attempts WHERE delivery = id), (SELECT ifnull(max(number), 0) FROM attempts WHERE delivery = id),
			(SELECT count(*) FROM attempts WHERE delivery = id AND status > 0)
		FROM deliveries WHERE endpoint = ?`, r.endpoint)
	if err != nil {
		c.t.Fatal(err)
	}
	defer rows.Close()
	n := 0
	for ; rows.Next(); n++ {
		var delivery, id, state, reason string
		var attempts, onRecord, last, answered int
		if err := rows.Scan(&delivery, &id, &state, &reason, &attempts, &onRecord, &last, &answered); err != nil {
			c.t.Fatal(err)
		}
		c.attempts += onRecord
		if attempts != onRecord || last != onRecord {
			c.t.Errorf("%s: %s had %d attempts, %d are on record, the last with number %d", r.name, id, attempts, onRecord, last)
		}
		if arrivals[id] < answered {
			c.t.Errorf("%s: %s arrived %d times and was answered %d times", r.name, id, arrivals[id], answered)
		}
		switch {
		case state == "delivered" && taken[id]:
		case state == "parked" && reason == "exhausted" && r.refuses(id) && attempts == 1+r.retries && !taken[id]:
			c.parked++
			if told[delivery] != 1 {
				c.t.Errorf("%s: that %s was given up stands %d times in the log", r.name, delivery, told[delivery])
			}
		default:
			c.t.Errorf("%s: %s is %s (%s) after %d attempts; taken: %t", r.name, id, state, reason, attempts, taken[id])
		}
	}
	if err := rows.Err(); err != nil {
		c.t.Fatal(err)
	}
	owed := 0
	for i := range logged {
		if strings.HasPrefix(logged[i].Stream, "conversation-") {
			owed++
		}
	}
	if n != owed {
		c.t.Errorf("%s: %d deliveries for %d events", r.name, n, owed)
	}
	c.deliveries += n
}

// A frailReceiver takes webhooks in its own way, and remembers all that arrived.
type frailReceiver struct {
	name     string
	retries  int
	moody    bool // fails at random, is slow, cuts connections
	picky    bool // turns a few deliveries away for good
	url      string
	endpoint string

	mu      *sync.Mutex
	changed *sync.Cond
	chance  *rand.Rand
	open    int // connections
	arrived []arrival
	got     *received
}

type arrival struct {
	id, stream string
	version    int64
	taken      bool
}

func (r *frailReceiver) start(t *testing.T, seed uint64) {
	t.Helper()
	r.mu = &sync.Mutex{}
	r.changed = sync.NewCond(r.mu)
	r.got = &received{}
	r.chance = rand.New(rand.NewPCG(seed, 2))
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) { r.take(t, w, req) }))
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		r.mu.Lock()
		defer r.mu.Unlock()
		switch s {
		case http.StateNew:
			r.open++
		case http.StateClosed, http.StateHijacked:
			r.open--
			r.changed.Broadcast()
		case http.StateActive, http.StateIdle:
		}
	}
	srv.Start()
	t.Cleanup(srv.Close)
	r.url = srv.URL
}

// awaitQuiet returns when nobody is connected.
func (r *frailReceiver) awaitQuiet() {
	r.mu.Lock()
	defer r.mu.Unlock()
	await(r.changed, func() bool { return r.open == 0 })
}

// refuses reports whether a delivery is one that is turned away for good.
func (r *frailReceiver) refuses(id string) bool {
	h := fnv.New32a()
	_, _ = io.WriteString(h, id)
	return r.picky && h.Sum32()%50 == 0
}

func (r *frailReceiver) take(t *testing.T, w http.ResponseWriter, req *http.Request) {
	t.Helper()
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return // the sender was killed in the middle of it
	}
	var hook struct {
		Data struct {
			Conversation struct{ ID string }
			Change       struct{ Version int64 }
		}
	}
	if err := json.Unmarshal(body, &hook); err != nil {
		t.Errorf("not a webhook: %v %s", err, body)
	}
	a := arrival{
		id: req.Header.Get("webhook-id"), stream: "conversation-" + hook.Data.Conversation.ID, version: hook.Data.Change.Version,
	}
	r.got.add(t, a.id, body)
	status, cut, pause := http.StatusOK, false, time.Duration(0)
	r.mu.Lock()
	if r.refuses(a.id) {
		status = http.StatusUnprocessableEntity
	}
	if r.moody {
		switch mood := r.chance.IntN(100); {
		case mood < 10:
			status = []int{http.StatusInternalServerError, http.StatusServiceUnavailable, http.StatusTooManyRequests}[mood%3]
		case mood < 15:
			cut = true
		case mood < 30:
			pause = time.Duration(r.chance.Int64N(int64(20 * time.Millisecond)))
		}
	}
	a.taken = status == http.StatusOK && !cut
	r.arrived = append(r.arrived, a)
	r.mu.Unlock()
	if pause > 0 { // nothing is expected of the time
		select {
		case <-time.After(pause):
		case <-req.Context().Done():
		}
	}
	if !cut {
		w.WriteHeader(status)
		return
	}
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		t.Error(err)
		return
	}
	_ = conn.Close()
}

// TestTheProgramCannotBeKilledByName: the named points are in a build for tests
// alone.
func TestTheProgramCannotBeKilledByName(t *testing.T) {
	t.Parallel()
	const name = "VERBATIM_FAIL_AT"
	for _, c := range []struct {
		program string
		dies    bool
	}{{binary(t), false}, {frail(t), true}} {
		b, err := os.ReadFile(c.program)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(b, []byte(name)) != c.dies {
			t.Errorf("%s: knows of %s: %t", c.program, name, !c.dies)
		}
		s := startProcess(t, c.program, filepath.Join(t.TempDir(), "data"), []string{name + "=after-append:1"})
		status, body, err := s.try(http.MethodPost, "/v1/conversations", s.key, `{"customer":{"name":"Arya Stark"}}`)
		if died := err != nil; died != c.dies || !died && status != http.StatusCreated {
			t.Errorf("%s: %d %s %v", c.program, status, body, err)
		}
		if !c.dies {
			if code := s.stop(); code != 0 {
				t.Errorf("exit code %d\n%s", code, s.errs)
			}
		}
	}
}
