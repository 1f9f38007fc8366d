// Command enrolment enrols students in courses under two rules that span entities: a course has a number of places,
// and a student takes at most three courses. One decision looks at both, and no aggregate has to own it.
//
//	go run -C examples ./enrolment -course maths -places 2
//	go run -C examples ./enrolment -course maths -student ann
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"

	"github.com/oexza/orisun/client"
)

const maxCourses = 3

type event struct {
	Course  string `json:"course"`
	Student string `json:"student,omitempty"`
	Places  int    `json:"places,omitempty"`
}

// state is what both rules need.
type state struct {
	places, students int  // of the course
	courses          int  // of the student
	enrolled         bool // the student in the course
}

func fold(course, student string) func(*state, client.Event) error {
	return client.FoldData(func(s *state, eventType string, e event) {
		if eventType == "CourseOffered" {
			s.places = e.Places
			return
		}
		if e.Course == course {
			s.students++
		}
		if e.Student == student {
			s.courses++
		}
		s.enrolled = s.enrolled || e.Course == course && e.Student == student
	})
}

var (
	errFull    = errors.New("the course is full")
	errLimit   = fmt.Errorf("a student takes at most %d courses", maxCourses)
	errNone    = errors.New("there is no such course")
	errOffered = errors.New("the course is offered already")
)

// enrol conflicts with enrolments in the same course and with those of the same student, and with nothing else.
func enrol(ctx context.Context, c *client.Client, boundary, course, student string) error {
	both := client.Any(client.Where("course", course), client.Where("student", student))
	_, err := client.Decide(ctx, c, boundary, both, fold(course, student), func(s state) ([]client.NewEvent, error) {
		switch {
		case s.places == 0:
			return nil, errNone
		case s.enrolled:
			return nil, nil // done before
		case s.students >= s.places:
			return nil, errFull
		case s.courses >= maxCourses:
			return nil, errLimit
		}
		return client.One("StudentEnrolled", event{Course: course, Student: student}), nil
	})
	return err
}

// offer offers a course once.
func offer(ctx context.Context, c *client.Client, boundary, course string, places int) error {
	unused := client.IfUnchanged(client.Any(client.Where("course", course)), client.Position{})
	offered := client.NewEvent{Type: "CourseOffered", Data: event{Course: course, Places: places}}
	_, err := c.Save(ctx, boundary, unused, offered)
	if errors.Is(err, client.ErrConflict) {
		return errOffered
	}
	return err
}

func main() {
	url := flag.String("url", "grpc://admin:changeit@localhost:5005", "the server")
	boundary := flag.String("boundary", "orisun_test_1", "where the events are")
	course, student := flag.String("course", "", "the course"), flag.String("student", "", "the student to enrol")
	places := flag.Int("places", 0, "places of a new course")
	flag.Parse()
	c, err := client.Dial(*url)
	switch {
	case err != nil:
	case *course == "" || (*student == "") == (*places <= 0):
		err = errors.New("-course is needed, with either -student or -places")
	case *places > 0:
		err = offer(context.Background(), c, *boundary, *course, *places)
	default:
		err = enrol(context.Background(), c, *boundary, *course, *student)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "enrolment:", err)
		os.Exit(1)
	}
}
