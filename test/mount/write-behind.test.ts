import test from 'ava';
import { type Deferred, deferred } from '../../src/lib/deferred.js';
import { WriteBehind } from '../../src/mount/write-behind.js';
import { GfsError, hasCode } from '../../src/protocol/errors.js';
import { ManualClock } from '../master/manual-clock.js';

interface Call {
  text: string;
  split: boolean;
  expectedOffset: number | undefined;
  done: Deferred<number>;
}

function setup(bounds: { record?: number; buffer?: number; append?: number; inFlight?: number } = {}) {
  const clock = new ManualClock();
  const calls: Call[] = [];
  const landed: string[] = [];
  const failed: string[] = [];
  const behind = new WriteBehind<string>({
    clock,
    append: (data, options) => {
      const done = deferred<number>();
      const { split, expectedOffset } = options;
      calls.push({ text: Buffer.concat(data).toString(), split, expectedOffset, done });
      return done.promise;
    },
    onLanded: (segment, offset) => landed.push(`${Buffer.concat(segment.buffers)}@${offset}`),
    onFailed: (segment, error) => failed.push(`${Buffer.concat(segment.buffers)} ${error.code}`),
    recordBytesMax: bounds.record ?? 10,
    bufferBytesMax: bounds.buffer ?? 100,
    appendBytesMax: bounds.append ?? 20,
    appendsInFlightMax: bounds.inFlight ?? 4,
    delayMs: 50,
    holdMs: 100,
  });
  const record = (writer: string, text: string): Promise<void> => behind.add({ writer, data: Buffer.from(text) });
  const stream = (writer: string, text: string, expectedOffset: number): Promise<void> =>
    behind.add({ writer, data: Buffer.from(text), expectedOffset });
  return { clock, calls, landed, failed, behind, record, stream };
}

function texts(calls: Call[]): string[] {
  return calls.map(call => call.text);
}

/** Lets everything that is due happen. */
async function tick(): Promise<void> {
  await new Promise(resolve => setImmediate(resolve));
}

test('the first write goes out at once; what comes while it is on its way goes out together', async t => {
  const { calls, record } = setup();
  record('a', '1');
  record('a', '2');
  record('a', '3');
  t.deepEqual(
    calls.map(call => call.text),
    ['1'],
  );

  calls[0]!.done.resolve(0);
  await tick();

  t.deepEqual(
    calls.map(call => call.text),
    ['1', '23'],
  );
  t.false(calls[1]!.split);
});

test('buffered bytes go out after the delay although others are on their way', async t => {
  const { clock, calls, record } = setup();
  record('a', '1');
  record('a', '2');

  await clock.advance(49);
  t.is(calls.length, 1);
  await clock.advance(1);

  t.deepEqual(
    calls.map(call => call.text),
    ['1', '2'],
  );
});

test('O_APPEND writes join only within one handle and one record; a larger one travels alone and may be split', async t => {
  const { behind, calls, record } = setup({ record: 4 });
  record('a', 'x');
  for (const [writer, text] of [
    ['a', '12'],
    ['a', '34'],
    ['a', '5'],
    ['b', '6'],
    ['b', '1234567'],
    ['b', '8'],
  ] as const)
    record(writer, text);
  void behind.settle();

  t.deepEqual(calls.map(call => call.text).slice(0, 4), ['x', '1234', '5', '6']);
  for (const call of calls) call.done.resolve(0);
  await tick();
  t.deepEqual(calls.map(call => [call.text, call.split]).slice(4), [
    ['1234567', true],
    ['8', false],
  ]);
});

test('stream writes that continue each other join up to the size of an append and carry where they must land', async t => {
  const { behind, calls, stream } = setup({ append: 8 });
  stream('a', 'x', 0);
  stream('a', '1234', 1);
  stream('a', '5678', 5);
  stream('a', '9', 9);
  void behind.settle();

  t.deepEqual(
    calls.map(call => [call.text, call.expectedOffset]),
    [
      ['x', 0],
      ['12345678', 1],
      ['9', 9],
    ],
  );
});

test('the first part of an O_APPEND write waits for the rest and goes out with it as one record', async t => {
  const { behind, calls, clock, record } = setup();
  record('a', 'x');
  calls[0]!.done.resolve(0);
  await tick();
  behind.add({ writer: 'a', data: Buffer.from('12'), mayGoOn: true });
  void behind.settle();
  await clock.advance(99);
  t.is(calls.length, 1);

  behind.add({ writer: 'a', data: Buffer.from('34'), continues: true });

  t.deepEqual(texts(calls), ['x', '1234']);
});

test('a first part whose rest does not come goes out after a moment, at once when another write follows, and never because somebody closes the file', async t => {
  const { behind, calls, clock, record } = setup();
  behind.add({ writer: 'a', data: Buffer.from('1'), mayGoOn: true });
  await clock.advance(100);
  t.deepEqual(texts(calls), ['1']);

  behind.add({ writer: 'a', data: Buffer.from('2'), mayGoOn: true });
  record('b', '3');
  t.deepEqual(texts(calls), ['1', '2']);

  behind.add({ writer: 'b', data: Buffer.from('4'), mayGoOn: true });
  await clock.advance(60);
  void behind.settle();
  behind.add({ writer: 'b', data: Buffer.from('5'), continues: true, mayGoOn: true });
  await clock.advance(60);
  t.deepEqual(texts(calls), ['1', '2', '3'], 'the time counts from the part that came last');
  await clock.advance(40);
  t.deepEqual(texts(calls), ['1', '2', '3', '45']);
});

test('a first part does not join what is queued, so that the rest has room in its record', async t => {
  const { behind, calls, record } = setup({ record: 4 });
  record('a', 'x');
  record('a', '12');
  behind.add({ writer: 'a', data: Buffer.from('34'), mayGoOn: true });
  behind.add({ writer: 'a', data: Buffer.from('56'), continues: true });
  void behind.settle();

  t.deepEqual(texts(calls), ['x', '12', '3456']);
});

test('room is refused while the bound is reached and granted when an append landed', async t => {
  const { behind, calls, record } = setup({ buffer: 10 });
  record('a', '12345678');
  let granted = false;
  const room = behind.room(5, 1000).then(() => {
    granted = true;
  });
  await tick();
  t.false(granted);

  calls[0]!.done.resolve(0);
  await room;

  t.true(granted);
});

test('waiting for room ends with TIMED_OUT at the deadline', async t => {
  const { behind, clock, record } = setup({ buffer: 10 });
  record('a', '12345678');
  const room = t.throwsAsync(behind.room(5, 1000));
  await clock.advance(1000);

  const error = await room;

  t.true(hasCode(error, 'TIMED_OUT'));
});

test('settle sends at once and settles when all that was there landed, whatever comes later', async t => {
  const { behind, calls, record } = setup();
  record('a', '1');
  record('a', '2');
  let settled = false;
  const settling = behind.settle().then(() => {
    settled = true;
  });
  record('b', 'later');
  t.deepEqual(
    calls.map(call => call.text),
    ['1', '2'],
  );

  calls[0]!.done.resolve(0);
  await tick();
  t.false(settled);
  calls[1]!.done.resolve(1);
  await settling;

  t.true(settled);
  t.is(behind.pendingBytes, 5);
});

test('what is queued behind a failed append fails with it and never goes out', async t => {
  const { behind, calls, failed, record } = setup({ inFlight: 1 });
  record('a', '1');
  record('a', '2');
  record('b', '3');

  calls[0]!.done.reject(new GfsError('NO_SPACE'));
  await behind.settle();

  t.deepEqual(failed, ['1 NO_SPACE', '2 NO_SPACE', '3 NO_SPACE']);
  t.is(calls.length, 1);
  t.is(behind.pendingBytes, 0);
});

test('after a failure new writes go out again', async t => {
  const { calls, landed, record } = setup();
  record('a', '1');
  calls[0]!.done.reject(new GfsError('NO_SPACE'));
  await tick();

  record('a', '2');
  calls[1]!.done.resolve(0);
  await tick();

  t.deepEqual(landed, ['2@0']);
});

test('no more appends are on their way than the bound allows', async t => {
  const { behind, calls, record } = setup({ inFlight: 2 });
  for (const writer of ['a', 'b', 'c', 'd']) record(writer, writer);
  void behind.settle();
  t.is(calls.length, 2);

  calls[0]!.done.resolve(0);
  await tick();

  t.is(calls.length, 3);
});
