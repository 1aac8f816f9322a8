package simulator

import "maps"

// adopt stores what an event says happened, with whatever a caller has set in
// it, so that the REST API agrees with the event.
func (m *maker) adopt(payload any) {
	switch {
	case m.comment != nil:
		m.adoptIssue(payload)
		m.adoptComment(payload)
	case m.issue != nil:
		m.adoptIssue(payload)
		if m.verb == "deleted" && m.entity == "issue" {
			m.removeIssue(m.issue)
		}
	case m.page != nil:
		m.adoptPage(payload)
	}
}

func (m *maker) adoptIssue(payload any) {
	i := m.issue
	i.id, i.key = or(textAt(payload, "issue.id"), i.id), or(textAt(payload, "issue.key"), i.key)
	m.knowID(i.id)
	fields, ok := at(payload, "issue.fields").(map[string]any)
	if !ok {
		return
	}
	maps.Copy(i.fields, object(fields))
	if ref, ok := fields["project"].(map[string]any); ok {
		m.knowProject(ref)
	}
}

func (m *maker) adoptComment(payload any) {
	c := m.comment
	c.id = or(textAt(payload, "comment.id"), c.id)
	m.knowID(c.id)
	c.author = or(textAt(payload, "comment.author.accountId"), c.author)
	switch body := at(payload, "comment.body").(type) {
	case string:
		c.body = document(body)
	case map[string]any:
		c.body = object(body)
	}
	if m.verb == "deleted" {
		i := m.issue
		for n, other := range i.comments {
			if other == c {
				i.comments = append(i.comments[:n:n], i.comments[n+1:]...)
				break
			}
		}
	}
}

func (m *maker) adoptPage(payload any) {
	c := m.page
	c.id, c.title = or(textAt(payload, "content.id"), c.id), or(textAt(payload, "content.title"), c.title)
	c.status = or(textAt(payload, "content.status"), c.status)
	m.knowID(c.id)
	if version, ok := at(payload, "content.version.number").(float64); ok && version >= 1 {
		c.version = int(version)
	}
}
