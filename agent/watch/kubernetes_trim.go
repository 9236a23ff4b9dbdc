// SPDX-License-Identifier: Apache-2.0

package watch

import (
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// trim leaves of an object what package convert reads, and what names it. An
// object of another kind stays as it is.
//
// The first list is kept as objects of the API until it is complete, Services
// and EndpointSlices for as long as they are there.
func trim(o any) (any, error) {
	switch o := o.(type) {
	case *corev1.Pod:
		return trimPod(o), nil
	case *corev1.Namespace:
		return &corev1.Namespace{ObjectMeta: trimMeta(&o.ObjectMeta)}, nil
	case *corev1.Node:
		out := &corev1.Node{ObjectMeta: trimMeta(&o.ObjectMeta)}
		out.Labels = nil
		return out, nil
	case *networkingv1.NetworkPolicy:
		out := &networkingv1.NetworkPolicy{ObjectMeta: trimMeta(&o.ObjectMeta), Spec: o.Spec}
		out.Generation = o.Generation // Policies.Get tells which version is in force
		return out, nil
	case *corev1.Service:
		return trimService(o), nil
	case *discoveryv1.EndpointSlice:
		return trimSlice(o), nil
	}
	return o, nil
}

func trimMeta(m *metav1.ObjectMeta) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: m.Name, Namespace: m.Namespace, UID: m.UID, ResourceVersion: m.ResourceVersion, Labels: m.Labels}
}

func trimPod(p *corev1.Pod) *corev1.Pod {
	out := &corev1.Pod{ObjectMeta: trimMeta(&p.ObjectMeta)}
	if owner := metav1.GetControllerOfNoCopy(p); owner != nil {
		out.OwnerReferences = []metav1.OwnerReference{{Kind: owner.Kind, Name: owner.Name, Controller: owner.Controller}}
	}
	if uid := p.Annotations[corev1.MirrorPodAnnotationKey]; uid != "" {
		out.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: uid}
	}
	out.Spec.NodeName, out.Spec.HostNetwork = p.Spec.NodeName, p.Spec.HostNetwork
	out.Spec.InitContainers = trimContainers(p.Spec.InitContainers)
	out.Spec.Containers = trimContainers(p.Spec.Containers)
	out.Status = corev1.PodStatus{Phase: p.Status.Phase, PodIP: p.Status.PodIP, PodIPs: p.Status.PodIPs}
	return out
}

// trimContainers keeps the order, since messages name a container by its index.
func trimContainers(list []corev1.Container) []corev1.Container {
	last := 0
	for i := range list {
		if len(list[i].Ports) > 0 {
			last = i + 1
		}
	}
	if last == 0 {
		return nil
	}
	out := make([]corev1.Container, last)
	for i := range out {
		out[i].Ports, out[i].RestartPolicy = list[i].Ports, list[i].RestartPolicy
	}
	return out
}

func trimService(s *corev1.Service) *corev1.Service {
	out := &corev1.Service{ObjectMeta: trimMeta(&s.ObjectMeta)}
	out.Labels = nil
	out.Spec = corev1.ServiceSpec{
		Type: s.Spec.Type, ClusterIP: s.Spec.ClusterIP, ClusterIPs: s.Spec.ClusterIPs,
		ExternalIPs: s.Spec.ExternalIPs, Ports: s.Spec.Ports,
	}
	out.Status.LoadBalancer = s.Status.LoadBalancer
	return out
}

func trimSlice(s *discoveryv1.EndpointSlice) *discoveryv1.EndpointSlice {
	out := &discoveryv1.EndpointSlice{ObjectMeta: trimMeta(&s.ObjectMeta), AddressType: s.AddressType, Ports: s.Ports}
	if name, ok := s.Labels[discoveryv1.LabelServiceName]; ok {
		out.Labels = map[string]string{discoveryv1.LabelServiceName: name}
	}
	out.Endpoints = make([]discoveryv1.Endpoint, len(s.Endpoints))
	for i, e := range s.Endpoints {
		out.Endpoints[i] = discoveryv1.Endpoint{
			Addresses:  e.Addresses,
			Conditions: discoveryv1.EndpointConditions{Ready: e.Conditions.Ready, Serving: e.Conditions.Serving},
		}
	}
	return out
}
