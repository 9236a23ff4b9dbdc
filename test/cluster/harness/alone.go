// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/weirnet/weir/test/cluster/binaries"
	"github.com/weirnet/weir/test/cluster/pki"
)

// PrepareAPI fills a state folder that does not exist yet for an API server
// without a cluster, and returns the command that runs it, with etcd, in the
// network namespace of whoever starts it. Whoever does so ends the process and
// removes the folder: Down knows nothing of it.
func PrepareAPI(ctx context.Context, o Options) (command []string, err error) {
	if err := o.Settings.Validate(); err != nil {
		return nil, err
	}
	if _, err := os.Lstat(o.Settings.State); !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s is there already (%v); name a folder that is not, or remove it", o.Settings.State, err)
	}
	cache, err := binaries.CacheRoot()
	if err != nil {
		return nil, err
	}
	build, err := binaries.Ensure(ctx, o.Source, cache, o.Progress)
	if err != nil {
		return nil, err
	}
	if err := pki.Make(o.Settings, time.Now()); err != nil {
		return nil, err
	}
	return []string{build.Kubernetes(), "api-server", o.Settings.File()}, writeSettings(o.Settings)
}
