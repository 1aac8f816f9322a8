package simulator

import "net/http"

// propertyBody is a content property as both versions of the API take it.
type propertyBody struct {
	Key     string
	Value   any
	Version struct{ Number int }
}

// addContentProperty stores a new property; false means that the key is taken or
// that there is none.
func (q *apiRequest) addContentProperty(c *content, b propertyBody) (*contentProperty, bool) {
	if b.Key == "" || c.property(b.Key) != nil {
		return nil, false
	}
	p := &contentProperty{id: q.newID(), key: b.Key, value: b.Value, version: 1}
	c.properties = append(c.properties, p)
	return p, true
}

// update changes a property; false means that the version is not the next.
func (p *contentProperty) update(b propertyBody) bool {
	if b.Version.Number != p.version+1 {
		return false
	}
	p.value, p.version = b.Value, b.Version.Number
	return true
}

// withWikiProperty finds the property of the path, or answers that there is none.
func (q *apiRequest) withWikiProperty(serve func(*content, *contentProperty) reply) reply {
	return q.withContent(func(c *content) reply {
		if p := c.property(q.vars["property"]); p != nil {
			return serve(c, p)
		}
		return wikiError(http.StatusNotFound, "Cannot find a property with key: "+q.vars["property"])
	})
}

func (p *contentProperty) wikiView() map[string]any {
	return map[string]any{"id": p.id, "key": p.key, "value": p.value, "version": map[string]any{"number": p.version, "minorEdit": true}}
}

func (q *apiRequest) wikiProperties() reply {
	return q.withContent(func(c *content) reply {
		results := []any{}
		start, limit := q.number("start", 0), q.number("limit", 25)
		for _, p := range page(c.properties, start, limit) {
			results = append(results, p.wikiView())
		}
		return q.wikiResults(results, start, limit)
	})
}

func (q *apiRequest) wikiAddProperty() reply {
	return q.withContent(func(c *content) reply {
		var b propertyBody
		if !q.decode(&b) {
			return wikiError(http.StatusBadRequest, "Could not parse the request body as JSON")
		}
		p, added := q.addContentProperty(c, b)
		if !added {
			return wikiError(http.StatusConflict, "A property with key "+b.Key+" exists already, or there is no key")
		}
		return ok(p.wikiView())
	})
}

func (q *apiRequest) wikiProperty() reply {
	return q.withWikiProperty(func(_ *content, p *contentProperty) reply { return ok(p.wikiView()) })
}

func (q *apiRequest) wikiSetProperty() reply {
	return q.withWikiProperty(func(_ *content, p *contentProperty) reply {
		var b propertyBody
		if !q.decode(&b) {
			return wikiError(http.StatusBadRequest, "Could not parse the request body as JSON")
		}
		if !p.update(b) {
			return wikiError(http.StatusConflict, conflictText)
		}
		return ok(p.wikiView())
	})
}

func (q *apiRequest) wikiDropProperty() reply {
	return q.withWikiProperty(func(c *content, p *contentProperty) reply {
		c.removeProperty(p)
		return noContent()
	})
}

// withPropertyV2 is withWikiProperty in the shape of version 2.
func (q *apiRequest) withPropertyV2(serve func(*content, *contentProperty) reply) reply {
	return q.withV2([]string{kindPage}, func(c *content) reply {
		if p := c.property(q.vars["property"]); p != nil {
			return serve(c, p)
		}
		return notFoundV2("property")
	})
}

func (q *apiRequest) propertiesV2() reply {
	return q.withV2([]string{kindPage}, func(c *content) reply {
		results := []any{}
		for _, p := range page(c.properties, 0, q.number("limit", 25)) {
			if key := q.query.Get("key"); key == "" || key == p.key {
				results = append(results, p.wikiView())
			}
		}
		return resultsV2(results)
	})
}

func (q *apiRequest) addPropertyV2() reply {
	return q.withV2([]string{kindPage}, func(c *content) reply {
		var b propertyBody
		if !q.decode(&b) {
			return errorV2(http.StatusBadRequest, "INVALID_REQUEST_PARAMETER", "the body is not JSON")
		}
		p, added := q.addContentProperty(c, b)
		if !added {
			return errorV2(http.StatusConflict, "CONFLICT", "a property with this key exists already, or there is no key")
		}
		return ok(p.wikiView())
	})
}

func (q *apiRequest) propertyV2() reply {
	return q.withPropertyV2(func(_ *content, p *contentProperty) reply { return ok(p.wikiView()) })
}

func (q *apiRequest) setPropertyV2() reply {
	return q.withPropertyV2(func(_ *content, p *contentProperty) reply {
		var b propertyBody
		if !q.decode(&b) {
			return errorV2(http.StatusBadRequest, "INVALID_REQUEST_PARAMETER", "the body is not JSON")
		}
		if !p.update(b) {
			return errorV2(http.StatusConflict, "CONFLICT", conflictText)
		}
		return ok(p.wikiView())
	})
}

func (q *apiRequest) dropPropertyV2() reply {
	return q.withPropertyV2(func(c *content, p *contentProperty) reply {
		c.removeProperty(p)
		return noContent()
	})
}
