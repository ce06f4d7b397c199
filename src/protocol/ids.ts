// The identities of the system as branded types, so that a handle is never taken for an inode. It holds no behaviour beyond making and printing them.

declare const brand: unique symbol;
type Brand<T, Name extends string> = T & { readonly [brand]: Name };

/** Number of an inode, 1 (the root) to 2^53-1; never used again after deletion. 64 bits wide on disk. */
export type InodeId = Brand<number, 'InodeId'>;
/** Number of a chunk, 1 to 2^53-1 (64 bits wide on disk and in names, as in the paper, §2.1). 0 stands for a hole: zeros that no server stores. */
export type ChunkHandle = Brand<number, 'ChunkHandle'>;
/** A chunkserver's identity, 16 hex digits, made with its index and lost with it (DESIGN 4, rule 2). */
export type ServerId = Brand<string, 'ServerId'>;

export const ROOT_INODE = 1 as InodeId;
export const HOLE = 0 as ChunkHandle;

/** 16 hex digits, the name of the chunk's flat file. */
export function handleName(handle: ChunkHandle): string {
  return handle.toString(16).padStart(16, '0');
}

/** The handle written by handleName, or undefined when the text is none. */
export function parseHandleName(name: string): ChunkHandle | undefined {
  if (!/^[0-9a-f]{16}$/.test(name)) return undefined;
  const value = Number.parseInt(name, 16);
  return Number.isSafeInteger(value) && value > 0 ? (value as ChunkHandle) : undefined;
}
