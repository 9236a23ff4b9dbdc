/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* How much may be told to user space. No pod's flood may take the room of
 * another's events, nor more of the reader's time than is set here: each
 * endpoint has two buckets of tokens, one for each ring. What is not told is
 * counted, and drops and totals do not depend on it. */
#ifndef WEIR_LIMITS_H
#define WEIR_LIMITS_H

#include "config.h"
#include "packet.h"

static __always_inline struct ring_stats *stats_of(__u32 ring)
{
	return bpf_map_lookup_elem(&rings, &ring);
}

/* What the bucket holds by now. Two CPUs may fill and take at once, and one of
 * them be forgotten: a few events more are told, but a bucket never holds
 * more than it can, and never less than nothing. */
static __always_inline __u32 tokens_of(const struct bucket *bucket, __u32 rate, __u32 full,
				       __u32 now)
{
	__u32 passed = now - bucket->filled;
	__u64 tokens = bucket->tokens;

	if (!bucket->filled)
		return full;
	/* Another CPU may have written a tick that is ahead of ours. */
	if (passed < -ticks_per_second)
		tokens += (__u64)passed * rate;
	return tokens < full ? tokens : full;
}

/* False: the endpoint has told too much of late. A burst of 0 is no limit. */
static __always_inline bool take_token(__u32 slot, __u32 ring, __u32 now)
{
	struct allowance *allowance = bpf_map_lookup_elem(&allowances, &slot);
	__u32 rate = ring == RING_ALLOWED ? allowed_rate : denied_rate;
	__u32 burst = ring == RING_ALLOWED ? allowed_burst : denied_burst;
	struct bucket *bucket;
	__u32 tokens;

	if (!burst || !allowance)
		return true;
	bucket = ring == RING_ALLOWED ? &allowance->allowed : &allowance->denied;
	tokens = tokens_of(bucket, rate, burst * ticks_per_second, now);
	bucket->filled = now ? now : 1; /* 0 is a bucket that was never used */
	bucket->tokens = tokens < ticks_per_second ? tokens : tokens - ticks_per_second;
	return tokens >= ticks_per_second;
}

/* How full a ring is, in eighths. */
static __always_inline __u32 eighths(void *ring)
{
	return bpf_ringbuf_query(ring, BPF_RB_AVAIL_DATA) >> (ring_order - 3 & 31);
}

/* Of so many allowed flows one is told: 1, and from half full on 2, 4, 8, 16. */
static __always_inline __u32 sample_at(__u32 filled)
{
	return filled < 4 ? 1 : filled > 7 ? 16 : 2U << (filled - 4);
}

#endif
