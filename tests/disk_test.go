//go:build linux

package tests_test

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"unsafe"
)

// limitFiles sets how large the files of a process may become, as a disk that is
// full does: what would lie behind that is not written.
func limitFiles(tb testing.TB, pid int, size uint64) {
	tb.Helper()
	limit := syscall.Rlimit{Cur: size, Max: unlimited}
	if _, _, errno := syscall.RawSyscall6(syscall.SYS_PRLIMIT64, uintptr(pid), syscall.RLIMIT_FSIZE,
		uintptr(unsafe.Pointer(&limit)), 0, 0, 0); errno != 0 {
		tb.Fatal(errno)
	}
}

const unlimited = ^uint64(0)

// TestDiskFull takes the room away from a server that has deliveries to make.
// Commands are refused with a problem, reading goes on, /readyz says why; what a
// receiver takes meanwhile is put on record once there is room, and the server
// goes on by itself. Nothing that was acknowledged is missing, and what was
// refused can be sent again under its key.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	folder := filepath.Join(t.TempDir(), "data")
	receiver := newMoody(t)
	s := startServer(t, folder)
	key := s.key
	var ep, c struct{ ID string }
	s.call(http.MethodPost, "/v1/endpoints", key, `{"url":"`+receiver.url+`","dialect":"verbatim@1","history":"none",
		"events":["conversation.*"],"retry_schedule":[`+schedule(30, "100ms")+`]}`, &ep)
	s.call(http.MethodPost, "/v1/conversations", key, `{"customer":{"name":"Arya Stark"}}`, &c)
	receiver.await(t, c.ID, 1, taken)
	release := receiver.holdNext()
	defer release()
	post := func(n int) (status int, body []byte) {
		t.Helper()
		status, body, err := s.try(http.MethodPost, "/v1/conversations/"+c.ID+"/messages", key,
			fmt.Sprintf(`{"text":"message %d"}`, n), "Idempotency-Key", fmt.Sprintf("message-%d", n))
		if err != nil {
			t.Fatalf("%v\n%s", err, s.errs)
		}
		return status, body
	}
	acknowledged := make(map[string]bool)
	take := func(n, status int, body []byte) {
		t.Helper()
		var m struct{ ID string }
		if status != http.StatusCreated || json.Unmarshal(body, &m) != nil {
			t.Fatalf("message %d: %d %s", n, status, body)
		}
		acknowledged[m.ID] = true
	}
	all := 0
	for ; all < 5; all++ {
		status, body := post(all)
		take(all, status, body)
	}
	receiver.awaitHeld(t)

	// From here on there is room in the write-ahead log for some commits: those of
	// commands, and of projections.
	wal, err := os.Stat(filepath.Join(folder, "verbatim.db-wal"))
	if err != nil {
		t.Fatal(err)
	}
	const room, refusals, most = 256 << 10, 5, 1000
	limitFiles(t, s.cmd.Process.Pid, uint64(wal.Size())+room)
	for refused := 0; refused < refusals && all < most; all++ {
		status, body := post(all)
		if status == http.StatusCreated {
			take(all, status, body)
			continue
		}
		refused++
		var problem struct {
			Code   string
			Status int
		}
		if err := json.Unmarshal(body, &problem); err != nil || status != http.StatusServiceUnavailable ||
			problem.Status != status || problem.Code != "not_writable" {
			t.Errorf("message %d without room: %d %s", all, status, body)
		}
	}
	readable := len(acknowledged)
	var ready struct{ Status, Detail string }
	status, body, err := s.try(http.MethodGet, "/readyz", key, "")
	if err != nil || status != http.StatusServiceUnavailable || json.Unmarshal(body, &ready) != nil ||
		ready.Status != "degraded" || !strings.Contains(ready.Detail, "cannot be written") {
		t.Errorf("/readyz without room: %d %s %v", status, body, err)
	}
	var conversation struct{ Version int }
	s.call(http.MethodGet, "/v1/conversations/"+c.ID, key, "", &conversation)
	if conversation.Version != 1+readable {
		t.Errorf("the conversation is read at version %d, want %d", conversation.Version, 1+readable)
	}
	// The receiver takes the first of those that wait. That cannot be recorded, so
	// that the next one is not sent yet.
	release()
	receiver.await(t, c.ID, 2, taken)
	poll(t, func() bool { return strings.Contains(s.errs.String(), "attempts could not be recorded") })

	limitFiles(t, s.cmd.Process.Pid, unlimited)
	s.call(http.MethodGet, "/readyz", key, "", &ready)
	if ready.Status != "ok" {
		t.Errorf("/readyz with room again: %+v", ready)
	}
	for n := range all { // what is there already is acknowledged again
		status, body := post(n)
		take(n, status, body)
	}
	attempts := receiver.await(t, c.ID, 1+all, taken)
	inOrder(t, attempts, int64(1+all))
	if len(attempts) != 1+all {
		t.Errorf("%d attempts for %d deliveries that were taken at once", len(attempts), 1+all)
	}
	t.Logf("%d messages, %d of them refused for want of room", all, all-readable)
	if code := s.stop(); code != 0 {
		t.Errorf("exit code %d\n%s", code, s.errs)
	}
	posted := 0
	for _, e := range checkLog(t, folder) {
		if e.Type == "conversation.message_posted" {
			if posted++; !acknowledged[e.Data.MessageID] {
				t.Errorf("message %s is in the log and was never acknowledged", e.Data.MessageID)
			}
		}
	}
	if posted != all || len(acknowledged) != all {
		t.Errorf("%d messages acknowledged, %d in the log; want %d", len(acknowledged), posted, all)
	}
	checkFile(t, folder)
}

// holdNext lets what arrives wait until release is called.
func (m *moody) holdNext() (release func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	hold := make(chan struct{})
	m.hold = hold
	return sync.OnceFunc(func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.hold = nil
		close(hold)
	})
}

// awaitHeld returns when something waits.
func (m *moody) awaitHeld(tb testing.TB) {
	tb.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	if !await(m.changed, func() bool { return m.held > 0 }) {
		tb.Fatal("nothing arrived")
	}
}

// checkFile has SQLite look through its file.
func checkFile(tb testing.TB, folder string) {
	tb.Helper()
	db, err := sql.Open("sqlite3", "file:"+filepath.Join(folder, "verbatim.db")+"?mode=ro")
	if err != nil {
		tb.Fatal(err)
	}
	defer db.Close()
	var verdict string
	if err := db.QueryRowContext(tb.Context(), "PRAGMA integrity_check").Scan(&verdict); err != nil || verdict != "ok" {
		tb.Errorf("integrity check: %s %v", verdict, err)
	}
}
