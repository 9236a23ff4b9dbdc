/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Events for user space. Never a wake-up per event: one costs 5,000 to 23,000
 * ns, the event itself 25 to 60. */
#ifndef WEIR_EVENTS_H
#define WEIR_EVENTS_H

#include "denials.h"

enum record_size {
	RECORD_SIZE = sizeof(struct event) + BPF_RINGBUF_HDR_SZ,
};

/* Wakes the reader when this record makes the ring half full, and not again
 * until it has read: it looks at the ring every 50 to 100 ms anyway. */
static __always_inline __u64 wake_flag(void *ring)
{
	__u64 filled = bpf_ringbuf_query(ring, BPF_RB_AVAIL_DATA);
	__u64 half = 1ULL << (ring_order - 1 & 31);

	return filled >= half && filled < half + RECORD_SIZE ? BPF_RB_FORCE_WAKEUP
							     : BPF_RB_NO_WAKEUP;
}

static __always_inline void fill_event(struct event *event, const struct work *work, __u32 repeats,
				       __u32 sample)
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
	event->sample = sample;
	copy_address(event->service, work->called.service);
	event->pad = 0;
}

static __always_inline int emit(void *ring, struct ring_stats *stats, const struct work *work,
				__u32 repeats, __u32 sample)
{
	struct event *event = bpf_ringbuf_reserve(ring, sizeof(*event), 0);

	if (!event) {
		stats->lost++;
		return -1;
	}
	stats->emitted++;
	fill_event(event, work, repeats, sample);
	bpf_ringbuf_submit(event, wake_flag(ring));
	return 0;
}

static __always_inline int tell_allowed(const struct work *work, struct ring_stats *stats)
{
	__u32 sample = 1;

	/* What a policy change did to a live flow is told in any case. */
	if (work->ruling.event == EVENT_NEW) {
		sample = sample_at(eighths(&events_allowed));
		if (sample > 1 && bpf_get_prandom_u32() & (sample - 1)) {
			stats->thinned++;
			return 0;
		}
		if (!take_token(work->endpoint.slot, RING_ALLOWED, work->packet.sight.now)) {
			stats->limited++;
			return 0;
		}
	}
	return emit(&events_allowed, stats, work, 0, sample);
}

/* The first denial of a tuple is told at once, then one a second, with the
 * number of those between: else a pod that is denied and tries again could
 * fill the ring. A ring that is filling up keeps its last quarter for tuples
 * that it has not met. */
static __always_inline int tell_denial(const struct work *work, struct ring_stats *stats)
{
	__u32 now = work->packet.sight.now;
	__u64 tag = tag_of(&work->packet.key);
	struct denial *denial = denial_at(tag);
	__u32 repeats = 0;
	bool again;

	if (!denial)
		return -1;
	again = denial->tag == tag;
	if (is_told(denial, tag, now)) {
		count_untold(denial, stats);
		return work->ruling.lasting ? keep_denied(work, tag) : 0;
	}
	if (again)
		repeats = denial->repeats;
	if (again && eighths(&events_denied) >= 6) {
		denial->told = now;
		denial->repeats = repeats + 1;
		stats->thinned++;
		return 0;
	}
	if (!take_token(work->endpoint.slot, RING_DENIED, now)) {
		owe(denial, tag, repeats, now);
		stats->limited++;
		return 0;
	}
	if (emit(&events_denied, stats, work, repeats, 1)) {
		owe(denial, tag, repeats, now);
		return -1;
	}
	denial->tag = tag;
	denial->told = now;
	denial->repeats = 0;
	return 0;
}

__noinline int tell(void)
{
	const struct work *work = current_work();
	struct ring_stats *stats;
	bool allowed;

	if (!work)
		return -1;
	allowed = work->ruling.verdict == VERDICT_ALLOWED;
	stats = stats_of(allowed ? RING_ALLOWED : RING_DENIED);
	if (!stats)
		return -1;
	if (allowed)
		return tell_allowed(work, stats);
	/* A cut of a live flow is told in any case, too. */
	if (work->ruling.event != EVENT_NEW)
		return emit(&events_denied, stats, work, 0, 1);
	if (work->ruling.verdict == VERDICT_DENIED)
		return tell_denial(work, stats);
	if (take_token(work->endpoint.slot, RING_DENIED, work->packet.sight.now))
		return emit(&events_denied, stats, work, 0, 1);
	stats->limited++;
	return 0;
}

#endif
