// SPDX-License-Identifier: Apache-2.0

package resolve

import (
	"slices"
	"strings"

	"github.com/weirnet/weir/policy"
)

// termIndex finds the terms that a profile satisfies without asking each: by
// the namespace, or a namespace label that the term requires, and then by a
// pod label that it requires.
type termIndex struct {
	own     map[string]*termBucket // by the policy's own namespace
	byLabel map[label]*termBucket  // by a required label of the namespace
	all     termBucket             // namespace selectors that require no value
	byPort  map[portName]*term     // terms of named ports
}

type termBucket struct {
	byLabel map[label][]*term
	rest    []*term
}

type label struct{ key, value string }

// requiredLabels returns labels of which one must be present, those of the
// requirement with the fewest values. ok is false if no value is required. An
// In without values gives none: it matches nothing, and is never found.
func requiredLabels(s policy.Selector) (labels []label, ok bool) {
	var best *policy.Requirement
	for i, r := range s.Requirements {
		if r.Operator == policy.In && (best == nil || len(r.Values) < len(best.Values)) {
			best = &s.Requirements[i]
		}
	}
	if best == nil {
		return nil, false
	}
	for _, v := range best.Values {
		labels = append(labels, label{best.Key, v})
	}
	slices.SortFunc(labels, func(a, b label) int { return strings.Compare(a.value, b.value) })
	return slices.Compact(labels), true
}

func (x *termIndex) insert(t *term) {
	if t.port != nil {
		if x.byPort == nil {
			x.byPort = map[portName]*term{}
		}
		x.byPort[*t.port] = t
		return
	}
	if t.namespaces == nil {
		bucketOf(&x.own, t.namespace).insert(t)
		return
	}
	labels, ok := requiredLabels(*t.namespaces)
	if !ok {
		x.all.insert(t)
	}
	for _, l := range labels {
		bucketOf(&x.byLabel, l).insert(t)
	}
}

func (x *termIndex) remove(t *term) {
	if t.port != nil {
		delete(x.byPort, *t.port)
		return
	}
	if t.namespaces == nil {
		dropFrom(x.own, t.namespace, t)
		return
	}
	labels, ok := requiredLabels(*t.namespaces)
	if !ok {
		x.all.remove(t)
	}
	for _, l := range labels {
		dropFrom(x.byLabel, l, t)
	}
}

func bucketOf[K comparable](buckets *map[K]*termBucket, key K) *termBucket {
	if *buckets == nil {
		*buckets = map[K]*termBucket{}
	}
	b := (*buckets)[key]
	if b == nil {
		b = &termBucket{}
		(*buckets)[key] = b
	}
	return b
}

func dropFrom[K comparable](buckets map[K]*termBucket, key K, t *term) {
	b := buckets[key]
	b.remove(t)
	if b.empty() {
		delete(buckets, key)
	}
}

func (b *termBucket) empty() bool { return len(b.rest) == 0 && len(b.byLabel) == 0 }

func (b *termBucket) insert(t *term) {
	labels, ok := requiredLabels(t.pods)
	if !ok {
		b.rest = append(b.rest, t)
		return
	}
	if b.byLabel == nil {
		b.byLabel = map[label][]*term{}
	}
	for _, l := range labels {
		b.byLabel[l] = append(b.byLabel[l], t)
	}
}

func (b *termBucket) remove(t *term) {
	labels, ok := requiredLabels(t.pods)
	if !ok {
		b.rest = without(b.rest, t)
		return
	}
	for _, l := range labels {
		if b.byLabel[l] = without(b.byLabel[l], t); len(b.byLabel[l]) == 0 {
			delete(b.byLabel, l)
		}
	}
}

func without(terms []*term, t *term) []*term {
	i := slices.Index(terms, t)
	return slices.Delete(terms, i, i+1)
}

// buckets appends those that may hold terms for pods of ns.
func (x *termIndex) buckets(ns *namespace, to []*termBucket) []*termBucket {
	if b := x.own[ns.name]; b != nil {
		to = append(to, b)
	}
	if len(x.byLabel) > 0 {
		for k, v := range ns.labels {
			if b := x.byLabel[label{k, v}]; b != nil {
				to = append(to, b)
			}
		}
	}
	if !x.all.empty() {
		to = append(to, &x.all)
	}
	return to
}

// find appends the terms that pr satisfies. No term is found twice: a pod and
// a namespace have one value for a key.
func (x *termIndex) find(buckets []*termBucket, pr *profile, to []*term) []*term {
	for _, b := range buckets {
		to = appendMatching(to, b.rest, pr)
		if len(b.byLabel) == 0 {
			continue
		}
		for k, v := range pr.labels {
			to = appendMatching(to, b.byLabel[label{k, v}], pr)
		}
	}
	if len(x.byPort) == 0 {
		return to
	}
	for i, p := range pr.ports {
		name := portName{p.Name, p.Protocol}
		again := i > 0 && pr.ports[i-1].Name == p.Name && pr.ports[i-1].Protocol == p.Protocol
		if t := x.byPort[name]; t != nil && !again {
			to = append(to, t)
		}
	}
	return to
}

func appendMatching(to, terms []*term, pr *profile) []*term {
	for _, t := range terms {
		if t.matches(pr) {
			to = append(to, t)
		}
	}
	return to
}

// satisfied returns the sorted ids of the terms that pr satisfies.
func (x *termIndex) satisfied(pr *profile) []TermID {
	var buckets [8]*termBucket
	var found [16]*term
	terms := x.find(x.buckets(pr.ns, buckets[:0]), pr, found[:0])
	if len(terms) == 0 {
		return nil
	}
	ids := make([]TermID, len(terms))
	for i, t := range terms {
		ids[i] = t.id
	}
	slices.Sort(ids)
	return ids
}

// visit calls touch with every profile that satisfies a term of the index,
// except stale ones.
func (x *termIndex) visit(namespaces map[string]*namespace, touch func(*profile, []*term)) {
	if len(x.byLabel) > 0 || !x.all.empty() || len(x.byPort) > 0 {
		for _, ns := range namespaces {
			x.visitNamespace(ns, touch)
		}
		return
	}
	for name := range x.own {
		if ns := namespaces[name]; ns != nil {
			x.visitNamespace(ns, touch)
		}
	}
}

func (x *termIndex) visitNamespace(ns *namespace, touch func(*profile, []*term)) {
	var space [8]*termBucket
	var found [16]*term
	buckets := x.buckets(ns, space[:0])
	if len(buckets) == 0 && len(x.byPort) == 0 {
		return
	}
	for _, pr := range ns.profiles {
		if pr.stale {
			continue
		}
		if terms := x.find(buckets, pr, found[:0]); len(terms) > 0 {
			touch(pr, terms)
		}
	}
}
