// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/weirnet/weir/agent/kube"
	"github.com/weirnet/weir/bpf"
	"github.com/weirnet/weir/flows"
	"github.com/weirnet/weir/policy"
)

// notices writes Kubernetes events about what the owner of a pod or policy
// should see without asking weir. Without a recorder it writes none.
type notices struct {
	events *kube.Recorder
	dir    *directory
}

// denied tells the pod whose policy denied a flow. Audited flows have passed.
func (n notices) denied(f *flows.Flow) {
	if n.events == nil || f.Verdict != flows.Denied {
		return
	}
	subject, _ := endsOf(f)
	if subject.Pod == nil {
		return
	}
	pod := subject.Pod
	n.events.Denied(kube.Pod(pod.Namespace, pod.Name, pod.UID), func() string { return denialText(f) })
}

func (n notices) unenforceable(pod policy.ObjectKey, uid, why string) {
	n.events.Unenforceable(kube.Pod(pod.Namespace, pod.Name, uid), "policy cannot be enforced on this pod: "+why)
}

// unusable tells what of the policies of a batch cannot be used.
func (n notices) unusable(b policy.Batch) {
	if n.events == nil {
		return
	}
	for _, p := range b.Policies {
		if problems := p.Problems(); len(problems) > 0 {
			n.events.Unusable(kube.NetworkPolicy(p.Namespace, p.Name, p.UID), strings.Join(problems, "; ")+"; these parts allow nothing")
		}
	}
}

// meaningless tells policies what of their rules matches nothing now, in one
// event for each policy.
func (n notices) meaningless(r remarks) {
	texts := map[policy.ObjectKey][]string{}
	for _, ref := range r.rules() {
		for _, text := range r[ref] {
			texts[ref.Policy] = append(texts[ref.Policy], fmt.Sprintf("%s rule %d: %s", ref.Direction, ref.Index, text))
		}
	}
	for key, list := range texts {
		n.about(key, strings.Join(list, "; ")+"; these parts match nothing now")
	}
}

// crowded tells policies whose ranges do not fit in the tables.
func (n notices) crowded(policies []policy.ObjectKey, why string) {
	for _, key := range policies {
		n.about(key, why)
	}
}

func (n notices) about(key policy.ObjectKey, why string) {
	if n.events == nil {
		return
	}
	n.dir.mu.RLock()
	defer n.dir.mu.RUnlock()
	if p := n.dir.policies[key.Namespace][key.Name]; p != nil {
		n.events.Unusable(kube.NetworkPolicy(p.Namespace, p.Name, p.UID), why)
	}
}

// endsOf are the pod whose policy judged, and the other side.
func endsOf(f *flows.Flow) (subject, peer flows.Peer) {
	if f.Direction == policy.Egress {
		return f.Source, f.Destination
	}
	return f.Destination, f.Source
}

// denialText leaves out what differs from one connection to the next, as the
// port of the client: equal denials are one event with a count.
func denialText(f *flows.Flow) string {
	_, peer := endsOf(f)
	to := "from"
	if f.Direction == policy.Egress {
		to = "to"
	}
	said := fmt.Sprintf("%s %s %s", f.Direction, to, peerText(peer))
	port := strconv.Itoa(int(f.Destination.Port))
	switch {
	case f.Destination.Port == 0:
	case f.Direction == policy.Egress:
		said = fmt.Sprintf("%s %s %s", f.Direction, to, net.JoinHostPort(peerText(peer), port))
	default:
		said += " to port " + port
	}
	if f.Protocol != policy.TCP && f.Protocol != 0 {
		said += " (" + f.Protocol.String() + ")"
	}
	said += " denied: " + denialReason(f)
	if f.Service != nil {
		said += "; sent to " + net.JoinHostPort(peerText(*f.Service), strconv.Itoa(int(f.Service.Port))) + " (service)"
	}
	return said
}

func peerText(p flows.Peer) string {
	if key, ok := p.Object(); ok {
		return key.String()
	}
	if !p.Addr.IsValid() {
		return "?"
	}
	return p.Addr.String()
}

// denialReason is worded as weir observe words it.
func denialReason(f *flows.Flow) string {
	if f.Reason != bpf.WeirReasonREASON_NO_RULE {
		return denialReasons(f.Reason)
	}
	said := "no rule allows it"
	if len(f.Isolating) > 0 {
		names := make([]string, len(f.Isolating))
		for i, key := range f.Isolating {
			names[i] = key.String()
		}
		said = "isolated by " + strings.Join(names, ", ")
	}
	if miss := f.Nearest; miss != nil {
		said += "; nearest miss " + miss.Rule.String()
		if miss.Why != "" {
			said += ": " + miss.Why
		}
	}
	return said
}

func denialReasons(r bpf.WeirReason) string {
	switch r {
	case bpf.WeirReasonREASON_SPOOFED:
		return "the source address is not the pod's"
	case bpf.WeirReasonREASON_OVERLAY:
		return "tunnel traffic from a pod to the node"
	case bpf.WeirReasonREASON_MALFORMED:
		return "malformed packet"
	case bpf.WeirReasonREASON_FRAGMENT:
		return "fragment without an allowed first fragment"
	case bpf.WeirReasonREASON_UNSUPPORTED:
		return "not IP, and the pod is isolated"
	case bpf.WeirReasonREASON_NOT_READY:
		return "policy not complete yet"
	case bpf.WeirReasonREASON_NO_HOOK:
		return "goes to an address that the node translates, and this node has no hook after that"
	case bpf.WeirReasonREASON_REVOKED:
		return "a policy change cut the flow"
	case bpf.WeirReasonREASON_NEIGHBOUR_FORGED:
		return "ARP or neighbour discovery that claims what is not the pod's"
	case bpf.WeirReasonREASON_LOOPBACK:
		return "loopback address on the wire"
	}
	return "reason " + bpf.ReasonName(r)
}
