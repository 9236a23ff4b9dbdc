// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"testing"

	"github.com/weirnet/weir/test/node"
)

func TestMain(m *testing.M) {
	node.VerifyMain(m, "/run/netns/obs-*", "/sys/fs/bpf/weir-observe-*")
}
