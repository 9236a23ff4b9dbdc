/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The kernel's connection tracking as a witness, where programs may ask it. */
#ifndef WEIR_CONNTRACK_H
#define WEIR_CONNTRACK_H

#include "config.h"
#include "work.h"

/* Not looked into; but a mere declaration does not match the kernel's type. */
struct nf_conn {
	unsigned long status;
} __attribute__((preserve_access_index));

/* The 12 bytes of the first kernels that had it; all later ones take them. */
struct bpf_ct_opts___weir {
	__s32 netns_id;
	__s32 error;
	__u8 l4proto;
	__u8 dir; /* out: of the tuple that was found */
	__u8 reserved[2];
};

enum ct_direction {
	CT_ORIGINAL = 0,
	CT_REPLY = 1,
};

/* 5.18. Never reached without have_conntrack, and then not even verified. */
extern struct nf_conn *bpf_skb_ct_lookup(struct __sk_buff *skb, struct bpf_sock_tuple *tuple,
					 __u32 tuple_size, struct bpf_ct_opts___weir *opts,
					 __u32 opts_size) __weak __ksym;
extern void bpf_ct_release(struct nf_conn *connection) __weak __ksym;

/* The tuple as this side sends it; returns its size. */
static __always_inline __u32 fill_tuple(const struct flow_key *key, __u8 sender,
					struct bpf_sock_tuple *tuple)
{
	bool local = sender == SIDE_LOCAL;
	const __u8 *from = local ? key->local : key->remote;
	const __u8 *to = local ? key->remote : key->local;

	if (is_ipv4(from)) {
		tuple->ipv4.saddr = word(from, 3);
		tuple->ipv4.daddr = word(to, 3);
		tuple->ipv4.sport = local ? key->local_port : key->remote_port;
		tuple->ipv4.dport = local ? key->remote_port : key->local_port;
		return sizeof(tuple->ipv4);
	}
	copy_address((__u8 *)tuple->ipv6.saddr, from);
	copy_address((__u8 *)tuple->ipv6.daddr, to);
	tuple->ipv6.sport = local ? key->local_port : key->remote_port;
	tuple->ipv6.dport = local ? key->remote_port : key->local_port;
	return sizeof(tuple->ipv6);
}

static __always_inline bool is_tracked(struct __sk_buff *skb, const struct flow_key *key,
				       __u8 sender, __u8 direction)
{
	struct bpf_ct_opts___weir opts = {
		.netns_id = BPF_F_CURRENT_NETNS,
		.l4proto = key->protocol,
	};
	struct bpf_sock_tuple tuple = {};
	struct nf_conn *connection;

	/* Two calls: the kernel takes no other size than these constants. */
	if (fill_tuple(key, sender, &tuple) == sizeof(tuple.ipv4))
		connection =
			bpf_skb_ct_lookup(skb, &tuple, sizeof(tuple.ipv4), &opts, sizeof(opts));
	else
		connection =
			bpf_skb_ct_lookup(skb, &tuple, sizeof(tuple.ipv6), &opts, sizeof(opts));
	if (!connection)
		return false;
	bpf_ct_release(connection);
	return opts.dir == direction;
}

/* Conntrack holds the connection, and a packet of this sender answers in it.
 * The packet's own tuple stands in the reply direction before the translation
 * of addresses is undone; after it only the inverse tuple is known, in the
 * original direction. A packet that conntrack itself took up in the middle
 * passes neither test: its own tuple is the original one. */
__noinline int is_tracked_reply(struct __sk_buff *skb, __u32 subject, __u32 sender)
{
	const struct work *work = current_work();
	const struct flow_key *key;

	if (!have_conntrack || !work)
		return false;
	key = subject == SUBJECT_QUOTED ? &work->quoted : &work->packet.key;
	return is_tracked(skb, key, sender, CT_REPLY) ||
	       is_tracked(skb, key, other_side(sender), CT_ORIGINAL);
}

#endif
