// SPDX-License-Identifier: Apache-2.0

// Package control runs the control plane of a cluster in one process: etcd,
// API server, controller manager and scheduler.
package control
