package ingest

import (
	"net/http"

	"bellows/internal/forge"
)

// mayCall says whether the holder of a verified token may call a hook. Bodies
// of events are not signed, so a token that a browser can hold must not open
// one.
func (s *Server) mayCall(h *hook, inv forge.Invocation) (answer, bool) {
	switch {
	case !s.environments[inv.EnvironmentType]:
		return refuse(http.StatusForbidden, "environment_not_allowed",
			"the Forge environment "+inv.EnvironmentType+" may not call here; see --environment"), false
	case s.frontEnd(inv):
		return refuse(http.StatusForbidden, "front_end_token", "an invocation token of a front end does not open an event endpoint"), false
	case h.modules[inv.ModuleKey]:
		return answer{}, true
	}
	s.metrics.StrangeModules.Inc()
	s.log.Warn("module is none of those that call this endpoint", "module", inv.ModuleKey, "type", inv.ModuleType, "endpoint", h.Endpoint, "strict", s.StrictModules)
	if s.StrictModules {
		return refuse(http.StatusForbidden, "module_not_allowed", "no module of the manifest with this key calls the endpoint"), false
	}
	return answer{}, true
}

// frontEnd says whether a browser may hold the token: somebody is in session,
// or it speaks of a module that has a resolver. Keys are unique over all
// modules of a manifest, so none of those is also a trigger's.
func (s *Server) frontEnd(inv forge.Invocation) bool {
	return inv.FrontEnd() || s.uiTypes[inv.ModuleType] || s.uiKeys[inv.ModuleKey] || s.uiKeys[inv.Module.ModuleKey]
}
