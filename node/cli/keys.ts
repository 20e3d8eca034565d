/** `pyralog keys`: account keys and multisig policies of a home. */

import { codeOf, CodedError } from "../../crypto/base/error.ts";
import { parseUtf8 } from "../../crypto/base/bytes.ts";
import { formatAddress } from "../../crypto/identity/address.ts";
import { multisigPolicy } from "../../crypto/identity/policy.ts";
import { PUBLIC_KEY_SIZE_BYTES_MAX, type PublicKey } from "../../crypto/sign/key.ts";
import { readFileBounded } from "../home/files.ts";
import type { Home } from "../home/home.ts";
import {
  createKey,
  createPolicy,
  formatPublicKey,
  type KeySummary,
  listKeys,
  listPolicies,
  NODE_KEY_NAME,
  parsePublicKeyText,
  peerIdOf,
  type PolicySummary,
  readKey,
  readPolicy,
} from "../home/keys.ts";
import type { Answer, Json } from "./answer.ts";
import { PASSPHRASE_OPTIONS, type Command } from "./command.ts";
import { tableText } from "./help.ts";
import { parseKeyType } from "./init.ts";
import type { Invocation } from "./invocation.ts";

/** `pyralog keys new|list|show|export-public|multisig`. */
export const KEYS_COMMAND: Command = {
  name: "keys",
  summary: "make, list and export keys and multisig policies",
  examples: [
    "pyralog keys new alice",
    "pyralog keys list --json",
    "pyralog keys multisig new board --threshold 2 --key alice --key bob --key carol",
  ],
  subcommands: [
    {
      name: "new",
      summary: "make a key and seal it in the home",
      positionals: ["NAME"],
      options: {
        type: { kind: "text", value: "TYPE", description: "hybrid (default), ed25519 or ml-dsa-65" },
        ...PASSPHRASE_OPTIONS,
      },
      examples: ["pyralog keys new alice", "pyralog keys new bob --type ed25519 --passphrase-file ./secret --json"],
      run: newKey,
    },
    {
      name: "list",
      summary: "all keys and policies of the home",
      examples: ["pyralog keys list", "pyralog keys list --json"],
      run: async ({ home }) => {
        await home.require();
        const keys = await listKeys(home);
        const policies = await listPolicies(home);
        const rows = [
          ...keys.map((key) => [key.name, key.publicKey.type, formatAddress(key.address)]),
          ...policies.map(({ name, policy, address }) => [
            name,
            `${policy.threshold} of ${policy.keys.length}`,
            formatAddress(address),
          ]),
        ];
        return {
          json: { keys: keys.map(keyJson), policies: policies.map(policyJson) },
          text: tableText(["name", "kind", "address"], rows),
        };
      },
    },
    {
      name: "show",
      summary: "the address and public key of one key or policy",
      positionals: ["NAME"],
      examples: ["pyralog keys show alice", "pyralog keys show node --json"],
      run: showKey,
    },
    {
      name: "export-public",
      summary: "print a public key as hex, to hand to others",
      positionals: ["NAME"],
      examples: ["pyralog keys export-public alice > alice.pub"],
      run: async (invocation) => {
        const key = await readKey(invocation.home, invocation.positional(0));
        return { json: keyJson(key), text: formatPublicKey(key.publicKey) };
      },
    },
    {
      name: "multisig",
      summary: "policies: M of N keys together make an address",
      examples: ["pyralog keys multisig new board --threshold 2 --key alice --key ./bob.pub"],
      subcommands: [
        {
          name: "new",
          summary: "make a policy from keys in any order and print its address",
          detail: "A key is the name of one in the home, a file that `keys export-public` made, or that file's content.",
          positionals: ["NAME"],
          options: {
            threshold: { kind: "text", value: "M", description: "how many of the keys must sign" },
            key: { kind: "texts", value: "KEY", description: "a key that may sign" },
          },
          examples: ["pyralog keys multisig new board --threshold 2 --key alice --key ./bob.pub --key ./carol.pub"],
          run: newPolicy,
        },
      ],
    },
  ],
};

async function newKey(invocation: Invocation): Promise<Answer> {
  const { home } = invocation;
  const name = invocation.positional(0);
  const type = parseKeyType(invocation.text("type") ?? "hybrid", "--type");
  if ((await home.keyNames(".policy")).includes(name))
    throw new CodedError("key_exists", { field: "NAME", message: `there is a policy called ${name}` });
  const passphrase = await invocation.passphrase(home, { confirm: (await home.keyNames(".key")).length === 0 });
  await home.create();
  const key = await createKey(home, { name, type, passphrase });
  return { json: keyJson(key), text: `Made key ${name} (${type})\n  address  ${formatAddress(key.address)}` };
}

async function showKey(invocation: Invocation): Promise<Answer> {
  const { home } = invocation;
  const name = invocation.positional(0);
  const policy = await readPolicy(home, name);
  if (policy !== undefined) {
    const keys = policy.policy.keys.map((key) => `  key      ${formatPublicKey(key)}`).join("\n");
    return {
      json: policyJson(policy),
      text: `${name}: ${policy.policy.threshold} of ${policy.policy.keys.length}\n  address  ${formatAddress(policy.address)}\n${keys}`,
    };
  }
  const key = await readKey(home, name);
  const peer = name === NODE_KEY_NAME ? `\n  peer id  ${peerIdOf(key.publicKey)}` : "";
  return {
    json: keyJson(key),
    text: `${name}: ${key.publicKey.type}\n  address  ${formatAddress(key.address)}${peer}\n  public   ${formatPublicKey(key.publicKey)}`,
  };
}

async function newPolicy(invocation: Invocation): Promise<Answer> {
  const { home } = invocation;
  const name = invocation.positional(0);
  invocation.requireText("threshold");
  const threshold = invocation.integer("threshold", { min: 1, max: 16 }) as number;
  const keys: PublicKey[] = [];
  for (const text of invocation.texts("key")) keys.push(await findPublicKey(home, text, "--key"));
  const policy = multisigPolicy(threshold, keys);
  if (!policy.ok)
    throw new CodedError(policy.error.code, {
      field: policy.error.code === "policy_threshold" ? "--threshold" : "--key",
      message: POLICY_MESSAGES[policy.error.code],
    });
  await home.create();
  const created = await createPolicy(home, name, policy.value);
  return {
    json: policyJson(created),
    text: `Made policy ${name} (${threshold} of ${keys.length})\n  address  ${formatAddress(created.address)}`,
  };
}

const POLICY_MESSAGES = {
  policy_keys: "a policy has 1 to 16 keys",
  policy_threshold: "the threshold is more than there are keys",
  policy_key_repeated: "a key is given twice; each counts once",
} as const;

/** A public key by the name of a key in the home, by hex, or by a file with hex. */
export async function findPublicKey(home: Home, text: string, field: string): Promise<PublicKey> {
  if ((await home.keyNames(".key")).includes(text)) return (await readKey(home, text)).publicKey;
  const inline = parsePublicKeyText(text);
  if (inline.ok) return inline.value;
  const content = parseUtf8((await readPublicKeyFile(text)) ?? new Uint8Array(0));
  const parsed = content.ok ? parsePublicKeyText(content.value) : content;
  if (!parsed.ok)
    throw new CodedError("key_text", {
      field,
      message: `${text.slice(0, 80)} is no key of the home, no public key in hex and no file with one`,
    });
  return parsed.value;
}

async function readPublicKeyFile(path: string): Promise<Uint8Array | undefined> {
  try {
    return await readFileBounded(path, PUBLIC_KEY_SIZE_BYTES_MAX * 2 + 2);
  } catch (error) {
    // A text that was never meant as a path may be too long for one; what it is instead is said by the caller.
    if (codeOf(error) === "file_io" || codeOf(error) === "file_size") return undefined;
    throw error;
  }
}

function keyJson(key: KeySummary): Json {
  const peerId = key.name === NODE_KEY_NAME ? { peerId: peerIdOf(key.publicKey) } : {};
  return {
    name: key.name,
    type: key.publicKey.type,
    address: formatAddress(key.address),
    publicKey: formatPublicKey(key.publicKey),
    ...peerId,
  };
}

function policyJson({ name, policy, address }: PolicySummary): Json {
  return { name, threshold: policy.threshold, keys: policy.keys.map(formatPublicKey), address: formatAddress(address) };
}
