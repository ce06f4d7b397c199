#!/usr/bin/env bash
# Mounts: installs what is missing, then runs gfs-mount with the given arguments. See gfs-mount --help.
set -euo pipefail
root=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.." && pwd)
. "$root/scripts/prepare.sh"
prepare_node
prepare_programs fusermount3:fuse3
prepare_package
exec node "$root/bin/gfs-mount.js" "$@"
