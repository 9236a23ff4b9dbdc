// SPDX-License-Identifier: Apache-2.0

package convert

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/weirnet/weir/policy"
)

const serviceMeta = "metadata: {namespace: shop, name: web}\n"

func TestServiceAddresses(t *testing.T) {
	for _, r := range []struct{ text, want, problems string }{
		{`spec: {}`, "[]", ""},
		{`spec: {clusterIP: 10.96.0.1}`, "[10.96.0.1]", ""},
		{`spec: {clusterIP: 10.96.0.1, clusterIPs: [10.96.0.1, "fd00::96"]}`, "[10.96.0.1 fd00::96]", ""},
		{`spec: {clusterIP: None, clusterIPs: [None], externalIPs: [1.2.3.4]}`, "[]", ""},
		{`spec: {clusterIP: None}`, "[]", ""},
		{`spec: {clusterIP: ""}`, "[]", ""},
		{`spec: {type: ExternalName, clusterIP: 10.96.0.1, externalName: a.b}`, "[]", ""},
		{`spec: {clusterIP: 10.96.0.1, externalIPs: [1.2.3.4, 1.2.3.4]}`, "[10.96.0.1 1.2.3.4]", ""},
		{"spec: {type: LoadBalancer, clusterIP: 10.96.0.1}\nstatus: {loadBalancer: {ingress: [{ip: 5.5.5.5}, {hostname: a.b}, {ip: 6.6.6.6, ipMode: Proxy}, {ip: 7.7.7.7, ipMode: VIP}]}}", "[10.96.0.1 5.5.5.5 7.7.7.7]", ""},
		{"spec: {clusterIP: 10.96.0.1}\nstatus: {loadBalancer: {ingress: [{ip: 5.5.5.5}]}}", "[10.96.0.1]", ""},
		{`spec: {clusterIP: 10.96.0.1, externalIPs: [x, 127.0.0.1, 4.4.4.4]}`, "[10.96.0.1 4.4.4.4]", `spec.externalIPs[0]: "x"|spec.externalIPs[1]: "127.0.0.1"`},
	} {
		s, problems, err := Service(decode[corev1.Service](t, serviceMeta+r.text), nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(s.IPs); got != r.want {
			t.Errorf("%s: got %s, want %s", r.text, got, r.want)
		}
		comparePartly(t, problems, r.problems)
	}
}

func TestServicePorts(t *testing.T) {
	for _, r := range []struct{ ports, want, problems string }{
		{`[{port: 80}]`, "[{ TCP 80 0 []}]", ""},
		{`[{name: a, port: 80, nodePort: 30080}, {name: b, port: 53, protocol: UDP}]`, "[{a TCP 80 30080 []} {b UDP 53 0 []}]", ""},
		{`[{name: a, port: 0}, {name: b, port: 1}]`, "[{b TCP 1 0 []}]", "spec.ports[0]: port: 0"},
		{`[{port: 80, protocol: X}]`, "[]", `spec.ports[0]: protocol "X"`},
		{`[{port: 80, nodePort: 65536}]`, "[]", "spec.ports[0]: nodePort: 65536"},
	} {
		s, problems, err := Service(decode[corev1.Service](t, serviceMeta+"spec: {ports: "+r.ports+"}"), nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(s.Ports); got != r.want {
			t.Errorf("%s: got %s, want %s", r.ports, got, r.want)
		}
		comparePartly(t, problems, r.problems)
	}
}

func TestServiceBackends(t *testing.T) {
	const http = `ports: [{name: http, port: 8080}], addressType: IPv4`
	const ready = `endpoints: [{addresses: [10.0.0.1]}]`
	for _, r := range []struct{ slice, want, problems string }{
		{http + `, ` + ready, "[10.0.0.1:8080]", ""},
		{http + `, endpoints: [{addresses: [10.0.0.2]}, {addresses: [10.0.0.1]}, {addresses: [10.0.0.2]}]`, "[10.0.0.1:8080 10.0.0.2:8080]", ""},
		{http + `, endpoints: [{addresses: [10.0.0.2, 10.0.0.3]}, {addresses: []}]`, "[10.0.0.2:8080]", ""},
		{http + `, endpoints: [{addresses: [10.0.0.1], conditions: {ready: false}}]`, "[]", ""},
		{http + `, endpoints: [{addresses: [10.0.0.1], conditions: {ready: true, serving: false}}]`, "[10.0.0.1:8080]", ""},
		{http + `, endpoints: [{addresses: [10.0.0.1], conditions: {ready: false, serving: true, terminating: true}}]`, "[10.0.0.1:8080]", ""},
		{http + `, endpoints: [{addresses: [10.0.0.1], conditions: {ready: false, serving: false}}]`, "[]", ""},
		{`addressType: IPv6, ports: [{name: http, port: 8080}], endpoints: [{addresses: ["fd00::1"]}]`, "[[fd00::1]:8080]", ""},
		{`addressType: FQDN, ports: [{name: http, port: 8080}], endpoints: [{addresses: [a.b]}]`, "[]", ""},
		{`ports: [{name: other, port: 8080}], addressType: IPv4, ` + ready, "[]", ""},
		{`ports: [{port: 8080}], addressType: IPv4, ` + ready, "[]", ""},
		{`ports: [{name: http, port: 8080, protocol: UDP}], addressType: IPv4, ` + ready, "[]", ""},
		{`ports: [{name: http, port: 8080, protocol: X}], addressType: IPv4, ` + ready, "[]", ""},
		{`ports: [{name: http}], addressType: IPv4, ` + ready, "[]", ""},
		{`ports: [{name: http, port: 0}], addressType: IPv4, ` + ready, "[]", "EndpointSlice web-1: ports[0]: 0"},
		{http + `, endpoints: [{addresses: [x]}, {addresses: [10.0.0.9]}]`, "[10.0.0.9:8080]", `EndpointSlice web-1: endpoints[0]: "x"`},
	} {
		service := decode[corev1.Service](t, serviceMeta+"spec: {clusterIP: 10.96.0.1, ports: [{name: http, port: 80}]}")
		slice := decode[discoveryv1.EndpointSlice](t, "{metadata: {namespace: shop, name: web-1, labels: {kubernetes.io/service-name: web}}, "+r.slice+"}")
		s, problems, err := Service(service, []*discoveryv1.EndpointSlice{slice})
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(s.Ports[0].Backends); got != r.want {
			t.Errorf("%s: got %s, want %s", r.slice, got, r.want)
		}
		comparePartly(t, problems, r.problems)
	}
}

func TestServiceWithoutPortNames(t *testing.T) {
	service := decode[corev1.Service](t, serviceMeta+"spec: {clusterIP: 10.96.0.1, ports: [{port: 80, targetPort: web}]}")
	mine := `{metadata: {namespace: shop, name: %s, labels: {kubernetes.io/service-name: web}}, addressType: IPv4, ports: [{port: %d}], endpoints: [{addresses: [%s]}]}`
	others := []string{
		`{metadata: {namespace: lab, name: a, labels: {kubernetes.io/service-name: web}}, addressType: IPv4, ports: [{port: 1}], endpoints: [{addresses: [10.0.0.8]}]}`,
		`{metadata: {namespace: shop, name: b, labels: {kubernetes.io/service-name: db}}, addressType: IPv4, ports: [{port: 1}], endpoints: [{addresses: [10.0.0.8]}]}`,
		`{metadata: {namespace: shop, name: web}, addressType: IPv4, ports: [{port: 1}], endpoints: [{addresses: [10.0.0.8]}]}`,
		fmt.Sprintf(mine, "web-2", 8081, "10.0.0.2"),
		fmt.Sprintf(mine, "web-1", 8080, "10.0.0.1"),
	}
	var all []*discoveryv1.EndpointSlice
	for _, text := range others {
		all = append(all, decode[discoveryv1.EndpointSlice](t, text))
	}
	want := &policy.Service{
		ObjectKey: policy.ObjectKey{Namespace: "shop", Name: "web"},
		IPs:       mustAddrs(t, "10.96.0.1"),
		Ports: []policy.ServicePort{{Protocol: policy.TCP, Number: 80, Backends: []netip.AddrPort{
			netip.MustParseAddrPort("10.0.0.1:8080"), netip.MustParseAddrPort("10.0.0.2:8081"),
		}}},
	}
	got, problems, err := Service(service, all)
	if err != nil || problems != nil {
		t.Fatal(problems, err)
	}
	if diff := cmp.Diff(want, got, byValue); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestServiceOf(t *testing.T) {
	for _, r := range []struct{ meta, want string }{
		{`{namespace: shop, name: x, labels: {kubernetes.io/service-name: web}}`, "shop/web true"},
		{`{namespace: shop, name: web}`, "/ false"},
		{`{namespace: shop, name: web, labels: {kubernetes.io/service-name: ""}}`, "/ false"},
		{`{name: web, labels: {kubernetes.io/service-name: web}}`, "/ false"},
	} {
		k, ok := ServiceOf(decode[discoveryv1.EndpointSlice](t, "metadata: "+r.meta))
		if got := fmt.Sprint(k, " ", ok); got != r.want {
			t.Errorf("%s: got %s, want %s", r.meta, got, r.want)
		}
	}
}

func TestServiceErrors(t *testing.T) {
	if _, _, err := Service(decode[corev1.Service](t, `metadata: {name: s}`), nil); !errors.Is(err, errNoNamespace) {
		t.Errorf("no namespace: got %v", err)
	}
}
