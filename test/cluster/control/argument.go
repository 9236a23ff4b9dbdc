// SPDX-License-Identifier: Apache-2.0

package control

import (
	"fmt"
	"path/filepath"

	"github.com/weirnet/weir/test/cluster/layout"
)

func apiServerArguments(s layout.Settings) []string {
	pki := func(file string) string { return filepath.Join(s.PKI(), file) }
	return []string{
		"--etcd-servers=" + etcdClient,
		"--bind-address=0.0.0.0",
		fmt.Sprintf("--secure-port=%d", layout.APIPort),
		"--advertise-address=" + layout.ControlAddress,
		"--service-cluster-ip-range=" + s.ServiceRanges(),
		"--tls-cert-file=" + pki("apiserver.crt"),
		"--tls-private-key-file=" + pki("apiserver.key"),
		"--client-ca-file=" + pki("ca.crt"),
		"--kubelet-client-certificate=" + pki("apiserver-kubelet-client.crt"),
		"--kubelet-client-key=" + pki("apiserver-kubelet-client.key"),
		"--kubelet-preferred-address-types=InternalIP",
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file=" + pki("service-account.pub"),
		"--service-account-signing-key-file=" + pki("service-account.key"),
		"--authorization-mode=Node,RBAC",
		"--enable-admission-plugins=NodeRestriction",
		"--allow-privileged=true",
		"--requestheader-client-ca-file=" + pki("front-proxy-ca.crt"),
		"--requestheader-allowed-names=front-proxy-client",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--requestheader-group-headers=X-Remote-Group",
		"--requestheader-username-headers=X-Remote-User",
		"--proxy-client-cert-file=" + pki("front-proxy-client.crt"),
		"--proxy-client-key-file=" + pki("front-proxy-client.key"),
		"--profiling=false",
		// Thousands of objects made at once by tests are no reason to wait.
		"--max-requests-inflight=2000",
		"--max-mutating-requests-inflight=1000",
	}
}

// controllerManagerArguments: the pod ranges are written into the Node objects
// by the harness. The controller would choose its own, in the order in which
// nodes come, and the nodes' CNI configurations know nothing of that.
func controllerManagerArguments(s layout.Settings) []string {
	pki := func(file string) string { return filepath.Join(s.PKI(), file) }
	return []string{
		"--kubeconfig=" + s.Kubeconfig("controller-manager"),
		"--leader-elect=false",
		"--use-service-account-credentials=true",
		"--service-account-private-key-file=" + pki("service-account.key"),
		"--root-ca-file=" + pki("ca.crt"),
		"--cluster-signing-cert-file=" + pki("ca.crt"),
		"--cluster-signing-key-file=" + pki("ca.key"),
		"--allocate-node-cidrs=false",
		"--cluster-cidr=" + s.PodRanges(),
		"--service-cluster-ip-range=" + s.ServiceRanges(),
		"--bind-address=127.0.0.1",
	}
}

func schedulerArguments(s layout.Settings) []string {
	return []string{
		"--kubeconfig=" + s.Kubeconfig("scheduler"),
		"--leader-elect=false",
		"--bind-address=127.0.0.1",
	}
}
