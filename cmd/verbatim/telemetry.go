package main

import (
	"context"
	"net/http"

	"verbatim/adapters/httpapi"
	"verbatim/adapters/sqlite"
	"verbatim/adapters/telemetry"
	"verbatim/eventstore"
	"verbatim/projections"
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

// models are the store's read models, watched.
type models struct {
	*sqlite.Store

	metrics *telemetry.Metrics
}

// AddErasure keeps an erasure, and counts one that was asked for.
func (m models) AddErasure(ctx context.Context, e projections.Erasure) (projections.Erasure, bool, error) {
	kept, added, err := m.Store.AddErasure(ctx, e)
	if added && err == nil {
		m.metrics.ErasureAsked()
	}
	return kept, added, err
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
