// SPDX-License-Identifier: Apache-2.0

// Package bench measures the whole path: `make bench`.
package bench
