// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/weirnet/weir/test/e2e/traffic"
)

const shopHost = "shop.example"

// A reverse proxy that ends TLS, in a namespace of its own and isolated both
// ways, leads requests from outside the cluster to a backend that only it may
// reach. What the backend allows decides, behind the proxy.
func TestIngressController(t *testing.T) {
	ingress, shop := cluster.Namespace(t), cluster.Namespace(t)
	ingress.Label("ingress", "true")
	backend := shop.Pod("backend", PodOptions{Node: cluster.Nodes[1]})
	service := shop.Service("backend", corev1.ServiceTypeClusterIP)
	authority, certificate := ingress.certificate("certificate")
	proxy := ingress.startProxy("proxy", certificate, "http://"+netip.AddrPortFrom(netip.MustParseAddr(service.Spec.ClusterIP), 80).String())
	shop.Policy("ingress-only", `{podSelector: {matchLabels: {app: backend}}, ingress: [{from: [{namespaceSelector: {matchLabels: {ingress: "true"}}}], ports: [{port: tcp}]}]}`)
	ingress.Policy("proxy", fmt.Sprintf(`{podSelector: {matchLabels: {app: proxy}}, policyTypes: [Ingress, Egress],
		ingress: [{ports: [{port: %d}]}],
		egress: [{to: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: %s}}, podSelector: {matchLabels: {app: backend}}}]}]}`, traffic.PortProxy, shop.Name))
	stranger := shop.StartTraffic("stranger", PodOptions{Node: cluster.Nodes[0]})
	neighbour := ingress.StartTraffic("neighbour", PodOptions{Node: cluster.Nodes[0]})
	for _, p := range []*Pod{proxy, stranger, neighbour} {
		p.AwaitReady()
	}
	door := ingress.Service("proxy", corev1.ServiceTypeNodePort)
	entry := netip.AddrPortFrom(cluster.Nodes[0].Addresses[0], uint16(door.Spec.Ports[0].NodePort))
	client := tlsClient(authority, entry)
	defer client.CloseIdleConnections()

	expectPage(t, client, http.StatusOK, backend.Name)
	direct := append(tcpOnly(backend.Targets()), tcpOnly(virtual(t, service))...)
	expectAll(t, neighbour, direct, Passed) // the backend's policy means the namespace
	expectAll(t, stranger, direct, denial())

	shop.DeletePolicy("ingress-only")
	shop.Policy("nobody", `{podSelector: {matchLabels: {app: backend}}, policyTypes: [Ingress]}`)
	if *without {
		expectPage(t, client, http.StatusOK, backend.Name)
		return
	}
	expectPage(t, client, http.StatusBadGateway, "")
}

func tcpOnly(list []Target) []Target {
	var tcp []Target
	for _, t := range list {
		if t.Protocol == "tcp" {
			tcp = append(tcp, t)
		}
	}
	return tcp
}

// startProxy of a backend on the first node, with the certificate of a Secret.
func (n *Namespace) startProxy(name, secret, backend string) *Pod {
	n.t.Helper()
	return n.start(name, PodOptions{Node: cluster.Nodes[0], Secret: secret}, corev1.Container{
		Name: "proxy", Image: trafficImage(), Args: []string{"proxy", secretFolder, backend},
		Ports: []corev1.ContainerPort{{Name: "tcp", ContainerPort: traffic.PortProxy}},
		ReadinessProbe: &corev1.Probe{PeriodSeconds: 1,
			ProbeHandler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromString("tcp")}}},
	})
}

// certificate of shopHost as a Secret; it is its own authority.
func (n *Namespace) certificate(name string) (authority *x509.CertPool, secret string) {
	n.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		n.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{shopHost}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		n.t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		n.t.Fatal(err)
	}
	public := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	_, err = n.cluster.client.CoreV1().Secrets(n.Name).Create(n.t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: name}, Type: corev1.SecretTypeTLS,
		Data: map[string][]byte{corev1.TLSCertKey: public, corev1.TLSPrivateKeyKey: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})},
	}, metav1.CreateOptions{})
	if err != nil {
		n.t.Fatal(err)
	}
	authority = x509.NewCertPool()
	authority.AppendCertsFromPEM(public)
	return authority, name
}

// tlsClient outside the cluster, whose every connection goes to this entry.
func tlsClient(authority *x509.CertPool, entry netip.AddrPort) *http.Client {
	return &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: authority, MinVersion: tls.VersionTLS13},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			dialer := net.Dialer{Timeout: callLimit}
			return dialer.DialContext(ctx, network, entry.String())
		},
	}}
}

// expectPage that the backend's name is served, or the proxy's error.
func expectPage(t *testing.T, client *http.Client, status int, name string) {
	t.Helper()
	err := poll(t.Context(), settleLimit, func(ctx context.Context) error {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+shopHost+"/hostname", nil)
		if err != nil {
			return err
		}
		response, err := client.Do(request)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if err == nil && (response.StatusCode != status || !bytes.Equal(bytes.TrimSpace(body), []byte(name))) {
			err = fmt.Errorf("%s %q, want %d %q", response.Status, body, status, name)
		}
		return err
	})
	if err != nil {
		t.Error(errors.Join(errors.New("from outside through the proxy"), err))
	}
}
