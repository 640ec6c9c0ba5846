package httpapi

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// queryParameters returns the names of the query parameters that operations
// declare, sorted, by their routes.
func queryParameters(doc *huma.OpenAPI) map[string][]string {
	declared := map[string][]string{}
	for op := range operations(doc) {
		var names []string
		for _, p := range op.Parameters {
			if p.In == "query" {
				names = append(names, p.Name)
			}
		}
		slices.Sort(names)
		declared[op.Method+" "+op.Path] = names
	}
	return declared
}

// checkQuery returns a problem if a request has query parameters that its
// operation does not declare: a filter that is misspelt must not let everything
// through.
func (s *Server) checkQuery(r *http.Request, c *call) error {
	if r.URL.RawQuery == "" {
		return nil
	}
	p := newProblem(http.StatusUnprocessableEntity, codeInvalidField, "")
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		p.pointAt("query", "must be names and values as in name=value&name=value, percent-encoded")
		return p
	}
	declared := s.queries[c.route]
	for _, name := range slices.Sorted(maps.Keys(query)) {
		if _, known := slices.BinarySearch(declared, name); known {
			continue
		}
		p.Code = codeUnknownField
		if len(declared) == 0 {
			p.pointAt("query."+name, "there is no such parameter; this takes none")
		} else {
			p.pointAt("query."+name, "there is no such parameter; those there are: "+strings.Join(declared, ", "))
		}
	}
	if len(p.Errors) > 0 {
		return p
	}
	return nil
}
