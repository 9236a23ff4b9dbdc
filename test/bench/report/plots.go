// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"path/filepath"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/plotutil"
	"gonum.org/v1/plot/vg"

	"github.com/weirnet/weir/test/bench/record"
)

// draw writes the plots, and returns from which results each is made.
func draw(r results, dir string) (map[string]string, error) {
	plots := map[string]string{}
	for _, d := range []struct {
		name, file string
		make       func() (*plot.Plot, error)
	}{
		{"packets.svg", record.PacketsFile, r.packetPlot},
		{"traffic-connect.svg", record.TrafficFile, func() (*plot.Plot, error) { return r.trafficPlot("connect-request-close") }},
		{"traffic-udp.svg", record.TrafficFile, func() (*plot.Plot, error) { return r.trafficPlot("one-way-UDP") }},
		{"control.svg", record.ControlFile, r.controlPlot},
	} {
		p, err := d.make()
		if err == nil && p != nil {
			err = p.Save(22*vg.Centimeter, 12*vg.Centimeter, filepath.Join(dir, d.name))
		}
		if err != nil {
			return nil, fmt.Errorf("draw %s: %w", d.name, err)
		}
		if p != nil {
			plots[d.name] = d.file
		}
	}
	return plots, nil
}

// line is one curve.
type line struct {
	name   string
	points plotter.XYs
}

// chart with logarithmic scales, where wanted; nil without lines.
func chart(title, x, y string, logarithmicY bool, lines []line) (*plot.Plot, error) {
	if len(lines) == 0 {
		return nil, nil
	}
	p := plot.New()
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = title, x, y
	p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
	if logarithmicY {
		p.Y.Scale, p.Y.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
	}
	p.Add(plotter.NewGrid())
	for i, l := range lines {
		curve, dots, err := plotter.NewLinePoints(l.points)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", l.name, err)
		}
		curve.Color, curve.Width = plotutil.Color(i), vg.Points(1.5)
		dots.Color, dots.Shape = plotutil.Color(i), plotutil.Shape(i)
		p.Add(curve, dots)
		p.Legend.Add(l.name, curve, dots)
	}
	p.Legend.Top, p.Legend.Left = true, true
	return p, nil
}

func (r results) packetPlot() (*plot.Plot, error) {
	var lines []line
	for _, name := range distinct(r.packets, func(p record.Packet) string { return p.Case }) {
		l := line{name: name}
		for _, p := range r.packets {
			if p.Case == name && p.Program == "from_pod" && p.Family == "IPv4" {
				l.points = append(l.points, plotter.XY{X: float64(p.Rows), Y: max(1, p.NsOverEmpty)})
			}
		}
		if len(l.points) > 0 {
			lines = append(lines, l)
		}
	}
	return chart("A packet in from_pod, IPv4", "rows of policy", "ns over the empty program", true, lines)
}

func (r results) trafficPlot(workload string) (*plot.Plot, error) {
	var lines []line
	for _, variant := range distinct(r.traffic, func(t record.Traffic) string { return t.Variant }) {
		l := line{name: variant}
		for _, t := range r.traffic {
			if t.Variant == variant && t.Workload == workload && t.Wiring == "routed" && t.Baseline != "" {
				l.points = append(l.points, plotter.XY{X: float64(t.Policies), Y: t.Ratio})
			}
		}
		if len(l.points) > 0 {
			lines = append(lines, l)
		}
	}
	what := "median latency to the baseline"
	if workload == "one-way-UDP" {
		what = "rate to the baseline"
	}
	return chart(workload+", routed", "policies that select both pods", what, true, lines)
}

func (r results) controlPlot() (*plot.Plot, error) {
	var lines []line
	for _, operation := range distinct(r.control, func(c record.Control) string { return c.Operation }) {
		l := line{name: operation}
		for _, c := range r.control {
			if c.Operation == operation {
				l.points = append(l.points, plotter.XY{X: float64(c.Pods), Y: max(0.001, c.TotalMs)})
			}
		}
		lines = append(lines, l)
	}
	return chart("Control plane: resolve, compile, apply", "pods in the cluster", "ms", true, lines)
}
