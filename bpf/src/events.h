/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Events for user space. Never a wake-up per event: one costs 5,000 to 23,000
 * ns, the event itself 25 to 60. */
#ifndef WEIR_EVENTS_H
#define WEIR_EVENTS_H

#include "config.h"
#include "work.h"

enum record_size {
	RECORD_SIZE = sizeof(struct event) + BPF_RINGBUF_HDR_SZ,
};

/* Spreads every bit of the key over the word (the multiplier is 2^64 divided
 * by the golden ratio). Tuples that collide are told more often than once a
 * second, no more. */
static __always_inline __u64 tag_of(const struct flow_key *key)
{
	const address_word *words = (const address_word *)key;
	__u64 tag = 1;
	int i;

	for (i = 0; i < sizeof(*key) / sizeof(*words); i++)
		tag = (tag ^ words[i]) * 0x9e3779b97f4a7c15ULL;
	return tag;
}

/* The first denial of a tuple is told at once, then one a second, with the
 * number of those between: else a pod that is denied and tries again could
 * fill the ring. False: not now. */
static __always_inline bool may_tell_denial(const struct packet *pkt, __u32 *repeats)
{
	__u64 tag = tag_of(&pkt->key);
	__u32 place = tag >> 32 & (DENIAL_PLACES - 1);
	struct denial *denial = bpf_map_lookup_elem(&denials, &place);

	if (!denial)
		return true;
	if (denial->tag == tag) {
		if (pkt->sight.now - denial->told < ticks_per_second) {
			denial->repeats++;
			return false;
		}
		*repeats = denial->repeats;
	}
	denial->tag = tag;
	denial->told = pkt->sight.now;
	denial->repeats = 0;
	return true;
}

static __always_inline void count_event(__u32 ring, bool lost)
{
	struct ring_stats *stats = bpf_map_lookup_elem(&rings, &ring);

	if (!stats)
		return;
	if (lost)
		stats->lost++;
	else
		stats->emitted++;
}

/* Wakes the reader when this record makes the ring half full, and not again
 * until it has read: it looks at the ring every 50 to 100 ms anyway. */
static __always_inline __u64 wake_flag(void *ring)
{
	__u64 filled = bpf_ringbuf_query(ring, BPF_RB_AVAIL_DATA);
	__u64 half = bpf_ringbuf_query(ring, BPF_RB_RING_SIZE) / 2;

	return filled >= half && filled < half + RECORD_SIZE ? BPF_RB_FORCE_WAKEUP
							     : BPF_RB_NO_WAKEUP;
}

static __always_inline void fill_event(struct event *event, const struct work *work, __u32 repeats)
{
	const struct packet *pkt = &work->packet;
	const struct ruling *ruling = &work->ruling;

	event->time = bpf_ktime_get_ns();
	event->ifindex = pkt->key.ifindex;
	copy_address(event->local, pkt->key.local);
	copy_address(event->remote, pkt->key.remote);
	event->local_port = pkt->key.local_port;
	event->remote_port = pkt->key.remote_port;
	event->protocol = pkt->key.protocol;
	event->kind = ruling->event;
	event->direction = ruling->direction;
	event->verdict = ruling->verdict;
	event->reason = ruling->reason;
	event->initiator = ruling->initiator;
	event->tcp_flags = pkt->sight.tcp_flags;
	event->flow_flags = ruling->flow_flags;
	event->icmp_type = pkt->icmp_type;
	event->icmp_code = pkt->icmp_code;
	event->ethertype = pkt->ethertype;
	event->set = ruling->set;
	event->rule = ruling->rule;
	event->class = ruling->class;
	event->length = pkt->sight.length;
	event->repeats = repeats;
	event->service_port = work->called.service_port;
	event->pad[0] = 0;
	event->pad[1] = 0;
	copy_address(event->service, work->called.service);
	event->pad2 = 0;
}

static __always_inline int emit(void *ring, __u32 index, const struct work *work, __u32 repeats)
{
	struct event *event = bpf_ringbuf_reserve(ring, sizeof(*event), 0);

	count_event(index, !event);
	if (!event)
		return -1;
	fill_event(event, work, repeats);
	bpf_ringbuf_submit(event, wake_flag(ring));
	return 0;
}

__noinline int tell(void)
{
	const struct work *work = current_work();
	__u32 repeats = 0;

	if (!work)
		return -1;
	if (work->ruling.verdict == VERDICT_ALLOWED)
		return emit(&events_allowed, RING_ALLOWED, work, 0);
	/* A cut of a live flow is told in any case. */
	if (work->ruling.verdict == VERDICT_DENIED && work->ruling.event == EVENT_NEW &&
	    !may_tell_denial(&work->packet, &repeats))
		return 0;
	return emit(&events_denied, RING_DENIED, work, repeats);
}

#endif
