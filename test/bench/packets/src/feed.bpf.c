// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* For benchmarks alone: writes the next tuple into the packet and hands it to
 * the program that is measured, to an empty one, or to one of ../floor. */
#include <linux/bpf.h>
#include <linux/types.h>
#include <stdbool.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

enum feed_limit {
	FEED_OFFSETS = 64, /* offsets into the frame are below this; a power of two */
};

/* User space writes. A tuple has an index: the low bits choose the remote
 * address, the others the port of the side that began. */
struct feed {
	__u64 next;        /* the next index; at random: the state of the generator, not 0 */
	__u32 count;       /* at random: indices are below this; 0: in sequence */
	__u32 shift;       /* 2 to the power of this remote addresses */
	__u32 stride;      /* from one remote address to the next */
	__u32 base;        /* the last four bytes of the first of them, host order */
	__u16 address_at;  /* offset of these four bytes in the frame */
	__u16 ports_at;    /* offset of the two ports */
	__be16 fixed_port; /* network; the port of the side that did not begin */
	__u8 sender_began; /* 1: the sender's port is the one that changes */
	__u8 pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, struct feed);
	__uint(max_entries, 1);
} feeds SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__type(key, __u32);
	__type(value, __u32);
	__uint(max_entries, 1);
} target SEC(".maps");

static __always_inline __u32 next_index(struct feed *feed)
{
	__u64 state = feed->next;

	if (!feed->count) {
		feed->next = state + 1;
		return state;
	}
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	feed->next = state;
	return (state >> 32) * feed->count >> 32;
}

/* Whole words, as the packet has them: the program reads them so, and a load
 * over two stores would wait for both. */
static __always_inline bool write_word(struct __sk_buff *skb, __u16 at, __u32 word)
{
	__u32 *place = (void *)(long)skb->data + (at & (FEED_OFFSETS - 1));

	if ((void *)(place + 1) > (void *)(long)skb->data_end)
		return false;
	*place = word;
	return true;
}

static __always_inline bool write_tuple(struct __sk_buff *skb, const struct feed *feed, __u32 index)
{
	__u32 shift = feed->shift & 31;
	__u32 address = feed->base + (index & ((1U << shift) - 1)) * feed->stride;
	__u32 port = bpf_htons(1024 + (index >> shift));
	__u32 ports = feed->sender_began ? port | (__u32)feed->fixed_port << 16
					 : feed->fixed_port | port << 16;

	return write_word(skb, feed->address_at, bpf_htonl(address)) &&
	       write_word(skb, feed->ports_at, ports);
}

SEC("tc")
int feed_next(struct __sk_buff *skb)
{
	__u32 zero = 0;
	struct feed *feed = bpf_map_lookup_elem(&feeds, &zero);

	if (!feed || !write_tuple(skb, feed, next_index(feed)))
		return 1; /* neither pass nor drop: the benchmark fails */
	bpf_tail_call(skb, &target, 0);
	return 1;
}

char _license[] SEC("license") = "Dual BSD/GPL";
