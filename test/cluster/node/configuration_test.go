// SPDX-License-Identifier: Apache-2.0

package node

import (
	"encoding/json"
	"testing"

	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/yaml"

	"github.com/weirnet/weir/test/cluster/layout"
)

func describeNode(cni, families string) layout.Node {
	s := layout.Defaults()
	s.CNI, s.Families = cni, families
	return s.AllNodes()[0]
}

// The CNI's configuration has a range and a route for each family, and a
// hairpin on a bridge.
func TestCNIConfiguration(t *testing.T) {
	type plugin struct {
		Type        string
		Bridge      string
		HairpinMode bool
		IPAM        struct {
			Ranges [][]struct{ Subnet string }
			Routes []struct{ Dst string }
		}
	}
	rows := []struct {
		cni, families string
		ranges        int
		bridge        string
	}{
		{"ptp", "dual", 2, ""},
		{"ptp", "ipv4", 1, ""},
		{"bridge", "dual", 2, "cni0"},
		{"bridge", "ipv4", 1, "cni0"},
	}
	for _, r := range rows {
		raw, err := json.Marshal(cniConfiguration(describeNode(r.cni, r.families)))
		if err != nil {
			t.Fatal(err)
		}
		var list struct{ Plugins []plugin }
		if err := json.Unmarshal(raw, &list); err != nil {
			t.Fatal(err)
		}
		p := list.Plugins[0]
		if p.Type != r.cni || len(p.IPAM.Ranges) != r.ranges || len(p.IPAM.Routes) != r.ranges || p.Bridge != r.bridge || p.HairpinMode != (r.bridge != "") {
			t.Errorf("%s, %s: %s", r.cni, r.families, raw)
		}
	}
}

// The files of kubelet and kube-proxy are YAML whatever the settings hold.
// A range of two families holds a comma, which would end a word of a flow
// mapping.
func TestFilesAreYAML(t *testing.T) {
	n := describeNode("ptp", "dual")
	for name, content := range map[string]string{"kubelet": kubeletConfiguration(n), "kube-proxy": proxyConfiguration(n)} {
		var object map[string]any
		if err := yaml.UnmarshalStrict([]byte(content), &object); err != nil {
			t.Errorf("%s: %v\n%s", name, err, content)
		}
	}
	if problems := validation.IsDNS1123Subdomain(n.Name()); problems != nil {
		t.Errorf("node name %s: %v", n.Name(), problems)
	}
}
