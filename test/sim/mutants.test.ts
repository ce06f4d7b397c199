// Mutants of the rules of appends, and that every mutant is tested.
import test from 'ava';
import { applyMutant, MUTANTS } from './mutants.js';
import { OF_APPENDS, OF_HEALING, SELDOM_CAUGHT, testMutants } from './quick-mutants.js';

test.serial('every mutant finds what it replaces, is in this test, and can be mended', t => {
  for (const { name } of MUTANTS) t.notThrows(applyMutant(name), name);
  const listed = [...OF_APPENDS.keys(), ...OF_HEALING.keys(), ...SELDOM_CAUGHT];
  t.deepEqual(listed.sort(), MUTANTS.map(({ name }) => name).sort());
});

testMutants(OF_APPENDS);
