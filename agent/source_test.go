// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weirnet/weir/agent/watch"
)

func TestThereIsOneSource(t *testing.T) {
	for _, row := range []struct{ name, manifests, kubeconfig, host, err string }{
		{"directory", "/m", "", "", ""},
		{"kubeconfig", "", "/k", "", ""},
		{"in a pod", "", "", "10.96.0.1", ""},
		{"directory in a pod", "/m", "", "10.96.0.1", ""},
		{"both", "/m", "/k", "", "both given"},
		{"none", "", "", "", "neither --manifests nor --kubeconfig"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Setenv("KUBERNETES_SERVICE_HOST", row.host)
			o := Defaults()
			o.Node, o.Manifests, o.Kubeconfig = "n1", row.manifests, row.kubeconfig
			err := o.Validate()
			if (err == nil) != (row.err == "") || err != nil && !strings.Contains(err.Error(), row.err) {
				t.Errorf("error %v, want one that says %q", err, row.err)
			}
		})
	}
}

func TestOpenSource(t *testing.T) {
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	text := "apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters: [{name: c, cluster: {server: \"https://192.0.2.1:6443\"}}]\ncontexts: [{name: c, context: {cluster: c}}]\n"
	if err := os.WriteFile(kubeconfig, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	manifests := t.TempDir()
	for _, row := range []struct {
		name   string
		change func(*Options)
		want   string // the source's name
		events bool
		err    string
	}{
		{"directory", func(o *Options) { o.Manifests = manifests }, "directory " + manifests, false, ""},
		{"no such directory", func(o *Options) { o.Manifests = "/nonexistent" }, "", false, "/nonexistent does not exist: create it"},
		{"API server", func(o *Options) { o.Kubeconfig = kubeconfig }, "Kubernetes API https://192.0.2.1:6443", true, ""},
		{"without events", func(o *Options) { o.Kubeconfig, o.PodEvents = kubeconfig, false }, "Kubernetes API https://192.0.2.1:6443", false, ""},
		{"no such kubeconfig", func(o *Options) { o.Kubeconfig = "/nonexistent" }, "", false, "--kubeconfig /nonexistent"},
		{"no pod", func(*Options) {}, "", false, "neither --manifests nor --kubeconfig"},
	} {
		t.Run(row.name, func(t *testing.T) {
			o := Defaults()
			o.Node = "n1"
			row.change(&o)
			s, err := openSource(o, "test", slog.New(slog.DiscardHandler))
			if row.err != "" {
				if err == nil || !strings.Contains(err.Error(), row.err) {
					t.Errorf("error %v, want one that says %q", err, row.err)
				}
				return
			}
			if err != nil || s.name != row.want || (s.events != nil) != row.events || (s.connection != nil) != strings.HasPrefix(row.want, "Kube") {
				t.Errorf("source %+v, error %v", s, err)
			}
		})
	}
}

func TestConnectionFaultSaysWhatStays(t *testing.T) {
	if err := connectionFault(watch.Connection{}); err != nil {
		t.Errorf("fault of a good connection: %v", err)
	}
	err := connectionFault(watch.Connection{Err: errors.New("Pods cannot be watched")})
	if err == nil || !strings.Contains(err.Error(), "Pods cannot be watched; the last good state stays in force") {
		t.Errorf("fault %v", err)
	}
}

// What ends the agent at once leaves nothing behind.
func TestNoSourceNoTrace(t *testing.T) {
	for _, row := range []struct {
		name   string
		change func(*Options)
		err    string
	}{
		{"no such directory", func(o *Options) { o.Manifests = "/nonexistent" }, "does not exist: create it"},
		{"a file", func(o *Options) { o.Manifests = "/proc/version" }, "is not a directory"},
		{"no such kubeconfig", func(o *Options) { o.Kubeconfig = "/nonexistent" }, "--kubeconfig /nonexistent"},
	} {
		t.Run(row.name, func(t *testing.T) {
			dir := t.TempDir()
			o := Defaults()
			o.Node, o.PinDir, o.StateDir = "n1", filepath.Join(dir, "pins"), filepath.Join(dir, "state")
			row.change(&o)
			err := Run(t.Context(), Setup{Options: o, Log: slog.New(slog.DiscardHandler)})
			if err == nil || !strings.Contains(err.Error(), row.err) {
				t.Errorf("error %v, want one that says %q", err, row.err)
			}
			if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
				t.Errorf("left behind: %v (%v)", left, err)
			}
		})
	}
}
