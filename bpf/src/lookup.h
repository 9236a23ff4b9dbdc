/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Reads of tables that user space writes while programs read.
 *
 * The kernel recycles the elements of a hash under its readers: user space
 * writes endpoint A anew, then B, and B's value lands in the element that a
 * program is still reading for A. So each value begins with its key, which is
 * written before the rest and compared after the reading. What does not match
 * is read once more; if that fails, too, nothing is known of the key, and the
 * packet is denied where it matters. cidrs needs none of this: the trie frees
 * its nodes after a grace period. */
#ifndef WEIR_LOOKUP_H
#define WEIR_LOOKUP_H

#include "address.h"
#include "maps.h"

enum reading {
	READ_ABSENT = 0,
	READ_FOUND = 1,
	READ_MIXED = 2, /* of another key: neither found nor absent */
};

/* local_ips: no endpoint has it. Not 0, which would mean nobody's address. */
static const __u32 OWNER_UNKNOWN = 0xffffffff;

static __always_inline int copy_peer(const __u8 *address, struct peer *to)
{
	const struct peer *found = bpf_map_lookup_elem(&peers, address);

	if (!found)
		return READ_ABSENT;
	*to = *found;
	barrier();
	return same_address(found->address.bytes, address) ? READ_FOUND : READ_MIXED;
}

/* to: zero but when found. */
static __always_inline int read_peer(const __u8 *address, struct peer *to)
{
	int reading = copy_peer(address, to);

	if (reading == READ_MIXED)
		reading = copy_peer(address, to);
	if (reading != READ_FOUND)
		*to = (struct peer){};
	return reading;
}

static __always_inline int copy_endpoint(__u32 ifindex, struct endpoint *to)
{
	const struct endpoint *found = bpf_map_lookup_elem(&endpoints, &ifindex);

	if (!found)
		return READ_ABSENT;
	*to = *found;
	barrier();
	return found->ifindex == ifindex ? READ_FOUND : READ_MIXED;
}

/* to: zero but when found, and zero denies. */
static __always_inline void read_endpoint(__u32 ifindex, struct endpoint *to)
{
	int reading = copy_endpoint(ifindex, to);

	if (reading == READ_MIXED)
		reading = copy_endpoint(ifindex, to);
	if (reading != READ_FOUND)
		*to = (struct endpoint){};
}

static __always_inline __u32 copy_owner(const __u8 *address)
{
	const struct owner *found = bpf_map_lookup_elem(&local_ips, address);
	__u32 ifindex;

	if (!found)
		return 0;
	ifindex = found->ifindex;
	barrier();
	return same_address(found->address.bytes, address) ? ifindex : OWNER_UNKNOWN;
}

/* The veth of the pod that has the address; 0: no pod of this node has it. */
static __always_inline __u32 owner_of(const __u8 *address)
{
	__u32 owner = copy_owner(address);

	return owner == OWNER_UNKNOWN ? copy_owner(address) : owner;
}

#endif
