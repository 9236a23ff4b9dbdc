/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Exact totals of every packet, and of what was denied or audited. Per CPU:
 * both hooks run with softirqs off, so no increment is lost. */
#ifndef WEIR_COUNTERS_H
#define WEIR_COUNTERS_H

#include "packet.h"

static __always_inline void count_total(const struct sight *sight, __u32 reason)
{
	__u32 index = sight->direction * REASON_COUNT + reason;
	struct traffic *traffic = bpf_map_lookup_elem(&counters, &index);

	if (!traffic)
		return;
	traffic->packets += sight->segments;
	traffic->bytes += sight->length;
}

static __always_inline struct traffic *drop_of(const struct drop_key *key)
{
	struct traffic *traffic = bpf_map_lookup_elem(&drops, key);
	struct traffic none = {};

	if (traffic)
		return traffic;
	bpf_map_update_elem(&drops, key, &none, BPF_NOEXIST);
	return bpf_map_lookup_elem(&drops, key);
}

/* Of scalars only: see match_row. ruled: the verdict above 8 bits of reason. */
__noinline int count_drop(__u32 ifindex, __u32 direction, __u32 ruled, __u32 segments, __u32 length)
{
	struct drop_key key = {
		.ifindex = ifindex,
		.direction = direction,
		.reason = ruled & 0xff,
		.verdict = ruled >> 8,
	};
	struct traffic *traffic = drop_of(&key);

	if (!traffic)
		return -1;
	traffic->packets += segments;
	traffic->bytes += length;
	return 0;
}

static __always_inline void count_dropped(const struct sight *sight, __u32 ifindex, __u8 verdict,
					  __u8 reason)
{
	count_drop(ifindex, sight->direction, (__u32)verdict << 8 | reason, sight->segments,
		   sight->length);
}

#endif
