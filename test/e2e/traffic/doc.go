// SPDX-License-Identifier: Apache-2.0

// Package traffic is what the pods of the tests do: it calls targets without
// pause, from the first moment of the process, serves others, and counts at
// both ends. It imports the standard library alone, since it runs in an image
// of its own.
package traffic
