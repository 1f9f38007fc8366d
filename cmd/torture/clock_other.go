//go:build !linux

package main

import (
	"context"
	"errors"
)

// buildPreload fails: on other systems not every program can be loaded with another library first.
func buildPreload(context.Context, string) error { return errors.ErrUnsupported }
