/** `pyralog stake`: what validators and delegators do under proof of stake, and what everybody may see of it. */

import { AMOUNT_MAX, BPS_WHOLE, TIME_MS_MAX } from "../../chain/block/limits.ts";
import { delegationKey, parseStateKey, poolRange, rewardsKey, supplyKey, unbondingRange } from "../../chain/state/keys.ts";
import { parseRewards, parseSupply } from "../../chain/state/rows.ts";
import { type Delegation, parseDelegation, parsePool, parseUnbonding, type Pool } from "../../chain/state/stake.ts";
import { findValidator } from "../../chain/block/validators.ts";
import { earnedBy, worthOf } from "../../contracts/staking/shares.ts";
import { bytesEqual } from "../../crypto/base/bytes.ts";
import { type Address, formatAddress } from "../../crypto/identity/address.ts";
import { UnprovenError } from "../light/errors.ts";
import type { PyralogClient, ReadOptions, Verification } from "../rpc/client.ts";
import type { Answer } from "./answer.ts";
import { findAddress, openClient, readOptions, timeText } from "./client.ts";
import type { Command } from "./command.ts";
import { tableText } from "./help.ts";
import { type Invocation, parseNumber } from "./invocation.ts";
import { findPublicKey } from "./keys.ts";
import { answer, decoded, oneKey, READ_OPTIONS, rowAt, rowsOf } from "./rows.ts";
import { SEND_OPTIONS, sendCalls } from "./send.ts";

/** A validator may change its commission by this much at once, when nobody says. */
const COMMISSION_STEP_BPS_DEFAULT = 100;

/** `pyralog stake declare|bond|unbond|claim|commission|unjail`. */
export const STAKE_COMMAND: Command = {
  name: "stake",
  summary: "stake tokens with validators, claim what they earn, ask them back, and run one",
  detail:
    "A VALIDATOR is an address, or a key of the home by its name. Commissions are in basis points: 100 is one in a hundred.\nWhat is staked can be slashed for what its validator does; what is asked back is free after the network's unbonding time.",
  examples: [
    "pyralog stake bond pyra1... 5000 --from alice",
    "pyralog stake declare --operator alice --commission 500 --from node",
    "pyralog query stake alice --json",
  ],
  subcommands: [
    {
      name: "declare",
      summary: "make the sending key a validator, which stake may then elect",
      detail:
        "Sent by the key that will validate. The operator earns the commission, and what it stakes counts as the validator's own.",
      options: {
        operator: { kind: "text", value: "ADDRESS", description: "who operates it (default: the validator's own key)" },
        commission: { kind: "text", value: "BPS", description: "part of the earnings that is the operator's (default 0)" },
        "commission-step": {
          kind: "text",
          value: "BPS",
          description: `most that one change of the commission may be (default ${COMMISSION_STEP_BPS_DEFAULT})`,
        },
        ...SEND_OPTIONS,
      },
      examples: ["pyralog stake declare --from node", "pyralog stake declare --operator alice --commission 500 --from node"],
      run: declare,
    },
    {
      name: "bond",
      summary: "stake tokens with a validator: one's own, or to delegate to another",
      positionals: ["VALIDATOR", "AMOUNT"],
      options: SEND_OPTIONS,
      examples: ["pyralog stake bond pyra1... 5000 --from alice"],
      run: async (invocation) => sendCalls(invocation, [{ kind: "stakeBond", ...(await stakeOf(invocation)) }]),
    },
    {
      name: "unbond",
      summary: "ask staked tokens back; they are free after the unbonding time",
      positionals: ["VALIDATOR", "AMOUNT"],
      options: SEND_OPTIONS,
      examples: ["pyralog stake unbond pyra1... 5000 --from alice"],
      run: async (invocation) => sendCalls(invocation, [{ kind: "stakeUnbond", ...(await stakeOf(invocation)) }]),
    },
    {
      name: "claim",
      summary: "move what was earned into the account; with a validator, what stake with it earned first",
      detail: "Without a validator: fees and rewards of an address, under every engine.",
      positionals: ["[VALIDATOR]"],
      options: SEND_OPTIONS,
      examples: ["pyralog stake claim pyra1... --from alice", "pyralog stake claim --from node"],
      run: async (invocation) => {
        if (invocation.positionals.length === 0) return sendCalls(invocation, [{ kind: "rewardsClaim" }]);
        return sendCalls(invocation, [{ kind: "rewardsClaim", validator: await validatorOf(invocation) }]);
      },
    },
    {
      name: "commission",
      summary: "change a validator's commission, as its operator, once a day at most",
      positionals: ["VALIDATOR", "BPS"],
      options: SEND_OPTIONS,
      examples: ["pyralog stake commission pyra1... 550 --from alice"],
      run: async (invocation) => {
        const commissionBps = Number(parseNumber(invocation.positional(1), "BPS", { min: 0n, max: BigInt(BPS_WHOLE) }));
        const validator = await validatorOf(invocation);
        return sendCalls(invocation, [{ kind: "validatorCommission", validator, commissionBps }]);
      },
    },
    {
      name: "unjail",
      summary: "bring a validator back that was jailed for missed votes, as its operator, after its time",
      positionals: ["VALIDATOR"],
      options: SEND_OPTIONS,
      examples: ["pyralog stake unjail pyra1... --from alice"],
      run: async (invocation) => sendCalls(invocation, [{ kind: "validatorUnjail", validator: await validatorOf(invocation) }]),
    },
  ],
};

/** `pyralog query stake|validators|supply`. */
export const STAKE_QUERIES: readonly Command[] = [
  {
    name: "validators",
    summary: "every declared validator: stake, commission, jail, and whether it is elected; verified",
    options: READ_OPTIONS,
    examples: ["pyralog query validators --json"],
    run: showValidators,
  },
  {
    name: "stake",
    summary: "what an address has staked, asked back and earned; verified, and nothing left out",
    positionals: ["ADDRESS"],
    options: READ_OPTIONS,
    examples: ["pyralog query stake alice", "pyralog query stake pyra1... --json"],
    run: showStake,
  },
  {
    name: "supply",
    summary: "how many tokens there are, were minted and burned; verified, under every engine",
    options: READ_OPTIONS,
    examples: ["pyralog query supply --json"],
    run: showSupply,
  },
];

async function declare(invocation: Invocation): Promise<Answer> {
  const bpsOf = (name: string): number | undefined => invocation.integer(name, { min: 0, max: BPS_WHOLE });
  const from = invocation.requireText("from");
  const key = await findPublicKey(invocation.home, from, "--from");
  const operator = await findAddress(invocation.home, invocation.text("operator") ?? from, "--operator");
  return sendCalls(invocation, [
    {
      kind: "validatorDeclare",
      key,
      operator,
      commissionBps: bpsOf("commission") ?? 0,
      commissionStepBpsMax: bpsOf("commission-step") ?? COMMISSION_STEP_BPS_DEFAULT,
    },
  ]);
}

async function stakeOf(invocation: Invocation): Promise<{ readonly validator: Address; readonly amount: bigint }> {
  const amount = parseNumber(invocation.positional(1), "AMOUNT", { min: 1n, max: AMOUNT_MAX });
  return { validator: await validatorOf(invocation), amount };
}

async function validatorOf(invocation: Invocation): Promise<Address> {
  return findAddress(invocation.home, invocation.positional(0), "VALIDATOR");
}

// Reading.

async function showValidators(invocation: Invocation): Promise<Answer> {
  const client = await openClient(invocation);
  const { pools, verified } = await poolsOf(client, readOptions(invocation));
  const set = client.verifier.newest.validators;
  const rows = pools
    .map(({ validator, pool }) => ({ ...poolJson(validator, pool), elected: findValidator(set, validator) !== undefined }))
    .sort((a, b) => (a.tokens === b.tokens ? (a.validator < b.validator ? -1 : 1) : a.tokens > b.tokens ? -1 : 1));
  const table = rows.map((row) => [
    row.validator,
    `${row.tokens}`,
    `${row.commissionBps} bps`,
    row.elected ? "elected" : standingText(row.jailedUntilMs),
  ]);
  const text = tableText(["validator", "stake", "commission", ""], table);
  return answer({ validators: rows }, rows.length === 0 ? NO_STAKE : text, verified);
}

async function showStake(invocation: Invocation): Promise<Answer> {
  const address = await findAddress(invocation.home, invocation.positional(0), "ADDRESS");
  const client = await openClient(invocation);
  const { pools, verified } = await poolsOf(client, readOptions(invocation));
  // Everything else at the same height: the parts of the answer belong together.
  const at: ReadOptions = { signal: invocation.signal, height: verified.height };
  const staked: { readonly validator: string; readonly tokens: bigint; readonly earned: bigint; readonly commission: bigint }[] =
    [];
  for (const { validator, pool } of pools) {
    const bytes = await rowAt(client, delegationKey(validator, address), at);
    const isOperator = bytesEqual(pool.operator, address);
    if (bytes === undefined && !(isOperator && pool.commission > 0n)) continue;
    const delegation = bytes === undefined ? NO_DELEGATION : decoded(parseDelegation(bytes));
    staked.push({
      validator: formatAddress(validator),
      tokens: worthOf(pool, delegation.shares),
      earned: earnedBy(pool, delegation),
      commission: isOperator ? pool.commission : 0n,
    });
  }
  const waiting = (await rowsOf(client, unbondingRange(), at)).rows
    .map(({ value }) => decoded(parseUnbonding(value)))
    .filter(({ delegator }) => bytesEqual(delegator, address))
    .map(({ validator, amount, height, timeMs }) => ({ validator: formatAddress(validator), amount, height, timeMs }));
  const earned = await rowAt(client, rewardsKey(address), at);
  const rewards = earned === undefined ? 0n : decoded(parseRewards(earned));
  const lines = [
    formatAddress(address),
    `  to claim  ${rewards}`,
    ...staked.map((each) => `  staked    ${each.tokens} with ${each.validator}, which earned ${each.earned + each.commission}`),
    ...waiting.map(({ amount, validator, timeMs }) => `  asked     ${amount} back from ${validator} at ${timeText(timeMs)}`),
  ];
  return answer({ address: formatAddress(address), rewards, staked, unbonding: waiting }, lines.join("\n"), verified);
}

async function showSupply(invocation: Invocation): Promise<Answer> {
  const { rows, verified } = await rowsOf(await openClient(invocation), oneKey(supplyKey()), readOptions(invocation));
  const [row] = rows;
  if (row === undefined) throw new UnprovenError({ code: "answer_malformed", field: "supply" });
  const { total, minted, burned } = decoded(parseSupply(row.value));
  return answer({ total, minted, burned }, `total   ${total}\nminted  ${minted}\nburned  ${burned}`, verified);
}

const NO_STAKE = "No validators were declared: this network does not elect them by stake.";
const NO_DELEGATION: Delegation = { shares: 0n, rewardPerShare: 0n };

function standingText(jailedUntilMs: bigint | null): string {
  if (jailedUntilMs === null) return "candidate";
  return jailedUntilMs === TIME_MS_MAX ? "jailed for ever" : `jailed until ${timeText(jailedUntilMs)}`;
}

function poolJson(validator: Address, pool: Pool) {
  const { operator, commissionBps, commissionStepBpsMax, jailedUntilMs, tokens, unbonding } = pool;
  return {
    validator: formatAddress(validator),
    operator: formatAddress(operator),
    tokens,
    unbonding,
    commissionBps,
    commissionStepBpsMax,
    jailedUntilMs: jailedUntilMs ?? null,
  };
}

async function poolsOf(
  client: PyralogClient,
  options: ReadOptions,
): Promise<{ readonly pools: readonly { readonly validator: Address; readonly pool: Pool }[]; readonly verified: Verification }> {
  const { rows, verified } = await rowsOf(client, poolRange(), options);
  const pools = rows.map(({ key, value }) => {
    const named = parseStateKey(key);
    if (named?.kind !== "pool") throw new UnprovenError({ code: "answer_malformed", field: "key" });
    return { validator: named.address, pool: decoded(parsePool(value)) };
  });
  return { pools, verified };
}
