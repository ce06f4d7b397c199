// Asks a server what it holds of a chunk at this moment. What it reported before may have changed on the way; this file keeps nothing and
// decides nothing.
import type { ChunkHandle, ServerId } from '../protocol/ids.js';
import type { WireChunkReport } from '../protocol/messages.js';
import type { Orders } from './orders.js';

/** Its report, `gone` when it has none. `verifyMs`: it reads every block first, and may take so long for that. Rejects as the order does. */
export async function askReplica(
  orders: Orders,
  server: ServerId,
  handle: ChunkHandle,
  { verifyMs }: { verifyMs?: number } = {},
): Promise<WireChunkReport> {
  const body = verifyMs === undefined ? { handle } : { handle, verify: true };
  const { exists, report } = await orders.give(server, 'inspectChunk', body, verifyMs);
  if (exists && report) return report;
  return { handle, version: 0, lengthBytes: 0, state: 'open', suspect: false, corrupt: false, gone: true };
}
