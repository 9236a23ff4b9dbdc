// SPDX-License-Identifier: Apache-2.0

package convert

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	networkingv1 "k8s.io/api/networking/v1"
	"sigs.k8s.io/yaml"

	"github.com/weirnet/weir/policy"
)

// decode reads YAML as strictly as the package asks of its callers.
func decode[T any](t testing.TB, text string) *T {
	t.Helper()
	out := new(T)
	if err := yaml.UnmarshalStrict([]byte(text), out); err != nil {
		t.Fatalf("decode %s: %v", text, err)
	}
	return out
}

const policyMeta = "metadata: {namespace: shop, name: p, uid: u1}\n"

func decodePolicy(t testing.TB, spec string) *networkingv1.NetworkPolicy {
	t.Helper()
	return decode[networkingv1.NetworkPolicy](t, policyMeta+"spec: "+spec)
}

// TestRule converts one ingress rule and compares its text and its problems.
func TestRule(t *testing.T) {
	const nothing = "no peer on any port"
	for _, r := range []struct {
		line     int // of the semantics; 0: none
		rule     string
		want     string
		problems string // a part of each problem, separated by |
	}{
		{2, `{}`, "any peer on any port", ""},
		{2, `{from: [], ports: []}`, "any peer on any port", ""},
		{3, `{from: [{podSelector: {}}]}`, "all pods in the same namespace on any port", ""},
		{4, `{from: [{namespaceSelector: {}}]}`, "all pods in all namespaces on any port", ""},
		{4, `{from: [{namespaceSelector: {matchLabels: {team: a}}}]}`, "all pods in namespaces team=a on any port", ""},
		{5, `{from: [{namespaceSelector: {}, podSelector: {matchLabels: {b: "1", a: "2"}}}]}`, "pods a=2,b=1 in all namespaces on any port", ""},
		{5, `{from: [{namespaceSelector: {}}, {podSelector: {}}]}`, "all pods in all namespaces or all pods in the same namespace on any port", ""},
		{31, `{from: [{podSelector: {matchExpressions: [{key: a, operator: In, values: [z, x, x]}, {key: b, operator: NotIn, values: [v]}]}}]}`, "pods a in (x,z),b notin (v) in the same namespace on any port", ""},
		{31, `{from: [{podSelector: {matchExpressions: [{key: c, operator: Exists}, {key: d, operator: DoesNotExist}]}}]}`, "pods c,!d in the same namespace on any port", ""},

		{7, `{from: [{ipBlock: {cidr: 10.0.0.5/24}}]}`, "10.0.0.0/24 on any port", ""},
		{7, `{from: [{ipBlock: {cidr: 010.000.0.05/024}}]}`, "10.0.0.0/24 on any port", ""},
		{7, `{from: [{ipBlock: {cidr: 0.0.0.0/0}}]}`, "0.0.0.0/0 on any port", ""},
		{7, `{from: [{ipBlock: {cidr: "::/0"}}]}`, "::/0 on any port", ""},
		{7, `{from: [{ipBlock: {cidr: 1.2.3.4/32}}]}`, "1.2.3.4/32 on any port", ""},
		{7, `{from: [{ipBlock: {cidr: "2001:DB8:0::1/128"}}]}`, "2001:db8::1/128 on any port", ""},
		{7, `{from: [{ipBlock: {cidr: "2001:db8::1/64"}}]}`, "2001:db8::/64 on any port", ""},
		{7, `{from: [{ipBlock: {cidr: "::ffff:10.1.2.3/104"}}]}`, "10.0.0.0/8 on any port", ""},
		{7, `{from: [{ipBlock: {cidr: "::ffff:0:0/96"}}]}`, "0.0.0.0/0 on any port", ""},
		{7, `{from: [{ipBlock: {cidr: "::ffff:0:0/95"}}]}`, "::fffe:0:0/95 on any port", ""},
		{6, `{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.1.2.3/16, "::ffff:10.2.0.0/112"]}}]}`, "10.0.0.0/8 except 10.1.0.0/16 and 10.2.0.0/16 on any port", ""},
		{32, `{from: [{ipBlock: {cidr: 10.0.0.0/33}}]}`, nothing, `from[0]: ipBlock.cidr: "10.0.0.0/33" is not a CIDR`},
		{32, `{from: [{ipBlock: {cidr: 10.0.0.256/24}}]}`, nothing, `"10.0.0.256/24" is not a CIDR`},
		{32, `{from: [{ipBlock: {cidr: 10.0.0.1}}]}`, nothing, `"10.0.0.1" is not a CIDR`},
		{32, `{from: [{ipBlock: {cidr: " 10.0.0.0/8"}}]}`, nothing, `is not a CIDR`},
		{32, `{from: [{ipBlock: {cidr: ""}}]}`, nothing, `"" is not a CIDR`},
		{32, `{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [11.0.0.0/16]}}]}`, nothing, `from[0]: ipBlock.except[0]: 11.0.0.0/16 is not a part of 10.0.0.0/8`},
		{32, `{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.0.0.0/8]}}]}`, nothing, `is not a part of`},
		{32, `{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [0.0.0.0/0]}}]}`, nothing, `is not a part of`},
		{32, `{from: [{ipBlock: {cidr: 10.0.0.0/8, except: ["::/64"]}}]}`, nothing, `is not a part of`},
		{32, `{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16, x]}}]}`, nothing, `ipBlock.except[1]: "x" is not a CIDR`},
		{35, `{from: [{}]}`, nothing, "from[0]: no field is set"},
		{35, `{from: [{ipBlock: {cidr: 10.0.0.0/8}, podSelector: {}}]}`, nothing, "from[0]: ipBlock and a selector"},
		{35, `{from: [{ipBlock: {cidr: 10.0.0.0/8}, namespaceSelector: {}}]}`, nothing, "from[0]: ipBlock and a selector"},
		{32, `{from: [{podSelector: {matchExpressions: [{key: a, operator: Is, values: [b]}]}}]}`, nothing, `from[0]: podSelector: "Is" is not a valid label selector operator`},
		{32, `{from: [{podSelector: {matchExpressions: [{key: a, operator: NotIn}]}}]}`, nothing, `from[0]: podSelector: `},
		{32, `{from: [{podSelector: {matchExpressions: [{key: a, operator: Exists, values: [b]}]}}]}`, nothing, `from[0]: podSelector: `},
		{32, `{from: [{namespaceSelector: {matchLabels: {team: "a b"}}}]}`, nothing, `from[0]: namespaceSelector: `},
		{32, `{from: [{podSelector: {matchLabels: {"/": b}}}]}`, nothing, `from[0]: podSelector: `},
		{32, `{from: [{}, {podSelector: {}}, {ipBlock: {cidr: x}}]}`, "all pods in the same namespace on any port", "from[0]: no field|from[2]: ipBlock.cidr"},

		{9, `{ports: [{port: 80}]}`, "any peer on 80/TCP", ""},
		{9, `{ports: [{}]}`, "any peer on any TCP port", ""},
		{10, `{ports: [{protocol: SCTP, port: 80}]}`, "any peer on 80/SCTP", ""},
		{11, `{ports: [{protocol: UDP}]}`, "any peer on any UDP port", ""},
		{12, `{ports: [{port: 80, endPort: 90}]}`, "any peer on 80-90/TCP", ""},
		{12, `{ports: [{port: 80, endPort: 80}]}`, "any peer on 80/TCP", ""},
		{13, `{ports: [{port: http, protocol: UDP}]}`, "any peer on http/UDP", ""},
		{33, `{ports: [{port: 1}, {port: 65535}, {port: 1, endPort: 65535}]}`, "any peer on 1/TCP, 65535/TCP, 1-65535/TCP", ""},
		{10, `{ports: [{protocol: DCCP, port: 80}]}`, "any peer on no port", `ports[0]: protocol "DCCP" is none of TCP, UDP, SCTP`},
		{10, `{ports: [{protocol: tcp}]}`, "any peer on no port", `ports[0]: protocol "tcp"`},
		{10, `{ports: [{protocol: ""}]}`, "any peer on no port", `ports[0]: protocol ""`},
		{32, `{ports: [{port: 0}]}`, "any peer on no port", "ports[0]: port: 0 is not between 1 and 65535"},
		{32, `{ports: [{port: 65536}]}`, "any peer on no port", "65536 is not between"},
		{32, `{ports: [{port: -1}]}`, "any peer on no port", "-1 is not between"},
		{32, `{ports: [{port: 80, endPort: 65616}]}`, "any peer on no port", "ports[0]: endPort: 65616 is not between"},
		{32, `{ports: [{port: 80, endPort: 79}]}`, "any peer on no port", "ports[0]: endPort 79 is below port 80"},
		{32, `{ports: [{port: 80, endPort: 0}]}`, "any peer on no port", "ports[0]: endPort: 0 is not between"},
		{32, `{ports: [{endPort: 80}]}`, "any peer on no port", "ports[0]: endPort without port"},
		{32, `{ports: [{port: http, endPort: 80}]}`, "any peer on no port", `ports[0]: endPort 80 with the named port "http"`},
		{32, `{ports: [{port: "80"}]}`, "any peer on no port", "a number is written without quotes"},
		{32, `{ports: [{port: ""}]}`, "any peer on no port", `port "" is not a port name`},
		{32, `{ports: [{port: a-very-long-name-of-a-port}]}`, "any peer on no port", "is not a port name"},
		{32, `{ports: [{port: 0}, {port: 80}, {protocol: X}]}`, "any peer on 80/TCP", "ports[0]: |ports[2]: "},
		{32, `{from: [{}], ports: [{port: 0}]}`, "no peer on no port", "from[0]: |ports[0]: "},
	} {
		t.Run(fmt.Sprintf("%02d %s", r.line, r.rule), func(t *testing.T) {
			p, err := NetworkPolicy(decodePolicy(t, "{ingress: ["+r.rule+"]}"))
			if err != nil {
				t.Fatal(err)
			}
			got := p.Rules[policy.Ingress][0]
			if text := policy.RuleText(got); text != r.want {
				t.Errorf("got rule %s, want %s", text, r.want)
			}
			comparePartly(t, got.Problems, r.problems)
		})
	}
}

// comparePartly holds each of got against its part in want, where parts stand
// between bars.
func comparePartly(t *testing.T, got []string, want string) {
	t.Helper()
	var parts []string
	if want != "" {
		parts = strings.Split(want, "|")
	}
	if len(got) != len(parts) {
		t.Fatalf("got problems %q, want %q", got, parts)
	}
	for i, part := range parts {
		if !strings.Contains(got[i], part) {
			t.Errorf("got problem %q, want %q in it", got[i], part)
		}
	}
}

func TestPolicyTypes(t *testing.T) {
	for _, r := range []struct {
		spec string
		want string // for each direction the number of rules, or "-" if not isolated
	}{
		{`{}`, "0 -"},
		{`{ingress: [], egress: []}`, "0 -"},
		{`{ingress: [{}]}`, "1 -"},
		{`{egress: [{}]}`, "0 1"},
		{`{policyTypes: [], egress: [{}, {}]}`, "0 2"},
		{`{policyTypes: [Ingress], egress: [{}]}`, "0 -"},
		{`{policyTypes: [Egress], ingress: [{}]}`, "- 0"},
		{`{policyTypes: [Egress], ingress: [{}], egress: [{}]}`, "- 1"},
		{`{policyTypes: [Ingress, Egress]}`, "0 0"},
		{`{policyTypes: [Egress, Ingress], ingress: [{}, {}, {}], egress: [{}]}`, "3 1"},
		{`{policyTypes: [Egress, Egress]}`, "- 0"},
	} {
		p, err := NetworkPolicy(decodePolicy(t, r.spec))
		if err != nil {
			t.Errorf("%s: %v", r.spec, err)
			continue
		}
		var got []string
		for _, d := range policy.Directions {
			if p.Isolates[d] {
				got = append(got, fmt.Sprint(len(p.Rules[d])))
			} else {
				got = append(got, strings.Repeat("-", 1+len(p.Rules[d])))
			}
		}
		if text := strings.Join(got, " "); text != r.want {
			t.Errorf("%s: got %s, want %s", r.spec, text, r.want)
		}
	}
}

func TestNetworkPolicyErrors(t *testing.T) {
	for _, r := range []struct{ text, want string }{
		{`{metadata: {namespace: shop}}`, "no name"},
		{`{metadata: {name: p}}`, "no namespace"},
		{policyMeta + `spec: {podSelector: {matchExpressions: [{key: a, operator: In}]}}`, "spec.podSelector: "},
		{policyMeta + `spec: {podSelector: {matchLabels: {a: "b c"}}}`, "spec.podSelector: "},
		{policyMeta + `spec: {policyTypes: [Ingress, ingress]}`, `spec.policyTypes[1]: "ingress" is neither Ingress nor Egress`},
		{policyMeta + `spec: {policyTypes: [""]}`, `spec.policyTypes[0]: ""`},
	} {
		p, err := NetworkPolicy(decode[networkingv1.NetworkPolicy](t, r.text))
		if p != nil || err == nil || !strings.Contains(err.Error(), r.want) {
			t.Errorf("%s: got %v, %v; want an error with %q", r.text, p, err, r.want)
		}
	}
}

func TestNetworkPolicyWhole(t *testing.T) {
	const manifest = `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: shop, name: allow-web, uid: u-7}
spec:
  podSelector:
    matchLabels: {app: db}
  policyTypes: [Ingress, Egress]
  ingress:
  - from:
    - podSelector: {matchLabels: {app: web}}
      namespaceSelector: {}
    ports:
    - {protocol: TCP, port: 5432}
  egress:
  - to:
    - ipBlock: {cidr: 10.0.0.9/8, except: [10.1.0.9/16]}
`
	want := &policy.Policy{
		ObjectKey: policy.ObjectKey{Namespace: "shop", Name: "allow-web"},
		UID:       "u-7",
		Subjects:  policy.Selector{Requirements: []policy.Requirement{{Key: "app", Operator: policy.In, Values: []string{"db"}}}},
		Isolates:  [2]bool{true, true},
		Rules: [2][]policy.Rule{
			{{
				Peers: []policy.Peer{{
					Pods:       &policy.Selector{Requirements: []policy.Requirement{{Key: "app", Operator: policy.In, Values: []string{"web"}}}},
					Namespaces: &policy.Selector{},
				}},
				Ports: []policy.Port{{Protocol: policy.TCP, First: 5432, Last: 5432}},
			}},
			{{
				Peers:   []policy.Peer{{Block: &policy.Block{Prefix: mustPrefix(t, "10.0.0.0/8"), Excepts: mustPrefixes(t, "10.1.0.0/16")}}},
				AnyPort: true,
			}},
		},
	}
	got, err := NetworkPolicy(decode[networkingv1.NetworkPolicy](t, manifest))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, byValue); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// A selector with one key in matchLabels and matchExpressions comes from a map
// and a list: without a full order its model would differ from run to run, and
// look like a change.
func TestSelectorIsDeterministic(t *testing.T) {
	const spec = `{podSelector: {matchLabels: {a: x, b: y, c: z}, matchExpressions: [{key: a, operator: In, values: [y, x]}, {key: a, operator: Exists}]}}`
	first, err := NetworkPolicy(decodePolicy(t, spec))
	if err != nil {
		t.Fatal(err)
	}
	for range 100 {
		again, err := NetworkPolicy(decodePolicy(t, spec))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(first, again, byValue); diff != "" {
			t.Fatalf("-first +again:\n%s", diff)
		}
	}
}
