package eventstore

import (
	"container/list"
	"context"
	"sync"
)

// lru keeps the last used values by key, at most a given number of them.
type lru[V any] struct {
	most  int
	newer func(a, b V) bool // a must not give way to b

	mu    sync.Mutex
	order *list.List // of lruEntry[V], last used first
	byKey map[string]*list.Element
	voids int64 // how often something was void
}

type lruEntry[V any] struct {
	key   string
	value V
}

func newLRU[V any](most int, newer func(a, b V) bool) *lru[V] {
	return &lru[V]{most: most, newer: newer, order: list.New(), byKey: make(map[string]*list.Element)}
}

func (l *lru[V]) get(key string) (V, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e, ok := l.byKey[key]
	if !ok {
		var zero V
		return zero, false
	}
	l.order.MoveToFront(e)
	return e.Value.(*lruEntry[V]).value, true
}

// put keeps v, unless what is known is newer: whoever has read for longer must
// not take back what others have seen since.
func (l *lru[V]) put(key string, v V) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.keep(key, v)
}

func (l *lru[V]) keep(key string, v V) {
	if e, ok := l.byKey[key]; ok {
		if known := e.Value.(*lruEntry[V]); !l.newer(known.value, v) {
			known.value = v
		}
		l.order.MoveToFront(e)
		return
	}
	l.byKey[key] = l.order.PushFront(&lruEntry[V]{key, v})
	if l.order.Len() > l.most {
		last := l.order.Back()
		l.order.Remove(last)
		delete(l.byKey, last.Value.(*lruEntry[V]).key)
	}
}

// begun returns a mark for putSince, to be taken before anything is read.
func (l *lru[V]) begun() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.voids
}

// putSince is put for what was read since a mark. If anything was void since
// then, this may be too, and is not kept.
func (l *lru[V]) putSince(mark int64, key string, v V) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.voids == mark {
		l.keep(key, v)
	}
}

// void forgets a value, and those that are being read.
func (l *lru[V]) void(key string) {
	l.mu.Lock()
	l.voids++
	l.mu.Unlock()
	l.remove(key)
}

func (l *lru[V]) remove(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e, ok := l.byKey[key]; ok {
		l.order.Remove(e)
		delete(l.byKey, key)
	}
}

// turns lets one command at a time decide on a stream: deciding on a state that
// a neighbour is about to change would only be a conflict.
type turns struct {
	mu      sync.Mutex
	streams map[string]*turn
}

type turn struct {
	slot    chan struct{} // holds one token while nobody has the turn
	waiting int           // who holds it or waits for it
}

// take waits for the turn on a stream and returns the function that gives it on.
func (t *turns) take(ctx context.Context, stream string) (leave func(), err error) {
	t.mu.Lock()
	if t.streams == nil {
		t.streams = make(map[string]*turn)
	}
	s, ok := t.streams[stream]
	if !ok {
		s = &turn{slot: make(chan struct{}, 1)}
		s.slot <- struct{}{}
		t.streams[stream] = s
	}
	s.waiting++
	t.mu.Unlock()

	done := func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if s.waiting--; s.waiting == 0 {
			delete(t.streams, stream)
		}
	}
	select {
	case <-s.slot:
		return func() { s.slot <- struct{}{}; done() }, nil
	case <-ctx.Done():
		done()
		return nil, ctx.Err()
	}
}
