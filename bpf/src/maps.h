/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The maps. Sizes here are the smallest that load; the loader sets the real
 * ones from the agent's options. Who writes is said at each. */
#ifndef WEIR_MAPS_H
#define WEIR_MAPS_H

#include <bpf/bpf_helpers.h>

#include "types.h"

/* User space writes; the ifindex of a host veth -> its policy sets. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, __u32);
	__type(value, struct endpoint);
	__uint(max_entries, 1024);
} endpoints SEC(".maps");

/* User space writes; a pod's address -> the ifindex that may send from it. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, struct address);
	__type(value, struct owner);
	__uint(max_entries, 4096);
} local_ips SEC(".maps");

/* User space writes. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, struct address);
	__type(value, struct peer);
	__uint(max_entries, 65536);
} peers SEC(".maps");

/* User space writes; looked up only after a miss in peers. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__type(key, struct cidr_key);
	__type(value, __u32);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
} cidrs SEC(".maps");

/* User space writes. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, struct row_key);
	__type(value, struct row);
	__uint(max_entries, 65536);
} rows SEC(".maps");

/* User space writes, through its memory: how often it has written one of the
 * tables above, or those of ports below. Never 0 once it has. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, __u32);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE); /* 5.5 */
} revision SEC(".maps");

/* Programs write, user space deletes what has expired. Each endpoint has a
 * guaranteed share (flow_limit); beyond it, or when this is full, flows go to
 * flows_spill. So one pod's flood evicts nobody's flow from here. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, struct flow_key);
	__type(value, struct flow);
	__uint(max_entries, 65536);
} flows SEC(".maps");

/* Programs write. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__type(key, struct flow_key);
	__type(value, struct flow);
	__uint(max_entries, 16384);
} flows_spill SEC(".maps");

/* Programs write (atomic add); slot -> entries ever made in flows. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, __u64);
	__uint(max_entries, 1024);
} flow_usage SEC(".maps");

/* User space writes; slot -> the value of flow_usage up to which the endpoint
 * may make entries. The sweep raises it by what it deleted. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, __u64);
	__uint(max_entries, 1024);
} flow_limit SEC(".maps");

/* Programs write. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__type(key, struct frag_key);
	__type(value, struct frag);
	__uint(max_entries, 4096);
} fragments SEC(".maps");

/* Programs write: from_pod what an isolated pod calls before translation,
 * forward reads it after. A pod that calls two Services from one port of its
 * own at once leaves the name of the last. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__type(key, struct caller);
	__type(value, struct called);
	__uint(max_entries, 16384);
} deferred SEC(".maps");

/* User space writes: node ports and host ports. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, struct port_key);
	__type(value, __u8);
	__uint(max_entries, 8192);
} translated SEC(".maps");

/* User space writes: UDP ports of the node's tunnels. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, struct port_key);
	__type(value, __u8);
	__uint(max_entries, 64);
} tunnels SEC(".maps");

/* Programs write; (direction * REASON_COUNT + reason) -> every packet. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, struct traffic);
	__uint(max_entries, 2 * REASON_COUNT);
} counters SEC(".maps");

/* Programs write; packets denied and audited. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__type(key, struct drop_key);
	__type(value, struct traffic);
	__uint(max_entries, 8192);
} drops SEC(".maps");

/* Programs write, user space reads: struct event. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} events_allowed SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} events_denied SEC(".maps");

/* Programs write; the hash of a denied tuple -> when it was last told. A
 * newcomer takes the place of another tuple with the same index, whose next
 * denial is then told at once. An array: a denial costs one lookup without a
 * lock, and no flood can make it fail. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, struct denial);
	__uint(max_entries, DENIAL_PLACES);
} denials SEC(".maps");

/* Programs write; place for place with denials, and apart from it: most packets
 * that ask for a denial find none. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, struct denied);
	__uint(max_entries, DENIAL_PLACES);
} denied_tuples SEC(".maps");

/* Programs write: the tick of the last entry in denied_tuples. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, __u32);
	__uint(max_entries, 1);
} last_denied SEC(".maps");

/* Programs write; slot -> what the endpoint may still tell. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, struct allowance);
	__uint(max_entries, 1024);
} allowances SEC(".maps");

/* Programs write; by enum ring. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, struct ring_stats);
	__uint(max_entries, RING_COUNT);
} rings SEC(".maps");

/* User space writes, and only upwards; shared by old and new programs. A flow
 * entry of another epoch is judged again. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, __u32);
	__uint(max_entries, 1);
} epoch SEC(".maps");

/* User space alone: the high-water marks of its ids and slots, so that a new
 * agent never gives an id that an entry still carries. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, __u64);
	__uint(max_entries, 8);
} marks SEC(".maps");

#endif
