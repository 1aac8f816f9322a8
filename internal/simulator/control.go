package simulator

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// Handler serves the key set, the product APIs, the GraphQL gateway and the
// control API.
func (s *Simulator) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /.well-known/jwks.json", s.keys)
	mux.HandleFunc("/graphql", s.graphql)
	control := http.NewServeMux()
	s.addControl(control)
	mux.Handle("/_sim/", sameOrigin(control))
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		writeJSON(w, http.StatusNotFound, unknownRoute(r.Method, r.URL.EscapedPath(), nil).body)
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// Product calls go past ServeMux, which would redirect a path that it
		// wants to tidy up: Atlassian does not, and such a path must be seen.
		if product, cloudID, ok := exPath(r.URL.EscapedPath()); ok {
			s.product(w, r, product, cloudID)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// sameOrigin refuses calls from other web pages: the control API makes the
// simulator send requests, and any page can reach a laptop's loopback.
func sameOrigin(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if origin := r.Header.Get("Origin"); origin != "" {
			if u, err := url.Parse(origin); err != nil || u.Host != r.Host {
				sendError(w, refuse(http.StatusForbidden, "calling control: not from another web page"))
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// sendError answers with the shape {"error": {"message": …}}.
func sendError(w http.ResponseWriter, err error) {
	writeJSON(w, statusOf(err), map[string]any{"error": map[string]any{"message": err.Error()}})
}

// control makes a handler of a function from a decoded body to an answer. An
// empty body is the zero request.
func control[In, Out any](serve func(context.Context, *http.Request, In) (Out, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var in In
		data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, largestRequest))
		if err == nil && len(data) > 0 {
			err = json.Unmarshal(data, &in)
		}
		if err != nil {
			sendError(w, refuse(http.StatusBadRequest, "reading request: %v", err))
			return
		}
		out, err := serve(r.Context(), r, in)
		if err != nil {
			sendError(w, err)
			return
		}
		writeJSON(w, http.StatusOK, out)
	}
}

// none is the body of a request that needs none.
type none struct{}

// get makes a handler of a function that only tells.
func get[Out any](tell func() Out) http.HandlerFunc {
	return control(func(context.Context, *http.Request, none) (Out, error) { return tell(), nil })
}

// post makes a handler of a function that needs no more than the body.
func post[In, Out any](do func(context.Context, In) (Out, error)) http.HandlerFunc {
	return control(func(ctx context.Context, _ *http.Request, in In) (Out, error) { return do(ctx, in) })
}

// instant is post for a function that does not wait.
func instant[In, Out any](do func(In) (Out, error)) http.HandlerFunc {
	return post(func(_ context.Context, in In) (Out, error) { return do(in) })
}

func (s *Simulator) addControl(mux *http.ServeMux) {
	mux.Handle("GET /_sim/state", get(s.State))
	mux.Handle("GET /_sim/events", get(Catalogue))
	mux.Handle("GET /_sim/ledger", control(s.controlLedger))
	mux.Handle("POST /_sim/trigger", post(s.Trigger))
	mux.Handle("POST /_sim/scheduled", post(s.RunScheduled))
	mux.Handle("POST /_sim/schedules", instant(s.controlSchedules))
	mux.Handle("POST /_sim/accounts", instant(s.controlAccount))
	mux.Handle("POST /_sim/reset", get(s.controlReset))

	mux.Handle("GET /_sim/fit/faults", get(FITFaults))
	mux.Handle("POST /_sim/fit", instant(s.controlFIT))

	mux.Handle("GET /_sim/installations", get(s.Installations))
	mux.Handle("POST /_sim/installations", post(s.Install))
	mux.Handle("POST /_sim/installations/{id}/{action}", control(s.controlLifecycle))

	mux.Handle("GET /_sim/faults", get(s.faults.list))
	mux.Handle("POST /_sim/faults", instant(s.SetFault))
	mux.Handle("DELETE /_sim/faults", get(s.controlClearFaults))
	mux.Handle("DELETE /_sim/faults/{id}", control(s.controlRemoveFault))

	mux.Handle("POST /_sim/keys", instant(s.controlKeys))
	mux.Handle("POST /_sim/keys/rotate", instant(s.RotateKeys))
	mux.Handle("POST /_sim/keys/drop", instant(s.DropKey))
	mux.HandleFunc("/_sim/", func(w http.ResponseWriter, r *http.Request) {
		sendError(w, refuse(http.StatusNotFound, "calling control: there is no %s %s", r.Method, r.URL.Path))
	})
}

func (s *Simulator) controlReset() State {
	s.Reset()
	return s.State()
}

func (s *Simulator) controlClearFaults() []Fault {
	s.faults.clear()
	return s.faults.list()
}

func (s *Simulator) controlKeys(mode KeySetMode) (State, error) {
	s.SetKeySetMode(mode)
	return s.State(), nil
}

func (s *Simulator) controlSchedules(to Schedules) (Schedules, error) {
	return s.SetSchedules(to), nil
}

func (s *Simulator) controlLedger(ctx context.Context, r *http.Request, _ none) (Ledger, error) {
	q := LedgerQuery{Installation: r.FormValue("installation")}
	var err, badWait error
	if after := r.FormValue("after"); after != "" {
		q.After, err = strconv.ParseInt(after, 10, 64)
	}
	if wait := r.FormValue("wait"); wait != "" {
		q.Wait, badWait = time.ParseDuration(wait)
	}
	if err = errors.Join(err, badWait); err != nil {
		return Ledger{}, refuse(http.StatusBadRequest, "reading query: %v", err)
	}
	return s.Ledger(ctx, q), nil
}

// FITResult is an invocation token that was asked for.
type FITResult struct {
	Token string `json:"token"`
}

func (s *Simulator) controlFIT(in FITOptions) (FITResult, error) {
	token, err := s.FIT(in)
	return FITResult{Token: token}, err
}

func (s *Simulator) controlAccount(in Account) (Account, error) {
	if in.ID == "" {
		return in, refuse(http.StatusBadRequest, "adding account: it has no accountId")
	}
	s.AddAccount(in)
	a, _ := s.account(in.ID)
	return a, nil
}

func (s *Simulator) controlRemoveFault(_ context.Context, r *http.Request, _ none) ([]Fault, error) {
	id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
	if err != nil || !s.faults.remove(id) {
		return nil, refuse(http.StatusNotFound, "removing fault: there is no %q", r.PathValue("id"))
	}
	return s.faults.list(), nil
}

// LifecycleRequest goes with an action on an installation.
type LifecycleRequest struct {
	// Version is for upgrade; empty means the next major one.
	Version string `json:"version,omitempty"`
	// Silent is for uninstall: the preUninstall modules are not called.
	Silent bool `json:"silent,omitempty"`
}

func (s *Simulator) controlLifecycle(ctx context.Context, r *http.Request, in LifecycleRequest) (LifecycleResult, error) {
	id := r.PathValue("id")
	switch action := r.PathValue("action"); action {
	case "upgrade":
		return s.Upgrade(ctx, id, in.Version)
	case "preUninstall":
		return s.PreUninstall(ctx, id)
	case "uninstall":
		return s.Uninstall(ctx, id, in.Silent)
	case "reinstall":
		return s.Reinstall(ctx, id)
	case "revoke":
		i, err := s.find(id, "")
		if err == nil {
			s.RevokeTokens(id)
		}
		return LifecycleResult{Installation: i, Deliveries: []Delivery{}}, err
	default:
		return LifecycleResult{}, refuse(http.StatusNotFound, "changing installation: there is no action %q", action)
	}
}
