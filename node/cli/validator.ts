/** `pyralog validator`: who validates, and how a node becomes one. */

import { findValidator } from "../../chain/block/validators.ts";
import { parseCertificate } from "../../chain/block/vote.ts";
import { bytesEqual } from "../../crypto/base/bytes.ts";
import { CodedError } from "../../crypto/base/error.ts";
import { formatAddress } from "../../crypto/identity/address.ts";
import { POWER_TOTAL_MAX } from "../../chain/block/limits.ts";
import { formatPublicKey, NODE_KEY_NAME, peerIdOf, readKey } from "../home/keys.ts";
import { UnprovenError } from "../light/errors.ts";
import { chainHead } from "../rpc/methods/chain.ts";
import { openClient } from "./client.ts";
import type { Answer } from "./answer.ts";
import { NODE_OPTIONS, type Command } from "./command.ts";
import { tableText } from "./help.ts";
import type { Invocation } from "./invocation.ts";
import { jsonText } from "./json.ts";
import { callJson } from "./calls.ts";
import { findPublicKey } from "./keys.ts";
import { SEND_OPTIONS, sendCalls } from "./send.ts";

/** `pyralog validator status|apply|keys`. */
export const VALIDATOR_COMMAND: Command = {
  name: "validator",
  summary: "show the validator set, and apply to join or leave it",
  examples: ["pyralog validator status", "pyralog validator apply --power 10 --home ./node5"],
  subcommands: [
    {
      name: "status",
      summary: "the verified validator set, who signed the newest block, and whether this home's node is in it",
      options: NODE_OPTIONS,
      examples: ["pyralog validator status --home ./node5 --json"],
      run: showValidators,
    },
    {
      name: "apply",
      summary: "set this node's power: sent when the home holds the authority's key, else printed for it",
      detail:
        "Only the network's authority may change the set. Without --from, prints the call for the authority to send with\n`pyralog tx calls FILE --from authority`. A change decides two heights after the block that holds it.",
      options: {
        power: { kind: "text", value: "N", description: "voting power; 0 leaves the set" },
        key: { kind: "text", value: "KEY", description: "another key than this node's" },
        ...SEND_OPTIONS,
      },
      examples: [
        "pyralog validator apply --power 10 --home ./node5 > calls.json",
        "pyralog validator apply --power 10 --key ./node5.pub --from authority --home ./testnet/accounts",
      ],
      run: apply,
    },
    {
      name: "keys",
      summary: "this node's validator key, address and peer id",
      examples: ["pyralog validator keys --home ./node5 --json"],
      run: async ({ home }) => {
        const key = await readKey(home, NODE_KEY_NAME);
        const [address, peerId, publicKey] = [
          formatAddress(key.address),
          peerIdOf(key.publicKey),
          formatPublicKey(key.publicKey),
        ];
        return {
          json: { address, peerId, type: key.publicKey.type, publicKey },
          text: `address  ${address}\npeer id  ${peerId}\ntype     ${key.publicKey.type}\npublic   ${publicKey}`,
        };
      },
    },
  ],
};

async function showValidators(invocation: Invocation): Promise<Answer> {
  const { home, signal } = invocation;
  const client = await openClient(invocation);
  const head = await client.head({ signal });
  const { validators: set } = client.verifier.newest;
  const { anchor } = await client.ask(chainHead, {}, { signal });
  if (anchor === undefined) throw new UnprovenError({ code: "proof_missing", field: "anchor" });
  const at = await client.believe(anchor, { signal });
  const certificate = parseCertificate(anchor.certificate);
  if (!certificate.ok) throw new UnprovenError({ code: "answer_malformed", field: "anchor.certificate" });
  const signers = certificate.value.kind === "quorum" ? certificate.value.signatures.map(({ validator }) => validator) : [];
  const own = (await home.keyNames(".key")).includes(NODE_KEY_NAME) ? (await readKey(home, NODE_KEY_NAME)).address : undefined;
  const isMember = own !== undefined && findValidator(set, own) !== undefined;
  const rows = set.validators.map(({ address, key, power }) => ({
    address: formatAddress(address),
    type: key.type,
    power,
    signed: signers.some((signer) => bytesEqual(signer, address)),
    self: own !== undefined && bytesEqual(own, address),
  }));
  const heading = ["address", "type", "power", "signed", ""];
  return {
    json: {
      height: at.header.height,
      totalPower: set.totalPower,
      validators: rows,
      self: own === undefined ? null : { address: formatAddress(own), member: isMember },
      how: head.verified.how,
    },
    text: [
      `Validators at height ${at.header.height}, verified from the network file on; total power ${set.totalPower}`,
      tableText(
        heading,
        rows.map(({ address, type, power, signed, self }) => [
          address,
          type,
          `${power}`,
          signed ? "yes" : "no",
          self ? "this node" : "",
        ]),
      ),
      ...(own === undefined ? [] : [`This home's node (${formatAddress(own)}) is ${isMember ? "a" : "no"} validator.`]),
    ].join("\n"),
  };
}

async function apply(invocation: Invocation): Promise<Answer> {
  const { home } = invocation;
  invocation.requireText("power");
  const power = invocation.bigint("power", { min: 0n, max: POWER_TOTAL_MAX }) as bigint;
  const network = await invocation.network();
  if (network.engine.name === "pos")
    throw new CodedError("validators_elected", {
      field: "network.engine",
      message: "stake elects the validators of this network: see `pyralog stake declare` and `pyralog stake bond`",
    });
  if (network.engine.name === "pow")
    throw new CodedError("validators_work", {
      field: "network.engine",
      message: "this network has no validators: whoever finds a seal makes the block, see `mining.threads` in the configuration",
    });
  if (network.authority === undefined)
    throw new CodedError("authority_none", {
      field: "network.authority",
      message: `${network.chainId} has no authority: its validator set never changes`,
    });
  const chosen = invocation.text("key");
  const key = chosen === undefined ? (await readKey(home, NODE_KEY_NAME)).publicKey : await findPublicKey(home, chosen, "--key");
  const call = { kind: "validatorSet", key, power } as const;
  if (invocation.text("from") !== undefined) return sendCalls(invocation, [call]);
  return { json: [callJson(call)], text: jsonText([callJson(call)]) };
}
