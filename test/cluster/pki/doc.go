// SPDX-License-Identifier: Apache-2.0

// Package pki makes the certificates, keys and kubeconfigs of a cluster, in
// one folder. They live as long as the cluster; none leaves the machine.
package pki
