// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/weirnet/weir/flows"
	"github.com/weirnet/weir/policy"
)

// retention is how long a rule or set id is known after it is gone. Events
// come up to 100 ms late, and a slow machine is slower.
const retention = time.Minute

// directory is what readers may ask: names of addresses, interfaces and ids,
// and the objects themselves. The controller alone writes it. Objects are
// shared and immutable.
type directory struct {
	mu         sync.RWMutex
	namespaces map[string]policy.Namespace
	pods       map[policy.ObjectKey]*policy.Pod
	policies   map[string]map[string]*policy.Policy // by namespace and name
	services   map[policy.ObjectKey]*policy.Service
	podAddrs   map[netip.Addr][]*policy.Pod
	vips       map[netip.Addr]*policy.Service
	node       map[netip.Addr]struct{}
	interfaces map[uint32]iface
	rules      map[uint32]*policy.RuleRef
	sets       map[uint32][]policy.ObjectKey
	retired    []retiredID
	remarks    remarks
}

type iface struct {
	name string
	pod  policy.ObjectKey
}

type retiredID struct {
	at        time.Time
	rule, set uint32
}

func newDirectory() *directory {
	return &directory{
		namespaces: map[string]policy.Namespace{},
		pods:       map[policy.ObjectKey]*policy.Pod{},
		policies:   map[string]map[string]*policy.Policy{},
		services:   map[policy.ObjectKey]*policy.Service{},
		podAddrs:   map[netip.Addr][]*policy.Pod{},
		vips:       map[netip.Addr]*policy.Service{},
		node:       map[netip.Addr]struct{}{},
		interfaces: map[uint32]iface{},
		rules:      map[uint32]*policy.RuleRef{},
		sets:       map[uint32][]policy.ObjectKey{},
	}
}

// apply takes the objects of a batch.
func (d *directory) apply(b policy.Batch) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, n := range b.Namespaces {
		d.namespaces[n.Name] = n
	}
	for _, name := range b.DeletedNamespaces {
		delete(d.namespaces, name)
	}
	for _, p := range b.Pods {
		d.forgetPod(p.ObjectKey)
		d.pods[p.ObjectKey] = p
		if p.HostNetwork || p.Terminal {
			continue // its address is the node's, or may be another's by now
		}
		for _, a := range p.IPs {
			d.podAddrs[a] = append(d.podAddrs[a], p)
		}
	}
	for _, key := range b.DeletedPods {
		d.forgetPod(key)
	}
	for _, p := range b.Policies {
		if d.policies[p.Namespace] == nil {
			d.policies[p.Namespace] = map[string]*policy.Policy{}
		}
		d.policies[p.Namespace][p.Name] = p
	}
	for _, key := range b.DeletedPolicies {
		delete(d.policies[key.Namespace], key.Name)
		if len(d.policies[key.Namespace]) == 0 {
			delete(d.policies, key.Namespace)
		}
	}
	for _, s := range b.Services {
		d.forgetService(s.ObjectKey)
		d.services[s.ObjectKey] = s
		for _, a := range s.IPs {
			d.vips[a] = s
		}
	}
	for _, key := range b.DeletedServices {
		d.forgetService(key)
	}
}

func (d *directory) forgetPod(key policy.ObjectKey) {
	pod, ok := d.pods[key]
	if !ok {
		return
	}
	delete(d.pods, key)
	for _, a := range pod.IPs {
		rest := slices.DeleteFunc(slices.Clone(d.podAddrs[a]), func(p *policy.Pod) bool { return p == pod })
		if len(rest) == 0 {
			delete(d.podAddrs, a)
		} else {
			d.podAddrs[a] = rest
		}
	}
}

func (d *directory) forgetService(key policy.ObjectKey) {
	service, ok := d.services[key]
	if !ok {
		return
	}
	delete(d.services, key)
	for _, a := range service.IPs {
		if d.vips[a] == service {
			delete(d.vips, a)
		}
	}
}

func (d *directory) setNodeAddrs(addrs []netip.Addr) {
	node := make(map[netip.Addr]struct{}, len(addrs))
	for _, a := range addrs {
		node[a] = struct{}{}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.node = node
}

func (d *directory) setInterface(ifindex uint32, name string, pod policy.ObjectKey) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.interfaces[ifindex] = iface{name, pod}
}

func (d *directory) dropInterface(ifindex uint32) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.interfaces, ifindex)
}

// addIDs names rules and sets before the first event can carry them.
func (d *directory) addIDs(rules map[uint32]*policy.RuleRef, sets map[uint32][]policy.ObjectKey) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for id, ref := range rules {
		d.rules[id] = ref
	}
	for id, keys := range sets {
		d.sets[id] = keys
	}
}

// retire forgets ids, but not yet.
func (d *directory) retire(now time.Time, rules, sets []uint32) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, id := range rules {
		d.retired = append(d.retired, retiredID{at: now, rule: id})
	}
	for _, id := range sets {
		d.retired = append(d.retired, retiredID{at: now, set: id})
	}
	kept := 0
	for kept < len(d.retired) && now.Sub(d.retired[kept].at) > retention {
		delete(d.rules, d.retired[kept].rule)
		delete(d.sets, d.retired[kept].set)
		kept++
	}
	d.retired = d.retired[kept:]
}

// Interface implements flows.Places.
func (d *directory) Interface(ifindex uint32) (string, *policy.Pod) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	i := d.interfaces[ifindex]
	return i.name, d.pods[i.pod]
}

// Owner implements flows.Places.
func (d *directory) Owner(addr netip.Addr) flows.Owner {
	d.mu.RLock()
	defer d.mu.RUnlock()
	// The last one written: while an address passes from one pod to the next
	// that is the one that has it.
	if pods := d.podAddrs[addr]; len(pods) > 0 {
		return flows.Owner{Identity: flows.PodIdentity, Pod: pods[len(pods)-1]}
	}
	if service, ok := d.vips[addr]; ok {
		return flows.Owner{Identity: flows.ServiceIdentity, Service: service}
	}
	if _, ok := d.node[addr]; ok {
		return flows.Owner{Identity: flows.NodeIdentity}
	}
	return flows.Owner{}
}

// Rule implements flows.Rulebook.
func (d *directory) Rule(id uint32) *policy.RuleRef {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.rules[id]
}

// Set implements flows.Rulebook.
func (d *directory) Set(id uint32) []policy.ObjectKey {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.sets[id]
}

// outcomes judges a flow at its subject rule by rule.
func (d *directory) outcomes(f policy.Flow) []policy.Outcome {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return policy.OutcomesOf(d.policiesOf(f.Subject, f.Direction), f, d.podAddrs[f.Peer], d.namespace)
}

// nearest is the rule that came closest to allowing f; nil if there is none.
func (d *directory) nearest(f policy.Flow) *flows.Miss {
	d.mu.RLock()
	defer d.mu.RUnlock()
	outcome, ok := policy.NearestOf(d.policiesOf(f.Subject, f.Direction), f, d.podAddrs[f.Peer], d.namespace)
	if !ok {
		return nil
	}
	return &flows.Miss{Rule: outcome.Rule, Why: outcome.Why}
}

// policiesOf lists the policies that isolate a pod, by namespace and name. The
// caller holds the lock.
func (d *directory) policiesOf(pod *policy.Pod, direction policy.Direction) []*policy.Policy {
	var list []*policy.Policy
	for _, p := range d.policies[pod.Namespace] {
		if p.Isolates[direction] && p.Subjects.Matches(pod.Labels) {
			list = append(list, p)
		}
	}
	slices.SortFunc(list, func(a, b *policy.Policy) int { return a.ObjectKey.Compare(b.ObjectKey) })
	return list
}

func (d *directory) namespace(name string) (policy.Namespace, bool) {
	n, ok := d.namespaces[name]
	return n, ok
}
