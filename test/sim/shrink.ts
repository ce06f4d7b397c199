// Makes a failing scenario easier to read: leaves out one fault after another as long as it still fails. Each try runs the scenario again.
import { runScenario, type ScenarioResult } from './scenario.js';

const TRIES_MAX = 60;

/** The seed's scenario with as few faults as still fail, and how many were left out. Requires that the seed fails. */
export async function shrink(seed: number): Promise<{ result: ScenarioResult; skipped: number }> {
  let best = await runScenario(seed);
  const skipped = new Set<number>();
  const planned = best.faultsPlanned;
  // Halves first, then quarters, then single ones.
  let tries = 0;
  for (let size = Math.ceil(planned / 2); size >= 1 && tries < TRIES_MAX; size = size === 1 ? 0 : Math.ceil(size / 2)) {
    for (let from = planned - size; from > -size && tries < TRIES_MAX; from -= size) {
      const group = Array.from({ length: size }, (_, i) => from + i).filter(index => index >= 0 && !skipped.has(index));
      if (group.length === 0) continue;
      tries++;
      const result = await runScenario(seed, { skipFaults: new Set([...skipped, ...group]) });
      if (result.violations.length === 0) continue;
      best = result;
      for (const index of group) skipped.add(index);
    }
  }
  return { result: best, skipped: skipped.size };
}
