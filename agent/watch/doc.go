// SPDX-License-Identifier: Apache-2.0

// Package watch hands the objects that policy is made of to the agent: as
// batches of changes in the model of package policy, in the order in which
// they became true, and the faults that it found on the way as Problems.
//
// A Source is one of two back ends:
//
//   - Directory reads manifests from files. It needs no cluster.
//   - Kubernetes watches the API server. Nothing but this package, agent/kube
//     and cmd/weir/kube may import client-go.
//
// Both know what they handed on (ledger), so a batch holds only what differs.
//
// What the API server is asked for: Namespaces, Pods, NetworkPolicies, Services
// and EndpointSlices of the whole cluster, and the own Node alone, of which only
// that it is there counts. One reflector of client-go for each (streaming lists
// where the server has them, protobuf) lays down what it is told, already as
// the model has it; what came within a millisecond is one Batch. There are no
// informers with caches of their own, since nobody would read them.
//
// While the API server is away the last state stays in force, and Connection
// tells so. When it is back, what changed meanwhile is one list's difference.
//
// What a directory holds. Files whose names end in .yaml, .yml or .json, in
// the directory and in its subdirectories at any depth; names that begin with
// a dot are skipped, symbolic links to directories are not followed (other
// than the directory itself), links to files are. Volumes of ConfigMaps, with
// their link "..data", are seen to change at once; a link whose target lies
// elsewhere only by the next rescan. A file may hold several documents, and
// lists (List, PodList, ...). Kinds: Namespace, Pod (with status.podIPs),
// Service, NetworkPolicy, EndpointSlice; others are reported and skipped. An
// object without a namespace is in "default".
//
// How to change one. Write a file beside it and rename(2) it over: then the
// old content or the new holds, never a part. Files that are renamed in one
// burst arrive as one Batch. A file that is written in place is not read as
// long as a writer holds it open.
//
// What a fault does. An object is gone only if its file is gone, or was read
// completely without it. Whatever cannot be read leaves in force what was
// there before; that survives a restart of the agent through the state
// directory. Only the file where an object has never been good yields
// nothing for it, and Health tells so.
//
// It may import packages policy and policy/convert, the API types of
// Kubernetes, client-go (for the second back end), logr, fsnotify and YAML.
package watch
