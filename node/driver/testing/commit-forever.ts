/** A process that commits one block after another to the store in its argument, and prints each acknowledged height. */

import { writeSync } from "node:fs";
import { present } from "../../../crypto/base/assert.ts";
import { utf8 } from "../../../crypto/base/bytes.ts";
import { encodeValue } from "../../../crypto/codec/value.ts";
import { Ledger } from "../../../chain/ledger/ledger.ts";
import { openLevelStore } from "../../../chain/store/level.ts";
import { EXECUTOR } from "../../../contracts/executor.ts";
import { commitBlock, LONE_NETWORK, sign } from "./lone.ts";

const store = await openLevelStore({ path: present(process.argv[2], "path of the store") });
const ledger = await Ledger.open({ store, network: LONE_NETWORK, executor: EXECUTOR });
writeSync(1, `${ledger.head().height}\n`);
for (;;) {
  const nonce = ledger.head().height;
  const put = {
    kind: "tablePut",
    namespace: "n",
    table: "t",
    key: utf8(`row-${nonce}`),
    value: encodeValue(`value ${nonce}`),
  } as const;
  await commitBlock(ledger, [sign(nonce, [nonce === 0n ? { kind: "tableCreate", namespace: "n", table: "t" } : put])]);
  writeSync(1, `${ledger.head().height}\n`);
}
