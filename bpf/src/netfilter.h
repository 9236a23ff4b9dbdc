/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What a netfilter program (6.4) sees: the kernel's own structs. */
#ifndef WEIR_NETFILTER_H
#define WEIR_NETFILTER_H

#include <bpf/bpf_core_read.h>

#include "packet.h"

/* As the kernel's struct bpf_nf_ctx, whose offsets are fixed. */
struct netfilter_context {
	const void *state;
	struct sk_buff___weir *skb;
};

struct sk_buff___weir {
	unsigned long _nfct; /* the connection, and in the low bits how it is met */
	unsigned int len;
	unsigned int data_len; /* of len, what is not linear */
	unsigned int end;      /* an offset, on 64 bits */
	unsigned char *head;
	unsigned char *data;
	unsigned short tc_index;
} __attribute__((preserve_access_index));

struct skb_shared_info___weir {
	unsigned short gso_segs;
} __attribute__((preserve_access_index));

enum netfilter_verdict {
	NETFILTER_DROP = 0,
	NETFILTER_ACCEPT = 1,
};

enum connection_info {
	CONNECTION_REPLY = 3, /* and above, but for the last */
	CONNECTION_UNTRACKED = 7,
};

extern int bpf_dynptr_from_skb(struct __sk_buff *skb, __u64 flags,
			       struct bpf_dynptr *to) __weak __ksym;

/* Any four words: the kernel's verifier wants a type of its own. */
struct in6_addr___weir {
	union {
		__u32 u6_addr32[4];
	} in6_u;
} __attribute__((preserve_access_index));

/* 6.2. Reads of it that fault give 0. */
extern void *bpf_rdonly_cast(const void *object, __u32 type) __weak __ksym;

static __always_inline const struct in6_addr___weir *four_words(const unsigned char *at)
{
	return bpf_rdonly_cast(at, bpf_core_type_id_kernel(struct in6_addr___weir));
}

/* A kernel without the field has no TC either. */
static __always_inline __u16 mark_of(const struct sk_buff___weir *skb)
{
	return bpf_core_field_exists(skb->tc_index) ? skb->tc_index : MARK_CALLS_NODE;
}

/* Conntrack knows it as an answer, and so did from_pod. Its tuple is not that
 * of any entry where the question's source was translated. */
static __always_inline bool is_reply(const struct sk_buff___weir *skb)
{
	unsigned long info;

	if (!bpf_core_field_exists(skb->_nfct) || mark_of(skb) == MARK_CALLS_NODE)
		return false;
	info = skb->_nfct & 7;
	return info >= CONNECTION_REPLY && info != CONNECTION_UNTRACKED;
}

static __always_inline __u32 segments_of_packet(const struct sk_buff___weir *skb)
{
	const struct skb_shared_info___weir *shared = (const void *)(skb->head + skb->end);
	__u16 segments = 0;

	bpf_core_read(&segments, sizeof(segments), &shared->gso_segs);
	return segments ? segments : 1;
}

#endif
