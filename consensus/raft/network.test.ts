/** Raft in a network of four under a seed: faults, crashes, silence. What every engine must do. */

import t from "tap";
import { engineConformance } from "../testing/conformance.ts";
import { RAFT } from "../testing/raft-kind.ts";

t.test("raft keeps the contract of engines", (t) => {
  engineConformance(t, RAFT);
  t.end();
});
