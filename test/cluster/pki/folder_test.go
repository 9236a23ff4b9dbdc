// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"testing"
	"time"

	"k8s.io/client-go/tools/clientcmd"

	"github.com/weirnet/weir/test/cluster/layout"
)

// Every user's kubeconfig can be read, and holds a certificate of the cluster's
// authority for the user's name and groups.
func TestMake(t *testing.T) {
	s := layout.Defaults()
	s.State = t.TempDir()
	now := time.Now()
	if err := Make(s, now); err != nil {
		t.Fatal(err)
	}
	authorities := x509.NewCertPool()
	raw, err := os.ReadFile(filepath.Join(s.PKI(), "ca.crt"))
	if err != nil || !authorities.AppendCertsFromPEM(raw) {
		t.Fatalf("ca.crt: %v", err)
	}
	rows := []struct{ file, user, group string }{
		{"admin", "admin", "system:masters"},
		{"kubelet-n1", "system:node:n1", "system:nodes"},
		{"kubelet-n2", "system:node:n2", "system:nodes"},
		{"proxy", "system:kube-proxy", ""},
		{"scheduler", "system:kube-scheduler", ""},
		{"controller-manager", "system:kube-controller-manager", ""},
	}
	for _, r := range rows {
		config, err := clientcmd.BuildConfigFromFlags("", s.Kubeconfig(r.file))
		if err != nil {
			t.Errorf("%s: %v", r.file, err)
			continue
		}
		pair, err := tls.X509KeyPair(config.CertData, config.KeyData)
		if err != nil {
			t.Errorf("%s: %v", r.file, err)
			continue
		}
		_, err = pair.Leaf.Verify(x509.VerifyOptions{Roots: authorities, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
		groups := pair.Leaf.Subject.Organization
		if err != nil || pair.Leaf.Subject.CommonName != r.user || r.group != "" && (len(groups) != 1 || groups[0] != r.group) || r.group == "" && len(groups) != 0 {
			t.Errorf("%s: %v of %v (%v), want %s of %q", r.file, pair.Leaf.Subject.CommonName, groups, err, r.user, r.group)
		}
		if config.Host != layout.Server() {
			t.Errorf("%s leads to %s, want %s", r.file, config.Host, layout.Server())
		}
	}
	server, err := tls.LoadX509KeyPair(filepath.Join(s.PKI(), "apiserver.crt"), filepath.Join(s.PKI(), "apiserver.key"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{layout.ControlAddress, layout.ControlAddress6, layout.ServiceAddress, "127.0.0.1", "kubernetes.default.svc"} {
		if _, err := server.Leaf.Verify(x509.VerifyOptions{Roots: authorities, CurrentTime: now, DNSName: name}); err != nil {
			t.Errorf("API server as %s: %v", name, err)
		}
	}
}
