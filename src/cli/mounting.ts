// The life of one mount: cluster (when it is embedded), client, operations, transport, and their end in the reverse order with everything flushed.
import type { FileSystemClient } from '../client/types.js';
import type { Clock } from '../lib/clock.js';
import type { Platform } from '../lib/platform.js';
import { MOUNT_LIMITS, type MountSettings } from '../mount/settings.js';
import type { TransportKind } from '../mount/transports.js';
import { buildPlatform } from './build-platform.js';
import { connectClient } from './connect.js';
import type { Running } from './daemon.js';
import { LocalCluster } from './local-cluster.js';
import type { MountOptionList } from './mount-options.js';
import { checkMountPoint } from './mount-point.js';
import type { CommonOptions } from './options.js';
import { ownIds } from './own-ids.js';

export interface MountRequest {
  mountPoint: string;
  /** An address, or undefined for the embedded cluster. */
  master: string | undefined;
  /** Directory of the embedded cluster. */
  data: string;
  chunkSize: string | undefined;
  common: CommonOptions;
  fuse: TransportKind;
  list: MountOptionList;
  settings: MountSettings;
  location: string | undefined;
}

/** The client gives up first, then the operations, then the transport: so the most telling error wins. */
const OPERATIONS_SHARE = 0.96;
const CLIENT_SHARE = 0.9;
/** From the signal, or the end of the mount, until client and cluster have ended: two seconds are promised, and node's own end takes some. */
const END_MS = 1_700;
/** What is left of it when waiting for unacknowledged bytes is given up: for the session's end and the embedded cluster's. */
const SESSION_MS = 100;
const CLUSTER_MS = 600;
/** libfuse keeps sizes from before an open; only asking each time shows what another mount has closed (FAULTS, promise 10). */
const NATIVE_ATTRIBUTE_MS = 0;

/** Settles when the mount works. Rejects with a GfsError that says what failed, and leaves nothing behind then. */
export async function startMount(request: MountRequest): Promise<Running & { embedded: string | undefined }> {
  const platform = buildPlatform(request.common, 'gfs-mount');
  const { logger } = platform;
  const mountPoint = await checkMountPoint(request.mountPoint, logger);
  // Read while the cluster starts.
  const modules = Promise.all([
    import('../mount/operations.js'),
    import('../mount/transports.js'),
    import('../mount/fuse-native.js'),
    import('../client/connect.js'),
  ]);
  const ends: End[] = [];
  const endAll = (): Promise<void> => runEnds(platform.clock, ends.splice(0).reverse());
  try {
    const cluster = request.master === undefined ? await startCluster(request, platform) : undefined;
    if (cluster) ends.push(leftMs => cluster.stop(leftMs));
    const master = request.master ?? cluster!.masterAddress;
    const [{ ClientOperations }, { createTransport }, { nativeTransportProblem }] = await modules;
    const client = await connect(request, platform, master);
    ends.push(leftMs => client.close({ waitMs: leftMs - CLUSTER_MS }));

    const opTimeout = Math.floor(request.settings.opTimeout * OPERATIONS_SHARE);
    const settings = { ...request.settings, opTimeout };
    const operations = new ClientOperations({ client, clock: platform.clock, logger, settings, owner: ownIds() });
    ends.push(leftMs => operations.close(leftMs - SESSION_MS - CLUSTER_MS));

    const isNative = request.fuse !== 'kernel' && nativeTransportProblem() === undefined;
    // Where the kernel can be told of changes, it may keep what nobody changes.
    const isNoticed = !isNative && request.settings.attributeTimeout > 0;
    const kernelCacheMs = isNoticed ? MOUNT_LIMITS.noticedMs : request.settings.attributeTimeout / 2;
    const transport = createTransport(
      request.fuse,
      {
        mountPoint,
        operations,
        readOnly: request.list.readOnly,
        options: request.list.options,
        attributeTimeoutMs: isNative ? NATIVE_ATTRIBUTE_MS : kernelCacheMs,
        entryTimeoutMs: kernelCacheMs,
        operationTimeoutMs: request.settings.opTimeout,
        sourceName: request.list.sourceName ?? `gfs:${master}`,
      },
      { logger, clock: platform.clock },
    );
    await transport.mount();
    ends.push(() => transport.unmount());
    const what = `${transport.kind} transport, master ${master}`;
    return {
      embedded: cluster?.description,
      readyLine: `gfs-mount ready on ${mountPoint} (${what})`,
      ended: transport.ended,
      stop: endAll,
    };
  } catch (error) {
    await endAll();
    throw error;
  }
}

async function startCluster(request: MountRequest, platform: Platform): Promise<LocalCluster> {
  const cluster = new LocalCluster({
    data: request.data,
    logger: platform.logger,
    secretFile: request.common.secretFile?.path,
    chunkSize: request.chunkSize,
  });
  await cluster.start();
  return cluster;
}

function connect(request: MountRequest, platform: Platform, master: string): Promise<FileSystemClient> {
  return connectClient(platform, {
    master,
    secret: request.common.secretFile?.content,
    wantsChanges: true,
    opTimeoutMs: Math.floor(request.settings.opTimeout * CLIENT_SHARE),
    name: `gfs-mount ${request.mountPoint}`,
    location: request.location,
  });
}

/** Called with how much of END_MS is left. */
type End = (leftMs: number) => Promise<void>;

/** Runs them one after another, each also after a failure. Rejects with the first. */
async function runEnds(clock: Clock, ends: readonly End[]): Promise<void> {
  const endMs = clock.monotonicMs() + END_MS;
  let first: { error: unknown } | undefined;
  for (const end of ends)
    try {
      await end(Math.max(0, endMs - clock.monotonicMs()));
    } catch (error) {
      first ??= { error };
    }
  if (first) throw first.error;
}
