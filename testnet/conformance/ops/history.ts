/** Client histories: linearizable or not, as the simulator's own checker says. */

import * as z from "zod";
import { ok } from "../../../crypto/base/result.ts";
import { checkPorcupineLog } from "../../simulator/history/porcupine.ts";
import { type Operation, operation } from "../operation.ts";

/** The operations of this file. */
export const HISTORIES: readonly Operation[] = [
  operation("history.check", {
    help: "{log: text of an etcd or key-value log of Porcupine} -> {linearizable, steps}",
    input: z.strictObject({ log: z.string() }),
    answer: ({ log }) => {
      const checked = checkPorcupineLog(log);
      return checked.ok ? ok({ linearizable: checked.value.isLinearizable, steps: checked.value.steps }) : checked;
    },
  }),
];
