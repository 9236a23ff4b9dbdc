// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"errors"
	"fmt"
	"time"

	"k8s.io/client-go/kubernetes"
)

// KubernetesOptions configure a Kubernetes source.
type KubernetesOptions struct {
	// Client of the API server. It may get, list and watch Pods, Namespaces,
	// NetworkPolicies, Services, EndpointSlices and the Node of this name.
	Client kubernetes.Interface
	// Server is the API server's address, for messages.
	Server string
	// Node is the name of this node's Node object.
	Node string
	// Gather is how long changes are gathered, from the first one on, to become
	// one Batch. It is a part of the time from a change to the new verdict.
	Gather time.Duration
	// Jitter bounds the random wait before the first lists, so that the agents
	// of a cluster whose nodes come up at once do not ask at once.
	Jitter time.Duration
	// Backoff bounds the wait between two tries while the API server does not
	// answer. It begins at 1/32 of that and doubles; each wait is drawn at
	// random from once to twice that time.
	Backoff time.Duration
	// Now is the clock of Problem.Since and Connection; nil is time.Now.
	Now func() time.Time
}

// Defaults fills what is zero, except Client, Server and Node.
func (o *KubernetesOptions) Defaults() {
	if o.Gather == 0 {
		o.Gather = time.Millisecond
	}
	if o.Backoff == 0 {
		o.Backoff = 16 * time.Second
	}
	if o.Now == nil {
		o.Now = time.Now
	}
}

// Validate says what is wrong, all at once.
func (o *KubernetesOptions) Validate() error {
	var errs []error
	if o.Client == nil {
		errs = append(errs, errors.New("no client of the API server is given"))
	}
	if o.Node == "" {
		errs = append(errs, errors.New("no name of this node is given"))
	}
	if o.Gather < 0 || o.Gather > time.Second {
		errs = append(errs, fmt.Errorf("gathering time %s is not between 0 and 1s", o.Gather))
	}
	if o.Jitter < 0 {
		errs = append(errs, fmt.Errorf("jitter %s is below zero", o.Jitter))
	}
	if o.Backoff <= 0 {
		errs = append(errs, fmt.Errorf("backoff %s is not above zero", o.Backoff))
	}
	return errors.Join(errs...)
}
