// Where a conformance suite gets its doors from: the real platform, or a simulated one whose time it drives.
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ExecutionContext } from 'ava';
import { systemPlatform } from '../../src/cli/system-platform.js';
import { silentLogger } from '../../src/lib/logger.js';
import type { Platform } from '../../src/lib/platform.js';
import { SimNetwork } from '../sim/platform/sim-network.js';
import { SimNode } from '../sim/platform/sim-node.js';
import { Simulator } from '../sim/platform/simulator.js';

export interface Ground {
  platform: Platform;
  /** An empty directory for this test alone. */
  root: string;
  /** A host to listen on. */
  host: string;
}

/** Runs a test's body on a ground. */
export type Harness = (t: ExecutionContext, body: (ground: Ground) => Promise<void>) => Promise<void>;

export const HARNESSES: Record<string, Harness> = {
  real: async (t, body) => {
    const directory = await mkdtemp(join(tmpdir(), 'gfs-lib-'));
    t.teardown(() => rm(directory, { recursive: true, force: true }));
    const root = join(directory, 'root');
    await mkdir(root);
    const platform = systemPlatform({ logger: silentLogger, sharedMemory: directory });
    await body({ platform, root, host: '127.0.0.1' });
  },
  simulated: async (_t, body) => {
    const simulator = new Simulator({ seed: 1 });
    const platform = new SimNode(simulator, new SimNetwork(simulator), 'node').boot();
    await simulator.drive(
      platform.disk.makeDirectory('/data').then(() => body({ platform, root: '/data', host: 'node' })),
      600_000,
    );
  },
};
