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

// state is what both rules need to know.
type state struct {
	places   int
	students map[string]bool // in the course
	courses  map[string]bool // of the student
}

func fold(course, student string) func(*state, client.Event) error {
	return func(s *state, e client.Event) error {
		if s.students == nil {
			s.students, s.courses = map[string]bool{}, map[string]bool{}
		}
		var data event
		err := e.Decode(&data)
		switch e.Type {
		case "CourseOffered":
			s.places = data.Places
		case "StudentEnrolled":
			if data.Course == course {
				s.students[data.Student] = true
			}
			if data.Student == student {
				s.courses[data.Course] = true
			}
		}
		return err
	}
}

var (
	errFull  = errors.New("the course is full")
	errLimit = fmt.Errorf("a student takes at most %d courses", maxCourses)
	errNone  = errors.New("there is no such course")
)

// enrol conflicts with enrolments in the same course and with those of the same student, and with nothing else.
func enrol(ctx context.Context, c *client.Client, boundary, course, student string) error {
	both := client.Any(client.Where("course", course), client.Where("student", student))
	_, err := client.Decide(ctx, c, boundary, both, fold(course, student), func(s state) ([]client.NewEvent, error) {
		switch {
		case s.places == 0:
			return nil, errNone
		case s.students[student]:
			return nil, nil // done before
		case len(s.students) >= s.places:
			return nil, errFull
		case len(s.courses) >= maxCourses:
			return nil, errLimit
		}
		return []client.NewEvent{{Type: "StudentEnrolled", Data: event{Course: course, Student: student}}}, nil
	})
	return err
}

// offer offers a course once.
func offer(ctx context.Context, c *client.Client, boundary, course string, places int) error {
	unused := client.IfUnchanged(client.Any(client.Where("course", course)), client.Position{})
	_, err := c.Save(
		ctx,
		boundary,
		unused,
		client.NewEvent{Type: "CourseOffered", Data: event{Course: course, Places: places}},
	)
	return err
}

func main() {
	url := flag.String("url", "grpc://admin:changeit@localhost:5005", "the server")
	boundary := flag.String("boundary", "orisun_test_1", "where the events are")
	course, student := flag.String("course", "", "the course"), flag.String("student", "", "who enrols")
	places := flag.Int("places", 0, "places of a new course")
	flag.Parse()
	c, err := client.Dial(*url)
	switch {
	case err != nil:
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
