// What one chunk tells of itself says nothing of another, in whatever order answers arrive.
import test from 'ava';
import { InodeState } from '../../src/client/inode-state.js';
import type { ChunkHandle, InodeId } from '../../src/protocol/ids.js';
import type { WireAttributes, WireTail } from '../../src/protocol/messages.js';

const token = Buffer.alloc(0);

function attributes(sizeBytes: number, generation = 0): WireAttributes {
  const times = { atimeNs: 1n, mtimeNs: 1n, ctimeNs: 1n };
  const inode = 2 as InodeId;
  return { inode, generation, type: 'file', mode: 0o644, uid: 0, gid: 0, nlink: 1, sizeBytes, goal: 3, ...times };
}

function tailOf(handle: number, base: number, committedBytes: number): WireTail {
  return { handle: handle as ChunkHandle, version: 1, base, committedBytes, leased: true, chain: [], token };
}

function stateWith(tail: WireTail): InodeState {
  const state = new InodeState(2 as InodeId);
  state.note(attributes(tail.base + tail.committedBytes), tail, 0);
  return state;
}

const second = { handle: 2 as ChunkHandle, base: 100 };

test('a size that another chunk, or an answer without the open chunk, told moves no end of the tail', t => {
  const state = stateWith(tailOf(1, 0, 100));

  state.noteCommitted(0, second, 20);
  state.note(attributes(150), 'unknown', 0);

  t.is(state.sizeBytes, 150);
  t.is(state.tailEndByte(), 100);
});

test('what was learned of a chunk before it was the known tail, or while another answer had it as such, counts', t => {
  const state = stateWith(tailOf(1, 0, 100));

  state.noteCommitted(0, second, 20);
  // The master hears of lengths with heartbeats.
  state.note(attributes(100), tailOf(2, 100, 0), 0);
  t.is(state.tailEndByte(), 120);

  state.note(attributes(90), tailOf(1, 0, 90), 0);
  t.is(state.tailEndByte(), 100);
  state.note(attributes(100), tailOf(2, 100, 5), 0);
  t.is(state.tailEndByte(), 120);
});

test('a newer generation voids what chunks had committed, and an older one tells nothing any more', t => {
  const state = stateWith(tailOf(1, 0, 100));

  state.note(attributes(0, 1), tailOf(2, 0, 0), 0);
  state.noteCommitted(0, { handle: 2 as ChunkHandle, base: 0 }, 70);

  t.is(state.tailEndByte(), 0);
  t.is(state.sizeBytes, 0);
});

test('of many chunks the newest are remembered', t => {
  const state = stateWith(tailOf(1, 0, 0));

  for (let handle = 2; handle < 20; handle++)
    state.noteCommitted(0, { handle: handle as ChunkHandle, base: handle * 10 }, 5);
  state.note(attributes(190), tailOf(19, 190, 0), 0);

  t.is(state.tailEndByte(), 195);
});
