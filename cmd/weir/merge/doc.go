// SPDX-License-Identifier: Apache-2.0

// Package merge owns the bringing together of what several agents tell: their
// streams of flows in order of time, and their counts as one.
//
// It may import api/client and api/v1. It opens no connection.
package merge
