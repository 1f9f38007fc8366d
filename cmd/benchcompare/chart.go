package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strings"
	"text/template"

	"github.com/oexza/orisun/cmd/orisun/bench"
)

// Sizes of the chart in pixels. It has columns of panels, each with a plot of plotWidth × plotHeight.
const (
	chartColumns = 3
	panelWidth   = 340
	panelHeight  = 250
	plotLeft     = 62
	plotTop      = 52
	plotWidth    = 262
	plotHeight   = 150
	chartTop     = 44
)

// panels define the plots, each of a metric over the number of clients.
var panels = []struct {
	title, unit string
	lines       []series
	yardsticks  bool // pgbench's rates as horizontal lines
}{
	{title: "Saves of 1 event", unit: "events/s", yardsticks: true, lines: []series{
		{"conditional", "append-1", eventsPerSecond}, {"unconditional", "append-1-unconditional", eventsPerSecond},
	}},
	{title: "Saves of 100 events", unit: "events/s", lines: []series{
		{"conditional", "append-100", eventsPerSecond}, {"unconditional", "append-100-unconditional", eventsPerSecond},
	}},
	{title: "Saves beside 4 page readers", unit: "events/s", lines: []series{
		{"beside readers", "append-beside-readers", eventsPerSecond}, {"alone", "append-1", eventsPerSecond},
	}},
	{
		title: "Reads of a context's newest 10", unit: "requests/s",
		lines: []series{{"read-10", "read-10", requestsPerSecond}},
	},
	{title: "Pages of 1,000 events", unit: "events/s", lines: []series{{"page", "page", eventsPerSecond}}},
	{title: "One hot context", unit: "saves/s", lines: []series{
		{"winners", "hot", requestsPerSecond}, {"conflicts", "hot/conflicts", requestsPerSecond},
	}},
	{title: "Latency of conditional saves", unit: "ms", lines: []series{
		{"p50", "append-1", func(r bench.Result) float64 { return r.P50 }},
		{"p99", "append-1", func(r bench.Result) float64 { return r.P99 }},
	}},
	{title: "Latency of reads of 10", unit: "ms", lines: []series{
		{"p50", "read-10", func(r bench.Result) float64 { return r.P50 }},
		{"p99", "read-10", func(r bench.Result) float64 { return r.P99 }},
	}},
	{title: "From save to subscriber", unit: "ms", lines: []series{
		{"p50", "latency", func(r bench.Result) float64 { return r.P50 }},
		{"p99", "latency", func(r bench.Result) float64 { return r.P99 }},
	}},
}

// series is one line of a panel.
type series struct {
	label, workload string
	metric          func(bench.Result) float64
}

func eventsPerSecond(r bench.Result) float64 { return r.EventsPerSecond }

func requestsPerSecond(r bench.Result) float64 { return r.RequestsPerSecond }

// Colours that people with any colour vision can distinguish. The lines of pgbench are grey.
var colours = []string{"#0b62c4", "#d4660a"}

type (
	chart struct {
		Width, Height int
		Panels        []panel
	}
	panel struct {
		X, Y        int
		Title, Unit string
		Grid        []mark
		Ticks       []mark
		Lines       []polyline
		Yardsticks  []mark
	}
	mark struct {
		At    float64
		Label string
	}
	polyline struct {
		Colour, Label string
		LabelX        int
		Points        []point
	}
	point struct{ X, Y float64 }
)

// draw draws the results with a token in a closed loop as SVG. Panels without results are left out. Without any panel
// it returns an error.
func draw(results []bench.Result, out io.Writer) error {
	// The number of clients is an axis of steps: distances between points are equal whatever their values.
	var clients []int
	for _, r := range results {
		if r.Workload != pgbench && !slices.Contains(clients, r.Clients) {
			clients = append(clients, r.Clients)
		}
	}
	slices.Sort(clients)
	var c chart
	for _, p := range panels {
		drawn := panel{
			X: len(c.Panels) % chartColumns * panelWidth, Y: chartTop + len(c.Panels)/chartColumns*panelHeight, Title: p.title,
			Unit: p.unit,
		}
		values := make([][]quantity, len(p.lines))
		top := 0.0
		for i, line := range p.lines {
			for _, n := range clients {
				value := medians(results).of(line.workload, bench.AuthToken, n, line.metric)
				values[i] = append(values[i], value)
				if value.known {
					top = max(top, value.number)
				}
			}
		}
		if top == 0 {
			continue
		}
		if p.yardsticks {
			for _, n := range connections {
				if rate := medians(results).of(pgbench, "", n, requestsPerSecond); rate.known {
					top = max(top, rate.number)
					drawn.Yardsticks = append(drawn.Yardsticks, mark{rate.number, fmt.Sprintf("pgbench -c %d", n)})
				}
			}
		}
		drawn.scale(top, clients, values)
		for i := range drawn.Lines {
			drawn.Lines[i].Label, drawn.Lines[i].Colour, drawn.Lines[i].LabelX = p.lines[i].label, colours[i], plotLeft+i*130
		}
		c.Panels = append(c.Panels, drawn)
	}
	if len(c.Panels) == 0 {
		return errors.New("there are no results to draw")
	}
	c.Width = min(len(c.Panels), chartColumns) * panelWidth
	c.Height = chartTop + (len(c.Panels)+chartColumns-1)/chartColumns*panelHeight
	return svg.Execute(out, c)
}

// scale maps values between 0 and top to the plot.
func (p *panel) scale(top float64, clients []int, values [][]quantity) {
	step := niceStep(top)
	end := math.Ceil(top/step) * step
	y := func(value float64) float64 { return plotTop + plotHeight*(1-value/end) }
	x := func(i int) float64 { return plotLeft + plotWidth*(float64(i)+0.5)/float64(len(clients)) }
	for i := range int(math.Round(end/step)) + 1 {
		value := float64(i) * step
		p.Grid = append(p.Grid, mark{y(value), thousands(value, step)})
	}
	for i, n := range clients {
		p.Ticks = append(p.Ticks, mark{x(i), fmt.Sprint(n)})
	}
	for i := range p.Yardsticks {
		p.Yardsticks[i].At = y(p.Yardsticks[i].At)
	}
	for _, row := range values {
		var line polyline
		for i, value := range row {
			if value.known {
				line.Points = append(line.Points, point{x(i), y(value.number)})
			}
		}
		p.Lines = append(p.Lines, line)
	}
}

// niceStep is 1, 2 or 5 times a power of ten, so that 3 to 6 steps reach top.
func niceStep(top float64) float64 {
	magnitude := math.Pow(10, math.Floor(math.Log10(top/4)))
	for _, factor := range []float64{1, 2, 5} {
		if top/(factor*magnitude) <= 6 {
			return factor * magnitude
		}
	}
	return 10 * magnitude
}

// thousands writes 220000 as 220k, and fractions only where the steps need them.
func thousands(value, step float64) string {
	switch {
	case value == 0:
		return "0"
	case step >= 1000:
		return fmt.Sprintf("%gk", math.Round(value/100)/10)
	case step >= 1:
		return fmt.Sprintf("%.0f", value)
	}
	return fmt.Sprintf("%.*f", int(math.Ceil(-math.Log10(step))), value)
}

// Path is the line in SVG's notation.
func (l polyline) Path() string {
	var text strings.Builder
	for i, p := range l.Points {
		if i > 0 {
			text.WriteByte(' ')
		}
		fmt.Fprintf(&text, "%.1f,%.1f", p.X, p.Y)
	}
	return text.String()
}

var svg = template.Must(template.New("chart").Parse(
	`<svg xmlns="http://www.w3.org/2000/svg" width="{{.Width}}" height="{{.Height}}"` +
		` viewBox="0 0 {{.Width}} {{.Height}}" font-family="sans-serif" font-size="11">
<rect width="100%" height="100%" fill="#ffffff"/>
<text x="12" y="26" font-size="16" font-weight="bold">Orisun by the number of concurrent clients</text>
{{- range .Panels}}
<g transform="translate({{.X}} {{.Y}})">
<text x="12" y="18" font-size="13" font-weight="bold">{{.Title}}, {{.Unit}}</text>
{{- range .Grid}}
<line x1="62" x2="324" y1="{{printf "%.1f" .At}}" y2="{{printf "%.1f" .At}}" stroke="#dddddd"/>
<text x="56" y="{{printf "%.1f" .At}}" dy="4" text-anchor="end" fill="#555555">{{.Label}}</text>
{{- end}}
{{- range .Ticks}}
<text x="{{printf "%.1f" .At}}" y="220" text-anchor="middle" fill="#555555">{{.Label}}</text>
{{- end}}
{{- range .Yardsticks}}
<line x1="62" x2="324" y1="{{printf "%.1f" .At}}" y2="{{printf "%.1f" .At}}" stroke="#777777" stroke-dasharray="5 3"/>
<text x="324" y="{{printf "%.1f" .At}}" dy="11" text-anchor="end" fill="#777777">{{.Label}}</text>
{{- end}}
{{- range .Lines}}
{{- $colour := .Colour}}
<polyline points="{{.Path}}" fill="none" stroke="{{$colour}}" stroke-width="2"/>
{{- range .Points}}
<circle cx="{{printf "%.1f" .X}}" cy="{{printf "%.1f" .Y}}" r="3" fill="{{$colour}}"/>
{{- end}}
<circle cx="{{.LabelX}}" cy="35" r="4" fill="{{$colour}}"/>
<text x="{{.LabelX}}" y="39" dx="8">{{.Label}}</text>
{{- end}}
</g>
{{- end}}
</svg>
`))

func drawFile(results []bench.Result, picture string) error {
	var drawn bytes.Buffer
	if err := draw(results, &drawn); err != nil {
		return err
	}
	return os.WriteFile(picture, drawn.Bytes(), 0o644) //nolint:gosec // for everybody to read
}
