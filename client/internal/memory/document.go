package memory

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// document is a JSON object as jsonb has it: how it is printed, and its top-level fields as ->> returns them.
type document struct {
	text   string
	fields map[string]string // without those that are null
}

// parseDocument reads an object; empty and null count as {}.
func parseDocument(text string) (document, error) {
	if trimmed := strings.Trim(text, " \t\r\n"); trimmed == "" || trimmed == "null" {
		text = "{}"
	}
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		return document{}, fmt.Errorf("is no JSON: %w", err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return document{}, errors.New("holds more than one JSON value")
	}
	object, ok := value.(map[string]any)
	if !ok {
		return document{}, errors.New("is no JSON object")
	}
	d := document{fields: map[string]string{}}
	var whole bytes.Buffer
	if err := printJSON(&whole, object); err != nil {
		return document{}, err
	}
	d.text = whole.String()
	for key, value := range object {
		switch value := value.(type) {
		case nil:
		case string:
			d.fields[key] = value
		default:
			var field bytes.Buffer
			if err := printJSON(&field, value); err != nil {
				return document{}, err
			}
			d.fields[key] = field.String()
		}
	}
	return d, nil
}

// printJSON prints as PostgreSQL prints jsonb: shorter keys first, numbers in full, a space after each comma and colon.
func printJSON(into *bytes.Buffer, value any) error {
	switch value := value.(type) {
	case nil:
		into.WriteString("null")
	case bool:
		into.WriteString(strconv.FormatBool(value))
	case json.Number:
		text, err := printNumber(string(value))
		if err != nil {
			return err
		}
		into.WriteString(text)
	case string:
		return printString(into, value)
	case []any:
		into.WriteByte('[')
		for i, element := range value {
			if i > 0 {
				into.WriteString(", ")
			}
			if err := printJSON(into, element); err != nil {
				return err
			}
		}
		into.WriteByte(']')
	case map[string]any:
		keys := make([]string, 0, len(value))
		for key := range value {
			keys = append(keys, key)
		}
		slices.SortFunc(keys, func(a, b string) int {
			if len(a) != len(b) {
				return len(a) - len(b)
			}
			return strings.Compare(a, b)
		})
		into.WriteByte('{')
		for i, key := range keys {
			if i > 0 {
				into.WriteString(", ")
			}
			if err := printString(into, key); err != nil {
				return err
			}
			into.WriteString(": ")
			if err := printJSON(into, value[key]); err != nil {
				return err
			}
		}
		into.WriteByte('}')
	}
	return nil
}

func printString(into *bytes.Buffer, text string) error {
	if strings.ContainsRune(text, 0) {
		return errors.New(`holds \u0000, which PostgreSQL cannot store`)
	}
	into.WriteByte('"')
	for _, r := range text {
		switch r {
		case '"', '\\':
			into.WriteByte('\\')
			into.WriteRune(r)
		case '\b':
			into.WriteString(`\b`)
		case '\f':
			into.WriteString(`\f`)
		case '\n':
			into.WriteString(`\n`)
		case '\r':
			into.WriteString(`\r`)
		case '\t':
			into.WriteString(`\t`)
		default:
			if r < ' ' {
				fmt.Fprintf(into, `\u%04x`, r)
			} else {
				into.WriteRune(r)
			}
		}
	}
	into.WriteByte('"')
	return nil
}

// maxExponent bounds how long a number becomes; it is PostgreSQL's own limit.
const maxExponent = 131_072

// printNumber prints a number in full: 1e2 is 100, 1.50e1 is 15.0.
func printNumber(text string) (string, error) {
	unsigned, negative := strings.CutPrefix(text, "-")
	mantissa, exponentText, _ := strings.Cut(strings.ToLower(unsigned), "e")
	exponent := 0
	if exponentText != "" {
		var err error
		if exponent, err = strconv.Atoi(exponentText); err != nil || exponent > maxExponent || exponent < -maxExponent {
			return "", fmt.Errorf("holds the number %.20s, which is out of range", text)
		}
	}
	whole, fraction, _ := strings.Cut(mantissa, ".")
	digits, scale := whole+fraction, len(fraction)-exponent
	if scale < 0 {
		digits, scale = digits+strings.Repeat("0", -scale), 0
	}
	if missing := scale + 1 - len(digits); missing > 0 {
		digits = strings.Repeat("0", missing) + digits
	}
	whole, fraction = strings.TrimLeft(digits[:len(digits)-scale], "0"), digits[len(digits)-scale:]
	if whole == "" {
		whole = "0"
	}
	printed := whole
	if fraction != "" {
		printed += "." + fraction
	}
	if negative && strings.Trim(printed, "0.") != "" {
		printed = "-" + printed
	}
	return printed, nil
}
