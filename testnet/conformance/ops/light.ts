/**
 * The light client, on the cases of tendermint-rs: their JSON as it is. Believed is what our rules believe.
 */

import * as z from "zod";
import { type Coded, fail, ok, type Result } from "../../../crypto/base/result.ts";
import { isTrustLevel, TRUST_LEVEL_MIN } from "../../../node/light/rules.ts";
import { type Operation, operation } from "../operation.ts";
import { factsOf, LightBlock, SignedHeader, timeNs, ValidatorSet } from "../tendermint/block.ts";
import { believe, type Provider, type Trusted, verifyToHeight } from "../tendermint/client.ts";

/** How far clocks may be apart, in nanoseconds: what the cases were made with. */
const DRIFT_NS_MAX = 1_000_000_000n;

/** Blocks of one provider. */
const BLOCKS_MAX = 1_000;

const nanoseconds = z
  .string()
  .regex(/^\d{1,19}$/, "not a period")
  .transform((text) => BigInt(text));

const decimal = z
  .string()
  .regex(/^\d{1,18}$/, "not a number")
  .transform((text) => BigInt(text));

/** What the files hold beside the question: a case may be handed over as it is, and these are dropped unread. */
const unread = z
  .unknown()
  .transform(() => undefined)
  .optional();

const Steps = z.strictObject({
  description: unread,
  initial: z.strictObject({
    signed_header: SignedHeader,
    next_validator_set: ValidatorSet,
    trusting_period: nanoseconds,
    now: timeNs,
  }),
  input: z.array(z.strictObject({ block: LightBlock, now: timeNs, testgen_block: unread, verdict: unread })).max(BLOCKS_MAX),
});

const Chain = z
  .strictObject({ chain_id: z.string(), lite_blocks: z.array(LightBlock).max(BLOCKS_MAX) })
  .transform(({ lite_blocks }): Provider => new Map(lite_blocks.map((block) => [block.signed_header.header.height, block])));

const Bisection = z.strictObject({
  description: unread,
  expected_output: unread,
  expected_num_of_bisections: unread,
  trust_options: z.strictObject({
    period: nanoseconds,
    height: decimal,
    hash: z
      .string()
      .regex(/^[0-9A-Fa-f]{64}$/)
      .transform((text) => new Uint8Array(Buffer.from(text, "hex"))),
    trust_level: z.strictObject({ numerator: decimal, denominator: decimal }),
  }),
  primary: Chain,
  witnesses: z.array(z.strictObject({ type: z.string(), value: Chain })).max(16),
  height_to_verify: decimal,
  now: timeNs,
});

/** `SUCCESS`, or why not; a header that is too far away is not for that an invalid one. */
function verdict(result: Result<unknown, Coded>): { readonly verdict: string; readonly code?: string } {
  if (result.ok) return { verdict: "SUCCESS" };
  const { code } = result.error;
  return { verdict: code === "trust_insufficient" ? "NOT_ENOUGH_TRUST" : "INVALID", code };
}

/** Each block is judged from the last one that was believed. */
function judgeSteps({ initial, input }: z.output<typeof Steps>): Result<unknown, Coded> {
  const { signed_header: signed, next_validator_set: next, trusting_period: trustingPeriod } = initial;
  let trusted: Trusted = { facts: factsOf(signed), chainId: signed.header.chain_id, next };
  const verdicts = input.map(({ block, now }) => {
    const clock = { now, trustingPeriod, driftMax: DRIFT_NS_MAX };
    const believed = believe(trusted, block, { clock, trustLevel: TRUST_LEVEL_MIN });
    if (believed.ok) trusted = believed.value;
    return verdict(believed);
  });
  return ok({ verdicts });
}

function judgeBisection(input: z.output<typeof Bisection>): Result<unknown, Coded> {
  const { trust_options: trust, primary, witnesses, height_to_verify: height, now } = input;
  if (!isTrustLevel(trust.trust_level)) return fail({ code: "input_invalid", path: "trust_options.trust_level" });
  const verified = verifyToHeight(
    { primary, witnesses: witnesses.map(({ value }) => value), trust, height },
    { clock: { now, trustingPeriod: trust.period, driftMax: DRIFT_NS_MAX }, trustLevel: trust.trust_level },
  );
  return ok(verified.ok ? { ...verdict(verified), ...verified.value } : verdict(verified));
}

/** The operations of this file. */
export const LIGHT: readonly Operation[] = [
  operation("lightclient.verify", {
    help: "{initial, input: [{block, now}]} -> {verdicts} | {trust_options, primary, witnesses, height_to_verify, now} -> {verdict}",
    input: z.union([Steps, Bisection]),
    answer: (input) => ("initial" in input ? judgeSteps(input) : judgeBisection(input)),
  }),
];
