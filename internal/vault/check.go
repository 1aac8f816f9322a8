package vault

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"bellows/internal/secret"
	"bellows/internal/store"
)

// checkTries is how many owners CheckKeys looks at before it gives up: values
// that are damaged or gone say nothing about the keys.
const checkTries = 10

// CheckKeys opens the newest token of the vault, to find out at start, rather
// than job by job, that the private keys do not belong to the public key that
// the writers use. The error then wraps [ErrUnreadable]. An empty vault is no
// error.
func (r *Reader) CheckKeys(ctx context.Context) error {
	entries, err := r.config.Meta.List(ctx)
	if err != nil {
		return fmt.Errorf("checking vault keys: %w", err)
	}
	slices.SortFunc(entries, func(a, b store.Entry) int { return cmp.Compare(b.Revision, a.Revision) })
	for _, e := range entries[:min(len(entries), checkTries)] {
		m, err := readMeta(e.Value)
		if err != nil {
			continue
		}
		value, err := r.sealed(ctx, e.Key, m.Sequence)
		if errors.Is(err, ErrNoToken) {
			continue
		}
		if err != nil {
			return fmt.Errorf("checking vault keys: %w", err)
		}
		switch _, err = openToken(r.config.Keys, e.Key, value); {
		case err == nil:
			return nil
		case errors.Is(err, secret.ErrNoKey):
			installation, _, _ := strings.Cut(e.Key, ".")
			return fmt.Errorf("checking vault keys: the newest token, of installation %q: %w; none of the %d private keys given belongs to the public key that ingest seals to",
				installation, err, len(r.config.Keys))
		}
	}
	return nil
}
