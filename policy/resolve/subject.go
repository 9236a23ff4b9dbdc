// SPDX-License-Identifier: Apache-2.0

package resolve

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/weirnet/weir/policy"
)

// subject is a pod of this node that policies may select: not in the host's
// network, not terminal. It may have no address yet.
type subject struct {
	pod *pod
	ns  *namespace
	// versions of the policies that select it, by name: kept, since a change
	// of one policy among a thousand must not look at the others again.
	versions []*version
	sets     [2]*Set // by direction; nil: not isolated
	told     bool
	uid      string // as told
}

func (e *Engine) setSubject(p *pod) {
	key := p.object.ObjectKey
	s := e.subjects[key]
	if s == nil {
		s = &subject{pod: p, ns: e.namespace(key.Namespace)}
		if s.ns.subjects == nil {
			s.ns.subjects = map[string]*subject{}
		}
		s.ns.subjects[key.Name] = s
		e.subjects[key] = s
	}
	s.versions = selecting(s.ns, p.object)
	e.staleSubjects[s] = struct{}{}
}

func (e *Engine) deleteSubject(key policy.ObjectKey, d *Delta) {
	s := e.subjects[key]
	if s == nil {
		return
	}
	delete(e.subjects, key)
	delete(e.staleSubjects, s)
	delete(s.ns.subjects, key.Name)
	e.forgetNamespace(s.ns)
	for _, set := range s.sets {
		e.sets.release(set)
	}
	d.GoneSubjects = append(d.GoneSubjects, key)
}

// settleSubjects finds the sets of every subject whose pod or policies changed.
func (e *Engine) settleSubjects(d *Delta) {
	stale := slices.SortedFunc(maps.Keys(e.staleSubjects), func(a, b *subject) int {
		return compareKeys(a.pod.object.ObjectKey, b.pod.object.ObjectKey)
	})
	clear(e.staleSubjects)
	var alike alikeSubjects
	for _, s := range stale {
		sets := alike.setsOf(e, s)
		if s.told && sets == s.sets && s.uid == s.pod.object.UID {
			continue
		}
		for _, dir := range policy.Directions {
			e.sets.hold(sets[dir])
			e.sets.release(s.sets[dir])
		}
		s.sets, s.told, s.uid = sets, true, s.pod.object.UID
		d.Subjects = append(d.Subjects, s.change())
	}
}

// alikeSubjects remembers the sets of the last few subjects that differ. A
// change of one policy often moves hundreds of pods with a thousand policies
// each, all to one set: to name that set by its policies each time would be
// most of the work.
type alikeSubjects []alike

type alike struct {
	of   *subject
	sets [2]*Set
}

// alikeLimit bounds the comparing where every subject differs.
const alikeLimit = 8

func (list *alikeSubjects) setsOf(e *Engine, s *subject) [2]*Set {
	for _, a := range *list {
		if slices.Equal(a.of.versions, s.versions) && slices.Equal(a.of.pod.object.Ports, s.pod.object.Ports) {
			return a.sets
		}
	}
	sets := e.setsOf(s)
	if len(*list) == alikeLimit {
		*list = (*list)[1:]
	}
	*list = append(*list, alike{s, sets})
	return sets
}

func (e *Engine) setsOf(s *subject) (sets [2]*Set) {
	for _, dir := range policy.Directions {
		sections := make([]*section, 0, len(s.versions))
		for _, v := range s.versions {
			if v.policy.Isolates[dir] {
				sections = append(sections, e.sets.section(v, dir))
			}
		}
		sets[dir] = e.sets.intern(dir, sections, sortedPorts(s.pod.object.Ports), &e.terms)
	}
	return sets
}

// replaceVersion is Engine.replaceVersion for one subject; false: neither
// version selects it.
func (s *subject) replaceVersion(name string, v *version) bool {
	i, was := slices.BinarySearchFunc(s.versions, name, func(v *version, name string) int {
		return strings.Compare(v.policy.Name, name)
	})
	is := v != nil && v.selects(s.pod.object)
	switch {
	case was && is:
		s.versions[i] = v
	case was:
		s.versions = slices.Delete(s.versions, i, i+1)
	case is:
		s.versions = slices.Insert(s.versions, i, v)
	}
	return was || is
}

func (v *version) selects(p *policy.Pod) bool {
	return !p.HostNetwork && !p.Terminal && v.policy.Subjects.Matches(p.Labels)
}

// selecting returns the policies of ns that select p, by name.
func selecting(ns *namespace, p *policy.Pod) []*version {
	if ns == nil {
		return nil
	}
	var versions []*version
	for _, v := range ns.policies {
		if v.selects(p) {
			versions = append(versions, v)
		}
	}
	slices.SortFunc(versions, func(a, b *version) int { return strings.Compare(a.policy.Name, b.policy.Name) })
	return versions
}

func (s *subject) change() SubjectChange {
	c := SubjectChange{Pod: s.pod.object.ObjectKey, UID: s.uid}
	if set := s.sets[policy.Ingress]; set != nil {
		c.Ingress = set.ID
	}
	if set := s.sets[policy.Egress]; set != nil {
		c.Egress = set.ID
	}
	return c
}

func compareKeys(a, b policy.ObjectKey) int {
	return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
}
