// SPDX-License-Identifier: Apache-2.0

// Package birth is what a process of the cluster does between its start in new
// namespaces and its work: it waits until its links are there, and sets up its
// network namespace.
package birth
