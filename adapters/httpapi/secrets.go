package httpapi

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"verbatim/domain"
	"verbatim/domain/endpoint"
	"verbatim/eventstore"
	"verbatim/webhooks"
)

// What an endpoint has that is in no event: the secrets that sign, and the values
// of the headers that are sent along.

const (
	// maxHeaderValue is how long the value of a header may be that is sent along:
	// a large token. Servers refuse header blocks from 8 KiB on.
	maxHeaderValue = 4096
	// maxBasicAuth bounds the bytes of a user name and a password, so that the
	// header that they make is no longer than others may be.
	maxBasicAuth = 1024

	headerAuthorization = "Authorization"
)

// A ShownSecret is a new secret as it is shown, once: as it is, or of a private key
// the public one.
type ShownSecret struct {
	Secret    string `json:"secret,omitempty" doc:"Signs the webhooks; shown once. Absent when the request is repeated after the secret was replaced, and with the signature v1a."`
	PublicKey string `json:"public_key,omitempty" doc:"With the signature v1a: checks what is signed. Absent when the request is repeated after the key was replaced."`
}

func show(secret string) ShownSecret {
	if public := webhooks.PublicKey(secret); public != secret {
		return ShownSecret{PublicKey: public}
	}
	return ShownSecret{Secret: secret}
}

// newSecret returns a new secret for that kind of signature.
func newSecret(signature string) string {
	if signature == endpoint.SignatureEd25519 {
		private, _ := webhooks.NewKeyPair(rand.Reader)
		return private
	}
	return webhooks.NewSecret(rand.Reader)
}

// publicKeys returns the keys that check what an endpoint is sent now.
func (s *Server) publicKeys(ctx context.Context, id string) ([]string, error) {
	target, err := s.target(ctx, id)
	keys := make([]string, 0, len(target.Secrets))
	for _, secret := range target.Secrets {
		if key := show(secret).PublicKey; key != "" {
			keys = append(keys, key)
		}
	}
	return keys, err
}

// basicAuth is a user name and a password (RFC 7617).
type basicAuth struct {
	Username string `json:"username" doc:"Without a colon."`
	Password string `json:"password"`
}

// check returns a *domain.FieldError for what cannot be sent.
func (a *basicAuth) check() error {
	if a == nil {
		return nil
	}
	switch {
	case strings.ContainsFunc(a.Username, unicode.IsControl):
		return &domain.FieldError{Field: "basic_auth.username", Rule: "must not have control characters"}
	case strings.ContainsFunc(a.Password, unicode.IsControl):
		return &domain.FieldError{Field: "basic_auth.password", Rule: "must not have control characters"}
	case a.Username == "" && a.Password == "":
		return &domain.FieldError{Field: "basic_auth", Rule: "must not be empty; null removes it"}
	case strings.Contains(a.Username, ":"):
		return &domain.FieldError{Field: "basic_auth.username", Rule: "must not have a colon, which divides it from the password"}
	case len(a.Username)+len(a.Password) > maxBasicAuth:
		return &domain.FieldError{Field: "basic_auth", Rule: "must be at most " + strconv.Itoa(maxBasicAuth) + " bytes together"}
	}
	return nil
}

// among returns the headers with the one that a makes, if there is a.
func (a *basicAuth) among(headers map[string]string) map[string]string {
	if a == nil {
		return headers
	}
	all := maps.Clone(headers)
	if all == nil {
		all = make(map[string]string, 1)
	}
	all[headerAuthorization] = "Basic " + base64.StdEncoding.EncodeToString([]byte(a.Username+":"+a.Password))
	return all
}

// checkHeaderValues returns a *domain.FieldError for what cannot be sent as the
// value of a header, or twice. Names are the domain's to check.
func checkHeaderValues(headers map[string]string) error {
	seen := make(map[string]bool, len(headers))
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		canonical := http.CanonicalHeaderKey(name)
		if seen[canonical] {
			return &domain.FieldError{Field: "headers." + name, Rule: "stands twice, in different case"}
		}
		seen[canonical] = true
		value := headers[name]
		if len(value) > maxHeaderValue {
			return &domain.FieldError{Field: "headers." + name, Rule: "must be at most " + strconv.Itoa(maxHeaderValue) + " bytes"}
		}
		for i := range len(value) {
			if c := value[i]; c < ' ' || c > '~' {
				return &domain.FieldError{Field: "headers." + name, Rule: "must be printable ASCII characters"}
			}
		}
	}
	return nil
}

// prepareHeaders keeps the values of changed headers, user and password, and
// returns the command with the names of all. Nothing is kept if the command would
// be refused.
func (s *Server) prepareHeaders(
	ctx context.Context, in *changeEndpointInput, state endpoint.State, cmd endpoint.Update,
) (endpoint.Command, error) {
	target, err := s.target(ctx, in.ID)
	if err != nil {
		return cmd, err
	}
	headers := make(map[string]string)
	for _, name := range state.Settings.Headers {
		headers[name] = target.Headers[name]
	}
	switch patch := in.Body.Headers; {
	case patch.Set && patch.Value == nil:
		clear(headers)
	case patch.Set:
		for name, value := range *patch.Value {
			if value.Value == nil {
				delete(headers, name)
			} else {
				headers[name] = *value.Value
			}
		}
	}
	names := slices.Sorted(maps.Keys(headers))
	cmd.Headers = domain.Patch[[]string]{Set: true, Value: &names}
	auth, known := in.Body.BasicAuth.Value, state.Settings.BasicAuth
	if in.Body.BasicAuth.Set {
		set := auth != nil
		cmd.BasicAuth, known = domain.Patch[bool]{Set: true, Value: &set}, false
	}
	if _, err := endpoint.Decide(state, cmd, s.cfg.Clock()); err != nil {
		return cmd, err
	}
	if err := errors.Join(checkHeaderValues(headers), auth.check()); err != nil {
		return cmd, err
	}
	headers = auth.among(headers)
	if known {
		headers[headerAuthorization] = target.Headers[headerAuthorization]
	}
	return cmd, s.cfg.Models.SetHeaders(ctx, in.ID, headers)
}

// secretAsOf returns the secret that an order made, for an answer that is given
// again: a client that never got the first one has no other way to learn it. It
// is "" if the secret was replaced since.
func (s *Server) secretAsOf(ctx context.Context, done endpointDone) (string, error) {
	for r, err := range s.cfg.Log.ReadStream(ctx, done.Stream, done.Version) {
		if err != nil {
			return "", err
		}
		if r.Type == (endpoint.SecretRotated{}).EventType() || r.Type == (endpoint.Deleted{}).EventType() {
			return "", nil
		}
	}
	_, id := eventstore.SplitStream(done.Stream)
	target, err := s.target(ctx, id)
	if err != nil || len(target.Secrets) == 0 {
		return "", err
	}
	return target.Secrets[0], nil
}

// target returns the secrets and headers of an endpoint that is in the log.
func (s *Server) target(ctx context.Context, id string) (webhooks.Target, error) {
	if err := s.settle(ctx); err != nil {
		return webhooks.Target{}, err
	}
	target, err := s.cfg.Models.Target(ctx, id)
	if errors.Is(err, webhooks.ErrNoTarget) {
		err = errNotProjected
	}
	return target, err
}

type secretRotated struct {
	ID            string    `json:"id" doc:"Of the endpoint."`
	PreviousUntil time.Time `json:"previous_until" doc:"Until then the one before it signs too."`
	Version       int64     `json:"version"`
	ShownSecret
}

type rotateBody struct {
	Overlap string `json:"overlap,omitempty" doc:"How long the secret before it still signs: up to 744h, 0s for not at all. Defaults to 24h." example:"24h"`
}

type rotateInput struct {
	EndpointPath
	Body *rotateBody
}

// rotateSecret keeps the new secret before the log says that there is one: the
// other way round, a crash in between would leave a rotation that never was.
func (s *Server) rotateSecret(ctx context.Context, in *rotateInput) (*answer[secretRotated], error) {
	overlap, err := endpoint.ParseOverlap(orZero(in.Body).Overlap)
	if err != nil {
		return nil, err
	}
	o := s.endpointOrder(callOf(ctx), in.ID)
	secret := ""
	o.Prepare = func(ctx context.Context, state endpoint.State) (endpoint.Command, error) {
		now := s.cfg.Clock().UTC().Truncate(time.Microsecond)
		cmd := endpoint.RotateSecret{PreviousUntil: now.Add(overlap)}
		if !state.Registered || state.Deleted || secret != "" {
			return cmd, nil // refused in a moment; or kept by an earlier try
		}
		secret = newSecret(state.Settings.Signature)
		return cmd, s.cfg.Models.AddSecret(ctx, in.ID, secret, now, cmd.PreviousUntil)
	}
	done, err := s.executeEndpoint(ctx, o)
	if err != nil {
		return nil, err
	}
	if done.Replayed {
		if secret, err = s.secretAsOf(ctx, done); err != nil {
			return nil, err
		}
	}
	event, err := s.cfg.Codec.Decode(&done.Events[0])
	if err != nil {
		return nil, err
	}
	rotated, ok := event.(endpoint.SecretRotated)
	if !ok {
		return nil, errNoSuchEvent
	}
	_, id := eventstore.SplitStream(done.Stream)
	return &answer[secretRotated]{
		Written: written(done.Version, done.Replayed),
		Body:    secretRotated{id, rotated.PreviousUntil, done.Version, show(secret)},
	}, nil
}
