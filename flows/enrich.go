// SPDX-License-Identifier: Apache-2.0

package flows

import (
	"errors"
	"net/netip"
	"time"

	"github.com/weirnet/weir/bpf"
	"github.com/weirnet/weir/policy"
)

// Owner says whose an address is. The zero Owner is the world.
type Owner struct {
	Identity Identity
	Pod      *policy.Pod     // Identity is PodIdentity
	Service  *policy.Service // Identity is ServiceIdentity
}

// Places knows whose an interface or an address is at this instant. It is
// asked for each event, by one goroutine, and must not block for long.
type Places interface {
	// Interface names a host interface and the pod behind it; nil: it is not
	// known (any more).
	Interface(ifindex uint32) (name string, pod *policy.Pod)
	// Owner of an unmapped address.
	Owner(addr netip.Addr) Owner
}

// Rulebook knows what the ids of an event stand for. Events reach user space
// up to 100 ms late, so it must know an id for a while after it is gone.
// What it returns is shared by all flows and never changed.
type Rulebook interface {
	// Rule returns nil for an id that it does not know.
	Rule(id uint32) *policy.RuleRef
	// Set returns the policies of a set, by namespace and name.
	Set(id uint32) []policy.ObjectKey
}

// Clock tells both clocks at one instant: the wall clock, and CLOCK_MONOTONIC
// in nanoseconds, by which events are stamped.
type Clock func() (wall time.Time, monotonic uint64)

// EnricherOptions say where names come from. All are needed but Nearest.
type EnricherOptions struct {
	Places Places
	Rules  Rulebook
	Clock  Clock
	// Nearest returns the rule that came closest to allowing a flow; nil:
	// there is none to name. It is asked for each event that no rule allowed.
	Nearest func(policy.Flow) *Miss
}

// Validate names what is absent.
func (o EnricherOptions) Validate() error {
	var errs []error
	if o.Places == nil {
		errs = append(errs, errors.New("enricher: Places is absent"))
	}
	if o.Rules == nil {
		errs = append(errs, errors.New("enricher: Rules is absent"))
	}
	if o.Clock == nil {
		errs = append(errs, errors.New("enricher: Clock is absent"))
	}
	return errors.Join(errs...)
}

// Enricher turns events to flows. It belongs to one goroutine.
type Enricher struct {
	options EnricherOptions
	// wall is the wall clock's reading when CLOCK_MONOTONIC read mono. One
	// pair serves all events of a second, so that flows which follow each
	// other closely keep their order when the clocks are read apart.
	wall time.Time
	mono uint64
}

// NewEnricher checks the options.
func NewEnricher(o EnricherOptions) (*Enricher, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	return &Enricher{options: o}, nil
}

// Flow binds the names of this instant to a checked event. Source is the side
// that began.
func (e *Enricher) Flow(ev *bpf.WeirEvent) *Flow {
	protocol := policy.Protocol(ev.Protocol)
	reason := Reason(ev.Reason)
	f := &Flow{
		Time:      e.wallTime(ev.Time),
		Kind:      Kind(ev.Kind),
		Verdict:   Verdict(ev.Verdict),
		Reason:    reason,
		Direction: policy.Direction(ev.Direction),
		Protocol:  protocol,
		TCPFlags:  ev.TcpFlags,
		ICMPType:  ev.IcmpType,
		ICMPCode:  ev.IcmpCode,
		// A new flow is told by its first packet, which is its beginner's, but
		// for these. An event about a live flow does not say whose packet
		// brought it up.
		Reply:     reason == bpf.WeirReasonREASON_MIDSTREAM || reason == bpf.WeirReasonREASON_REPLY,
		EtherType: fromNetwork(ev.Ethertype),
		Length:    ev.Length,
		Repeats:   ev.Repeats,
		Sample:    uint32(ev.Sample),
	}
	name, pod := e.options.Places.Interface(ev.Ifindex)
	f.Interface = name
	local := e.local(address(ev.Local, f.EtherType), pod)
	remote := e.peer(address(ev.Remote, f.EtherType))
	if hasPorts(protocol) {
		local.Port, remote.Port = fromNetwork(ev.LocalPort), fromNetwork(ev.RemotePort)
	}
	f.Source, f.Destination = local, remote
	if bpf.WeirSide(ev.Initiator) == bpf.WeirSideSIDE_REMOTE {
		f.Source, f.Destination = remote, local
	}
	if ev.Service != [16]uint8{} {
		service := e.peer(address(ev.Service, f.EtherType))
		service.Port = fromNetwork(ev.ServicePort)
		f.Service = &service
	}
	e.attribute(f, ev.Rule, ev.Set, pod)
	return f
}

// local is the end at the pod. Its pod is that of the interface, whatever
// address the packet shows: a pod that forges a source is named all the same,
// and a pod whose address has gone to another since is not misnamed.
func (e *Enricher) local(addr netip.Addr, pod *policy.Pod) Peer {
	if pod == nil {
		return e.peer(addr)
	}
	return Peer{Addr: addr, Identity: PodIdentity, Pod: pod}
}

func (e *Enricher) peer(addr netip.Addr) Peer {
	if !addr.IsValid() {
		return Peer{}
	}
	o := e.options.Places.Owner(addr)
	return Peer{Addr: addr, Identity: o.Identity, Pod: o.Pod, Service: o.Service}
}

// attribute names the rule that decided, or the policies that left no way.
func (e *Enricher) attribute(f *Flow, rule, set uint32, subject *policy.Pod) {
	if rule != 0 {
		f.Rule = e.options.Rules.Rule(rule)
		return
	}
	if set == 0 || f.Verdict == Allowed {
		return
	}
	f.Isolating = e.options.Rules.Set(set)
	if subject == nil || e.options.Nearest == nil || !policyMiss(f.Reason) {
		return
	}
	// Policy judges in the direction of the initiator: the port that a rule
	// names is the destination's, at whichever end the subject stands.
	peer := f.Destination.Addr
	if f.Direction == policy.Ingress {
		peer = f.Source.Addr
	}
	f.Nearest = e.options.Nearest(policy.Flow{
		Direction: f.Direction,
		Subject:   subject,
		Peer:      peer,
		Protocol:  f.Protocol,
		Port:      f.Destination.Port,
	})
}

// policyMiss: no rule allowed it, and a rule could have. A fragment or a
// packet that is no IP is denied whatever the rules say about its peer.
func policyMiss(r Reason) bool {
	return r == bpf.WeirReasonREASON_NO_RULE || r == bpf.WeirReasonREASON_REVOKED
}

// wallTime converts a reading of CLOCK_MONOTONIC in nanoseconds. The pair of
// readings is renewed when an event is a second past it: the wall clock may
// have been set.
func (e *Enricher) wallTime(mono uint64) time.Time {
	since := time.Duration(mono - e.mono)
	if e.wall.IsZero() || since >= time.Second {
		e.wall, e.mono = e.options.Clock()
		e.wall = e.wall.Round(0) // no monotonic part: it is stored and compared
		since = time.Duration(mono - e.mono)
	}
	return e.wall.Add(since)
}
