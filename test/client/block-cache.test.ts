// The cache of bytes read.
import test from 'ava';
import { BLOCK_BYTES, BlockCache, blockKey } from '../../src/client/block-cache.js';
import type { InodeState } from '../../src/client/inode-state.js';

const state = { inode: 7, generation: 1 } as InodeState;

test('a small block is kept as a copy, so that it does not keep the piece in memory that it came in; a large one is not copied', t => {
  const cache = new BlockCache(1024 * 1024);
  const slab = Buffer.alloc(2 * BLOCK_BYTES, 'x');

  cache.set(blockKey(state, 0), { buffers: [slab.subarray(10, 12), slab.subarray(20, 23)], lengthBytes: 5 });
  cache.set(blockKey(state, 1), { buffers: [slab.subarray(0, BLOCK_BYTES)], lengthBytes: BLOCK_BYTES });

  const [small, large] = [cache.get(state, 0)!, cache.get(state, 1)!];
  t.is(small.buffers.length, 1);
  t.is(small.buffers[0]!.toString(), 'xxxxx');
  t.is(small.buffers[0]!.buffer.byteLength, 5);
  t.is(large.buffers[0]!.buffer, slab.buffer);
});

test('a block never gives way to a shorter one', t => {
  const cache = new BlockCache(1024 * 1024);
  cache.set(blockKey(state, 0), { buffers: [Buffer.from('longer')], lengthBytes: 6 });

  cache.set(blockKey(state, 0), { buffers: [Buffer.from('short')], lengthBytes: 5 });

  t.is(cache.get(state, 0)!.lengthBytes, 6);
});
