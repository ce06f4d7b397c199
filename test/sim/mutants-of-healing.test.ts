// Mutants of the rules of healing.
import { OF_HEALING, testMutants } from './quick-mutants.js';

testMutants(OF_HEALING);
