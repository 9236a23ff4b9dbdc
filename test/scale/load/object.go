// SPDX-License-Identifier: Apache-2.0

package load

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

const (
	// LocalNode is the node under test.
	LocalNode = "scale-local"
	// FakeNodes is the annotation of the nodes that kwok manages.
	FakeNodes = "kwok.x-k8s.io/node"

	teams    = 10 // a label of namespaces, which policies name
	roleKey  = "role"
	teamKey  = "team"
	appKey   = "app"
	churnKey = "churn"
	peerRole = "peer" // the policies of the team's namespaces allow it
)

func namespaceName(i int) string { return fmt.Sprintf("app-%03d", i) }

func namespace(i int) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: namespaceName(i), Labels: map[string]string{teamKey: fmt.Sprint(i % teams)},
	}}
}

func node(i int) *corev1.Node {
	pods := ranges(i)
	name := fmt.Sprintf("fake-%04d", i)
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Annotations: map[string]string{FakeNodes: "fake"},
			Labels: map[string]string{corev1.LabelHostname: name, corev1.LabelOSStable: "linux", corev1.LabelArchStable: "amd64"},
		},
		Spec: corev1.NodeSpec{PodCIDR: pods[0], PodCIDRs: pods},
	}
}

func localNode() *corev1.Node {
	return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: LocalNode, Labels: map[string]string{corev1.LabelOSStable: "linux"}}}
}

// labels of the pod with this number in its kind. Of each namespace's pods one
// half are peers of the policies of its team.
func labels(number int, namespaces int, app string) map[string]string {
	role := "batch"
	if Matched(number, namespaces) {
		role = peerRole
	}
	return map[string]string{roleKey: role, appKey: app, "pod-template-hash": fmt.Sprintf("%08x", number%namespaces), "version": "v1"}
}

// Matched says whether the terms of policies of local pods match the pod with
// this number: every second pod of each namespace.
func Matched(number, namespaces int) bool { return (number/namespaces)%2 == 0 }

func steadyPod(i int, p Plan) *corev1.Pod {
	app := "job"
	if Matched(i, p.Namespaces) {
		app = "web"
	}
	return pod(fmt.Sprintf("steady-%05d", i), namespaceName(i%p.Namespaces), fmt.Sprintf("fake-%04d", i%p.Nodes), labels(i, p.Namespaces, app))
}

// churnPod is matched by the team's terms alone, if at all. Matched and others
// take turns each second, so that no node has those of one kind alone.
func churnPod(i int, p Plan) *corev1.Pod {
	l := labels(i, p.Namespaces, "job")
	l[roleKey] = map[bool]string{true: peerRole, false: "batch"}[ChurnMatched(i)]
	l[churnKey] = "yes"
	return pod(fmt.Sprintf("churn-%07d", i), namespaceName(i%p.Namespaces), fmt.Sprintf("fake-%04d", i*7%p.Nodes), l)
}

// ChurnMatched is Matched for churned pods: every second one.
func ChurnMatched(number int) bool { return number%2 == 0 }

// LocalPod of the node under test: every second one is a peer.
func LocalPod(i int, p Plan) *corev1.Pod {
	l := labels(0, p.Namespaces, "web")
	if !LocalMatched(i) {
		l[roleKey] = "batch"
	}
	return pod(fmt.Sprintf("local-%03d", i), namespaceName(i%p.Namespaces), LocalNode, l)
}

// LocalMatched is Matched for local pods. Two local pods whose numbers differ
// by the number of teams are of one team, as are their namespaces.
func LocalMatched(number int) bool { return number/teams%2 == 0 }

// pod as a workload's controller makes it, of a size as in clusters: what the
// API server sends of each pod is what the figures of bytes consist of.
func pod(name, namespace, node string, labels map[string]string) *corev1.Pod {
	yes, no := true, false
	owner := metav1.OwnerReference{
		APIVersion: "apps/v1", Kind: "ReplicaSet", Name: labels[appKey] + "-" + labels["pod-template-hash"],
		UID: types.UID("00000000-0000-4000-8000-0000" + labels["pod-template-hash"]), Controller: &yes, BlockOwnerDeletion: &yes,
	}
	quantity := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m"), corev1.ResourceMemory: resource.MustParse("128Mi")}
	var env []corev1.EnvVar
	for _, name := range []string{"LOG_LEVEL", "DATABASE_HOST", "DATABASE_PORT", "CACHE_HOST", "REGION", "OTEL_EXPORTER_OTLP_ENDPOINT"} {
		env = append(env, corev1.EnvVar{Name: name, Value: "value-of-" + name})
	}
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Namespace: namespace, Labels: labels, OwnerReferences: []metav1.OwnerReference{owner},
			Annotations: map[string]string{"prometheus.io/scrape": "true", "prometheus.io/port": "9090"},
		},
		Spec: corev1.PodSpec{
			NodeName: node, AutomountServiceAccountToken: &no,
			Containers: []corev1.Container{{
				Name: "main", Image: "registry.example/team/service@sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef", Env: env,
				Ports:     []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}, {Name: "metrics", ContainerPort: 9090}},
				Resources: corev1.ResourceRequirements{Requests: quantity, Limits: quantity},
			}},
		},
	}
}
