// SPDX-License-Identifier: Apache-2.0

// Package recording owns files of flows: their form, writing, and playing them
// again under the filters of a request.
//
// A recording is text. Each line is one message weir.v1.Flow as JSON, names as
// in weir.proto, just as observe -o json writes it; or {"loss": ...}, the
// weir.v1.Loss since the recording began, where it grew.
//
// Filters mean here what they mean to the agent (package flows); a test asks
// both. It may import api/v1, protobuf and the library that reads selectors of
// labels, nothing else of weir.
package recording
