/**
 * Who may import whom: the table of the README, as rules. `testnet/checks/layers.ts` runs them, and fails as well when
 * fewer modules were cruised than there are files: a cruiser that cannot parse TypeScript finds nothing wrong.
 */

import { Visitor } from "@swc/core/Visitor.js";

// The visitor of @swc/core 1.16 does not know `using`, and throws at it. It declares variables like any other.
for (const name of ["visitStatement", "visitPattern"]) {
  const visitOther = Visitor.prototype[name];
  Visitor.prototype[name] = function visit(node) {
    if (node.type !== "UsingDeclaration") return visitOther.call(this, node);
    node.decls = this.visitVariableDeclarators(node.decls);
    return node;
  };
}

/** What each folder may import beside itself. Anything absent is refused. */
const MAY_IMPORT = {
  native: [],
  crypto: ["native"],
  chain: ["crypto"],
  circuits: ["crypto"],
  consensus: ["crypto", "chain/block"],
  contracts: ["crypto", "chain/block", "chain/state"],
  node: ["crypto", "chain", "circuits", "consensus", "contracts", "native"],
  testnet: ["crypto", "chain", "circuits", "consensus", "contracts", "node"],
};

/** What each folder of `chain/` may import beside itself and `crypto`. */
const CHAIN_MAY_IMPORT = {
  block: ["merkle"],
  merkle: [],
  store: [],
  state: ["block", "merkle", "store"],
  segment: ["block", "merkle", "state", "store"],
  mempool: ["block", "state"],
  ledger: ["block", "merkle", "segment", "state", "store"],
};

/** Folders whose code also runs in a browser and under a simulator: no module of Node's. */
const PURE = "^(consensus|contracts|crypto|chain/(block|mempool|merkle|state))/";

const OURS = `^(${Object.keys(MAY_IMPORT).join("|")})/`;
const TEST = "(\\.test\\.ts$|/testing/)";
const TEST_OR_TESTNET = `(${TEST}|^testnet/)`;

const layers = Object.entries(MAY_IMPORT).flatMap(([folder, allowed]) => [
  {
    name: `${folder}-imports`,
    comment: `${folder} may import ${allowed.join(", ") || "nothing"}`,
    severity: "error",
    from: { path: `^${folder}/`, pathNot: TEST },
    to: { path: OURS, pathNot: [folder, ...allowed].map((path) => `^${path}/`) },
  },
  {
    name: `${folder}-tests-import`,
    comment: "a test may reach into every part of a folder that its own folder may import a part of",
    severity: "error",
    from: { path: `^${folder}/.*${TEST}` },
    to: { path: OURS, pathNot: [folder, ...allowed].map((path) => `^${path.split("/")[0]}/`) },
  },
]);

const chainLayers = Object.entries(CHAIN_MAY_IMPORT).map(([folder, allowed]) => ({
  name: `chain-${folder}-imports`,
  comment: `chain/${folder} may import ${["crypto", ...allowed].join(", ")}`,
  severity: "error",
  from: { path: `^chain/${folder}/`, pathNot: TEST },
  to: { path: "^chain/", pathNot: [folder, ...allowed].map((path) => `^chain/${path}/`) },
}));

export default {
  forbidden: [
    ...layers,
    ...chainLayers,
    { name: "no-cycles", severity: "error", from: {}, to: { circular: true } },
    { name: "no-unresolvable", severity: "error", from: {}, to: { couldNotResolve: true } },
    {
      name: "no-undeclared-package",
      comment: "what is imported stands in package.json; what only tests use stands in devDependencies",
      severity: "error",
      from: {},
      to: { dependencyTypes: ["npm-no-pkg", "npm-unknown"] },
    },
    {
      name: "no-development-package-in-code",
      comment: "but in what builds the program, which goes on without",
      severity: "error",
      from: { path: OURS, pathNot: [TEST_OR_TESTNET, "^node/build[.]mjs$"] },
      to: { dependencyTypes: ["npm-dev"], dependencyTypesNot: ["type-only"] },
    },
    {
      name: "testing-only-from-tests",
      comment: "folders named testing/ are for tests and for testnet/",
      severity: "error",
      from: { pathNot: TEST_OR_TESTNET },
      to: { path: "/testing/" },
    },
    {
      name: "tests-are-not-imported",
      severity: "error",
      from: {},
      to: { path: "\\.test\\.ts$" },
    },
    {
      name: "pure-folders-do-no-io",
      comment: "crypto (but backend/), consensus, contracts and chain/{block,mempool,merkle,state} import no module of Node's",
      severity: "error",
      from: { path: PURE, pathNot: [TEST, "^crypto/backend/"] },
      to: { dependencyTypes: ["core"] },
    },
    {
      name: "native-only-from-its-backend",
      comment: "the native addon is optional: one folder knows how to do without it",
      severity: "error",
      from: { path: "^crypto/", pathNot: "^crypto/backend/" },
      to: { path: "^native/" },
    },
  ],
  options: {
    // The parser that understands TypeScript while TypeScript 7 has no JavaScript interface.
    parser: "swc",
    tsPreCompilationDeps: true,
    doNotFollow: { path: "node_modules" },
    enhancedResolveOptions: { exportsFields: ["exports"], conditionNames: ["node", "import", "default"] },
  },
};
