// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"

	"github.com/weirnet/weir/test/cluster/cgroup"
	"github.com/weirnet/weir/test/cluster/layout"
)

// inventory is all that a cluster could leave on a machine.
type inventory struct{ Links, Mounts, Groups, Namespaces, Processes, Files []string }

func takeInventory(t *testing.T, state string) inventory {
	t.Helper()
	var found inventory
	links, err := netlink.LinkList()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		if l.Attrs().Name == layout.HostLink {
			found.Links = append(found.Links, l.Attrs().Name)
		}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, state) || strings.Contains(line, "containerd") || strings.Contains(line, "kubelet") {
			found.Mounts = append(found.Mounts, line)
		}
	}
	found.Groups, _ = filepath.Glob("/sys/fs/cgroup/*/" + cgroup.Root)
	found.Namespaces, _ = filepath.Glob("/run/netns/cni-*")
	found.Processes = foreignProcesses(t, state)
	for _, path := range []string{state, "/etc/cni", "/opt/cni", "/var/lib/kubelet", "/var/lib/cni", "/run/containerd", "/var/log/pods"} {
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			found.Files = append(found.Files, path)
		}
	}
	return found
}

// foreignProcesses live in another process namespace than we do, or name the
// state folder.
func foreignProcesses(t *testing.T, state string) []string {
	t.Helper()
	own, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		t.Fatal(err)
	}
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	var list []string
	for _, dir := range dirs {
		space, err := os.Readlink(dir + "/ns/pid")
		if err != nil {
			continue // ended meanwhile
		}
		line, _ := os.ReadFile(dir + "/cmdline")
		if space != own || strings.Contains(string(line), state) {
			list = append(list, strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	slices.Sort(list)
	return list
}

// A cluster comes up, is left alone by a second up, is made anew when a part
// of it has died, and leaves nothing when it goes, even when its records are
// all that still speaks of it.
func TestLifecycle(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: makes namespaces, links and control groups")
	}
	if _, err := netlink.LinkByName(layout.HostLink); err == nil {
		t.Skipf("a cluster runs on this machine, and there can be one only; end it with make cluster-down")
	}
	self := filepath.Join(t.TempDir(), "weir-cluster")
	build := exec.Command("go", "build", "-o", self, "../cmd/weir-cluster")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	settings := layout.Defaults()
	settings.State = "/var/lib/weir-cluster-test"
	settings.CNI, settings.Proxy, settings.Families = "bridge", "iptables", "ipv4"
	o := Options{Settings: settings, Source: "..", Self: self, Limit: 3 * time.Minute, Progress: t.Output()}
	before := takeInventory(t, settings.State)
	t.Cleanup(func() {
		if err := Down(context.Background(), settings); err != nil {
			t.Error(err)
		}
	})

	first := bringUpAndInspect(t, o)
	if second := bringUpAndInspect(t, o); !slices.Equal(first.Processes, second.Processes) {
		t.Errorf("a second up started other processes: %v, before %v", second.Processes, first.Processes)
	}
	other := o
	other.Settings.CNI = "ptp"
	if err := Up(t.Context(), other); err == nil || !strings.Contains(err.Error(), "other settings") {
		t.Errorf("up with other settings while a cluster runs: %v", err)
	}
	if during := takeInventory(t, settings.State); len(during.Links) == 0 || len(during.Groups) == 0 || len(during.Processes) < 2*3 {
		t.Errorf("the inventory does not see a running cluster: %+v", during)
	}
	kill(t, first, "n1")
	third := bringUpAndInspect(t, o)
	for _, p := range third.Processes {
		if slices.Contains(first.Processes, p) {
			t.Errorf("%s survived the death of n1", p.Name)
		}
	}
	kill(t, third, "control-plane")
	for range 2 { // the second time there is nothing
		if err := Down(t.Context(), settings); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(before, takeInventory(t, settings.State)); diff != "" {
		t.Errorf("left behind (-before +after):\n%s", diff)
	}
}

func bringUpAndInspect(t *testing.T, o Options) Status {
	t.Helper()
	if err := Up(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	status, err := Inspect(o.Settings.State)
	if err != nil {
		t.Fatal(err)
	}
	if !status.Whole() {
		t.Fatalf("not whole after up: %+v", status)
	}
	return status
}

func kill(t *testing.T, s Status, name string) {
	t.Helper()
	for _, p := range s.Processes {
		if p.Name != name {
			continue
		}
		if err := syscall.Kill(p.PID, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(10 * time.Second); p.Running(); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s survives SIGKILL", name)
			}
		}
		return
	}
	t.Fatalf("no process %s in %+v", name, s)
}
