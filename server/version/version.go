// Package version identifies the build of Orisun.
package version

import (
	"cmp"
	"runtime/debug"
)

// module is Orisun's path, by which a program that embeds the server finds its version.
const module = "github.com/oexza/orisun"

// Set by the linker for a release: -ldflags "-X github.com/oexza/orisun/server/version.version=… ….commit=… ….date=…".
var version, commit, date string

// Info describes a build. Each text is empty where nothing is known.
type Info struct{ Version, Commit, Date string }

// Read returns the values of the linker, else what Go recorded about the module and the checkout of this build.
func Read() Info {
	build := Info{Version: version, Commit: commit, Date: date}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return build
	}
	if info.Main.Path != module {
		for _, dependency := range info.Deps {
			if dependency.Path == module {
				build.Version = cmp.Or(build.Version, dependency.Version)
			}
		}
		return build
	}
	build.Version = cmp.Or(build.Version, info.Main.Version)
	for _, setting := range info.Settings {
		switch setting.Key {
		case "vcs.revision":
			build.Commit = cmp.Or(build.Commit, setting.Value)
		case "vcs.time":
			build.Date = cmp.Or(build.Date, setting.Value)
		}
	}
	return build
}
