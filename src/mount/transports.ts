// Chooses the FUSE transport of a mount. It mounts nothing itself and knows nothing of either transport but why it could not serve.
import type { Clock } from '../lib/clock.js';
import type { Logger } from '../lib/logger.js';
import { GfsError } from '../protocol/errors.js';
import { createNativeTransport, nativeTransportProblem } from './fuse-native.js';
import type { FuseTransport, FuseTransportOptions } from './fuse-operations.js';
import { createKernelTransport, kernelTransportProblem } from './kernel/transport.js';

export const TRANSPORT_KINDS = ['auto', 'native', 'kernel'] as const;
export type TransportKind = (typeof TRANSPORT_KINDS)[number];

/** What people would otherwise find out by themselves. */
const NATIVE_LACKS =
  'fuse-native sets no time alone (tar x, touch -m), locks between processes of this mount only, and new files belong to whoever mounted; as root, --fuse kernel has all three';

/**
 * A transport that can serve here: `auto` takes fuse-native where it loads, which appends small lines faster, else the kernel's protocol. Throws
 * NOT_SUPPORTED with the reason otherwise.
 */
export function createTransport(
  kind: TransportKind,
  options: FuseTransportOptions,
  parts: { logger: Logger; clock: Clock },
): FuseTransport {
  const native = kind === 'kernel' ? 'not asked for' : nativeTransportProblem();
  if (native === undefined) {
    parts.logger.info({}, NATIVE_LACKS);
    return createNativeTransport(options, parts.logger, parts.clock);
  }
  if (kind === 'native') throw new GfsError('NOT_SUPPORTED', native);

  const kernel = kernelTransportProblem();
  if (kernel === undefined) return createKernelTransport(options, parts.logger, parts.clock);
  const message = kind === 'kernel' ? kernel : `no FUSE transport works here: ${native}; ${kernel}`;
  throw new GfsError('NOT_SUPPORTED', message);
}
