// SPDX-License-Identifier: Apache-2.0

// Package cgroup makes and removes the control groups that the kubelets of a
// cluster own: one folder named weir-cluster in every hierarchy.
package cgroup
