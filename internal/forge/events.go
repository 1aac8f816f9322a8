package forge

import (
	"cmp"
	"slices"
	"strings"
)

// Kinds of events.
const (
	KindProduct   = "product"
	KindLifecycle = "lifecycle"
	KindPolicy    = "policy"
)

// Event is one entry of the catalogue of names that Forge sends.
type Event struct {
	// Name is what a trigger in a manifest lists, and what arrives as
	// eventType (type for policy events).
	Name string
	// Product is jira, jira-software, jira-service-management, confluence,
	// bitbucket or compass; forge for lifecycle and policy events, which every
	// product sends.
	Product string
	// Scope is the classic OAuth scope that the event needs, several of them
	// separated by a space; empty when it needs none.
	Scope string
	// Kind is [KindProduct], [KindLifecycle] or [KindPolicy].
	Kind string
}

// eventGroup is a part of the catalogue in the short form of Atlassian's
// pages: every verb with every entity makes one name.
type eventGroup struct {
	verbs, entities, scope string
}

// The catalogue: developer.atlassian.com "Events reference" (2026-08-22) and
// the scope map of @forge/manifest 13.7.0, which has some names the pages lack.
// App events have names of the app's own making and are not in it.
var (
	jiraEvents = []eventGroup{
		{"created updated deleted assigned viewed mentioned commented", "issue", "read:jira-work"},
		{"mentioned deleted", "comment", "read:jira-work"},
		{"created deleted", "issuelink attachment", "read:jira-work"},
		{"created updated deleted", "worklog component", "read:jira-work"},
		{"set deleted", "issue-property", "read:jira-work"},
		{"created updated deleted released unreleased archived unarchived moved merged", "version", "read:jira-work"},
		{"created updated softdeleted deleted archived unarchived restored", "project", "read:jira-work"},
		{"created updated deleted", "issuetype filter field:context", "manage:jira-configuration"},
		{"created updated trashed restored deleted", "field", "manage:jira-configuration"},
		{"updated", "field:context:configuration", "manage:jira-configuration"},
		{"timetracking", "provider:changed", "manage:jira-configuration"},
		{"changed", "configuration", "manage:jira-configuration"},
		{"failed", "expression", "manage:jira-configuration"},
		{"created updated deleted", "user", "read:jira-user"},
	}
	softwareEvents = []eventGroup{
		{"created started updated closed deleted", "sprint", "read:jira-work"},
		{"created updated deleted configuration-changed", "board", "read:jira-work read:jira-user"},
	}
	serviceEvents = []eventGroup{
		{"created updated deleted", "request-type request-type-group service-desk", "manage:jira-configuration"},
		{"created updated", "portal", "manage:jira-configuration"},
	}
	confluenceEvents = []eventGroup{
		{"created updated liked viewed archived unarchived moved copied children_reordered permissions_updated restored", "page", readContent},
		{"initialized started snapshotted published", "page", readContent},
		{"trashed deleted", "page blogpost", readContent + " write:confluence-content"},
		{"created updated liked viewed permissions_updated restored", "blogpost", readContent},
		{"created moved copied permissions_updated", "whiteboard database folder embed", readContent},
		{"created updated removed", "task", "read:confluence-content.all"},
		{"created updated liked deleted permissions_updated", "comment", readContent},
		{"created updated", "space:V2", readSpace},
		{"permissions_updated deleted", "space:V2", readSpace + " write:confluence-space"},
		{"created updated viewed archived unarchived trashed restored deleted permissions_updated", "attachment", readContent},
		{"created updated trashed restored deleted permissions_updated", "custom_content", readContent},
		{"created added removed deleted", "label", readContent},
		{"created deleted", "relation", readContent},
		{"performed", "search", readContent},
		{"created deleted", "user", "read:confluence-user"},
		{"created deleted", "group", "read:confluence-groups"},
	}
	bitbucketEvents = []eventGroup{
		{"created updated push deleted", "repository", "read:repository:bitbucket"},
		{"created updated", "build-status", "read:repository:bitbucket"},
		{"created", "commit-comment", "read:repository:bitbucket"},
		{"created updated fulfilled rejected", "pullrequest", "read:pullrequest:bitbucket"},
		{"created updated deleted resolved reopened", "pullrequest-comment", "read:pullrequest:bitbucket"},
		{"updated", "pullrequest-reviewer-status", "read:pullrequest:bitbucket"},
		{"pending started completed", "deployment", "read:pipeline:bitbucket"},
	}
	compassEvents = []eventGroup{
		{"created updated deleted", "component_link", "read:component:compass"},
	}
	lifecycleEvents = []eventGroup{{"installed upgraded", "app", ""}}
	policyEvents    = []eventGroup{{"blocked", "app_access_to_objects.v2 app_access_to_objects_in_container.v2", ""}}
)

const (
	readContent = "read:confluence-content.summary"
	readSpace   = "read:confluence-space.summary"
)

// Events returns the catalogue, sorted by name. The caller owns the slice.
func Events() []Event {
	var all []Event
	add := func(prefix, product, kind string, groups []eventGroup) {
		for _, g := range groups {
			for entity := range strings.FieldsSeq(g.entities) {
				for verb := range strings.FieldsSeq(g.verbs) {
					all = append(all, Event{prefix + verb + ":" + entity, product, g.scope, kind})
				}
			}
		}
	}
	add("avi:jira:", "jira", KindProduct, jiraEvents)
	add("avi:jira-software:", "jira-software", KindProduct, softwareEvents)
	add("avi:jsm-entity:", "jira-service-management", KindProduct, serviceEvents)
	add("avi:confluence:", "confluence", KindProduct, confluenceEvents)
	add("avi:bitbucket:", "bitbucket", KindProduct, bitbucketEvents)
	add("avi:compass:", "compass", KindProduct, compassEvents)
	add("avi:forge:", "forge", KindLifecycle, lifecycleEvents)
	add("avi:ecosystem.app_policy:", "forge", KindPolicy, policyEvents)
	slices.SortFunc(all, func(a, b Event) int { return cmp.Compare(a.Name, b.Name) })
	return all
}
