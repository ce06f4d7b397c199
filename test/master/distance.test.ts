// Places and how far apart they are.
import test from 'ava';
import { distance, partsOf, sharedDepth } from '../../src/master/distance.js';

test('distance counts the levels up to where two places part', t => {
  t.is(distance('/z/p/r/h', '/z/p/r/h'), 0);
  t.is(distance('/z/p/r/h', '/z/p/r/g'), 1);
  t.is(distance('/z/p/r/h', '/z/p/s/h'), 2);
  t.is(distance('/z/p/r/h', '/y/p/r/h'), 4);
  t.is(distance('', ''), 0);
  t.is(distance('', '/z/p'), 2);
});

test('two disks of one host are nearer than two hosts of one rack', t => {
  const disk = '/az/pod/rack/host1/disk1';

  t.is(distance(disk, '/az/pod/rack/host1/disk2'), 1);
  t.is(distance(disk, '/az/pod/rack/host2/disk1'), 2);
  t.is(distance(disk, '/az/pod/rack/host1'), 1);
});

test('slashes too many mean nothing, and a level is shared only when all above it are', t => {
  t.deepEqual(partsOf('//az/pod//'), ['az', 'pod']);
  t.is(sharedDepth(partsOf('/a/x/c'), partsOf('/a/y/c')), 1);
  t.is(sharedDepth(partsOf('/a/b'), partsOf('/a/b/c')), 2);
});
