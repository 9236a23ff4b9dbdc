// SPDX-License-Identifier: Apache-2.0

package packet

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/weirnet/weir/bpf"
	"github.com/weirnet/weir/policy"
	"github.com/weirnet/weir/policy/compile"
)

// Pod is what the agent knows of a local pod beside its policy.
type Pod struct {
	Ifindex   uint32 // a Link of the Machine
	Addresses []netip.Addr
	Mode      bpf.WeirMode // once it has its sets
	Forwards  bool         // no source check
}

// Loader writes what the compiler says into a Machine, in the order that the
// contract of compile.Update demands.
type Loader struct {
	machine *Machine
	pods    map[policy.ObjectKey]binding
	bound   uint32 // pods ever bound: slots are not used twice
}

type binding struct {
	Pod
	slot uint32
}

// shareOfTests is a share of flows that no test fills by accident.
const shareOfTests = 1 << 20

// NewLoader begins with no pods.
func NewLoader(m *Machine) *Loader {
	return &Loader{machine: m, pods: map[policy.ObjectKey]binding{}}
}

// Bind makes a pod known: not ready until an update gives it its sets. Each
// pod gets the next slot, from 1.
func (l *Loader) Bind(key policy.ObjectKey, pod Pod) error {
	if old, known := l.pods[key]; known {
		return fmt.Errorf("bind %v: it is bound to ifindex %d: unbind it first", key, old.Ifindex)
	}
	slot := l.bound + 1
	if slot >= Slots {
		return fmt.Errorf("bind %v: more than %d pods", key, Slots-1)
	}
	l.bound = slot
	l.pods[key] = binding{pod, slot}
	errs := []error{
		l.machine.PutEndpoint(pod.Ifindex, bpf.WeirEndpoint{Slot: slot, Mode: uint8(bpf.WeirModeMODE_NOT_READY)}),
		l.machine.SetFlowLimit(slot, shareOfTests),
	}
	for _, address := range pod.Addresses {
		errs = append(errs, l.machine.PutLocal(address, pod.Ifindex))
	}
	return errors.Join(errs...)
}

// Apply writes an update. Subjects that no Bind named are an error; the rest
// of the update is written all the same.
func (l *Loader) Apply(u compile.Update) error {
	var errs []error
	for _, row := range u.Rows {
		errs = append(errs, l.machine.PutRow(row))
	}
	for _, p := range u.Peers {
		errs = append(errs, l.machine.PutPeer(p.Addr, uint32(p.Class), bpf.WeirPeerFlag(p.Flags)))
	}
	for _, p := range u.Prefixes {
		errs = append(errs, l.machine.PutPrefix(p.Prefix, uint32(p.Class)))
	}
	for _, subject := range u.Subjects {
		errs = append(errs, l.flip(subject))
	}
	if u.MoveEpoch || len(u.Subjects) > 0 {
		errs = append(errs, l.MoveEpoch())
	}
	return errors.Join(append(errs, l.forget(u))...)
}

// MoveEpoch makes the programs judge every live flow again.
func (l *Loader) MoveEpoch() error {
	now, err := l.machine.Epoch()
	if err != nil {
		return err
	}
	return l.machine.SetEpoch(now + 1)
}

func (l *Loader) flip(s compile.SubjectSets) error {
	pod, known := l.pods[s.Pod]
	if !known {
		return fmt.Errorf("update of %v: it is not bound", s.Pod)
	}
	return l.machine.PutEndpoint(pod.Ifindex, bpf.WeirEndpoint{
		SetIngress: uint32(s.Ingress), SetEgress: uint32(s.Egress), Slot: pod.slot,
		Mode: uint8(pod.Mode), Flags: flags(pod.Pod, s),
	})
}

func flags(pod Pod, s compile.SubjectSets) uint8 {
	var out bpf.WeirEndpointFlag
	if pod.Forwards {
		out |= bpf.WeirEndpointFlagEP_FORWARDS
	}
	if s.IngressAny {
		out |= bpf.WeirEndpointFlagEP_INGRESS_ANY
	}
	if s.EgressAny {
		out |= bpf.WeirEndpointFlagEP_EGRESS_ANY
	}
	return uint8(out)
}

// forget deletes at once: between two runs there is no program to wait for.
func (l *Loader) forget(u compile.Update) error {
	var errs []error
	for _, key := range u.GoneSubjects {
		if pod, known := l.pods[key]; known {
			errs = append(errs, l.machine.RemoveEndpoint(pod.Ifindex))
			delete(l.pods, key)
		}
	}
	for _, address := range u.GonePeers {
		errs = append(errs, l.machine.RemovePeer(address))
	}
	for _, prefix := range u.GonePrefixes {
		errs = append(errs, l.machine.RemovePrefix(prefix))
	}
	for _, key := range u.GoneRows {
		errs = append(errs, l.machine.RemoveRow(key))
	}
	return errors.Join(errs...)
}
