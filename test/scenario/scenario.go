// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/weirnet/weir/policy"
)

// Here is the node of pods that name no other.
const Here = "here"

// NodeAddrs are the addresses of the node Here, those of its uplink first.
var nodeAddrs = [...]netip.Addr{
	netip.MustParseAddr("192.168.77.1"), netip.MustParseAddr("fd00:77::1"),
	netip.MustParseAddr("10.244.1.1"), netip.MustParseAddr("fd00:10:244:1::1"),
}

// NodeAddrs returns the addresses of the node Here.
func NodeAddrs() []netip.Addr { return slices.Clone(nodeAddrs[:]) }

// Scenario is a state, what is right in it, and changes with what is right
// after each.
type Scenario struct {
	Title string
	File  string
	Line  int
	// Steps: the first one makes the state.
	Steps []Step
}

// Step is a batch and what is right once it is applied.
type Step struct {
	Line  int
	Batch policy.Batch
	Cases []Case
}

// Case is a row of one family.
type Case struct {
	Place string // file:line
	Text  string
	Probe Probe
	Want  Answer
}

// End of a flow.
type End struct {
	Name string
	Addr netip.Addr
	Pod  *policy.Pod // nil: a host or an address
	Node bool        // the address is the node's own
}

// Judged reports whether policies of this node judge the end.
func (e End) Judged() bool {
	return e.Pod != nil && isSubject(e.Pod)
}

func isSubject(p *policy.Pod) bool {
	return p.Node == Here && !p.HostNetwork && !p.Terminal && len(p.IPs) > 0
}

// Probe is the first packet of a flow.
type Probe struct {
	Source, Destination End
	Protocol            policy.Protocol
	Port                uint16 // of the destination; 0 also for protocols without ports
	SourcePort          uint16 // 0: any
	Reply               bool   // send the answer, too
}

// End returns the end that policies of a direction judge, and the other one.
func (p Probe) End(d policy.Direction) (subject, peer End) {
	if d == policy.Egress {
		return p.Source, p.Destination
	}
	return p.Destination, p.Source
}

// String names the ends and what is sent.
func (p Probe) String() string {
	return fmt.Sprintf("%s (%s) -> %s (%s) %s", p.Source.Name, p.Source.Addr, p.Destination.Name, p.Destination.Addr, p.what())
}

func (p Probe) what() string {
	switch p.Protocol {
	case policy.TCP, policy.UDP, policy.SCTP:
		if p.SourcePort != 0 {
			return fmt.Sprintf("%s/%d>%d", p.Protocol, p.SourcePort, p.Port)
		}
		return fmt.Sprintf("%s/%d", p.Protocol, p.Port)
	case policy.ICMP, policy.ICMPv6:
		return "ICMP"
	}
	return fmt.Sprintf("protocol/%d", uint8(p.Protocol))
}

// Causes that are no rule.
const (
	Open   = "open"
	None   = "none"
	OfNode = "node"
	Self   = "self"
	NoHook = "no-hook"
)

// Verdict of one end.
type Verdict struct {
	Allowed bool
	Cause   string // one of the above, or a rule as ruleCause names it
}

func (v Verdict) String() string {
	if v.Allowed {
		return "allow " + v.Cause
	}
	return "deny " + v.Cause
}

func ruleCause(r policy.RuleRef) string { return fmt.Sprintf("%s#%d", r.Policy, r.Index) }

// verdictOf is what a cause means.
func verdictOf(cause string) Verdict {
	return Verdict{Allowed: cause != None && cause != NoHook, Cause: cause}
}

// Answer of an engine, or what is right.
type Answer struct {
	// Ends by direction. nil: the end is not judged, or the packet never got
	// there.
	Ends [2]*Verdict
	// Delivered: whether the packet arrived. nil: the engine sends none.
	Delivered *bool
	// Replied: whether the answer arrived. nil: none was asked for, or the
	// engine keeps no flows.
	Replied *bool
	// Skipped says why the engine cannot judge the probe at all.
	Skipped string
}

// Allowed reports whether all ends that were judged allow.
func (a Answer) Allowed() bool {
	for _, v := range a.Ends {
		if v != nil && !v.Allowed {
			return false
		}
	}
	return true
}

// differs says in what got is not what is right, or "".
func (a Answer) differs(got Answer) string {
	var out []string
	for _, d := range policy.Directions {
		want, is := a.Ends[d], got.Ends[d]
		// What egress denies, ingress never sees; own traffic crosses the
		// veth on its way back alone.
		unseen := is == nil && d == policy.Ingress && got.Ends[policy.Egress] != nil && !got.Ends[policy.Egress].Allowed ||
			is == nil && d == policy.Egress && want != nil && want.Cause == Self
		switch {
		case want == nil && is != nil:
			out = append(out, fmt.Sprintf("%s: %s, but the end is not judged", d, is))
		case want != nil && is == nil && !unseen:
			out = append(out, fmt.Sprintf("%s: no verdict, want %s", d, want))
		case want != nil && is != nil && *want != *is:
			out = append(out, fmt.Sprintf("%s: %s, want %s", d, is, want))
		}
	}
	if got.Delivered != nil && *got.Delivered != a.Allowed() {
		out = append(out, fmt.Sprintf("packet delivered: %t, want %t", *got.Delivered, a.Allowed()))
	}
	if a.Replied != nil && got.Replied != nil && *a.Replied != *got.Replied {
		out = append(out, fmt.Sprintf("reply delivered: %t, want %t", *got.Replied, *a.Replied))
	}
	return strings.Join(out, "; ")
}
