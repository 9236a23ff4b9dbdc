// SPDX-License-Identifier: Apache-2.0

// Command weir-cni is a chained CNI plugin: the container runtime calls it
// after the plugins that made a pod's interface and before the pod's first
// process. It tells the agent which pod stands behind which veth and with
// which addresses, and returns when the pod's policy is in force. It changes
// neither interfaces nor addresses, and hands the result before it on.
//
// ADD retries until the agent says enforced or audited, for at most "timeout"
// of its configuration. Then "failure" decides: "closed" fails the pod's start
// (the runtime tries again), "open" lets it start, and the agent finds it
// later by itself. DEL never fails, GC has nothing to release: the agent
// follows interfaces, not calls. STATUS says whether ADD could succeed.
//
// It may import api/client and api/v1 of weir, and netlink to find the veth.
package main
