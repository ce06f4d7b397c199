#!/usr/bin/env node
// Every read of /dev/fuse that waits for a request holds a thread of libuv's pool. Its size is read once, at the first use, and loading an ES module
// is one: that is why the programs here are CommonJS (package.json in this folder).
process.env.UV_THREADPOOL_SIZE ??= '8';
import('../dist/src/cli/gfs-mount.js');
