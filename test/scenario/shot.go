// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/weirnet/weir/bpf"
	"github.com/weirnet/weir/policy"
	"github.com/weirnet/weir/test/netns"
)

// shot is a probe under way.
type shot struct {
	probe   Probe
	request []byte // from layer 3 up
	reply   []byte
	keys    [2]eventKey
	answer  Answer
}

// Judge implements Engine.
func (p *Packets) Judge(probes []Probe) ([]Answer, error) {
	answers := make([]Answer, len(probes))
	for _, round := range rounds(probes) {
		part := make([]Probe, len(round))
		for i, n := range round {
			part[i] = probes[n]
		}
		got, err := p.judge(part)
		if err != nil {
			return nil, err
		}
		for i, n := range round {
			answers[n] = got[i]
		}
	}
	return answers, nil
}

// rounds are indices of probes that may be under way together. Without ports,
// a probe and one the other way are one flow.
func rounds(probes []Probe) [][]int {
	type pair struct {
		low, high netip.Addr
		protocol  policy.Protocol
	}
	var out [][]int
	var seen []map[pair]bool
	for n, p := range probes {
		k := pair{p.Source.Addr, p.Destination.Addr, p.Protocol}
		if k.high.Less(k.low) {
			k.low, k.high = k.high, k.low
		}
		r := slices.IndexFunc(seen, func(s map[pair]bool) bool { return !s[k] })
		if r < 0 {
			r = len(out)
			out, seen = append(out, nil), append(seen, map[pair]bool{})
		}
		out[r] = append(out[r], n)
		if !hasIdentity(p.Protocol) {
			seen[r][k] = true
		}
	}
	return out
}

// judge sends all packets at once, then all replies.
func (p *Packets) judge(probes []Probe) ([]Answer, error) {
	shots := make([]shot, len(probes))
	for i, probe := range probes {
		var err error
		if shots[i], err = p.load(probe); err != nil {
			return nil, fmt.Errorf("%s: %w", probe, err)
		}
	}
	if err := p.forgetFlows(probes); err != nil {
		return nil, err
	}
	p.stage.forget()
	for i := range shots {
		if err := p.fire(&shots[i]); err != nil {
			return nil, fmt.Errorf("%s: send: %w", probes[i], err)
		}
	}
	if err := p.await(shots); err != nil {
		return nil, err
	}
	p.conclude(shots)
	if err := p.replies(shots); err != nil {
		return nil, err
	}
	answers := make([]Answer, len(probes))
	for i := range shots {
		answers[i] = shots[i].answer
	}
	return answers, nil
}

func (p *Packets) load(probe Probe) (shot, error) {
	s := shot{probe: probe}
	from, to := probe.Source.Addr, probe.Destination.Addr
	switch {
	case probe.isOwn():
		s.answer.Skipped = "own traffic leaves the namespace only through a Service"
		return s, nil
	case from.IsLinkLocalUnicast() && from.Is6() || to.IsLinkLocalUnicast() && to.Is6():
		s.answer.Skipped = "a link-local address is not routed"
		return s, nil
	}
	p.stage.serial++
	frames := craft(probe, p.stage.serial)
	var err, err2 error
	s.request, err = frames.request.Network()
	s.reply, err2 = frames.reply.Network()
	for _, d := range policy.Directions {
		if subject, _ := probe.End(d); subject.Judged() {
			s.keys[d] = p.keyOf(d, probe, p.stage.serial)
		}
	}
	return s, errors.Join(err, err2)
}

// forgetFlows: a flow without ports is known from the last probe of its kind.
// Veths that are bound again begin without flows.
func (p *Packets) forgetFlows(probes []Probe) error {
	again := map[*seat]bool{}
	for _, probe := range probes {
		if hasIdentity(probe.Protocol) {
			continue
		}
		for _, d := range policy.Directions {
			if subject, _ := probe.End(d); subject.Judged() {
				again[p.stage.find(subject.Addr)] = true
			}
		}
	}
	return p.stage.node.Do(func() error {
		var errs []error
		for s := range again {
			errs = append(errs, p.stage.dp.Unbind(s.pod.Ifindex), p.stage.bind(s, s.key, s.addrs))
		}
		return errors.Join(errs...)
	})
}

// find is who has an address, or nil.
func (s *Stage) find(addr netip.Addr) *seat {
	for _, seat := range s.seats {
		if seat.taken && slices.Contains(seat.addrs, addr) {
			return seat
		}
	}
	return nil
}

func (p *Packets) fire(s *shot) error {
	if s.answer.Skipped != "" {
		return nil
	}
	return p.stage.send(s.probe.Source, s.probe.Destination, s.request)
}

// send a packet as the end from would.
func (s *Stage) send(from, to End, network []byte) error {
	if s.find(to.Addr) == nil && !to.Node {
		// Outside hosts of the uplink's own subnet are asked for by address.
		if err := s.neighbour(s.uplink.Attrs().Index, to.Addr, s.outsideMAC); err != nil {
			return err
		}
	}
	if from.Node {
		return sendFromStack(s.node.Namespace, network, to.Addr)
	}
	seat := s.find(from.Addr)
	if seat == nil {
		return s.outside.send(s.outsideMAC, s.uplink.Attrs().HardwareAddr, network)
	}
	hop := seat.pod.HostMAC
	if s.wiring == netns.Bridged {
		hop = s.gateway
		if neighbour := s.find(to.Addr); neighbour != nil {
			hop = neighbour.pod.MAC
		}
	}
	return seat.wire.send(seat.pod.MAC, hop, network)
}

// at is where what is sent to an end arrives.
func (s *Stage) at(e End, protocol policy.Protocol) *tap {
	if e.Node {
		if e.Addr.Is4() {
			return s.delivery[protocol][0]
		}
		return s.delivery[protocol][1]
	}
	if seat := s.find(e.Addr); seat != nil {
		return seat.wire
	}
	return s.outside
}

// patience with one call; all of it is used only where something is missing.
const patience = 3 * time.Second

// until waits for a condition on what has arrived. What it returns with was
// read after the condition held: a packet that passed in spite of its denial
// is seen.
func (s *Stage) until(holds func() bool) error {
	deadline := time.Now().Add(patience)
	for {
		over := holds() || time.Now().After(deadline)
		if err := s.drain(); err != nil || over {
			return err
		}
		wait(s.taps(), 10*time.Millisecond)
	}
}

func (s *Stage) drain() error {
	var errs []error
	for _, w := range s.taps() {
		errs = append(errs, w.drain())
	}
	return errors.Join(errs...)
}

// await sends again what has no source port and no answer yet: a denial that
// an earlier probe of the same kind had within the last second is not told.
func (p *Packets) await(shots []shot) error {
	var failed error
	fired := time.Now()
	err := p.stage.until(func() bool {
		if time.Since(fired) > patience/6 {
			fired = time.Now()
			for i := range shots {
				if s := &shots[i]; !hasIdentity(s.probe.Protocol) && s.answer.Skipped == "" && !p.complete(s) {
					failed = errors.Join(failed, p.fire(s))
				}
			}
		}
		return p.settled(shots)
	})
	return errors.Join(err, failed)
}

// settled: each shot was denied, or all its verdicts are there and it arrived.
func (p *Packets) settled(shots []shot) bool {
	return !slices.ContainsFunc(shots, func(s shot) bool { return s.answer.Skipped == "" && !p.complete(&s) })
}

func (p *Packets) complete(s *shot) bool {
	for _, d := range []policy.Direction{policy.Egress, policy.Ingress} {
		if s.keys[d] == (eventKey{}) {
			continue
		}
		event, told := p.stage.event(s.keys[d])
		if !told {
			return false
		}
		if bpf.WeirVerdict(event.Verdict) == bpf.WeirVerdictVERDICT_DENIED {
			return true
		}
	}
	return p.stage.at(s.probe.Destination, s.probe.Protocol).has(layer4(s.request))
}

func (p *Packets) conclude(shots []shot) {
	for i := range shots {
		s := &shots[i]
		if s.answer.Skipped != "" {
			continue
		}
		s.answer.Delivered = new(p.stage.at(s.probe.Destination, s.probe.Protocol).has(layer4(s.request)))
		for _, d := range policy.Directions {
			event, told := p.stage.event(s.keys[d])
			if s.keys[d] == (eventKey{}) || !told {
				continue
			}
			_, peer := s.probe.End(d)
			v, err := p.verdictOf(event, peer)
			if err != nil {
				v = &Verdict{Allowed: bpf.WeirVerdict(event.Verdict) == bpf.WeirVerdictVERDICT_ALLOWED, Cause: err.Error()}
			}
			s.answer.Ends[d] = v
		}
	}
}

// replies go the other way once the requests are through.
func (p *Packets) replies(shots []shot) error {
	var asked []*shot
	for i := range shots {
		s := &shots[i]
		if !s.probe.Reply || s.answer.Skipped != "" {
			continue
		}
		asked = append(asked, s)
		if err := p.stage.send(s.probe.Destination, s.probe.Source, s.reply); err != nil {
			return fmt.Errorf("%s: send the reply: %w", s.probe, err)
		}
	}
	arrived := func(s *shot) bool {
		return p.stage.at(s.probe.Source, s.probe.Protocol).has(layer4(s.reply))
	}
	if len(asked) == 0 {
		return nil
	}
	err := p.stage.until(func() bool {
		return !slices.ContainsFunc(asked, func(s *shot) bool { return !arrived(s) })
	})
	for _, s := range asked {
		s.answer.Replied = new(arrived(s))
	}
	return err
}
