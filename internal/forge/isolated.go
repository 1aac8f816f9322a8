package forge

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"time"
)

const (
	labelPlaceholder = "{IC_LABEL}"
	// maxLabel is the longest label of an Isolated Cloud (developer.atlassian.com,
	// "Forge Remote essentials", 2026-08-22: ^[a-z0-9_-]{1,50}$).
	maxLabel = 50
	// maxLabels bounds how many Isolated Clouds are remembered.
	maxLabels = 16
)

// isolatedClouds holds one key set for each Isolated Cloud. The label comes
// from a token that is not verified yet, so sets of labels for which no token
// has been verified share one budget of fetches, and give way when there are
// too many.
type isolatedClouds struct {
	template string
	config   KeySetConfig
	now      func() time.Time
	doubtful *budget

	mu      sync.RWMutex
	sets    map[string]*labelledSet
	created uint64
}

type labelledSet struct {
	keys    *KeySet
	trusted bool      // a token with this label was verified
	number  uint64    // tells the oldest
	asked   time.Time // when it was last freshened
}

func newIsolatedClouds(template string, config KeySetConfig) (*isolatedClouds, error) {
	if !strings.Contains(template, labelPlaceholder) {
		return nil, fmt.Errorf("isolated cloud key set: the template lacks %q", labelPlaceholder)
	}
	u, err := url.Parse(strings.ReplaceAll(template, labelPlaceholder, "label"))
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return nil, errors.New("isolated cloud key set: the template is not an http or https URL")
	}
	return &isolatedClouds{
		template: template,
		config:   config,
		now:      config.now(),
		doubtful: config.budget(),
		sets:     make(map[string]*labelledSet),
	}, nil
}

func isLabel(s string) bool {
	return s != "" && len(s) <= maxLabel && labelBytes.hold(s)
}

// keySet returns the set for a label that isLabel accepts, or nil when there
// are already too many that have verified a token.
func (c *isolatedClouds) keySet(label string) *KeySet {
	c.mu.RLock()
	set := c.sets[label]
	c.mu.RUnlock()
	if set == nil {
		return c.add(label)
	}
	c.freshen(set)
	return set.keys
}

func (c *isolatedClouds) add(label string) *KeySet {
	c.mu.Lock()
	defer c.mu.Unlock()
	if set := c.sets[label]; set != nil {
		return set.keys
	}
	config := c.config
	config.URL = strings.ReplaceAll(c.template, labelPlaceholder, label)
	keys := NewKeySet(config)
	keys.charge(c.doubtful)
	if !c.insert(label, &labelledSet{keys: keys, asked: c.now()}) {
		return nil
	}
	return keys
}

// insert is called with mu held.
func (c *isolatedClouds) insert(label string, set *labelledSet) bool {
	if len(c.sets) >= maxLabels && !c.evict() {
		return false
	}
	c.created++
	set.number = c.created
	c.sets[label] = set
	return true
}

// evict drops the oldest set that has not verified a token.
func (c *isolatedClouds) evict() bool {
	oldest := ""
	for label, set := range c.sets {
		if !set.trusted && (oldest == "" || set.number < c.sets[oldest].number) {
			oldest = label
		}
	}
	if oldest == "" {
		return false
	}
	delete(c.sets, oldest)
	return true
}

// trust notes that keys has verified a token with this label.
func (c *isolatedClouds) trust(label string, keys *KeySet) {
	c.mu.RLock()
	set := c.sets[label]
	done := set != nil && set.trusted
	c.mu.RUnlock()
	if done {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	set = c.sets[label]
	if set == nil {
		set = &labelledSet{keys: keys, asked: c.now()}
		if !c.insert(label, set) {
			return
		}
	}
	if !set.trusted {
		set.trusted = true
		set.keys.charge(c.config.budget())
	}
}

// freshen has the set fetched anew when its keys are old, so that a key which
// Atlassian withdrew is not accepted for ever. Nobody waits for it. It is
// outside the budget, so it is not done for a label that may be forged.
func (c *isolatedClouds) freshen(set *labelledSet) {
	known := set.keys.known.Load()
	if known == nil || c.now().Sub(known.at) < c.config.pollEvery() {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if set.trusted && c.now().Sub(set.asked) >= lastRetry {
		set.asked = c.now()
		set.keys.refresh()
	}
}
