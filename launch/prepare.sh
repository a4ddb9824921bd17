# Sourced by the scripts beside it: finds the Swift toolchain and installs Debian packages that are
# missing, saying so. Where nothing is missing it needs no root.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"

say() { printf '%s\n' "$*" >&2; }

need_swift() {
  command -v swift > /dev/null && return
  say "Error: there is no 'swift' on PATH. Install the Swift toolchain (6.2 or newer) from"
  say "       https://www.swift.org/install/linux and put its usr/bin on PATH."
  exit 1
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

# Programs that carry Swift's own libraries: a node needs no toolchain.
release=(-c release --static-swift-stdlib)

# build: builds the three programs; build_folder prints where they are.
build() {
  say "building (release) ..."
  follow swift build "${release[@]}"
}
build_folder() { swift build "${release[@]}" --show-bin-path; }

# follow COMMAND...: shows a build's output on standard error. Its steps are one line that is
# rewritten at a terminal, elsewhere one every 10 s; what else it says is said.
follow() {
  "$@" 2>&1 | show_steps >&2
  return "${PIPESTATUS[0]}"
}
show_steps() {
  local line shown=$SECONDS clear=
  [ ! -t 2 ] || clear=$'\r\e[K'
  while IFS= read -r line; do
    case $line in
      # The linker, about a function of Swift's own library.
      *"the use of \`mktemp' is dangerous"*) ;;
      '['[0-9]*/[0-9]*']'*)
        if [ -n "$clear" ]; then
          printf '%s%.79s' "$clear" "$line"
        elif [ $((SECONDS - shown)) -ge 10 ]; then
          printf '%s\n' "$line"
          shown=$SECONDS
        fi ;;
      *) printf '%s%s\n' "$clear" "$line" ;;
    esac
  done
  printf '%s' "$clear"
}
