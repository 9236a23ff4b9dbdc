// SPDX-License-Identifier: Apache-2.0

// Package convert turns objects of the Kubernetes API into the model of
// package policy. It reads an object as the API server did when it accepted
// it, and trusts it no further: objects may come from files that no API server
// has seen.
//
// Three outcomes are told apart. An error means that the object as a whole is
// unusable and that there is no model of it. A problem means that one part is
// unusable and was left out; it is a text for people that names the field, the
// value and what to write instead. Of a NetworkPolicy the problems stand in
// the rule that they belong to. Else there is neither.
//
// Leaving a part out never allows more: a rule whose only peer is unusable has
// no peer, which is not the same as AnyPeer, and a policy keeps isolating.
//
// Whoever decodes objects from text must do it strictly. With a lax decoder
// the misspelt "port: [{port: 443}]" in a rule vanishes before this package
// sees it, and leaves a rule without ports, which allows every port.
//
// Maps of labels are shared with the object given, not copied: neither may be
// changed afterwards.
//
// It may import package policy, the API types of Kubernetes (k8s.io/api,
// k8s.io/apimachinery), and k8s.io/utils/net for the API server's own reading
// of addresses.
package convert
