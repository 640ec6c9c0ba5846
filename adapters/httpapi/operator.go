package httpapi

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"math"
	"net/http"
	"regexp"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"verbatim/domain"
	"verbatim/projections"
)

// Access is what the operator manages beside the log: accounts, keys, and what
// projections have parked.
type Access interface {
	// Keys returns all keys, oldest first.
	Keys(ctx context.Context) ([]Key, error)
	// AddKey keeps a key.
	AddKey(ctx context.Context, k Key) error
	// RevokeKey ends a key and reports whether it was one that still worked.
	RevokeKey(ctx context.Context, id string, at time.Time) (bool, error)
	// AddAccount makes an account, unless it is there.
	AddAccount(ctx context.Context, id, name string) error
	// AskRetry has the parked streams of a projection ("" for all of them) tried
	// again, and returns how many there are.
	AskRetry(ctx context.Context, projection string) (int64, error)
}

// accountID is what an account may be called: it stands in headers and paths.
var accountID = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

func (s *Server) operatorRoutes() {
	register(s, operatorOperation(http.MethodGet, "list-keys", "/v1/keys",
		"List API keys", "For the operator."), s.listKeys)
	register(s, withStatus(operatorOperation(http.MethodPost, "create-key", "/v1/keys",
		"Make an API key", "For the operator. The account is made if it is not there. The key is shown this once."),
		http.StatusCreated), s.createKey)
	register(s, operatorOperation(http.MethodDelete, "revoke-key", "/v1/keys/{id}",
		"Revoke an API key", "For the operator. It takes effect at once."), s.revokeKey)
	register(s, operatorOperation(http.MethodGet, "get-projections", "/v1/projections",
		"Say how far the projections have got", "For the operator. What stands still, and why, and what is being rebuilt."), s.getProjections)
	register(s, withStatus(operatorOperation(http.MethodPost, "rebuild-projection", "/v1/projections/{name}/rebuild",
		"Make a read model anew", "For the operator. It is made from the whole log beside the one that serves, compared with it, and takes its place "+
			"in one transaction: reads and writes go on. GET /v1/projections shows how far that is, and what was found. It survives restarts, by beginning anew."),
		http.StatusAccepted), s.rebuildProjection)
	register(s, operatorOperation(http.MethodDelete, "cancel-rebuild", "/v1/projections/{name}/rebuild",
		"Cancel a rebuild", "For the operator. One that waits or runs ends here, for good: what serves goes on serving, the new rows are cleared away, "+
			"and another rebuild can be asked for at once."), s.cancelRebuild)
	register(s, withStatus(operatorOperation(http.MethodPost, "retry-projections", "/v1/projections/retry",
		"Try parked streams again", "For the operator. It happens within a second or two."),
		http.StatusAccepted), s.retryProjections)
}

// operatorOperation returns what the operator's operations have in common. They
// change no stream: there is no version to insist on, and no event to keep an
// idempotency key with.
func operatorOperation(method, id, path, summary, description string) huma.Operation {
	op := withErrors(operation(method, id, path, tagOperation, summary, description), http.StatusForbidden)
	op.Parameters = []*huma.Param{commonParameter("RequestID")}
	return op
}

// operatorOnly returns a problem unless the operator asks.
func operatorOnly(c *call) error {
	if c.meta.Actor == adminActor {
		return nil
	}
	return newProblem(http.StatusForbidden, "operator_only", "use the operator's key: VERBATIM_ADMIN_KEY, or the command line on the server's machine")
}

// KeyView is a key as the operator sees it: not what it opens with.
type KeyView struct {
	ID        string     `json:"id"`
	Account   string     `json:"account"`
	Name      string     `json:"name"`
	CreatedAt time.Time  `json:"created_at"`
	RevokedAt *time.Time `json:"revoked_at,omitempty"`
}

func newKeyView(k Key) KeyView { return KeyView{k.ID, k.Account, k.Name, k.CreatedAt, k.RevokedAt} }

func (s *Server) listKeys(ctx context.Context, in *WholeQuery) (*listAnswer[KeyView], error) {
	if err := operatorOnly(callOf(ctx)); err != nil {
		return nil, err
	}
	keys, err := s.cfg.Access.Keys(ctx)
	if err != nil {
		return nil, err
	}
	rows := make([]KeyView, len(keys))
	for i := range keys {
		rows[i] = newKeyView(keys[i])
	}
	return newWholeList(listKeys, in, rows)
}

type createKeyInput struct {
	Body struct {
		Account     string `json:"account,omitempty" doc:"Defaults to the account of the header Verbatim-Account or, without it, to \"default\"." example:"acme"`
		AccountName string `json:"account_name,omitempty" doc:"Of an account that is made; defaults to its id."`
		Name        string `json:"name,omitempty" doc:"What the key is for." example:"website"`
	}
}

type keyCreated struct {
	Body struct {
		KeyView

		Key string `json:"key" doc:"Shown this once." example:"vbt_0123456789ab_…"`
	}
}

func (s *Server) createKey(ctx context.Context, in *createKeyInput) (*keyCreated, error) {
	if err := operatorOnly(callOf(ctx)); err != nil {
		return nil, err
	}
	account := cmp.Or(in.Body.Account, callOf(ctx).account)
	if !accountID.MatchString(account) {
		return nil, &domain.FieldError{Field: "account", Rule: "must be 1 to 64 letters, digits, and . _ -, and not begin with these"}
	}
	accountName := in.Body.AccountName
	if accountName == "" {
		accountName = account
	}
	for _, err := range []error{
		domain.Text("account_name", accountName, domain.MaxNameLength),
		domain.Text("name", in.Body.Name, domain.MaxNameLength),
	} {
		if err != nil {
			return nil, err
		}
	}
	plain, key, err := NewKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	key.Account, key.Name, key.CreatedAt = account, in.Body.Name, s.cfg.Clock().UTC().Truncate(time.Microsecond)
	if err := s.cfg.Access.AddAccount(ctx, account, accountName); err != nil {
		return nil, err
	}
	if err := s.cfg.Access.AddKey(ctx, key); err != nil {
		return nil, err
	}
	out := &keyCreated{}
	out.Body.KeyView, out.Body.Key = newKeyView(key), plain
	return out, nil
}

type keyPath struct {
	ID string `path:"id" doc:"Id of the key: the part between vbt_ and the next _."`
}

func (s *Server) revokeKey(ctx context.Context, in *keyPath) (*struct{}, error) {
	if err := operatorOnly(callOf(ctx)); err != nil {
		return nil, err
	}
	revoked, err := s.cfg.Access.RevokeKey(ctx, in.ID, s.cfg.Clock())
	if err == nil && !revoked {
		err = newProblem(http.StatusNotFound, "key.not_found", "there is no key with this id that is not revoked; GET /v1/keys lists them")
	}
	return nil, err
}

type projectionsAnswer struct {
	Body struct {
		Head        int64                `json:"head" doc:"Last position in the log."`
		Projections []ProjectionView     `json:"projections"`
		Parked      []projections.Parked `json:"parked"`
	}
}

// ProjectionView is a projection as the operator sees it.
type ProjectionView struct {
	Name       string             `json:"name" example:"inbox"`
	Position   int64              `json:"position" doc:"How far it has got."`
	LagEvents  int64              `json:"lag_events" doc:"How many events of the log it has not seen."`
	LagSeconds float64            `json:"lag_seconds" doc:"Age of the oldest of them."`
	Parked     int                `json:"parked" doc:"Streams of its that stand still."`
	LastError  *projections.Fault `json:"last_error,omitempty" doc:"What last went wrong since the program began, or with a stream that stands still."`
	Rebuild    *RebuildView       `json:"rebuild,omitempty" doc:"The last one."`
}

// RebuildView is a rebuild as the operator sees it.
type RebuildView struct {
	projections.Rebuild

	EventsPerSecond float64 `json:"events_per_second,omitempty" doc:"While it was built."`
}

func newRebuildView(r projections.Rebuild, now time.Time) *RebuildView {
	v := &RebuildView{Rebuild: r}
	if r.StartedAt == nil {
		return v
	}
	until := now
	if r.BuiltAt != nil {
		until = *r.BuiltAt
	} else if r.EndedAt != nil {
		until = *r.EndedAt
	}
	if took := until.Sub(*r.StartedAt); took > 0 {
		v.EventsPerSecond = math.Round(float64(r.Events) / took.Seconds())
	}
	return v
}

func (s *Server) getProjections(ctx context.Context, _ *struct{}) (*projectionsAnswer, error) {
	if err := operatorOnly(callOf(ctx)); err != nil {
		return nil, err
	}
	out := &projectionsAnswer{}
	out.Body.Parked = append([]projections.Parked{}, s.cfg.Projected.Parked()...)
	positions, err := s.cfg.Projected.Positions(ctx) // before the head: nobody is ahead of it
	if err != nil {
		return nil, err
	}
	if out.Body.Head, err = s.cfg.Log.Head(ctx); err != nil {
		return nil, err
	}
	rebuilds, err := s.cfg.Rebuilder.Rebuilds(ctx)
	if err != nil {
		return nil, err
	}
	faults, now := s.cfg.Projected.Faults(), s.cfg.Clock()
	ages := make(map[int64]float64) // most of them are at the same place
	for _, name := range s.cfg.Projected.Names() {
		v := ProjectionView{Name: name, Position: positions[name], LagEvents: out.Body.Head - positions[name]}
		if _, known := ages[v.Position]; !known && v.LagEvents > 0 {
			if ages[v.Position], err = s.age(ctx, v.Position, now); err != nil {
				return nil, err
			}
		}
		v.LagSeconds = ages[v.Position]
		for _, p := range out.Body.Parked {
			if p.Projection == name {
				v.Parked++
			}
		}
		if f, failed := faults[name]; failed {
			v.LastError = &f
		}
		if r, ok := rebuilds[name]; ok {
			v.Rebuild = newRebuildView(r, now)
		}
		out.Body.Projections = append(out.Body.Projections, v)
	}
	return out, nil
}

// age returns for how many seconds the event behind a position has been there.
func (s *Server) age(ctx context.Context, position int64, now time.Time) (float64, error) {
	for r, err := range s.cfg.Log.ReadLog(ctx, position) {
		return max(0, now.Sub(r.Time).Round(time.Millisecond).Seconds()), err
	}
	return 0, nil
}

type projectionPath struct {
	Name string `path:"name" doc:"Name of the projection." example:"inbox"`
}

type rebuildAnswer struct{ Body *RebuildView }

func (s *Server) rebuildProjection(ctx context.Context, in *projectionPath) (*rebuildAnswer, error) {
	if err := operatorOnly(callOf(ctx)); err != nil {
		return nil, err
	}
	r, err := s.cfg.Rebuilder.Ask(ctx, in.Name)
	switch {
	case errors.Is(err, projections.ErrNoProjection):
		return nil, noProjection()
	case errors.Is(err, projections.ErrNoReadModel):
		return nil, newProblem(http.StatusConflict, "projection.no_read_model",
			"its rows bear what became of deliveries, which the log does not know; verify proves them against the log, and a replay of an endpoint sends again")
	case errors.Is(err, projections.ErrRebuilding):
		return nil, newProblem(http.StatusConflict, "projection.rebuilding", "it is "+string(r.State)+" already; GET /v1/projections says how far it has got")
	case err != nil:
		return nil, err
	}
	return &rebuildAnswer{newRebuildView(r, s.cfg.Clock())}, nil
}

func noProjection() *Problem {
	return newProblem(http.StatusNotFound, "projection.not_found", "there is no such projection; GET /v1/projections lists them")
}

func (s *Server) cancelRebuild(ctx context.Context, in *projectionPath) (*rebuildAnswer, error) {
	if err := operatorOnly(callOf(ctx)); err != nil {
		return nil, err
	}
	r, err := s.cfg.Rebuilder.Cancel(ctx, in.Name)
	switch {
	case errors.Is(err, projections.ErrNoProjection):
		return nil, noProjection()
	case errors.Is(err, projections.ErrNotRebuilding) && r.State == "":
		return nil, newProblem(http.StatusConflict, "projection.not_rebuilding", "it is not being rebuilt, and never was")
	case errors.Is(err, projections.ErrNotRebuilding):
		return nil, newProblem(http.StatusConflict, "projection.not_rebuilding", "it is not being rebuilt; its last rebuild is "+string(r.State))
	case err != nil:
		return nil, err
	}
	return &rebuildAnswer{newRebuildView(r, s.cfg.Clock())}, nil
}

type retryInput struct {
	Body struct {
		Projection string `json:"projection,omitempty" doc:"Only what this projection has parked. Defaults to all."`
	}
}

type retryAnswer struct {
	Body struct {
		Streams int64 `json:"streams" doc:"How many will be tried again."`
	}
}

func (s *Server) retryProjections(ctx context.Context, in *retryInput) (*retryAnswer, error) {
	if err := operatorOnly(callOf(ctx)); err != nil {
		return nil, err
	}
	out := &retryAnswer{}
	var err error
	out.Body.Streams, err = s.cfg.Access.AskRetry(ctx, in.Body.Projection)
	return out, err
}
