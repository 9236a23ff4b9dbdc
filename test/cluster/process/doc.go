// SPDX-License-Identifier: Apache-2.0

// Package process starts processes that outlive their starter, records each in
// a folder, and ends them by that record. A process id that another process
// got since is told from the first by its start time, so nothing foreign is
// ever ended.
package process
