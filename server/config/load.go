package config

import (
	"cmp"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/providers/confmap"
	"github.com/knadh/koanf/providers/env/v2"
	"github.com/knadh/koanf/providers/file"
	"github.com/knadh/koanf/providers/posflag"
	"github.com/knadh/koanf/v2"
	"github.com/spf13/pflag"

	"github.com/oexza/orisun/service/nearest"
)

const (
	// FileFlag is the flag that names the YAML file.
	FileFlag = "config"

	envPrefix = "ORISUN_"
	hidden    = "********"

	fromDefault     = "default"
	fromFile        = "file"
	fromEnvironment = "environment"
	fromFlag        = "flag"
)

// clientVariables are the variables of the client commands. The server accepts those that are not its own without a
// warning.
var clientVariables = []struct{ name, value, description string }{
	{
		"ORISUN_URL", "grpc://localhost:" + DefaultGRPCPort,
		"Server, or the nodes of a cluster, and the user of the calls: " +
			"[grpc://|grpcs://][user:password@]host[:port][,host[:port]...]. Calls go to all healthy nodes in turns. grpcs is " +
			"TLS. Percent-encode what is unusual in a password",
	},
	{"ORISUN_ADMIN_USERNAME", DefaultAdminUsername, "User, where ORISUN_URL names none"},
	{"ORISUN_ADMIN_PASSWORD", DefaultAdminPassword, "Password, where ORISUN_URL has none"},
}

// InvalidError is everything that is wrong with the configuration, at once. Secrets in it are masked. The process
// should end with exit code 2.
type InvalidError struct{ problems []string }

func (e *InvalidError) Error() string {
	return "invalid configuration:\n  " + strings.Join(e.problems, "\n  ")
}

// field is one setting as its tags and descriptions describe it, with the place of its value in a Config.
type field struct {
	Variable, Key, Flag string
	defaultText         string
	description         string
	tag                 reflect.StructTag
	target              reflect.Value
}

// fieldsOf lists the settings in the order of the Config. ORISUN_PG_WRITE_MAX_OPEN_CONNS is --pg-write-max-open-conns
// as a flag and pg.write_max_open_conns in the file.
func fieldsOf(c *Config) []field { return appendFields(nil, reflect.ValueOf(c).Elem()) }

func appendFields(fields []field, section reflect.Value) []field {
	for i := range section.NumField() {
		described := section.Type().Field(i)
		name, isSetting := described.Tag.Lookup("env")
		switch {
		case isSetting:
			lower := strings.ToLower(strings.TrimPrefix(name, envPrefix))
			fields = append(fields, field{
				Variable:    name,
				Key:         strings.Replace(lower, "_", ".", 1),
				Flag:        strings.ReplaceAll(lower, "_", "-"),
				defaultText: descriptions[name].defaultText,
				description: descriptions[name].description,
				tag:         described.Tag,
				target:      section.Field(i),
			})
		case described.Type.Kind() == reflect.Struct:
			fields = appendFields(fields, section.Field(i))
		}
	}
	return fields
}

// kind is the word for the value in a flag's help.
func (f field) kind() string {
	switch f.target.Interface().(type) {
	case bool:
		return "bool"
	case time.Duration:
		return "duration"
	case int, int32, uint32:
		return "int"
	}
	return "string"
}

// allowed describes the values that the tags admit. It is empty where any text is a value, or where the description
// has it.
func (f field) allowed() string {
	low, high := f.tag.Get("min"), f.tag.Get("max")
	switch {
	case f.tag.Get("enum") != "":
		return "one of " + strings.ReplaceAll(f.tag.Get("enum"), ",", ", ")
	case f.tag.Get("notempty") != "":
		return "not empty"
	case f.kind() == "bool":
		return "true or false"
	case f.kind() == "int":
		return "a whole number from " + low + " to " + high
	case f.kind() == "duration":
		return "a duration from " + low + " to " + high
	}
	return ""
}

// parse puts the text into the Config. Its error describes the allowed values without repeating the text.
func (f field) parse(text string) error {
	wrong := errors.New("must be " + f.allowed())
	if options := f.tag.Get("enum"); options != "" {
		all := strings.Split(options, ",")
		i := slices.IndexFunc(all, func(option string) bool { return strings.EqualFold(option, text) })
		if i < 0 {
			return wrong
		}
		text = all[i]
	}
	if target, ok := f.target.Addr().Interface().(encoding.TextUnmarshaler); ok {
		return target.UnmarshalText([]byte(text))
	}
	switch f.kind() {
	case "bool":
		yes, err := strconv.ParseBool(text)
		if err != nil {
			return wrong
		}
		f.target.SetBool(yes)
	case "duration":
		d, err := within(f, text, time.ParseDuration)
		if err != nil {
			return fmt.Errorf("%w, such as %s", err, f.defaultText)
		}
		f.target.SetInt(int64(d))
	case "int":
		n, err := within(f, text, strconv.Atoi)
		if err != nil {
			return err
		}
		f.target.Set(reflect.ValueOf(n).Convert(f.target.Type()))
	default:
		if text == "" && f.tag.Get("notempty") != "" {
			return wrong
		}
		f.target.SetString(text)
	}
	return nil
}

func within[T cmp.Ordered](f field, text string, parse func(string) (T, error)) (T, error) {
	low, lowErr := parse(f.tag.Get("min"))
	high, highErr := parse(f.tag.Get("max"))
	if err := errors.Join(lowErr, highErr); err != nil {
		return low, fmt.Errorf("tags of %s: %w", f.Variable, err)
	}
	value, err := parse(text)
	if err != nil || value < low || value > high {
		return low, errors.New("must be " + f.allowed())
	}
	return value, nil
}

// text converts a value of the YAML file into what it would be in the environment. A text that YAML reads as a
// number, a date or a boolean is rejected, as it may have lost digits (a password 0123 arrives as 83). With an error
// comes the remaining text of the value.
func (f field) text(value any) (string, error) {
	switch value := value.(type) {
	case nil:
		return "", errors.New(`has no value in the file: write "" for an empty one, or remove the line`)
	case string:
		return value, nil
	case []any:
		switch f.target.Interface().(type) {
		case Boundaries:
			text, err := json.Marshal(value)
			return string(text), err
		case Routes:
			routes := make([]string, len(value))
			for i, route := range value {
				routes[i] = fmt.Sprint(route)
			}
			return strings.Join(routes, ","), nil
		}
	case int, int64, uint64, float64, bool:
		if f.kind() != "string" {
			return fmt.Sprint(value), nil
		}
	}
	return fmt.Sprint(value), errors.New("must be a text in the file: put quotes around it")
}

// Setting is one setting with the value that is in force.
type Setting struct {
	field
	value   string
	From    string // one of fromDefault, fromFile, fromEnvironment, fromFlag
	problem error
}

var (
	userinfo    = regexp.MustCompile(`//[^,]*@`)
	anyUserinfo = regexp.MustCompile(`(?s).*@`)
)

// Shown is the value as people may see it. The start of a password is known only in routes that were parsed.
// Elsewhere all before the last @ may be a password.
func (s *Setting) Shown() string {
	_, routes := s.target.Interface().(Routes)
	switch secret := s.tag.Get("secret"); {
	case secret == "true" && s.value != "":
		return hidden
	case secret == "userinfo" && routes && s.problem == nil:
		return userinfo.ReplaceAllString(s.value, "//"+hidden+"@")
	case secret == "userinfo":
		return anyUserinfo.ReplaceAllString(s.value, hidden+"@")
	}
	return s.value
}

// IsSecret reports that the value is never shown.
func (s *Setting) IsSecret() bool { return s.tag.Get("secret") == "true" }

// Reading is what Read found in all sources.
type Reading struct {
	config   *Config
	Settings []*Setting
	byKey    map[string]*Setting
	byEnv    map[string]*Setting
	byFlag   map[string]*Setting
	Warnings []string
	problems []string
}

// Load reads defaults, the file that --config names, environ ("NAME=value") and the changed flags. A later source
// takes precedence. flags may be nil. Warnings name unknown settings and are for the log. The error is an
// *InvalidError that names everything at once.
func Load(flags *pflag.FlagSet, environ []string) (*Config, []string, error) {
	r := Read(flags, environ)
	if err := r.Err(); err != nil {
		return nil, r.Warnings, err
	}
	return r.config, r.Warnings, nil
}

// Err is an *InvalidError that names everything that is wrong, or nil.
func (r *Reading) Err() error {
	if len(r.problems) == 0 {
		return nil
	}
	return &InvalidError{r.problems}
}

// Read is Load that shows each setting, wrong ones included.
func Read(flags *pflag.FlagSet, environ []string) *Reading {
	r := &Reading{
		config: &Config{}, byKey: map[string]*Setting{}, byEnv: map[string]*Setting{}, byFlag: map[string]*Setting{},
	}
	defaults := make(map[string]any)
	for _, f := range fieldsOf(r.config) {
		s := &Setting{field: f}
		r.Settings = append(r.Settings, s)
		r.byKey[f.Key], r.byEnv[f.Variable], r.byFlag[f.Flag] = s, s, s
		defaults[f.Key] = f.defaultText
	}
	if flags == nil {
		flags = &pflag.FlagSet{}
	}
	r.load(fromDefault, confmap.Provider(defaults, "."), nil)
	if config := flags.Lookup(FileFlag); config != nil && config.Value.String() != "" {
		r.load(fromFile, file.Provider(config.Value.String()), yaml.Parser())
	}
	r.load(fromEnvironment, env.Provider(".", env.Opt{
		Prefix:        envPrefix,
		EnvironFunc:   func() []string { return environ },
		TransformFunc: r.keyOfVariable,
	}), nil)
	r.load(fromFlag, posflag.ProviderWithFlag(flags, ".", nil, r.keyOfFlag), nil)

	for _, s := range r.Settings {
		if s.problem == nil {
			s.problem = s.parse(s.value)
		}
		if s.problem != nil {
			r.reject(s.Variable, "%v", s.problem)
		}
	}
	r.checkBoundaries()
	r.checkTogether()
	return r
}

// contentOfYAML matches the parts of a YAML parser's errors that repeat the file's content: a password that starts
// with * is an unknown anchor, one that starts with {{ a map key.
var contentOfYAML = regexp.MustCompile("anchor '.*'|`.*`|map key: .*")

// load merges the values of one source over those of earlier sources. Only the file can fail.
func (r *Reading) load(from string, provider koanf.Provider, parser koanf.Parser) {
	layer := koanf.New(".")
	if err := layer.Load(provider, parser); err != nil {
		r.problems = append(r.problems,
			fmt.Sprintf("--%s: %s", FileFlag, contentOfYAML.ReplaceAllString(err.Error(), hidden)))
		return
	}
	values := layer.All()
	for _, key := range slices.Sorted(maps.Keys(values)) {
		value := values[key]
		s := r.byKey[key]
		if s == nil {
			r.unknownKey(key, value)
			continue
		}
		s.From = from
		s.value, s.problem = s.text(value)
	}
}

func (r *Reading) keyOfVariable(name, value string) (string, any) {
	if s := r.byEnv[name]; s != nil {
		return s.Key, value
	}
	if !slices.ContainsFunc(clientVariables,
		func(v struct{ name, value, description string }) bool { return v.name == name }) {
		r.unknown("variable", name, func(s *Setting) string { return s.Variable })
	}
	return "", nil
}

// keyOfFlag need not check whether the flag was changed: the provider omits unchanged flags.
func (r *Reading) keyOfFlag(flag *pflag.Flag) (string, any) {
	if s := r.byFlag[flag.Name]; s != nil {
		return s.Key, flag.Value.String()
	}
	return "", nil
}

// unknownKey warns of a key in the file that is no setting. A section without settings causes no warning. A setting
// with nested settings is a mistake that would leave its default in force, so it is an error.
func (r *Reading) unknownKey(key string, value any) {
	for _, s := range r.Settings {
		if strings.HasPrefix(key, s.Key+".") {
			s.From, s.value, s.problem = fromFile, "", errors.New("must be a single value in the file: put quotes around it")
			return
		}
		empty := value == nil || reflect.ValueOf(value).Kind() == reflect.Map
		if empty && strings.HasPrefix(s.Key, key+".") {
			return
		}
	}
	r.unknown("key in the file", key, func(s *Setting) string { return s.Key })
}

// unknown warns, and suggests the name that was probably meant.
func (r *Reading) unknown(what, name string, nameOf func(*Setting) string) {
	plain := func(name string) string {
		return strings.NewReplacer(".", "_", "-", "_").Replace(strings.TrimPrefix(strings.ToUpper(name), envPrefix))
	}
	names := make([]string, len(r.Settings))
	for i, s := range r.Settings {
		names[i] = plain(s.Variable)
	}
	advice := "orisun config lists all"
	if near, found := nearest.Name(plain(name), names); found {
		advice = "did you mean " + nameOf(r.Settings[slices.Index(names, near)]) + "?"
	}
	r.Warnings = append(r.Warnings, fmt.Sprintf("unknown %s %q: %s", what, name, advice))
}

func (r *Reading) valid(env string) bool { return r.byEnv[env].problem == nil }

func (r *Reading) given(env string) bool { return r.byEnv[env].From != fromDefault }

// derive records that a default setting follows from another setting.
func (r *Reading) derive(env, from string, value encoding.TextMarshaler) {
	text, err := value.MarshalText()
	if err != nil {
		r.reject(env, "%v", err)
		return
	}
	r.byEnv[env].value, r.byEnv[env].From = string(text), r.byEnv[from].From
}

// reject records a problem with the value of a variable. The message describes what is allowed.
func (r *Reading) reject(env, format string, args ...any) {
	const long = 300
	s := r.byEnv[env]
	value := []rune(s.Shown())
	if len(value) > long {
		value = append(value[:long], '…')
	}
	message := fmt.Sprintf(format, args...)
	if s.From == fromEnvironment && strings.HasPrefix(s.value, "tcp://") {
		message += "; Kubernetes sets such values for a Service of this name: set enableServiceLinks to false"
	}
	r.problems = append(r.problems, fmt.Sprintf("%s=%q (%s): %s", env, string(value), s.From, message))
}
