// What tests that kill at random share: whole numbers from a seed, so that a run can be repeated, and waiting.

/** Each call gives the next number from 0 to `bound` - 1. */
export function randomOf(seed: number): (bound: number) => number {
  let state = seed >>> 0;
  return bound => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * bound);
  };
}

export const pause = (ms: number): Promise<void> => new Promise(resolve => setTimeout(resolve, ms));
