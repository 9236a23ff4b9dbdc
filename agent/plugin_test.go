// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
)

func TestCNIOptions(t *testing.T) {
	for _, row := range []struct {
		fault  string
		change func(*CNIOptions)
	}{
		{"", func(*CNIOptions) {}},
		{"", func(o *CNIOptions) { o.Preset = "k3s" }},
		{"", func(o *CNIOptions) { o.Preset, o.ConfDir, o.DaemonSet = "default", "/x", "weir-system/weir-agent" }},
		{"--cni-preset", func(o *CNIOptions) { o.Preset = "k4s" }},
		{"--cni-preset", func(o *CNIOptions) { o.ConfDir = "/x" }},
		{"--cni-failure", func(o *CNIOptions) { o.Failure = "" }},
		{"--cni-timeout", func(o *CNIOptions) { o.Timeout = 0 }},
		{"--cni-daemonset", func(o *CNIOptions) { o.DaemonSet = "weir-agent" }},
		{"--cni-daemonset", func(o *CNIOptions) { o.DaemonSet = "a/b/c" }},
	} {
		o := defaultCNI()
		row.change(&o)
		err := o.validate()
		if (err == nil) != (row.fault == "") || err != nil && !strings.Contains(err.Error(), row.fault) {
			t.Errorf("%+v: %v, want %q", o, err, row.fault)
		}
	}
}

func TestNewPlugin(t *testing.T) {
	o := Defaults()
	if plugin, err := newPlugin(o, slog.Default()); plugin != nil || err != nil {
		t.Errorf("nothing asked for: %v %v", plugin, err)
	}
	o.CNI.Preset, o.CNI.ConfDir = "microk8s", filepath.Join(t.TempDir(), "net.d")
	if plugin, err := newPlugin(o, slog.Default()); plugin == nil || err != nil {
		t.Errorf("with a preset: %v %v", plugin, err)
	}
	o.CNI.BinDir = "relative"
	if _, err := newPlugin(o, slog.Default()); err == nil || !strings.Contains(err.Error(), "relative") {
		t.Errorf("a folder that is not absolute: %v", err)
	}
}
