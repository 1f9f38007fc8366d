package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// errInterrupted is a wait that a signal ended.
var errInterrupted = errors.New("interrupted: nothing is changed")

// interruptible waits for the result of read, or for an interrupt: a blocked read of a terminal or a pipe cannot be
// cancelled.
func interruptible[T any](ctx context.Context, read func() (T, error)) (value T, err error) {
	type result struct {
		value T
		err   error
	}
	ended := make(chan result, 1)
	go func() {
		value, err := read()
		ended <- result{value, err}
	}()
	select {
	case got := <-ended:
		return got.value, got.err
	case <-ctx.Done():
		return value, errInterrupted
	}
}

func asTerminal(in io.Reader) (*os.File, bool) {
	file, ok := in.(*os.File)
	return file, ok && term.IsTerminal(int(file.Fd()))
}

// confirmUnless prompts for confirmation, unless --yes was given.
func confirmUnless(yes bool, command *cobra.Command, what string) error {
	if yes {
		return nil
	}
	return confirm(command.Context(), command.InOrStdin(), command.ErrOrStderr(), what)
}

// confirm prompts for confirmation in a terminal. Elsewhere --yes is required.
func confirm(ctx context.Context, in io.Reader, out io.Writer, what string) error {
	terminal, ok := asTerminal(in)
	if !ok {
		return usageError{fmt.Errorf("%s needs a confirmation, and standard input is no terminal: --yes confirms it", what)}
	}
	if _, err := fmt.Fprintf(out, "%s? Type yes to go on: ", what); err != nil {
		return err
	}
	line, err := interruptible(ctx, func() (string, error) { return readLine(bytewise{terminal}) })
	if err != nil {
		return err
	}
	if strings.TrimSpace(line) != "yes" {
		return errors.New("not confirmed: nothing is changed")
	}
	return nil
}

// readLine reads up to the end of a line, or of the input.
func readLine(in io.ByteReader) (string, error) {
	var line []byte
	for {
		char, err := in.ReadByte()
		if errors.Is(err, io.EOF) || err == nil && char == '\n' {
			return strings.TrimRight(string(line), "\r"), nil
		}
		if err != nil {
			return "", err
		}
		line = append(line, char)
	}
}

// bytewise reads no byte more than needed: the rest is for the next reader.
type bytewise struct{ io.Reader }

// ReadByte implements io.ByteReader.
func (b bytewise) ReadByte() (byte, error) {
	var char [1]byte
	_, err := io.ReadFull(b.Reader, char[:])
	return char[0], err
}
