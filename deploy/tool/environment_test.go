// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"testing"

	yaml "go.yaml.in/yaml/v3"
	"sigs.k8s.io/kind/pkg/apis/config/v1alpha4"
)

// kind's own CNI enforces policies: with it the tests would prove nothing.
func TestKindConfiguration(t *testing.T) {
	raw, err := os.ReadFile("../kind/kind.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var c v1alpha4.Cluster
	d := yaml.NewDecoder(bytes.NewReader(raw))
	d.KnownFields(true)
	if err := d.Decode(&c); err != nil {
		t.Fatal(err)
	}
	if c.Kind != "Cluster" || c.APIVersion != "kind.x-k8s.io/v1alpha4" || !c.Networking.DisableDefaultCNI || len(c.Nodes) < 2 {
		t.Errorf("decoded as %+v", c)
	}
	v1alpha4.SetDefaultsCluster(&c)
	for _, n := range c.Nodes {
		if n.Role != v1alpha4.ControlPlaneRole && n.Role != v1alpha4.WorkerRole {
			t.Errorf("node of role %q", n.Role)
		}
	}
}

// make test-deploy installs ruby.
func TestVagrantfile(t *testing.T) {
	ruby, err := exec.LookPath("ruby")
	if err != nil {
		if os.Getenv("WEIR_KERNEL_TESTS") == "1" {
			t.Fatal("ruby is not installed; make test-deploy installs it")
		}
		t.Skip("ruby is not installed; make test-deploy installs it")
	}
	if out, err := exec.CommandContext(t.Context(), ruby, "-c", "../vagrant/Vagrantfile").CombinedOutput(); err != nil {
		t.Errorf("ruby -c: %v: %s", err, out)
	}
	raw, err := os.ReadFile("../vagrant/Vagrantfile")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"bullseye64", "bookworm64", "trixie64"} {
		if !strings.Contains(string(raw), want) {
			t.Errorf("no box %s", want)
		}
	}
	if kernel, cluster := bytes.Index(raw, []byte("kernel-tests.sh")), bytes.Index(raw, []byte("cluster.sh")); kernel < 0 || cluster < kernel {
		t.Error("the kernel tests must come before the cluster")
	}
}

func TestScripts(t *testing.T) {
	for _, script := range []string{"../kind/up.sh", "../e2e.sh", "../vagrant/kernel-tests.sh", "../vagrant/cluster.sh"} {
		if out, err := exec.CommandContext(t.Context(), "bash", "-n", script).CombinedOutput(); err != nil {
			t.Errorf("bash -n %s: %v: %s", script, err, out)
		}
		if info, err := os.Stat(script); err != nil || info.Mode()&0o100 == 0 {
			t.Errorf("%s cannot be executed: %v", script, err)
		}
	}
}
