# Sourced by the scripts beside it: finds the Swift toolchain and installs Debian packages that are
# missing, saying so. Where nothing is missing it needs no root.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"

say() { printf '%s\n' "$*" >&2; }

need_swift() {
  command -v swift > /dev/null && return
  say "error: there is no 'swift' on PATH. Install the Swift toolchain (6.2 or newer) from"
  say "       https://www.swift.org/install/linux and put its usr/bin on PATH."
  exit 69
}

# need COMMAND PACKAGE WHY: installs a Debian package when the command is absent. Returns 1 when
# that is not possible, so that callers may go on without.
need() {
  command -v "$1" > /dev/null || install_package "$@"
}

# need_library NAME PACKAGE WHY: the same for a shared library.
need_library() {
  has_library "$1" || install_package "$@"
}
has_library() {
  "$(command -v ldconfig || echo /sbin/ldconfig)" -p 2> /dev/null | grep "$1 " > /dev/null
}

install_package() {
  if [ "$(id -u)" != 0 ] || ! command -v apt-get > /dev/null; then
    say "note: '$1' is missing ($3). To have it: apt-get install $2"
    return 1
  fi
  say "installing $2 ($3)"
  { apt-get install -y -q "$2" || { apt-get update -q && apt-get install -y -q "$2"; }; } \
    > /dev/null 2>&1 || { say "note: $2 could not be installed"; return 1; }
}

build() {
  say "building (release) ..."
  swift build -c release 2>&1 | grep -Ev '^\[[0-9]+/[0-9]+\] (Compiling|Write|Emitting)' >&2
  [ "${PIPESTATUS[0]}" = 0 ]
}
