//go:build !linux

package main

import (
	"context"
	"errors"
)

// buildPreload fails: other systems do not let every program be loaded with another library first.
func buildPreload(context.Context, string) error { return errors.ErrUnsupported }
