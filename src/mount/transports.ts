// Chooses the FUSE transport of a mount. It mounts nothing itself and knows nothing of either transport but why it could not serve.
import type { Clock } from '../lib/clock.js';
import type { Logger } from '../lib/logger.js';
import { GfsError } from '../protocol/errors.js';
import { createNativeTransport, nativeTransportProblem } from './fuse-native.js';
import type { FuseTransport, FuseTransportOptions } from './fuse-operations.js';
import { createKernelTransport, kernelTransportProblem } from './kernel/transport.js';

export const TRANSPORT_KINDS = ['auto', 'native', 'kernel'] as const;
export type TransportKind = (typeof TRANSPORT_KINDS)[number];

/** A transport that can serve here: `auto` takes fuse-native where it loads, else the kernel's protocol. Throws NOT_SUPPORTED with the reason otherwise. */
export function createTransport(
  kind: TransportKind,
  options: FuseTransportOptions,
  parts: { logger: Logger; clock: Clock },
): FuseTransport {
  const native = kind === 'kernel' ? 'not asked for' : nativeTransportProblem();
  if (native === undefined) return createNativeTransport(options, parts.logger, parts.clock);
  if (kind === 'native') throw new GfsError('NOT_SUPPORTED', native);

  const kernel = kernelTransportProblem();
  if (kernel === undefined) return createKernelTransport(options, parts.logger, parts.clock);
  const message = kind === 'kernel' ? kernel : `no FUSE transport works here: ${native}; ${kernel}`;
  throw new GfsError('NOT_SUPPORTED', message);
}
