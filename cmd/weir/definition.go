// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"

	pb "github.com/weirnet/weir/api/v1"
)

// side is the end of a flow that a flag speaks of, as the prefix of its name.
type side string

const (
	anyEnd  side = ""
	fromEnd side = "from-"
	toEnd   side = "to-"
)

// definition says how one filter flag is typed, and what it asks for.
type definition struct {
	name, short, arg, usage string
	bare                    string // its value when it is typed without one
	whole                   bool   // a comma is part of the value
	side                    side
	namespaces              bool // names without a namespace are of these
	read                    func(*reading, *pb.FlowFilter, []string)
}

// filterDefinitions are all filter flags, in the order of the help.
func filterDefinitions() []definition {
	var list []definition
	for _, s := range []side{anyEnd, fromEnd, toEnd} {
		list = append(list, endDefinitions(s)...)
	}
	return append(append(list, judgementDefinitions()...), packetDefinitions()...)
}

// endDefinitions are the flags about one end, or either.
func endDefinitions(s side) []definition {
	where := map[side]string{anyEnd: "at either end", fromEnd: "as source", toEnd: "as destination"}[s]
	n, l := "", ""
	if s == anyEnd {
		n, l = "n", "l"
	}
	peer := func(kind string) func(*reading, *pb.FlowFilter) *pb.PeerFilter {
		return func(r *reading, f *pb.FlowFilter) *pb.PeerFilter { return r.end(f, s, kind) }
	}
	list := []definition{
		{name: "pod", arg: "NAME", usage: "NAME or NAMESPACE/NAME of a pod " + where, read: func(r *reading, f *pb.FlowFilter, v []string) {
			r.strings(f, s, v, r.qualified(s), (*pb.FlowFilter).GetPods, func(f *pb.FlowFilter, v []string) { f.Pods = v },
				func(p *pb.PeerFilter, v []string) { p.Pods = append(p.Pods, v...) })
		}},
		{name: "namespace", short: n, arg: "NAME", namespaces: true, usage: "namespace of a pod or Service " + where, read: func(r *reading, f *pb.FlowFilter, v []string) {
			r.strings(f, s, v, one(parseNamespace), (*pb.FlowFilter).GetNamespaces, func(f *pb.FlowFilter, v []string) { f.Namespaces = v },
				func(p *pb.PeerFilter, v []string) { p.Namespaces = append(p.Namespaces, v...) })
		}},
		{name: "label", short: l, arg: "SELECTOR", whole: true, usage: "selector of a pod " + where + ", as kubectl takes it: app=web,tier!=db", read: func(r *reading, f *pb.FlowFilter, v []string) {
			p := peer("label")(r, f)
			p.Labels = append(p.Labels, collect(r, v, one(parseSelector))...)
		}},
		{name: "ip", arg: "IP|CIDR", usage: "address or CIDR " + where, read: func(r *reading, f *pb.FlowFilter, v []string) {
			r.strings(f, s, v, one(parseBlock), (*pb.FlowFilter).GetIps, func(f *pb.FlowFilter, v []string) { f.Ips = v },
				func(p *pb.PeerFilter, v []string) { p.Ips = append(p.Ips, v...) })
		}},
		{name: "port", arg: "N", usage: "port " + where + ", 1 to 65535", read: func(r *reading, f *pb.FlowFilter, v []string) {
			ports := collect(r, v, one(parsePort))
			if s == anyEnd {
				f.Ports = append(f.Ports, ports...)
				return
			}
			p := peer("port")(r, f)
			p.Ports = append(p.Ports, ports...)
		}},
		{name: "service", arg: "NAME", usage: "NAME or NAMESPACE/NAME of a Service " + where, read: func(r *reading, f *pb.FlowFilter, v []string) {
			p := peer("service")(r, f)
			p.Services = append(p.Services, collect(r, v, r.qualified(s))...)
		}},
		{name: "workload", arg: "NAME", usage: "NAME, NAMESPACE/NAME or NAMESPACE/KIND/NAME of the controller of a pod " + where, read: func(r *reading, f *pb.FlowFilter, v []string) {
			p := peer("label")(r, f)
			p.Workloads = append(p.Workloads, collect(r, v, r.workload(s))...)
		}},
		{name: "identity", arg: "WHO", usage: "pod, node, service or world: whose address it is " + where, read: func(r *reading, f *pb.FlowFilter, v []string) {
			p := peer("identity")(r, f)
			p.Identities = append(p.Identities, collect(r, v, one(parseIdentity))...)
		}},
	}
	for i := range list {
		list[i].name, list[i].side = string(s)+list[i].name, s
	}
	return list
}

// end is the filter of the end that a flag speaks of.
func (r *reading) end(f *pb.FlowFilter, s side, kind string) *pb.PeerFilter {
	switch s {
	case fromEnd:
		if f.Source == nil {
			f.Source = &pb.PeerFilter{}
		}
		return f.Source
	case toEnd:
		if f.Destination == nil {
			f.Destination = &pb.PeerFilter{}
		}
		return f.Destination
	}
	return r.either(f, kind)
}

// strings adds values to the list of f for either end, or to that of one end.
func (r *reading) strings(f *pb.FlowFilter, s side, texts []string, read func(string) ([]string, error),
	get func(*pb.FlowFilter) []string, set func(*pb.FlowFilter, []string), add func(*pb.PeerFilter, []string)) {
	values := collect(r, texts, read)
	if s == anyEnd {
		set(f, append(get(f), values...))
		return
	}
	add(r.end(f, s, ""), values)
}

func (r *reading) workload(s side) func(string) ([]string, error) {
	qualified := r.qualified(s)
	return func(text string) ([]string, error) {
		parts := strings.Split(text, "/")
		if len(parts) == 3 && parts[0] != "" && parts[1] != "" && parts[2] != "" {
			return []string{text}, nil
		}
		names, err := qualified(text)
		if err != nil {
			return nil, fmt.Errorf("%q is neither NAME, NAMESPACE/NAME nor NAMESPACE/KIND/NAME", text)
		}
		return names, nil
	}
}

func judgementDefinitions() []definition {
	return []definition{
		{name: "verdict", arg: "VERDICT", usage: "allowed, denied or audited", read: func(r *reading, f *pb.FlowFilter, v []string) {
			f.Verdicts = append(f.Verdicts, collect(r, v, one(parseVerdict))...)
		}},
		{name: "reason", arg: "REASON", usage: "why: no-rule, spoofed, revoked, not-isolated and the like; also --drop-reason", read: func(r *reading, f *pb.FlowFilter, v []string) {
			f.Reasons = append(f.Reasons, collect(r, v, one(parseReason))...)
		}},
		{name: "policy", arg: "NAME", usage: "NAME or NAMESPACE/NAME of a policy that decided or isolates", read: func(r *reading, f *pb.FlowFilter, v []string) {
			f.Policies = append(f.Policies, collect(r, v, r.qualified(anyEnd))...)
		}},
		{name: "rule", arg: "RULE", usage: "NAMESPACE/NAME:ingress:0, the rule that decided; without :0 or :ingress any of them", read: func(r *reading, f *pb.FlowFilter, v []string) {
			f.Rules = append(f.Rules, collect(r, v, r.rule)...)
		}},
		{name: "traffic-direction", arg: "DIRECTION", usage: "ingress or egress: whose policy decided, the destination's or the source's", read: func(r *reading, f *pb.FlowFilter, v []string) {
			f.Directions = append(f.Directions, collect(r, v, one(parseDirection))...)
		}},
	}
}

func packetDefinitions() []definition {
	return []definition{
		{name: "protocol", arg: "NAME", usage: "tcp, udp, sctp, icmp, icmpv6 or a number; 0 is what is not IP", read: func(r *reading, f *pb.FlowFilter, v []string) {
			f.Protocols = append(f.Protocols, collect(r, v, one(parseProtocol))...)
		}},
		{name: "tcp-flags", arg: "FLAGS", usage: "TCP flags that are all set, joined by +, or, with !, not set: syn+!ack", read: func(r *reading, f *pb.FlowFilter, v []string) {
			f.TcpFlags = append(f.TcpFlags, collect(r, v, one(parseTCPFlags))...)
		}},
		{name: "reply", arg: "bool", bare: "true", whole: true, usage: "the packet was sent by the side that did not begin the flow; =false: by the one that did", read: func(r *reading, f *pb.FlowFilter, v []string) {
			for _, reply := range collect(r, v, one(parseBool)) {
				f.Reply = &reply
			}
		}},
		{name: "kind", arg: "KIND", usage: "what the record tells: new, active, closed, revoked or changed", read: func(r *reading, f *pb.FlowFilter, v []string) {
			f.Kinds = append(f.Kinds, collect(r, v, one(parseKind))...)
		}},
		{name: "end-reason", arg: "REASON", usage: "why a flow ended: fin, rst, expired, revoked or removed", read: func(r *reading, f *pb.FlowFilter, v []string) {
			f.EndReasons = append(f.EndReasons, collect(r, v, one(parseEnd))...)
		}},
		{name: "id", arg: "ID", usage: "all records of a flow, by its id as json and wide show it", read: func(r *reading, f *pb.FlowFilter, v []string) {
			f.Ids = append(f.Ids, collect(r, v, one(parseID))...)
		}},
		{name: "interface", arg: "NAME", usage: "host interface of the pod whose policy decided", read: func(r *reading, f *pb.FlowFilter, v []string) {
			f.Interfaces = append(f.Interfaces, collect(r, v, one(parseName))...)
		}},
		{name: "node", arg: "NAME", usage: "node of the agent that tells the flow", read: func(r *reading, f *pb.FlowFilter, v []string) {
			f.Nodes = append(f.Nodes, collect(r, v, one(parseName))...)
		}},
	}
}
