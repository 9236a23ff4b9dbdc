// SPDX-License-Identifier: Apache-2.0

// Package change measures how long a change of policy takes to reach packets:
// from the rename(2) of a policy's file to the first packet that its receiver
// gets, and to the last one that it should no longer get.
//
// A machine that does not run its CPUs delays every program, so the same run
// has witnesses: a process with a real-time thread on each CPU, which no
// load of normal priority makes late, and rounds of work that has nothing to do
// with weir.
//
// It needs root and Linux 6.6 (TCX). It may import everything of weir but
// agent and cmd.
package change
