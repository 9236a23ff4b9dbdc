// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/weirnet/weir/bpf"
	"github.com/weirnet/weir/policy"
	"github.com/weirnet/weir/policy/resolve"
	"github.com/weirnet/weir/test/packet"
)

// Links is how many pairs of veths the Machine of Programs needs: the last is
// the uplink, the others are local pods'.
const Links = 12

// Programs judges by the BPF programs, each end by a test run of its own.
type Programs struct {
	*pipeline
	machine *packet.Machine
	loader  *packet.Loader
	links   map[policy.ObjectKey]uint32
	free    []uint32
	uplink  uint32
	serial  uint16 // source port or identifier of the last probe
}

// NewPrograms begins without any object on a Machine with Links, which it
// resets. Closing the Machine is the caller's.
func NewPrograms(m *packet.Machine) (*Programs, error) {
	p := &Programs{
		pipeline: newPipeline(resolve.Marks{}), machine: m, loader: packet.NewLoader(m),
		links: map[policy.ObjectKey]uint32{}, uplink: m.Link(Links - 1), serial: 20000,
	}
	for n := range Links - 1 {
		p.free = append(p.free, m.Link(n))
	}
	return p, errors.Join(m.Reset(), p.loader.Apply(p.nodeAddrs()))
}

// Apply implements Engine.
func (p *Programs) Apply(b policy.Batch) error {
	for _, pod := range b.Pods {
		if err := p.bind(pod); err != nil {
			return err
		}
	}
	u := p.update(b)
	err := errors.Join(p.loader.Apply(u), p.loader.Apply(p.collect()))
	for _, key := range u.GoneSubjects {
		if link, bound := p.links[key]; bound {
			p.free = append(p.free, link)
			delete(p.links, key)
		}
	}
	return err
}

// Close implements Engine.
func (p *Programs) Close() error { return nil }

func (p *Programs) bind(pod *policy.Pod) error {
	if pod.Node != Here || pod.HostNetwork || pod.Terminal {
		return nil
	}
	if link, bound := p.links[pod.ObjectKey]; bound {
		var errs []error
		for _, addr := range pod.IPs {
			errs = append(errs, p.machine.PutLocal(addr, link))
		}
		return errors.Join(errs...)
	}
	if len(p.free) == 0 {
		return fmt.Errorf("bind %s: more than %d pods on this node: raise Links", pod.ObjectKey, Links-1)
	}
	link := p.free[0]
	p.free = p.free[1:]
	p.links[pod.ObjectKey] = link
	return p.loader.Bind(pod.ObjectKey, packet.Pod{Ifindex: link, Addresses: pod.IPs, Mode: bpf.WeirModeMODE_ENFORCE})
}

// Judge implements Engine.
func (p *Programs) Judge(probes []Probe) ([]Answer, error) {
	answers := make([]Answer, len(probes))
	for i, probe := range probes {
		var err error
		if answers[i], err = p.probe(probe); err != nil {
			return nil, fmt.Errorf("%s: %w", probe, err)
		}
	}
	return answers, nil
}

func (p *Programs) probe(probe Probe) (Answer, error) {
	var a Answer
	if !hasIdentity(probe.Protocol) {
		// Without ports or identifier it would meet the entry of the last
		// probe of its kind.
		if err := p.machine.Age(time.Hour); err != nil {
			return a, err
		}
	}
	p.serial++
	frames := craft(probe, p.serial)
	for _, d := range []policy.Direction{policy.Egress, policy.Ingress} {
		subject, peer := probe.End(d)
		if !subject.Judged() || (d == policy.Egress && probe.isOwn()) {
			continue // own traffic crosses the veth on its way back alone
		}
		result, err := p.run(frames.request, d, subject, peer)
		if err != nil {
			return a, err
		}
		if a.Ends[d], err = p.verdict(result, peer); err != nil {
			return a, fmt.Errorf("%s: %w", d, err)
		}
	}
	if !probe.Reply {
		return a, nil
	}
	// The answer crosses the same ends the other way.
	a.Replied = new(true)
	for _, d := range policy.Directions {
		subject, peer := probe.End(d)
		if !subject.Judged() {
			continue
		}
		result, err := p.run(frames.reply, opposite(d), subject, peer)
		if err != nil {
			return a, err
		}
		*a.Replied = *a.Replied && result.Passed()
	}
	return a, nil
}

func opposite(d policy.Direction) policy.Direction { return 1 - d }

// isOwn: a pod to itself.
func (p Probe) isOwn() bool {
	return p.Source.Pod != nil && slices.Contains(p.Source.Pod.IPs, p.Destination.Addr)
}

func (p *Programs) run(frame packet.Packet, d policy.Direction, subject, peer End) (packet.Result, error) {
	c := packet.Context{Ifindex: p.links[subject.Pod.ObjectKey]}
	hook := packet.FromPod
	if d == policy.Ingress {
		hook, c.Ingress = packet.ToPod, p.arrival(peer)
	}
	result, err := p.machine.RunPacket(hook, frame, c)
	if err != nil {
		return result, err
	}
	return result, result.Check()
}

// arrival is the interface that what peer sends comes in by.
func (p *Programs) arrival(peer End) uint32 {
	if peer.Node {
		return 0
	}
	if peer.Judged() {
		return p.links[peer.Pod.ObjectKey]
	}
	return p.uplink
}

func (p *Programs) verdict(r packet.Result, peer End) (*Verdict, error) {
	event, one := r.Event()
	if !one && r.Passed() {
		return nil, fmt.Errorf("%s: no event", r)
	}
	if !one { // a denial that was told within the last second is not told again
		event.Verdict, event.Reason = uint8(bpf.WeirVerdictVERDICT_DENIED), uint8(r.Reason())
	}
	return p.verdictOf(event, peer)
}

// verdictOf reads an event.
func (p *pipeline) verdictOf(e bpf.WeirEvent, peer End) (*Verdict, error) {
	v := &Verdict{Allowed: bpf.WeirVerdict(e.Verdict) == bpf.WeirVerdictVERDICT_ALLOWED}
	switch bpf.WeirReason(e.Reason) {
	case bpf.WeirReasonREASON_RULE:
		v.Cause = p.cause(resolve.RuleID(e.Rule))
	case bpf.WeirReasonREASON_NOT_ISOLATED:
		v.Cause = Open
		if peer.Node {
			v.Cause = OfNode // the programs look at isolation first, Evaluate at the node
		}
	case bpf.WeirReasonREASON_NO_RULE:
		v.Cause = None
	case bpf.WeirReasonREASON_FROM_NODE, bpf.WeirReasonREASON_TO_NODE:
		v.Cause = OfNode
	case bpf.WeirReasonREASON_OWN_TRAFFIC:
		v.Cause = Self
	case bpf.WeirReasonREASON_NO_HOOK:
		v.Cause = NoHook
	default:
		return nil, fmt.Errorf("a reason that no scenario speaks of: %s", bpf.ReasonName(bpf.WeirReason(e.Reason)))
	}
	return v, nil
}
