// SPDX-License-Identifier: Apache-2.0

package netpol

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"k8s.io/kubernetes/test/e2e"
	"k8s.io/kubernetes/test/e2e/framework"
	"k8s.io/kubernetes/test/e2e/framework/config"

	_ "k8s.io/kubernetes/test/e2e/feature"
	_ "k8s.io/kubernetes/test/e2e/framework/debug/init"
	_ "k8s.io/kubernetes/test/e2e/framework/node/init"
	_ "k8s.io/kubernetes/test/e2e/network/netpol"
	_ "k8s.io/kubernetes/test/utils/format"
)

func TestMain(m *testing.M) {
	config.CopyFlags(config.Flags, flag.CommandLine)
	framework.RegisterCommonFlags(flag.CommandLine)
	framework.RegisterClusterFlags(flag.CommandLine)
	flag.Parse()
	if err := selectSpecs(); err != nil {
		fmt.Fprintln(os.Stderr, "netpol:", err)
		os.Exit(1)
	}
	framework.AfterReadingAllFlags(&framework.TestContext)
	os.Exit(m.Run())
}

// selectSpecs leaves the specs of NetworkPolicy: shared packages of the suite
// bring hundreds of others with them. A narrower --ginkgo.focus holds.
func selectSpecs() error {
	if flag.Lookup("ginkgo.focus").Value.String() == "" {
		if err := flag.Set("ginkgo.focus", `\[sig-network\] Netpol`); err != nil {
			return err
		}
	}
	list, err := Exclusions()
	if err != nil {
		return err
	}
	for _, e := range list {
		if err := flag.Set("ginkgo.skip", e.Pattern); err != nil {
			return err
		}
	}
	return nil
}

func TestNetworkPolicy(t *testing.T) { e2e.RunE2ETests(t) }
