// SPDX-License-Identifier: Apache-2.0

package resolve

import (
	"maps"

	"github.com/weirnet/weir/policy"
)

// namespace exists while it is known or something names it.
type namespace struct {
	name     string
	known    bool // else no namespace selector matches it, not even an empty one
	labels   map[string]string
	profiles map[string]*profile
	policies map[string]*version
	subjects map[string]*subject
}

// version is a policy with its present content.
type version struct {
	policy   *policy.Policy
	sections [2]*section // made when a set first needs them
}

func (e *Engine) namespace(name string) *namespace {
	ns := e.namespaces[name]
	if ns == nil {
		ns = &namespace{name: name}
		e.namespaces[name] = ns
	}
	return ns
}

func (e *Engine) forgetNamespace(ns *namespace) {
	if !ns.known && len(ns.profiles) == 0 && len(ns.policies) == 0 && len(ns.subjects) == 0 {
		delete(e.namespaces, ns.name)
	}
}

func (e *Engine) setNamespace(n policy.Namespace, known bool) {
	ns := e.namespaces[n.Name]
	if ns == nil && !known {
		return
	}
	ns = e.namespace(n.Name)
	same := ns.known == known && maps.Equal(ns.labels, n.Labels)
	ns.known, ns.labels = known, n.Labels
	if !same {
		for _, p := range ns.profiles {
			e.markProfile(p)
		}
	}
	e.forgetNamespace(ns)
}

func (e *Engine) setPolicy(p *policy.Policy) {
	ns := e.namespace(p.Namespace)
	if old := ns.policies[p.Name]; old != nil && samePolicy(old.policy, p) {
		return
	}
	if ns.policies == nil {
		ns.policies = map[string]*version{}
	}
	v := &version{policy: p}
	ns.policies[p.Name] = v
	e.replaceVersion(ns, p.Name, v)
}

func (e *Engine) deletePolicy(key policy.ObjectKey) {
	ns := e.namespaces[key.Namespace]
	if ns == nil || ns.policies[key.Name] == nil {
		return
	}
	delete(ns.policies, key.Name)
	e.replaceVersion(ns, key.Name, nil)
	e.forgetNamespace(ns)
}

// replaceVersion puts the present content of a policy, nil if it is gone, in
// the place of the former, and marks the subjects that one of them selects.
func (e *Engine) replaceVersion(ns *namespace, name string, v *version) {
	r := replacement{name: name, version: v, of: map[*selection]*replaced{}}
	for _, s := range ns.subjects {
		if r.in(s) {
			e.staleSubjects[s] = struct{}{}
		}
	}
}
