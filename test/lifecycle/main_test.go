// SPDX-License-Identifier: Apache-2.0

package lifecycle

import (
	"testing"

	"github.com/weirnet/weir/test/node"
)

func TestMain(m *testing.M) {
	node.VerifyMain(m, "/run/netns/lcp-*", "/run/netns/lcb-*", "/sys/fs/bpf/weir-lifecycle-*")
}
