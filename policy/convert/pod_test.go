// SPDX-License-Identifier: Apache-2.0

package convert

import (
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/weirnet/weir/policy"
)

func TestNamespace(t *testing.T) {
	for _, r := range []struct {
		text string
		want map[string]string
	}{
		{`{metadata: {name: shop}}`, map[string]string{"kubernetes.io/metadata.name": "shop"}},
		{`{metadata: {name: shop, labels: {team: a}}}`, map[string]string{"kubernetes.io/metadata.name": "shop", "team": "a"}},
		{`{metadata: {name: shop, labels: {kubernetes.io/metadata.name: kube-system}}}`, map[string]string{"kubernetes.io/metadata.name": "shop"}},
	} {
		object := decode[corev1.Namespace](t, r.text)
		before := fmt.Sprint(object.Labels)
		got, err := Namespace(object)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(policy.Namespace{Name: "shop", Labels: r.want}, got); diff != "" {
			t.Errorf("%s: -want +got:\n%s", r.text, diff)
		}
		if after := fmt.Sprint(object.Labels); after != before {
			t.Errorf("%s: the object was changed from %s to %s", r.text, before, after)
		}
	}
	if _, err := Namespace(&corev1.Namespace{}); !errors.Is(err, errNoName) {
		t.Errorf("no name: got %v", err)
	}
}

func TestPod(t *testing.T) {
	const manifest = `
apiVersion: v1
kind: Pod
metadata:
  namespace: shop
  name: web-5d4-x
  uid: u-1
  labels: {app: web, pod-template-hash: 5d4}
  ownerReferences:
  - {apiVersion: apps/v1, kind: ReplicaSet, name: web-5d4, uid: u-2, controller: true}
spec:
  nodeName: node-1
  initContainers:
  - {name: init, ports: [{name: gone, containerPort: 1, hostPort: 1}]}
  - {name: once, restartPolicy: OnFailure, ports: [{name: gone, containerPort: 2}]}
  - {name: side, restartPolicy: Always, ports: [{name: mesh, containerPort: 15001, hostPort: 7000, protocol: UDP}]}
  containers:
  - name: web
    ports:
    - {name: http, containerPort: 8080, hostPort: 80}
    - {containerPort: 9090}
    - {name: http, containerPort: 8081, protocol: SCTP}
status:
  phase: Running
  podIP: 10.0.0.1
  podIPs: [{ip: 10.0.0.1}, {ip: "fd00::1"}]
`
	want := &policy.Pod{
		ObjectKey: policy.ObjectKey{Namespace: "shop", Name: "web-5d4-x"},
		UID:       "u-1",
		Labels:    map[string]string{"app": "web", "pod-template-hash": "5d4"},
		Node:      "node-1",
		IPs:       mustAddrs(t, "10.0.0.1", "fd00::1"),
		Ports: []policy.NamedPort{
			{Name: "mesh", Protocol: policy.UDP, Number: 15001},
			{Name: "http", Protocol: policy.TCP, Number: 8080},
			{Name: "http", Protocol: policy.SCTP, Number: 8081},
		},
		HostPorts: []policy.PortNumber{{Protocol: policy.UDP, Number: 7000}, {Protocol: policy.TCP, Number: 80}},
		Workload:  policy.Workload{Kind: "Deployment", Name: "web"},
	}
	got, problems, err := Pod(decode[corev1.Pod](t, manifest))
	if err != nil || problems != nil {
		t.Fatal(problems, err)
	}
	if diff := cmp.Diff(want, got, byValue); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// The UID is the one that the runtime gives to the CNI plugin.
func TestPodUID(t *testing.T) {
	for _, r := range []struct{ name, meta, want string }{
		{"ordinary", `{namespace: shop, name: web, uid: u-1}`, "u-1"},
		{"none", `{namespace: shop, name: web}`, ""},
		{"the mirror of a static pod", `{namespace: shop, name: web, uid: u-1, annotations: {kubernetes.io/config.mirror: u-2, kubernetes.io/config.hash: u-2}}`, "u-2"},
		{"a mirror that says nothing", `{namespace: shop, name: web, uid: u-1, annotations: {kubernetes.io/config.mirror: ""}}`, "u-1"},
		{"a hash without a mirror, as anybody may write it", `{namespace: shop, name: web, uid: u-1, annotations: {kubernetes.io/config.hash: u-2}}`, "u-1"},
	} {
		p, _, err := Pod(decode[corev1.Pod](t, "metadata: "+r.meta))
		if err != nil {
			t.Fatal(err)
		}
		if p.UID != r.want {
			t.Errorf("%s: %q, want %q", r.name, p.UID, r.want)
		}
	}
}

const podMeta = "metadata: {namespace: shop, name: web}\n"

func TestPodAddresses(t *testing.T) {
	for _, r := range []struct{ status, want, problems string }{
		{`{}`, "[]", ""},
		{`{podIP: 10.0.0.1}`, "[10.0.0.1]", ""},
		{`{podIP: 10.0.0.1, podIPs: [{ip: 10.0.0.2}]}`, "[10.0.0.2]", ""},
		{`{podIPs: [{ip: "::ffff:10.0.0.1"}]}`, "[10.0.0.1]", ""},
		{`{podIPs: [{ip: 010.0.0.01}]}`, "[10.0.0.1]", ""},
		{`{podIPs: [{ip: 10.0.0.1}, {ip: 10.0.0.1}, {ip: "fd00:0::1"}]}`, "[10.0.0.1 fd00::1]", ""},
		{`{podIPs: [{ip: 169.254.1.1}]}`, "[169.254.1.1]", ""},
		{`{podIPs: [{ip: 10.0.0}, {ip: "fd00::1"}]}`, "[fd00::1]", `status.podIPs[0]: "10.0.0" is not an address`},
		{`{podIPs: [{ip: ""}], podIP: 10.0.0.1}`, "[]", `status.podIPs[0]: "" is not an address`},
		{`{podIPs: [{ip: "fe80::1"}, {ip: "::1"}, {ip: 0.0.0.0}, {ip: "ff02::1"}]}`, "[]", "podIPs[0]: |podIPs[1]: |podIPs[2]: |podIPs[3]: "},
		{`{podIP: x}`, "[]", `status.podIP: "x"`},
	} {
		p, problems, err := Pod(decode[corev1.Pod](t, podMeta+"status: "+r.status))
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(p.IPs); got != r.want {
			t.Errorf("%s: got %s, want %s", r.status, got, r.want)
		}
		comparePartly(t, problems, r.problems)
	}
}

func TestPodPorts(t *testing.T) {
	for _, r := range []struct{ spec, want, problems string }{
		{`{containers: [{name: a, ports: [{containerPort: 80, hostPort: 8080}]}]}`, "[] [{TCP 8080}]", ""},
		{`{containers: [{name: a, ports: [{name: x, containerPort: 80}]}, {name: b, ports: [{name: x, containerPort: 81}]}]}`, "[{x TCP 80} {x TCP 81}] []", ""},
		{`{hostNetwork: true, containers: [{name: a, ports: [{name: x, containerPort: 80, hostPort: 80}]}]}`, "[{x TCP 80}] []", ""},
		{`{containers: [{name: a, ports: [{name: x, containerPort: 80, protocol: X}]}]}`, "[] []", `spec.containers[0].ports[0]: protocol "X"`},
		{`{containers: [{name: a, ports: [{name: x, containerPort: 0}, {name: ok, containerPort: 2}]}]}`, "[{ok TCP 2}] []", "spec.containers[0].ports[0]: containerPort: 0"},
		{`{containers: [{name: a, ports: [{name: x, containerPort: 80, hostPort: 65536}]}]}`, "[{x TCP 80}] []", "spec.containers[0].ports[0]: hostPort: 65536"},
		{`{initContainers: [{name: a, restartPolicy: Always, ports: [{name: x, containerPort: -1}]}]}`, "[] []", "spec.initContainers[0].ports[0]: "},
	} {
		p, problems, err := Pod(decode[corev1.Pod](t, podMeta+"spec: "+r.spec))
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(p.Ports, p.HostPorts); got != r.want {
			t.Errorf("%s: got %s, want %s", r.spec, got, r.want)
		}
		comparePartly(t, problems, r.problems)
	}
}

func TestPodPhase(t *testing.T) {
	const ports = "spec: {containers: [{name: a, ports: [{containerPort: 1, hostPort: 1}]}]}\n"
	for phase, terminal := range map[string]bool{"": false, "Pending": false, "Running": false, "Unknown": false, "Succeeded": true, "Failed": true} {
		p, _, err := Pod(decode[corev1.Pod](t, podMeta+ports+"status: {phase: "+fmt.Sprintf("%q", phase)+"}"))
		if err != nil {
			t.Fatal(err)
		}
		if p.Terminal != terminal || (len(p.HostPorts) == 0) != terminal {
			t.Errorf("phase %q: got terminal %v with host ports %v", phase, p.Terminal, p.HostPorts)
		}
	}
	const going = `{metadata: {namespace: shop, name: web, deletionTimestamp: "2026-01-01T00:00:00Z"}, status: {phase: Running}}`
	p, _, err := Pod(decode[corev1.Pod](t, going))
	if err != nil || p.Terminal {
		t.Errorf("a pod that is being deleted still runs: got %+v, %v", p, err)
	}
}

func TestWorkload(t *testing.T) {
	const owner = "apiVersion: apps/v1, uid: u, controller: true"
	for _, r := range []struct{ meta, want string }{
		{`{}`, "{ }"},
		{`{ownerReferences: [{` + owner + `, kind: StatefulSet, name: db}]}`, "{StatefulSet db}"},
		{`{ownerReferences: [{` + owner + `, kind: ReplicaSet, name: web-5d4}], labels: {pod-template-hash: 5d4}}`, "{Deployment web}"},
		{`{ownerReferences: [{` + owner + `, kind: ReplicaSet, name: web-5d4}], labels: {pod-template-hash: d4}}`, "{ReplicaSet web-5d4}"},
		{`{ownerReferences: [{` + owner + `, kind: ReplicaSet, name: web}]}`, "{ReplicaSet web}"},
		{`{ownerReferences: [{` + owner + `, kind: ReplicaSet, name: -5d4}], labels: {pod-template-hash: 5d4}}`, "{ReplicaSet -5d4}"},
		{`{ownerReferences: [{` + owner + `, kind: StatefulSet, name: web-5d4}], labels: {pod-template-hash: 5d4}}`, "{StatefulSet web-5d4}"},
		{`{ownerReferences: [{apiVersion: v1, uid: u, kind: Node, name: n}]}`, "{ }"},
	} {
		object := decode[corev1.Pod](t, "metadata: "+r.meta)
		object.Namespace, object.Name = "shop", "web"
		p, _, err := Pod(object)
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(p.Workload); got != r.want {
			t.Errorf("%s: got %s, want %s", r.meta, got, r.want)
		}
	}
}

func TestPodErrors(t *testing.T) {
	if _, _, err := Pod(decode[corev1.Pod](t, `metadata: {name: p}`)); !errors.Is(err, errNoNamespace) {
		t.Errorf("no namespace: got %v", err)
	}
	if _, _, err := Pod(decode[corev1.Pod](t, `metadata: {namespace: n}`)); !errors.Is(err, errNoName) {
		t.Errorf("no name: got %v", err)
	}
}
