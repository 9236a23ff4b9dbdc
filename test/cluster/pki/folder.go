// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/weirnet/weir/test/cluster/layout"
)

// user of the API with a certificate and a kubeconfig of its own.
type user struct {
	file, name string
	groups     []string
}

// Make fills the PKI folder of a cluster.
func Make(s layout.Settings, now time.Time) error {
	dir := s.PKI()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	ca, err := NewAuthority(dir, "ca", now)
	if err != nil {
		return err
	}
	if err := makeServer(ca, dir, now); err != nil {
		return err
	}
	users := []user{
		{"admin", "admin", []string{"system:masters"}},
		{"controller-manager", "system:kube-controller-manager", nil},
		{"scheduler", "system:kube-scheduler", nil},
		{"proxy", "system:kube-proxy", nil},
	}
	for _, n := range s.AllNodes() {
		users = append(users, user{"kubelet-" + n.Name(), "system:node:" + n.Name(), []string{"system:nodes"}})
	}
	for _, u := range users {
		if err := ca.Client(u.file, u.name, u.groups...); err != nil {
			return err
		}
		if err := writeKubeconfig(s, u); err != nil {
			return err
		}
	}
	return nil
}

// makeServer writes what the API server shows and what it calls others with.
func makeServer(ca *Authority, dir string, now time.Time) error {
	err := ca.Server("apiserver", "127.0.0.1", layout.ControlAddress, layout.ControlAddress6, layout.ServiceAddress,
		"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc."+layout.Domain)
	if err != nil {
		return err
	}
	if err := ca.Client("apiserver-kubelet-client", "apiserver-kubelet-client", "system:masters"); err != nil {
		return err
	}
	if err := ca.KeyPair("service-account"); err != nil {
		return err
	}
	front, err := NewAuthority(dir, "front-proxy-ca", now)
	if err != nil {
		return err
	}
	return front.Client("front-proxy-client", "front-proxy-client")
}

// writeKubeconfig with everything inside, so that the file alone can be handed
// to a container or another machine.
func writeKubeconfig(s layout.Settings, u user) error {
	data := make(map[string]string, 3)
	for key, file := range map[string]string{"ca": "ca.crt", "cert": u.file + ".crt", "key": u.file + ".key"} {
		raw, err := os.ReadFile(filepath.Join(s.PKI(), file))
		if err != nil {
			return err
		}
		data[key] = base64.StdEncoding.EncodeToString(raw)
	}
	content := fmt.Sprintf(`apiVersion: v1
kind: Config
current-context: weir-cluster
clusters:
- name: weir-cluster
  cluster: {server: %q, certificate-authority-data: %s}
users:
- name: %s
  user: {client-certificate-data: %s, client-key-data: %s}
contexts:
- name: weir-cluster
  context: {cluster: weir-cluster, user: %s}
`, layout.Server(), data["ca"], u.file, data["cert"], data["key"], u.file)
	return os.WriteFile(s.Kubeconfig(u.file), []byte(content), 0o600)
}
