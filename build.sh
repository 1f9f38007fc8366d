#!/usr/bin/env bash
# Builds a static binary with version, commit and date in it: dist/orisun-OS-ARCH.
#
#   ./build.sh                  for this machine
#   ./build.sh linux amd64      for another one: linux, darwin or windows on amd64 or arm64
#   ./build.sh all              for all six
#   ./build.sh bundle           an archive for this machine that holds PostgreSQL's programs, too
#   ./build.sh bundle arm64     for Linux on another processor: amd64 or arm64
#
# A bundle needs npm and GNU tar: its PostgreSQL comes from an npm package. PG chooses another major version.
#
# VERSION, COMMIT and DATE replace what git says: a source archive has no git.
set -euo pipefail
cd "$(dirname "$0")"

version=${VERSION:-$(git describe --tags --always --dirty 2>/dev/null || echo unknown)}
commit=${COMMIT:-$(git rev-parse HEAD 2>/dev/null || echo unknown)}
package=github.com/oexza/orisun/server/version
date=${DATE:-$(git log -1 --format=%cI 2>/dev/null || date -u +%Y-%m-%dT%H:%M:%SZ)}

usage() {
  echo "usage: ./build.sh [all | OS ARCH | bundle [amd64 | arm64]]" >&2
  exit 2
}

build() {
  local os=$1 arch=$2 suffix=''
  case "$os/$arch" in
  linux/amd64 | linux/arm64 | darwin/amd64 | darwin/arm64) ;;
  windows/amd64 | windows/arm64) suffix=.exe ;;
  *)
    echo "build.sh: $os $arch is none of linux, darwin, windows with amd64, arm64" >&2
    exit 2
    ;;
  esac
  local out="${OUT:-dist}/orisun-$os-$arch$suffix"
  CGO_ENABLED=0 GOOS=$os GOARCH=$arch go build -trimpath -buildvcs=false \
    -ldflags "-s -w -X $package.version=$version -X $package.commit=$commit -X $package.date=$date" \
    -o "$out" ./cmd/orisun
  echo "$out"
}

# PostgreSQL finds its libraries and share/ relative to its programs, and the server finds these beside itself.
bundle() {
  local arch=$1 out=${OUT:-dist} native name stage
  native=$(.ci/npm-postgres "${PG:-18}" linux "$arch")
  name=orisun-$version-linux-$arch
  mkdir -p "$out"
  stage=$(mktemp -d "$out/bundle.XXXXXX")
  # shellcheck disable=SC2064 # stage is local: the trap runs when it is gone
  trap "rm -rf '$stage'" EXIT
  mkdir "$stage/$name"
  (OUT=$stage build linux "$arch" >/dev/null)
  mv "$stage/orisun-linux-$arch" "$stage/$name/orisun"
  cp -R "$native" "$stage/$name/postgresql"
  cp "$native/../LICENSE.md" "$stage/$name/postgresql/"
  cp LICENSE "$stage/$name/"
  cp packages/bundle-notice.txt "$stage/$name/NOTICE"
  # What builds extensions, and languages and libraries that Orisun does not use.
  (cd "$stage/$name/postgresql" && rm -rf lib/*.a lib/pkgconfig lib/postgresql/pgxs lib/libossp-uuid.* \
    lib/postgresql/uuid-ossp.so lib/postgresql/*plperl.so lib/postgresql/*plpython3.so \
    lib/postgresql/pltcl.so pg-symlinks.json)
  tar --owner=0 --group=0 --numeric-owner --mode=go=rX,u+w -czf "$out/$name.tar.gz" -C "$stage" "$name"
  echo "$out/$name.tar.gz"
}

case $# in
0) build "$(go env GOOS)" "$(go env GOARCH)" ;;
1)
  case $1 in
  all)
    for os in linux darwin windows; do
      for arch in amd64 arm64; do build $os $arch; done
    done
    ;;
  bundle)
    if [ "$(go env GOHOSTOS)" != linux ]; then
      echo "build.sh: a bundle is for Linux: name its processor, amd64 or arm64. On macOS: brew install postgresql" >&2
      exit 2
    fi
    bundle "$(go env GOHOSTARCH)"
    ;;
  *) usage ;;
  esac
  ;;
2)
  case "$1 $2" in
  'bundle amd64' | 'bundle arm64') bundle "$2" ;;
  bundle*) usage ;;
  *) build "$1" "$2" ;;
  esac
  ;;
*) usage ;;
esac
