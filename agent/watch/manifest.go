// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kjson "sigs.k8s.io/json"
)

// object is one good version of an object.
type object struct {
	id     objectID
	line   int
	source json.RawMessage // as read, for the state directory
	content
}

// manifest is what reading one file once gave.
type manifest struct {
	objects  []object
	notes    []Problem // faults that leave their object usable, and foreign kinds
	unusable []unusable
	// broken: some part could not be read, so what is missing in objects may
	// still be meant to be there.
	broken bool
}

// unusable is a document that means an object and does not yield one. The zero
// id: which object is not known.
type unusable struct {
	id      objectID
	problem Problem
}

// header is what every object has.
type header struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Name      string `json:"name"`
		Namespace string `json:"namespace"`
	} `json:"metadata"`
	Spec struct {
		PodSelector json.RawMessage `json:"podSelector"`
	} `json:"spec"`
}

// parse reads the content of a file. It never fails as a whole: faults stand in
// the manifest.
func parse(name string, data []byte) manifest {
	var m manifest
	docs, err := documents(name, data)
	if err != nil {
		m.fail(objectID{}, Problem{Message: err.Error()})
		return m
	}
	for i := range docs {
		m.read(&docs[i])
	}
	seen := make(map[objectID]int)
	m.objects = slices.DeleteFunc(m.objects, func(o object) bool {
		first, twice := seen[o.id]
		if !twice {
			seen[o.id] = o.line
			return false
		}
		m.notes = append(m.notes, Problem{Line: o.line, Object: o.id.String(),
			Message: fmt.Sprintf("the same object stands at line %d of this file, which holds; remove one of them", first)})
		return true
	})
	return m
}

func (m *manifest) fail(id objectID, p Problem) {
	p.Object = id.String()
	m.unusable = append(m.unusable, unusable{id: id, problem: p})
	m.broken = m.broken || id == objectID{}
}

func (m *manifest) read(d *document) {
	if d.fault != nil {
		m.fail(objectID{}, d.problem("", d.fault))
		return
	}
	m.readObject(d, d.json, "")
}

// readObject reads one object, or a list of them; path is its place in the
// document.
func (m *manifest) readObject(d *document, source json.RawMessage, path string) {
	var h header
	// A wrong type in spec is for the decoder of the kind to tell, with the
	// object's name; here only the names count.
	err := kjson.UnmarshalCaseSensitivePreserveInts(source, &h)
	if err != nil && (h.Kind == "" || h.Metadata.Name == "") && !strings.HasSuffix(h.Kind, "List") {
		m.fail(objectID{}, d.problem(path, fmt.Errorf("not an object of Kubernetes: %w", plain(err))))
		return
	}
	if h.Kind == "" {
		m.fail(objectID{}, d.problem(path, errors.New("the document has no kind: it is not an object of Kubernetes; add kind, or move the file elsewhere")))
		return
	}
	if item, isList := strings.CutSuffix(h.Kind, "List"); isList && (item == "" && h.APIVersion == "v1" || kindOf(h.APIVersion, item) != unknownKind) {
		m.readList(d, source, path, header{APIVersion: h.APIVersion, Kind: item})
		return
	}
	k := kindOf(h.APIVersion, h.Kind)
	if k == unknownKind {
		m.foreign(d, h, path)
		return
	}
	m.readKind(d, source, path, k, h)
}

func (m *manifest) readList(d *document, source json.RawMessage, path string, list header) {
	if d.doubt != nil {
		m.fail(objectID{}, d.problem(path, d.doubt))
		return
	}
	var l struct {
		Items []json.RawMessage `json:"items"`
	}
	if err := kjson.UnmarshalCaseSensitivePreserveInts(source, &l); err != nil {
		m.fail(objectID{}, d.problem(path, plain(err)))
		return
	}
	for i, item := range l.Items {
		at := strings.TrimPrefix(fmt.Sprintf("%s.items[%d]", path, i), ".")
		if list.Kind != "" {
			item = typed(item, list)
		}
		m.readObject(d, item, at)
	}
}

// typed gives an item of a PodList and the like the kind that the list has and
// its items lack.
func typed(item json.RawMessage, list header) json.RawMessage {
	var fields map[string]json.RawMessage
	if json.Unmarshal(item, &fields) != nil || fields == nil || fields["kind"] != nil {
		return item
	}
	fields["kind"], _ = json.Marshal(list.Kind)
	fields["apiVersion"], _ = json.Marshal(list.APIVersion)
	out, err := json.Marshal(fields)
	if err != nil {
		return item
	}
	return out
}

// foreign reports a kind that weir does not read. One with a podSelector is
// taken for a misspelt NetworkPolicy: skipping it would open pods.
func (m *manifest) foreign(d *document, h header, path string) {
	if h.Spec.PodSelector == nil {
		p := d.problem(path, fmt.Errorf("kind %s of %s is not one that weir reads; the rest of the file holds", h.Kind, named(h.APIVersion)))
		m.notes = append(m.notes, p)
		return
	}
	id := objectID{kind: policyKind, namespace: h.Metadata.Namespace, name: h.Metadata.Name}
	if id.namespace == "" {
		id.namespace = metav1.NamespaceDefault
	}
	if id.name == "" {
		id = objectID{}
	}
	m.fail(id, d.problem(path, fmt.Errorf("kind %s of %s is not known, and has a podSelector: write kind: NetworkPolicy and apiVersion: networking.k8s.io/v1", h.Kind, named(h.APIVersion))))
}

func named(apiVersion string) string {
	if apiVersion == "" {
		return "no apiVersion"
	}
	return apiVersion
}

func (m *manifest) readKind(d *document, source json.RawMessage, path string, k kind, h header) {
	if h.Metadata.Name == "" {
		m.fail(objectID{}, d.problem(path, fmt.Errorf("the %s has no name: set metadata.name", k)))
		return
	}
	id := objectID{kind: k, namespace: h.Metadata.Namespace, name: h.Metadata.Name}
	if k == namespaceKind {
		id.namespace = ""
	} else if id.namespace == "" {
		id.namespace = metav1.NamespaceDefault
	}
	c, notes, err := k.build(source)
	if d.doubt != nil {
		err = d.doubt
	}
	if err != nil {
		m.fail(id, d.problem(path, plain(err)))
		return
	}
	m.objects = append(m.objects, object{id: id, line: d.contentLine(), source: source, content: c})
	for _, note := range notes {
		p := d.problem(path, errors.New(note))
		p.Object = id.String()
		m.notes = append(m.notes, p)
	}
}

// problem places an error about the object at path.
func (d *document) problem(path string, err error) Problem {
	p := Problem{Message: err.Error()}
	var at *faultAt
	if errors.As(err, &at) {
		p.Line, p.Column = at.line, at.column
		return p
	}
	p.Line, p.Column = d.place(path + "." + fieldOf(err))
	return p
}
