package server

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestComponentsStopInTheOppositeOrderAndErrorsNameThem(t *testing.T) {
	var stopped []string
	part := func(name string, startErr, stopErr error) component {
		return component{name, func(context.Context) error { return startErr }, func(context.Context) error {
			stopped = append(stopped, name)
			return stopErr
		}}
	}
	started := starting{limit: time.Minute}
	for _, c := range []component{
		part("a", nil, errors.New("stuck")),
		{name: "b", start: func(context.Context) error { return nil }},
		part("c", nil, nil),
	} {
		if err := started.start(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	if err := started.start(t.Context(), part("d", errors.New("no port"), nil)); err == nil ||
		err.Error() != "d: no port" {
		t.Errorf("the start that fails: %v", err)
	}
	if err := started.stop(); err == nil || !strings.Contains(err.Error(), "stop a: stuck") {
		t.Errorf("the stop: %v", err)
	}
	if want := []string{"c", "a"}; !slices.Equal(stopped, want) {
		t.Errorf("stopped %v, want %v", stopped, want)
	}
}
