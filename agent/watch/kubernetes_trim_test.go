// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/randfill"

	"github.com/weirnet/weir/policy"
)

// Objects with every field filled at random mean the same when they are
// trimmed, and trimming twice is trimming once.
func TestTrimKeepsTheMeaning(t *testing.T) {
	seed := time.Now().UnixNano()
	t.Logf("seed %d", seed)
	fill := randfill.NewWithSeed(seed).NilChance(0.3).NumElements(0, 3).MaxDepth(12)
	r := rand.New(rand.NewPCG(uint64(seed), 0))
	for range 100 {
		var (
			pod       corev1.Pod
			namespace corev1.Namespace
			node      corev1.Node
			plain     networkingv1.NetworkPolicy
			service   corev1.Service
			slice     discoveryv1.EndpointSlice
		)
		for _, o := range []any{&pod, &namespace, &node, &plain, &service, &slice} {
			fill.Fill(o)
		}
		sensible(r, &pod, &service, &slice)
		for k, o := range map[kind]any{namespaceKind: &namespace, podKind: &pod, policyKind: &plain, serviceKind: &service, sliceKind: &slice, unknownKind: &node} {
			sameMeaning(t, k, o)
		}
		was, _ := trim(&slice)
		if a, b := joined(&service, &slice), joined(trimService(&service), was.(*discoveryv1.EndpointSlice)); !reflect.DeepEqual(a, b) {
			t.Fatalf("joined %+v, trimmed %+v", a, b)
		}
	}
}

// sensible gives to the fields that are compared values that can be used now
// and then: random texts alone would be left out as faulty at both sides.
func sensible(r *rand.Rand, p *corev1.Pod, s *corev1.Service, slice *discoveryv1.EndpointSlice) {
	p.Status.PodIPs = append(p.Status.PodIPs, corev1.PodIP{IP: "10.0.0.1"})
	p.OwnerReferences = append(p.OwnerReferences, metav1.OwnerReference{Kind: "Job", Name: "j", Controller: ptr.To(r.IntN(2) == 0)})
	if r.IntN(2) == 0 {
		p.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: "u-runtime", "other": "note"}
	}
	for _, list := range [][]corev1.Container{p.Spec.InitContainers, p.Spec.Containers} {
		for i := range list {
			if r.IntN(2) == 0 {
				list[i].RestartPolicy = ptr.To(corev1.ContainerRestartPolicyAlways)
			}
			list[i].Ports = append(list[i].Ports, corev1.ContainerPort{Name: "web", ContainerPort: 80, HostPort: int32(r.IntN(2)) * 80})
		}
	}
	s.Name, s.Namespace, slice.Name = "web", "shop", "web-x"
	s.Spec.Type = []corev1.ServiceType{corev1.ServiceTypeClusterIP, corev1.ServiceTypeLoadBalancer, corev1.ServiceTypeExternalName}[r.IntN(3)]
	s.Spec.ClusterIPs = []string{"10.96.0.1"}
	s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{Port: 80, NodePort: 30080})
	s.Status.LoadBalancer.Ingress = append(s.Status.LoadBalancer.Ingress, corev1.LoadBalancerIngress{IP: "192.0.2.1"})
	slice.Namespace = s.Namespace
	slice.Labels = map[string]string{discoveryv1.LabelServiceName: s.Name, "other": "label"}
	slice.AddressType = discoveryv1.AddressTypeIPv4
	slice.Ports = append(slice.Ports, discoveryv1.EndpointPort{Port: ptr.To(int32(8080))})
	slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{Addresses: []string{"10.0.0.9"}},
		discoveryv1.Endpoint{Addresses: []string{"10.0.0.8"}, Conditions: discoveryv1.EndpointConditions{Ready: ptr.To(false), Serving: ptr.To(true)}},
		discoveryv1.Endpoint{Addresses: []string{"10.0.0.7"}, Conditions: discoveryv1.EndpointConditions{Ready: ptr.To(false)}})
}

func joined(s *corev1.Service, slice *discoveryv1.EndpointSlice) *policy.Service {
	l := newLedger()
	var b policy.Batch
	l.enter(objectID{kind: serviceKind, namespace: s.Namespace, name: s.Name}, &content{service: s}, &b)
	l.enter(objectID{kind: sliceKind, namespace: slice.Namespace, name: slice.Name}, &content{slice: slice}, &b)
	l.join(&b)
	return b.Services[0]
}

func sameMeaning(t *testing.T, k kind, o any) {
	t.Helper()
	small, err := trim(o)
	if err != nil {
		t.Fatal(err)
	}
	want, err := read(k, o)
	if err != nil {
		t.Fatal(err)
	}
	got, _ := read(k, small)
	if p, ok := o.(*networkingv1.NetworkPolicy); ok {
		// The texts of faults name one of several keys, by the order of a map.
		got, want = entry{}, entry{}
		if !reflect.DeepEqual(small.(*networkingv1.NetworkPolicy).Spec, p.Spec) {
			t.Fatal("the spec is another")
		}
	}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("trimmed: %+v\nwhole: %+v", got, want)
	}
	a, _ := meta.Accessor(o)
	b, _ := meta.Accessor(small)
	if a.GetResourceVersion() != b.GetResourceVersion() || a.GetUID() != b.GetUID() {
		t.Fatal("the identity is lost")
	}
	if again, _ := trim(small); !reflect.DeepEqual(again, small) {
		t.Fatalf("trimmed twice: %+v\nonce: %+v", again, small)
	}
}

func TestTrimLeavesTheUnknown(t *testing.T) {
	if o, err := trim("text"); err != nil || o != "text" {
		t.Errorf("%v, %v", o, err)
	}
}

// typicalPod is as a server tells it, of a Deployment with a sidecar.
func typicalPod(i int) *corev1.Pod {
	container := func(name string) corev1.Container {
		return corev1.Container{
			Name: strings.Clone(name), Image: fmt.Sprintf("registry.example/team/%s:v1.%d", name, i), ImagePullPolicy: "IfNotPresent",
			Ports: []corev1.ContainerPort{{Name: fmt.Sprint("http-", name), ContainerPort: 8080, Protocol: "TCP"}},
			Env:   []corev1.EnvVar{{Name: fmt.Sprint("POD_", i), Value: fmt.Sprint("value-", i)}, {Name: fmt.Sprint("LOG_", i), Value: fmt.Sprint("info-", i)}},
			Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{
				"cpu": resource.MustParse("100m"), "memory": resource.MustParse("64Mi")}},
			VolumeMounts:   []corev1.VolumeMount{{Name: fmt.Sprint("token-", i), MountPath: "/var/run/secrets/kubernetes.io/serviceaccount"}},
			ReadinessProbe: &corev1.Probe{PeriodSeconds: 10, ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: fmt.Sprint("/ready/", i)}}},
		}
	}
	state := func(name string) corev1.ContainerStatus {
		return corev1.ContainerStatus{Name: strings.Clone(name), Ready: true, Image: fmt.Sprint("registry.example/", i), ImageID: fmt.Sprintf("sha256:%064d", i), ContainerID: fmt.Sprintf("containerd://%064d", i)}
	}
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Name: fmt.Sprintf("web-5d4f8c7b9-%05d", i), GenerateName: fmt.Sprint("web-5d4f8c7b9-", i), Namespace: fmt.Sprint("team-", i%100),
		UID: types.UID(fmt.Sprintf("00000000-0000-0000-0000-%012d", i)), ResourceVersion: fmt.Sprint(100000 + i),
		Labels: map[string]string{
			"app.kubernetes.io/name": fmt.Sprint("web-", i%50), "app.kubernetes.io/instance": fmt.Sprint("web-", i%50),
			"app.kubernetes.io/version": fmt.Sprint("1.", i%9), "tier": fmt.Sprint("tier-", i%3), "pod-template-hash": fmt.Sprint("5d4f8c7b9", i%50)},
		Annotations:     map[string]string{fmt.Sprint("checksum/config-", i): fmt.Sprintf("%064d", i)},
		OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: fmt.Sprint("web-5d4f8c7b9", i%50), Controller: ptr.To(true)}},
		ManagedFields: []metav1.ManagedFieldsEntry{
			{Manager: fmt.Sprint("kube-controller-manager", i), FieldsV1: metav1.NewFieldsV1(strings.Repeat("f:spec", 150))},
			{Manager: fmt.Sprint("kubelet", i), FieldsV1: metav1.NewFieldsV1(strings.Repeat("f:status", 100))}},
	}}
	p.Spec = corev1.PodSpec{NodeName: fmt.Sprint("node-", i%500), ServiceAccountName: fmt.Sprint("web-", i), Containers: []corev1.Container{container("app"), container("proxy")}}
	p.Status = corev1.PodStatus{
		Phase: corev1.PodRunning, HostIP: fmt.Sprintf("192.168.%d.%d", i/250, i%250), PodIP: fmt.Sprintf("10.%d.%d.1", i/250, i%250),
		PodIPs:            []corev1.PodIP{{IP: fmt.Sprintf("10.%d.%d.1", i/250, i%250)}, {IP: fmt.Sprintf("fd00::%x", i)}},
		Conditions:        make([]corev1.PodCondition, 5),
		ContainerStatuses: []corev1.ContainerStatus{state("app"), state("proxy")},
	}
	return p
}

// throughTheWire is the pod as the client decodes it: each text on its own.
func throughTheWire(t testing.TB, p *corev1.Pod) *corev1.Pod {
	raw, err := p.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	out := new(corev1.Pod)
	if err := out.Unmarshal(raw); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestBytesPerPod measures what 10,000 pods leave on the heap: as the API
// server tells them, trimmed (while the first list arrives), and as the desk
// keeps them.
func TestBytesPerPod(t *testing.T) {
	const pods = 10_000
	heap := func(hold func() any) float64 {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&before)
		kept := hold()
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&after)
		runtime.KeepAlive(kept)
		return (float64(after.HeapAlloc) - float64(before.HeapAlloc)) / pods
	}
	whole := heap(func() any {
		list := make([]any, pods)
		for i := range list {
			list[i] = throughTheWire(t, typicalPod(i))
		}
		return list
	})
	trimmed := heap(func() any {
		list := make([]any, pods)
		for i := range list {
			list[i], _ = trim(throughTheWire(t, typicalPod(i)))
		}
		return list
	})
	kept := heap(func() any {
		d := deskOf(podKind.String())
		list := make([]any, pods)
		for i := range list {
			list[i], _ = trim(throughTheWire(t, typicalPod(i)))
		}
		_ = d.shelf(podKind).Replace(list, "")
		d.take()
		return d
	})
	t.Logf("bytes per pod on the heap, %d pods: %.0f as told, %.0f trimmed, %.0f kept", pods, whole, trimmed, kept)
	if trimmed > whole/2 || kept > 2048 {
		t.Errorf("more than expected")
	}
}
