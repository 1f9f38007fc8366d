package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"testing"
)

func TestTheChartIsDrawnFromTheResults(t *testing.T) {
	var drawn bytes.Buffer
	if err := draw(sample(t).Results, &drawn); err != nil {
		t.Fatal(err)
	}
	golden(t, "chart.svg", drawn.String())
	decoder := xml.NewDecoder(&drawn)
	for {
		if _, err := decoder.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("no XML: %v", err)
		}
	}
}

func TestPointsLieWhereTheirValuesAre(t *testing.T) {
	var p panel
	p.scale(10_000, []int{1, 256}, [][]quantity{{{0, true}, {10_000, true}}, {{5000, true}, {}}})
	want := []string{"127.5,202.0 258.5,52.0", "127.5,127.0"}
	for i, line := range p.Lines {
		if line.Path() != want[i] {
			t.Errorf("line %d goes %s, want %s", i, line.Path(), want[i])
		}
	}
	if first, last := p.Grid[0], p.Grid[len(p.Grid)-1]; first != (mark{202, "0"}) || last != (mark{52, "10k"}) {
		t.Errorf("the grid goes from %v to %v", first, last)
	}
}

func TestAxesHaveRoundSteps(t *testing.T) {
	for top, want := range map[float64]float64{
		0.9: 0.2, 1: 0.2, 7: 2, 10: 2, 12: 2, 13: 5, 88: 20, 12_000: 2000, 43_000: 10_000, 240_000: 50_000,
	} {
		if got := niceStep(top); got != want {
			t.Errorf("steps of %v up to %v, want %v", got, top, want)
		}
	}
}

func TestNothingToDrawIsAnError(t *testing.T) {
	var drawn bytes.Buffer
	if err := draw(sample(t).Results[:2], &drawn); err == nil {
		t.Errorf("drawn:\n%s", drawn.String())
	}
}
