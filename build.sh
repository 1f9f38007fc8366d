#!/usr/bin/env bash
# Builds a static binary with version, commit and date in it: dist/orisun-OS-ARCH.
#
#   ./build.sh                  for this machine
#   ./build.sh linux amd64      for another one: linux, darwin or windows on amd64 or arm64
#   ./build.sh all              for all six
#
# VERSION, COMMIT and DATE replace what git says: a source archive has no git.
set -euo pipefail
cd "$(dirname "$0")"

version=${VERSION:-$(git describe --tags --always --dirty 2>/dev/null || echo unknown)}
commit=${COMMIT:-$(git rev-parse HEAD 2>/dev/null || echo unknown)}
date=${DATE:-$(git log -1 --format=%cI 2>/dev/null || date -u +%Y-%m-%dT%H:%M:%SZ)}

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
    -ldflags "-s -w -X main.version=$version -X main.commit=$commit -X main.date=$date" -o "$out" ./cmd/orisun
  echo "$out"
}

case $# in
0) build "$(go env GOOS)" "$(go env GOARCH)" ;;
1)
  [ "$1" = all ] || { echo "usage: ./build.sh [all | OS ARCH]" >&2 && exit 2; }
  for os in linux darwin windows; do
    for arch in amd64 arm64; do build $os $arch; done
  done
  ;;
2) build "$1" "$2" ;;
*) echo "usage: ./build.sh [all | OS ARCH]" >&2 && exit 2 ;;
esac
