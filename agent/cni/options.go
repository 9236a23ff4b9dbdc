// SPDX-License-Identifier: Apache-2.0

package cni

import (
	"cmp"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"
)

// PluginType is the name of the binary and the "type" of the element.
const PluginType = "weir-cni"

// OldestVersion of the CNI specification with which a plugin can be chained:
// lists and prevResult came with 0.3.0.
const OldestVersion = "0.3.0"

// Preset names the folders of a distribution, as the node sees them.
type Preset struct {
	Name    string
	ConfDir string
	BinDir  string
}

// Presets are the distributions whose folders are known.
func Presets() []Preset {
	const confDir, binDir = "/etc/cni/net.d", "/opt/cni/bin"
	return []Preset{
		// The defaults of containerd and CRI-O: kubeadm, kind, EKS, AKS, k0s,
		// RKE2, Talos.
		{"default", confDir, binDir},
		{"rke2", confDir, binDir},
		// Debian's package containernetworking-plugins.
		{"debian", confDir, "/usr/lib/cni"},
		// Read-only root; documented with Istio's platform profile for GKE.
		{"gke", confDir, "/home/kubernetes/bin"},
		// bin_dir of the containerd configuration that K3s writes since
		// v1.30.11; before that data/current/bin, which needs --cni-bin-dir.
		{"k3s", "/var/lib/rancher/k3s/agent/etc/cni/net.d", "/var/lib/rancher/k3s/data/cni"},
		{"k3d", "/var/lib/rancher/k3s/agent/etc/cni/net.d", "/bin"},
		{"microk8s", "/var/snap/microk8s/current/args/cni-network", "/var/snap/microk8s/current/opt/cni/bin"},
	}
}

// FindPreset by its name.
func FindPreset(name string) (Preset, bool) {
	i := slices.IndexFunc(Presets(), func(p Preset) bool { return p.Name == name })
	if i < 0 {
		return Preset{}, false
	}
	return Presets()[i], true
}

// PresetNames in the order of Presets.
func PresetNames() []string {
	var names []string
	for _, p := range Presets() {
		names = append(names, p.Name)
	}
	return names
}

// Options of an Installer. The folders are paths in the agent's own file
// system; the socket is the node's.
type Options struct {
	ConfDir string
	BinDir  string
	Binary  string // what is copied into BinDir
	Socket  string // where the plugin finds the agent
	Failure string // closed, open
	Timeout time.Duration
	Now     func() time.Time
}

// Validate names every option that cannot be used.
func (o Options) Validate() error {
	var errs []error
	for name, path := range map[string]string{"folder of configurations": o.ConfDir, "folder of plugins": o.BinDir, "binary": o.Binary, "socket": o.Socket} {
		if !filepath.IsAbs(path) {
			errs = append(errs, fmt.Errorf("%s: %q is not an absolute path", name, path))
		}
	}
	if o.Failure != "closed" && o.Failure != "open" {
		errs = append(errs, fmt.Errorf("failure mode: %q; it may be closed or open", o.Failure))
	}
	if o.Timeout <= 0 {
		errs = append(errs, fmt.Errorf("time limit: %s is not above 0", o.Timeout))
	}
	if o.Now == nil {
		errs = append(errs, errors.New("clock: none"))
	}
	slices.SortFunc(errs, func(a, b error) int { return cmp.Compare(a.Error(), b.Error()) })
	return errors.Join(errs...)
}
