package client

import (
	"encoding/json"
	"fmt"
	"reflect"
)

// Registry maps event types to Go types, for programs that want typed events. Fill it before it is used; it is then
// safe for concurrent use.
type Registry struct {
	decoders map[string]func(json.RawMessage) (any, error)
	types    map[reflect.Type]string
}

// Register makes E the Go type of the events of a type. It panics where either is registered already.
func Register[E any](r *Registry, eventType string) {
	if r.decoders == nil {
		r.decoders, r.types = map[string]func(json.RawMessage) (any, error){}, map[reflect.Type]string{}
	}
	goType := reflect.TypeFor[E]()
	if _, taken := r.decoders[eventType]; taken {
		panic(fmt.Sprintf("orisun: the event type %q is registered twice", eventType))
	}
	if other, taken := r.types[goType]; taken {
		panic(fmt.Sprintf("orisun: %v is registered for the event types %q and %q", goType, other, eventType))
	}
	r.types[goType] = eventType
	r.decoders[eventType] = func(data json.RawMessage) (any, error) {
		var e E
		err := json.Unmarshal(data, &e)
		return e, err
	}
}

// Decode returns the data of an event as a value of the type that is registered for it, for a type switch.
func (r *Registry) Decode(event Event) (any, error) {
	decode, found := r.decoders[event.Type]
	if !found {
		return nil, fmt.Errorf("the type %q of event %s is not registered", event.Type, event.ID)
	}
	value, err := decode(event.Data)
	if err != nil {
		return nil, fmt.Errorf("decode the data of event %s (%s): %w", event.ID, event.Type, err)
	}
	return value, nil
}

// New returns an event to save, with the type that is registered for the Go type of data.
func (r *Registry) New(data any) (NewEvent, error) {
	eventType, found := r.types[reflect.TypeOf(data)]
	if !found {
		return NewEvent{}, fmt.Errorf("the Go type %T is not registered", data)
	}
	return NewEvent{Type: eventType, Data: data}, nil
}
