// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"fmt"

	"github.com/weirnet/weir/agent/kube"
	"github.com/weirnet/weir/api/server"
)

// gate asks the API server who calls over the network.
type gate struct{ reviewer *kube.Reviewer }

// Viewer implements server.Gate.
func (g gate) Viewer(ctx context.Context, token string) (server.Viewer, error) {
	user, err := g.reviewer.User(ctx, token)
	if err != nil {
		return nil, gateError(err)
	}
	return viewer{g.reviewer, user}, nil
}

// viewer is a user whom the API server has vouched for.
type viewer struct {
	reviewer *kube.Reviewer
	user     *kube.User
}

// Name implements server.Viewer.
func (v viewer) Name() string { return v.user.Name }

// Home implements server.Viewer.
func (v viewer) Home() string { return v.user.Namespace }

// May implements server.Viewer.
func (v viewer) May(ctx context.Context, namespace string) (bool, error) {
	may, err := v.reviewer.May(ctx, v.user, namespace)
	return may, gateError(err)
}

func gateError(err error) error {
	switch {
	case err == nil, errors.Is(err, context.Canceled):
		return err
	case errors.Is(err, kube.ErrRefused):
		return fmt.Errorf("%w: %w; get a new one", server.ErrUnauthenticated, err)
	}
	return fmt.Errorf("%w: weir-agent cannot find out who may see flows: %w; nobody is let in until it can, but over the node's socket", server.ErrUnavailable, err)
}

// newGate is nil where nobody is served over the network.
func newGate(o Options, s *source) (server.Gate, error) {
	if o.Viewers == "" {
		return nil, nil
	}
	ro := kube.ReviewerDefaults()
	ro.Client = s.cluster.Client
	reviewer, err := kube.NewReviewer(ro)
	if err != nil {
		return nil, err
	}
	return gate{reviewer}, nil
}
