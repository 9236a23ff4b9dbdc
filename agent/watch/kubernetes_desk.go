// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/weirnet/weir/policy"
	"github.com/weirnet/weir/policy/convert"
)

// desk is where the reflectors, each with a goroutine, lay down what they are
// told until it is handed on.
type desk struct {
	node string
	now  func() time.Time
	wake chan struct{} // holds one token while there is something to take

	mu      sync.Mutex
	ledger  *ledger
	changed map[objectID]*content // nil: gone
	notes   map[objectID][]Problem
	missing map[string]struct{} // feeds whose first list is not complete
	here    bool                // the Node of this name is there
	last    time.Time
}

func newDesk(opts KubernetesOptions, names []string) *desk {
	d := &desk{
		node: opts.Node, now: opts.Now, wake: make(chan struct{}, 1),
		ledger: newLedger(), changed: make(map[objectID]*content), notes: make(map[objectID][]Problem),
		missing: make(map[string]struct{}),
	}
	for _, name := range names {
		d.missing[name] = struct{}{}
	}
	return d
}

// shelf is the part of the desk that one reflector sees.
type shelf struct {
	desk *desk
	feed feed
}

var (
	_ cache.TransformingStore      = (*shelf)(nil)
	_ cache.ReflectorBookmarkStore = (*shelf)(nil)
)

// Add takes the present version of an object.
func (s *shelf) Add(o any) error {
	e, err := read(s.feed.kind, o)
	if err != nil {
		return err
	}
	s.desk.mu.Lock()
	defer s.desk.mu.Unlock()
	s.desk.put(e)
	s.desk.stir()
	return nil
}

// Update is Add.
func (s *shelf) Update(o any) error { return s.Add(o) }

// Delete takes the last version of an object, or what stands for one.
func (s *shelf) Delete(o any) error {
	key, err := cache.DeletionHandlingObjectToName(o)
	if err != nil {
		return fmt.Errorf("a deleted object of %s: %w", s.feed.name, err)
	}
	s.desk.mu.Lock()
	defer s.desk.mu.Unlock()
	s.desk.remove(objectID{kind: s.feed.kind, namespace: key.Namespace, name: key.Name})
	s.desk.stir()
	return nil
}

// Replace takes everything that there is. What is not in the list is gone: the
// watch may have been away for its deletion.
func (s *shelf) Replace(list []any, _ string) error {
	entries := make([]entry, len(list))
	for i, o := range list {
		var err error
		if entries[i], err = read(s.feed.kind, o); err != nil {
			return err
		}
	}
	d := s.desk
	d.mu.Lock()
	defer d.mu.Unlock()
	gone := d.present(s.feed.kind)
	for _, e := range entries {
		delete(gone, e.id)
		d.put(e)
	}
	for id := range gone {
		d.remove(id)
	}
	delete(d.missing, s.feed.name)
	d.stir()
	return nil
}

// Resync has nothing to do: what was told once is not told again.
func (s *shelf) Resync() error { return nil }

// Bookmark is a sign of life.
func (s *shelf) Bookmark(string) error {
	s.desk.mu.Lock()
	defer s.desk.mu.Unlock()
	s.desk.last = s.desk.now()
	return nil
}

// Transformer makes the first list small while it arrives.
func (s *shelf) Transformer() cache.TransformFunc { return trim }

// entry is one object as the model has it.
type entry struct {
	id      objectID
	content *content // nil: unusable
	notes   []string
	err     error // why it is unusable
}

// read converts an object. The error says that it is none of those that weir
// reads.
func read(k kind, o any) (entry, error) {
	var c content
	var e entry
	var meta *metav1.ObjectMeta
	switch o := o.(type) {
	case *corev1.Pod:
		meta = &o.ObjectMeta
		c.pod, e.notes, e.err = convert.Pod(o)
	case *corev1.Namespace:
		meta = &o.ObjectMeta
		c.namespace, e.err = convert.Namespace(o)
	case *networkingv1.NetworkPolicy:
		meta = &o.ObjectMeta
		c.policy, e.err = convert.NetworkPolicy(o)
		e.notes = ruleNotes(c.policy)
	case *corev1.Service:
		meta = &o.ObjectMeta
		c.service = trimService(o)
	case *discoveryv1.EndpointSlice:
		meta = &o.ObjectMeta
		c.slice = trimSlice(o)
	case *corev1.Node:
		meta = &o.ObjectMeta
	default:
		return e, fmt.Errorf("an object of type %T was not asked for", o)
	}
	e.id = objectID{kind: k, namespace: meta.Namespace, name: meta.Name}
	if e.err == nil {
		e.content = &c
	}
	return e, nil
}

// put takes one object. The caller holds the lock, as for all below.
func (d *desk) put(e entry) {
	if e.id.kind == unknownKind {
		d.here = d.here || e.id.name == d.node
		return
	}
	delete(d.notes, e.id)
	for _, note := range e.notes {
		d.notes[e.id] = append(d.notes[e.id], Problem{Object: e.id.String(), Message: note})
	}
	if e.err == nil {
		d.changed[e.id] = e.content
		return
	}
	p := Problem{Object: e.id.String(), Message: e.err.Error() + keeps}
	if !d.usable(e.id) {
		p.Message, p.Blocking = e.err.Error()+nothing, true
	}
	d.notes[e.id] = append(d.notes[e.id], p)
}

// usable: a good version of the object is in force, or about to be.
func (d *desk) usable(id objectID) bool {
	if c, changed := d.changed[id]; changed {
		return c != nil
	}
	switch id.kind {
	case podKind:
		return d.ledger.pods[id.key()] != nil
	case policyKind:
		return d.ledger.policies[id.key()] != nil
	}
	return false
}

func (d *desk) remove(id objectID) {
	if id.kind == unknownKind {
		d.here = d.here && id.name != d.node
		return
	}
	delete(d.notes, id)
	d.changed[id] = nil
}

// present are all objects of a kind that are not gone.
func (d *desk) present(k kind) map[objectID]struct{} {
	all := make(map[objectID]struct{})
	add := func(key policy.ObjectKey) {
		all[objectID{kind: k, namespace: key.Namespace, name: key.Name}] = struct{}{}
	}
	switch k {
	case namespaceKind:
		for name := range d.ledger.namespaces {
			add(policy.ObjectKey{Name: name})
		}
	case podKind:
		for key := range d.ledger.pods {
			add(key)
		}
	case policyKind:
		for key := range d.ledger.policies {
			add(key)
		}
	case serviceKind:
		for key := range d.ledger.plain {
			add(key)
		}
	case sliceKind:
		for key := range d.ledger.owners { // one without a Service changes nothing
			add(key)
		}
	case unknownKind:
		all[objectID{name: d.node}] = struct{}{}
	}
	for id := range d.notes {
		if id.kind == k {
			all[id] = struct{}{}
		}
	}
	for id, c := range d.changed {
		if id.kind == k && c != nil {
			all[id] = struct{}{}
		}
	}
	return all
}

func (d *desk) stir() {
	d.last = d.now()
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// take hands over what changed. Synced is set once the first lists are
// complete; before, nothing is handed over.
func (d *desk) take() (b policy.Batch, empty bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.missing) > 0 {
		return b, true
	}
	for _, id := range slices.SortedFunc(maps.Keys(d.changed), compareIDs) {
		d.ledger.enter(id, d.changed[id], &b)
	}
	d.ledger.join(&b)
	d.changed = make(map[objectID]*content) // cleared, it would stay as large as the first lists
	empty = reflect.ValueOf(b).IsZero()
	b.Synced = true
	return b, empty
}

func (d *desk) problems() []Problem {
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []Problem
	if !d.here {
		out = append(out, Problem{Object: "Node " + d.node, Blocking: true, Message: "the cluster has no Node of this name, so no pod is taken for one of this node: set --node to the name that `kubectl get nodes` shows"})
	}
	for _, notes := range d.notes {
		out = append(out, notes...)
	}
	for key, faults := range d.ledger.faults {
		id := objectID{kind: serviceKind, namespace: key.Namespace, name: key.Name}
		for _, fault := range faults {
			out = append(out, Problem{Object: id.String(), Message: fault})
		}
	}
	return out
}

func (d *desk) unlisted() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Sorted(maps.Keys(d.missing))
}

func (d *desk) lastEvent() time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.last
}
