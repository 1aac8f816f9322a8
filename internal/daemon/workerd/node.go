package workerd

import (
	"context"
	"encoding/json"
	"time"

	"bellows/internal/store"
)

const (
	// beatEvery is how often a worker says that it lives, and beatLife how
	// long that is believed.
	beatEvery = 3 * time.Second
	beatLife  = 10 * time.Second
)

// Node is what a worker says of itself.
type Node struct {
	ID      string    `json:"id"`
	Running int       `json:"running"`
	Since   time.Time `json:"since"`
}

// beat writes the worker's heartbeat until ctx ends, and takes it away then.
func (d *service) beat(ctx context.Context) {
	bucket := d.broker.Store.Bucket(store.Nodes)
	node := Node{ID: d.name, Since: time.Now().UTC()}
	ticker := time.NewTicker(beatEvery)
	defer ticker.Stop()
	var revision uint64
	for {
		node.Running = d.worker.Running()
		revision = d.beatOnce(ctx, bucket, node, revision)
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
			_ = bucket.Purge(last, node.ID) // it expires by itself otherwise
			cancel()
			return
		case <-ticker.C:
		}
	}
}

// beatOnce returns the revision for the next beat; after a failure it starts
// anew, since the entry may have expired.
func (d *service) beatOnce(ctx context.Context, bucket *store.Bucket, node Node, revision uint64) uint64 {
	value, err := json.Marshal(node)
	if err != nil {
		return 0
	}
	if revision > 0 {
		revision, err = bucket.Update(ctx, node.ID, value, revision, beatLife)
	} else {
		revision, err = bucket.Create(ctx, node.ID, value, beatLife)
	}
	if err != nil {
		d.o.Log.Debug("writing a heartbeat failed", "error", err)
		return 0
	}
	return revision
}
