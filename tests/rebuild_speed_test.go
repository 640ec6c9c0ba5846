package tests_test

import (
	"database/sql"
	endian "encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"

	"verbatim/adapters/sqlite"
	"verbatim/domain"
	"verbatim/domain/conversation"
	"verbatim/domain/endpoint"
	"verbatim/eventstore"
)

// The benchmarks of rebuilds run the program as it is, in a process of its own,
// and hold it against what the machine can do at most: a bare SELECT of the same
// rows, and a plain copy of the bytes that it wrote. All of them take turns, and
// the best turn of each counts: what is slower was disturbed by somebody else.

const (
	// rebuildEvents is how many events REBUILD_EVENTS=1000000 makes a million of.
	rebuildEvents = 200_000
	// sideBySide is how many conversations are had at a time in those logs.
	sideBySide   = 50
	rebuildTurns = 3
)

// A spokenLog is a log of conversations, and an endpoint that has been sent all
// of it without histories.
type spokenLog struct {
	folder   string
	endpoint string
	events   int
}

// speakLog writes a log of so many events, in conversations of so many each, of
// which some are had at a time. The same arguments make the same log.
func speakLog(b *testing.B, events, each int) spokenLog {
	b.Helper()
	l := spokenLog{folder: b.TempDir(), endpoint: drawnID(0, 0).String()}
	store, err := sqlite.Open(b.Context(), l.folder, sqlite.Options{})
	if err != nil {
		b.Fatal(err)
	}
	n, err := store.Import(b.Context(), func(yield func(eventstore.Recorded, error) bool) {
		codec := eventstore.Catalogue()
		draw := rand.New(rand.NewPCG(1, uint64(each)))
		position := int64(0)
		put := func(stream string, version int, e domain.Event) bool {
			position++
			name, schema, data, err := codec.Encode(e)
			return yield(eventstore.Recorded{
				Position: position, Stream: stream, Version: int64(version), ID: drawnID(uint32(position), 1), Type: name, Schema: schema,
				Time: time.UnixMicro(1_700_000_000_000_000 + position*1_000_003).UTC(), Account: "default", Data: data,
				Metadata: []byte(`{"actor":"key:0123456789ab","correlation":"0192f7a8c1d24e5f8a9b0c1d2e3f4a5b"}`),
			}, err)
		}
		if !put(eventstore.StreamName("endpoint", l.endpoint), 1, endpoint.Registered{
			Account: domain.Account{ID: "default"},
			Settings: endpoint.Settings{
				URL: "https://example.com/hooks", Dialect: "verbatim@1", Events: []string{"conversation.*"}, History: "none",
			},
		}) {
			return
		}
		var open []*speaking
		for begun := 0; int(position) < events || len(open) > 0; {
			if len(open) < sideBySide && int(position)+each*len(open) < events {
				begun++
				open = append(open, newSpeaking(uint32(begun), each))
			}
			i := draw.IntN(len(open))
			s := open[i]
			e := s.next(draw)
			if !put(s.stream, s.version, e) {
				return
			}
			if s.version == each {
				open[i] = open[len(open)-1]
				open = open[:len(open)-1]
			}
		}
	})
	if err != nil {
		b.Fatal(err)
	}
	l.events = int(n)
	if err := store.Close(); err != nil {
		b.Fatal(err)
	}
	return l
}

// speaking is a conversation that is being had.
type speaking struct {
	stream        string
	customer      domain.Person
	agent         domain.Person
	version, ends int
	number        uint32
}

func newSpeaking(number uint32, ends int) *speaking {
	return &speaking{
		stream: eventstore.StreamName("conversation", drawnID(number, 2).String()), ends: ends, number: number,
		customer: domain.Person{
			ID: drawnID(number, 3).String(), Role: domain.Customer, Number: int64(number), Name: "Jon Snow", FirstName: "Jon", LastName: "Snow",
			Email: fmt.Sprintf("jon.snow.%d@winterfell.com", number), Phone: "+48123456789",
		},
		agent: domain.Person{
			ID: drawnID(number%20, 4).String(), Role: domain.Agent, Name: "Bob Holmes", FirstName: "Bob", LastName: "Holmes",
			Email: "bob.holmes@closer.app",
		},
	}
}

// next returns what happens next: a beginning, an assignment, messages as long as
// people's are, somebody who reads now and then, and an end.
func (s *speaking) next(draw *rand.Rand) domain.Event {
	const words = "Hello, I have a question about my last order: it has not arrived yet. Can you help me? " +
		"It was to be here on Tuesday, said the mail that you sent; since then nobody has told me anything. Thank you very much!"
	s.version++
	switch {
	case s.version == 1:
		return conversation.Created{
			Account: domain.Account{ID: "default", Number: 1, Name: "Default"},
			Inbox:   domain.Inbox{ID: "default", Number: 1, Name: "Website"}, Channel: "web", Customer: s.customer,
			Attributes: domain.Attributes{
				{Key: "current_page", Value: []byte(`"https://yourbusiness.com/"`)}, {Key: "browser_name", Value: []byte(`"Firefox"`)},
			},
		}
	case s.version == s.ends:
		return conversation.Closed{From: conversation.Open, ClosedType: conversation.DefaultClosedType, By: &s.agent}
	case s.version == 2:
		return conversation.Assigned{Agent: s.agent}
	case s.version%10 == 0:
		return conversation.Read{By: s.agent, UpTo: int64(s.version - 1)}
	}
	author := s.customer
	if draw.IntN(2) == 0 {
		author = s.agent
	}
	return conversation.MessagePosted{
		MessageID: drawnID(s.number, uint32(1000+s.version)).String(), Author: author, Text: words[:10+draw.IntN(len(words)-10)], ContentType: "text",
	}
}

// drawnID is a UUIDv7 made of two numbers.
func drawnID(a, b uint32) uuid.UUID {
	id := uuid.UUID{6: 0x70, 8: 0x80}
	endian.BigEndian.PutUint32(id[:], a)
	endian.BigEndian.PutUint32(id[12:], b)
	return id
}

// selectBare reads every row of the log as bare as database/sql can, and returns
// how long it took.
func (l spokenLog) selectBare(b *testing.B) pass {
	b.Helper()
	db, err := sql.Open("sqlite3", "file:"+filepath.Join(l.folder, "verbatim.db")+"?_query_only=1&_journal_mode=WAL")
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	start, used := time.Now(), cpuTime(b)
	bareSelect(b, db, l.events)
	return pass{took: time.Since(start), cpu: cpuTime(b) - used}
}

// A pass is what one run of the program took.
type pass struct {
	took, cpu time.Duration
	memory    int64 // bytes at the most
}

// rebuild runs the program to the end, whose output goes to out.
func (l spokenLog) rebuild(b *testing.B, out *os.File, args ...string) pass {
	b.Helper()
	cmd := exec.Command(binary(b), append([]string{"rebuild", "-database", "sqlite:" + l.folder}, args...)...)
	var errs strings.Builder
	cmd.Stdout, cmd.Stderr, cmd.Env = out, &errs, []string{"HOME=" + b.TempDir()}
	start := time.Now()
	if err := cmd.Run(); err != nil {
		b.Fatal(err, errs.String())
	}
	used := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	return pass{time.Since(start), cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), used.Maxrss << 10}
}

// best keeps the least time of two passes, and the most memory.
func (p *pass) best(q pass) {
	if p.took == 0 {
		*p = q
	}
	p.took, p.cpu, p.memory = min(p.took, q.took), min(p.cpu, q.cpu), max(p.memory, q.memory)
}

// output counts what the program writes, and keeps the beginning of it in a file.
func (l spokenLog) output(b *testing.B, args ...string) (size int64, piece string) {
	b.Helper()
	read, write, err := os.Pipe()
	if err != nil {
		b.Fatal(err)
	}
	defer read.Close()
	piece = filepath.Join(b.TempDir(), "piece")
	f, err := os.Create(piece)
	if err != nil {
		b.Fatal(err)
	}
	counted := make(chan int64, 1)
	go func() {
		n, _ := io.Copy(f, io.LimitReader(read, copiedPiece))
		more, _ := io.Copy(struct{ io.Writer }{io.Discard}, read)
		counted <- n + more
	}()
	l.rebuild(b, write, args...)
	if err := write.Close(); err != nil {
		b.Fatal(err)
	}
	size = <-counted
	if err := f.Close(); err != nil {
		b.Fatal(err)
	}
	return size, piece
}

// copiedPiece bounds the file that a plain copy reads, so that it stays in
// memory; it is read as often as there are bytes to be copied.
const copiedPiece = 256 << 20

// copyPlain copies so many bytes from a file that is in memory to where the
// program wrote them, through a buffer.
func copyPlain(b *testing.B, out *os.File, piece string, size int64) time.Duration {
	b.Helper()
	f, err := os.Open(piece)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	buffer := make([]byte, 256<<10)
	start := time.Now()
	for left := size; left > 0; {
		n, err := io.CopyBuffer(struct{ io.Writer }{out}, io.LimitReader(f, left), buffer)
		if err != nil {
			b.Fatal(err)
		}
		left -= n
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			b.Fatal(err)
		}
	}
	return time.Since(start)
}

// BenchmarkRebuild renders a log into every kind of dialect.
func BenchmarkRebuild(b *testing.B) {
	events := int(number("REBUILD_EVENTS", rebuildEvents))
	for _, each := range []int{1000, 10} {
		b.Run(fmt.Sprintf("each=%d", each), func(b *testing.B) {
			l := speakLog(b, events, each)
			for _, dialect := range []struct {
				name string
				args []string
				full bool
			}{
				{"verbatim@1, no history", []string{"--endpoint", l.endpoint}, false},
				{"chatwoot@1", []string{"--dialect", "chatwoot@1"}, false},
				{"clarityflow@1", []string{"--dialect", "clarityflow@1"}, false},
				{"verbatim@1, full history", []string{"--dialect", "verbatim@1"}, true},
				{"talkus@1, full history", []string{"--dialect", "talkus@1"}, true},
				{"closer@1, a history at the end", []string{"--dialect", "closer@1"}, true},
			} {
				b.Run(dialect.name, func(b *testing.B) { l.benchmark(b, each, dialect.name, dialect.full, dialect.args...) })
			}
		})
	}
}

func (l spokenLog) benchmark(b *testing.B, each int, name string, full bool, args ...string) {
	b.Helper()
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer null.Close()
	size, piece := l.output(b, args...)
	var bare, copied, one, two pass
	for range rebuildTurns {
		bare.best(l.selectBare(b))
		one.best(l.rebuild(b, null, append(args, "--workers", "1")...))
		two.best(l.rebuild(b, null, append(args, "--workers", "2")...))
		copied.best(pass{took: copyPlain(b, null, piece, size)})
	}
	n := float64(l.events)
	rate := func(p pass) float64 { return n / p.took.Seconds() }
	wanted := "≥ 40 % of the scan"
	if full {
		wanted = "≥ 50 % of the copy"
	}
	b.ReportMetric(rate(two), "events/s")
	b.ReportMetric(rate(two)/rate(bare), "×bare")
	b.ReportMetric(rate(two)/rate(copied), "×copy")
	b.ReportMetric(rate(two)/rate(one), "×one")
	found(fmt.Sprintf("%s: %d events, conversations of %d, %.2f GB", name, l.events, each, float64(size)/1e9),
		wanted+", < 256 MB, two workers ≥ 1.6 × one",
		"%.0f/s, %.0f %% of the bare scan (%.0f/s), %.0f %% of the copy (%.1f of %.1f GB/s); %d MB; × %.2f (%.0f/s by one); CPU of an event %.1f µs, %.1f µs by one, %.1f µs of the scan",
		rate(two), 100*rate(two)/rate(bare), rate(bare),
		100*rate(two)/rate(copied), float64(size)/1e9/two.took.Seconds(), float64(size)/1e9/copied.took.Seconds(),
		max(one.memory, two.memory)>>20, rate(two)/rate(one), rate(one), two.cpu.Seconds()*1e6/n, one.cpu.Seconds()*1e6/n, bare.cpu.Seconds()*1e6/n)
}
