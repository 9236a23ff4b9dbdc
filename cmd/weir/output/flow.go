// SPDX-License-Identifier: Apache-2.0

package output

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	pb "github.com/weirnet/weir/api/v1"
)

// Format is how flows are written.
type Format string

const (
	// Compact is one aligned line for each flow.
	Compact Format = "compact"
	// Wide adds the interface, TCP flags, length in bytes and reason code.
	Wide Format = "wide"
	// JSON is one message weir.v1.Flow a line, names as in weir.proto.
	JSON Format = "json"
)

// ParseFormat reads the name of a Format.
func ParseFormat(name string) (Format, error) {
	switch f := Format(name); f {
	case Compact, Wide, JSON:
		return f, nil
	}
	return "", fmt.Errorf("format %q is not known; use compact, wide or json", name)
}

// Columns grow with what they have held, up to this many characters: one very
// long name must not push all later lines off the screen.
const widestColumn = 52

// Flows writes flows to one writer. Its columns keep their widths from batch
// to batch, so that following lines stand below each other.
type Flows struct {
	to     io.Writer
	format Format
	style  Style
	widths []int
}

// NewFlows returns a writer of flows. An unknown format is Compact.
func NewFlows(to io.Writer, format Format, style Style) *Flows {
	// What most lines need from the start, else the first ones stand askew:
	// time, verdict, source, destination, protocol.
	widths := []int{0, len("ALLOWED"), 22, 25, 4}
	return &Flows{to: to, format: format, style: style, widths: widths}
}

// Write writes a batch in one call to the writer below, so that a batch is not
// cut by what another writer says in between.
func (w *Flows) Write(batch []*pb.Flow) error {
	var b strings.Builder
	if w.format == JSON {
		for _, f := range batch {
			if err := jsonLine(&b, f); err != nil {
				return fmt.Errorf("flow %d: %w", f.GetSequence(), err)
			}
		}
	} else {
		w.lines(&b, batch)
	}
	if b.Len() == 0 {
		return nil
	}
	if _, err := io.WriteString(w.to, b.String()); err != nil {
		return fmt.Errorf("write flows: %w", err)
	}
	return nil
}

func (w *Flows) lines(b *strings.Builder, batch []*pb.Flow) {
	rows := make([][]cell, len(batch))
	for i, f := range batch {
		rows[i] = w.row(f)
		w.grow(rows[i])
	}
	for _, row := range rows {
		last := len(row) - 1
		for i, c := range row {
			if i > 0 {
				b.WriteString("  ")
			}
			c.write(b, w.style, w.widths[i], i == last)
		}
		b.WriteByte('\n')
	}
}

func (w *Flows) grow(row []cell) {
	for i, c := range row {
		if i == len(w.widths) {
			w.widths = append(w.widths, 0)
		}
		w.widths[i] = max(w.widths[i], min(widestColumn, utf8.RuneCountInString(c.text)))
	}
}

const (
	compactTime = "Jan _2 15:04:05.000"
	wideTime    = "2006-01-02T15:04:05.000000Z07:00"
)

func (w *Flows) row(f *pb.Flow) []cell {
	wide := w.format == Wide
	row := []cell{
		{text: w.clock(f), color: faint},
		{text: VerdictName(f.GetVerdict()), color: verdictColor(f.GetVerdict())},
		{text: peerText(f.GetSource(), f.GetProtocol())},
		{text: "-> " + peerText(f.GetDestination(), f.GetProtocol())},
		{text: flowProtocol(f)},
	}
	if wide {
		row = append(row,
			cell{text: orDash(Escape(f.GetInterface()))},
			cell{text: orDash(tcpFlags(f))},
			cell{text: fmt.Sprintf("%d B", f.GetLength()), right: true},
			cell{text: reasonCode(f.GetReason())})
		return append(row, cell{text: why(f, 0)})
	}
	return append(row, cell{text: why(f, isolatingShown)})
}

func (w *Flows) clock(f *pb.Flow) string {
	layout := compactTime
	if w.format == Wide {
		layout = wideTime
	}
	if f.GetTime() == nil {
		return "no time"
	}
	return w.style.in(f.GetTime().AsTime()).Format(layout)
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func tcpFlags(f *pb.Flow) string {
	if f.GetProtocol() != protoTCP {
		return ""
	}
	names := [...]string{"FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"}
	var set []string
	for bit, name := range names {
		if f.GetTcpFlags()&(1<<bit) != 0 {
			set = append(set, name)
		}
	}
	return strings.Join(set, ",")
}
