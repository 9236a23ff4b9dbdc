// SPDX-License-Identifier: Apache-2.0

// Package record is what a run measured, and the page made of it.
package record
