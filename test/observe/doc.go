// SPDX-License-Identifier: Apache-2.0

// Package observe holds the tests of what an agent tells of real traffic:
// records of flows from their first packet to their end, counts, and metrics as
// a real Prometheus reads them.
package observe
