// SPDX-License-Identifier: Apache-2.0

// Package kernel runs the tests that need a kernel inside other kernels: it
// boots each release of a list in QEMU, in software, and runs the same test
// binaries there as root.
//
// The kernels are Debian's packages for amd64. They are downloaded and checked
// by apt with state of their own, and kept unpacked below the user's cache
// directory. The guest is an initramfs: a static Go program as init (folder
// guest), static test binaries, and kernel modules. It has no shell, no disk
// and no network interface but those that tests make.
//
// The package imports the standard library and x/sys; it owns folders plan
// (what the guest is told, and what it answers), guest and probe.
package kernel
