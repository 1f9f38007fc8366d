//go:build unix

package postgres

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
)

const (
	maxLogBytes  = 16 << 20 // a log larger than this is moved aside by the next start
	logTailBytes = 4 << 10
)

// openLog opens the file for PostgreSQL's output, and records the offset where this start begins.
func (s *Server) openLog() (*os.File, error) {
	info, err := os.Stat(s.logFile)
	if err == nil && info.Size() > maxLogBytes {
		err = os.Rename(s.logFile, s.logFile+".old")
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	file, err := os.OpenFile(s.logFile, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	s.logFrom, err = file.Seek(0, io.SeekEnd)
	return file, err
}

// whyEnded is how PostgreSQL ended, with its last messages. Call it after Done.
func (s *Server) whyEnded() error {
	how := s.process.exit
	if how == nil {
		how = errors.New("exit status 0")
	}
	tail, err := s.logTail()
	if err != nil {
		return errors.Join(how, err)
	}
	return fmt.Errorf("%w; the end of its log (%s): %s", how, s.logFile, lastWords(tail))
}

// lastWords is the message with which PostgreSQL ended, in one line: its FATAL or PANIC lines, or else the whole
// output.
func lastWords(log string) string {
	var words []string
	for line := range strings.Lines(log) {
		_, said, ends := strings.Cut(line, " FATAL:  ")
		if !ends {
			_, said, ends = strings.Cut(line, " PANIC:  ")
		}
		// While PostgreSQL recovers, it rejects every connection with such a line.
		if said = strings.TrimSpace(said); ends && !strings.HasPrefix(said, "the database system is ") &&
			!slices.Contains(words, said) {
			words = append(words, said)
		}
	}
	if words == nil {
		return strings.Join(strings.Fields(log), " ")
	}
	return strings.Join(words, "; ")
}

// logTail is the end of the log of this start.
func (s *Server) logTail() (tail string, err error) {
	file, err := os.Open(s.logFile)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	info, err := file.Stat()
	if err != nil {
		return "", err
	}
	from := max(s.logFrom, info.Size()-logTailBytes)
	content, err := io.ReadAll(io.NewSectionReader(file, from, info.Size()-from))
	return strings.TrimSpace(string(content)), err
}
