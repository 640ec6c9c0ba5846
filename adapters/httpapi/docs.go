package httpapi

import (
	"context"
	"net/http"
	"path"

	"github.com/danielgtaylor/huma/v2"

	"verbatim/web"
)

// docsPolicy lets the page load from here and nowhere else.
const docsPolicy = "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

type fileAnswer struct {
	ContentType string `header:"Content-Type"`
	Policy      string `header:"Content-Security-Policy"`
	Body        []byte
}

func (s *Server) docsRoutes() {
	op := open("openapi", "/openapi.json", "Read this description", "OpenAPI 3.1, the same bytes as docs/openapi.json.")
	op.Responses = contentOf(mediaJSON, &huma.Schema{Type: huma.TypeObject, AdditionalProperties: true})
	register(s, op, func(context.Context, *struct{}) (*fileAnswer, error) {
		return &fileAnswer{ContentType: mediaJSON, Body: s.openapi}, nil
	})
	op = open("docs", "/docs", "Read this description as a page", "It needs nothing but this server.")
	op.Responses = contentOf("text/html", &huma.Schema{Type: huma.TypeString})
	register(s, op, func(context.Context, *struct{}) (*fileAnswer, error) { return docsFile("index.html") })

	op = open("docs-file", "/docs/{file}", "Load a part of the page", "")
	op.Hidden = true
	register(s, op, func(_ context.Context, in *docsFileInput) (*fileAnswer, error) { return docsFile(in.File) })
}

type docsFileInput struct {
	File string `path:"file"`
}

func contentOf(media string, schema *huma.Schema) map[string]*huma.Response {
	return map[string]*huma.Response{"200": {
		Description: http.StatusText(http.StatusOK), Content: map[string]*huma.MediaType{media: {Schema: schema}},
	}}
}

func docsFile(name string) (*fileAnswer, error) {
	content, err := web.Docs().ReadFile("docs/" + name)
	if err != nil {
		return nil, noSuchRoute()
	}
	return &fileAnswer{mediaOf(name), docsPolicy, content}, nil
}

// mediaOf returns the media type of a file of the page. What the machine's own
// tables say of it is of no interest.
func mediaOf(name string) string {
	switch path.Ext(name) {
	case ".html":
		return "text/html; charset=utf-8"
	case ".css":
		return "text/css; charset=utf-8"
	case ".js":
		return "text/javascript; charset=utf-8"
	default:
		return "application/octet-stream"
	}
}
