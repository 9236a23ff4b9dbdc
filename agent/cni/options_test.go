// SPDX-License-Identifier: Apache-2.0

package cni

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

func TestValidate(t *testing.T) {
	good := Options{ConfDir: "/etc/cni/net.d", BinDir: "/opt/cni/bin", Binary: "/usr/bin/weir-cni", Socket: "/run/weir/agent.sock", Failure: "open", Timeout: time.Second, Now: time.Now}
	for _, row := range []struct {
		fault  string
		change func(*Options)
	}{
		{"", func(*Options) {}},
		{"folder of configurations", func(o *Options) { o.ConfDir = "etc" }},
		{"folder of plugins", func(o *Options) { o.BinDir = "" }},
		{"binary", func(o *Options) { o.Binary = "" }},
		{"socket", func(o *Options) { o.Socket = "" }},
		{"failure mode", func(o *Options) { o.Failure = "" }},
		{"time limit", func(o *Options) { o.Timeout = 0 }},
		{"clock", func(o *Options) { o.Now = nil }},
	} {
		o := good
		row.change(&o)
		err := o.Validate()
		if (err == nil) != (row.fault == "") || err != nil && !strings.Contains(err.Error(), row.fault) {
			t.Errorf("%v, want %q", err, row.fault)
		}
	}
}

func TestPresets(t *testing.T) {
	for _, name := range PresetNames() {
		p, ok := FindPreset(name)
		if !ok || !strings.HasPrefix(p.ConfDir, "/") || !strings.HasPrefix(p.BinDir, "/") {
			t.Errorf("preset %q: %+v %t", name, p, ok)
		}
	}
	if _, ok := FindPreset("none"); ok {
		t.Error("none is no preset")
	}
}

// The chart mounts the folders of the presets, and knows them by itself.
func TestChartKnowsThePresets(t *testing.T) {
	const chart = "../../deploy/chart/"
	templates, err := os.ReadFile(chart + "templates/_helpers.tpl")
	must(t, err)
	schema, err := os.ReadFile(chart + "values.schema.json")
	must(t, err)
	names := `"none", "` + strings.Join(PresetNames(), `", "`) + `"`
	if !strings.Contains(string(schema), names) {
		t.Errorf("values.schema.json does not allow exactly %s", names)
	}
	def, _ := FindPreset("default")
	for _, p := range Presets() {
		for path, usual := range map[string]string{p.ConfDir: def.ConfDir, p.BinDir: def.BinDir} {
			if named := strings.Contains(string(templates), fmt.Sprintf("%q %q", p.Name, path)); named != (path != usual) {
				t.Errorf("_helpers.tpl: preset %s with %s: named %t", p.Name, path, named)
			}
		}
	}
}
