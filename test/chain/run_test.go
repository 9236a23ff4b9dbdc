// SPDX-License-Identifier: Apache-2.0

package chain

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/types"
)

// run is one ADD of one plugin, as libcni does it within a list.
func (s *stage) run(plugin *libcni.PluginConfig, list *libcni.NetworkConfigList, previous types.Result, p *pod) error {
	conf := map[string]any{}
	if err := json.Unmarshal(plugin.Bytes, &conf); err != nil {
		return err
	}
	conf["name"], conf["cniVersion"], conf["prevResult"] = list.Name, list.CNIVersion, previous
	stdin, err := json.Marshal(conf)
	if err != nil {
		return err
	}
	command := exec.Command(filepath.Join(s.dir, "bin", plugin.Network.Type))
	command.Stdin = bytes.NewReader(stdin)
	command.Env = append(os.Environ(), "CNI_COMMAND=ADD", "CNI_CONTAINERID=container-"+p.name, "CNI_NETNS="+p.space,
		"CNI_IFNAME=eth0", "CNI_PATH="+plugins,
		"CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME="+p.name+";K8S_POD_UID=uid-of-shop-"+p.name)
	if out, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}
