package config

import "github.com/spf13/pflag"

// flagText is a flag's text as it was typed: Load parses it, so that one error names every value that is wrong.
type flagText struct{ text, kind string }

func (f *flagText) String() string        { return f.text }
func (f *flagText) Set(text string) error { f.text = text; return nil }
func (f *flagText) Type() string          { return f.kind }

// AddFlags adds --config and a flag for every setting: --pg-port for ORISUN_PG_PORT.
func AddFlags(flags *pflag.FlagSet) {
	flags.String(FileFlag, "", "YAML `FILE` with settings; ORISUN_PG_PORT is pg.port there")
	for _, f := range fieldsOf(&Config{}) {
		flag := flags.VarPF(&flagText{f.defaultText, f.kind()}, f.Flag, "", f.Usage())
		if f.kind() == "bool" {
			flag.NoOptDefVal = "true"
		}
	}
}

// Usage is the description together with the allowed values.
func (f field) Usage() string {
	if f.allowed() == "" || f.kind() == "bool" {
		return f.description
	}
	return f.description + " (" + f.allowed() + ")"
}
