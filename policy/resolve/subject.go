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
	pod      *pod
	ns       *namespace
	selected *selection
	sets     [2]*Set // by direction; nil: not isolated
	told     bool
	uid      string // as told
}

// selection is the versions of the policies that select a subject, by name:
// kept, since a change of one policy among a thousand must not look at the
// others again. Subjects alike share one, which then never changes.
type selection struct {
	versions []*version
	subjects int // that have it
}

func (s *subject) take(sel *selection) {
	if s.selected != nil {
		s.selected.subjects--
	}
	sel.subjects++
	s.selected = sel
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
	s.take(&selection{versions: selecting(s.ns, p.object)})
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
	s.selected.subjects--
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
		if s.selectedAs(a.of) && slices.Equal(a.of.pod.object.Ports, s.pod.object.Ports) {
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

// selectedAs reports whether the same policies select both; they share the
// list of them from then on.
func (s *subject) selectedAs(other *subject) bool {
	if s.selected != other.selected && !slices.Equal(s.selected.versions, other.selected.versions) {
		return false
	}
	s.take(other.selected)
	return true
}

func (e *Engine) setsOf(s *subject) (sets [2]*Set) {
	for _, dir := range policy.Directions {
		sections := make([]*section, 0, len(s.selected.versions))
		for _, v := range s.selected.versions {
			if v.policy.Isolates[dir] {
				sections = append(sections, e.sets.section(v, dir))
			}
		}
		sets[dir] = e.sets.intern(dir, sections, sortedPorts(s.pod.object.Ports), &e.terms)
	}
	return sets
}

// replacement is what becomes of a selection when a policy of that name gets
// another version, nil if it goes.
type replacement struct {
	name    string
	version *version
	of      map[*selection]*replaced
}

// replaced is what becomes of a selection that subjects share: with the new
// version, or without any. Each is made at first need.
type replaced struct{ with, without *selection }

// in reports whether the old version or the new one selects s.
func (r *replacement) in(s *subject) bool {
	at, was := slices.BinarySearchFunc(s.selected.versions, r.name, func(v *version, name string) int {
		return strings.Compare(v.policy.Name, name)
	})
	is := r.version != nil && r.version.selects(s.pod.object)
	if !was && !is {
		return false
	}
	next := r.of[s.selected]
	if next == nil && s.selected.subjects == 1 {
		s.selected.replace(at, was, is, r.version)
		return true
	}
	if next == nil {
		next = &replaced{}
		r.of[s.selected] = next
	}
	to := &next.without
	if is {
		to = &next.with
	}
	if *to == nil {
		*to = &selection{versions: slices.Clone(s.selected.versions)}
		(*to).replace(at, was, is, r.version)
	}
	s.take(*to)
	return true
}

// replace puts v at a place where a version was, or is to be.
func (s *selection) replace(at int, was, is bool, v *version) {
	switch {
	case was && is:
		s.versions[at] = v
	case was:
		s.versions = slices.Delete(s.versions, at, at+1)
	case is:
		s.versions = slices.Insert(s.versions, at, v)
	}
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
