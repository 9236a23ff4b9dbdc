// SPDX-License-Identifier: Apache-2.0

package hostile

import (
	"testing"

	"github.com/weirnet/weir/test/node"
)

func TestMain(m *testing.M) {
	node.VerifyMain(m, "/run/netns/hsr-*", "/run/netns/hsb-*", "/sys/fs/bpf/weir-hostile-*")
}
