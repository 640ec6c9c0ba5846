package httpapi

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"verbatim/eventstore"
	"verbatim/projections"
)

// What the health routes say.
const (
	statusOK       = "ok"
	statusDegraded = "degraded"
	readyTimeout   = 2 * time.Second // a probe waits for no longer
)

func (s *Server) healthRoutes() {
	register(s, open("livez", "/livez", "Does the process live?", "It asks nobody else."), s.livez)
	op := open("readyz", "/readyz", "Can the process serve?",
		"200 with the status ok, or degraded if a projection had to park a stream; 503 if it cannot serve.")
	register(s, op, s.readyz)
	doc := s.api.OpenAPI().Paths["/readyz"].Get
	unready := *doc.Responses["200"]
	unready.Description = http.StatusText(http.StatusServiceUnavailable)
	doc.Responses["503"] = &unready
}

type liveness struct {
	Status  string `json:"status" enum:"ok"`
	Version string `json:"version" doc:"Of the program."`
}

type livezAnswer struct{ Body liveness }

func (s *Server) livez(context.Context, *struct{}) (*livezAnswer, error) {
	return &livezAnswer{liveness{statusOK, s.cfg.Version}}, nil
}

type readiness struct {
	Status      string               `json:"status" enum:"ok,degraded"`
	Version     string               `json:"version" doc:"Of the program."`
	Detail      string               `json:"detail,omitempty" doc:"What is wrong."`
	Head        int64                `json:"head" doc:"Last position in the log."`
	Projected   int64                `json:"projected" doc:"Position that every projection has reached."`
	Projections map[string]int64     `json:"projections" doc:"How far each has got."`
	Parked      []projections.Parked `json:"parked" doc:"Streams that a projection could not take further."`
}

type readyzAnswer struct {
	Status int
	Body   readiness
}

func (s *Server) readyz(ctx context.Context, _ *struct{}) (*readyzAnswer, error) {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	out := &readyzAnswer{Status: http.StatusOK}
	out.Body = readiness{
		Status: statusOK, Version: s.cfg.Version,
		Projected: s.cfg.Projected.Position(), Parked: []projections.Parked{},
	}
	failed := func(what string, err error) {
		s.cfg.Logger.WarnContext(ctx, "not ready", "part", what, "error", err)
		out.Status, out.Body.Status, out.Body.Detail = http.StatusServiceUnavailable, statusDegraded, what+" cannot be used"
	}
	for _, p := range s.cfg.Projected.Parked() {
		out.Body.Parked = append(out.Body.Parked, p)
		out.Body.Status, out.Body.Detail = statusDegraded, "a projection had to park a stream; verbatim projections retry tries it again"
	}
	slices.SortFunc(out.Body.Parked, func(a, b projections.Parked) int {
		if a.Position != b.Position {
			return int(a.Position - b.Position)
		}
		return strings.Compare(a.Projection, b.Projection)
	})
	var err error
	if out.Body.Projections, err = s.cfg.Projected.Positions(ctx); err != nil {
		failed("the database", err)
	}
	if out.Body.Head, err = s.cfg.Log.Head(ctx); err != nil {
		failed("the log", err)
	}
	if err := s.cfg.Ready(ctx); err != nil {
		failed("the process", err)
		if errors.Is(err, eventstore.ErrUnwritable) {
			out.Body.Detail = err.Error() // why: whoever looks here is to make room
		}
	}
	return out, nil
}
