// SPDX-License-Identifier: Apache-2.0

package load

import (
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// Plan is the size of the cluster.
type Plan struct {
	Nodes      int           `json:"nodes"`      // fake ones; the node under test is one more
	Pods       int           `json:"pods"`       // all: fake, churned and local
	Policies   int           `json:"policies"`   // spread over the namespaces
	Namespaces int           `json:"namespaces"` // each has local pods
	Local      int           `json:"local"`      // pods of the node under test
	Rate       int           `json:"rate"`       // pods created, and as many deleted, each second
	Life       time.Duration `json:"life_ns"`    // of a churned pod
}

// Defaults are the sizes that the page is made with.
func Defaults() Plan {
	return Plan{Nodes: 1000, Pods: 10_000, Policies: 1000, Namespaces: 200, Local: 200, Rate: 20, Life: 30 * time.Second}
}

// Limits of the addresses: a /24 for each fake node, and one for the local pods.
const (
	maxNodes = 1024
	maxLocal = 240
)

// Validate says what cannot be made.
func (p Plan) Validate() error {
	var errs []error
	within := func(name string, value, least, most int) {
		if value < least || value > most {
			errs = append(errs, fmt.Errorf("%s is %d; it may be %d to %d", name, value, least, most))
		}
	}
	within("nodes", p.Nodes, 1, maxNodes)
	within("local pods", p.Local, 3*teams, maxLocal)
	within("namespaces", p.Namespaces, 3*teams, p.Local)
	within("policies", p.Policies, p.Namespaces*policyKinds, 1_000_000)
	within("rate", p.Rate, 2, 1000)
	within("seconds of a churned pod's life", int(p.Life/time.Second), 5, 3600)
	within("pods that stay", p.Steady(), p.Namespaces, maxNodes*100)
	return errors.Join(errs...)
}

// Churned is how many churned pods there are at a time.
func (p Plan) Churned() int { return p.Rate * int(p.Life/time.Second) }

// Steady is how many fake pods stay.
func (p Plan) Steady() int { return p.Pods - p.Local - p.Churned() }

// The ranges of all fake pods.
var (
	FakePods4 = netip.MustParsePrefix("10.16.0.0/14")
	FakePods6 = netip.MustParsePrefix("fd00:16::/32")
)

// ranges of one fake node's pods.
func ranges(node int) []string {
	first := FakePods4.Addr().As4()
	first[1], first[2] = first[1]+byte(node>>8), byte(node)
	second := FakePods6.Addr().As16()
	second[6], second[7] = byte(node>>8), byte(node)
	return []string{
		netip.PrefixFrom(netip.AddrFrom4(first), 24).String(),
		netip.PrefixFrom(netip.AddrFrom16(second), 64).String(),
	}
}
