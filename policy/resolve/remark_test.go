// SPDX-License-Identifier: Apache-2.0

package resolve

import (
	"strings"
	"testing"

	"github.com/weirnet/weir/policy"
)

func TestRemarks(t *testing.T) {
	const pods = "ns a; ns b env=p; pod a/w 10.0.0.1 app=w http:80; pod a/c 10.0.0.2 app=c there; pod b/d 10.0.0.3 app=d sql:5432 there;"
	const none = ""
	for _, row := range []struct{ name, state, want string }{
		{"a name of the selected pod", "policy a/n app=w in=*|http", none},
		{"a name of another pod", "policy a/n app=w in=*|sql", "a/n ingress rule 0: named port sql/TCP: no pod that the policy selects has it"},
		{"one of the selected pods has it", "policy a/n in=*|http", none},
		{"nobody is selected", "policy a/n app=x in=*|sql", none},
		{"no policy of that direction", "policy a/n app=w in", none},
		{"a number", "policy a/n app=w in=*|81", none},
		{"egress to the pod that has it", "policy a/n app=w out=ns(env=p)|sql", none},
		{"egress to one that has not", "policy a/n app=w out=pods(app=c)|sql", "a/n egress rule 0: named port sql/TCP: no pod that the rule allows has it"},
		{"egress to nobody", "policy a/n app=w out=pods(app=x)|sql", none},
		{"egress to every peer", "policy a/n app=w out=*|sql", none},
		{"egress to every peer, unknown", "policy a/n app=w out=*|ldap", "a/n egress rule 0: named port ldap/TCP: no pod of the cluster has it"},
		{"egress to a block around the pod", "policy a/n app=w out=10.0.0.0/24|sql", none},
		{"egress to a block beside the pod", "policy a/n app=w out=10.0.0.0/31|sql", "a/n egress rule 0: named port sql/TCP: no pod that the rule allows has it"},
		{"the pod is in the except", "policy a/n app=w out=10.0.0.0/24-10.0.0.3/32|sql", "a/n egress rule 0: named port sql/TCP: no pod that the rule allows has it"},
		{"a pod without an address does not count", "pod b/d app=d sql:5432 there; policy a/n app=w out=*|sql", "a/n egress rule 0: named port sql/TCP: no pod of the cluster has it"},
		{"a pod that has ended does not count", "pod b/d 10.0.0.3 sql:5432 there done; policy a/n app=w out=*|sql", "a/n egress rule 0: named port sql/TCP: no pod of the cluster has it"},
		{"the second rule", "policy a/n app=w in=*|http in=*|sql", "a/n ingress rule 1: named port sql/TCP: no pod that the policy selects has it"},
		{"a pod comes", "policy a/n app=w in=*|sql; pod a/w2 10.0.0.4 app=w sql:1", none},
		{"a pod goes", "policy a/n in=*|http; -pod a/w", "a/n ingress rule 0: named port http/TCP: no pod that the policy selects has it"},
		{"a policy goes", "policy a/n app=w in=*|sql; -policy a/n", none},
		{"a Service's address", "service b/s 10.96.0.1; policy a/n app=w out=10.96.0.1/32|80", "a/n egress rule 0: block 10.96.0.1/32 is the address of Service b/s: rules are compared with the addresses of its backends, so name those, by a podSelector"},
		{"a Service's address at ingress", "service b/s 10.96.0.1; policy a/n app=w in=10.96.0.1/32|80", none},
		{"a block around Services", "service b/s 10.96.0.1; policy a/n app=w out=10.96.0.0/12|80", none},
		{"the Service goes", "service b/s 10.96.0.1; policy a/n app=w out=10.96.0.1/32|80; -service b/s", none},
	} {
		e := New("here", Marks{})
		for change := range strings.SplitSeq(pods+row.state, ";") {
			e.Apply(batch(change))
		}
		var got []string
		for _, r := range e.Remarks() {
			got = append(got, r.Rule.String()+": "+r.Text)
		}
		if strings.Join(got, "\n") != row.want {
			t.Errorf("%s: %q, want %q", row.name, got, row.want)
		}
	}
}

// A rule for TCP and a port for UDP is the commonest mistake of all.
func TestRemarkOnProtocol(t *testing.T) {
	key := policy.ObjectKey{Namespace: "a", Name: "dns"}
	e := New("here", Marks{})
	e.Apply(policy.Batch{
		Pods:     []*policy.Pod{{ObjectKey: key, Node: "here", IPs: addrs("10.0.0.1"), Ports: []policy.NamedPort{{Name: "dns", Protocol: policy.UDP, Number: 53}}}},
		Policies: []*policy.Policy{{ObjectKey: key, Isolates: [2]bool{true}, Rules: [2][]policy.Rule{{{AnyPeer: true, Ports: []policy.Port{{Protocol: policy.TCP, Name: "dns"}}}}}}},
	})
	const want = "named port dns/TCP: no pod that the policy selects has it for that protocol, but for UDP"
	if got := e.Remarks(); len(got) != 1 || got[0].Text != want {
		t.Errorf("%v, want %q", got, want)
	}
}
