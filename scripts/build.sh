#!/usr/bin/env bash
# Brings the build up to date, and installs the npm packages first where there are none. npm runs it (as `prepare`) before it packs or links, so that
# `npm pack` and `npm install -g .` work in a fresh checkout.
set -euo pipefail
root=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.." && pwd)
. "$root/scripts/prepare.sh"
prepare_node
# What the outer npm was told is not meant for the inner one.
unset npm_config_global npm_config_location npm_config_prefix npm_config_local_prefix npm_config_omit npm_config_production npm_config_dry_run
if [ -x "$root/node_modules/.bin/tsc" ]; then prepare_build; else prepare_package; fi
