package httpapi

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"iter"
	"log/slog"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"verbatim/domain"
	"verbatim/domain/conversation"
	"verbatim/eventstore"
)

func FuzzCursor(f *testing.F) {
	f.Add("")
	f.Add("e30")
	f.Add(cursor{List: listMessages, Version: 7, Back: true}.String())
	f.Add(cursor{List: listDeliveries, Position: 1 << 60, Name: "a\x00b"}.String())
	f.Fuzz(func(t *testing.T, s string) {
		for _, of := range []string{listConversations, listMessages, listDeliveries} {
			c, err := parseCursor(of, s)
			if err != nil {
				continue
			}
			if c.List != of || c.Position < 0 || c.Version < 0 {
				t.Errorf("%q gives %+v for %s", s, c, of)
			}
			if again, err := parseCursor(of, c.String()); err != nil || again != c {
				t.Errorf("%q gives %+v, and that gives %+v, %v", s, c, again, err)
			}
		}
	})
}

// Every rule that may say no has a word on what would have worked.
func TestAdviceOnEveryRefusal(t *testing.T) {
	t.Parallel()
	n := 0
	domains := filepath.Join("..", "..", "domain")
	for _, folder := range []string{filepath.Join(domains, "conversation"), filepath.Join(domains, "contact"), filepath.Join(domains, "endpoint"), "."} {
		files, err := filepath.Glob(filepath.Join(folder, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range files {
			file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(file, func(node ast.Node) bool {
				spec, ok := node.(*ast.ValueSpec)
				if !ok || len(spec.Values) != 1 {
					return true
				}
				if typ, ok := spec.Type.(*ast.SelectorExpr); !ok || typ.Sel.Name != "Refusal" {
					return true
				}
				literal, ok := spec.Values[0].(*ast.BasicLit)
				if !ok {
					return true
				}
				code, err := strconv.Unquote(literal.Value)
				if err != nil {
					t.Fatal(err)
				}
				n++
				if strings.HasPrefix(advice(domain.Refusal(code)), "the rules say no") {
					t.Errorf("no advice on %s", code)
				}
				return true
			})
		}
	}
	if n < 15 {
		t.Errorf("found only %d refusals", n)
	}
}

func TestProblemOf(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		err    error
		status int
		code   string
		again  bool // Retry-After
	}{
		{conversation.AlreadyClosed, 409, "conversation.already_closed", false},
		{fmt.Errorf("wrapped: %w", conversation.OnlyAgents), 403, "conversation.only_agents", false},
		{domain.Refusal("some.rule"), 409, "some.rule", false},
		{&domain.FieldError{Field: "a.b", Rule: "must be c"}, 422, "invalid_field", false},
		{&eventstore.VersionError{Wanted: 1, Actual: 2}, 412, "version_mismatch", false},
		{eventstore.ErrKeyReused, 422, "idempotency_key_reused", false},
		{eventstore.ErrForeign, 404, "conversation.not_found", false},
		{eventstore.ErrTooLarge, 413, "body_too_large", false},
		{&eventstore.ConflictError{}, 409, "conflict", true},
		{eventstore.ErrBusy, 503, "busy", true},
		{fmt.Errorf("%w: the disk is full", eventstore.ErrUnwritable), 503, "not_writable", true},
		{eventstore.ErrClosed, 503, "closing", true},
		{errNotProjected, 503, "not_ready", true},
		{errBadCursor, 400, "bad_cursor", false},
		{context.Canceled, 503, "canceled", true},
		{errors.New("the disk is on fire"), 500, "internal", false},
	} {
		p, internal := problemOf(tt.err, &call{method: "POST"})
		if p.Status != tt.status || p.Code != tt.code || p.Detail == "" || p.headers.Get("Retry-After") != "" != tt.again {
			t.Errorf("%v: %d %s %v", tt.err, p.Status, p.Code, p.headers)
		}
		if internal != (tt.status == 500 || tt.code == "not_writable") {
			t.Errorf("%v: internal is %v", tt.err, internal)
		}
	}
}

// What the description says of a limit is what the rules keep to.
func TestLimitsOfTheDescription(t *testing.T) {
	t.Parallel()
	s := &Server{}
	s.routes()
	schemas := s.api.OpenAPI().Components.Schemas.Map()
	if got := *schemas["SetTypingInputBody"].Properties["ttl"].Maximum; got != conversation.MaxTypingTTL.Seconds() {
		t.Errorf("ttl is at most %v, but the rules say %v", got, conversation.MaxTypingTTL)
	}
	// The largest text, every character of it escaped twice, and some more.
	if most := conversation.MaxTextLength * len(`\ud83d\ude00`); most+(128<<10) > MaxBody {
		t.Errorf("a body of %d bytes is too small for a text of %d", MaxBody, most)
	}
}

// logOf is a log of n events, each with that much data.
type logOf struct {
	eventstore.Store

	n    int64
	data []byte
}

func (l *logOf) Head(context.Context) (int64, error) { return 0, nil }

func (l *logOf) ReadLog(_ context.Context, after int64) iter.Seq2[eventstore.Recorded, error] {
	return func(yield func(eventstore.Recorded, error) bool) {
		for p := after + 1; p <= l.n; p++ {
			if !yield(eventstore.Recorded{Position: p, Data: l.data}, nil) {
				return
			}
		}
	}
}

// What was erased in the log is not in memory either.
func TestTailForgetsWhatWasErased(t *testing.T) {
	t.Parallel()
	tail := newTail(&logOf{}, &eventstore.Bell{}, slog.New(slog.DiscardHandler))
	tail.begun, tail.ready = true, true // without its goroutine
	for p, name := range []string{"contact.created", "conversation.created", "contact.erased", "conversation.created"} {
		tail.add(eventstore.Recorded{Position: int64(p) + 1, Type: name})
	}
	if _, _, ok := tail.after(1, 10); ok {
		t.Error("it still has what was before")
	}
	if page, _, ok := tail.after(2, 10); !ok || len(page) != 2 || page[0].Position != 3 {
		t.Error(page, ok)
	}
}

// A tail keeps to its limits, and says what it no longer has.
func TestTailIsBounded(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		n, size, kept int64
	}{
		{n: 10, size: 10, kept: 10},
		{n: 3 * tailEvents, size: 1, kept: tailEvents},
		{n: 40, size: 1 << 20, kept: tailBytes >> 20},
		{n: 1, size: tailBytes + 1, kept: 0},
	} {
		t.Run(fmt.Sprintf("%d events of %d bytes", tt.n, tt.size), func(t *testing.T) {
			t.Parallel()
			tail := newTail(&logOf{n: tt.n, data: make([]byte, tt.size)}, &eventstore.Bell{}, slog.New(slog.DiscardHandler))
			defer tail.stop()
			for {
				// The channel first: what comes after it is not missed.
				_, moved, _ := tail.after(1<<60, 1)
				tail.mu.Lock()
				reached := tail.from + int64(len(tail.events))
				tail.mu.Unlock()
				if reached == tt.n {
					break
				}
				<-moved
			}
			if got := int64(len(tail.events)); got != tt.kept {
				t.Errorf("%d events kept, want %d", got, tt.kept)
			}
			position := tt.n - tt.kept
			if _, _, ok := tail.after(position-1, 1); ok && position > 0 {
				t.Error("it does not say that it no longer has an event")
			}
			for position < tt.n {
				page, _, ok := tail.after(position, 100)
				if !ok || len(page) == 0 || len(page) > 100 {
					t.Fatalf("%d events after %d", len(page), position)
				}
				for _, r := range page {
					if position++; r.Position != position {
						t.Fatalf("event %d, want %d", r.Position, position)
					}
				}
			}
		})
	}
}
