package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/term"
)

// readNewPassword prompts twice in a terminal, and reads one line elsewhere.
func readNewPassword(ctx context.Context, in io.Reader, out io.Writer) (string, error) {
	terminal, ok := asTerminal(in)
	if !ok {
		return readPasswordLine(ctx, in, "the new password")
	}
	var given [2]string
	for i, prompt := range []string{"New password: ", "Once more: "} {
		var err error
		if given[i], err = readHidden(ctx, terminal, out, prompt); err != nil {
			return "", err
		}
	}
	if given[0] != given[1] {
		return "", errors.New("the two passwords differ: nothing is changed")
	}
	return given[0], nil
}

// readPassword prompts for a user's present password in a terminal. Elsewhere it reads one line, and no byte more:
// the rest is for the next reader.
func readPassword(ctx context.Context, in io.Reader, out io.Writer, user string) (string, error) {
	if terminal, ok := asTerminal(in); ok {
		return readHidden(ctx, terminal, out, "Password of "+oneLine(user)+": ")
	}
	return readPasswordLine(ctx, in, "the password of "+oneLine(user))
}

// readHidden prompts in a terminal without echo. It restores the terminal when it returns, after an interrupt as
// well.
func readHidden(ctx context.Context, terminal *os.File, out io.Writer, prompt string) (string, error) {
	fd := int(terminal.Fd())
	before, err := term.GetState(fd)
	if err != nil {
		return "", fmt.Errorf("look at the terminal: %w", err)
	}
	if _, err := io.WriteString(out, prompt); err != nil {
		return "", err
	}
	read, err := interruptible(ctx, func() ([]byte, error) { return term.ReadPassword(fd) })
	if errors.Is(err, errInterrupted) {
		return "", errors.Join(err, term.Restore(fd, before))
	}
	if err != nil {
		return "", fmt.Errorf("read the password from the terminal: %w", err)
	}
	_, err = io.WriteString(out, "\n")
	return string(read), err
}

// readPasswordLine reads a line of standard input that must not be empty.
func readPasswordLine(ctx context.Context, in io.Reader, what string) (string, error) {
	line, err := interruptible(ctx, func() (string, error) { return readLine(bytewise{in}) })
	if err != nil {
		return "", fmt.Errorf("read %s from standard input: %w", what, err)
	}
	if line == "" {
		return "", usageError{fmt.Errorf("a line of standard input must be %s", what)}
	}
	return line, nil
}
