// SPDX-License-Identifier: Apache-2.0

// Package packet runs the programs from_pod and to_pod on single packets, with
// maps and a network namespace of their own, and tells everything that a run
// changed: verdict, counters, events, flow entries. It owns
//
//   - Packet, a builder of Ethernet frames: whole, fragmented, mangled, cut;
//   - Machine, the loaded programs with private, unpinned maps;
//   - Loader, which writes a compile.Update into a Machine.
//
// Runs go through BPF_PROG_TEST_RUN. What that cannot make is left to real
// packets: VLAN tags that the device has taken off already, and frames whose
// linear part is shorter than the headers.
//
// It needs root, and it is for tests: it may import every package of weir
// except agent and cmd.
package packet
