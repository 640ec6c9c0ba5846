package httpapi

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"verbatim/domain"
	"verbatim/domain/endpoint"
	"verbatim/eventstore"
	"verbatim/webhooks"
	"verbatim/webhooks/shape"
)

// Limits on the search for something to preview.
const (
	// previewReach is how many of a conversation's newest events are looked at. A
	// format has a word for nearly every message, so that what lies further back
	// is not what anybody wants to see; whoever does says at_version.
	previewReach = 1000
	// previewPage is how many of them are read at a time: mostly the first has it.
	previewPage = 50
)

func (s *Server) dialectRoutes() {
	const one = "/v1/dialects/{name}"
	register(s, operation(http.MethodGet, "list-dialects", "/v1/dialects", tagDialects,
		"List the formats of webhooks", "Each with its version, and the names of its events."), s.listDialects)
	register(s, operation(http.MethodGet, "get-dialect", one, tagDialects,
		"Read what a format is", "A guide in Markdown, and each event: when it is sent, what is in its body, its JSON Schema, and a sample. "+
			"A name without a version is the newest."), s.getDialect)
	op := withStatus(operation(http.MethodPost, "preview-dialect", one+"/preview", tagDialects,
		"Render a conversation in a format", "The exact bytes that an endpoint would be sent for one event of a conversation. "+
			"Nothing is recorded, and there need not be an endpoint. Without at_version: the newest event for which the format has a word, "+
			"among the last "+strconv.Itoa(previewReach)+"."), http.StatusOK)
	// It is a query: nothing of what makes a write safe is of use to it.
	op.Parameters = []*huma.Param{commonParameter("RequestID")}
	op.Errors = slices.DeleteFunc(op.Errors, func(status int) bool {
		return status == http.StatusConflict || status == http.StatusPreconditionFailed
	})
	op.Responses = contentOf(mediaJSON, bodySchema())
	register(s, op, s.preview)
}

// DialectPath is the format a request is about.
type DialectPath struct {
	Name string `path:"name" doc:"Name of the format, with its version or without: then the newest." example:"verbatim@1"`
}

// dialect returns a format by its name, or a problem that names those there are.
func (s *Server) dialect(name string) (webhooks.Dialect, error) {
	d, err := s.cfg.Dialects.Find(name)
	if err != nil {
		return nil, newProblem(http.StatusNotFound, "dialect.not_found",
			"there is no such format; there are "+strings.Join(s.cfg.Dialects.Names(), ", "))
	}
	return d, nil
}

type dialectRow struct {
	Name   string   `json:"name" example:"verbatim@1"`
	Events []string `json:"events" doc:"Names of its events, in the order in which they are documented."`
}

func (s *Server) listDialects(_ context.Context, in *WholeQuery) (*listAnswer[dialectRow], error) {
	names := s.cfg.Dialects.Names()
	rows := make([]dialectRow, len(names))
	for i, name := range names {
		d, err := s.dialect(name)
		if err != nil {
			return nil, err
		}
		rows[i] = dialectRow{name, webhooks.EventNames(d)}
	}
	return newWholeList(listDialects, in, rows)
}

// DialectView is a format as it is documented.
type DialectView struct {
	Name   string          `json:"name" example:"verbatim@1"`
	Guide  string          `json:"guide" doc:"What an integrator should know, in Markdown with headings from ## on."`
	Events []EventTypeView `json:"events"`
}

// EventTypeView is an event of a format as it is documented.
type EventTypeView struct {
	Name   string      `json:"name" example:"conversation.created"`
	OptIn  bool        `json:"opt_in" doc:"Sent only to endpoints that ask for it by name."`
	Facts  []string    `json:"facts" doc:"Which facts become it."`
	About  string      `json:"about" doc:"When it is sent."`
	Fields []fieldView `json:"fields" doc:"What is in its body, in the order in which it stands there."`
	Schema anyJSON     `json:"schema" doc:"JSON Schema of its body."`
	Sample anyJSON     `json:"sample" doc:"A body as it was once rendered; null if there is none."`
}

// fieldView is a part of a body. Alternatives that a list cannot show side by
// side stand one after the other; the JSON Schema tells them apart.
type fieldView struct {
	Path     string   `json:"path" doc:"a.b is the member b of a, a[] each item of a, a.* every further member of a." example:"data.conversation.id"`
	Type     string   `json:"type" doc:"Of the JSON value; one of several: string or null." example:"string"`
	Optional bool     `json:"optional,omitempty" doc:"It may be left out."`
	Format   string   `json:"format,omitempty" doc:"Of a string, as JSON Schema names it." example:"date-time"`
	Pattern  string   `json:"pattern,omitempty" doc:"Of a string: a regular expression."`
	Values   []string `json:"values,omitempty" doc:"The strings there are."`
	About    string   `json:"about,omitempty" doc:"What it means."`
}

// anyJSON is JSON that is passed on as it is.
type anyJSON json.RawMessage

// MarshalJSON returns j, or null if there is none.
func (j anyJSON) MarshalJSON() ([]byte, error) { return json.RawMessage(j).MarshalJSON() }

// Schema returns one that every value has.
func (anyJSON) Schema(huma.Registry) *huma.Schema { return &huma.Schema{} }

type dialectAnswer struct{ Body DialectView }

func (s *Server) getDialect(_ context.Context, in *DialectPath) (*dialectAnswer, error) {
	d, err := s.dialect(in.Name)
	if err != nil {
		return nil, err
	}
	types := d.Vocabulary()
	out := &dialectAnswer{DialectView{Name: d.Name(), Guide: d.Guide(), Events: make([]EventTypeView, len(types))}}
	for i := range types {
		t := &types[i]
		schema, err := shape.Schema(d.Name()+" "+t.Name, t.Body)
		if err != nil {
			return nil, err
		}
		out.Body.Events[i] = EventTypeView{
			Name: t.Name, OptIn: t.OptIn, Facts: append([]string{}, t.Facts...), About: t.About,
			Fields: fieldsOf(&t.Body), Schema: schema, Sample: t.Sample,
		}
	}
	return out, nil
}

// fieldsOf lists what is in a value of the shape s.
func fieldsOf(s *shape.Shape) []fieldView {
	fields := shape.Fields(s)
	views := make([]fieldView, len(fields))
	for i, f := range fields {
		views[i] = fieldView{
			Path: f.Path, Type: typeOf(f.Shape), Optional: f.Optional, Format: f.Shape.Format, Pattern: f.Shape.Pattern,
			Values: f.Shape.Values, About: f.Shape.About,
		}
	}
	return views
}

// typeOf returns the types that a value of the shape may have, in words.
func typeOf(s *shape.Shape) string {
	var types []string
	for _, kind := range s.Kinds() {
		if kind == shape.Any {
			return "any"
		}
		types = append(types, string(kind))
	}
	return strings.Join(types, " or ")
}

type previewInput struct {
	DialectPath
	Body struct {
		Conversation string `json:"conversation" doc:"Id of the conversation." example:"01931b3e-7c1f-7d2a-9d5e-0a6f3c2b1a00"`
		AtVersion    int64  `json:"at_version,omitempty" minimum:"1" doc:"Version of the event; the body is as of it."`
		Event        string `json:"event,omitempty" doc:"Name of the event in the format. Defaults to the first that the format has for what happened."`
		History      string `json:"history,omitempty" doc:"none, full or last:N, as an endpoint's; with ,public behind it without private notes. Defaults to full."`
	}
}

type previewAnswer struct {
	ContentType string `header:"Content-Type"`
	ETag        string `header:"ETag" doc:"Version of the conversation that the body is as of, in quotes."` //nolint:tagliatelle // its name
	Event       string `header:"Verbatim-Event" doc:"Name of the event in the format."`                     //nolint:tagliatelle // its name
	Body        []byte
}

func (s *Server) preview(ctx context.Context, in *previewInput) (*previewAnswer, error) {
	d, err := s.dialect(in.Name)
	if err != nil {
		return nil, err
	}
	if names := webhooks.EventNames(d); in.Body.Event != "" && !slices.Contains(names, in.Body.Event) {
		return nil, &domain.FieldError{Field: "event", Rule: "must be one of " + strings.Join(names, ", ")}
	}
	if in.Body.History == "" {
		in.Body.History = endpoint.HistoryFull
	}
	if _, err := webhooks.ParseView(in.Body.History); err != nil {
		return nil, err
	}
	version, err := s.own(ctx, in.Body.Conversation)
	if err != nil {
		return nil, err
	}
	from := version - previewReach
	if in.Body.AtVersion > 0 {
		if in.Body.AtVersion > version {
			return nil, noSuchVersion(version)
		}
		version, from = in.Body.AtVersion, in.Body.AtVersion-1
	}
	stream := eventstore.StreamName("conversation", in.Body.Conversation)
	said, err := s.newestWord(ctx, d, in.Body.Event, stream, max(from, 0), version)
	if err != nil {
		return nil, err
	}
	if said.version == 0 {
		return nil, noWord(d, in.Body.Event, version)
	}
	body, err := s.cfg.Transcripts.Body(ctx, &webhooks.Delivery{
		Stream: stream, Version: said.version, Name: said.name, Dialect: d.Name(), History: in.Body.History,
	})
	if err != nil {
		return nil, fmt.Errorf("render %s of %s: %w", said.name, stream, err)
	}
	return &previewAnswer{mediaJSON, etag(said.version), said.name, body}, nil
}

// spoken is the event of a stream at a version, as a format calls it.
type spoken struct {
	version int64
	name    string
}

// newestWord returns the newest event of a stream, of those with versions above
// after and up to a version, for which the dialect has a word: that one, if it is
// not "". It is the zero value if there is none.
func (s *Server) newestWord(
	ctx context.Context, d webhooks.Dialect, name, stream string, after, version int64,
) (found spoken, err error) {
	for high := version; high > after && found.version == 0; high -= previewPage {
		for r, err := range s.cfg.Log.ReadStream(ctx, stream, max(high-previewPage, after)) {
			if err != nil {
				return found, err
			}
			if r.Version > high {
				break
			}
			event, err := s.cfg.Codec.Decode(&r)
			if err != nil {
				return found, err
			}
			if word, ok := choose(d.Words(event), name); ok {
				found = spoken{r.Version, word}
			}
		}
	}
	return found, nil
}

// choose returns the word of that name, or for "" the first, of those that every
// endpoint is sent if there is one.
func choose(words []webhooks.Word, name string) (string, bool) {
	first := ""
	for _, w := range words {
		switch {
		case name == w.Name, name == "" && !w.OptIn:
			return w.Name, true
		case name == "" && first == "":
			first = w.Name
		}
	}
	return first, first != ""
}

// noWord is the problem that a format has nothing to say.
func noWord(d webhooks.Dialect, name string, version int64) *Problem {
	what := "has no word for what happened"
	if name != "" {
		what = "does not say " + name
	}
	return newProblem(http.StatusUnprocessableEntity, "dialect.no_word",
		d.Name()+" "+what+" in the events looked at, the last of which has version "+strconv.FormatInt(version, 10)+
			"; say at_version, or another event of "+strings.Join(webhooks.EventNames(d), ", "))
}
