/** The demo's traffic: transactions of every kind, of several accounts and a multisig, and the proof of each. */

import type { Call } from "../../../chain/block/call.ts";
import { present } from "../../../crypto/base/assert.ts";
import { utf8 } from "../../../crypto/base/bytes.ts";
import { CodedError } from "../../../crypto/base/error.ts";
import { addressOfPolicy } from "../../../crypto/identity/address.ts";
import { gatherAuthorisation, multisigPolicy } from "../../../crypto/identity/authorisation.ts";
import { openKey, type OpenKey } from "../../../node/home/keys.ts";
import { readPassphraseFile } from "../../../node/home/passphrase.ts";
import type { PyralogClient } from "../../../node/rpc/client.ts";
import type { LocalNetwork } from "../network.ts";
import { accountOf, NAMESPACE, plan } from "../plan.ts";
import { type Account, type Finalised, Sender } from "../sender.ts";

/** Proofs asked for at once. */
const PROOFS_UNDER_WAY_MAX = 16;

/** What one account sends. */
type Plan = { readonly sender: Sender; readonly transactions: readonly (readonly Call[])[] };

/** See the file's head. */
export class Workload {
  readonly accounts: readonly Account[];
  readonly #network: LocalNetwork;
  readonly #plans: readonly Plan[];
  readonly #prelude: readonly Finalised[];
  readonly #signal: AbortSignal;
  #done = 0;
  #sendingMs = 0;

  private constructor(network: LocalNetwork, plans: readonly Plan[], prelude: readonly Finalised[], signal: AbortSignal) {
    this.#prelude = prelude;
    this.accounts = plans.map(({ sender }) => sender.account);
    this.#network = network;
    this.#plans = plans;
    this.#signal = signal;
  }

  /**
   * Signs nothing yet but what comes first.
   *
   * @param options - `count` of transactions; `bystander`: the validator whose power changes on the way, by its index
   */
  static async open(
    network: LocalNetwork,
    options: { readonly count: number; readonly bystander: number },
    signal: AbortSignal,
  ): Promise<Workload> {
    const { accounts: home } = network.homes;
    const passphrase = await readPassphraseFile(home.passphrasePath);
    const keys = await Promise.all(["alice", "bob", "carol", "dave"].map((name) => openKey(home, name, passphrase)));
    const authority = accountOf(await openKey(home, "authority", passphrase));
    const board = boardOf(keys.slice(0, 3));
    const accounts = [...keys.map(accountOf), board];
    const bystander = present(network.network.validators[options.bystander], "validator");
    // What the others build on comes first and counts as well: money for the board, and a change of the validator set.
    const prelude: (readonly Call[])[] = [
      [{ kind: "transfer", to: board.address, amount: 1_000_000_000n }],
      [{ kind: "validatorSet", key: bystander.key, power: bystander.power + 1n }],
    ];
    const senderOf = async (account: Account, index: number): Promise<Sender> => {
      const { value } = await clientAt(network, index).account(account.address, { signal });
      return new Sender({ account, network: network.network, nonce: value.nonce, node: () => readyNode(network, index), signal });
    };
    const first = await senderOf(authority, 0);
    await first.sendAll(prelude);
    const left = options.count - prelude.length;
    const plans = await Promise.all(
      accounts.map(async (account, index) => {
        const share = Math.floor(left / accounts.length) + (index < left % accounts.length ? 1 : 0);
        const neighbour = present(accounts[(index + 1) % accounts.length], "neighbour");
        return { sender: await senderOf(account, index), transactions: plan(account, neighbour, share) };
      }),
    );
    return new Workload(network, plans, first.finalised, signal);
  }

  get finalised(): readonly Finalised[] {
    return [...this.#prelude, ...this.#plans.flatMap(({ sender }) => sender.finalised)];
  }

  get sendingSeconds(): number {
    return this.#sendingMs / 1000;
  }

  /** Goes on until this share of the plan is final. */
  async run(share: number): Promise<void> {
    const startedMs = performance.now();
    const from = this.#done;
    await Promise.all(
      this.#plans.map(({ sender, transactions }) =>
        sender.sendAll(transactions.slice(Math.floor(transactions.length * from), Math.floor(transactions.length * share))),
      ),
    );
    this.#done = share;
    this.#sendingMs += performance.now() - startedMs;
  }

  /** Proves every transaction with its result, and a row of every account. Each node is asked for its part. */
  async prove(): Promise<number> {
    let proven = 0;
    const queue = [...this.finalised.entries()];
    const prover = async (): Promise<void> => {
      for (let next = queue.pop(); next !== undefined; next = queue.pop()) {
        const [index, { transaction, height }] = next;
        const { value, verified } = await clientAt(this.#network, index).transaction(transaction.id, { signal: this.#signal });
        if (verified.height === height && value.result.kind === "applied") proven += 1;
      }
    };
    await Promise.all(Array.from({ length: PROOFS_UNDER_WAY_MAX }, prover));
    for (const [index, account] of this.accounts.entries()) {
      const { value } = await clientAt(this.#network, index).row(NAMESPACE, account.name, utf8("row-0"), {
        signal: this.#signal,
      });
      if (value !== undefined) proven += 1;
    }
    return proven;
  }
}

/** Two of three holders, of different key types. */
function boardOf(keys: readonly OpenKey[]): Account {
  const policy = multisigPolicy(
    2,
    keys.map(({ publicKey }) => publicKey),
  );
  if (!policy.ok) throw new CodedError(policy.error.code, {});
  const signers = keys.slice(0, 2);
  return {
    name: "board",
    address: addressOfPolicy(policy.value),
    authorise: (id) => {
      const gathered = gatherAuthorisation(
        policy.value,
        id,
        signers.map(({ publicKey, keyPair }) => ({ key: publicKey, signature: keyPair.sign(id) })),
      );
      if (!gathered.ok) throw new CodedError(gathered.error.code, {});
      return gathered.value;
    },
  };
}

function readyNode(network: LocalNetwork, index: number): PyralogClient {
  const validators = network.nodes.slice(0, network.homes.validators.length).filter(({ isReady }) => isReady);
  return present(validators[index % validators.length], "node that is ready").client;
}

function clientAt(network: LocalNetwork, index: number): PyralogClient {
  return network.node(index % network.nodes.length).client;
}
