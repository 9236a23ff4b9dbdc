// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/cilium/ebpf"

	"github.com/weirnet/weir/bpf"
	"github.com/weirnet/weir/policy"
)

// Question is a connection that a pod's policy of one direction is asked about.
type Question struct {
	Direction policy.Direction
	Peer      netip.Addr // egress: the destination, ingress: the source
	Protocol  policy.Protocol
	Port      uint16 // destination; ignored for protocols without ports
}

// Answer is what the live maps say.
type Answer struct {
	Verdict bpf.WeirVerdict
	Reason  bpf.WeirReason
	Set     uint32
	Class   uint32 // of the peer
	Rule    uint32 // 0: none
	Flags   bpf.WeirPeerFlag
	Mode    bpf.WeirMode
	Ifindex int
}

// Judge looks up in the live maps what the programs would say to a new
// connection, in their order, and changes nothing. It knows no packet: a peer
// that has an address of this node is taken for the node itself, and a
// connection that is open already is not looked at.
func (d *Datapath) Judge(pod policy.ObjectKey, q Question) (Answer, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for ifindex, b := range d.bindings {
		if b.Pod == pod {
			return d.judge(ifindex, q)
		}
	}
	return Answer{}, fmt.Errorf("judge for %s/%s: %w", pod.Namespace, pod.Name, ErrNotBound)
}

func (d *Datapath) judge(ifindex int, q Question) (Answer, error) {
	a := Answer{Ifindex: ifindex}
	var endpoint bpf.WeirEndpoint
	if found, err := d.lookup(bpf.WeirMapEndpoints, uint32(ifindex), &endpoint); err != nil || !found {
		a.Reason = bpf.WeirReasonREASON_NOT_READY
		return a, err
	}
	a.Mode = bpf.WeirMode(endpoint.Mode)
	if err := d.classify(q.Peer, &a); err != nil {
		return a, err
	}
	if !hasPorts(q.Protocol) {
		q.Port = 0
	}
	anyRows := bpf.WeirEndpointFlagEP_INGRESS_ANY
	if q.Direction == policy.Egress {
		anyRows = bpf.WeirEndpointFlagEP_EGRESS_ANY
		a.Set = endpoint.SetEgress
	} else {
		a.Set = endpoint.SetIngress
	}
	if decided, err := d.beforeRows(q, &a); decided || err != nil {
		return a, err
	}
	err := d.lookupRows(q, endpoint.Flags&uint8(anyRows) != 0, &a)
	return a, err
}

func hasPorts(p policy.Protocol) bool {
	return p == policy.TCP || p == policy.UDP || p == policy.SCTP
}

// classify finds the peer's class: its own entry, else the longest prefix.
func (d *Datapath) classify(addr netip.Addr, a *Answer) error {
	var peer bpf.WeirPeer
	found, err := d.lookup(bpf.WeirMapPeers, addressKey(addr), &peer)
	if err != nil {
		return err
	}
	if found {
		a.Class, a.Flags = peer.Class, bpf.WeirPeerFlag(peer.Flags)
		return nil
	}
	_, err = d.lookup(bpf.WeirMapCidrs, bpf.WeirCidrKey{PrefixLen: 128, Addr: addr.WithZone("").As16()}, &a.Class)
	return err
}

// beforeRows decides what does not depend on rows.
func (d *Datapath) beforeRows(q Question, a *Answer) (bool, error) {
	allow := func(reason bpf.WeirReason) (bool, error) {
		a.Verdict, a.Reason = bpf.WeirVerdictVERDICT_ALLOWED, reason
		return true, nil
	}
	if owner, ok := d.tables.local[q.Peer.Unmap()]; ok && int(owner) == a.Ifindex {
		return allow(bpf.WeirReasonREASON_OWN_TRAFFIC)
	}
	node := a.Flags&bpf.WeirPeerFlagPEER_NODE != 0
	if q.Direction == policy.Ingress && node {
		return allow(bpf.WeirReasonREASON_FROM_NODE)
	}
	switch a.Mode {
	case bpf.WeirModeMODE_ENFORCE, bpf.WeirModeMODE_AUDIT:
	case bpf.WeirModeMODE_NOT_READY_OPEN:
		return allow(bpf.WeirReasonREASON_NOT_READY_OPEN)
	default:
		a.Reason = bpf.WeirReasonREASON_NOT_READY
		return true, nil
	}
	if a.Set == 0 {
		return allow(bpf.WeirReasonREASON_NOT_ISOLATED)
	}
	if q.Direction == policy.Ingress {
		return false, nil
	}
	translated := a.Flags&bpf.WeirPeerFlagPEER_SERVICE != 0
	if node && !translated && hasPorts(q.Protocol) {
		var one uint8
		key := bpf.WeirPortKey{Port: bigEndian(q.Port), Protocol: uint8(q.Protocol)}
		var err error
		if translated, err = d.lookup(bpf.WeirMapTranslated, key, &one); err != nil {
			return true, err
		}
	}
	switch {
	case translated && d.forward.kind == ForwardNone:
		a.miss(bpf.WeirReasonREASON_NO_HOOK)
		return true, nil
	case translated:
		return allow(bpf.WeirReasonREASON_DEFERRED)
	case node:
		return allow(bpf.WeirReasonREASON_TO_NODE)
	}
	return false, nil
}

// miss is a policy miss, which audit lets pass.
func (a *Answer) miss(reason bpf.WeirReason) {
	a.Verdict, a.Reason = bpf.WeirVerdictVERDICT_DENIED, reason
	if a.Mode == bpf.WeirModeMODE_AUDIT {
		a.Verdict = bpf.WeirVerdictVERDICT_AUDITED
	}
}

// lookupRows takes the first row that exists: a row holds all rules that less
// exact ones would add.
func (d *Datapath) lookupRows(q Question, anyRows bool, a *Answer) error {
	keys := []bpf.WeirRowKey{{Set: a.Set, Class: a.Class, Protocol: uint8(q.Protocol)}, {Set: a.Set, Class: a.Class}}
	if anyRows {
		keys = append(keys, bpf.WeirRowKey{Set: a.Set, Protocol: uint8(q.Protocol)}, bpf.WeirRowKey{Set: a.Set})
	}
	for _, key := range keys {
		found, err := d.lookupRow(key, q.Port, a)
		if found || err != nil {
			return err
		}
	}
	a.miss(bpf.WeirReasonREASON_NO_RULE)
	return nil
}

// lookupRow reports whether the row exists, and then has the answer.
func (d *Datapath) lookupRow(key bpf.WeirRowKey, port uint16, a *Answer) (bool, error) {
	for key.Page = 0; uint32(key.Page) < uint32(bpf.WeirRowLimitROW_PAGES); key.Page++ {
		var row bpf.WeirRow
		found, err := d.lookup(bpf.WeirMapRows, key, &row)
		if err != nil {
			return false, err
		}
		if !found || row.Key != key {
			if key.Page == 0 {
				return false, nil
			}
			break
		}
		for _, i := range row.Intervals[:min(int(row.Count), len(row.Intervals))] {
			if port < i.Lo || port > i.Hi {
				continue
			}
			a.Rule = i.Rule
			if bpf.WeirAction(i.Action) == bpf.WeirActionACTION_ALLOW {
				a.Verdict, a.Reason = bpf.WeirVerdictVERDICT_ALLOWED, bpf.WeirReasonREASON_RULE
			} else {
				a.miss(bpf.WeirReasonREASON_DENY_RULE)
			}
			return true, nil
		}
		if row.More == 0 {
			break
		}
	}
	a.miss(bpf.WeirReasonREASON_NO_RULE)
	return true, nil
}

func (d *Datapath) lookup(table string, key, value any) (bool, error) {
	err := d.maps[table].Lookup(key, value)
	if errors.Is(err, ebpf.ErrKeyNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look up in %s: %w", table, err)
	}
	return true, nil
}
