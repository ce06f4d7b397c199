// A process that mounts MemoryOperations: `node serve-memory.js native|kernel DIR [JSON of FuseTransportOptions]`. For tests and benchmarks,
// which must never touch a mount from the process that serves it. Prints "mounted", ends with status 0 when the mount has ended; SIGTERM unmounts, SIGUSR2 exits
// with status 3 while it is mounted.

import type { Logger } from '../../src/lib/logger.js';
import { SystemClock } from '../../src/lib/system-clock.js';
import { createNativeTransport } from '../../src/mount/fuse-native.js';
import type { FuseTransportOptions } from '../../src/mount/fuse-operations.js';
import { createKernelTransport } from '../../src/mount/kernel/transport.js';
import { MemoryOperations } from './memory-operations.js';

const [kind, mountPoint, json] = process.argv.slice(2);

const line = (level: string) => (fields: Record<string, unknown>, message: string) =>
  process.stderr.write(
    `${level} ${message} ${JSON.stringify(fields, (_, value) => (value instanceof Error ? value.stack : typeof value === 'bigint' ? String(value) : value))}\n`,
  );
const debug = process.env.SERVE_DEBUG === undefined ? () => undefined : line('debug');
const logger: Logger = { debug, info: debug, warn: line('warn'), error: line('error'), child: () => logger };

const operations = new MemoryOperations();
for (const name of (process.env.SERVE_STUCK ?? '').split(',')) operations.stuck.add(name);
const options: FuseTransportOptions = {
  mountPoint: mountPoint as string,
  operations,
  readOnly: false,
  options: ['allow_other', 'default_permissions'],
  attributeTimeoutMs: 1000,
  entryTimeoutMs: 1000,
  operationTimeoutMs: 10_000,
  sourceName: 'gfs-memory',
  ...(JSON.parse(json ?? '{}') as Partial<FuseTransportOptions>),
};
const create = kind === 'kernel' ? createKernelTransport : createNativeTransport;
const transport = create(options, logger, new SystemClock());

process.once('SIGTERM', () => void transport.unmount());
// For the test of exits that nobody planned.
process.once('SIGUSR2', () => process.exit(3));
try {
  await transport.mount();
} catch (error) {
  process.stdout.write(`failed ${(error as Error).message}\n`);
  process.exit(1);
}
process.stdout.write('mounted\n');
await transport.ended;
process.exit(0);
