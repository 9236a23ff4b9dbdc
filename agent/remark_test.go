// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes/fake"

	"github.com/weirnet/weir/agent/kube"
	"github.com/weirnet/weir/policy"
	"github.com/weirnet/weir/policy/resolve"
)

// remarkStage is a controller that has nothing but its objects.
type remarkStage struct {
	*controller
	log bytes.Buffer
}

func newRemarkStage(t *testing.T) *remarkStage {
	t.Helper()
	s := &remarkStage{}
	log := slog.New(slog.NewTextHandler(&s.log, nil))
	events, err := kube.NewRecorder(kube.RecorderOptions{Client: fake.NewClientset(), Node: "n1", Log: log, ObjectEvery: time.Hour, ObjectBurst: 1})
	if err != nil {
		t.Fatal(err)
	}
	dir := newDirectory()
	s.controller = &controller{
		controllerParts: controllerParts{dir: dir, state: newState("v", "n1", time.Unix(0, 0)), notices: notices{events: events, dir: dir}, log: log},
		engine:          resolve.New("n1", resolve.Marks{}),
		synced:          true,
	}
	return s
}

func (s *remarkStage) apply(b policy.Batch) {
	s.dir.apply(b)
	s.engine.Apply(b)
	s.changed = true
}

// shown is what `weir status` and `weir policy` say of shop/allow.
func (s *remarkStage) shown(t *testing.T) (status, rule string) {
	t.Helper()
	for _, c := range s.state.snapshot().conditions {
		if c.Name == conditionRules {
			status = c.Message
		}
	}
	r := &policyReader{dir: s.dir, state: s.state}
	p, err := r.Policy(t.Context(), policy.ObjectKey{Namespace: "shop", Name: "allow"})
	if err != nil {
		t.Fatal(err)
	}
	return status, strings.Join(p.Rules[0].Problems, "\n")
}

// A named port that no pod has is told in the log once, in an event about the
// policy, in weir status and in weir policy, and no more once a pod has it.
func TestUnknownNamedPortIsTold(t *testing.T) {
	s := newRemarkStage(t)
	key := policy.ObjectKey{Namespace: "shop", Name: "allow"}
	p := &policy.Policy{ObjectKey: key, UID: "u5", Isolates: [2]bool{true, false}}
	p.Rules[policy.Ingress] = []policy.Rule{{AnyPeer: true, Ports: []policy.Port{{Protocol: policy.TCP, Name: "http"}}}}
	s.apply(policy.Batch{Pods: []*policy.Pod{pod("web", "10.0.0.1")}, Policies: []*policy.Policy{p}})

	s.synced = false
	now := time.Unix(1000, 0)
	s.remark(now)
	if status, rule := s.shown(t); status != "" || rule != "" {
		t.Errorf("before the first lists are there: status %q, rule %q", status, rule)
	}
	s.synced = true
	s.remark(now)
	const text = "named port http/TCP: no pod that the policy selects has it"
	if status, rule := s.shown(t); status != "shop/allow ingress rule 0: "+text || rule != text {
		t.Errorf("status %q, rule %q", status, rule)
	}
	for _, c := range s.state.snapshot().conditions {
		if c.Name == conditionRules && c.blocks {
			t.Error("a name in a policy holds readiness back")
		}
	}
	told := true
	s.notices.events.Unusable(kube.NetworkPolicy("shop", "other", "u6"), "x")
	s.notices.events.Denied(kube.NetworkPolicy("shop", "allow", "u5"), func() string { told = false; return "x" })
	if !told {
		t.Error("no event about the policy")
	}

	s.changed = true
	s.remark(now.Add(remarkEvery))
	if n := strings.Count(s.log.String(), text); n != 1 {
		t.Errorf("logged %d times, want once:\n%s", n, s.log.String())
	}

	named := *pod("web", "10.0.0.1")
	named.Ports = []policy.NamedPort{{Name: "http", Protocol: policy.TCP, Number: 8080}}
	s.apply(policy.Batch{Pods: []*policy.Pod{&named}})
	s.remark(now.Add(remarkEvery + time.Second))
	if status, _ := s.shown(t); status == "" {
		t.Error("looked again within the least time")
	}
	s.remark(now.Add(2 * remarkEvery))
	if status, rule := s.shown(t); status != "" || rule != "" {
		t.Errorf("now that a pod has the name: status %q, rule %q", status, rule)
	}
	if !strings.Contains(s.log.String(), "no longer so") {
		t.Errorf("the log does not say that it is over:\n%s", s.log.String())
	}
}

func TestManyRemarksAreCut(t *testing.T) {
	r := remarks{}
	for i := range 8 {
		r[policy.RuleRef{Policy: policy.ObjectKey{Namespace: "a", Name: "p"}, Index: i}] = []string{"why"}
	}
	if got := r.fault().Error(); !strings.Contains(got, "rule 4: why") || strings.Contains(got, "rule 5") || !strings.Contains(got, "and 3 more rules") {
		t.Errorf("%q", got)
	}
	if (remarks{}).fault() != nil {
		t.Error("a fault without remarks")
	}
}
