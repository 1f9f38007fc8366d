package service

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"sync"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

const (
	// maxNesting is how deep objects and arrays may be nested, the document itself included. PostgreSQL's parser
	// recurses: with its default max_stack_depth (2 MB) it takes 10,000 levels and refuses 20,000. 1,000 leaves room
	// for a smaller setting and for other code that walks the stored value on the same stack.
	maxNesting = 1000

	// maxPrinted is where the count of a document's size stops: PostgreSQL makes no text of 1 GB or more.
	maxPrinted = 1 << 30

	// The bounds of PostgreSQL's numeric, from set_var_from_str and make_result in src/backend/utils/adt/numeric.c: the
	// power of ten of the first digit (a 16-bit weight counts groups of four digits), the digits after the decimal
	// point (14 bits) and the exponent as it is written (below INT_MAX/2). PostgreSQL 16 and later allow INT_MAX/2
	// itself, which only a zero can make use of. The last two bounds hold for zeros too.
	maxNumericPower    = 4*(math.MaxInt16+1) - 1
	maxNumericScale    = 1<<14 - 1
	maxNumericExponent = math.MaxInt32/2 - 1

	// maxPooledDocument is the largest buffer that is pooled for later documents. Events are rarely that large: it is
	// the default of ORISUN_NATS_MAX_PAYLOAD.
	maxPooledDocument = 1 << 20

	jsonSpace = " \t\r\n"
)

// documentReader is a JSON decoder and the buffer that it reads in place.
type documentReader struct {
	buffer  bytes.Buffer
	decoder *jsontext.Decoder
}

var documentReaders = sync.Pool{New: func() any {
	reader := new(documentReader)
	reader.decoder = jsontext.NewDecoder(&reader.buffer)
	return reader
}}

// checkDocument returns whether PostgreSQL (13 and later, in a database encoded in UTF8) accepts text as a jsonb
// object, and its size there. An event's data and metadata are checked before they join a batch: in a batch, one value
// that jsonb refuses fails its neighbours too.
//
// size is the length in bytes of the stored value as PostgreSQL prints it (data::text), which is what readers and
// JetStream get. It is exact, unless an object repeats a name: jsonb stores the last of them, size counts all. It can
// be far above len(text), as jsonb prints 1e1000 with all its 1,001 digits. The count stops at 1<<30.
//
// The error says what is wrong and at which byte (the first is 0); callers put the field's name before it. Refused are:
// text that is not JSON, not UTF-8 or not an object; \u0000 and halves of surrogate pairs; a number beyond PostgreSQL's
// numeric; nesting deeper than maxNesting. PostgreSQL's bounds on the elements of one array (2^24) and the names of one
// object (2^23) are not checked: a document that reaches them has a size above 48 MB.
func checkDocument(text string) (size int, err error) {
	if err := checkSyntax(text); err != nil {
		return 0, err
	}
	return measureDocument(text)
}

// checkSyntax uses the decoder, which is as strict as PostgreSQL about UTF-8, control characters and surrogates.
func checkSyntax(text string) error {
	reader := documentReaders.Get().(*documentReader)
	defer func() {
		if reader.buffer.Cap() <= maxPooledDocument {
			documentReaders.Put(reader)
		}
	}()
	reader.buffer.Reset()
	reader.buffer.WriteString(text)
	reader.decoder.Reset(&reader.buffer, jsontext.AllowDuplicateNames(true))

	value, err := reader.decoder.ReadValue()
	if err != nil {
		return explainSyntaxError(text, err)
	}
	if value.Kind() != jsontext.KindBeginObject {
		return fmt.Errorf(`not a JSON object: the top level has to be {"name": value}, not %s`, value.Kind())
	}
	end := reader.decoder.InputOffset()
	switch _, err := reader.decoder.ReadToken(); {
	case err == nil:
		return fmt.Errorf("not one JSON object: another value follows the one that ends at byte %d", end)
	case !errors.Is(err, io.EOF):
		return explainSyntaxError(text, err)
	}
	return nil
}

// explainSyntaxError reports the decoder's error without the path to it, which can be as long as the document.
func explainSyntaxError(text string, err error) error {
	var syntax *jsontext.SyntacticError
	switch {
	case errors.Is(err, io.EOF):
		return errors.New("empty: send at least {}")
	case !errors.As(err, &syntax):
		return fmt.Errorf("not JSON: %w", err)
	}
	at := int(syntax.ByteOffset)
	switch {
	case strings.Count(string(syntax.JSONPointer), "/") > maxNesting: // the decoder's own bound is higher
		return nestingError(at)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("not JSON: it ends at byte %d, before the object does", len(text))
	case isSurrogateEscape(text[at:]):
		return fmt.Errorf(`%s at byte %d is half of a surrogate pair: write both halves, the high one first`,
			text[at:at+len(`\ud800`)], at)
	}
	return fmt.Errorf("not JSON: %w at byte %d", syntax.Err, at)
}

func nestingError(at int) error {
	return fmt.Errorf("nested deeper than %d levels at byte %d: flatten it", maxNesting, at)
}

// isSurrogateEscape returns whether text begins with an escape from \ud800 to \udfff.
func isSurrogateEscape(text string) bool {
	if len(text) < len(`\ud800`) || !strings.HasPrefix(text, `\u`) {
		return false
	}
	code, err := strconv.ParseUint(text[2:6], 16, 16)
	return err == nil && utf16.IsSurrogate(rune(code))
}

// measureDocument returns the length of valid JSON as jsonb prints it. It refuses valid JSON that jsonb refuses, or
// that is nested deeper than maxNesting.
func measureDocument(text string) (size int, err error) {
	nesting := 0
	for at := 0; at < len(text); size = min(size, maxPrinted) {
		length, printed := 1, 1 // of brackets and the letters of null, true and false
		switch text[at] {
		case ' ', '\t', '\n', '\r':
			printed = 0
		case ',', ':':
			printed = len(", ")
		case '{', '[':
			if nesting++; nesting > maxNesting {
				return 0, nestingError(at)
			}
		case '}', ']':
			nesting--
		case '"':
			if length, printed, err = measureString(text[at:]); err != nil {
				return 0, fmt.Errorf(`\u0000 at byte %d: %w`, at+length, err)
			}
		case '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9':
			if length, printed, err = measureNumber(text[at:]); err != nil {
				return 0, fmt.Errorf("the number at byte %d is beyond PostgreSQL's numeric: %w; send it as a string", at, err)
			}
		}
		at += length
		size += printed
	}
	return size, nil
}

var errNUL = errors.New("PostgreSQL stores no NUL character; leave it out")

// measureString returns the length of the JSON string that text begins with, quotes included, and its length as jsonb
// prints it: only the quote, the backslash and the control characters below space stay escaped. For errNUL, length is
// the offset of \u0000.
func measureString(text string) (length, printed int, err error) {
	length = 1 + strings.IndexByte(text[1:], '"') + 1
	if strings.IndexByte(text[:length], '\\') < 0 {
		return length, length, nil
	}
	for length = 1; ; {
		switch text[length] {
		case '"':
			return length + 1, printed + len(`""`), nil
		case '\\':
			escape, becomes := measureEscape(text[length:])
			if becomes == 0 {
				return length, 0, errNUL
			}
			length += escape
			printed += becomes
		default:
			length++
			printed++
		}
	}
}

// measureEscape returns the length of the escape, or pair of escapes, that text begins with, and of its form in jsonb:
// 0 for \u0000.
func measureEscape(text string) (length, printed int) {
	switch text[1] {
	case '"', '\\', 'b', 'f', 'n', 'r', 't':
		return len(`\n`), len(`\n`)
	case '/':
		return len(`\/`), len(`/`)
	}
	// The remaining case is \u with four hexadecimal digits: the decoder has checked them.
	code, _ := strconv.ParseUint(text[2:6], 16, 16)
	const escape = len(`\u0000`)
	switch char := rune(code); {
	case char == 0:
		return escape, 0
	case strings.ContainsRune("\b\f\n\r\t\"\\", char):
		return escape, len(`\n`)
	case char < ' ':
		return escape, escape
	case utf16.IsSurrogate(char):
		return 2 * escape, utf8.UTFMax
	default:
		return escape, utf8.RuneLen(char)
	}
}

// measureNumber returns the length of the JSON number that text begins with, and its length as numeric prints it: no
// exponent, no minus before a zero, and as many digits after the decimal point as were written, moved by the exponent.
// The error names the bound of numeric that the number exceeds.
func measureNumber(text string) (length, printed int, err error) {
	minus := 0
	if text[0] == '-' {
		minus = 1
	}
	whole := text[minus : minus+countDigits(text[minus:])]
	length = minus + len(whole)

	fraction := ""
	if length < len(text) && text[length] == '.' {
		length++
		fraction = text[length : length+countDigits(text[length:])]
		length += len(fraction)
	}
	exponent := 0
	if length < len(text) && (text[length] == 'e' || text[length] == 'E') {
		length++
		from := length
		if text[length] == '-' || text[length] == '+' {
			length++
		}
		length += countDigits(text[length:])
		exponent, err = strconv.Atoi(text[from:length]) // fails only when it is out of range
		if err != nil || exponent < -maxNumericExponent || exponent > maxNumericExponent {
			return 0, 0, fmt.Errorf("its exponent is not within ±%d", maxNumericExponent)
		}
	}

	scale := max(0, len(fraction)-exponent)
	if scale > maxNumericScale {
		return 0, 0, fmt.Errorf("more than %d digits after the decimal point", maxNumericScale)
	}
	if scale > 0 {
		printed = len(".") + scale
	}
	power := exponent + len(whole) - 1 // the power of ten of the first digit that is not 0
	if whole == "0" {
		significant := strings.TrimLeft(fraction, "0")
		if significant == "" {
			return length, printed + len("0"), nil
		}
		power = exponent - (len(fraction) - len(significant)) - 1
	}
	if power > maxNumericPower {
		return 0, 0, fmt.Errorf("more than %d digits before the decimal point", maxNumericPower+1)
	}
	return length, printed + minus + max(power, 0) + 1, nil
}

// countDigits returns how many digits text begins with.
func countDigits(text string) int {
	for at := range len(text) {
		if text[at] < '0' || text[at] > '9' {
			return at
		}
	}
	return len(text)
}
