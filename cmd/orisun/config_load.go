package main

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
	envPrefix  = "ORISUN_"
	configFlag = "config"
	hidden     = "********"

	fromDefault     = "default"
	fromFile        = "file"
	fromEnvironment = "environment"
	fromFlag        = "flag"
)

// clientVariables are what the client commands read. The server knows those that are not its own, too, and says nothing.
var clientVariables = []struct{ name, value, description string }{
	{
		"ORISUN_URL", "grpc://" + defaultServer,
		"Server, and the user who calls it: [grpc://|grpcs://][user:password@]host[:port]. grpcs is TLS. Percent-encode what is unusual in a password",
	},
	{"ORISUN_ADMIN_USERNAME", defaultUser, "User, where ORISUN_URL names none"},
	{"ORISUN_ADMIN_PASSWORD", defaultPassword, "Password, where ORISUN_URL has none"},
}

// configError is everything that is wrong with the configuration, at once. Secrets in it are masked. The process should end with
// exit code 2.
type configError struct{ problems []string }

func (e *configError) Error() string {
	return "invalid configuration:\n  " + strings.Join(e.problems, "\n  ")
}

// field is one setting as its tags describe it, and the place in a Config where its value goes.
type field struct {
	env, key, flag string
	defaultText    string
	description    string
	tag            reflect.StructTag
	target         reflect.Value
}

// fieldsOf lists the settings in the order of the Config. ORISUN_PG_WRITE_MAX_OPEN_CONNS is --pg-write-max-open-conns as a flag
// and pg.write_max_open_conns in the file.
func fieldsOf(c *Config) []field { return appendFields(nil, reflect.ValueOf(c).Elem()) }

func appendFields(fields []field, section reflect.Value) []field {
	for i := range section.NumField() {
		described := section.Type().Field(i)
		name, isSetting := described.Tag.Lookup("env")
		switch {
		case isSetting:
			lower := strings.ToLower(strings.TrimPrefix(name, envPrefix))
			fields = append(fields, field{
				env:         name,
				key:         strings.Replace(lower, "_", ".", 1),
				flag:        strings.ReplaceAll(lower, "_", "-"),
				defaultText: described.Tag.Get("default"),
				description: described.Tag.Get("desc"),
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

// allowed says which values the tags admit; it is empty where any text is a value, or where the description says it.
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

// parse puts the text into the Config, or says what it must be without repeating it.
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
		return low, fmt.Errorf("tags of %s: %w", f.env, err)
	}
	value, err := parse(text)
	if err != nil || value < low || value > high {
		return low, errors.New("must be " + f.allowed())
	}
	return value, nil
}

// text turns a value of the YAML file into what it would be in the environment. A text that YAML reads as a number, a date or a
// truth value is refused, as it may have lost digits on the way (a password 0123 arrives as 83). With an error comes what is left
// of the value.
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

// setting is the value in force of one field.
type setting struct {
	field
	value   string
	from    string // one of fromDefault, fromFile, fromEnvironment, fromFlag
	problem error
}

var (
	userinfo    = regexp.MustCompile(`//[^,]*@`)
	anyUserinfo = regexp.MustCompile(`(?s).*@`)
)

// shown is the value as people may see it. Only in routes that parsed it is known where a password begins; elsewhere all before
// the last @ may be one.
func (s *setting) shown() string {
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

// reading is a configuration on its way from texts to a Config.
type reading struct {
	config   *Config
	settings []*setting
	byKey    map[string]*setting
	byEnv    map[string]*setting
	byFlag   map[string]*setting
	warnings []string
	problems []string
}

// loadConfig reads defaults, the file that --config names, environ ("NAME=value") and the changed ones of flags; a later one wins.
// flags may be nil. Warnings name what is unknown and are for the log; the error is a *configError that names everything at once.
func loadConfig(flags *pflag.FlagSet, environ []string) (*Config, []string, error) {
	r := readConfig(flags, environ)
	if err := r.err(); err != nil {
		return nil, r.warnings, err
	}
	return r.config, r.warnings, nil
}

func (r *reading) err() error {
	if len(r.problems) == 0 {
		return nil
	}
	return &configError{r.problems}
}

func readConfig(flags *pflag.FlagSet, environ []string) *reading {
	r := &reading{config: &Config{}, byKey: map[string]*setting{}, byEnv: map[string]*setting{}, byFlag: map[string]*setting{}}
	defaults := make(map[string]any)
	for _, f := range fieldsOf(r.config) {
		s := &setting{field: f}
		r.settings = append(r.settings, s)
		r.byKey[f.key], r.byEnv[f.env], r.byFlag[f.flag] = s, s, s
		defaults[f.key] = f.defaultText
	}
	if flags == nil {
		flags = &pflag.FlagSet{}
	}
	r.load(fromDefault, confmap.Provider(defaults, "."), nil)
	if config := flags.Lookup(configFlag); config != nil && config.Value.String() != "" {
		r.load(fromFile, file.Provider(config.Value.String()), yaml.Parser())
	}
	r.load(fromEnvironment, env.Provider(".", env.Opt{
		Prefix:        envPrefix,
		EnvironFunc:   func() []string { return environ },
		TransformFunc: r.keyOfVariable,
	}), nil)
	r.load(fromFlag, posflag.ProviderWithFlag(flags, ".", nil, r.keyOfFlag), nil)

	for _, s := range r.settings {
		if s.problem == nil {
			s.problem = s.parse(s.value)
		}
		if s.problem != nil {
			r.reject(s.env, "%v", s.problem)
		}
	}
	r.checkBoundaries()
	r.checkTogether()
	return r
}

// contentOfYAML is where errors of the YAML parser repeat what stands in the file: a password that starts with * is an
// unknown anchor, one that starts with {{ a map key.
var contentOfYAML = regexp.MustCompile("anchor '.*'|`.*`|map key: .*")

// load lays the values of one source over those of the sources before it. Only the file can fail.
func (r *reading) load(from string, provider koanf.Provider, parser koanf.Parser) {
	layer := koanf.New(".")
	if err := layer.Load(provider, parser); err != nil {
		r.problems = append(r.problems, fmt.Sprintf("--%s: %s", configFlag, contentOfYAML.ReplaceAllString(err.Error(), hidden)))
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
		s.from = from
		s.value, s.problem = s.text(value)
	}
}

func (r *reading) keyOfVariable(name, value string) (string, any) {
	if s := r.byEnv[name]; s != nil {
		return s.key, value
	}
	if !slices.ContainsFunc(clientVariables, func(v struct{ name, value, description string }) bool { return v.name == name }) {
		r.unknown("variable", name, func(s *setting) string { return s.env })
	}
	return "", nil
}

// keyOfFlag need not ask whether the flag was changed: the provider leaves out what was not.
func (r *reading) keyOfFlag(flag *pflag.Flag) (string, any) {
	if s := r.byFlag[flag.Name]; s != nil {
		return s.key, flag.Value.String()
	}
	return "", nil
}

// unknownKey warns of a key in the file that is no setting. A section without settings says nothing; a setting that has
// settings of its own is a mistake that would leave its default in force, so it is an error.
func (r *reading) unknownKey(key string, value any) {
	for _, s := range r.settings {
		if strings.HasPrefix(key, s.key+".") {
			s.from, s.value, s.problem = fromFile, "", errors.New("must be a single value in the file: put quotes around it")
			return
		}
		empty := value == nil || reflect.ValueOf(value).Kind() == reflect.Map
		if empty && strings.HasPrefix(s.key, key+".") {
			return
		}
	}
	r.unknown("key in the file", key, func(s *setting) string { return s.key })
}

// unknown warns with the name that was probably meant.
func (r *reading) unknown(what, name string, nameOf func(*setting) string) {
	plain := func(name string) string {
		return strings.NewReplacer(".", "_", "-", "_").Replace(strings.TrimPrefix(strings.ToUpper(name), envPrefix))
	}
	names := make([]string, len(r.settings))
	for i, s := range r.settings {
		names[i] = plain(s.env)
	}
	advice := "orisun config lists all"
	if near, found := nearest.Name(plain(name), names); found {
		advice = "did you mean " + nameOf(r.settings[slices.Index(names, near)]) + "?"
	}
	r.warnings = append(r.warnings, fmt.Sprintf("unknown %s %q: %s", what, name, advice))
}

func (r *reading) valid(env string) bool { return r.byEnv[env].problem == nil }

func (r *reading) given(env string) bool { return r.byEnv[env].from != fromDefault }

// derive notes that a setting nobody gave follows from another one.
func (r *reading) derive(env, from string, value encoding.TextMarshaler) {
	text, err := value.MarshalText()
	if err != nil {
		r.reject(env, "%v", err)
		return
	}
	r.byEnv[env].value, r.byEnv[env].from = string(text), r.byEnv[from].from
}

// reject notes a problem with the value of a variable; the message says what is allowed.
func (r *reading) reject(env, format string, args ...any) {
	const long = 300
	s := r.byEnv[env]
	value := []rune(s.shown())
	if len(value) > long {
		value = append(value[:long], '…')
	}
	message := fmt.Sprintf(format, args...)
	if s.from == fromEnvironment && strings.HasPrefix(s.value, "tcp://") {
		message += "; Kubernetes sets such values for a Service of this name: set enableServiceLinks to false"
	}
	r.problems = append(r.problems, fmt.Sprintf("%s=%q (%s): %s", env, string(value), s.from, message))
}
