// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/weirnet/weir/policy"
	"github.com/weirnet/weir/policy/convert"
	"github.com/weirnet/weir/test/e2e/traffic"
)

const (
	generatedRounds  = 12
	generatedPods    = 3 // in each of three namespaces
	roundLimit       = 60 * time.Second
	policiesInRounds = 4
)

// Policies that chance wrote, on real pods: every pod calls every other one by
// each protocol, port and address, and what passes is what the oracle says,
// which reads the objects as the API server has them.
// WEIR_E2E_SEED repeats a run.
func TestGeneratedPolicies(t *testing.T) {
	needWeir(t)
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("WEIR_E2E_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("WEIR_E2E_SEED: %v", err)
		}
	}
	t.Logf("WEIR_E2E_SEED=%d", seed)
	w := newWorld(t, generator{Rand: rand.New(rand.NewPCG(seed, 0))})
	calls, passed := 0, 0
	for round := range generatedRounds {
		w.change(round)
		got, allowed, err := w.compare()
		if err != nil {
			t.Errorf("round %d: %v\n%s", round, err, w.policies())
			return
		}
		calls, passed = calls+got, passed+allowed
	}
	t.Logf("%d rounds, %d calls as the oracle says: %d passed, %d denied", generatedRounds, calls, passed, calls-passed)
	if passed == 0 || passed == calls {
		t.Error("all calls had one verdict: the run proves nothing")
	}
}

// world of pods in three namespaces, on two nodes.
type world struct {
	t          *testing.T
	g          generator
	namespaces []*Namespace
	pods       []*Pod
	live       []*networkingv1.NetworkPolicy
}

func newWorld(t *testing.T, g generator) *world {
	w := &world{t: t, g: g}
	for i, team := range []string{"x", "y", ""} {
		n := cluster.Namespace(t)
		if team != "" {
			n.Label("team", team)
		}
		w.namespaces = append(w.namespaces, n)
		for j := range generatedPods {
			labels := w.g.labels()
			if labels["app"] == "" {
				labels["app"] = "z" // or the pod's name would stand there
			}
			w.pods = append(w.pods, n.StartTraffic(fmt.Sprintf("p%d", j), PodOptions{Node: cluster.Nodes[(i+j)%2], Labels: labels}))
		}
	}
	for _, p := range w.pods {
		p.AwaitReady()
		w.g.addresses = append(w.g.addresses, p.Addresses...)
	}
	return w
}

// change the policies: one goes, one or more come.
func (w *world) change(round int) {
	api := func(p *networkingv1.NetworkPolicy) (err error) {
		_, err = cluster.client.NetworkingV1().NetworkPolicies(p.Namespace).Create(w.t.Context(), p, metav1.CreateOptions{})
		return err
	}
	for len(w.live) >= policiesInRounds {
		old := w.live[0]
		w.live = w.live[1:]
		if err := cluster.client.NetworkingV1().NetworkPolicies(old.Namespace).Delete(w.t.Context(), old.Name, metav1.DeleteOptions{}); err != nil {
			w.t.Fatal(err)
		}
	}
	for i := range 1 + w.g.IntN(2) {
		p := w.g.policy(fmt.Sprintf("r%d-%d", round, i))
		p.Namespace = pick(w.g, w.namespaces...).Name
		if err := api(p); err != nil {
			w.t.Fatalf("create %s/%s: %v\n%+v", p.Namespace, p.Name, err, p.Spec)
		}
		w.live = append(w.live, p)
	}
}

// compare all calls with the oracle until they agree; at the limit, what still
// differs. Then once more: a change on its way may agree by chance.
func (w *world) compare() (calls, passed int, err error) {
	oracle, subjects, err := w.oracle()
	if err != nil {
		return 0, 0, err
	}
	check := func(ctx context.Context) error {
		calls, passed = 0, 0
		var mu sync.Mutex
		var wait sync.WaitGroup
		var errs []error
		for i, from := range w.pods {
			wait.Go(func() {
				n, yes, err := w.from(ctx, oracle, subjects, i, from)
				mu.Lock()
				defer mu.Unlock()
				calls, passed, errs = calls+n, passed+yes, append(errs, err)
			})
		}
		wait.Wait()
		return errors.Join(errs...)
	}
	if err := poll(w.t.Context(), roundLimit, check); err != nil {
		return 0, 0, err
	}
	return calls, passed, check(w.t.Context())
}

// from one pod to all others.
func (w *world) from(ctx context.Context, oracle *policy.Cluster, subjects []*policy.Pod, i int, from *Pod) (calls, passed int, err error) {
	var targets []Target
	var want []Verdict
	for j, to := range w.pods {
		if i == j {
			continue
		}
		for _, a := range to.Addresses {
			source := sameFamily(from.Addresses, a)
			for _, port := range []uint16{traffic.PortTCP, traffic.PortTotals, traffic.PortUDP} {
				t, protocol := Target{"tcp", netip.AddrPortFrom(a, port)}, policy.TCP
				if port == traffic.PortUDP {
					t.Protocol, protocol = "udp", policy.UDP
				}
				out := oracle.Evaluate(policy.Flow{Direction: policy.Egress, Subject: subjects[i], Peer: a, Protocol: protocol, Port: port})
				in := oracle.Evaluate(policy.Flow{Direction: policy.Ingress, Subject: subjects[j], Peer: source, Protocol: protocol, Port: port})
				verdict := Denied
				if out.Allowed && in.Allowed {
					verdict, passed = Passed, passed+1
				}
				targets, want = append(targets, t), append(want, verdict)
			}
		}
	}
	got, err := from.probe(ctx, targets)
	if err != nil {
		return 0, 0, err
	}
	var errs []error
	for k := range targets {
		if got[k] != want[k] {
			errs = append(errs, fmt.Errorf("%s to %s: %s, the oracle says %s", from, targets[k], got[k], want[k]))
		}
	}
	return len(targets), passed, errors.Join(errs...)
}

func sameFamily(list []netip.Addr, as netip.Addr) netip.Addr {
	for _, a := range list {
		if a.Is4() == as.Is4() {
			return a
		}
	}
	return netip.Addr{}
}

// oracle of the objects in the API, and its pods in the order of w.pods.
func (w *world) oracle() (*policy.Cluster, []*policy.Pod, error) {
	c := &policy.Cluster{Namespaces: map[string]policy.Namespace{}}
	var subjects []*policy.Pod
	for _, n := range w.namespaces {
		object, err := cluster.client.CoreV1().Namespaces().Get(w.t.Context(), n.Name, metav1.GetOptions{})
		if err != nil {
			return nil, nil, err
		}
		if c.Namespaces[n.Name], err = convert.Namespace(object); err != nil {
			return nil, nil, err
		}
	}
	for _, p := range w.pods {
		object, err := p.get(w.t.Context())
		if err != nil {
			return nil, nil, err
		}
		pod, _, err := convert.Pod(object)
		if err != nil {
			return nil, nil, err
		}
		subjects = append(subjects, pod)
	}
	c.Pods = subjects
	for _, live := range w.live {
		object, err := cluster.client.NetworkingV1().NetworkPolicies(live.Namespace).Get(w.t.Context(), live.Name, metav1.GetOptions{})
		if err != nil {
			return nil, nil, err
		}
		p, err := convert.NetworkPolicy(object)
		if err != nil {
			return nil, nil, err
		}
		c.Policies = append(c.Policies, p)
	}
	return c, subjects, nil
}

// policies as YAML, for the report of a failure.
func (w *world) policies() string {
	text := ""
	for _, p := range w.live {
		raw, err := yaml.Marshal(p.Spec)
		if err != nil {
			return err.Error()
		}
		text += fmt.Sprintf("--- %s/%s\n%s", p.Namespace, p.Name, raw)
	}
	for _, p := range w.pods {
		text += fmt.Sprintf("%s %v\n", p, p.Addresses)
	}
	return text
}
