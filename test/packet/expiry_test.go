// SPDX-License-Identifier: Apache-2.0

package packet

import "testing"

func TestExpiry(t *testing.T) {
	sealed := func(w *world) { w.sets(setNone, setOut) }
	// Strict, as otherwise TCP is taken up again in the middle where the rules of
	// the other direction allow it.
	m := machine(t, func(o *Options) { o.MidstreamStrict = true })
	table(t, m, func(f family) []row {
		ask, answer := f.udp("A:1000", "C:53"), f.udp("C:53", "A:1000")
		syn, synAck, ack := f.tcp("A:1000", "C:80", "S"), f.tcp("C:80", "A:1000", "SA"), f.tcp("C:80", "A:1000", "A")
		fin, finBack, rst := f.tcp("A:1000", "C:80", "FA"), f.tcp("C:80", "A:1000", "FA"), f.tcp("A:1000", "C:80", "R")
		rstBack := f.tcp("C:80", "A:1000", "R")
		return []row{
			{"UDP, answer in time", sealed, []step{out(ask, "allowed rule new"), idle(28), in(answer, "allowed reply")}},
			{"UDP, answer too late", sealed, []step{out(ask, "allowed rule new"), idle(31), in(answer, "denied no-rule")}},
			{"UDP, answered", sealed, []step{out(ask, "allowed rule new"), in(answer, "allowed reply"), idle(178), in(answer, "allowed reply")}},
			{"UDP, answered, too late", sealed, []step{out(ask, "allowed rule new"), in(answer, "allowed reply"), idle(181), in(answer, "denied no-rule")}},
			{"UDP, answers do not keep it open", sealed, []step{out(ask, "allowed rule new"), in(answer, "allowed reply"), idle(100), in(answer, "allowed reply"), idle(100), in(answer, "denied no-rule")}},
			{"UDP, the pod does", sealed, []step{out(ask, "allowed rule new"), in(answer, "allowed reply"), idle(100), out(ask, "allowed established"), idle(100), in(answer, "allowed reply")}},
			{"UDP, the pod begins again", sealed, []step{out(ask, "allowed rule new"), idle(1000), out(ask, "allowed ..."), idle(28), in(answer, "allowed reply")}},
			{"UDP, to the pod, answer too late", func(w *world) { w.sets(setIn, setNone) }, []step{in(f.udp("C:9", "A:5000"), "allowed rule new"), idle(31), out(f.udp("A:5000", "C:9"), "denied no-rule")}},
			{"SCTP as UDP", sealed, []step{out(f.sctp("A:9", "C:3868"), "allowed rule new"), idle(31), in(f.sctp("C:3868", "A:9"), "denied no-rule")}},
			{"ESP as UDP", sealed, []step{out(f.other("A", "O", 50), "allowed rule new"), idle(31), in(f.other("O", "A", 50), "denied no-rule")}},
			{"echo, in time", sealed, []step{out(f.echo("A", "O", 7), "allowed rule new"), idle(28), in(f.reply("O", "A", 7), "allowed reply")}},
			{"echo, too late though answered", sealed, []step{out(f.echo("A", "O", 7), "allowed rule new"), in(f.reply("O", "A", 7), "allowed reply"), idle(31), in(f.reply("O", "A", 7), "denied no-rule")}},

			{"TCP, open, a day later", sealed, []step{out(syn, "allowed rule new"), in(synAck, "allowed reply"), idle(86400), in(ack, "allowed reply")}},
			{"TCP, not answered", sealed, []step{out(syn, "allowed rule new"), idle(118), in(synAck, "allowed reply")}},
			{"TCP, not answered, too late", sealed, []step{out(syn, "allowed rule new"), idle(121), in(f.tcp("C:80", "A:1000", "A"), "denied no-rule")}},
			{"TCP, FIN from one side does not close", sealed, []step{out(syn, "allowed rule new"), in(synAck, "allowed reply"), out(fin, "allowed established"), idle(3600), in(ack, "allowed reply")}},
			{"TCP, FIN from both closes", sealed, []step{out(syn, "allowed rule new"), in(synAck, "allowed reply"), out(fin, "allowed established"), in(finBack, "allowed reply"), idle(118), in(ack, "allowed reply")}},
			{"TCP, FIN from both, too late", sealed, []step{out(syn, "allowed rule new"), in(synAck, "allowed reply"), out(fin, "allowed established"), in(finBack, "allowed reply"), idle(121), in(ack, "denied no-rule")}},
			{"TCP, reset by the pod, too late", sealed, []step{out(syn, "allowed rule new"), in(synAck, "allowed reply"), out(rst, "allowed established"), idle(121), in(ack, "denied no-rule")}},
			{"TCP, reset by the peer, too late", sealed, []step{out(syn, "allowed rule new"), in(synAck, "allowed reply"), in(rstBack, "allowed reply"), idle(121), in(ack, "denied no-rule")}},
		}
	})
}
