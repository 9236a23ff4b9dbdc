/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What policy says of a tuple: peer -> class -> row -> interval. Knows of no
 * packet and no flow entry. */
#ifndef WEIR_VERDICT_H
#define WEIR_VERDICT_H

#include "config.h"
#include "lookup.h"
#include "work.h"

/* Where a packet to a pod came from; no address tells this. */
enum arrival {
	ARRIVED_OTHERWISE = 0,
	ARRIVED_FROM_STACK = 1, /* no ingress device: this node made it */
	ARRIVED_FROM_POD = 2,   /* the veth that it goes back to */
};

/* What match_page found; the rule's id is in the low 32 bits. */
static const __u64 MATCH_ROW = 1ULL << 32;    /* a row, so no other is looked for */
static const __u64 MATCH_RULE = 1ULL << 33;   /* a rule for the port */
static const __u64 MATCH_ALLOWS = 1ULL << 34; /* its action */
static const __u64 MATCH_MORE = 1ULL << 35;   /* the next page may hold the port */

enum search {
	SEARCH_ON = -1,   /* the next page may hold it */
	SEARCH_OVER = -2, /* no page holds it */
};

static __always_inline bool is_row(const struct row *row, const struct row_key *key)
{
	const volatile struct row_key *got = &row->key;

	return got->set == key->set && got->class == key->class && got->protocol == key->protocol &&
	       got->page == key->page;
}

/* The index of the interval that holds the port, or one of enum search. */
static __always_inline int find_interval(const struct row *row, __u16 port)
{
	__u32 last = row->count - 1;
	int i;

	if (last < ROW_INTERVALS && row->intervals[last].hi < port)
		return SEARCH_ON;
	for (i = 0; i < ROW_INTERVALS; i++) {
		if (i >= row->count)
			return SEARCH_ON;
		if (port < row->intervals[i].lo)
			return SEARCH_OVER;
		if (port <= row->intervals[i].hi)
			return i;
	}
	return SEARCH_ON;
}

static __always_inline __u64 match_of(const struct interval *found)
{
	return found->rule | MATCH_ROW | MATCH_RULE |
	       (found->action == ACTION_ALLOW ? MATCH_ALLOWS : 0);
}

/* Reads one page of a row. The key is compared after the reading: before it
 * would prove nothing about an element recycled meanwhile. Of scalars only, so
 * that the verifier walks the search once, and not for each page and caller. */
__noinline __u64 match_page(__u32 set, __u32 class, __u32 protocol, __u32 page, __u32 port)
{
	struct row_key key = {.set = set, .class = class, .protocol = protocol, .page = page};
	const struct row *row = bpf_map_lookup_elem(&rows, &key);
	struct interval found = {};
	__u64 more;
	int i;

	if (!row)
		return 0;
	i = find_interval(row, port);
	if (i >= 0 && i < ROW_INTERVALS)
		found = row->intervals[i];
	more = i == SEARCH_ON && row->more ? MATCH_MORE : 0;
	barrier();
	if (!is_row(row, &key))
		return 0;
	return i >= 0 ? match_of(&found) : MATCH_ROW | more;
}

/* A page that is missing behind another one matches nothing. */
__noinline __u64 match_row(__u32 set, __u32 class, __u32 protocol, __u32 port)
{
	__u64 match = 0;
	int page;

	for (page = 0; page < ROW_PAGES; page++) {
		__u64 found = match_page(set, class, protocol, page, port);

		match |= found & ~MATCH_MORE;
		if (!(found & MATCH_MORE))
			break;
	}
	return match;
}

static __always_inline __u64 match_class(__u32 set, __u32 class, __u8 protocol, __u16 port)
{
	__u64 match = match_row(set, class, protocol, port);

	return match || !protocol ? match : match_row(set, class, 0, port);
}

static __always_inline __u32 class_of_block(const __u8 *address)
{
	struct cidr_key key = {.prefix_len = 128};
	const __u32 *class;

	copy_address(key.addr, address);
	class = bpf_map_lookup_elem(&cidrs, &key);
	return class ? *class : 0;
}

/* The port that the initiator called. */
static __always_inline __be16 called_port(const struct flow_key *key, __u32 direction)
{
	if (!has_ports(key->protocol))
		return 0;
	return direction == DIR_EGRESS ? key->remote_port : key->local_port;
}

static __always_inline bool is_translated_port(const struct flow_key *key)
{
	struct port_key port = {.port = key->remote_port, .protocol = key->protocol};

	return has_ports(key->protocol) && bpf_map_lookup_elem(&translated, &port);
}

static __always_inline bool is_translated(const struct flow_key *key, __u32 peer_flags)
{
	return peer_flags & PEER_SERVICE || (peer_flags & PEER_NODE && is_translated_port(key));
}

/* An isolated pod calls a Service or this node. True: the ruling is complete. */
static __always_inline bool rule_on_node(const struct flow_key *key, __u32 peer_flags,
					 struct ruling *ruling)
{
	bool moves = is_translated(key, peer_flags);

	if (!moves && !(peer_flags & PEER_NODE))
		return false;
	if (peer_flags & PEER_NODE)
		ruling->flow_flags = FLOW_CALLS_NODE;
	if (!moves && (!have_forward_hook || !has_ports(key->protocol))) {
		allow(ruling, REASON_TO_NODE);
	} else if (have_forward_hook) {
		ruling->flow_flags |= FLOW_DEFERRED;
		allow(ruling, REASON_DEFERRED);
	} else {
		deny(ruling, REASON_NO_HOOK);
	}
	return true;
}

/* Rows of an isolated endpoint. */
static __always_inline int rule_by_rows(const struct endpoint *ep, const struct flow_key *key,
					__u32 direction, struct ruling *ruling)
{
	__u8 any = direction == DIR_INGRESS ? EP_INGRESS_ANY : EP_EGRESS_ANY;
	__u16 port = bpf_ntohs(called_port(key, direction));
	__u64 match = 0;

	if (ruling->class)
		match = match_class(ruling->set, ruling->class, key->protocol, port);
	if (!match && ep->flags & any)
		match = match_class(ruling->set, 0, key->protocol, port);
	if (!(match & MATCH_RULE))
		return deny(ruling, REASON_NO_RULE);
	ruling->rule = (__u32)match;
	return match & MATCH_ALLOWS ? allow(ruling, REASON_RULE) : deny(ruling, REASON_DENY_RULE);
}

/* The pod is a backend of the Service that it calls. */
static __always_inline bool is_hairpin(const struct flow_key *key)
{
	return owner_of(key->remote) == key->ifindex;
}

static __always_inline int rule_on_key(const struct endpoint *ep, const struct flow_key *key,
				       __u32 direction, __u32 arrival, bool final,
				       struct ruling *ruling)
{
	struct peer peer;
	int reading = read_peer(key->remote, &peer);

	ruling->class = peer.class;
	if (arrival == ARRIVED_FROM_POD ||
	    (arrival == ARRIVED_FROM_STACK && peer.flags & PEER_NODE)) {
		ruling->flow_flags = FLOW_STICKY;
		return allow(ruling,
			     arrival == ARRIVED_FROM_POD ? REASON_OWN_TRAFFIC : REASON_FROM_NODE);
	}
	if (is_unpoliced(ep, direction, ruling)) {
		if (direction == DIR_EGRESS && !final && is_translated(key, peer.flags))
			ruling->flow_flags = FLOW_DEFERRED;
		return 0;
	}
	if (reading == READ_MIXED)
		return deny(ruling, REASON_NOT_READY);
	if (direction == DIR_EGRESS && final && is_hairpin(key))
		return allow(ruling, REASON_OWN_TRAFFIC);
	if (direction == DIR_EGRESS && !final && rule_on_node(key, peer.flags, ruling)) {
		if (ruling->reason == REASON_NO_HOOK)
			ruling->set = ep->set_egress;
		return 0;
	}
	if (reading == READ_ABSENT)
		ruling->class = class_of_block(key->remote);
	ruling->set = set_of(ep, direction);
	return rule_by_rows(ep, key, direction, ruling);
}

/* The verdict on a flow that begins in this direction, before audit. The
 * ruling is written anew, but for who is said to have begun. */
__noinline int rule_on(__u32 subject, __u32 direction, __u32 arrival)
{
	struct work *work = current_work();
	const struct flow_key *key;

	if (!work)
		return 0;
	work->ruling = (struct ruling){
		.direction = direction,
		.initiator = work->ruling.initiator,
	};
	key = subject == SUBJECT_QUOTED ? &work->quoted : &work->packet.key;
	return rule_on_key(&work->endpoint, key, direction,
			   direction == DIR_INGRESS ? arrival : ARRIVED_OTHERWISE, work->translated,
			   &work->ruling);
}

#endif
