package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"golang.org/x/term"
)

// readNewPassword asks twice in a terminal, and reads one line elsewhere.
func readNewPassword(in io.Reader, out io.Writer) (string, error) {
	terminal, ok := asTerminal(in)
	if !ok {
		return readPasswordLine(bufio.NewReader(in), "the new password")
	}
	var given [2]string
	for i, prompt := range []string{"New password: ", "Once more: "} {
		var err error
		if given[i], err = readHidden(terminal, out, prompt); err != nil {
			return "", err
		}
	}
	if given[0] != given[1] {
		return "", errors.New("the two passwords differ: nothing is changed")
	}
	return given[0], nil
}

// readPassword asks for somebody's present password in a terminal, and reads one line elsewhere, no byte more: the rest is for whoever reads next.
func readPassword(in io.Reader, out io.Writer, user string) (string, error) {
	if terminal, ok := asTerminal(in); ok {
		return readHidden(terminal, out, "Password of "+oneLine(user)+": ")
	}
	return readPasswordLine(bytewise{in}, "the password of "+oneLine(user))
}

func asTerminal(in io.Reader) (*os.File, bool) {
	file, ok := in.(*os.File)
	return file, ok && term.IsTerminal(int(file.Fd()))
}

// readHidden asks in a terminal that does not show the answer. The terminal is as it was when this returns, after an interrupt as well.
func readHidden(terminal *os.File, out io.Writer, prompt string) (string, error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	fd := int(terminal.Fd())
	before, err := term.GetState(fd)
	if err != nil {
		return "", fmt.Errorf("look at the terminal: %w", err)
	}
	if _, err := io.WriteString(out, prompt); err != nil {
		return "", err
	}
	var read []byte
	ended := make(chan error, 1)
	go func() {
		var err error
		read, err = term.ReadPassword(fd)
		ended <- err
	}()
	select {
	case err = <-ended:
	case <-ctx.Done(): // nothing wakes who reads a terminal; the process ends
		return "", errors.Join(errors.New("interrupted: nothing is changed"), term.Restore(fd, before))
	}
	if err != nil {
		return "", fmt.Errorf("read the password from the terminal: %w", err)
	}
	_, err = io.WriteString(out, "\n")
	return string(read), err
}

// readPasswordLine reads up to the end of a line.
func readPasswordLine(in io.ByteReader, what string) (string, error) {
	var line []byte
	for {
		char, err := in.ReadByte()
		if err != nil && !errors.Is(err, io.EOF) {
			return "", fmt.Errorf("read %s from standard input: %w", what, err)
		}
		if err != nil || char == '\n' {
			break
		}
		line = append(line, char)
	}
	text := strings.TrimRight(string(line), "\r")
	if text == "" {
		return "", usageError{fmt.Errorf("a line of standard input must be %s", what)}
	}
	return text, nil
}

// bytewise reads no more than it is asked for.
type bytewise struct{ io.Reader }

// ReadByte implements io.ByteReader.
func (b bytewise) ReadByte() (byte, error) {
	var char [1]byte
	_, err := io.ReadFull(b.Reader, char[:])
	return char[0], err
}
