// SPDX-License-Identifier: Apache-2.0

package output

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// cell is a text without colour, so that columns are measured on what is seen.
type cell struct {
	text  string
	color color
	right bool
}

// table lays rows out in columns, two spaces apart. Cells are expected to be
// escaped already.
type table struct {
	indent string
	rows   [][]cell
	least  []int // widths of the first columns, at least
}

func (t *table) add(cells ...cell) { t.rows = append(t.rows, cells) }

// header adds column titles.
func (t *table) header(titles ...string) {
	row := make([]cell, len(titles))
	for i, title := range titles {
		row[i] = cell{text: title, color: bold}
	}
	t.add(row...)
}

func (t *table) write(b *strings.Builder, style Style) {
	widths := t.widths()
	for _, row := range t.rows {
		last := lastUsed(row)
		if last < 0 {
			b.WriteByte('\n')
			continue
		}
		b.WriteString(t.indent)
		for i, c := range row[:last+1] {
			if i > 0 {
				b.WriteString("  ")
			}
			c.write(b, style, widths[i], i == last)
		}
		b.WriteByte('\n')
	}
}

func (c cell) write(b *strings.Builder, style Style, width int, last bool) {
	pad := strings.Repeat(" ", max(0, width-utf8.RuneCountInString(c.text)))
	if c.right {
		b.WriteString(pad)
	}
	b.WriteString(style.paint(c.color, c.text))
	if !c.right && !last {
		b.WriteString(pad)
	}
}

func (t *table) widths() []int {
	widths := slices.Clone(t.least)
	for _, row := range t.rows {
		for i, c := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(c.text))
		}
	}
	return widths
}

// lastUsed is the index of the last cell with text: lines have no trailing space.
func lastUsed(row []cell) int {
	for i := len(row) - 1; i >= 0; i-- {
		if row[i].text != "" {
			return i
		}
	}
	return -1
}

// text is a cell of something that came from outside.
func text(s string) cell { return cell{text: Escape(s)} }

func number(s string) cell { return cell{text: s, right: true} }
