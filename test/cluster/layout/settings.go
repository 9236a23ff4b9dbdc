// SPDX-License-Identifier: Apache-2.0

package layout

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// Settings are what a user chooses. A running cluster keeps its own in its
// state folder.
type Settings struct {
	State    string // folder of everything that the cluster writes
	CNI      string // ptp, bridge
	Proxy    string // mode of kube-proxy: iptables, nftables
	Families string // dual, ipv4
	Nodes    int
}

// MaxNodes is bounded by the addresses that Node hands out.
const MaxNodes = 9

// Defaults of a cluster that was not described.
func Defaults() Settings {
	return Settings{State: "/var/lib/weir-cluster", CNI: "ptp", Proxy: "nftables", Families: "dual", Nodes: 2}
}

// Validate names every setting that cannot be used, and what it may be.
func (s Settings) Validate() error {
	var errs []error
	one := func(name, value string, allowed ...string) {
		if !slices.Contains(allowed, value) {
			errs = append(errs, fmt.Errorf("%s is %q; it may be %s", name, value, strings.Join(allowed, " or ")))
		}
	}
	one("cni", s.CNI, "ptp", "bridge")
	one("proxy", s.Proxy, "iptables", "nftables")
	one("families", s.Families, "dual", "ipv4")
	if s.Nodes < 1 || s.Nodes > MaxNodes {
		errs = append(errs, fmt.Errorf("nodes is %d; it may be 1 to %d", s.Nodes, MaxNodes))
	}
	// down removes this folder whole.
	if !filepath.IsAbs(s.State) || filepath.Clean(s.State) != s.State || strings.Count(s.State, "/") < 2 {
		errs = append(errs, fmt.Errorf("state is %q; give an absolute, clean path at least two levels deep, e.g. /var/lib/weir-cluster", s.State))
	}
	return errors.Join(errs...)
}

// DualStack says whether pods and Services have IPv6 as well.
func (s Settings) DualStack() bool { return s.Families == "dual" }

// AllNodes in order.
func (s Settings) AllNodes() []Node {
	nodes := make([]Node, 0, s.Nodes)
	for i := range s.Nodes {
		nodes = append(nodes, Node{Index: i + 1, Settings: s})
	}
	return nodes
}
