// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

func TestFill(t *testing.T) {
	for _, row := range []struct {
		name, file string
		args       []string
		env        map[string]string
		want       func(Options) bool
		err        string
	}{
		{"file sets", "mode: audit\nmax-flows: 4096\nsource-check: false\n", nil, nil, func(o Options) bool { return o.Mode == "audit" && o.MaxFlows == 4096 && !o.SourceCheck }, ""},
		{"list and mapping", "namespace-mode: {shop: audit, db: enforce}\nforwarding-namespaces: [vpn, mesh]\n", nil, nil, func(o Options) bool {
			return o.Modes["shop"] == "audit" && o.Modes["db"] == "enforce" && len(o.ForwardingNamespaces) == 2
		}, ""},
		{"environment before file", "mode: audit\n", nil, map[string]string{"WEIR_MODE": "enforce"}, func(o Options) bool { return o.Mode == "enforce" }, ""},
		{"flag before environment", "", []string{"--mode=audit"}, map[string]string{"WEIR_MODE": "enforce"}, func(o Options) bool { return o.Mode == "audit" }, ""},
		{"empty mapping is the default", "namespace-mode: {}\n", nil, nil, func(o Options) bool { return len(o.Modes) == 0 }, ""},
		{"empty file", "", nil, nil, func(o Options) bool { return o.Mode == "enforce" }, ""},
		{"unknown key", "moed: audit\n", nil, nil, nil, `unknown key "moed"`},
		{"key twice", "mode: audit\nmode: enforce\n", nil, nil, nil, "mode"},
		{"not a mapping", "- mode\n", nil, nil, nil, "not a YAML mapping"},
		{"wrong type", "max-flows: many\n", nil, nil, nil, "max-flows"},
		{"environment of the wrong type", "", nil, map[string]string{"WEIR_SOURCE_CHECK": "perhaps"}, nil, "WEIR_SOURCE_CHECK"},
	} {
		t.Run(row.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "weir.yaml")
			if err := os.WriteFile(file, []byte(row.file), 0o600); err != nil {
				t.Fatal(err)
			}
			o := Defaults()
			fs := pflag.NewFlagSet("weir-agent", pflag.ContinueOnError)
			o.Flags(fs)
			if err := fs.Parse(row.args); err != nil {
				t.Fatal(err)
			}
			err := Fill(fs, func(k string) (string, bool) { v, ok := row.env[k]; return v, ok }, file)
			switch {
			case row.err != "" && (err == nil || !strings.Contains(err.Error(), row.err)):
				t.Fatalf("error %v, want one that says %q", err, row.err)
			case row.err == "" && err != nil:
				t.Fatal(err)
			case row.err == "" && !row.want(o):
				t.Fatalf("options %+v", o)
			}
		})
	}
}

func TestValidateNamesEveryFault(t *testing.T) {
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	o := Defaults()
	o.Node, o.Manifests, o.Mode, o.Attach, o.Metrics, o.StoredFlows = "", "", "maybe", "xdp", "nowhere", 0
	err := o.Validate()
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{"--node", "--manifests", "--mode", "--attach", "--metrics-address", "--stored-flows"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not name %s: %v", want, err)
		}
	}
}
