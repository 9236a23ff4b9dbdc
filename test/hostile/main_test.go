// SPDX-License-Identifier: Apache-2.0

package hostile

import (
	"testing"

	"github.com/weirnet/weir/test/node"
)

func TestMain(m *testing.M) {
	var left []string
	for _, wiring := range []string{"routed", "bridged"} {
		left = append(left, "/run/netns/"+nodeName(wiring)+"-*", "/sys/fs/bpf/weir-hostile-"+nodeName(wiring))
	}
	node.VerifyMain(m, left...)
}
