package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync"

	"github.com/danielgtaylor/huma/v2"

	"verbatim/domain"
	"verbatim/domain/conversation"
)

// apiVersion is the version of the paths under /v1, not of the program: the
// description changes when the API does.
const apiVersion = "1.0"

// Tags group operations.
const (
	tagConversations = "Conversations"
	tagMessages      = "Messages"
	tagContacts      = "Contacts"
	tagEvents        = "Events"
	tagEndpoints     = "Endpoints"
	tagDeliveries    = "Deliveries"
	tagDialects      = "Dialects"
	tagOperation     = "Operation"
)

// OpenAPI returns the description of every route, the same bytes each time. It
// is what /openapi.json serves.
func OpenAPI() ([]byte, error) {
	s := &Server{}
	s.routes()
	return encodeOpenAPI(s.api)
}

func encodeOpenAPI(api huma.API) ([]byte, error) {
	b, err := json.MarshalIndent(api.OpenAPI(), "", "\t")
	if err != nil {
		return nil, fmt.Errorf("encode openapi: %w", err)
	}
	return append(b, '\n'), nil
}

// setUpHuma sets what huma keeps in variables of its own, once: what its errors
// are, that lists are lists and never null, and that "Text" is not "text".
//
//nolint:gochecknoglobals // the variables are huma's; they must be set once in a process
var setUpHuma = sync.OnceFunc(func() {
	huma.NewError = func(status int, msg string, errs ...error) huma.StatusError {
		return humaProblem(nil, status, msg, errs...)
	}
	huma.NewErrorWithContext = humaProblem
	huma.DefaultArrayNullable = false
	huma.ValidateStrictCasing = true
})

// newHumaConfig returns a configuration without the routes and the "$schema"
// members that huma adds by default.
func newHumaConfig() huma.Config {
	setUpHuma()
	registry := huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer)
	for t, as := range map[reflect.Type]reflect.Type{
		reflect.TypeFor[domain.Attributes]():         reflect.TypeFor[openObject](),
		reflect.TypeFor[domain.Role]():               reflect.TypeFor[roleSchema](),
		reflect.TypeFor[conversation.Status]():       reflect.TypeFor[statusSchema](),
		reflect.TypeFor[conversation.Priority]():     reflect.TypeFor[prioritySchema](),
		reflect.TypeFor[conversation.ActivityKind](): reflect.TypeFor[activityKindSchema](),
	} {
		registry.RegisterTypeAlias(t, as)
	}
	return huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0",
			Info: &huma.Info{
				Title:   "Verbatim",
				Version: apiVersion,
				Description: "An event-sourced conversation platform. Every write takes an `Idempotency-Key` and honours " +
					"`If-Match`; every answer of one has the stream's version as `ETag`. Faults are `application/problem+json` " +
					"with a stable `code`. What is not described here, a member of a body or a parameter of a query, is refused as " +
					"`unknown_field`.",
			},
			Tags: []*huma.Tag{
				{Name: tagConversations, Description: "What stands between a customer and those who answer."},
				{Name: tagMessages, Description: "What people write in a conversation, and whether they are writing."},
				{Name: tagContacts, Description: "Who an account knows, apart from any conversation."},
				{Name: tagEvents, Description: "What happened, as it was recorded: as pages, or as a stream of server-sent events."},
				{Name: tagEndpoints, Description: "Where webhooks are sent, in which format."},
				{Name: tagDeliveries, Description: "What was sent, what came of it, and the exact bytes."},
				{Name: tagDialects, Description: "The formats of webhooks: their events, described, shown, and rendered from what happened."},
				{Name: tagOperation, Description: "For those who run the program."},
			},
			Components: &huma.Components{
				Schemas:    registry,
				Parameters: commonParameters(),
				Responses:  map[string]*huma.Response{},
				SecuritySchemes: map[string]*huma.SecurityScheme{
					"key": { //nolint:gosec // G101: what a key looks like is no key
						Type: "http", Scheme: "bearer", BearerFormat: "vbt_<id>_<secret>",
						Description: "A key acts for its account. The operator's key acts for the account named in the header " +
							headerAccount + ", or for \"" + defaultAccount + "\".",
					},
				},
			},
		},
		// The second name is how huma looks up what ends in +json.
		Formats:       map[string]huma.Format{mediaJSON: jsonFormat(), "json": jsonFormat()},
		DefaultFormat: mediaJSON,
	}
}

func jsonFormat() huma.Format {
	return huma.Format{
		Marshal: func(w io.Writer, v any) error {
			enc := json.NewEncoder(w)
			enc.SetEscapeHTML(false)
			return enc.Encode(v)
		},
		Unmarshal: unmarshal,
	}
}

// unmarshal is json.Unmarshal with errors that a client understands. Types were
// checked before by the schema; what is left is mostly numbers out of range.
func unmarshal(data []byte, v any) error {
	err := json.Unmarshal(data, v)
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return errors.New(strings.TrimPrefix(wrong.Field+": must not be "+wrong.Value, ": "))
	}
	return err
}

// operation returns what all operations under /v1 have in common.
func operation(method, id, path, tag, summary, description string) huma.Operation {
	op := huma.Operation{
		Method: method, OperationID: id, Path: path, Tags: []string{tag}, Summary: summary, Description: description,
		Security: []map[string][]string{{"key": {}}},
		Errors: []int{
			http.StatusUnauthorized, http.StatusNotFound, http.StatusUnprocessableEntity, http.StatusServiceUnavailable,
		},
		// The body was read before, within its own limits: see readBody.
		MaxBodyBytes:    MaxBody + 1,
		BodyReadTimeout: -1,
	}
	if isWrite(method) {
		op.Errors = append(op.Errors, http.StatusBadRequest, http.StatusConflict, http.StatusPreconditionFailed)
		if method != http.MethodDelete {
			op.Errors = append(op.Errors, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType)
		}
		op.Parameters = append(op.Parameters, commonParameter("IdempotencyKey"), commonParameter("IfMatch"))
	}
	op.Parameters = append(op.Parameters, commonParameter("RequestID"))
	return op
}

// commonParameters are headers that many operations take. They are read before
// an operation's own.
func commonParameters() map[string]*huma.Param {
	text := &huma.Schema{Type: huma.TypeString}
	return map[string]*huma.Param{
		"IdempotencyKey": {
			Name: headerIdempotencyKey, In: "header", Schema: text, Example: "7f9c2ba4-e88f-4a27-95cc",
			Description: "Makes the write safe to repeat: the same key and request get the first answer again, with " +
				"Idempotency-Replayed. It is remembered for a week. 1 to 255 visible ASCII characters.",
		},
		"IfMatch": {
			Name: "If-Match", In: "header", Schema: text, Example: `"7"`,
			Description: "Do it only if the stream is at this version: an ETag, or *.",
		},
		"RequestID": {
			Name: headerRequestID, In: "header", Schema: text,
			Description: "Your name for the request, for logs; made up if absent.",
		},
	}
}

func commonParameter(name string) *huma.Param {
	return &huma.Param{Ref: "#/components/parameters/" + name}
}

// withErrors returns op with more statuses that it may answer.
func withErrors(op huma.Operation, statuses ...int) huma.Operation {
	op.Errors = append(slices.Clone(op.Errors), statuses...)
	return op
}

// withStatus returns op with another status for what was done than 200 or 204.
func withStatus(op huma.Operation, status int) huma.Operation {
	op.DefaultStatus = status
	return op
}

// open returns an operation that anyone may call.
func open(id, path, summary, description string) huma.Operation {
	return huma.Operation{
		Method: http.MethodGet, OperationID: id, Path: path, Tags: []string{tagOperation}, Summary: summary, Description: description,
	}
}

// register adds an operation. What its handler returns as an error becomes a
// problem here.
func register[I, O any](s *Server, op huma.Operation, handle func(context.Context, *I) (*O, error)) {
	huma.Register(s.api, op, func(ctx context.Context, in *I) (*O, error) {
		out, err := handle(ctx, in)
		if err != nil {
			return nil, s.problem(ctx, err)
		}
		return out, nil
	})
}

// completeOpenAPI says what huma cannot know, and what it says once for each
// operation it says once for all.
func completeOpenAPI(doc *huma.OpenAPI) {
	for op := range operations(doc) {
		if op.Method == http.MethodPatch {
			op.RequestBody.Content[mediaPatch] = op.RequestBody.Content[mediaJSON]
		}
		// What is in the path first, what is common to all last.
		slices.SortStableFunc(op.Parameters, func(a, b *huma.Param) int { return place(a) - place(b) })
		for status, r := range op.Responses {
			if _, problem := r.Content[problemMedia]; problem {
				doc.Components.Responses["Problem"+status] = r
				op.Responses[status] = &huma.Response{Ref: "#/components/responses/Problem" + status}
			}
		}
	}
	for name, schema := range doc.Components.Schemas.Map() {
		if strings.HasSuffix(name, "Input") || strings.HasSuffix(name, "Body") || strings.HasSuffix(name, "Patch") {
			continue
		}
		// An answer may get more members; a client must not mind.
		schema.AdditionalProperties = nil
		for _, optional := range []string{"assignee", "team", "last_message"} {
			if p := schema.Properties[optional]; p != nil {
				schema.Properties[optional] = &huma.Schema{
					Description: p.Description, AnyOf: []*huma.Schema{{Ref: p.Ref}, {Type: "null"}},
				}
			}
		}
	}
}

// operations goes through those that the document describes.
func operations(doc *huma.OpenAPI) iter.Seq[*huma.Operation] {
	return func(yield func(*huma.Operation) bool) {
		for _, item := range doc.Paths {
			for _, op := range []*huma.Operation{item.Get, item.Post, item.Put, item.Patch, item.Delete} {
				if op != nil && !yield(op) {
					return
				}
			}
		}
	}
}

func place(p *huma.Param) int {
	switch {
	case p.Ref != "":
		return 2
	case p.In == "path":
		return 0
	default:
		return 1
	}
}

// openObject is the schema of domain.Attributes.
type openObject struct{}

// Schema returns an object that takes any member.
func (openObject) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeObject, AdditionalProperties: true}
}

func enum(values ...any) *huma.Schema { return &huma.Schema{Type: huma.TypeString, Enum: values} }

type roleSchema struct{}

// Schema returns the roles.
func (roleSchema) Schema(huma.Registry) *huma.Schema {
	return enum(string(domain.Customer), string(domain.Agent), string(domain.Bot), string(domain.System))
}

type statusSchema struct{}

// Schema returns the statuses.
func (statusSchema) Schema(huma.Registry) *huma.Schema {
	return enum(string(conversation.Open), string(conversation.Pending), string(conversation.Snoozed),
		string(conversation.Resolved), string(conversation.StatusEnded))
}

type prioritySchema struct{}

// Schema returns the priorities.
func (prioritySchema) Schema(huma.Registry) *huma.Schema {
	return enum(string(conversation.Low), string(conversation.Medium), string(conversation.High), string(conversation.Urgent))
}

type activityKindSchema struct{}

// Schema returns the kinds of activities.
func (activityKindSchema) Schema(huma.Registry) *huma.Schema {
	return enum(string(conversation.AppointmentScheduled), string(conversation.ProductPurchased),
		string(conversation.FormSubmitted), string(conversation.TaskCompleted))
}

// patch is a member of a merge-patch as a client sends it: a T, null to remove
// it, or nothing to leave it.
type patch[T any] struct{ domain.Patch[T] }

// Schema returns that of T, or null.
func (patch[T]) Schema(r huma.Registry) *huma.Schema {
	s := *r.Schema(reflect.TypeFor[T](), false, "")
	s.Nullable = true
	return &s
}

// Written is in every answer to a write.
type Written struct {
	ETag     string `header:"ETag" doc:"Version of the stream after it, in quotes."` //nolint:tagliatelle // its name
	Replayed string `header:"Idempotency-Replayed" doc:"true if this is the first answer again."`
}

func written(version int64, again bool) Written {
	w := Written{ETag: etag(version)}
	if again {
		w.Replayed = "true"
	}
	return w
}

// answer is what a write is answered with.
type answer[B any] struct {
	Written

	Body B
}

// createdAnswer is an answer that says where the new thing is.
type createdAnswer[B any] struct {
	Written

	Location string `header:"Location" doc:"Path of what was made."`
	Body     B
}

// doneAnswer is an answer of which nothing but the version is of interest.
type doneAnswer struct{ Written }

// seen is the answer to a query about a stream.
type seen[B any] struct {
	ETag string `header:"ETag" doc:"Version of the stream, in quotes."` //nolint:tagliatelle // its name
	Body B
}
