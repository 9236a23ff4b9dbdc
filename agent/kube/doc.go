// SPDX-License-Identifier: Apache-2.0

// Package kube is the agent's way to the API server apart from watching: the
// client, with the agent's own settings, the events that it writes, and the
// questions who a caller is and what he may see.
//
// Of the API server it needs, beside what package watch asks for, the verbs
// create and patch on events (core group), and for readers over the network
// create on tokenreviews and subjectaccessreviews.
//
// It may import client-go and the API types of Kubernetes, and nothing of weir.
package kube
