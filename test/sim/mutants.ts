export interface Mutant { name: string }
export const MUTANTS: Mutant[] = [];
export function applyMutant(_name: string): void {
  throw new Error('none yet');
}
