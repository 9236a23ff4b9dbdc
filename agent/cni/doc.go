// SPDX-License-Identifier: Apache-2.0

// Package cni puts the chained plugin weir-cni into a node's CNI
// configuration, keeps it there, and takes it out again.
//
// It owns one file in the folder of plugins (the binary) and one element in
// the list of plugins that the container runtime picks: the first file of the
// folder by name. Every other byte belongs to the CNI and stays as it is: the
// element is cut in and cut out of the text, so taking it out gives the file
// that was there before. A file that cannot be parsed is named and never
// written.
//
// It may import nothing of weir: the agent tells it what to write.
package cni
