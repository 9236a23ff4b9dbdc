// SPDX-License-Identifier: Apache-2.0

// Package harness brings a cluster up and takes it down. A cluster is one
// process for the control plane and one for each node, each in namespaces of
// its own; they outlive the command that started them. All that the machine
// sees of it is the state folder, one link, and control groups.
package harness
