/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Fragments: the verdict on the first one holds for the rest. A later one has
 * no ports, so it makes no flow and asks no policy. */
#ifndef WEIR_FRAGMENTS_H
#define WEIR_FRAGMENTS_H

#include "flowtable.h"
#include "lookup.h"
#include "work.h"

enum fragment_lifetime {
	LIFE_FRAGMENTS = 60, /* seconds */
};

static __always_inline void fragment_key(struct packet *pkt, struct frag_key *key)
{
	key->ifindex = pkt->key.ifindex;
	copy_address(key->src, source_of(pkt));
	copy_address(key->dst, destination_of(pkt));
	key->id = pkt->fragment_id;
	key->protocol = pkt->fragment_protocol;
	key->direction = pkt->sight.direction;
}

static __always_inline bool same_fragments(const struct frag_key *a, const struct frag_key *b)
{
	return a->ifindex == b->ifindex && same_address(a->src, b->src) &&
	       same_address(a->dst, b->dst) && a->id == b->id && a->protocol == b->protocol &&
	       a->direction == b->direction;
}

/* Only what a later fragment could not know by itself: pods that are not
 * isolated need no entries, but for the ports of a tunnel. */
static __always_inline bool is_remembered(const struct packet *pkt, const struct endpoint *ep,
					  const struct ruling *ruling)
{
	return pkt->shape == SHAPE_IP && pkt->part == PART_FIRST && !pkt->headerless &&
	       (set_of(ep, pkt->sight.direction) || ruling->reason == REASON_OVERLAY);
}

static __always_inline int remember_fragment(struct packet *pkt, const struct ruling *ruling)
{
	bool out = pkt->sight.direction == DIR_EGRESS;
	struct frag frag = {
		.seen = pkt->sight.now,
		.epoch = pkt->sight.epoch,
		.sport = out ? pkt->key.local_port : pkt->key.remote_port,
		.dport = out ? pkt->key.remote_port : pkt->key.local_port,
		.verdict = ruling->verdict,
		.reason = ruling->reason,
	};

	if (ruling->verdict == VERDICT_ALLOWED && ruling->counted)
		frag.reason = ruling->counted;
	fragment_key(pkt, &frag.key);
	return bpf_map_update_elem(&fragments, &frag.key, &frag, BPF_ANY);
}

/* What the first fragment left; NULL where that is of another key (lookup.h),
 * of an old policy, or long ago. */
static __always_inline const struct frag *find_first(const struct frag_key *key,
						     const struct sight *sight, struct frag *to)
{
	const struct frag *found = bpf_map_lookup_elem(&fragments, key);

	if (!found)
		return NULL;
	*to = *found;
	barrier();
	if (!same_fragments(&found->key, key) || to->epoch != sight->epoch ||
	    idle_longer(sight->now, to->seen, LIFE_FRAGMENTS))
		return NULL;
	return to;
}

static __always_inline int rule_by_first(struct packet *pkt, const struct endpoint *ep,
					 struct ruling *ruling)
{
	struct frag_key key = {};
	const struct frag *frag;
	struct frag kept;

	fragment_key(pkt, &key);
	frag = find_first(&key, &pkt->sight, &kept);
	/* Forgeries first: they hold for pods without policy too. */
	if (frag && frag->verdict == VERDICT_DENIED)
		return deny(ruling, frag->reason);
	if (is_unpoliced(ep, pkt->sight.direction, ruling))
		return 0;
	/* At offset 8 it would overwrite the flags of the TCP header. */
	if (!frag || (pkt->key.protocol == PROTO_TCP && pkt->fragment_offset == 1)) {
		ruling->set = set_of(ep, pkt->sight.direction);
		deny(ruling, REASON_FRAGMENT);
		apply_mode(ep, ruling);
		return 0;
	}
	ruling->verdict = frag->verdict;
	ruling->reason = frag->reason;
	return 0;
}

/* The verdict on a later fragment. */
__noinline int rule_on_fragment(void)
{
	struct work *work = current_work();

	return work ? rule_by_first(&work->packet, &work->endpoint, &work->ruling) : 0;
}

/* After the verdict on a first fragment. */
__noinline int keep_fragment(void)
{
	struct work *work = current_work();

	if (!work || !is_remembered(&work->packet, &work->endpoint, &work->ruling))
		return 0;
	return remember_fragment(&work->packet, &work->ruling);
}

#endif
