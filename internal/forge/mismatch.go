package forge

import "strings"

// Mismatch returns the name of the member of the body that names another site,
// workspace or installation than the token does, or "". The body is not
// signed, so such a one comes from somebody who holds a token of one tenant
// and speaks of another. Where either side says nothing, or the body names a
// kind of thing unknown here, there is no mismatch.
func (b Body) Mismatch(i Invocation) string {
	inner := contextNames{ari: b.ContextARI, cloudID: b.ContextCloudID}
	for _, context := range []contextNames{inner, b.outer} {
		if i.contradictsARI(context.ari) {
			return "context"
		}
		if contradicts(context.cloudID, i.cloudIDs()) {
			return "context.cloudId"
		}
	}
	if contradicts(b.WorkspaceUUID, i.workspaceIDs()) {
		return "workspace.uuid"
	}
	return ""
}

func (i Invocation) cloudIDs() []string {
	ids := []string{i.Module.CloudID}
	for _, c := range i.Contexts {
		ids = append(ids, c.CloudID)
	}
	return ids
}

func (i Invocation) workspaceIDs() []string {
	ids := []string{i.Module.WorkspaceID}
	for _, c := range i.Contexts {
		ids = append(ids, c.WorkspaceID)
	}
	return ids
}

// contradictsARI knows these forms of a context's ARI; the second one is older:
//
//	ari:cloud:<product>::site/<cloudId>
//	ari:cloud:<product>:<cloudId>:workspace/<id>
//	ari:cloud:bitbucket::workspace/<uuid>
//	ari:cloud:ecosystem::installation/<id>
func (i Invocation) contradictsARI(ari string) bool {
	part := strings.SplitN(strings.ToLower(ari), ":", 5)
	if len(part) != 5 || part[0] != "ari" || part[1] != "cloud" {
		return false
	}
	owner, site := part[2], part[3]
	kind, id, _ := strings.Cut(part[4], "/")
	switch {
	case kind == "site" && site == "":
		return contradicts(id, i.cloudIDs())
	case kind == "workspace" && site != "":
		return contradicts(site, i.cloudIDs())
	case kind == "workspace" && owner == "bitbucket":
		return contradicts(id, i.workspaceIDs())
	case kind == "installation" && owner == "ecosystem":
		return contradicts(id, []string{i.Installation})
	}
	return false
}

// contradicts reports whether id is none of those known, of which empty ones
// are not.
func contradicts(id string, known []string) bool {
	if id = withoutBraces(id); id == "" {
		return false
	}
	some := false
	for _, k := range known {
		k = withoutBraces(k)
		if strings.EqualFold(k, id) {
			return false
		}
		some = some || k != ""
	}
	return some
}
