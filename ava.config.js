// Tests run from dist/ (compiled by tsc, see package.json); source maps point failures back at test/*.ts.
export default {
  files: ['dist/test/**/*.test.js'],
  nodeArguments: ['--enable-source-maps'],
  timeout: '4m',
  concurrency: 3,
  workerThreads: false,
};
