// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

const (
	head = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p, namespace: shop}\n"
	good = head + "spec: {podSelector: {}}\n"
)

func policyText(name, selector string) string {
	return fmt.Sprintf("apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: %s, namespace: shop}\nspec: {podSelector: %s}\n", name, selector)
}

func idsIn(m manifest) string {
	var ids []string
	for _, o := range m.objects {
		ids = append(ids, o.id.String())
	}
	return strings.Join(ids, ", ")
}

func TestParseObjects(t *testing.T) {
	const pods = "apiVersion: v1\nkind: PodList\nitems:\n- metadata: {name: a}\n- metadata: {name: b, namespace: shop}\n"
	for _, row := range []struct{ name, text, want string }{
		{"a.yaml", "", ""},
		{"a.yaml", "# nothing\n---\n---\n", ""},
		{"a.yaml", good, "NetworkPolicy shop/p"},
		{"a.yaml", "\ufeff" + good, "NetworkPolicy shop/p"},
		{"a.yaml", "%YAML 1.1\n# c\n---\n" + good + "...\n", "NetworkPolicy shop/p"},
		{"a.yaml", good + "---\n" + policyText("q", "{}"), "NetworkPolicy shop/p, NetworkPolicy shop/q"},
		{"a.yaml", good + "--- # next\r\n" + policyText("q", "{}"), "NetworkPolicy shop/p, NetworkPolicy shop/q"},
		{"a.yaml", good + "...\n---\n" + policyText("q", "{}"), "NetworkPolicy shop/p, NetworkPolicy shop/q"},
		{"a.yaml", good + "...\n" + policyText("q", "{}"), "NetworkPolicy shop/p, NetworkPolicy shop/q"},
		{"a.yaml", strings.ReplaceAll(good+"---\n"+policyText("q", "{}"), "\n", "\r"), "NetworkPolicy shop/p, NetworkPolicy shop/q"},
		{"a.yaml", strings.ReplaceAll(good+"---\n"+policyText("q", "{}"), "\n", "\r\n"), "NetworkPolicy shop/p, NetworkPolicy shop/q"},
		{"a.yaml", "# c\r" + good + "---\n" + policyText("q", "{}"), "NetworkPolicy shop/p, NetworkPolicy shop/q"},
		{"a.yaml", pods, "Pod default/a, Pod shop/b"},
		{"a.yaml", "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Namespace, metadata: {name: ns}}\n- {apiVersion: v1, kind: Service, metadata: {name: s}}\n", "Namespace ns, Service default/s"},
		{"a.yaml", "{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: s}}", "EndpointSlice default/s"},
		{"a.json", `{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"n"}}` + "\n" + `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p"}}`, "Namespace n, Pod default/p"},
		{"a.json", "{\n\t\"apiVersion\":\"v1\",\n\t\"kind\":\"Namespace\",\"metadata\":{\"name\":\"n\"}}", "Namespace n"},
		{"a.yaml", strings.Replace(good, "spec:", "status: {conditions: []}\nspec:", 1), "NetworkPolicy shop/p"},
		{"a.yaml", good + "---\n" + good, "NetworkPolicy shop/p"},
	} {
		m := parse(row.name, []byte(row.text))
		if got := idsIn(m); got != row.want || m.broken || len(m.unusable) > 0 {
			t.Errorf("%q: got %q, unusable %v; want %q", row.text, got, m.unusable, row.want)
		}
	}
}

// Each row is one fault: where it is, which object, part of its text; objects
// that must be there in spite of it; whether it leaves open what is missing.
func TestParseFaults(t *testing.T) {
	const from = "spec:\n  podSelector: {}\n  ingress:\n  - from:\n    - podSelector:\n        "
	for _, row := range []struct {
		name, text, at, object, message, objects string
		broken                                   bool
	}{
		{"a.yaml", "a: [", "1", "", "did not find expected", "", true},
		{"a.yaml", good + "---\nkind: [\n---\n" + policyText("q", "{}"), "6", "", "did not find expected", "NetworkPolicy shop/p, NetworkPolicy shop/q", true},
		{"a.yaml", "a\xff: 1", "", "", "not UTF-8", "", true},
		{"a.yaml", "hello", "1:1", "", "not an object of Kubernetes", "", true},
		{"a.yaml", "a: 1", "1:1", "", "has no kind", "", true},
		{"a.yaml", "apiVersion: v1\nkind: Pod\nmetadata: {}\n", "1:1", "", "the Pod has no name", "", true},
		{"a.yaml", "apiVersion: v1\nkind: Pod\nmetadata: {name: 7}\n", "3:12", "", "metadata.name: a number cannot stand here", "", true},
		{"a.yaml", good + "---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: p, namespace: shop}\n", "6:1", "", "kind Deployment of apps/v1 is not one", "NetworkPolicy shop/p", false},
		{"a.yaml", strings.Replace(good, "NetworkPolicy", "NetworkPolcy", 1), "1:1", "NetworkPolicy shop/p", "write kind: NetworkPolicy", "", false},
		{"a.yaml", strings.Replace(good, "networking.k8s.io/v1", "extensions/v1beta1", 1), "1:1", "NetworkPolicy shop/p", "write kind: NetworkPolicy", "", false},
		{"a.yaml", head + "spec: {podSelecter: {}}", "4:8", "NetworkPolicy shop/p", `unknown field "spec.podSelecter"`, "", false},
		{"a.yaml", head + from + "matchLabel: {a: b}\n", "9:9", "NetworkPolicy shop/p", "unknown field", "", false},
		{"a.yaml", head + from + "matchLabels: {a: 1}\n", "6:3", "NetworkPolicy shop/p", "a number cannot stand here", "", false},
		{"a.yaml", head + "spec:\n  podSelector: {}\n  podSelector: {a: b}\n", "6", "NetworkPolicy shop/p", "already set", "", false},
		{"a.yaml", head + "spec: {podSelector: {matchExpressions: [{key: a, operator: Like}]}}", "4:8", "NetworkPolicy shop/p", "spec.podSelector", "", false},
		{"a.yaml", head + "spec: {podSelector: {}, policyTypes: [Ingres]}", "4:39", "NetworkPolicy shop/p", "neither Ingress nor Egress", "", false},
		{"a.yaml", head + "spec:\n  podSelector: {}\n  egress:\n  - ports:\n    - port: 7\n      endPort: 6\n", "8:7", "NetworkPolicy shop/p", "endPort 6 is below port 7", "NetworkPolicy shop/p", false},
		{"a.yaml", "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nstatus:\n  podIPs:\n  - ip: 10.0.0.300\n", "6:5", "Pod default/a", "10.0.0.300", "Pod default/a", false},
		{"a.yaml", "apiVersion: v1\nkind: PodList\nitems:\n- metadata: {name: a}\n- metadata: {}\n", "5:3", "", "the Pod has no name", "Pod default/a", true},
		{"a.yaml", "apiVersion: v1\nkind: PodList\nitems: 3\n", "3:1", "", "cannot stand here", "", true},
		{"a.yaml", good + "---\n" + good, "6", "NetworkPolicy shop/p", "the same object stands at line 1", "NetworkPolicy shop/p", false},
		{"a.json", "{\n \"a\": }", "2:7", "", "invalid character", "", true},
		{"a.json", `{"kind":"Pod"`, "1:13", "", "unexpected EOF", "", true},
		{"a.json", "{\"apiVersion\":\"networking.k8s.io/v1\",\"kind\":\"NetworkPolicy\",\n\"metadata\":{\"name\":\"p\",\"namespace\":\"shop\"},\n\"spec\":{\"podSelector\":{},\"podSelector\":{}}}", "", "NetworkPolicy shop/p", "duplicate field", "", false},
	} {
		m := parse(row.name, []byte(row.text))
		problems := slices.Clone(m.notes)
		for _, u := range m.unusable {
			problems = append(problems, u.problem)
		}
		if len(problems) != 1 || m.broken != row.broken || idsIn(m) != row.objects {
			t.Errorf("%q: objects %q, broken %v, problems %q", row.text, idsIn(m), m.broken, problems)
			continue
		}
		p := problems[0]
		at := strings.TrimPrefix(Problem{File: "f", Line: p.Line, Column: p.Column}.position(), "f")
		if row.at != "" && at != ":"+row.at || p.Object != row.object || !strings.Contains(p.Message, row.message) {
			t.Errorf("%q: problem at %q object %q: %s; want %s %s %s", row.text, at, p.Object, p.Message, row.at, row.object, row.message)
		}
	}
}

func TestTakeKeepsWhatWasGood(t *testing.T) {
	two := good + "---\n" + policyText("q", "{}")
	badP := head + "spec: {podSelector: {matchLabels: {a: [b]}}}\n"
	for _, row := range []struct {
		name, before, after, want string
		blocking                  bool
	}{
		{"gone from a whole file", two, good, "p", false},
		{"no document", two, "# empty on purpose", "", false},
		{"file breaks", two, good + "---\nkind: [", "p q", false},
		{"file breaks at once", "", good + "---\nkind: [", "p", true},
		{"object breaks", two, badP + "---\n" + policyText("q", "{}"), "p q", false},
		{"object breaks, another goes", two, badP, "p", false},
		{"object breaks at once", "", badP, "", true},
		{"name is lost", two, strings.Replace(good, "name: p, ", "", 1) + "---\n" + policyText("q", "{}"), "p q", false},
		{"kind is lost", two, strings.Replace(good, "kind: NetworkPolicy\n", "", 1) + "---\n" + policyText("q", "{}"), "p q", false},
		{"kind is misspelt", two, strings.Replace(good, "NetworkPolicy", "NetworkPolice", 1) + "---\n" + policyText("q", "{}"), "p q", false},
		{"another kind of that name", two, "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: p, namespace: shop}\n", "", false},
	} {
		f := &file{path: "a.yaml"}
		if row.before != "" {
			f.take(parse("a.yaml", []byte(row.before)))
		}
		f.take(parse("a.yaml", []byte(row.after)))
		var names []string
		for id := range f.objects {
			names = append(names, id.name)
		}
		slices.Sort(names)
		blocking := slices.ContainsFunc(f.problems, func(p Problem) bool { return p.Blocking })
		if got := strings.Join(names, " "); got != row.want || blocking != row.blocking {
			t.Errorf("%s: in force %q, blocking %v (%v); want %q, %v", row.name, got, blocking, f.problems, row.want, row.blocking)
		}
	}
}

// A broken file changes nothing that was whole, not even its readable half.
func TestTakeIsWholeOrNothing(t *testing.T) {
	f := &file{path: "a.yaml"}
	f.take(parse("a.yaml", []byte(policyText("p", "{}")+"---\n"+policyText("q", "{}"))))
	f.take(parse("a.yaml", []byte(policyText("p", "{matchLabels: {a: b}}")+"---\nkind: [")))
	p := f.objects[objectID{policyKind, "shop", "p"}]
	if len(p.policy.Subjects.Requirements) != 0 {
		t.Errorf("half of a broken file holds: %v", p.policy.Subjects)
	}
}

// The parser reads one document and stops; one that split does not find would
// be lost without a word.
func FuzzSplitLosesNoDocument(f *testing.F) {
	for _, seed := range []string{good, good + "---\n" + good, "a: 1\r---\rb: 2", "--- a\n--- b", "a\n...\nb", "# c\n---\nx: |\n  ---\n  y\n", "%YAML 1.1\n---\na\n", "a: 1\u2028---\u2028b: 2", "\ufeff---\na"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		want, ok := countDocuments(text)
		docs, err := documents("a.yaml", []byte(text))
		if !ok || err != nil {
			return
		}
		got := 0
		for _, d := range docs {
			if d.fault != nil {
				return
			}
			got++
		}
		if got < want {
			t.Errorf("%q: %d documents, the parser's stream has %d", text, got, want)
		}
	})
}

func countDocuments(text string) (n int, ok bool) {
	dec := yaml.NewDecoder(bytes.NewReader([]byte(text)))
	for {
		var node yaml.Node
		err := dec.Decode(&node)
		if errors.Is(err, io.EOF) {
			return n, true
		}
		if err != nil {
			return 0, false
		}
		if len(node.Content) > 0 && node.Content[0].Tag != "!!null" {
			n++
		}
	}
}

// Whatever a file holds: it never panics, and a broken file takes no policy
// away.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{good, head, "apiVersion: v1\nkind: List\nitems: [[], {}, null]\n", "kind: List", "[]", "a: &a [*a]", `{"items":[{}],"kind":"PodList","apiVersion":"v1"}`} {
		f.Add("a.yaml", seed)
		f.Add("a.json", seed)
	}
	f.Fuzz(func(t *testing.T, name, text string) {
		f := &file{path: name}
		f.take(parse("a.yaml", []byte(good)))
		m := parse(name, []byte(text))
		f.take(m)
		if _, ok := f.objects[objectID{policyKind, "shop", "p"}]; m.broken && !ok {
			t.Errorf("%q took the policy away", text)
		}
	})
}
