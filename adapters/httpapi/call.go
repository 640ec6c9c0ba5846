package httpapi

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net"
	"net/http"
	"path"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"verbatim/domain"
	"verbatim/eventstore"
)

const (
	// MaxBody is how many bytes a request's body may have. The largest text
	// (conversation.MaxTextLength) takes 1.8 MB when every character of it is
	// written as two \uXXXX; attachments and attributes have what is left.
	MaxBody = 2 << 20
	// bodyTimeout is how long a body may take to arrive: MaxBody over a bad
	// mobile line, but not a drop a second for ever.
	bodyTimeout = 30 * time.Second

	headerRequestID = "X-Request-Id"
	maxRequestID    = 128 // characters; a UUID or a span with a prefix
)

// A call is what is known of a request before its handler runs.
type call struct {
	requestID string
	method    string
	path      string
	account   string        // on whose behalf
	keyID     string        // with which key; "" for the operator's
	agent     domain.Person // who acts where a command needs somebody and names nobody
	meta      eventstore.Metadata
	stream    bool // an event stream is asked for
	began     time.Time
	route     string // pattern of the operation, "" if there is none

	fingerprint [sha256.Size]byte // of a write: tells it from another
	key         *eventstore.Key   // of a write, if it was given one
	ifVersion   *int64            // If-Match: "N"
	ifExists    bool              // If-Match: *
}

type callKey struct{}

// callOf returns the call that a handler's context belongs to.
func callOf(ctx context.Context) *call {
	c, _ := ctx.Value(callKey{}).(*call)
	if c == nil {
		c = &call{}
	}
	return c
}

// isWrite reports whether the method changes something.
func isWrite(method string) bool {
	switch method {
	case http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete:
		return true
	default:
		return false
	}
}

// requestID returns the id under which the client knows the request, or a new
// one. It goes into logs and events, so that only tame characters pass.
func requestID(r *http.Request) string {
	id := r.Header.Get(headerRequestID)
	tame := id != "" && len(id) <= maxRequestID && strings.IndexFunc(id, func(c rune) bool {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		return !letter && !strings.ContainsRune("-_.:/+=", c)
	}) < 0
	if !tame {
		return newID()
	}
	return id
}

// traceOf returns the W3C traceparent of a request, or "" if it has none or a
// malformed one.
func traceOf(r *http.Request) string {
	if trace := r.Header.Get("Traceparent"); eventstore.ValidTrace(trace) {
		return trace
	}
	return ""
}

// findRoute returns a problem if there is no route for the request. The mux
// would answer in plain text, and send a client whose path is not clean on to
// another one, which drops the body of a write.
func (s *Server) findRoute(r *http.Request, c *call) error {
	if p := r.URL.EscapedPath(); path.Clean(p) != p {
		return noSuchRoute()
	}
	h, pattern := s.mux.Handler(r)
	if pattern != "" {
		c.route = pattern
		return nil
	}
	probe := &discarded{header: http.Header{}}
	h.ServeHTTP(probe, r)
	if probe.status != http.StatusMethodNotAllowed {
		return noSuchRoute()
	}
	allow := probe.header.Get("Allow")
	p := newProblem(http.StatusMethodNotAllowed, "method_not_allowed", "this path takes "+allow)
	p.header("Allow", allow)
	return p
}

// discarded is an answer of which only status and headers are of interest.
type discarded struct {
	header http.Header
	status int
}

func (d *discarded) Header() http.Header { return d.header }

func (d *discarded) Write(b []byte) (int, error) { return len(b), nil }

func (d *discarded) WriteHeader(status int) { d.status = status }

// admit reads what every write has in common, body and conditions, and keeps its
// idempotency key until release is called.
func (s *Server) admit(w http.ResponseWriter, r *http.Request, c *call) (release func(), err error) {
	release = func() {}
	if !isWrite(r.Method) {
		return release, nil
	}
	var body []byte
	if r.Method != http.MethodDelete {
		if body, err = readBody(w, r); err != nil {
			return release, err
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
	}
	c.fingerprint = fingerprint(r, body)
	if err := c.conditions(r); err != nil {
		return release, err
	}
	name, err := idempotencyKey(r)
	if err != nil || name == "" {
		return release, err
	}
	c.key = &eventstore.Key{Name: name, Fingerprint: c.fingerprint}
	c.meta.Command = name
	return s.running.begin(c.account, name)
}

// conditions reads If-Match.
func (c *call) conditions(r *http.Request) error {
	values := r.Header.Values("If-Match")
	if len(values) == 0 {
		return nil
	}
	value := strings.TrimSpace(values[0])
	if len(values) == 1 && value == "*" {
		c.ifExists = true
		return nil
	}
	version, err := strconv.ParseInt(strings.Trim(value, `"`), 10, 64)
	if len(values) > 1 || err != nil || version < 0 || value != etag(version) {
		return newProblem(http.StatusBadRequest, "bad_if_match",
			`If-Match takes the one version that an ETag had, in quotes: "7"; or *`)
	}
	c.ifVersion = &version
	return nil
}

// mustNotMatch returns an error if the call insists on a version of something
// that it is about to make: there is none that could match.
func (c *call) mustNotMatch() error {
	switch {
	case c.ifVersion != nil:
		return &eventstore.VersionError{Wanted: *c.ifVersion, Actual: 0}
	case c.ifExists:
		return &eventstore.VersionError{Wanted: 1, Actual: 0}
	default:
		return nil
	}
}

// etag returns a version as an entity tag.
func etag(version int64) string { return `"` + strconv.FormatInt(version, 10) + `"` }

// readBody returns the body of a write: UTF-8, one JSON value or nothing, and no
// larger than MaxBody.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if err := checkMediaType(r); err != nil {
		return nil, err
	}
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Now().Add(bodyTimeout)) // not supported: then the server's own has to do
	defer func() { _ = control.SetReadDeadline(time.Time{}) }()
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxBody))
	if err != nil {
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return nil, newProblem(http.StatusRequestEntityTooLarge, "body_too_large",
				"a body may have "+strconv.Itoa(MaxBody)+" bytes; put files where attachments can refer to them")
		}
		if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
			return nil, newProblem(http.StatusRequestTimeout, "body_timeout", "the body did not arrive in "+bodyTimeout.String())
		}
		return nil, newProblem(http.StatusBadRequest, "body_unreadable", "the body ended before its announced length")
	}
	if !utf8.Valid(body) {
		return nil, newProblem(http.StatusBadRequest, "invalid_utf8", "the body must be valid UTF-8")
	}
	body = bytes.TrimSpace(body)
	if len(body) > 0 && !json.Valid(body) {
		return nil, newProblem(http.StatusBadRequest, "malformed_json", "the body must be one JSON object, "+whereMalformed(body))
	}
	// One media type from here on: a merge-patch is JSON.
	r.Header.Set("Content-Type", mediaJSON)
	return body, nil
}

// whereMalformed says where body stops being JSON.
func whereMalformed(body []byte) string {
	var v any
	err := json.Unmarshal(body, &v)
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		return "and is none at byte " + strconv.FormatInt(syntax.Offset, 10)
	}
	return "and is none"
}

const (
	mediaJSON  = "application/json"
	mediaPatch = "application/merge-patch+json"
)

// checkMediaType returns a problem if the body is said to be something that is
// not read here. A body that says nothing is taken for JSON.
func checkMediaType(r *http.Request) error {
	want := mediaJSON
	if r.Method == http.MethodPatch {
		want = mediaPatch + " or " + mediaJSON
	}
	refused := newProblem(http.StatusUnsupportedMediaType, "unsupported_media_type", "send the body as "+want+", not encoded")
	if e := r.Header.Get("Content-Encoding"); e != "" && !strings.EqualFold(e, "identity") {
		return refused
	}
	value := r.Header.Get("Content-Type")
	if value == "" || r.ContentLength == 0 {
		return nil
	}
	media, _, err := mime.ParseMediaType(value)
	if err != nil || media != mediaJSON && (media != mediaPatch || r.Method != http.MethodPatch) {
		return refused
	}
	return nil
}
