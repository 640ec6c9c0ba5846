package httpapi

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/validation"

	"verbatim/domain"
	"verbatim/domain/contact"
	"verbatim/domain/conversation"
	"verbatim/domain/endpoint"
	"verbatim/eventstore"
)

// Limits on a problem document: enough to mend a request by, not a mirror of it.
const (
	maxProblemErrors = 10
	maxLocation      = 200
)

// A Problem is why a request was not done (RFC 9457). Code is stable; Detail
// says what would have worked.
type Problem struct { //nolint:errname // it is what RFC 9457 calls it
	Type           string         `json:"type" doc:"Always about:blank; the code says what it is." example:"about:blank"`
	Title          string         `json:"title" doc:"The status in words." example:"Conflict"`
	Status         int            `json:"status" doc:"The HTTP status." example:"409"`
	Detail         string         `json:"detail" doc:"What would have worked."`
	Code           string         `json:"code" doc:"Stable name of the fault." example:"conversation.already_closed"`
	Errors         []ProblemError `json:"errors,omitempty" doc:"Which parts of the request are at fault."`
	CurrentVersion *int64         `json:"current_version,omitempty" doc:"Where the stream is, if If-Match said otherwise."`
	RequestID      string         `json:"request_id,omitempty" doc:"Under which the server's log knows the request."`

	headers http.Header
}

// A ProblemError points at one part of the request.
type ProblemError struct {
	Location string `json:"location" doc:"Path to the part." example:"body.author.id"`
	Message  string `json:"message" doc:"The rule it breaks."`
}

// Error returns code and detail.
func (p *Problem) Error() string { return p.Code + ": " + p.Detail }

// GetStatus returns the HTTP status.
func (p *Problem) GetStatus() int { return p.Status }

// GetHeaders returns the headers that go with the problem.
func (p *Problem) GetHeaders() http.Header { return p.headers }

// ContentType makes it application/problem+json.
func (*Problem) ContentType(string) string { return problemMedia }

func newProblem(status int, code, detail string) *Problem {
	return &Problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Code: code, Detail: detail}
}

func (p *Problem) header(name, value string) {
	if p.headers == nil {
		p.headers = http.Header{}
	}
	p.headers.Set(name, value)
}

func noSuchRoute() *Problem {
	return newProblem(http.StatusNotFound, "no_such_route", "there is no such path; /docs lists those there are")
}

var errBadCursor = errors.New("the cursor is not one of this list")

// problemOf is the one place where errors become statuses and codes. The second
// result says that the error is nobody's fault but ours, and worth a log entry.
func problemOf(err error, c *call) (p *Problem, internal bool) {
	if p, ok := errors.AsType[*Problem](err); ok {
		return p, false
	}
	if refusal, ok := errors.AsType[domain.Refusal](err); ok {
		return refused(refusal), false
	}
	if field, ok := errors.AsType[*domain.FieldError](err); ok {
		place := "body."
		if !isWrite(c.method) || c.method == http.MethodDelete {
			place = "query."
		}
		p := newProblem(http.StatusUnprocessableEntity, codeInvalidField, field.Error())
		p.Errors = []ProblemError{{place + field.Field, field.Rule}}
		return p, false
	}
	if version, ok := errors.AsType[*eventstore.VersionError](err); ok {
		p := newProblem(http.StatusPreconditionFailed, "version_mismatch",
			"the version is "+strconv.FormatInt(version.Actual, 10)+"; read what has changed and send If-Match with it")
		p.CurrentVersion = &version.Actual
		p.header("ETag", etag(version.Actual))
		return p, false
	}
	switch {
	case errors.Is(err, eventstore.ErrKeyReused):
		return newProblem(http.StatusUnprocessableEntity, "idempotency_key_reused",
			"this key was used for another request; a new request takes a new key"), false
	case errors.Is(err, eventstore.ErrForeign):
		return refused(conversation.NotCreated), false
	case errors.Is(err, eventstore.ErrTooLarge):
		return newProblem(http.StatusRequestEntityTooLarge, "body_too_large",
			"what follows from the request is larger than an event may be"), false
	case errors.Is(err, eventstore.ErrConflict):
		return later(http.StatusConflict, "conflict", "others were faster each time; send the request again"), false
	case errors.Is(err, eventstore.ErrBusy):
		return later(http.StatusServiceUnavailable, "busy", "the log takes no more just now; send the request again"), false
	case errors.Is(err, eventstore.ErrUnwritable):
		p := later(http.StatusServiceUnavailable, "not_writable",
			"the disk is full, fails or cannot be written to; reading goes on; send the request again when there is room")
		p.header("Retry-After", "10") // room is made by people or by cron
		return p, true
	case errors.Is(err, eventstore.ErrClosed):
		return later(http.StatusServiceUnavailable, "closing", "the server is stopping; send the request again"), false
	case errors.Is(err, errNotProjected):
		return later(http.StatusServiceUnavailable, "not_ready", "the read models are behind; send the request again"), false
	case errors.Is(err, errBadCursor):
		return newProblem(http.StatusBadRequest, "bad_cursor", "take the cursor from page.next of the same list, as it is"), false
	case errors.Is(err, context.Canceled):
		return later(http.StatusServiceUnavailable, "canceled", "the request was given up"), false
	default:
		return newProblem(http.StatusInternalServerError, codeInternal,
			"something is wrong on our side; the log has more under the request_id"), true
	}
}

const (
	problemMedia     = "application/problem+json"
	codeInvalidField = "invalid_field"
	codeUnknownField = "unknown_field"
	codeInternal     = "internal"
)

func later(status int, code, detail string) *Problem {
	p := newProblem(status, code, detail)
	p.header("Retry-After", "1")
	return p
}

// refused returns a rule's no. Its status follows from what kind of a no it is.
func refused(r domain.Refusal) *Problem {
	status := http.StatusConflict
	switch {
	case strings.HasSuffix(string(r), "not_found"):
		status = http.StatusNotFound
	case r == contact.AlreadyErased:
		status = http.StatusGone
	case r == conversation.OnlyAgents || r == conversation.NotYourMessage:
		status = http.StatusForbidden
	}
	return newProblem(status, string(r), advice(r))
}

// advice says what would have worked.
func advice(r domain.Refusal) string {
	switch r {
	case conversation.NotCreated:
		return "there is no such conversation in this account"
	case conversation.AlreadyCreated:
		return "there is a conversation with this id"
	case conversation.AlreadyClosed:
		return "the conversation is closed; an agent can reopen it with POST …/reopen"
	case conversation.NotClosed:
		return "the conversation is not closed; only a closed one can be reopened"
	case conversation.StatusUnchanged:
		return "the conversation has this status; send another one"
	case conversation.TooManyAgents:
		return "no more than " + strconv.Itoa(conversation.MaxAgents) + " agents and bots can take part"
	case conversation.TooManyCustomers:
		return "no more than " + strconv.Itoa(conversation.MaxCustomers) + " further customers can take part"
	case conversation.MessageUnknown:
		return "there is no such message in this conversation"
	case conversation.MessageIsDeleted:
		return "the message was deleted; what is deleted stays so"
	case conversation.NotYourMessage:
		return "only its author or an agent may change a message; say who asks in by"
	case conversation.NothingToPlay:
		return "only audio or video that a person posted can be played; say what a file is in its file_type or content_type"
	case conversation.OnlyAgents:
		return "only an agent may do this; say who asks in by, with the role agent"
	case conversation.ReadAhead:
		return "up_to must not be above the version of the conversation"
	case contact.NotCreated:
		return "there is no such contact in this account"
	case contact.AlreadyCreated:
		return "there is a contact with this id"
	case contact.AlreadyErased:
		return "the contact was erased, and learns nothing more; new conversations of the person are welcome"
	case endpoint.NotRegistered:
		return "there is no such endpoint in this account"
	case endpoint.AlreadyRegistered:
		return "there is an endpoint with this id"
	case feedCursorUnknown:
		return "the endpoint's feed has no cursor of this name; GET …/feed/cursors lists them"
	case endpoint.AlreadyEnabled:
		return "the endpoint is enabled, so that it begins nowhere else; POST …/replays sends the past"
	case deliveryUnknown:
		return "there is no such delivery in this account, or it is no longer kept"
	case jobUnknown:
		return "there is no such job in this account, or it is no longer kept; GET /v1/jobs lists them"
	case erasureUnknown:
		return "there is no such erasure in this account"
	case replayUnknown:
		return "there is no such replay in this account"
	default:
		return "the rules say no: " + string(r)
	}
}

// problem returns err as the answer to the request, and logs it if it is ours.
func (s *Server) problem(ctx context.Context, err error) *Problem {
	c := callOf(ctx)
	p, internal := problemOf(err, c)
	switch {
	case !internal:
	case ctx.Err() != nil:
		// The client is gone, and with it what was under way for it.
		p, _ = problemOf(context.Canceled, c)
	default:
		s.logInternal(ctx, err)
	}
	p.RequestID = c.requestID
	return p
}

func (s *Server) logInternal(ctx context.Context, err error) {
	c := callOf(ctx)
	s.cfg.Logger.ErrorContext(ctx, "a request failed",
		"request_id", c.requestID, "method", c.method, "path", c.path, "error", err)
}

// writeProblem answers a request that did not reach its handler.
func (s *Server) writeProblem(w http.ResponseWriter, r *http.Request, err error) {
	p := s.problem(r.Context(), err)
	maps.Copy(w.Header(), p.headers)
	w.Header().Set("Content-Type", p.ContentType(""))
	w.WriteHeader(p.Status)
	_ = jsonFormat().Marshal(w, p) // the client may be gone
}

// humaProblem is how huma says what is wrong with parameters and bodies.
func humaProblem(ctx huma.Context, status int, msg string, errs ...error) huma.StatusError {
	p := newProblem(status, codeInvalidField, msg)
	if ctx != nil {
		p.RequestID = callOf(ctx.Context()).requestID
	}
	switch status {
	case http.StatusUnprocessableEntity:
		p.pointTo(errs)
	case http.StatusBadRequest:
		// What is not JSON was refused before; what is left is a body that is missing.
		p.Code, p.Detail = "malformed_json", "the body must be a JSON object"
	case http.StatusRequestEntityTooLarge:
		p.Code = "body_too_large"
	default:
		p.Status, p.Title = http.StatusInternalServerError, http.StatusText(http.StatusInternalServerError)
		p.Code, p.Detail = codeInternal, "something is wrong on our side"
	}
	return p
}

// pointTo lists the parts of the request that are at fault. Values are not
// repeated: they may be large, or secret.
func (p *Problem) pointTo(errs []error) {
	required, _, _ := strings.Cut(validation.MsgExpectedRequiredProperty, "%s")
	for _, err := range errs {
		detail, ok := errors.AsType[*huma.ErrorDetail](err)
		if !ok {
			continue
		}
		e := ProblemError{detail.Location, detail.Message}
		if name, missing := strings.CutPrefix(e.Message, required); missing {
			name, _, _ = strings.Cut(name, " ")
			e = ProblemError{e.Location + "." + name, "is required"}
		}
		if e.Message == validation.MsgUnexpectedProperty {
			p.Code, e.Message = codeUnknownField, "there is no such field"
			if strings.HasPrefix(e.Location, "body.filters.") {
				e.Message = "there is no such filter; those there are: " + filterNames
			}
		}
		p.pointAt(e.Location, e.Message)
	}
}

// pointAt lists a part of the request that is at fault, unless there are enough
// of them. The first one is the detail.
func (p *Problem) pointAt(location, message string) {
	if len(p.Errors) == maxProblemErrors {
		return
	}
	if len(location) > maxLocation {
		location = strings.ToValidUTF8(location[:maxLocation], "") + "…"
	}
	p.Errors = append(p.Errors, ProblemError{location, message})
	if len(p.Errors) == 1 {
		p.Detail = location + ": " + message
	}
}
