// Package nearest finds the known name that was probably meant by an unknown one.
package nearest

import "github.com/agnivade/levenshtein"

// Name is the one of names at the smallest distance from given, if that is at most two fifths of given's length.
func Name(given string, names []string) (name string, found bool) {
	least := len(given)*2/5 + 1
	for _, candidate := range names {
		if distance := levenshtein.ComputeDistance(given, candidate); distance < least {
			least, name, found = distance, candidate, true
		}
	}
	return name, found
}
