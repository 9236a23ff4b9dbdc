/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Traffic that configures the pod's network: IGMP, multicast listener
 * discovery, DHCP. It passes whatever the policy is, without events. */
#ifndef WEIR_CONFIGURATION_H
#define WEIR_CONFIGURATION_H

#include "flowtable.h"
#include "source.h"

static __always_inline bool is_group_report(struct packet *pkt)
{
	return pkt->ethertype == bpf_htons(ETHERTYPE_IPV4) && pkt->part == PART_WHOLE &&
	       pkt->key.protocol == PROTO_IGMP && pkt->hop_limit == 1 &&
	       is_multicast(destination_of(pkt));
}

/* Opens the way for the server's answer. */
static __always_inline int remember_dhcp(const struct packet *pkt, __u32 slot)
{
	struct flow *flow = flow_find(&pkt->key);
	struct flow fresh = {
		.first = pkt->sight.now,
		.last_rx = pkt->sight.now,
		.epoch = pkt->sight.epoch,
		.initiator = SIDE_LOCAL,
		.verdict = VERDICT_ALLOWED,
		.reason = REASON_CONFIGURATION,
		.tag = flow_tag(&pkt->key),
	};

	flow_refresh(&fresh, &pkt->sight, PROTO_UDP);
	if (flow)
		*flow = fresh;
	else
		flow_insert(&pkt->key, &fresh, slot);
	return 0;
}

static __always_inline bool answers_dhcp(const struct packet *pkt)
{
	struct flow_key key = {.ifindex = pkt->key.ifindex, .protocol = PROTO_UDP};
	const struct flow *flow;

	if (pkt->ethertype != bpf_htons(ETHERTYPE_IPV4) || pkt->key.protocol != PROTO_UDP ||
	    pkt->part != PART_WHOLE || pkt->key.local_port != bpf_htons(68) ||
	    pkt->key.remote_port != bpf_htons(67))
		return false;
	set_ipv4(key.local, 0);
	set_ipv4(key.remote, 0xffffffff);
	key.local_port = bpf_htons(68);
	key.remote_port = bpf_htons(67);
	flow = flow_find(&key);
	return flow && flow->verdict == VERDICT_ALLOWED &&
	       !idle_longer(pkt->sight.now, flow->last_tx, LIFE_ONE_WAY);
}

__noinline int is_configuration(void)
{
	struct work *work = current_work();
	struct packet *pkt;

	if (!work)
		return false;
	pkt = &work->packet;
	if (is_group_report(pkt) || is_listener_traffic(pkt))
		return true;
	if (pkt->sight.direction == DIR_INGRESS)
		return answers_dhcp(pkt);
	if (!is_dhcp_request(pkt))
		return false;
	remember_dhcp(pkt, work->endpoint.slot);
	return true;
}

#endif
