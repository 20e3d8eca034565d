/**
 * Changes of the configuration, as pure functions: from a configuration and what is known of its members to the next of both.
 *
 * A change of one voter may be applied at once (dissertation 4.1): the old and the new majority overlap. More than one goes through a
 * joint configuration (4.3). Whether a change may be proposed now is the leader's to judge, in `proposals.ts`.
 */

import { assert, unreachable } from "../../crypto/base/assert.ts";
import { fail, ok } from "../../crypto/base/result.ts";
import type { Result } from "../../crypto/base/result.ts";
import { findFault, isJoint, membersOf } from "./configuration.ts";
import type { Configuration } from "./configuration.ts";
import { Progress } from "./progress.ts";
import type { ProgressLimits } from "./progress.ts";
import { NOBODY } from "./types.ts";
import type { ChangeStep, ConfChange } from "./types.ts";

/** A configuration and what is known of each of its members. */
export type Membership = { readonly configuration: Configuration; readonly progress: ReadonlyMap<bigint, Progress> };

/** What new members begin with. */
export type NewMember = { readonly lastIndex: bigint; readonly limits: ProgressLimits };

/** Why a change cannot be. The detail is one of the fixed sentences below. */
export type ChangeError = { readonly code: "change_refused"; readonly detail: string };

type Draft = {
  incoming: Set<bigint>;
  outgoing: Set<bigint>;
  learners: Set<bigint>;
  learnersNext: Set<bigint>;
  autoLeave: boolean;
  progress: Map<bigint, Progress>;
};

/** Applies a change in the way it asks for. */
export function changeMembership(membership: Membership, change: ConfChange, fresh: NewMember): Result<Membership, ChangeError> {
  if (isLeave(change)) return leaveJoint(membership);
  if (wantsJoint(change)) return enterJoint(membership, change.steps, change.transition !== "explicit", fresh);
  return changeSimply(membership, change.steps, fresh);
}

/** Whether it is the change that leaves a joint configuration. */
export function isLeave(change: ConfChange): boolean {
  return change.steps.length === 0 && change.transition === "auto";
}

/** Whether it goes through a joint configuration. */
export function wantsJoint(change: ConfChange): boolean {
  return change.transition !== "auto" || change.steps.length > 1;
}

/** Makes the voters of now the outgoing half, and the changed ones the incoming half. */
export function enterJoint(
  { configuration, progress }: Membership,
  steps: readonly ChangeStep[],
  autoLeave: boolean,
  fresh: NewMember,
): Result<Membership, ChangeError> {
  if (isJoint(configuration)) return refuse("config is already joint");
  if (configuration.incoming.size === 0) return refuse("can't make a zero-voter config joint");
  const draft = draftOf(configuration, progress);
  draft.outgoing = new Set(draft.incoming);
  const fault = applySteps(draft, steps, fresh);
  if (fault !== undefined) return refuse(fault);
  draft.autoLeave = autoLeave;
  return finish(draft);
}

/** Leaves the incoming half alone in force. */
export function leaveJoint({ configuration, progress }: Membership): Result<Membership, ChangeError> {
  if (!isJoint(configuration)) return refuse("can't leave a non-joint config");
  const draft = draftOf(configuration, progress);
  for (const id of draft.learnersNext) draft.learners.add(id);
  draft.learnersNext = new Set();
  for (const id of draft.outgoing) if (!draft.incoming.has(id) && !draft.learners.has(id)) draft.progress.delete(id);
  draft.outgoing = new Set();
  draft.autoLeave = false;
  return finish(draft);
}

/** Changes one voter, and any number of learners, at once. */
export function changeSimply(
  { configuration, progress }: Membership,
  steps: readonly ChangeStep[],
  fresh: NewMember,
): Result<Membership, ChangeError> {
  if (isJoint(configuration)) return refuse("can't apply simple config change in joint config");
  const draft = draftOf(configuration, progress);
  const fault = applySteps(draft, steps, fresh);
  if (fault !== undefined) return refuse(fault);
  if (differenceOf(configuration.incoming, draft.incoming) > 1)
    return refuse("more than one voter changed without entering joint config");
  return finish(draft);
}

/** The members of a stored configuration, nothing known of any of them but that they were there. */
export function restoreMembership(configuration: Configuration, fresh: NewMember): Membership {
  const progress = new Map<bigint, Progress>();
  for (const id of membersOf(configuration)) progress.set(id, newProgress(fresh));
  return { configuration, progress };
}

function applySteps(draft: Draft, steps: readonly ChangeStep[], fresh: NewMember): string | undefined {
  for (const step of steps) {
    if (step.node === NOBODY) continue; // Whoever judged this change after it was proposed struck the step out.
    switch (step.kind) {
      case "voter":
        makeVoter(draft, step.node, fresh);
        break;
      case "learner":
        makeLearner(draft, step.node, fresh);
        break;
      case "remove":
        remove(draft, step.node);
        break;
      case "update":
        break;
      default:
        return unreachable(step.kind);
    }
  }
  return draft.incoming.size === 0 ? "removed all voters" : undefined;
}

function makeVoter(draft: Draft, id: bigint, fresh: NewMember): void {
  if (!draft.progress.has(id)) draft.progress.set(id, newProgress(fresh));
  draft.learners.delete(id);
  draft.learnersNext.delete(id);
  draft.incoming.add(id);
}

/** A voter of the outgoing half stays one until the joint configuration is left: both halves must keep deciding. */
function makeLearner(draft: Draft, id: bigint, fresh: NewMember): void {
  const progress = draft.progress.get(id) ?? newProgress(fresh);
  remove(draft, id);
  draft.progress.set(id, progress);
  if (draft.outgoing.has(id)) draft.learnersNext.add(id);
  else draft.learners.add(id);
}

function remove(draft: Draft, id: bigint): void {
  draft.incoming.delete(id);
  draft.learners.delete(id);
  draft.learnersNext.delete(id);
  if (!draft.outgoing.has(id)) draft.progress.delete(id);
}

/** New members count as active: a leader that adds three at once must not lose its quorum before they could answer. */
function newProgress({ lastIndex, limits }: NewMember): Progress {
  return new Progress({ match: 0n, next: lastIndex > 1n ? lastIndex : 1n, isLearner: false, isActive: true, limits });
}

/** Sets of its own. The progress of old members is shared and not touched: a change may be tried without being made. */
function draftOf(configuration: Configuration, progress: ReadonlyMap<bigint, Progress>): Draft {
  return {
    progress: new Map(progress),
    incoming: new Set(configuration.incoming),
    outgoing: new Set(configuration.outgoing),
    learners: new Set(configuration.learners),
    learnersNext: new Set(configuration.learnersNext),
    autoLeave: configuration.autoLeave,
  };
}

function finish({ progress, ...configuration }: Draft): Result<Membership, ChangeError> {
  const fault = findFault(configuration);
  if (fault !== undefined) return refuse(fault);
  assert(membersOf(configuration).length === progress.size, "{} members are fed", progress.size);
  return ok({ configuration, progress });
}

function differenceOf(a: ReadonlySet<bigint>, b: ReadonlySet<bigint>): number {
  return [...a].filter((id) => !b.has(id)).length + [...b].filter((id) => !a.has(id)).length;
}

function refuse(detail: string): Result<never, ChangeError> {
  return fail({ code: "change_refused", detail });
}
