import test from 'ava';
import { RateMeter } from '../../src/lib/rate-meter.js';

test('a rate counts the last half minute and forgets what is older', t => {
  const meter = new RateMeter();
  t.is(meter.bytesPerSecond(0), 0);

  meter.add(1_000, 10_000);
  meter.add(500, 10_900);
  t.is(meter.bytesPerSecond(10_950), 1_500);
  t.is(meter.bytesPerSecond(12_000), 500);
  t.is(meter.bytesPerSecond(39_000), 50);

  t.is(meter.bytesPerSecond(41_000), 0);
});
