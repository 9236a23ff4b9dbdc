// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/weirnet/weir/policy"
)

// row reads a row into a case for each family and each WHAT.
func (p *parser) row(text string) error {
	p.rows++
	left, right, ok := strings.Cut(text, " = ")
	if !ok {
		return errors.New("a row without \" = \": want SOURCE -> DESTINATION WHAT = allow|deny CAUSES")
	}
	words := strings.Fields(left)
	family := 0
	if words[0] == "ipv4:" || words[0] == "ipv6:" {
		family = int(words[0][3] - '0')
		words = words[1:]
	}
	if len(words) != 4 || words[1] != "->" {
		return fmt.Errorf("%q: want SOURCE -> DESTINATION WHAT", left)
	}
	pairs, err := p.pairs(words[0], words[2], family)
	if err != nil {
		return err
	}
	want, err := wanted(strings.Fields(right))
	if err != nil {
		return err
	}
	step := &p.current.Steps[len(p.current.Steps)-1]
	for _, pair := range pairs {
		for _, what := range strings.Split(words[3], ",") {
			probe := Probe{Source: pair[0], Destination: pair[1], Reply: want.Replied != nil}
			if err := probe.setWhat(what); err != nil {
				return err
			}
			if err := checkEnds(probe, want); err != nil {
				return err
			}
			step.Cases = append(step.Cases, Case{Place: p.place(), Text: text, Probe: probe, Want: want})
		}
	}
	return nil
}

// pairs of addresses of one family.
func (p *parser) pairs(source, destination string, family int) ([][2]End, error) {
	from, err := p.ends(source)
	if err != nil {
		return nil, err
	}
	to, err := p.ends(destination)
	if err != nil {
		return nil, err
	}
	var out [][2]End
	for _, four := range []bool{true, false} {
		if family == 4 && !four || family == 6 && four {
			continue
		}
		is := func(e End) bool { return e.Addr.Is4() == four }
		i, j := slices.IndexFunc(from, is), slices.IndexFunc(to, is)
		if i >= 0 && j >= 0 {
			out = append(out, [2]End{from[i], to[j]})
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s and %s have no address of the same family", source, destination)
	}
	return out, nil
}

// ends is the end by that name with each of its addresses.
func (p *parser) ends(name string) ([]End, error) {
	var addrs []netip.Addr
	var pod *policy.Pod
	if addr, err := netip.ParseAddr(name); err == nil {
		addrs = []netip.Addr{addr}
	} else if name == "node" {
		addrs = nodeAddrs[:2]
	} else if host, known := p.hosts[name]; known {
		addrs = host
	} else {
		key, err := keyOf(name)
		if pod = p.world.Pods[key]; err != nil || pod == nil {
			return nil, fmt.Errorf("%s is no pod, host or address, nor \"node\"", name)
		}
		addrs = pod.IPs
	}
	var out []End
	for _, addr := range addrs {
		out = append(out, End{Name: name, Addr: addr, Pod: pod, Node: slices.Contains(nodeAddrs[:], addr)})
	}
	return out, nil
}

// setWhat reads TCP/80, UDP/53>4000, ICMP, protocol/47.
func (p *Probe) setWhat(text string) error {
	if text == "ICMP" {
		if p.Protocol = policy.ICMP; !p.Source.Addr.Is4() {
			p.Protocol = policy.ICMPv6
		}
		return nil
	}
	name, numbers, ok := strings.Cut(text, "/")
	first, second, two := strings.Cut(numbers, ">")
	if two {
		from, err := strconv.ParseUint(first, 10, 16)
		if err != nil || from == 0 {
			return fmt.Errorf("%q: want a source port from 1 to 65535", text)
		}
		p.SourcePort, first = uint16(from), second
	}
	number, err := strconv.ParseUint(first, 10, 16)
	if !ok || err != nil {
		return fmt.Errorf("%q: want TCP/80, UDP/53, SCTP/3868, UDP/53>4000, ICMP or protocol/47", text)
	}
	if name == "protocol" && number > 0 && number < 256 && !two {
		p.Protocol = policy.Protocol(number)
		return nil
	}
	p.Port = uint16(number)
	if p.Protocol, ok = protocols()[name]; !ok {
		return fmt.Errorf("%q: want TCP/80, UDP/53, SCTP/3868, UDP/53>4000, ICMP or protocol/47", text)
	}
	return nil
}

func wanted(words []string) (Answer, error) {
	var a Answer
	if len(words) == 0 || (words[0] != "allow" && words[0] != "deny") {
		return a, errors.New("want allow or deny behind \" = \"")
	}
	for _, word := range words[1:] {
		name, value, _ := strings.Cut(word, "=")
		switch name {
		case "egress", "ingress":
			v := verdictOf(value)
			if !slices.Contains([]string{Open, None, OfNode, Self, NoHook}, value) && !strings.Contains(value, "#") {
				return a, fmt.Errorf("%q: want open, none, node, self, no-hook or NAMESPACE/NAME#INDEX", word)
			}
			a.Ends[map[string]policy.Direction{"egress": policy.Egress, "ingress": policy.Ingress}[name]] = &v
		case "reply":
			if value != "allow" {
				return a, fmt.Errorf("%q: want reply=allow", word)
			}
			a.Replied = new(true)
		default:
			return a, fmt.Errorf("%q: want egress=, ingress= or reply=", word)
		}
	}
	if a.Allowed() != (words[0] == "allow") {
		return a, fmt.Errorf("%s, but the causes say otherwise", words[0])
	}
	return a, nil
}

// checkEnds: each end that is judged has a cause, and no other has.
func checkEnds(p Probe, want Answer) error {
	judged := 0
	for _, d := range policy.Directions {
		subject, _ := p.End(d)
		if subject.Judged() != (want.Ends[d] != nil) {
			return fmt.Errorf("%s: is %s judged on this node: %t; was %s= given: %t", p, subject.Name, subject.Judged(), d, want.Ends[d] != nil)
		}
		if subject.Judged() {
			judged++
		}
	}
	if judged == 0 {
		return fmt.Errorf("%s: no end is judged on this node", p)
	}
	return nil
}
