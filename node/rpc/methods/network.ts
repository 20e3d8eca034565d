/** The network file: what a joining node and a verifying client need, once and from somebody they trust. */

import * as z from "zod";
import { ok } from "../../../crypto/base/result.ts";
import { encodeNetworkFile, networkHash } from "../../../chain/block/genesis.ts";
import { method } from "../method.ts";
import { hashSchema } from "../schema.ts";

export const networkFile = method({
  name: "network.file",
  summary: "The network file as canonical JSON text, and its hash. Compare the hash with one that you got elsewhere.",
  params: z.strictObject({}),
  result: z.strictObject({ file: z.string().describe("The text of network.json."), hash: hashSchema }),
  errors: [],
  handle: (_, { backend }) => ok({ file: encodeNetworkFile(backend.networkFile), hash: networkHash(backend.networkFile) }),
});
