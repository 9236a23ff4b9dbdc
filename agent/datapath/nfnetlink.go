// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// message is one request of a netfilter subsystem. Numbers in its attributes
// are in network order.
type message struct {
	name   string // for errors
	kind   uint16 // within nf_tables
	flags  uint16
	family uint8
	attrs  []*nl.RtAttr
}

func attr(kind int, data []byte) *nl.RtAttr { return nl.NewRtAttr(kind, data) }

func attrString(kind int, s string) *nl.RtAttr { return attr(kind, append([]byte(s), 0)) }

func attrNumber(kind int, n uint32) *nl.RtAttr {
	return attr(kind, binary.BigEndian.AppendUint32(nil, n))
}

func nested(kind int, children ...*nl.RtAttr) *nl.RtAttr {
	a := attr(kind|unix.NLA_F_NESTED, nil)
	for _, c := range children {
		a.AddChild(c)
	}
	return a
}

// header is struct nfgenmsg.
func header(family uint8, resource uint16) []byte {
	return binary.BigEndian.AppendUint16([]byte{family, 0}, resource)
}

func appendMessage(b []byte, kind, flags uint16, sequence uint32, body ...[]byte) []byte {
	start := len(b)
	b = append(b, make([]byte, unix.SizeofNlMsghdr)...)
	for _, part := range body {
		b = append(b, part...)
	}
	binary.NativeEndian.PutUint32(b[start:], uint32(len(b)-start))
	binary.NativeEndian.PutUint16(b[start+4:], kind)
	binary.NativeEndian.PutUint16(b[start+6:], flags|unix.NLM_F_REQUEST)
	binary.NativeEndian.PutUint32(b[start+8:], sequence)
	for len(b)%unix.NLMSG_ALIGNTO != 0 {
		b = append(b, 0)
	}
	return b
}

// commit has the kernel do all messages in one transaction, or none.
func commit(messages []message) error {
	socket, err := openNetfilter()
	if err != nil {
		return err
	}
	defer unix.Close(socket)
	last := uint32(len(messages))
	b := appendMessage(nil, unix.NFNL_MSG_BATCH_BEGIN, 0, 0, header(0, unix.NFNL_SUBSYS_NFTABLES))
	for i, m := range messages {
		body := [][]byte{header(m.family, 0)}
		for _, a := range m.attrs {
			body = append(body, a.Serialize())
		}
		b = appendMessage(b, unix.NFNL_SUBSYS_NFTABLES<<8|m.kind, m.flags|unix.NLM_F_ACK, uint32(i)+1, body...)
	}
	b = appendMessage(b, unix.NFNL_MSG_BATCH_END, 0, last+1, header(0, unix.NFNL_SUBSYS_NFTABLES))
	if err := unix.Sendto(socket, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("send to nf_tables: %w", err)
	}
	return readAnswers(socket, messages)
}

// readAnswers takes an answer to each message. After an error of one the
// kernel undoes all, and answers those behind it all the same.
func readAnswers(socket int, messages []message) error {
	var errs []error
	for answered := 0; answered < len(messages); {
		replies, err := receive(socket)
		if err != nil {
			return errors.Join(append(errs, err)...)
		}
		for _, r := range replies {
			if r.Header.Type != unix.NLMSG_ERROR {
				continue
			}
			answered++
			code := unix.Errno(-int32(binary.NativeEndian.Uint32(r.Data)))
			if code == 0 {
				continue
			}
			i := int(r.Header.Seq) - 1
			if i < 0 || i >= len(messages) { // of the batch as a whole
				return errors.Join(append(errs, fmt.Errorf("nf_tables: %w", code))...)
			}
			errs = append(errs, fmt.Errorf("%s: %w", messages[i].name, code))
		}
	}
	return errors.Join(errs...)
}

func openNetfilter() (int, error) {
	socket, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		return 0, fmt.Errorf("open a netfilter socket: %w", err)
	}
	// The kernel answers within the send; the limit is for a lost answer.
	if err := unix.SetsockoptTimeval(socket, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 5}); err != nil {
		unix.Close(socket)
		return 0, fmt.Errorf("open a netfilter socket: %w", err)
	}
	return socket, nil
}

func receive(socket int) ([]answer, error) {
	buffer := make([]byte, 1<<16)
	n, _, err := unix.Recvfrom(socket, buffer, 0)
	if err != nil {
		return nil, fmt.Errorf("read the answer of netfilter: %w", err)
	}
	return splitMessages(buffer[:n])
}

type answer struct {
	Header unix.NlMsghdr
	Data   []byte
}

func splitMessages(b []byte) ([]answer, error) {
	var list []answer
	for len(b) >= unix.SizeofNlMsghdr {
		h := unix.NlMsghdr{
			Len: binary.NativeEndian.Uint32(b), Type: binary.NativeEndian.Uint16(b[4:]),
			Flags: binary.NativeEndian.Uint16(b[6:]), Seq: binary.NativeEndian.Uint32(b[8:]),
		}
		if h.Len < unix.SizeofNlMsghdr || int(h.Len) > len(b) {
			return nil, fmt.Errorf("read the answer of netfilter: a message of %d bytes in %d", h.Len, len(b))
		}
		list = append(list, answer{h, b[unix.SizeofNlMsghdr:h.Len]})
		b = b[min(len(b), (int(h.Len)+unix.NLMSG_ALIGNTO-1)&^(unix.NLMSG_ALIGNTO-1)):]
	}
	return list, nil
}

// dump asks for a list; each element is without its header and nfgenmsg.
func dump(kind uint16, family uint8, attrs ...*nl.RtAttr) ([][]byte, error) {
	socket, err := openNetfilter()
	if err != nil {
		return nil, err
	}
	defer unix.Close(socket)
	body := [][]byte{header(family, 0)}
	for _, a := range attrs {
		body = append(body, a.Serialize())
	}
	b := appendMessage(nil, kind, unix.NLM_F_DUMP, 1, body...)
	if err := unix.Sendto(socket, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, fmt.Errorf("ask netfilter: %w", err)
	}
	var list [][]byte
	for {
		messages, err := receive(socket)
		if err != nil {
			return nil, err
		}
		for _, m := range messages {
			switch m.Header.Type {
			case unix.NLMSG_DONE:
				return list, nil
			case unix.NLMSG_ERROR:
				return nil, fmt.Errorf("ask netfilter: %w", unix.Errno(-int32(binary.NativeEndian.Uint32(m.Data))))
			}
			list = append(list, m.Data[min(len(m.Data), nl.SizeofNfgenmsg):])
		}
	}
}

// Attributes of linux/netfilter/nfnetlink_hook.h.
const (
	hookNumber    = 1
	hookChainInfo = 6
	hookInfoDesc  = 1
	hookInfoType  = 2
	hookTypeBPF   = 2
	hookProgramID = 1
)

// listForward lists the netfilter programs on NF_INET_FORWARD. The error says
// that the kernel does not tell (5.14 with CONFIG_NETFILTER_NETLINK_HOOK; of
// programs 6.4).
func listForward(family uint8) ([]ebpf.ProgramID, error) {
	entries, err := dump(unix.NFNL_SUBSYS_HOOK<<8, family, attrNumber(hookNumber, unix.NF_INET_FORWARD))
	if err != nil {
		return nil, err
	}
	var programs []ebpf.ProgramID
	for _, entry := range entries {
		info := attrOf(entry, hookChainInfo)
		kind, id := attrOf(info, hookInfoType), attrOf(attrOf(info, hookInfoDesc), hookProgramID)
		if len(kind) == 4 && binary.BigEndian.Uint32(kind) == hookTypeBPF && len(id) == 4 {
			programs = append(programs, ebpf.ProgramID(binary.BigEndian.Uint32(id)))
		}
	}
	return programs, nil
}

func attrOf(b []byte, kind uint16) []byte {
	for len(b) >= unix.SizeofNlAttr {
		size := int(binary.NativeEndian.Uint16(b))
		if size < unix.SizeofNlAttr || size > len(b) {
			return nil
		}
		if binary.NativeEndian.Uint16(b[2:])&^(unix.NLA_F_NESTED|unix.NLA_F_NET_BYTEORDER) == kind {
			return b[unix.SizeofNlAttr:size]
		}
		b = b[min(len(b), (size+3)&^3):]
	}
	return nil
}
