// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"strings"
	"testing"
)

const (
	head = "scenario \"t\"\npod a/x 10.244.1.10 app=x\npod a/y 10.244.1.11\n" // three lines
	rule = "policy <<\nmetadata: {namespace: a, name: p}\nspec: {podSelector: {}, policyTypes: [Egress]}\n>>\n"
	row  = "a/x -> a/y TCP/80 = allow egress=open ingress=open\n"
)

func TestParseErrors(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"", "t:1: no scenario"},
		{"pod a/x\n", "t:1: \"pod\" before the first scenario"},
		{"scenario t\n", "t:1: scenario t: want a title in double quotes"},
		{head, "t:1: no row behind the last change"},
		{head + row + "change: delete pod a/x\n", "t:5: no row behind the last change"},
		{head + row + "pod a/z\n" + row, "t:5: pod behind a row"},
		{head + "pod x\n" + row, "t:4: pod: \"x\": want NAMESPACE/NAME"},
		{head + "pod a/x\n" + row, "t:4: pod a/x stands twice in one batch"},
		{head + "pod a/z nonsense\n" + row, "t:4: pod: \"nonsense\": want an address"},
		{head + "pod a/z port=web:80\n" + row, "t:4: pod: port=web:80: want port=NAME:PROTOCOL:NUMBER"},
		{head + "pod a/z port=web:ICMP:80\n" + row, "want TCP, UDP or SCTP"},
		{head + "nonsense a\n" + row, "t:4: nonsense: not a statement"},
		{head + "policy <<\n" + row, "t:4: policy: the block has no end"},
		{head + "policy <<\nspec: {podSelektor: {}}\n>>\n" + row, "unknown field"},
		{head + "policy <<\nkind: Pod\n>>\n" + row, "Pod of , want NetworkPolicy"},
		{head + "policy <<\nmetadata: {name: p}\n>>\n" + row, "no namespace"},
		{head + "policy <<\n>>\n" + row, "t:5: policy: the block holds no object"},
		{head + "a/x -> a/y TCP/80\n", "t:4: a row without \" = \""},
		{head + "a/x -> a/y = allow\n", "want SOURCE -> DESTINATION WHAT"},
		{head + "a/x -> b/y TCP/80 = allow egress=open\n", "t:4: b/y is no pod, host or address"},
		{head + "a/x -> a/y TCP = allow egress=open ingress=open\n", "\"TCP\": want TCP/80"},
		{head + "a/x -> a/y TCP/65536 = allow egress=open ingress=open\n", "\"TCP/65536\": want"},
		{head + "a/x -> a/y IGMP/80 = allow egress=open ingress=open\n", "\"IGMP/80\": want"},
		{head + "a/x -> a/y UDP/0>80 = allow egress=open ingress=open\n", "want a source port"},
		{head + "a/x -> fd00::1 TCP/80 = allow egress=open\n", "no address of the same family"},
		{head + "ipv6: a/x -> a/y TCP/80 = allow egress=open ingress=open\n", "no address of the same family"},
		{head + "a/x -> a/y TCP/80 = maybe\n", "want allow or deny"},
		{head + "a/x -> a/y TCP/80 = allow egress=none ingress=open\n", "but the causes say otherwise"},
		{head + "a/x -> a/y TCP/80 = deny egress=open ingress=open\n", "but the causes say otherwise"},
		{head + "a/x -> a/y TCP/80 = allow egress=often ingress=open\n", "\"egress=often\": want open"},
		{head + "a/x -> a/y TCP/80 = allow egress=open\n", "was ingress= given: false"},
		{head + "a/x -> 10.0.0.1 TCP/80 = allow egress=open ingress=open\n", "was ingress= given: true"},
		{head + "10.0.0.2 -> 10.0.0.1 TCP/80 = allow\n", "no end is judged on this node"},
		{head + row + "change: delete pod a/z\n" + row, "t:5: delete: there is no pod a/z"},
		{head + row + "change: relabel pod a/x tier\n" + row, "t:5: relabel: \"tier\": want KEY=VALUE or KEY-"},
		{head + row + "change: relabel namespace a b=c\n" + row, "there is no namespace a"},
		{head + row + "change: delete policy a/p\n" + row, "policy a/p: there is none"},
		{head + row + "change: move pod a/x nowhere\n" + row, "\"nowhere\" is not an address"},
		{head + "host h\n" + row, "t:4: host: want a name and addresses"},
	} {
		_, err := Parse("t", c.text)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q:\n\tgot  %v\n\twant %s", c.text, err, c.want)
		}
	}
}

func TestParse(t *testing.T) {
	text := head + rule + "# a comment\n" + `a/x -> a/y TCP/80,UDP/9>53 = deny egress=none ingress=open # behind a row
change: delete policy a/p; relabel pod a/x app- b=c
a/x -> a/y ICMP = allow egress=open ingress=open
`
	scenarios, err := Parse("t", text)
	if err != nil || len(scenarios) != 1 || len(scenarios[0].Steps) != 2 {
		t.Fatalf("%+v, %v", scenarios, err)
	}
	first, second := scenarios[0].Steps[0], scenarios[0].Steps[1]
	if len(first.Cases) != 2 || first.Cases[1].Probe.SourcePort != 9 || first.Cases[1].Probe.Port != 53 || first.Cases[0].Place != "t:9" {
		t.Errorf("first step: %+v", first.Cases)
	}
	if len(second.Batch.DeletedPolicies) != 1 || len(second.Batch.Pods) != 1 || second.Batch.Pods[0].Labels["b"] != "c" || len(second.Batch.Pods[0].Labels) != 1 {
		t.Errorf("second step: %+v", second.Batch)
	}
	if old := first.Batch.Pods[0]; old.Labels["app"] != "x" {
		t.Errorf("the change reached the pod of the first step: %+v", old)
	}
}

// TestDiffers: a wrong answer of any kind is seen.
func TestDiffers(t *testing.T) {
	open, none, rule := verdictOf(Open), verdictOf(None), verdictOf("a/p#0")
	want := Answer{Ends: [2]*Verdict{&rule, &open}}
	denied := Answer{Ends: [2]*Verdict{&rule, &none}}
	for _, c := range []struct {
		name      string
		want, got Answer
		same      bool
	}{
		{"the same", want, want, true},
		{"delivered", want, Answer{Ends: want.Ends, Delivered: new(true)}, true},
		{"lost", want, Answer{Ends: want.Ends, Delivered: new(false)}, false},
		{"delivered though denied", denied, Answer{Ends: [2]*Verdict{nil, &none}, Delivered: new(true)}, false},
		{"denied at egress, ingress unseen", denied, Answer{Ends: [2]*Verdict{nil, &none}, Delivered: new(false)}, true},
		{"allowed at egress, ingress unseen", want, Answer{Ends: [2]*Verdict{nil, &open}}, false},
		{"another rule", want, Answer{Ends: [2]*Verdict{new(verdictOf("a/p#1")), &open}}, false},
		{"another verdict", want, Answer{Ends: [2]*Verdict{&none, &open}}, false},
		{"an end that is not judged", Answer{Ends: [2]*Verdict{&rule, nil}}, want, false},
		{"nothing", want, Answer{}, false},
		{"no reply", Answer{Ends: want.Ends, Replied: new(true)}, Answer{Ends: want.Ends, Replied: new(false)}, false},
	} {
		if got := c.want.differs(c.got); (got == "") != c.same {
			t.Errorf("%s: %q", c.name, got)
		}
	}
}
