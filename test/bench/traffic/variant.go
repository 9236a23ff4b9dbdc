// SPDX-License-Identifier: Apache-2.0

package traffic

import (
	"context"
	"slices"

	"github.com/weirnet/weir/test/netns"
)

// Names of the variants. Those that begin with "Service" call the server by a
// Service's address, and are compared with the one that only translates.
const (
	Nothing        = "nothing"
	EmptyTCX       = "empty TCX"
	EmptyHooks     = "empty TCX and hook"
	Table          = "flow table alone"
	Weir           = "weir"
	IptablesLegacy = "iptables-legacy, ipset"
	IptablesNFT    = "iptables-nft, ipset"
	NftablesSets   = "nftables sets"
	ServiceNothing = "Service, nothing"
	ServiceWeir    = "Service, weir"
	// Beside is another build of weir: Options.Beside.
	Beside = "weir, the other build"
)

// variant is what is between two pods.
type variant struct {
	name, baseline string
	// service: by a Service, on the routed node only. A translated packet goes back to its bridge only with
	// br_netfilter and hairpins, which is a case of its own.
	service bool
	// once prepares the node; policies brings that many into force. Both nil:
	// nothing to do.
	once     func(context.Context, *stage) error
	policies func(*stage, int) error
}

func variants() []variant {
	onNode := func(f func(*netns.Node, int) error) func(*stage, int) error {
		return func(s *stage, n int) error { return f(s.node, n) }
	}
	ipt := func(command string) func(*stage, int) error {
		return func(s *stage, n int) error { return iptables(s.node, command, n) }
	}
	return []variant{
		{name: Nothing},
		{name: EmptyTCX, baseline: Nothing, once: attachEmpty},
		{name: EmptyHooks, baseline: Nothing, once: attachEmptyHooks},
		{name: Table, baseline: Nothing, once: attachTable},
		{name: Weir, baseline: Nothing, once: prepareAgent, policies: (*stage).weirPolicies},
		{name: IptablesLegacy, baseline: Nothing, policies: ipt("iptables-legacy-restore")},
		{name: IptablesNFT, baseline: Nothing, policies: ipt("iptables-nft-restore")},
		{name: NftablesSets, baseline: Nothing, policies: onNode(nftables)},
		{name: Beside, baseline: Nothing, once: prepareAgent, policies: (*stage).weirPolicies},
		{name: ServiceNothing, service: true, once: translate},
		{name: ServiceWeir, baseline: ServiceNothing, service: true, once: prepareAgent, policies: (*stage).weirPolicies},
	}
}

// variantsOf a wiring.
func (o Options) variantsOf(w netns.Wiring) []variant {
	return slices.DeleteFunc(variants(), func(v variant) bool {
		if v.service && w != netns.Routed {
			return true
		}
		if o.Beside == "" {
			return v.name == Beside
		}
		return !slices.Contains([]string{Nothing, EmptyHooks, Table, Weir, Beside}, v.name)
	})
}

// binOf is where the build of weir is that a variant runs.
func (o Options) binOf(v variant) string {
	if v.name == Beside {
		return o.Beside
	}
	return o.Bin
}
