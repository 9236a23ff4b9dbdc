// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"strconv"
	"strings"

	"github.com/weirnet/weir/policy"
)

func keyOf(text string) (policy.ObjectKey, error) {
	namespace, name, ok := strings.Cut(text, "/")
	if !ok || namespace == "" || name == "" || strings.Contains(name, "/") {
		return policy.ObjectKey{}, fmt.Errorf("%q: want NAMESPACE/NAME", text)
	}
	return policy.ObjectKey{Namespace: namespace, Name: name}, nil
}

func (p *parser) pod(words []string) (*policy.Pod, error) {
	key, err := keyOf(words[0])
	if err != nil {
		return nil, err
	}
	pod := &policy.Pod{ObjectKey: key, UID: key.String(), Node: Here, Labels: map[string]string{}}
	silent := false
	for _, word := range words[1:] {
		name, value, isPair := strings.Cut(word, "=")
		addr, notAddr := netip.ParseAddr(word)
		switch {
		case notAddr == nil:
			pod.IPs = append(pod.IPs, addr)
		case word == "hostnetwork":
			pod.HostNetwork = true
		case word == "terminal":
			pod.Terminal = true
		case word == "noip":
			silent = true
		case !isPair:
			return nil, fmt.Errorf("%q: want an address, KEY=VALUE, hostnetwork, terminal or noip", word)
		case name == "node":
			pod.Node = value
		case name == "port":
			port, err := namedPort(value)
			if err != nil {
				return nil, err
			}
			pod.Ports = append(pod.Ports, port)
		default:
			pod.Labels[name] = value
		}
	}
	if len(pod.IPs) == 0 && !silent {
		pod.IPs = p.nextAddrs(pod.Node)
	}
	return pod, nil
}

// nextAddrs gives 10.244.1.10 and fd00:10:244:1::10 to the first pod of this
// node, 10.244.2.10 and fd00:10:244:2::10 to that of any other, and so on.
func (p *parser) nextAddrs(node string) []netip.Addr {
	subnet := 1
	if node != Here {
		subnet, node = 2, "other"
	}
	n := 10 + p.given[node]
	p.given[node]++
	return []netip.Addr{
		netip.MustParseAddr(fmt.Sprintf("10.244.%d.%d", subnet, n)), netip.MustParseAddr(fmt.Sprintf("fd00:10:244:%d::%d", subnet, n)),
	}
}

func namedPort(text string) (policy.NamedPort, error) {
	parts := strings.Split(text, ":")
	if len(parts) != 3 {
		return policy.NamedPort{}, fmt.Errorf("port=%s: want port=NAME:PROTOCOL:NUMBER", text)
	}
	protocol, ok := protocols()[parts[1]]
	number, err := strconv.ParseUint(parts[2], 10, 16)
	if !ok || err != nil || number == 0 {
		return policy.NamedPort{}, fmt.Errorf("port=%s: want TCP, UDP or SCTP and a number from 1 to 65535", text)
	}
	return policy.NamedPort{Name: parts[0], Protocol: protocol, Number: uint16(number)}, nil
}

// protocols with ports.
func protocols() map[string]policy.Protocol {
	return map[string]policy.Protocol{"TCP": policy.TCP, "UDP": policy.UDP, "SCTP": policy.SCTP}
}

// namespace with the given labels changed: KEY=VALUE sets, KEY- removes.
func (p *parser) namespace(name string, words []string, labels map[string]string) (policy.Batch, error) {
	labels, err := relabel(labels, words)
	if err != nil {
		return policy.Batch{}, err
	}
	n, err := namespaceOf(name, labels)
	return policy.Batch{Namespaces: []policy.Namespace{n}}, err
}

func relabel(labels map[string]string, words []string) (map[string]string, error) {
	labels = maps.Clone(labels)
	if labels == nil {
		labels = map[string]string{}
	}
	for _, word := range words {
		key, value, isPair := strings.Cut(word, "=")
		switch {
		case isPair:
			labels[key] = value
		case strings.HasSuffix(word, "-"):
			delete(labels, strings.TrimSuffix(word, "-"))
		default:
			return nil, fmt.Errorf("%q: want KEY=VALUE or KEY-", word)
		}
	}
	return labels, nil
}

func addresses(words []string) ([]netip.Addr, error) {
	var out []netip.Addr
	for _, word := range words {
		addr, err := netip.ParseAddr(word)
		if err != nil {
			return nil, fmt.Errorf("%q is not an address", word)
		}
		out = append(out, addr)
	}
	return out, nil
}

func (p *parser) host(words []string) error {
	if len(words) < 2 {
		return errors.New("host: want a name and addresses")
	}
	addrs, err := addresses(words[1:])
	if err != nil {
		return fmt.Errorf("host %s: %w", words[0], err)
	}
	p.hosts[words[0]] = addrs
	return nil
}

func (p *parser) service(words []string) (policy.Batch, error) {
	key, err := keyOf(words[0])
	if err != nil {
		return policy.Batch{}, err
	}
	addrs, err := addresses(words[1:])
	return policy.Batch{Services: []*policy.Service{{ObjectKey: key, IPs: addrs}}}, err
}

// alter changes or deletes an object that there is. Objects are immutable, so
// a change is a copy.
func (p *parser) alter(verb, kind, name string, words []string) (policy.Batch, error) {
	if kind == "namespace" {
		n, known := p.world.Namespaces[name]
		switch {
		case !known:
			return policy.Batch{}, fmt.Errorf("there is no namespace %s", name)
		case verb == "delete":
			return policy.Batch{DeletedNamespaces: []string{name}}, nil
		case verb == "relabel":
			return p.namespace(name, words, n.Labels)
		}
		return policy.Batch{}, errors.New("a namespace can be relabelled and deleted")
	}
	key, err := keyOf(name)
	if err != nil {
		return policy.Batch{}, err
	}
	if kind == "pod" {
		return p.alterPod(verb, key, words)
	}
	_, isPolicy := p.world.Policies[key]
	_, isService := p.world.Services[key]
	switch {
	case verb == "delete" && kind == "policy" && isPolicy:
		return policy.Batch{DeletedPolicies: []policy.ObjectKey{key}}, nil
	case verb == "delete" && kind == "service" && isService:
		return policy.Batch{DeletedServices: []policy.ObjectKey{key}}, nil
	}
	return policy.Batch{}, fmt.Errorf("%s %s: there is none, or it cannot be done", kind, name)
}

func (p *parser) alterPod(verb string, key policy.ObjectKey, words []string) (policy.Batch, error) {
	old := p.world.Pods[key]
	if old == nil {
		return policy.Batch{}, fmt.Errorf("there is no pod %s", key)
	}
	pod := *old
	var err error
	switch verb {
	case "delete":
		return policy.Batch{DeletedPods: []policy.ObjectKey{key}}, nil
	case "relabel":
		pod.Labels, err = relabel(old.Labels, words)
	case "move":
		pod.IPs, err = addresses(words)
	case "end":
		pod.Terminal = true
	}
	return policy.Batch{Pods: []*policy.Pod{&pod}}, err
}
