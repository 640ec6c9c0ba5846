package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"

	"verbatim/adapters/httpapi"
	"verbatim/adapters/httpsender"
	"verbatim/adapters/messaging"
	"verbatim/adapters/sqlite"
	"verbatim/adapters/telemetry"
	"verbatim/domain/contact"
	"verbatim/domain/conversation"
	"verbatim/domain/endpoint"
	"verbatim/eventstore"
	"verbatim/projections"
	"verbatim/webhooks"
	"verbatim/webhooks/dialect"
)

const (
	// defaultAccount is the account that a new data folder has.
	defaultAccount     = "default"
	defaultAccountName = "Default"

	// Time limits of the HTTP server. A body may come slowly over a telephone,
	// but not for ever; answers have no limit, for an event stream is one.
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 60 * time.Second
	idleTimeout       = 2 * time.Minute
	// maxHeader bounds a request's headers: a key, an idempotency key, traces.
	maxHeader = 32 << 10
	// drainTimeout is how long requests under way may take once the server was
	// told to stop: as long as attempts under way, which end meanwhile. With that,
	// what is left to say of endpoints and the last spans, stopping takes less than
	// the 10 seconds that supervisors commonly wait before they kill.
	drainTimeout = webhooks.DefaultGrace
	// expiryPoll is how often the expirer looks although nobody told it that
	// somebody types: somebody's typing may have been extended.
	expiryPoll = time.Second
)

// app is the whole program, wired and not yet running.
type app struct {
	log          *slog.Logger
	listener     net.Listener
	store        *sqlite.Store
	subscription *messaging.Subscription
	dispatcher   *webhooks.Dispatcher
	notary       *notary
	expirer      *projections.Expirer
	jobs         *webhooks.Jobs
	rebuilder    *projections.Rebuilder
	eraser       *projections.Eraser
	replays      *projections.Replays
	janitor      *webhooks.Janitor // may be nil
	typing       chan struct{}     // one slot: somebody began or stopped typing
	api          *httpapi.Server
	metrics      *telemetry.Metrics
	tracing      *telemetry.Tracing // nil if spans go nowhere
	asking       bool               // it is there for one who only asks: nothing is sent
	token        string             // lets whoever may read the data folder act as its operator
}

// newApp opens the data folder and wires everything to it. The listener is
// closed with the app.
func newApp(ctx context.Context, cfg *config, log *slog.Logger, listener net.Listener) (_ *app, err error) {
	a := &app{log: log, listener: listener, typing: make(chan struct{}, 1), token: randomToken(), metrics: telemetry.NewMetrics(Version)}
	defer func() {
		if err != nil {
			err = errors.Join(err, a.close(ctx))
		}
	}()
	dir, err := cfg.folder()
	if err != nil {
		return nil, err
	}
	vault, err := cfg.vault(dir)
	if err != nil {
		return nil, err
	}
	a.store, err = sqlite.Open(ctx, dir, sqlite.Options{
		Info: sqlite.ServerInfo{Addr: listener.Addr().String(), Token: a.token}, Vault: vault,
		Grouped: func(g sqlite.Group) { a.metrics.Grouped(g.Jobs, g.Events, g.Took) },
	})
	if err != nil {
		return nil, err
	}
	if err := a.prepareAccess(ctx); err != nil {
		return nil, err
	}

	if endpoint := cfg.collector(); endpoint != "" {
		a.tracing, err = telemetry.NewTracing(ctx, telemetry.TracingConfig{Endpoint: endpoint, Version: Version, Log: log})
		if err != nil {
			return nil, err
		}
	}

	codec, dialects := eventstore.Catalogue(), dialect.All()
	facts := failAfterAppend(a.watchedLog())
	conversations := eventstore.NewAggregates(facts, codec, time.Now,
		eventstore.Rules[conversation.State, conversation.Command, conversation.Event]{
			Kind: "conversation", Schema: conversation.StateSchema, Decide: conversation.Decide, Evolve: conversation.Evolve,
		})
	contacts := eventstore.NewAggregates(facts, codec, time.Now,
		eventstore.Rules[contact.State, contact.Command, contact.Event]{
			Kind: "contact", Schema: contact.StateSchema, Decide: contact.Decide, Evolve: contact.Evolve,
		})
	endpoints := eventstore.NewAggregates(facts, codec, time.Now,
		eventstore.Rules[endpoint.State, endpoint.Command, endpoint.Event]{
			Kind: "endpoint", Schema: endpoint.StateSchema, Decide: endpoint.Decide, Evolve: endpoint.Evolve,
		})
	a.notary = newNotary(endpoints, a.store, func(id string) { a.dispatcher.Wake(id) }, log)
	transcripts := projections.NewTranscripts(a.store, codec, dialects, cfg.HistoryMemory)
	a.dispatcher = webhooks.NewDispatcher(failAfterRecord(a.store), transcripts,
		failAfterSend(httpsender.New(httpsender.Config{Egress: cfg.egress, Log: log})), time.Now,
		a.watched(webhooks.Config{UserAgent: "verbatim/" + Version, Dialects: dialects, Log: log, Notice: a.notary.notice}))
	a.jobs = webhooks.NewJobs(a.store, a.dispatcher.Reload, time.Now, log)
	a.replays = projections.NewReplays(a.store, codec, dialects, a.metrics.Replays(failAfterReplay(a.store)), transcripts, a.dispatcher, time.Now, log)
	a.janitor = webhooks.NewJanitor(a.store, cfg.keeping(), time.Now, log)
	group := projections.NewGroup(a.store, codec, failAfterProjection(a.store), time.Now, log,
		projections.NewInbox(a.store),
		projections.NewTyping(a.wakeExpirer),
		projections.NewEndpoints(a.store, a.endpointChanged),
		projections.NewPlan(a.store, codec, a.store, dialects, a.planned))
	if a.tracing != nil {
		group.Report(a.tracing.Page)
	}
	a.subscription = messaging.New(
		messaging.Topic{DB: a.store.Readers(), Select: sqlite.SelectLog, Scan: sqlite.ScanEvent},
		group, a.store.Events(), log)
	a.rebuilder = projections.NewRebuilder(projections.RebuilderConfig{
		Log: a.store, Codec: codec, Store: a.store, Clock: time.Now, Slog: log,
		Names: group.Names(), Between: a.subscription.Between, Swapped: a.swapped,
	})
	a.expirer = projections.NewExpirer(a.store, time.Now, func(ctx context.Context, account, id, author string) error {
		_, err := conversations.Execute(ctx, eventstore.Order[conversation.State, conversation.Command]{
			Account: account, ID: id, Command: conversation.ExpireTyping{AuthorID: author},
			Metadata: eventstore.Metadata{Actor: "system:typing"},
		})
		return err
	})
	pulled := projections.NewTranscripts(a.store, codec, dialects, projections.FeedMemory)
	a.eraser = newEraser(a, codec, conversations, contacts, transcripts, pulled)
	a.api, err = httpapi.New(httpapi.Config{
		Conversations: conversations,
		Contacts:      contacts,
		Endpoints:     endpoints,
		Log:           a.store, Events: a.store.Events(), Transcripts: transcripts, Models: models{a.store, a.metrics}, Access: access{a.store},
		Pulled: pulled, FeedPulled: a.metrics.FeedPulled,
		Projected: group, Rebuilder: a.rebuilder, Dialects: dialects, Codec: codec, Tester: a.dispatcher, Eraser: a.eraser, Replays: a.replays,
		Key:       access{a.store}.Key,
		AdminKeys: []string{cfg.AdminKey, a.token},
		CheckURL:  cfg.egress.Check,
		Reload:    a.dispatcher.Reload,
		JobAdded:  a.jobs.Ring,
		Ready:     a.store.Ping,
		Served:    a.served,
		Metrics:   a.metrics.Handler(),
		Version:   Version,
		Logger:    log,
	})
	if err != nil {
		return nil, err
	}
	a.metrics.Watch(telemetry.Sources{
		Backlog: a.store.Backlog, Load: a.dispatcher.Load, Head: a.store.Head, Streams: a.api.Streams,
		Projections: group.Names(), Positions: group.Positions, Parked: group.Parked,
		Replays: a.store.OpenReplays, Waiting: a.api.Waiting, ReadModels: a.rebuilder.ReadModels(), Rebuilds: a.rebuilder.Rebuilds,
	})
	return a, nil
}

func randomToken() string {
	var b [32]byte
	if _, err := rand.Read(b[:]); err != nil {
		panic("verbatim: no random bytes: " + err.Error())
	}
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// prepareAccess makes sure that a new data folder has an account.
func (a *app) prepareAccess(ctx context.Context) error {
	if _, found, err := a.store.Account(ctx, defaultAccount); err != nil || found {
		return err
	}
	return a.store.AddAccount(ctx, defaultAccount, defaultAccountName)
}

// makeFirstKey gives a data folder that never had a key its first one, and returns
// it: "" where there was one. It is for those who show it; a tool that opens the
// folder for a moment would use it up.
func (a *app) makeFirstKey(ctx context.Context) (string, error) {
	known, err := a.store.Keys(ctx)
	if err != nil || len(known) > 0 {
		return "", err
	}
	plain, key, err := httpapi.NewKey(rand.Reader)
	if err != nil {
		return "", err
	}
	key.Account, key.Name, key.CreatedAt = defaultAccount, "first key", time.Now()
	return plain, access{a.store}.AddKey(ctx, key)
}

// swapped has those who remember rows of a read model look at them anew.
func (a *app) swapped(ctx context.Context, projection string) {
	switch projection {
	case (*projections.Typing)(nil).Name():
		a.wakeExpirer()
	case (*projections.Endpoints)(nil).Name():
		rows, err := a.store.EndpointRows(ctx)
		if err != nil {
			a.log.ErrorContext(ctx, "endpoints could not be looked at anew; a restart makes sure of their settings", "error", err)
		}
		for i := range rows {
			a.dispatcher.Wake(rows[i].ID)
		}
	}
}

func (a *app) wakeExpirer() {
	select {
	case a.typing <- struct{}{}:
	default:
	}
}

// endpointChanged tells those who send that an endpoint is another now: a backfill
// of it may have begun.
func (a *app) endpointChanged(id string) {
	a.dispatcher.Wake(id)
	a.replays.Ring()
}

// run serves until the context is done or a part fails, and then stops in
// reverse: no new requests and attempts, those under way to their end and on
// record, the projections to the end of their page, the file closed.
func (a *app) run(ctx context.Context) error {
	server := &http.Server{
		Handler:           a.handler(),
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(a.log.Handler(), slog.LevelDebug),
	}
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	parts, failed := errgroup.WithContext(background)
	parts.Go(func() error { return named("projections", a.subscription.Run(failed)) })
	sending, quiet := context.WithCancel(failed)
	defer quiet()
	told, end := context.WithCancel(context.WithoutCancel(ctx)) // until the dispatcher has nothing more to tell
	parts.Go(func() error {
		defer end()
		if a.asking {
			return nil
		}
		return named("dispatcher", a.dispatcher.Run(sending))
	})
	parts.Go(func() error { a.notary.run(told); return nil })
	parts.Go(func() error { a.expire(failed); return nil })
	parts.Go(func() error { a.steps(failed, "jobs", a.jobs.Rung(), a.jobs.Step); return nil })
	parts.Go(func() error { a.steps(failed, "rebuild", a.rebuilder.Rung(), a.rebuilder.Step); return nil })
	parts.Go(func() error { a.steps(failed, "eraser", a.eraser.Rung(), a.eraser.Step); return nil })
	parts.Go(func() error { a.steps(failed, "replays", a.replays.Rung(), a.replays.Step); return nil })
	if a.janitor != nil {
		parts.Go(func() error { a.steps(failed, "janitor", nil, a.janitor.Step); return nil })
	}
	parts.Go(func() error {
		if err := server.Serve(a.listener); !errors.Is(err, http.ErrServerClosed) {
			return named("http", err)
		}
		return nil
	})
	select {
	case <-ctx.Done():
	case <-failed.Done():
	}
	quiet() // attempts have the same time as requests
	a.api.Close()
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
	defer cancel()
	err := server.Shutdown(drain)
	stop()
	return errors.Join(err, parts.Wait(), a.close(ctx))
}

func named(part string, err error) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return nil
	}
	return fmt.Errorf("%s: %w", part, err)
}

// expire stops the typing of people who were not heard of in time.
func (a *app) expire(ctx context.Context) {
	for {
		expired, next, err := a.expirer.Step(ctx)
		if err != nil && ctx.Err() == nil {
			a.log.Error("typing could not be expired; it is tried again", "error", err)
		}
		wait := expiryPoll
		switch {
		case err == nil && next.IsZero():
			wait = time.Hour // until somebody types
		case err == nil && expired == 0:
			wait = max(time.Until(next), time.Millisecond)
		}
		timer := time.NewTimer(min(wait, time.Hour))
		select {
		case <-a.typing:
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
		timer.Stop()
	}
}

// close closes what newApp opened.
func (a *app) close(ctx context.Context) error {
	var errs []error
	if err := a.listener.Close(); !errors.Is(err, net.ErrClosed) {
		errs = append(errs, err)
	}
	if a.api != nil {
		a.api.Close()
	}
	if a.store != nil {
		errs = append(errs, a.store.Close())
	}
	if a.tracing != nil {
		a.tracing.Close(ctx)
	}
	return errors.Join(errs...)
}

// access gives the HTTP interface the store's keys in its own words.
type access struct{ *sqlite.Store }

// Key returns a key by its id, and whether there is one.
func (a access) Key(ctx context.Context, id string) (httpapi.Key, bool, error) {
	k, found, err := a.Store.Key(ctx, id)
	return httpapi.Key(k), found, err
}

// Keys returns all keys.
func (a access) Keys(ctx context.Context) ([]httpapi.Key, error) {
	kept, err := a.Store.Keys(ctx)
	keys := make([]httpapi.Key, len(kept))
	for i := range kept {
		keys[i] = httpapi.Key(kept[i])
	}
	return keys, err
}

// AddKey keeps a key.
func (a access) AddKey(ctx context.Context, k httpapi.Key) error {
	return a.Store.AddKey(ctx, sqlite.APIKey(k))
}
