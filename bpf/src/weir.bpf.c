// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <linux/bpf.h>
#include "maps.h"
#include "config.h"
#include "exports.h"
SEC("tc") int from_pod(struct __sk_buff *skb) { return -1; }
SEC("tc") int to_pod(struct __sk_buff *skb) { return -1; }
char _license[] SEC("license") = "Dual BSD/GPL";
