package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// disks are small file systems in memory, one for each node's store. So one can be full while the machine's disk is
// not. Only root can create them: nil is none.
type disks struct{ mounted []string }

const diskSize = "96m"

func smallDisks() *disks {
	if os.Geteuid() != 0 {
		return nil
	}
	return &disks{}
}

func (d *disks) add(dir string) error {
	if d == nil {
		return nil
	}
	if output, err := exec.CommandContext(context.Background(), "mount", "-t", "tmpfs", "-o",
		"size="+diskSize+",mode=0700", "tmpfs", dir).CombinedOutput(); err != nil {
		return fmt.Errorf("mount a small disk: %w: %s", err, strings.TrimSpace(string(output)))
	}
	d.mounted = append(d.mounted, dir)
	return nil
}

func (d *disks) remove() (err error) {
	if d == nil {
		return nil
	}
	for _, dir := range d.mounted {
		if output, failed := exec.CommandContext(context.Background(), "umount", "--lazy", dir).
			CombinedOutput(); failed != nil {
			err = errors.Join(err, fmt.Errorf("umount: %w: %s", failed, strings.TrimSpace(string(output))))
		}
	}
	return err
}
