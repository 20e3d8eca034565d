/** A new home: directories, a node key, and a configuration. */

import { CodedError } from "../../crypto/base/error.ts";
import type { KeyType } from "../../crypto/sign/key.ts";
import { configText, type Overrides } from "../config/document.ts";
import { unlinkIfThere } from "./files.ts";
import type { Home } from "./home.ts";
import { createKey, NODE_KEY_NAME, type OpenKey } from "./keys.ts";
import { generatePassphraseFile } from "./passphrase.ts";

/** What a new home is made of. */
export type NewHome = {
  readonly keyType: KeyType;
  /** `undefined` makes a random one, in a file that the configuration names. */
  readonly passphrase: string | undefined;
  readonly config: Overrides;
  /** The text of a network file to join. */
  readonly networkText?: string;
  /** The cost of sealing keys; lower only where the passphrase is a random one. */
  readonly logN?: number;
};

/** A home just made. */
export type CreatedHome = { readonly nodeKey: OpenKey; readonly passphrase: string };

/**
 * Makes a home that is ready to start once it has a network file. The node key is written last: a home that has one
 * is complete, and an interrupted `init` can be run again.
 *
 * @throws CodedError `home_exists` when there is a node key already
 */
export async function initialiseHome(home: Home, options: NewHome): Promise<CreatedHome> {
  if ((await home.keyNames(".key")).includes(NODE_KEY_NAME)) {
    throw new CodedError("home_exists", { path: home.path, field: "--home", message: `${home.path} is a home already` });
  }
  await home.create();
  const passphrase = options.passphrase ?? (await freshPassphrase(home));
  const keys = options.passphrase === undefined ? { passphraseFile: "passphrase" } : {};
  await home.writeConfig(configText({ ...options.config, keys: { ...keys, ...options.config.keys } }));
  if (options.networkText !== undefined) await home.writeNetwork(options.networkText);
  const nodeKey = await createKey(home, {
    name: NODE_KEY_NAME,
    type: options.keyType,
    passphrase,
    ...(options.logN === undefined ? {} : { logN: options.logN }),
  });
  return { nodeKey, passphrase };
}

/** One left by an interrupted run seals nothing yet. */
async function freshPassphrase(home: Home): Promise<string> {
  if ((await home.keyNames(".key")).length > 0) {
    throw new CodedError("passphrase_exists", {
      path: home.path,
      message: `${home.path} holds keys that another passphrase seals; give that one`,
    });
  }
  await unlinkIfThere(home.passphrasePath);
  return generatePassphraseFile(home.passphrasePath);
}
