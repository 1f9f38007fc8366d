package service

import (
	"fmt"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	orisunpb "github.com/oexza/orisun/proto"
)

// maxViolations bounds how many violations an error reports: a save may have thousands of events.
const maxViolations = 16

// violations collects what is wrong with a request, each with the path of its field, so that one error reports all.
type violations []*errdetails.BadRequest_FieldViolation

func (v *violations) add(field, format string, args ...any) {
	if len(*v) < maxViolations {
		*v = append(*v, &errdetails.BadRequest_FieldViolation{Field: field, Description: fmt.Sprintf(format, args...)})
	}
}

// err is INVALID_ARGUMENT with all violations, or nil when there are none.
func (v violations) err() error {
	if len(v) == 0 {
		return nil
	}
	texts := make([]string, len(v))
	for i, violation := range v {
		texts[i] = violation.Field + ": " + violation.Description
	}
	return withDetails(codes.InvalidArgument, strings.Join(texts, "; "), &errdetails.BadRequest{FieldViolations: v})
}

// text checks a string that PostgreSQL stores or compares: its length in bytes, and that it holds no NUL, which
// PostgreSQL's text cannot.
func (v *violations) text(field, value string, least, most int) {
	switch {
	case fits(value, least, most):
	case len(value) < least:
		v.add(field, "is required")
	case len(value) > most:
		v.add(field, "has %d bytes, at most %d are allowed", len(value), most)
	default:
		v.add(field, "holds a NUL character, which PostgreSQL cannot store")
	}
}

// trimmed refuses space around a key or a value of an index: space is significant, so nothing would match.
func (v *violations) trimmed(field, value string) {
	if trimmed := strings.TrimSpace(value); trimmed != value {
		v.add(field, "is %q: space around it counts, too; write %q", value, trimmed)
	}
}

// fits returns whether text would accept a value. Loops over many values call it first, and build no path for valid
// ones.
func fits(value string, least, most int) bool {
	return len(value) >= least && len(value) <= most && strings.IndexByte(value, 0) < 0
}

// boundary checks only the form of a name: the registry decides which boundaries exist.
func (v *violations) boundary(name string) {
	v.text("boundary", name, 1, maxBoundaryBytes)
}

func (v *violations) criteria(field string, criteria []*orisunpb.Criterion) {
	if len(criteria) > maxCriteria {
		v.add(field, "has %d criteria, at most %d are allowed", len(criteria), maxCriteria)
		return
	}
	for i, criterion := range criteria {
		if len(criterion.GetTags()) > maxTags {
			v.add(fmt.Sprintf("%s[%d].tags", field, i), "has %d tags, at most %d are allowed", len(criterion.GetTags()), maxTags)
			continue
		}
		for j, tag := range criterion.GetTags() {
			if !fits(tag.GetKey(), 1, maxNameBytes) || !fits(tag.GetValue(), 0, maxTagValueBytes) {
				v.text(fmt.Sprintf("%s[%d].tags[%d].key", field, i, j), tag.GetKey(), 1, maxNameBytes)
				v.text(fmt.Sprintf("%s[%d].tags[%d].value", field, i, j), tag.GetValue(), 0, maxTagValueBytes)
			}
		}
	}
}

// withDetails is a status with details; they are Orisun's own and always marshal.
func withDetails(code codes.Code, message string, details ...detail) error {
	s := status.New(code, message)
	for _, d := range details {
		detailed, err := s.WithDetails(d)
		if err != nil {
			return internal(fmt.Errorf("add %T to a status: %w", d, err))
		}
		s = detailed
	}
	return s.Err()
}
