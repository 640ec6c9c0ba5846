package httpapi

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
)

// Served is a request that was answered.
type Served struct {
	Route     string // pattern of the operation, "GET /v1/events"; "" if there is none
	Status    int
	Took      time.Duration
	Stream    bool // an event stream: it took as long as somebody listened
	RequestID string
}

func (s *Server) served(ctx context.Context, c *call, w *tracked) {
	if s.cfg.Served == nil {
		return
	}
	status := w.status
	if status == 0 {
		status = http.StatusOK // what net/http says for those who say nothing
	}
	s.cfg.Served(ctx, Served{
		Route: c.route, Status: status, Took: time.Since(c.began), Stream: c.stream, RequestID: c.requestID,
	})
}

// Streams returns how many event streams are open.
func (s *Server) Streams() int64 { return s.streams.Load() }

// Waiting returns how many pulls of feeds wait for something to happen.
func (s *Server) Waiting() int64 { return s.waiting.Load() }

// metricsRoutes registers what a scraper reads: open like the health routes, for
// it says nothing about accounts.
func (s *Server) metricsRoutes() {
	op := open("metrics", "/metrics", "Read the metrics", "In the text format of Prometheus; docs/OPERATIONS.md lists them.")
	op.Responses = contentOf("text/plain", &huma.Schema{Type: huma.TypeString})
	register(s, op, func(context.Context, *struct{}) (*huma.StreamResponse, error) {
		if s.cfg.Metrics == nil {
			return nil, noSuchRoute()
		}
		return &huma.StreamResponse{Body: func(hc huma.Context) {
			r, w := humago.Unwrap(hc)
			s.cfg.Metrics.ServeHTTP(w, r)
		}}, nil
	})
}
