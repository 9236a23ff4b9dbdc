/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Addresses of 16 bytes, read and written by 32-bit words. */
#ifndef WEIR_ADDRESS_H
#define WEIR_ADDRESS_H

#include <stdbool.h>
#include <linux/types.h>
#include <bpf/bpf_endian.h>

/* may_alias: addresses are declared as bytes. */
typedef __u32 __attribute__((may_alias)) address_word;

static __always_inline __u32 word(const __u8 *address, int index)
{
	return ((const address_word *)address)[index];
}

static __always_inline void set_words(__u8 *address, __u32 a, __u32 b, __u32 c, __u32 d)
{
	address_word *words = (address_word *)address;

	words[0] = a;
	words[1] = b;
	words[2] = c;
	words[3] = d;
}

static __always_inline void set_ipv4(__u8 *address, __be32 v4)
{
	set_words(address, 0, 0, bpf_htonl(0xffff), v4);
}

static __always_inline void copy_address(__u8 *to, const __u8 *from)
{
	set_words(to, word(from, 0), word(from, 1), word(from, 2), word(from, 3));
}

static __always_inline bool same_address(const __u8 *a, const __u8 *b)
{
	return word(a, 0) == word(b, 0) && word(a, 1) == word(b, 1) && word(a, 2) == word(b, 2) &&
	       word(a, 3) == word(b, 3);
}

/* Also the test for a forbidden address in a real IPv6 packet. */
static __always_inline bool is_ipv4(const __u8 *a)
{
	return !word(a, 0) && !word(a, 1) && word(a, 2) == bpf_htonl(0xffff);
}

static __always_inline bool is_ipv4_any(const __u8 *a)
{
	return is_ipv4(a) && !word(a, 3);
}

static __always_inline bool is_broadcast(const __u8 *a)
{
	return is_ipv4(a) && word(a, 3) == 0xffffffff;
}

static __always_inline bool is_multicast(const __u8 *a)
{
	if (is_ipv4(a))
		return (word(a, 3) & bpf_htonl(0xf0000000)) == bpf_htonl(0xe0000000);
	return a[0] == 0xff;
}

static __always_inline bool is_loopback(const __u8 *a)
{
	if (word(a, 0) || word(a, 1))
		return false;
	if (word(a, 2) == bpf_htonl(0xffff))
		return (word(a, 3) & bpf_htonl(0xff000000)) == bpf_htonl(0x7f000000);
	return !word(a, 2) && word(a, 3) == bpf_htonl(1);
}

/* :: */
static __always_inline bool is_unspecified(const __u8 *a)
{
	return !word(a, 0) && !word(a, 1) && !word(a, 2) && !word(a, 3);
}

/* fe80::/10 */
static __always_inline bool is_link_local(const __u8 *a)
{
	return (word(a, 0) & bpf_htonl(0xffc00000)) == bpf_htonl(0xfe800000);
}

/* ff02::/16 */
static __always_inline bool is_link_multicast(const __u8 *a)
{
	return (word(a, 0) & bpf_htonl(0xffff0000)) == bpf_htonl(0xff020000);
}

/* ff02::1:ff00:0/104 */
static __always_inline bool is_solicited_node(const __u8 *a)
{
	return word(a, 0) == bpf_htonl(0xff020000) && !word(a, 1) && word(a, 2) == bpf_htonl(1) &&
	       (word(a, 3) & bpf_htonl(0xff000000)) == bpf_htonl(0xff000000);
}

/* ff02::last */
static __always_inline bool is_well_known(const __u8 *a, __u32 last)
{
	return word(a, 0) == bpf_htonl(0xff020000) && !word(a, 1) && !word(a, 2) &&
	       word(a, 3) == bpf_htonl(last);
}

#endif
