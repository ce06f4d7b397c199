// The greeting that opens every connection: protocol version, roles, cluster and, where a secret is shared, proof that both sides know it.
// It owns the shapes and the proofs; connections send them.
import { createHmac, timingSafeEqual } from 'node:crypto';
import { GfsError } from '../protocol/errors.js';
import { bytes, integer, object, oneOf, optional, text } from '../protocol/schema.js';
import type { Role } from './types.js';

export const NONCE_BYTES = 16;

export const helloSchema = object({
  version: integer(1),
  role: oneOf('client', 'admin', 'master', 'chunkserver'),
  /** '' when the caller does not know it yet. */
  clusterId: text(64),
  nonce: bytes(64),
});

export const helloReplySchema = object({
  version: integer(1),
  clusterId: text(64),
  nonce: bytes(64),
  /** Absent when the server has no secret. */
  proof: optional(bytes(64)),
});

export const proveSchema = object({ proof: bytes(64) });

/** What a holder of `secret` answers to a nonce. `side` keeps one side's proof from serving as the other's. */
export function proofOf(secret: Buffer, side: 'caller' | 'server', role: Role, nonce: Buffer): Buffer {
  return createHmac('sha256', secret).update(`gfs ${side} ${role} `).update(nonce).digest();
}

/** Throws UNAUTHENTICATED unless `proof` is what a holder of `secret` would answer. */
export function checkProof(
  secret: Buffer,
  side: 'caller' | 'server',
  role: Role,
  nonce: Buffer,
  proof: Buffer | undefined,
): void {
  const expected = proofOf(secret, side, role, nonce);
  if (!proof || proof.length !== expected.length || !timingSafeEqual(proof, expected)) {
    throw new GfsError(
      'UNAUTHENTICATED',
      'the peer does not know the shared secret; start both sides with the same --secret-file',
    );
  }
}

/** Throws WRONG_CLUSTER when both sides know their cluster and it is not the same. */
export function checkCluster(mine: string, theirs: string): void {
  if (mine !== '' && theirs !== '' && mine !== theirs) {
    throw new GfsError('WRONG_CLUSTER', `the peer belongs to cluster ${theirs}, this one to ${mine}`);
  }
}
