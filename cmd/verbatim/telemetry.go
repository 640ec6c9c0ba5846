package main

import (
	"context"
	"net/http"

	"verbatim/adapters/httpapi"
	"verbatim/eventstore"
	"verbatim/webhooks"
)

// What watches is put before what it watches here. Metrics are always kept; where
// there is no tracing, nothing stands in its place.

// watchedLog returns the log that commands append to.
func (a *app) watchedLog() eventstore.Store {
	log := a.metrics.Log(a.store)
	if a.tracing != nil {
		log = a.tracing.Log(log)
	}
	return log
}

func (a *app) watched(cfg webhooks.Config) webhooks.Config {
	cfg.Recorded = a.metrics.Recorded
	if a.tracing != nil {
		cfg.Begin = a.tracing.Begin
	}
	return cfg
}

func (a *app) planned(ds []webhooks.Delivery) {
	a.metrics.Planned(len(ds))
	a.dispatcher.Offer(ds)
}

func (a *app) handler() http.Handler {
	if a.tracing == nil {
		return a.api
	}
	return a.tracing.Handler(a.api)
}

func (a *app) served(ctx context.Context, s httpapi.Served) {
	a.metrics.Served(s.Route, s.Status, s.Took, s.Stream)
	if a.tracing != nil {
		a.tracing.Served(ctx, s.Route, s.Status, s.RequestID)
	}
}
