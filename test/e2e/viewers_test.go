// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weirnet/weir/test/e2e/traffic"
)

const (
	// The namespaces that have a viewer, as viewers.yaml names them.
	shopNamespace, dataNamespace = "weir-e2e-shop", "weir-e2e-data"
	viewerName                   = "weir-viewer"

	exitDone, exitError, exitEmpty, exitPartial = 0, 1, 3, 5 // of weir

	disorder   = time.Second // of flows of two nodes, at most
	notWaiting = "--request-timeout=3s"
)

// Flows of all nodes through the API server: for who may see all, for two
// viewers of one namespace each, and for users who lack a right.
func TestViewers(t *testing.T) {
	needWeir(t)
	if *viewers == "" || *weir == "" || *install == "" {
		t.Skip("needs the command, and manifests with viewers and without: --weir, --viewers and --install name them")
	}
	m := newMarket(t)
	m.installViewers(t)
	m.awaitFlows(t)
	t.Run("all", m.seesAll)
	for own, other := range map[*stall]*stall{m.shop: m.data, m.data: m.shop} {
		t.Run("viewer of "+own.Name, func(t *testing.T) { m.seesOne(t, own, other) })
	}
	t.Run("without a right", m.lacksRights)
	t.Run("frozen agent", m.frozen)
}

// market is traffic within and between two namespaces, each with pods on both
// nodes: the shop's client may reach both servers, that of data its own.
type market struct {
	shop, data *stall
	users      *Namespace
	admin      Weir
}

type stall struct {
	*Namespace
	server *Pod
}

func newMarket(t *testing.T) *market {
	t.Helper()
	m := &market{users: cluster.Namespace(t), admin: Weir{*weir, *kubeconfig}}
	open := func(name string, server, client Node, policy string) (*stall, func(...*stall)) {
		n := cluster.NamespaceNamed(t, name)
		n.Policy("friends", policy)
		of := map[string]string{"of": name}
		s := &stall{n, n.StartTraffic("server", PodOptions{Node: server, Labels: of})}
		return s, func(to ...*stall) {
			args := []string{"-every=250ms"}
			for _, other := range to {
				args = append(args, other.server.Calls(traffic.Connect)...)
			}
			n.StartTraffic("client", PodOptions{Node: client, Labels: of}, args...).AwaitReady()
		}
	}
	const own = `{podSelector: {matchLabels: {app: client}}}`
	const shops = `{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: ` + shopNamespace + `}}}`
	var callShop, callData func(...*stall)
	m.shop, callShop = open(shopNamespace, cluster.Nodes[0], cluster.Nodes[1], `{podSelector: {matchLabels: {app: server}}, ingress: [{from: [`+own+`]}]}`)
	m.data, callData = open(dataNamespace, cluster.Nodes[1], cluster.Nodes[0], `{podSelector: {matchLabels: {app: server}}, ingress: [{from: [`+own+`, `+shops+`]}]}`)
	m.shop.server.AwaitReady()
	m.data.server.AwaitReady()
	callShop(m.shop, m.data)
	callData(m.shop, m.data)
	return m
}

// installViewers, and take them away again.
func (m *market) installViewers(t *testing.T) {
	t.Helper()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), updateLimit)
		defer cancel()
		err := errors.Join(cluster.Install(ctx, *install), cluster.AgentsReady(ctx, agents.Namespace, agents.Name, agentsLimit))
		rights := cluster.client.RbacV1()
		err = errors.Join(err, rights.ClusterRoleBindings().Delete(ctx, viewerName, metav1.DeleteOptions{}),
			rights.ClusterRoles().Delete(ctx, viewerName, metav1.DeleteOptions{}),
			cluster.client.CoreV1().ServiceAccounts(agents.Namespace).Delete(ctx, viewerName, metav1.DeleteOptions{}))
		if err != nil {
			t.Error(err)
		}
	})
	if err := cluster.Install(t.Context(), *viewers); err != nil {
		t.Fatal(err)
	}
	if err := cluster.AgentsReady(t.Context(), agents.Namespace, agents.Name, updateLimit); err != nil {
		t.Fatal(err)
	}
}

// awaitFlows of every kind that the rows look for, at both nodes.
func (m *market) awaitFlows(t *testing.T) {
	t.Helper()
	err := poll(t.Context(), settleLimit, func(ctx context.Context) error {
		said, err := m.admin.Run(ctx, "observe", "--all", "-o", "jsonl")
		if err != nil {
			return err
		}
		list, err := said.Flows()
		if err != nil || said.Code != exitDone {
			return fmt.Errorf("exit code %d: %s: %w", said.Code, said.Err, err)
		}
		for _, n := range cluster.Nodes[:2] {
			for what, is := range map[string]func(Flow) bool{
				"within the shop": func(f Flow) bool { return f.within(shopNamespace) },
				"within data":     func(f Flow) bool { return f.within(dataNamespace) },
				"between them":    func(f Flow) bool { return f.between(shopNamespace, dataNamespace) },
			} {
				if !slices.ContainsFunc(list, func(f Flow) bool { return f.Node == n.Name && is(f) }) {
					return fmt.Errorf("among %d flows is none %s of node %s", len(list), what, n.Name)
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// seesAll with the rights of an administrator, and through WebSockets with those
// that these need.
func (m *market) seesAll(t *testing.T) {
	s := expectSaid(t, m.admin, exitDone, "", "status")
	for _, n := range cluster.Nodes {
		if !strings.Contains(s.Out, n.Name) {
			t.Errorf("status names no node %s: %s", n.Name, s.Out)
		}
	}
	list := flowsOf(t, m.admin, exitDone, "--all")
	expectBothNodes(t, list)
	latest := time.Time{}
	for _, f := range list {
		if f.Time.Before(latest.Add(-disorder)) {
			t.Fatalf("a flow of node %s of %s comes after one of %s", f.Node, f.Time, latest)
		}
		if f.Time.After(latest) {
			latest = f.Time
		}
	}
	expectBothNodes(t, flowsOf(t, m.admin, exitDone, "-f", "-n", shopNamespace, "--kind", "new", "--count", "30", "--timeout", "20s"))
	inForce := fmt.Sprintf("in force on %d of %[1]d", len(cluster.Nodes))
	if s := expectSaid(t, m.admin, exitDone, "", "policy", "status", shopNamespace+"/friends"); !strings.Contains(s.Out, inForce) {
		t.Errorf("policy status: %s", s.Out)
	}
	ports := Right{agents.Namespace, "get", "pods/portforward", ""}
	expectTunnels(t, m.users.User("all", append(rightsToReach(), ports, rightToView(agents.Namespace))...), "websocket")
}

// seesOne namespace, with the rights that README names and no other. Forwarding
// through WebSockets would need get as well: this is SPDY.
func (m *market) seesOne(t *testing.T, own, other *stall) {
	w := Weir{*weir, m.users.User("viewer-of-"+own.Name, append(rightsToReach(), rightToView(own.Name))...)}
	list := flowsOf(t, w, exitDone, "-n", own.Name, "--all")
	expectBothNodes(t, list)
	as := "--viewer=" + own.Name
	for _, f := range append(flowsOf(t, w, exitDone, as, "--all"), list...) {
		m.expectOnlyOf(t, f, own.Name, other.Name)
	}
	for what, is := range map[string]func(Flow) bool{
		"within it":       func(f Flow) bool { return f.within(own.Name) },
		"with the others": func(f Flow) bool { return f.between(own.Name, other.Name) },
	} {
		if !slices.ContainsFunc(list, is) {
			t.Errorf("of %d flows none is %s", len(list), what)
		}
	}
	for _, f := range flowsOf(t, w, exitDone, as, "-n", other.Name, "--all") {
		if !f.between(own.Name, other.Name) {
			t.Errorf("asked for those with %s: %+v", other.Name, f)
		}
	}
	flowsOf(t, w, exitDone, as, "-l", "of="+own.Name, "--all", "--exit-nonzero-if-empty")
	flowsOf(t, w, exitEmpty, as, "-l", "of="+other.Name, "--all", "--exit-nonzero-if-empty")
	flowsOf(t, w, exitEmpty, as, "--policy", other.Name+"/friends", "--all", "--exit-nonzero-if-empty")
	flowsOf(t, w, exitEmpty, as, "--from-namespace", other.Name, "--to-namespace", other.Name, "--all", "--exit-nonzero-if-empty")
	for _, args := range [][]string{{"observe"}, {"observe", "-n", other.Name}, {"status"}, {"policy", "status", other.Name + "/friends"}} {
		expectSaid(t, w, exitError, "you need create on serviceaccounts/token", args...)
	}
	expectSaid(t, w, exitDone, "", "status", as)
	expectSaid(t, w, exitDone, "", "policy", "status", own.Name+"/friends")
	expectSaid(t, w, exitError, "may see the flows of "+own.Name+" alone", "policy", "status", as, other.Name+"/friends")
	expectTunnels(t, w.Kubeconfig, "SPDY/3.1", "--viewer="+own.Name)
}

// expectOnlyOf the viewer's namespace, and of the other one what he may know.
func (m *market) expectOnlyOf(t *testing.T, f Flow, own, other string) {
	t.Helper()
	if !f.touches(own) {
		t.Fatalf("a flow that does not touch %s: %+v", own, f)
	}
	for _, end := range []End{f.Source, f.Destination, f.Service} {
		if end.Namespace == other && (len(end.Labels) > 0 || end.Workload != nil) {
			t.Fatalf("labels or the workload of a pod of %s are told: %+v", other, f)
		}
	}
	for _, p := range f.policies() {
		if p.Namespace == other {
			t.Fatalf("a policy of %s is told: %+v", other, f)
		}
	}
}

// lacksRights: what is missing is named.
func (m *market) lacksRights(t *testing.T) {
	reach := rightsToReach()
	for name, row := range map[string]struct {
		rights []Right
		says   string
	}{
		"none":     {nil, "list pods in namespace " + agents.Namespace},
		"no-token": {reach, "you need create on serviceaccounts/token"},
		"no-port":  {[]Right{reach[0], rightToView(agents.Namespace)}, "you need create on pods/portforward in namespace " + agents.Namespace},
	} {
		expectSaid(t, Weir{*weir, m.users.User(name, row.rights...)}, exitError, row.says, "status")
	}
}

// frozen agents are named, and the others answer.
func (m *market) frozen(t *testing.T) {
	power := needMachine(t)
	ice := cluster.Nodes[1].Name
	signal := func(ctx context.Context, name string) error {
		_, err := power.Exec(ctx, ice, "sh", "-c", "kill -"+name+" $(pidof weir-agent)")
		return err
	}
	t.Cleanup(func() {
		if err := signal(context.Background(), "CONT"); err != nil {
			t.Error(err)
		}
	})
	if err := signal(t.Context(), "STOP"); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"status"}, {"observe"}, {"policy", "status", shopNamespace + "/friends"}} {
		s := expectSaid(t, m.admin, exitPartial, ice, append(args, notWaiting)...)
		if !strings.Contains(s.Out, cluster.Nodes[0].Name) && args[0] != "observe" || s.Out == "" {
			t.Errorf("%v: nothing of the node that answers: %s", args, s.Out)
		}
	}
}

// rightsToReach the agents.
func rightsToReach() []Right {
	return []Right{{agents.Namespace, "list", "pods", ""}, {agents.Namespace, "create", "pods/portforward", ""}}
}

func rightToView(namespace string) Right {
	return Right{namespace, "create", "serviceaccounts/token", viewerName}
}

// expectSaid runs weir, and expects an exit code, and a text on standard error;
// none: nothing is there.
func expectSaid(t *testing.T, w Weir, code int, says string, args ...string) Said {
	t.Helper()
	s, err := w.Run(t.Context(), args...)
	if err != nil {
		t.Fatal(err)
	}
	if s.Code != code || !strings.Contains(s.Err, says) || says == "" && s.Err != "" {
		t.Errorf("weir %s: exit code %d, want %d; said %q, want %q", strings.Join(args, " "), s.Code, code, s.Err, says)
	}
	return s
}

func flowsOf(t *testing.T, w Weir, code int, args ...string) []Flow {
	t.Helper()
	s := expectSaid(t, w, code, "", append([]string{"observe", "-o", "jsonl"}, args...)...)
	list, err := s.Flows()
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func expectBothNodes(t *testing.T, list []Flow) {
	t.Helper()
	for _, n := range cluster.Nodes[:2] {
		if !slices.ContainsFunc(list, func(f Flow) bool { return f.Node == n.Name }) {
			t.Errorf("of %d flows none is of node %s", len(list), n.Name)
		}
	}
}

// expectTunnels to every node, of one protocol.
func expectTunnels(t *testing.T, kubeconfig, protocol string, args ...string) {
	t.Helper()
	g, through := newGateway(t, kubeconfig)
	expectSaid(t, Weir{*weir, through}, exitDone, "", append([]string{"status"}, args...)...)
	made := g.switched()
	if len(made) < len(cluster.Nodes) || slices.ContainsFunc(made, func(p string) bool { return p != protocol }) {
		t.Errorf("ports were forwarded through %q, want %s to each node", made, protocol)
	}
}
