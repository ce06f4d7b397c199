#!/usr/bin/env bash
# Runs all tests, the real mount included: installs what is missing, builds, and hands its arguments to ava (such as --tap, --match, file names).
set -euo pipefail
root=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.." && pwd)
. "$root/scripts/prepare.sh"
prepare_node
prepare_programs fusermount3:fuse3 git:git python3:python3 pgrep:procps unshare:util-linux flock:util-linux
prepare_package
cd "$root"
exec node_modules/.bin/ava "$@"
