package httpapi_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"verbatim/adapters/httpapi"
)

var update = flag.Bool("update", false, "rewrite docs/openapi.json")

var openAPIFile = filepath.Join("..", "..", "docs", "openapi.json")

func TestOpenAPIIsCurrent(t *testing.T) {
	t.Parallel()
	got, err := httpapi.OpenAPI()
	if err != nil {
		t.Fatal(err)
	}
	if again, err := httpapi.OpenAPI(); err != nil || !bytes.Equal(got, again) {
		t.Fatal("the description is another one each time", err)
	}
	if *update {
		if err := os.WriteFile(openAPIFile, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(openAPIFile)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("docs/openapi.json is out of date (%v): run go test ./adapters/httpapi -args -update", err)
	}
	h := open(t)
	if served := h.do("GET", "/openapi.json", nil, header("Authorization", "")).is(200); !bytes.Equal(served.body, got) {
		t.Error("another description is served")
	}
}

// Every route of the contract is described, and what is described is complete.
func TestOpenAPIHasEveryRoute(t *testing.T) {
	t.Parallel()
	b, err := httpapi.OpenAPI()
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Paths      map[string]map[string]map[string]any
		Components map[string]map[string]any
	}
	if err := json.Unmarshal(b, &doc); err != nil {
		t.Fatal(err)
	}
	const c, m, e = "/v1/conversations/{id}", "/v1/conversations/{id}/messages", "/v1/endpoints/{id}"
	var want, got []string
	for path, methods := range map[string]string{
		"/v1/conversations": "get post", c: "get patch", m: "get post", m + "/{mid}": "delete patch", m + "/{mid}/played": "post",
		c + "/typing": "put", c + "/status": "put", c + "/close": "post", c + "/reopen": "post", c + "/assignee": "put",
		c + "/read": "put", c + "/customer": "patch", c + "/activities": "post", c + "/events": "get", "/v1/events": "get",
		"/v1/endpoints": "get post", e: "delete get patch", e + "/rotate-secret": "post", e + "/test": "post", e + "/enable": "post", e + "/disable": "post",
		e + "/feed": "get", e + "/feed/cursors": "get", e + "/feed/cursors/{name}": "delete put", e + "/deliveries": "get", "/v1/deliveries/{id}": "get", "/v1/deliveries/{id}/payload": "get",
		"/v1/deliveries/{id}/redeliver": "post", "/v1/deliveries/{id}/cancel": "post", e + "/retry-failed": "post",
		e + "/replays": "get post", "/v1/replays/{id}": "get", "/v1/replays/{id}/pause": "post", "/v1/replays/{id}/resume": "post",
		"/v1/replays/{id}/cancel": "post",
		"/v1/jobs":                "get", "/v1/jobs/{id}": "get", "/v1/jobs/{id}/cancel": "post",
		"/v1/contacts": "post", "/v1/contacts/{id}": "get patch", "/v1/contacts/{id}/erase": "post", "/v1/erasures/{id}": "get", "/v1/widget/triggered": "post",
		"/v1/dialects": "get", "/v1/dialects/{name}": "get", "/v1/dialects/{name}/preview": "post",
		"/v1/keys": "get post", "/v1/keys/{id}": "delete", "/v1/projections": "get", "/v1/projections/retry": "post", "/v1/projections/{name}/rebuild": "delete post",
		"/livez": "get", "/readyz": "get", "/metrics": "get", "/openapi.json": "get", "/docs": "get",
	} {
		for method := range strings.FieldsSeq(methods) {
			want = append(want, method+" "+path)
		}
	}
	for path, item := range doc.Paths {
		for method, op := range item {
			got = append(got, method+" "+path)
			for _, part := range []string{"operationId", "summary", "tags", "responses"} {
				if op[part] == nil {
					t.Errorf("%s %s has no %s", method, path, part)
				}
			}
			secured := op["security"] != nil
			if secured != strings.HasPrefix(path, "/v1/") {
				t.Errorf("%s %s: secured is %v", method, path, secured)
			}
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(want, got) {
		t.Errorf("described are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	// Every reference leads somewhere.
	for _, ref := range regexp.MustCompile(`"#/components/(\w+)/(\w+)"`).FindAllSubmatch(b, -1) {
		if doc.Components[string(ref[1])][string(ref[2])] == nil {
			t.Errorf("%s leads nowhere", ref[0])
		}
	}
	if bytes.Contains(b, []byte("$schema")) {
		t.Error("bodies have $schema")
	}
}

// The page works without a network.
func TestDocsAreOffline(t *testing.T) {
	t.Parallel()
	h := open(t)
	page := h.do("GET", "/docs", nil, header("Authorization", "")).is(200)
	if page.header.Get("Content-Type") != "text/html; charset=utf-8" ||
		!strings.HasPrefix(page.header.Get("Content-Security-Policy"), "default-src 'self'") {
		t.Error(page.header)
	}
	files := regexp.MustCompile(`(?:src|href)="([^"]+)"`).FindAllSubmatch(page.body, -1)
	if len(files) < 3 {
		t.Fatalf("%s", page.body)
	}
	all := [][]byte{page.body}
	for _, f := range files {
		path := string(f[1])
		part := h.do("GET", path, nil, header("Authorization", "")).is(200)
		if path != "/openapi.json" {
			all = append(all, part.body)
		}
	}
	for _, content := range all {
		if bytes.Contains(content, []byte("http")) || bytes.Contains(content, []byte(`"//`)) {
			t.Errorf("the page refers to somewhere else:\n%s", content)
		}
	}
	if bytes.Contains(page.body, []byte("<style")) || regexp.MustCompile(`<script>|\son\w+=`).Match(page.body) {
		t.Error("the policy forbids what stands inside the page")
	}
	h.do("GET", "/docs/nothing.js", nil).fails(404, "no_such_route")
	h.do("GET", "/docs/..%2f..%2fweb.go", nil).fails(404, "no_such_route")
}

// TestBodiesAreDescribedAsTheyAre: a body of any format is of a type that the
// description of each operation that shows bodies has for it.
func TestBodiesAreDescribedAsTheyAre(t *testing.T) {
	t.Parallel()
	b, err := httpapi.OpenAPI()
	if err != nil {
		t.Fatal(err)
	}
	type schema struct {
		Type  any // one or, with null, several
		OneOf []schema
	}
	type operation struct {
		Responses map[string]struct {
			Content map[string]struct{ Schema schema }
		}
	}
	var doc struct {
		Paths      map[string]map[string]operation
		Components struct {
			Schemas map[string]struct{ Properties map[string]schema }
		}
	}
	if err := json.Unmarshal(b, &doc); err != nil {
		t.Fatal(err)
	}
	described := func(path, method string) schema {
		return doc.Paths[path][method].Responses["200"].Content["application/json"].Schema
	}
	all := map[string]schema{
		"preview": described("/v1/dialects/{name}/preview", "post"),
		"payload": described("/v1/deliveries/{id}/payload", "get"),
		"feed":    doc.Components.Schemas["FeedItem"].Properties["body"],
	}
	if !slices.ContainsFunc(all["feed"].OneOf, func(s schema) bool { return s.Type == "null" }) {
		t.Errorf("an item of a feed without a body is not described: %v", all["feed"])
	}
	h := open(t)
	id := strings.TrimPrefix(h.conversation(), "/v1/conversations/")
	for _, dialect := range []string{"verbatim", "cloudevents", "chatwoot", "closer", "talkus", "clarityflow"} {
		kind := "object"
		if h.do("POST", "/v1/dialects/"+dialect+"/preview", object{"conversation": id}).is(200).body[0] == '[' {
			kind = "array"
		}
		for where, s := range all {
			if s.Type != kind && !slices.ContainsFunc(s.OneOf, func(s schema) bool { return s.Type == kind }) {
				t.Errorf("%s: a body of %s is an %s, and described as %v", where, dialect, kind, s)
			}
		}
	}
}
