# Sourced by the scripts beside it: brings npm packages and the build up to date, and installs programs of the system. It does nothing, fast, when
# all is there. `root` is the folder of the package.

# prepare_programs COMMAND:PACKAGE ... installs the packages of commands that are missing (as root), or prints how to and fails.
prepare_programs() {
  local pair missing=()
  for pair in "$@"; do
    command -v "${pair%%:*}" > /dev/null || missing+=("${pair#*:}")
  done
  [ ${#missing[@]} -eq 0 ] && return 0
  local install="apt-get install -y --no-install-recommends ${missing[*]}"
  if [ "$(id -u)" -ne 0 ] || ! command -v apt-get > /dev/null; then
    echo "missing: ${missing[*]}; install with: sudo $install" >&2
    return 1
  fi
  echo "installing ${missing[*]}" >&2
  export DEBIAN_FRONTEND=noninteractive
  # Lists of packages that are absent or old make the first attempt fail.
  $install > /dev/null 2>&1 || { apt-get update > /dev/null && $install > /dev/null; }
}

# prepare_node says what to do when Node is missing or too old.
prepare_node() {
  if ! node -e 'const [a, b] = process.versions.node.split("."); process.exit(a > 20 || (a == 20 && b >= 15) ? 0 : 1)' 2> /dev/null; then
    echo "Node 20.15 or newer is needed (https://nodejs.org); found: $(node --version 2> /dev/null || echo none)" >&2
    return 1
  fi
}

# prepare_package installs npm packages when package-lock.json is newer than they are, and builds when a source is newer than the build.
# An installed package has neither sources nor a lock file and needs neither.
prepare_package() {
  [ -f "$root/tsconfig.json" ] || return 0
  (
    cd "$root" || exit 1
    if is_current; then exit 0; fi
    # One at a time: two builds at once would see each other's half. Joined by &&, because callers that test the outcome switch `set -e` off.
    exec 9> .prepare.lock && flock 9 && install_packages && build
  )
}

# prepare_build builds when a source is newer than the build, with whatever packages there are.
prepare_build() {
  (
    cd "$root" || exit 1
    exec 9> .prepare.lock && flock 9 && build
  )
}

install_packages() {
  packages_are_current && return 0
  if [ -L node_modules ]; then
    echo "node_modules is a symbolic link: npm would empty what it points to; run npm ci where that is" >&2
    return 1
  fi
  echo "installing npm packages" >&2
  npm ci --ignore-scripts --no-audit --no-fund < /dev/null >&2 && touch node_modules/.installed
}

build() {
  build_is_current && return 0
  echo "building" >&2
  npm run --silent build < /dev/null >&2
}

is_current() {
  packages_are_current && build_is_current
}

packages_are_current() {
  [ -f node_modules/.installed ] && [ ! package-lock.json -nt node_modules/.installed ]
}

build_is_current() {
  [ -f dist/.built ] && [ -z "$(find src test bench bin tsconfig.json package-lock.json -newer dist/.built -type f -print -quit 2> /dev/null)" ]
}
