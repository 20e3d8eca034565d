/** Every story in consensus/testdata/tendermint_*.txt is what the engine does. */

import t from "tap";
import { isUpdating, readScript, scriptsOf, transcriptOf, writeScript } from "../testing/script.ts";
import { TendermintStage } from "../testing/tendermint-stage.ts";

t.test("there are stories", (t) => {
  t.ok(scriptsOf("tendermint_").length >= 14);
  t.end();
});

for (const name of scriptsOf("tendermint_")) {
  t.test(`the story ${name} goes as it is written`, (t) => {
    const cases = readScript(name);
    const stage = new TendermintStage();
    const transcripts = cases.map(({ command }) => transcriptOf(stage.run(command)));
    if (isUpdating()) writeScript(name, cases, transcripts);
    else for (const [index, { command, expected, line }] of cases.entries()) t.same(transcripts[index], expected, `${name}:${line}: ${command}`);
    t.end();
  });
}
