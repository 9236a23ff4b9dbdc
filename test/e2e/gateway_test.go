// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"k8s.io/client-go/tools/clientcmd"
)

// gateway between a user and the API server, which ends TLS and takes note of
// the protocols that forwarded ports go through.
type gateway struct {
	mu        sync.Mutex
	protocols []string
}

// newGateway for the user of a kubeconfig, whose token it hands on, and the
// kubeconfig that leads through it.
func newGateway(t *testing.T, kubeconfig string) (*gateway, string) {
	t.Helper()
	behind, err := url.Parse(cluster.config.Host)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(cluster.config.CAData)
	g := &gateway{}
	server := httptest.NewTLSServer(&httputil.ReverseProxy{
		Rewrite:        func(r *httputil.ProxyRequest) { r.SetURL(behind) },
		ModifyResponse: g.note,
		Transport:      &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, DisableKeepAlives: true},
	})
	t.Cleanup(server.Close)
	file, err := clientcmd.LoadFromFile(kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	to := file.Clusters["weir"]
	to.Server = server.URL
	to.CertificateAuthorityData = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	through := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*file, through); err != nil {
		t.Fatal(err)
	}
	return g, through
}

func (g *gateway) note(r *http.Response) error {
	if r.StatusCode == http.StatusSwitchingProtocols && strings.HasSuffix(r.Request.URL.Path, "/portforward") {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.protocols = append(g.protocols, r.Header.Get("Upgrade"))
	}
	return nil
}

// switched to: the protocols so far.
func (g *gateway) switched() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.protocols)
}
