// SPDX-License-Identifier: Apache-2.0

package layout

import (
	"fmt"
	"path/filepath"
)

// Node is one node of the cluster; Index starts at 1.
type Node struct {
	Index    int
	Settings Settings
}

// Name in the API.
func (n Node) Name() string { return fmt.Sprintf("n%d", n.Index) }

// Dir holds what is the node's own: the folders that it sees at /var/lib,
// /var/log, /opt and /etc.
func (n Node) Dir() string { return filepath.Join(n.Settings.State, n.Name()) }

// Kubeconfig of the node's kubelet.
func (n Node) Kubeconfig() string { return n.Settings.Kubeconfig("kubelet-" + n.Name()) }

// Bridge port of the node in the control plane's namespace.
func (n Node) Port() string { return fmt.Sprintf("port%d", n.Index) }

// PKI holds certificates, keys and kubeconfigs.
func (s Settings) PKI() string { return filepath.Join(s.State, "pki") }

// Kubeconfig of a user that package pki knows, e.g. admin.
func (s Settings) Kubeconfig(user string) string {
	return filepath.Join(s.PKI(), user+".kubeconfig")
}

// Log of a process.
func (s Settings) Log(process string) string {
	return filepath.Join(s.State, "log", process+".log")
}

// Processes holds a record of each process that was started.
func (s Settings) Processes() string { return filepath.Join(s.State, "processes") }

// File holds the settings of the cluster that runs.
func (s Settings) File() string { return filepath.Join(s.State, "settings.json") }
