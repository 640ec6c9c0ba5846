package httpapi

import (
	"context"
	"crypto/sha256"
	"errors"
	"net/http"
	"strconv"
	"sync"

	"verbatim/eventstore"
)

const (
	headerIdempotencyKey = "Idempotency-Key"
	maxIdempotencyKey    = 255
)

// idempotencyKey returns the name that the client gave to a write, or "" if it
// gave none.
func idempotencyKey(r *http.Request) (string, error) {
	values := r.Header.Values(headerIdempotencyKey)
	if len(values) == 0 {
		return "", nil
	}
	name := values[0]
	valid := len(values) == 1 && name != "" && len(name) <= maxIdempotencyKey
	for i := range len(name) {
		valid = valid && name[i] > ' ' && name[i] <= '~'
	}
	if !valid {
		return "", newProblem(http.StatusBadRequest, "bad_idempotency_key",
			headerIdempotencyKey+" takes 1 to "+strconv.Itoa(maxIdempotencyKey)+" visible ASCII characters, once")
	}
	return name, nil
}

// fingerprint tells a write from another one under the same key: by its method,
// its path, its query and the bytes of its body.
func fingerprint(r *http.Request, body []byte) (sum [sha256.Size]byte) {
	h := sha256.New()
	for _, part := range []string{r.Method, "\n", r.URL.EscapedPath(), "\n", r.URL.RawQuery, "\n"} {
		_, _ = h.Write([]byte(part)) // a hash does not fail
	}
	_, _ = h.Write(body)
	h.Sum(sum[:0])
	return sum
}

// running are the idempotency keys of writes under way in this process. Another
// process is told apart by the store, which takes each key once.
type running struct {
	mu   sync.Mutex
	keys map[[2]string]struct{}
}

// begin keeps the key of an account until end is called, or returns a problem if
// a request with it is under way.
func (r *running) begin(account, name string) (end func(), err error) {
	k := [2]string{account, name}
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, busy := r.keys[k]; busy {
		p := newProblem(http.StatusConflict, "idempotency_key_in_use",
			"a request with this key is under way; send it again when that one was answered")
		p.header("Retry-After", "1")
		return func() {}, p
	}
	if r.keys == nil {
		r.keys = make(map[[2]string]struct{})
	}
	r.keys[k] = struct{}{}
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.keys, k)
	}, nil
}

// wasDone reports whether the call bears a key under which something was
// committed before. Executing it then answers from the log and decides nothing,
// so that nothing needs to be prepared.
func (s *Server) wasDone(ctx context.Context, c *call) (bool, error) {
	if c.key == nil {
		return false, nil
	}
	_, err := s.cfg.Log.FindCommand(ctx, c.account, c.key.Name)
	if errors.Is(err, eventstore.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// once does something that is no event, and remembers the call's key behind it.
// again says that the key was remembered from before, and that nothing was done.
// Should the process end in between, a repeated request does it twice: what is
// done here must bear that.
func (s *Server) once(ctx context.Context, do func() error) (again bool, err error) {
	c := callOf(ctx)
	if c.key == nil {
		return false, do()
	}
	known, err := s.cfg.Log.FindCommand(ctx, c.account, c.key.Name)
	switch {
	case err == nil && known.Key.Fingerprint != c.key.Fingerprint:
		return false, eventstore.ErrKeyReused
	case err == nil:
		return true, nil
	case !errors.Is(err, eventstore.ErrNotFound):
		return false, err
	}
	if err := do(); err != nil {
		return false, err
	}
	_, err = s.cfg.Log.Append(ctx, eventstore.Commit{Account: c.account, Metadata: c.meta, Key: c.key})
	if errors.Is(err, eventstore.ErrKeyUsed) {
		err = nil // by another process, a moment ago
	}
	return false, err
}
