// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"cmp"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weirnet/weir/policy"
	"github.com/weirnet/weir/policy/convert"
)

// kind of object. The zero kind is not one that weir reads.
type kind uint8

const (
	unknownKind kind = iota
	namespaceKind
	podKind
	serviceKind
	sliceKind
	policyKind
)

// kinds lists what a manifest may hold.
var kinds = [...]struct {
	apiVersion string
	name       string
}{
	namespaceKind: {"v1", "Namespace"},
	podKind:       {"v1", "Pod"},
	serviceKind:   {"v1", "Service"},
	sliceKind:     {"discovery.k8s.io/v1", "EndpointSlice"},
	policyKind:    {"networking.k8s.io/v1", "NetworkPolicy"},
}

func (k kind) String() string {
	if k == unknownKind || int(k) >= len(kinds) {
		return "object"
	}
	return kinds[k].name
}

func kindOf(apiVersion, name string) kind {
	for k, known := range kinds {
		if kind(k) != unknownKind && known.apiVersion == apiVersion && known.name == name {
			return kind(k)
		}
	}
	return unknownKind
}

// objectID names an object.
type objectID struct {
	kind      kind
	namespace string
	name      string
}

func (id objectID) String() string {
	switch {
	case id.name == "":
		return ""
	case id.namespace == "":
		return fmt.Sprintf("%s %s", id.kind, id.name)
	}
	return fmt.Sprintf("%s %s/%s", id.kind, id.namespace, id.name)
}

func (id objectID) key() policy.ObjectKey {
	return policy.ObjectKey{Namespace: id.namespace, Name: id.name}
}

func compareIDs(a, b objectID) int {
	return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(a.namespace, b.namespace), cmp.Compare(a.name, b.name))
}

// content is the decoded object. A Service stays as the API has it, since its
// model needs its EndpointSlices too.
type content struct {
	namespace policy.Namespace
	pod       *policy.Pod
	policy    *policy.Policy
	service   *corev1.Service
	slice     *discoveryv1.EndpointSlice
}

// build decodes source as an object of this kind. Notes are faults that leave
// it usable; each begins with the field, if it is about one.
func (k kind) build(source []byte) (c content, notes []string, err error) {
	switch k {
	case namespaceKind:
		var n corev1.Namespace
		if notes, err = decodeLax(source, &n); err == nil {
			c.namespace, err = convert.Namespace(&n)
		}
	case podKind:
		var p corev1.Pod
		if notes, err = decodeLax(source, &p); err == nil {
			inDefault(&p.ObjectMeta)
			var more []string
			c.pod, more, err = convert.Pod(&p)
			notes = append(notes, more...)
		}
	case policyKind:
		var n networkingv1.NetworkPolicy
		if err = decodeStrict(source, &n); err == nil {
			inDefault(&n.ObjectMeta)
			c.policy, err = convert.NetworkPolicy(&n)
			notes = ruleNotes(c.policy)
		}
	case serviceKind:
		c.service = new(corev1.Service)
		notes, err = decodeLax(source, c.service)
		inDefault(&c.service.ObjectMeta)
	case sliceKind:
		c.slice = new(discoveryv1.EndpointSlice)
		notes, err = decodeLax(source, c.slice)
		inDefault(&c.slice.ObjectMeta)
	default:
		err = fmt.Errorf("kind number %d is not known", k)
	}
	return c, notes, err
}

func inDefault(meta *metav1.ObjectMeta) {
	if meta.Namespace == "" {
		meta.Namespace = metav1.NamespaceDefault
	}
}

func ruleNotes(p *policy.Policy) []string {
	if p == nil {
		return nil
	}
	var notes []string
	for _, d := range policy.Directions {
		for i, r := range p.Rules[d] {
			for _, problem := range r.Problems {
				notes = append(notes, fmt.Sprintf("spec.%s[%d].%s", [...]string{policy.Ingress: "ingress", policy.Egress: "egress"}[d], i, problem))
			}
		}
	}
	return notes
}
