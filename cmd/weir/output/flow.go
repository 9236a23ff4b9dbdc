// SPDX-License-Identifier: Apache-2.0

package output

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	pb "github.com/weirnet/weir/api/v1"
)

// Format is how flows are written.
type Format string

const (
	// Compact is one aligned line for each flow.
	Compact Format = "compact"
	// Wide adds the interface, TCP flags, length in bytes, id and reason code.
	Wide Format = "wide"
	// Table is a line of titles, and below it one for each flow.
	Table Format = "table"
	// Dict is a block of names and values for each flow.
	Dict Format = "dict"
	// JSON is one message weir.v1.Flow a line, names as in weir.proto.
	JSON Format = "json"
	// JSONLines is another name for it.
	JSONLines Format = "jsonl"
	// YAML is a document for each flow, with the same names.
	YAML Format = "yaml"
)

// Formats are the names that ParseFormat reads.
func Formats() []string { return []string{"compact", "wide", "table", "dict", "json", "jsonl", "yaml"} }

// ParseFormat reads the name of a Format.
func ParseFormat(name string) (Format, error) {
	if !slices.Contains(Formats(), name) {
		return "", fmt.Errorf("--output: format %q is not known; use %s", name, strings.Join(Formats(), ", "))
	}
	return Format(name), nil
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
	titled bool // the titles of a table were written
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
	switch w.format {
	case JSON, JSONLines, YAML:
		for _, f := range batch {
			if err := w.object(&b, f); err != nil {
				return fmt.Errorf("flow %d: %w", f.GetSequence(), err)
			}
		}
	case Dict:
		for _, f := range batch {
			w.dict(&b, f)
		}
	default:
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

func (w *Flows) object(b *strings.Builder, f *pb.Flow) error {
	if w.format == YAML {
		return yamlDocument(b, f)
	}
	return jsonLine(b, f)
}

func (w *Flows) lines(b *strings.Builder, batch []*pb.Flow) {
	rows := make([][]cell, 0, len(batch)+1)
	if w.format == Table && !w.titled && len(batch) > 0 {
		rows, w.titled = append(rows, titles()), true
	}
	for _, f := range batch {
		rows = append(rows, w.row(f))
	}
	for _, row := range rows {
		w.grow(row)
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
	arrow := "-> "
	if w.format == Table {
		arrow = ""
	}
	row := []cell{
		{text: w.clock(f), color: faint},
		{text: VerdictName(f.GetVerdict()), color: verdictColor(f.GetVerdict())},
		{text: peerText(f.GetSource(), f.GetProtocol())},
		{text: arrow + peerText(f.GetDestination(), f.GetProtocol())},
		{text: flowProtocol(f)},
	}
	switch w.format {
	case Wide:
		row = append(row,
			cell{text: orDash(Escape(f.GetInterface()))},
			cell{text: orDash(tcpFlags(f))},
			cell{text: length(f), right: true},
			cell{text: idText(f)},
			cell{text: reasonCode(f.GetReason())})
		return append(row, cell{text: totals(f) + why(f, 0)})
	case Table:
		row = append(row, cell{text: recordName(f)})
		row = append(row, measured(f)...)
		return append(row, cell{text: why(f, isolatingShown)})
	}
	return append(row, cell{text: totals(f) + why(f, isolatingShown)})
}

func titles() []cell {
	row := []cell{{text: "TIME"}, {text: "VERDICT"}, {text: "SOURCE"}, {text: "DESTINATION"}, {text: "PROTOCOL"}, {text: "RECORD"},
		number("PACKETS"), number("BYTES"), number("DURATION"), {text: "WHY"}}
	for i := range row {
		row[i].color = bold
	}
	return row
}

// measured are the columns of a table that only whole flows have.
func measured(f *pb.Flow) []cell {
	if !hasTotals(f) {
		return []cell{number("-"), number("-"), number("-")}
	}
	return []cell{
		number(strconv.FormatUint(f.GetSent().GetPackets()+f.GetAnswered().GetPackets(), 10)),
		number(size(f.GetSent().GetBytes() + f.GetAnswered().GetBytes())),
		number(span(f.GetDuration().AsDuration())),
	}
}

func length(f *pb.Flow) string {
	if hasTotals(f) {
		return "-"
	}
	return fmt.Sprintf("%d B", f.GetLength())
}

func idText(f *pb.Flow) string {
	if f.GetId() == 0 {
		return "-"
	}
	return flowID(f)
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
	return strings.Join(flagNames(f.GetTcpFlags()), ",")
}

func flagNames(flags uint32) []string {
	names := [...]string{"FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"}
	var set []string
	for bit, name := range names {
		if flags&(1<<bit) != 0 {
			set = append(set, name)
		}
	}
	return set
}
