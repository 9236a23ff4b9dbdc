// SPDX-License-Identifier: Apache-2.0

// Package measure watches the API server as the agent does, and the agent's
// tables: how long a change takes from the one to the other, whether they agree
// at the end, and what many watching clients cost.
package measure
