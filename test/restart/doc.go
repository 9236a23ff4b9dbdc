// SPDX-License-Identifier: Apache-2.0

// Package restart holds the tests of what must not be seen from outside: an
// agent that is killed and started again while traffic flows.
package restart
