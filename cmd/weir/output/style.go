// SPDX-License-Identifier: Apache-2.0

package output

import (
	"time"

	pb "github.com/weirnet/weir/api/v1"
)

// Style says how text looks. The zero Style is plain text in UTC.
type Style struct {
	// Color uses ANSI sequences.
	Color bool
	// Location of the times that are shown; nil is UTC.
	Location *time.Location
}

type color string

const (
	plain  color = ""
	red    color = "\x1b[31m"
	green  color = "\x1b[32m"
	yellow color = "\x1b[33m"
	bold   color = "\x1b[1m"
	faint  color = "\x1b[2m"
	reset  color = "\x1b[0m"
)

func (s Style) paint(c color, text string) string {
	if !s.Color || c == plain || text == "" {
		return text
	}
	return string(c) + text + string(reset)
}

// Clock is a time of this year as text, to the second.
func (s Style) Clock(t time.Time) string { return s.in(t).Format("Jan _2 15:04:05") }

func (s Style) in(t time.Time) time.Time {
	if s.Location == nil {
		return t.UTC()
	}
	return t.In(s.Location)
}

// VerdictName is the word for v in output and in flags.
func VerdictName(v pb.Verdict) string {
	switch v {
	case pb.Verdict_VERDICT_DENIED:
		return "DENIED"
	case pb.Verdict_VERDICT_ALLOWED:
		return "ALLOWED"
	case pb.Verdict_VERDICT_AUDITED:
		return "AUDITED"
	}
	return "UNKNOWN"
}

func verdictColor(v pb.Verdict) color {
	switch v {
	case pb.Verdict_VERDICT_ALLOWED:
		return green
	case pb.Verdict_VERDICT_AUDITED:
		return yellow
	}
	return red
}

func directionName(d pb.Direction) string {
	switch d {
	case pb.Direction_DIRECTION_INGRESS:
		return "ingress"
	case pb.Direction_DIRECTION_EGRESS:
		return "egress"
	}
	return ""
}
