// SPDX-License-Identifier: Apache-2.0

package main

import (
	"github.com/containernetworking/cni/pkg/skel"
	cniversion "github.com/containernetworking/cni/pkg/version"
)

// version is set by the linker.
var version = "development"

// oldestVersion of the CNI specification that has chains.
const oldestVersion = "0.3.0"

func main() {
	skel.PluginMainFuncs(skel.CNIFuncs{
		Add:    add,
		Check:  check,
		Del:    del,
		GC:     func(*skel.CmdArgs) error { return nil },
		Status: status,
	}, cniversion.VersionsStartingFrom(oldestVersion), "weir-cni "+version+": tells weir-agent of pods before their first packet")
}
