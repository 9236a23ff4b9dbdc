// SPDX-License-Identifier: Apache-2.0

// Package scenario holds one corpus of scenarios (folder corpus) in a text
// form, and the engines that must agree on each: the oracle, the interpreter
// of the compiled tables, the programs by test run, and real packets between
// network namespaces. It is for tests; it may import every package of weir but
// cmd. Programs and packets need root.
//
// A file holds the scenarios of one line of the semantics, and its name begins
// with the number of that line. One statement a line; a # at the beginning of
// a word begins a comment.
//
//	scenario "TITLE"
//	namespace NAME [KEY=VALUE ...]
//	pod NAMESPACE/NAME [ADDRESS ...] [KEY=VALUE ...] [port=NAME:PROTOCOL:NUMBER ...]
//	    [node=NAME] [hostnetwork] [terminal] [noip]
//	host NAME ADDRESS ...
//	service NAMESPACE/NAME ADDRESS ...
//	policy <<      NetworkPolicies as YAML up to a line >>; apiVersion and
//	               kind may be left out
//	pod <<         Pods as YAML, the same way
//	[ipv4:|ipv6:] SOURCE -> DESTINATION WHAT[,WHAT...] = allow|deny [egress=CAUSE] [ingress=CAUSE] [reply=allow]
//	change: CHANGE [; CHANGE ...]
//
// A pod without address gets the next free ones of its node, of both families.
// SOURCE and DESTINATION are pods, hosts, addresses, or "node", the node of
// the pods without node=. A row is judged in each family that both ends have.
// WHAT is TCP/80, UDP/53, SCTP/3868, UDP/53>4000 (from port 53), ICMP (an echo
// request of the family), or protocol/47.
//
// Policies judge the ends that are pods of this node, the source's egress and
// the destination's ingress, and a row names the CAUSE for each: the deciding
// rule as NAMESPACE/NAME#INDEX, open (not isolated), none (isolated, and no
// rule), node (to or from the pod's own node), self (the pod reaches itself),
// or no-hook (a Service's address on a node without a hook behind the
// translation). reply=allow sends the answer as well, which must pass.
//
// A change is what arrives together, in one batch: any of the statements for
// objects, "delete pod|namespace|policy|service NAME", "relabel pod|namespace
// NAME KEY=VALUE KEY- ...", "move pod NAME ADDRESS ...", "end pod NAME" (it has
// Succeeded). A block (policy <<, pod <<) stands last in its line.
package scenario
