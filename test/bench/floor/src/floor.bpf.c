// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* What the kernel takes for the operations that a case cannot do without, on
 * tables like weir's, with its keys, values and events: the lookup of the flow,
 * its counters or its entry, the event. No policy, no checks. A program that
 * tracks flows in such tables cannot be faster than these; one that rules on
 * what begins by tables like weir's, than those named "ruled".
 *
 * Those of single cases return PASS, or FAILED if an operation did not do what
 * the case is about. Those for real traffic take what comes. */
#include <linux/bpf.h>
#include <linux/types.h>
#include <stdbool.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "../../../../bpf/src/types.h"

enum floor_outcome {
	PASS = -1, /* TCX_NEXT */
	FAILED = 1,
	DROP = 2, /* TC_ACT_SHOT */
};

enum floor_offset {
	FLOOR_L3 = 14,
	FLOOR_READ_IPV4 = FLOOR_L3 + 20 + 4, /* to the end of the ports */
	FLOOR_READ_IPV6 = FLOOR_L3 + 40 + 4,
};

enum floor_errno {
	EXISTS = 17,
};

/* Who loads this gives maps of weir's, or sets the sizes. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, struct flow_key);
	__type(value, struct flow);
	__uint(max_entries, 1);
} flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__type(key, struct flow_key);
	__type(value, struct flow);
	__uint(max_entries, 1);
} flows_spill SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} events_allowed SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__type(key, struct drop_key);
	__type(value, struct traffic);
	__uint(max_entries, 1);
} drops SEC(".maps");

/* Of weir's, with a policy of one row for each class. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, __u32);
	__type(value, struct endpoint);
	__uint(max_entries, 1);
} endpoints SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, struct address);
	__type(value, struct owner);
	__uint(max_entries, 1);
} local_ips SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, struct address);
	__type(value, struct peer);
	__uint(max_entries, 1);
} peers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, struct row_key);
	__type(value, struct row);
	__uint(max_entries, 1);
} rows SEC(".maps");

/* out: from the pod. */
static __always_inline bool read_key(struct __sk_buff *skb, struct flow_key *key, bool out)
{
	const void *data = (void *)(long)skb->data, *data_end = (void *)(long)skb->data_end;
	const __u32 *l3 = data + FLOOR_L3;
	__u32 *source = (void *)(out ? key->local : key->remote);
	__u32 *destination = (void *)(out ? key->remote : key->local);
	__u32 ports;
	int i;

	__builtin_memset(key, 0, sizeof(*key));
	if (data + FLOOR_READ_IPV4 > data_end)
		return false;
	key->ifindex = skb->ifindex;
	if (*(const __u8 *)l3 == 0x45) {
		key->protocol = ((const __u8 *)l3)[9];
		source[2] = destination[2] = bpf_htonl(0xffff);
		source[3] = l3[3];
		destination[3] = l3[4];
		ports = l3[5];
	} else {
		if (data + FLOOR_READ_IPV6 > data_end)
			return false;
		key->protocol = ((const __u8 *)l3)[6];
		for (i = 0; i < 4; i++) {
			source[i] = l3[2 + i];
			destination[i] = l3[6 + i];
		}
		ports = l3[10];
	}
	*(__u32 *)&key->local_port = out ? ports : ports >> 16 | ports << 16;
	return true;
}

static __always_inline void count_floor(struct __sk_buff *skb, struct flow *flow, bool out)
{
	if (out) {
		flow->tx_packets++;
		flow->tx_bytes += skb->len;
		flow->last_tx = bpf_jiffies64();
	} else {
		flow->rx_packets++;
		flow->rx_bytes += skb->len;
		flow->last_rx = bpf_jiffies64();
	}
}

static __always_inline bool tell_floor(const struct flow_key *key)
{
	struct event *event = bpf_ringbuf_reserve(&events_allowed, sizeof(*event), 0);

	if (!event)
		return false;
	__builtin_memset(event, 0, sizeof(*event));
	event->time = bpf_ktime_get_ns();
	__builtin_memcpy(event->local, key->local, sizeof(event->local));
	__builtin_memcpy(event->remote, key->remote, sizeof(event->remote));
	bpf_ringbuf_submit(event, BPF_RB_NO_WAKEUP);
	return true;
}

SEC("tc")
int floor_known(struct __sk_buff *skb)
{
	struct flow_key key;
	struct flow *flow;

	if (!read_key(skb, &key, true))
		return FAILED;
	flow = bpf_map_lookup_elem(&flows, &key);
	if (!flow)
		return FAILED;
	count_floor(skb, flow, true);
	return PASS;
}

SEC("tc")
int floor_new(struct __sk_buff *skb)
{
	struct flow fresh = {.verdict = VERDICT_ALLOWED};
	struct flow_key key;

	if (!read_key(skb, &key, true) || bpf_map_lookup_elem(&flows, &key) ||
	    bpf_map_update_elem(&flows, &key, &fresh, BPF_NOEXIST))
		return FAILED;
	return tell_floor(&key) ? PASS : FAILED;
}

SEC("tc")
int floor_evicting(struct __sk_buff *skb)
{
	struct flow fresh = {.verdict = VERDICT_ALLOWED};
	struct flow_key key;

	if (!read_key(skb, &key, true) || bpf_map_lookup_elem(&flows, &key) ||
	    bpf_map_lookup_elem(&flows_spill, &key) ||
	    bpf_map_update_elem(&flows_spill, &key, &fresh, BPF_ANY))
		return FAILED;
	return tell_floor(&key) ? PASS : FAILED;
}

static __always_inline bool count_denied(struct __sk_buff *skb)
{
	struct drop_key key = {
		.ifindex = skb->ifindex, .direction = DIR_EGRESS, .reason = REASON_NO_RULE};
	struct traffic *traffic = bpf_map_lookup_elem(&drops, &key);

	if (!traffic)
		return false;
	traffic->packets++;
	traffic->bytes += skb->len;
	return true;
}

SEC("tc")
int floor_denied(struct __sk_buff *skb)
{
	struct flow_key key;

	if (!read_key(skb, &key, true) || bpf_map_lookup_elem(&flows, &key) || !count_denied(skb))
		return FAILED;
	return tell_floor(&key) ? PASS : FAILED;
}

SEC("tc")
int floor_repeat(struct __sk_buff *skb)
{
	struct flow_key key;

	if (!read_key(skb, &key, true) || bpf_map_lookup_elem(&flows, &key))
		return FAILED;
	return count_denied(skb) ? PASS : FAILED;
}

/* What a policy asks about a packet from a pod: which sets the pod has, whose
 * the source is, which class the peer is of, and what the set says of it. That
 * the row is there is enough: none of its ports is compared. */
static __always_inline bool find_row(const struct flow_key *key)
{
	const struct endpoint *ep = bpf_map_lookup_elem(&endpoints, &key->ifindex);
	const struct owner *owner = bpf_map_lookup_elem(&local_ips, key->local);
	const struct peer *peer = bpf_map_lookup_elem(&peers, key->remote);
	struct row_key row = {.protocol = key->protocol};

	if (!ep || !owner || owner->ifindex != key->ifindex || !peer)
		return false;
	row.set = ep->set_egress;
	row.class = peer->class;
	return bpf_map_lookup_elem(&rows, &row);
}

/* In neither table of flows, and with a row. */
static __always_inline bool begins(struct __sk_buff *skb, struct flow_key *key)
{
	return read_key(skb, key, true) && !bpf_map_lookup_elem(&flows, key) &&
	       !bpf_map_lookup_elem(&flows_spill, key) && find_row(key);
}

SEC("tc")
int floor_new_ruled(struct __sk_buff *skb)
{
	struct flow fresh = {.verdict = VERDICT_ALLOWED};
	struct flow_key key;

	if (!begins(skb, &key) || bpf_map_update_elem(&flows, &key, &fresh, BPF_NOEXIST))
		return FAILED;
	return tell_floor(&key) ? PASS : FAILED;
}

SEC("tc")
int floor_evicting_ruled(struct __sk_buff *skb)
{
	struct flow fresh = {.verdict = VERDICT_ALLOWED};
	struct flow_key key;

	if (!begins(skb, &key) || bpf_map_update_elem(&flows_spill, &key, &fresh, BPF_ANY))
		return FAILED;
	return tell_floor(&key) ? PASS : FAILED;
}

SEC("tc")
int floor_denied_ruled(struct __sk_buff *skb)
{
	struct flow_key key;

	if (!begins(skb, &key) || !count_denied(skb))
		return FAILED;
	return tell_floor(&key) ? PASS : FAILED;
}

/* Every packet has its entry: found, or made and told of. */
static __always_inline int track(struct __sk_buff *skb, bool out)
{
	struct flow fresh = {.verdict = VERDICT_ALLOWED};
	struct flow_key key;
	struct flow *flow;
	long err;

	if (!read_key(skb, &key, out))
		return PASS; /* ARP */
	flow = bpf_map_lookup_elem(&flows, &key);
	if (flow) {
		count_floor(skb, flow, out);
		return PASS;
	}
	err = bpf_map_update_elem(&flows, &key, &fresh, BPF_NOEXIST);
	if (err && err != -EXISTS)
		return DROP; /* the benchmark fails: it would measure less */
	return tell_floor(&key) ? PASS : DROP;
}

SEC("tc")
int floor_from_pod(struct __sk_buff *skb)
{
	return track(skb, true);
}

SEC("tc")
int floor_to_pod(struct __sk_buff *skb)
{
	return track(skb, false);
}

char _license[] SEC("license") = "Dual BSD/GPL";
