/**
 * One run: a scenario in, a report out.
 *
 * ```
 *   safety: faults as listed --safetyMs--> liveness: all healed, everybody up --two heights more, or the bound--> over
 * ```
 *
 * Whatever happens, no checker may object; and in the second phase the network must go on.
 */

import { assert, present, unreachable } from "../../crypto/base/assert.ts";
import { isCompact } from "../../node/driver/bodies.ts";
import { bytesEqual, toHex } from "../../crypto/base/bytes.ts";
import { codeOf } from "../../crypto/base/error.ts";
import type { Header } from "../../chain/block/block.ts";
import { heightOf, nextHeight } from "../../chain/block/height.ts";
import type { ValidatorSet } from "../../chain/block/validators.ts";
import type { NetworkFile } from "../../chain/block/genesis.ts";
import type { Ledger } from "../../chain/ledger/ledger.ts";
import { Agenda, settled } from "./agenda.ts";
import type { AuthorityParts } from "./authority.ts";
import { lyingMinerOf } from "./byzantine-pow.ts";
import { liarOf } from "./byzantine.ts";
import { Accountability } from "./checkers/accountability.ts";
import { Agreement } from "./checkers/agreement.ts";
import type { Checker, Violation } from "./checkers/checker.ts";
import { Clients } from "./checkers/clients.ts";
import { Durable } from "./checkers/durable.ts";
import { Justice } from "./checkers/justice.ts";
import { Pbft } from "./checkers/pbft.ts";
import { Raft } from "./checkers/raft.ts";
import { Replay } from "./checkers/replay.ts";
import { Work } from "./checkers/work.ts";
import { Words } from "./checkers/words.ts";
import { Stake } from "./checkers/pos.ts";
import { Forks } from "./checkers/pow.ts";
import { Races } from "./checkers/races.ts";
import { ClockFault } from "./clock.ts";
import { DiskImage } from "./disk.ts";
import { CLIENTS_MAX, type EngineEntry, ENGINES, networkOf } from "./engines.ts";
import { drawCollusion, drawFaults, type Fault, faultyOf } from "./faults.ts";
import { type Packet, Wire, type WireOptions } from "./network.ts";
import { type EndMode, Machine, type NodeOptions, type Observer, type World } from "./node.ts";
import { Random } from "./random.ts";
import { addressOf, Signatures } from "./signatures.ts";
import { Sometimes } from "./sometimes.ts";
import { Trace, type TraceEvent } from "./trace.ts";
import { Workload } from "./workload.ts";

/** Everything that decides a run; plain data. */
export type Scenario = {
  readonly engine: string;
  readonly seed: number;
  readonly nodes: number;
  readonly safetyMs: number;
  readonly faults: readonly Fault[];
  /** More lie than the protocol bears: two blocks of a height may be final, and then the liars must be convicted. */
  readonly isOverBudget?: boolean;
  /** The authority changes who validates. */
  readonly changesSet?: boolean;
};

/** What a run found. */
export type Report = {
  readonly scenario: Scenario;
  readonly traceHash: string;
  readonly events: number;
  readonly simulatedMs: number;
  readonly height: bigint;
  readonly violations: readonly Violation[];
  readonly sometimes: Readonly<Record<string, number>>;
};

/** How long all of it may take to go on once everything is well again: bans last a minute, and some come in a row. */
const LIVENESS_MS_MAX = 240_000;
/** Heights that must follow. */
const LIVENESS_HEIGHTS = 2n;
/** An operator looks after a node that refused to start, or ended itself. */
const OPERATOR_MS = 500;
/** Codes that a sick disk excuses. */
const DISK_CODES: ReadonlySet<string> = new Set([
  "wal_io",
  "wal_corrupt",
  "store_io",
  "store_corrupt",
  "ledger_corrupt",
  "sign_state_corrupt",
  "sign_state_missing",
  "ENOSPC",
  "EIO",
]);
/** Codes after which only wiping the home helps. */
const DAMAGED_CODES: ReadonlySet<string> = new Set(["store_corrupt", "ledger_corrupt", "wal_corrupt"]);

/** How many of a thousand runs have more liars than the protocol bears. */
const OVER_BUDGET_PER_THOUSAND = 40;
/** In how many of a thousand runs with an authority it does something. */
const CHANGES_SET_PER_THOUSAND = 500;

/** The scenario of a seed. */
export function drawScenario(engineName: string, seed: number): Scenario {
  const engine = engineOf(engineName);
  const random = new Random(`${engineName} ${seed} scenario`);
  const nodes = random.pick(engine.nodes);
  const safetyMs = random.pick([6_000, 12_000, 20_000]);
  if (engine.mayFork === true && random.fork("over budget").happens(OVER_BUDGET_PER_THOUSAND)) {
    const faults = drawCollusion(random.fork("collusion"), { nodes, untilMs: safetyMs });
    return { engine: engineName, seed, nodes, safetyMs, faults, isOverBudget: true };
  }
  const faults = drawFaults(random.fork("faults"), {
    nodes,
    faultyMax: engine.faultyMax(nodes),
    mayLie: engine.mayLie,
    untilMs: safetyMs,
  });
  // Of two miners with one key nobody can complain.
  const drawn = engine.hashesPerSecond === undefined ? faults : faults.filter(({ kind }) => kind !== "twin");
  const changesSet = engine.bears !== undefined && random.fork("changes set").happens(CHANGES_SET_PER_THOUSAND);
  return { engine: engineName, seed, nodes, safetyMs, faults: drawn, ...(changesSet ? { changesSet } : {}) };
}

/** Runs a scenario to its end, or to the first violation. */
export async function runScenario(scenario: Scenario, listener?: (event: TraceEvent) => void): Promise<Report> {
  const run = await Run.open(scenario, listener);
  return await run.toEnd();
}

function engineOf(name: string): EngineEntry {
  return present(ENGINES[name], `engine ${name}`);
}

class Run {
  readonly #scenario: Scenario;
  readonly #engine: EngineEntry;
  readonly #random: Random;
  readonly #agenda = new Agenda();
  readonly #sometimes = new Sometimes();
  readonly #signatures = new Signatures();
  readonly #trace: Trace;
  readonly #network: NetworkFile;
  readonly #wire: Wire;
  readonly #machines: Machine[] = [];
  readonly #checkers: Checker[] = [];
  readonly #violations: Violation[] = [];
  /** Of each instance, whose key it has: a twin has another's. */
  readonly #keys: readonly number[];
  readonly #faulty: ReadonlySet<number>;
  readonly #generations: number[];
  /** The newest height that a node sits out because it may have signed there what it does not remember. */
  readonly #forgottenHeights: bigint[];
  /** Whether a node's disk is another one, and it has not yet said what it sits out for that. */
  readonly #hasForgotten: boolean[];
  readonly #agreement: Agreement;
  readonly #durable: Durable;
  #forks: Forks | undefined;
  #workload: Workload | undefined;
  #raft: Raft | undefined;
  /** More lie than any promise holds for: the run ends, and nothing that follows is a violation. */
  #isMoot = false;

  private constructor(scenario: Scenario, listener: ((event: TraceEvent) => void) | undefined) {
    this.#scenario = scenario;
    this.#engine = engineOf(scenario.engine);
    this.#random = new Random(`${scenario.engine} ${scenario.seed}`);
    this.#trace = new Trace(listener);
    const { nodes, faults } = scenario;
    const changesSet = scenario.changesSet === true;
    this.#network = networkOf(this.#engine, { nodes, random: this.#random.fork("network"), changesSet });
    const twins = faults.flatMap((fault) => (fault.kind === "twin" ? [fault.node] : []));
    this.#keys = [...Array.from({ length: nodes }, (_, index) => index), ...twins];
    this.#generations = this.#keys.map(() => 0);
    this.#forgottenHeights = this.#keys.map(() => 0n);
    this.#hasForgotten = this.#keys.map(() => false);
    this.#faulty = faultyOf(faults);
    this.#wire = new Wire(this.#keys.length, drawWire(this.#random.fork("wire options")), {
      agenda: this.#agenda,
      trace: this.#trace,
      sometimes: this.#sometimes,
      random: this.#random.fork("wire"),
    });
    const parts = this.#checkerParts();
    this.#agreement = new Agreement(parts);
    this.#durable = new Durable({
      ...parts,
      isHonest: (index) => this.#isHonest(index) && this.#machines[index]?.image.damages.length === 0,
    });
  }

  static async open(scenario: Scenario, listener: ((event: TraceEvent) => void) | undefined): Promise<Run> {
    const run = new Run(scenario, listener);
    await run.#setUp();
    return run;
  }

  async toEnd(): Promise<Report> {
    const { safetyMs } = this.#scenario;
    for (const machine of this.#machines) machine.boot();
    await settled();
    await this.#until(safetyMs, () => false);
    if (!this.#isOver && this.#scenario.isOverBudget !== true) await this.#recover(safetyMs);
    const workload = present(this.#workload, "workload");
    workload.stop();
    if (!this.#isOver) for (const checker of this.#checkers) await checker.onEnd?.();
    return {
      scenario: this.#scenario,
      traceHash: this.#trace.hash(),
      events: this.#trace.events,
      simulatedMs: this.#agenda.nowMs,
      height: this.#highest(),
      violations: this.#violations,
      sometimes: this.#sometimes.counts(),
    };
  }

  /** Steps until then, until it holds, or until a checker objects. */
  async #until(atMs: number, holds: () => boolean): Promise<void> {
    while (!this.#isOver && !holds() && this.#agenda.step(atMs)) await settled();
  }

  /** Everything is well from now on; the network must decide more. */
  async #recover(fromMs: number): Promise<void> {
    for (const machine of this.#machines) {
      machine.resume();
      if (!machine.isUp) this.#operate(machine);
    }
    await settled();
    const mustCome = this.#machines.filter(({ index }) => !this.#isFaulty(index));
    const goal = this.#highest() + LIVENESS_HEIGHTS;
    const workload = present(this.#workload, "workload");
    // A dishonest node may be the first to have a height: what it told is judged by what the honest ones have in the end.
    const told = (): bigint => (this.#engine.hashesPerSecond === undefined ? workload.heightTold : 0n);
    const isThere = ({ running }: Machine): boolean =>
      running !== undefined && running.ledger.head().height >= goal && running.ledger.head().height >= told();
    // Where blocks may be undone, all must also have the same one in the end.
    const isOver = (): boolean =>
      mustCome.every(isThere) && (this.#engine.hashesPerSecond === undefined || this.#areOne(mustCome));
    await this.#until(fromMs + LIVENESS_MS_MAX, isOver);
    if (this.#isOver || isOver() || !this.#isProgressOwed()) return;
    const where = this.#machines.map(({ index, running, refusal }) => {
      const status = running?.driver.status();
      return `${index}: ${running?.ledger.head().height ?? refusal ?? "down"} ${status?.step ?? "idle"} ${status?.round ?? ""}`;
    });
    this.#violated("liveness", `height ${goal} not reached ${LIVENESS_MS_MAX} ms after all healed: ${where.join("; ")}`);
  }

  /**
   * Whether the protocol promises that the network goes on. Not with a third of the power that decides next at those who lie, or
   * sit that height out because they may have forgotten what they signed (`node/driver/decisions/0001`): an operator must help.
   * Under Raft not with half of it at those who take no part in elections (`consensus/decisions/0005`).
   */
  #isProgressOwed(): boolean {
    const { name } = this.#network.engine;
    if (name === "pow") return true;
    if (name === "raft") {
      const isSound = (index: number): boolean => index >= 0 && this.#raft?.hasMemory(index) === true;
      return this.#powerOf(isSound) * 2n > this.#powerOf(() => true);
    }
    const decided = this.#highest();
    const isSound = (index: number): boolean =>
      index >= 0 && !this.#isFaulty(index) && present(this.#forgottenHeights[index], "node") <= decided;
    return this.#powerOf(isSound) * 3n > this.#powerOf(() => true) * 2n;
  }

  /** Of those that decide the next height, the power of some. Index -1 is whoever runs no node: clients bond stake too. */
  #powerOf(isCounted: (index: number) => boolean): bigint {
    const ledgers = this.#machines.flatMap(({ running }) => (running === undefined ? [] : [running.ledger]));
    const [ledger] = ledgers.toSorted((a, b) => Number(b.head().height - a.head().height));
    const validators = ledger?.validators(nextHeight(ledger.head().height))?.validators ?? [];
    return validators.reduce((sum, { address, power }) => {
      const index = this.#keys.findIndex((key) => bytesEqual(addressOf("validator", key), address));
      return sum + (isCounted(index) ? power : 0n);
    }, 0n);
  }

  get #isOver(): boolean {
    return this.#isMoot || this.#violations.length > 0;
  }

  #highest(): bigint {
    const heights = this.#machines.map(({ running }) => running?.ledger.head().height ?? 0n);
    return heights.reduce((highest, height) => (height > highest ? height : highest), this.#agreement.height);
  }

  /** Whether all have the same head, and none is between two: in the middle of a reorganisation less is left than there was. */
  #areOne(machines: readonly Machine[]): boolean {
    if (machines.some(({ running }) => running?.driver.status()?.step === "judge")) return false;
    return new Set(machines.map(({ running }) => toHex(running?.ledger.head().hash ?? new Uint8Array(0)))).size === 1;
  }

  async #setUp(): Promise<void> {
    const { faults } = this.#scenario;
    const observer = this.#observer();
    const world: World = {
      agenda: this.#agenda,
      trace: this.#trace,
      sometimes: this.#sometimes,
      wire: this.#wire,
      signatures: this.#signatures,
      network: this.#network,
      observer,
    };
    for (const [index, key] of this.#keys.entries()) this.#machines.push(this.#machine(index, key, world));
    const parts = this.#checkerParts();
    const replay = await Replay.open({ network: this.#network, signatures: this.#signatures }, parts);
    const workload = new Workload({
      agenda: this.#agenda,
      random: this.#random.fork("workload"),
      machines: this.#machines,
      signatures: this.#signatures,
      sometimes: this.#sometimes,
      chainId: this.#network.chainId,
      depth: this.#network.engine.name === "pow" ? BigInt(this.#network.engine.finalityDepth) : 0n,
      stakers: this.#network.engine.name === "pos" ? this.#scenario.nodes : undefined,
      nameOf: (index) => this.#nameOf(index),
      authority: this.#authority(),
    });
    this.#workload = workload;
    const nodes = new Map(this.#keys.map((key) => [toHex(addressOf("validator", key)), key]));
    const nodeOf = (validator: Uint8Array): number => nodes.get(toHex(validator)) ?? -1;
    const { engine } = this.#network;
    if (engine.name === "pow") {
      const forks = new Forks({
        ...parts,
        isHonest: (index) => this.#isHonest(index) && this.#machines[index]?.image.damages.length === 0,
        network: this.#network,
        protocol: engine,
        nowMs: () => this.#agenda.nowMs,
        isRunning: (index) => this.#machines[index]?.running !== undefined,
      });
      this.#forks = forks;
      const ledger = (): Ledger =>
        present(this.#machines.find(({ index }) => this.#isHonest(index))?.running, "honest node").ledger;
      this.#checkers.push(
        new Work({ ...parts, network: this.#network, signatures: this.#signatures, machines: this.#machines }),
        forks,
        new Clients({ ...parts, workload, ledger, hasSessions: false, hasUndoneSettled: () => forks.hasUndoneSettled }),
      );
    } else if (this.#scenario.isOverBudget === true) {
      this.#checkers.push(
        new Accountability({
          ...parts,
          chainId: this.#network.chainId,
          codec: this.#engine.tongue.codec,
          hasViews: engine.name === "pbft",
          setOf: (index, height) => this.#machines[index]?.running?.ledger.validators(heightOf(height)),
          nodeOf,
        }),
      );
    } else
      this.#checkers.push(
        this.#agreement,
        replay,
        this.#durable,
        new Words({
          ...parts,
          codec: this.#engine.tongue.codec,
          hasLocks: this.#engine.hasLocks,
          setOf: (height) => replay.setOf(height),
          nodeOf,
        }),
        new Justice({ ...parts, nodeOf }),
        new Clients({ ...parts, workload, ledger: () => replay.ledger, hasSessions: true, hasUndoneSettled: () => false }),
        new Races({ ...parts, workload }),
      );
    if (this.#network.engine.name === "raft") {
      const addresses = this.#keys.map((key) => addressOf("validator", key));
      this.#checkers.push(
        new Raft({
          ...parts,
          addresses,
          setOf: (height) => replay.setOf(height),
          isHarmed: (index) => this.#machines[index]?.image.damages.length !== 0,
        }),
      );
    }
    if (this.#network.engine.name === "pbft" && this.#scenario.isOverBudget !== true) {
      const setOf = (height: bigint): ValidatorSet | undefined => replay.setOf(height);
      const headerOf = (height: bigint): Header | undefined => replay.ledger.block(heightOf(height))?.header;
      const { chainId } = this.#network;
      this.#checkers.push(new Pbft({ ...parts, chainId, signatures: this.#signatures, setOf, headerOf, nodeOf }));
    }
    const draw = this.#random.fork("clients");
    this.#watchStake(replay.ledger, nodeOf);
    const clients = draw.between(1, CLIENTS_MAX);
    workload.start({ clients, pauseMsMean: draw.pick([200, 600, 1500]), racers: draw.between(0, 4) });
    for (const fault of faults) this.#arrange(fault);
  }

  /** What the authority goes by, where it acts. */
  #authority(): AuthorityParts | undefined {
    const { nodes, changesSet } = this.#scenario;
    if (changesSet !== true) return undefined;
    const { bears, powers } = this.#engine;
    return { nodes, faulty: this.#faulty, bears: present(bears, "what a set bears"), powers: present(powers, "powers") };
  }

  /** Under proof of stake, every block of the replay is reckoned anew. */
  #watchStake(ledger: Ledger, nodeOf: (validator: Uint8Array) => number): void {
    const { engine } = this.#network;
    if (engine.name !== "pos") return;
    const onMoot = (): void => {
      if (!this.#isMoot) this.#sometimes.saw("stake_moot");
      this.#isMoot = true;
    };
    const stake = new Stake({ ...this.#checkerParts(), network: this.#network, engine, nodeOf, onMoot });
    stake.begin(ledger);
    ledger.onCommit(({ block }) => stake.follow(ledger, block));
  }

  #machine(index: number, key: number, world: World): Machine {
    const { faults, nodes } = this.#scenario;
    const random = this.#random.fork(`machine ${index}`);
    const keyPair = this.#signatures.keyPair("validator", key);
    const liar = faults.find((fault) => fault.kind === "byzantine" && fault.node === index);
    const isTwin = faults.some((fault) => fault.kind === "twin" && fault.node === key);
    if (index >= nodes) this.#sometimes.saw("twins_active");
    const options: NodeOptions = {
      ...(liar?.kind === "byzantine" ? dishonestyOf(liar.behaviours) : {}),
      ...(isTwin ? { isDeaf: this.#isWordOf(key) } : {}),
    };
    const { options: wire } = this.#wire;
    const clock = this.#random.fork(`clock ${index}`);
    const isWrong = clock.happens(400);
    const machine = new Machine(index, options, {
      world,
      random,
      keyPair,
      clockFault: new ClockFault({
        driftPpm: isWrong ? clock.pick([-2000, -50, 50, 2000]) : 0,
        offsetMs: isWrong ? clock.between(-400, 400) : 0,
      }),
      syncMsMean: wire.latencyMsMean > 20 ? 4 : 1,
      hashesPerSecond: this.#engine.hashesPerSecond ?? 0,
    });
    if (liar?.kind === "byzantine") {
      const { engine } = this.#network;
      const parts = {
        self: addressOf("validator", key),
        behaviours: liar.behaviours,
        random: random.fork("liar"),
        sometimes: this.#sometimes,
        ledger: () => machine.running?.ledger,
      };
      const egress =
        engine.name === "pow"
          ? lyingMinerOf({ ...parts, network: this.#network, protocol: engine })
          : liarOf({
              ...parts,
              tongue: this.#engine.tongue,
              chainId: this.#network.chainId,
              keyPair,
              onSaid: (bytes) => world.observer.onSaid(index, bytes),
            });
      this.#wire.corrupt(index, egress);
      if (liar.behaviours.lieAboutHeight > 0) this.#sometimes.saw("byzantine_lied_height");
    }
    return machine;
  }

  /** Whether bytes are a word of this key. */
  #isWordOf(key: number): (bytes: Uint8Array) => boolean {
    const name = toHex(addressOf("validator", key));
    const { codec } = this.#engine.tongue;
    return (bytes) => {
      const message = codec.parse(bytes);
      return message.ok && toHex(codec.describe(message.value).signer) === name;
    };
  }

  // Checking.

  #checkerParts() {
    return {
      isHonest: (index: number) => this.#isHonest(index),
      violated: (property: string, message: string) => this.#violated(property, message),
      sometimes: this.#sometimes,
    };
  }

  /** Where nobody may lie, a sick disk is no excuse for a word: it is found out, or lost. */
  #isHonest(index: number): boolean {
    return !this.#engine.mayLie || !this.#isFaulty(index);
  }

  #isFaulty(index: number): boolean {
    return this.#faulty.has(present(this.#keys[index], "key of an instance"));
  }

  #violated(property: string, message: string): void {
    if (!this.#isMoot) this.#violations.push({ property, message, atMs: this.#agenda.nowMs });
  }

  #observer(): Observer {
    return {
      onCommit: (index, commit) => {
        const { block, certificate } = commit;
        this.#trace.note(this.#agenda.nowMs, index, "commit", block.hash);
        if (block.transactions.length > 0) this.#sometimes.saw("height_with_transactions");
        if (certificate.kind === "quorum" && certificate.round > 0) this.#sometimes.saw("round_beyond_first");
        if (certificate.kind === "quorum" && certificate.round > 2) this.#sometimes.saw("round_beyond_third");
        for (const checker of this.#checkers) checker.onCommit?.(index, commit);
      },
      onSaid: (index, bytes) => {
        for (const checker of this.#checkers) checker.onSaid?.(index, bytes);
      },
      onLog: (index, event) => {
        for (const checker of this.#checkers) checker.onLog?.(index, event);
      },
      onHeard: (index, bytes) => {
        for (const checker of this.#checkers) checker.onHeard?.(index, bytes);
      },
      onOpened: (index, ledger) => {
        for (const checker of this.#checkers) checker.onOpened?.(index, ledger);
      },
      onFailed: (index, when, error) => this.#failed(index, when, error),
      onSplit: (index, forkHeight) => this.#split(index, forkHeight),
      onSatOut: (index) => {
        if (this.#hasForgotten[index] === true) this.#forgottenHeights[index] = this.#highest() + 2n;
        this.#hasForgotten[index] = false;
      },
    };
  }

  #failed(index: number, when: "opening" | "running", error: unknown): void {
    const machine = present(this.#machines[index], "machine");
    const isSick = machine.image.damages.length > 0 || this.#scenario.faults.some(({ kind }) => kind === "full");
    const code = codeOf(error);
    if (code === "wal_corrupt") this.#sometimes.saw("log_damage_refused");
    if (this.#isHonest(index) && !(isSick && DISK_CODES.has(code))) {
      const stack = error instanceof Error ? (error.stack ?? "") : "";
      this.#violated("failed", `node ${index} failed ${when} with ${code}: ${String(error)} ${stack}`);
      return;
    }
    this.#agenda.after(OPERATOR_MS, undefined, () => this.#operate(machine));
  }

  /** An operator starts a node again, after wiping what is damaged. A lost record of signatures nobody can mend. */
  #operate(machine: Machine): void {
    const { refusal } = machine;
    if (machine.isUp || refusal?.startsWith("sign_state") === true) return;
    if (refusal !== undefined && DAMAGED_CODES.has(refusal)) {
      machine.rebuild();
      this.#renew(machine.index);
    }
    machine.boot();
  }

  /** What a node cannot go over to by itself its operator does for it. */
  #split(index: number, forkHeight: bigint): void {
    const machine = present(this.#machines[index], "machine");
    this.#forks?.checkSplit(index, forkHeight);
    this.#agenda.after(OPERATOR_MS, undefined, () => {
      if (!machine.isUp) return; // It says so again once it is up.
      machine.end("kill");
      this.#renew(index);
      machine.rollback(forkHeight).catch((error: unknown) => {
        machine.end("kill");
        this.#failed(index, "opening", error);
      });
    });
  }

  #replaceDisk(machine: Machine, downMs: number): void {
    machine.end("kill");
    machine.rebuild();
    this.#renew(machine.index);
    this.#agenda.after(downMs, undefined, () => this.#operate(machine));
  }

  /** What clients call a node: by another name when its disk is another one, or may have lost what it had. */
  #nameOf(index: number): string {
    const { image, boots } = present(this.#machines[index], "machine");
    return `n${index}.${this.#generations[index]}.${image.damages.length === 0 ? 0 : boots}`;
  }

  /** The node's disk is another one now. */
  #renew(index: number): void {
    this.#generations[index] = (this.#generations[index] ?? 0) + 1;
    this.#hasForgotten[index] = true;
    for (const checker of this.#checkers) checker.forget?.(index);
  }

  // Faults.

  #arrange(fault: Fault): void {
    const at = (atMs: number, act: () => void): void => void this.#agenda.at(atMs, undefined, act);
    const machine = "node" in fault ? present(this.#machines[fault.node], "machine of a fault") : undefined;
    switch (fault.kind) {
      case "end":
        at(fault.atMs, () => this.#end(present(machine, "machine"), fault));
        return;
      case "endAll":
        at(fault.atMs, () => {
          for (const each of this.#machines) this.#end(each, fault);
        });
        return;
      case "trap":
        at(fault.atMs, () => {
          const { operation, when, skip } = fault;
          machine?.set({ operation, when, skip, onCaught: () => this.#end(machine, fault) });
        });
        return;
      case "pause":
        at(fault.atMs, () => machine?.pauseUntil(Math.min(fault.atMs + fault.forMs, this.#scenario.safetyMs)));
        return;
      case "clockJump":
        at(fault.atMs, () => {
          machine?.clockFault.jump(fault.byMs);
          this.#sometimes.saw(fault.byMs < 0 ? "clock_jumped_back" : "clock_jumped_ahead");
        });
        // Somebody sets it right in the end.
        at(this.#scenario.safetyMs, () => machine?.clockFault.jump(-fault.byMs));
        return;
      case "oldBackup":
        this.#arrangeBackup(present(machine, "machine"), fault);
        return;
      case "spoil":
        at(fault.atMs, () => this.#spoil(fault, 1));
        at(fault.untilMs, () => this.#spoil(fault, -1));
        return;
      case "partition":
        at(fault.atMs, () => {
          for (const [from, to] of fault.cuts) this.#wire.cut(from, to, 1);
        });
        at(fault.untilMs, () => {
          for (const [from, to] of fault.cuts) this.#wire.cut(from, to, -1);
        });
        return;
      case "clog":
        at(fault.atMs, () => this.#wire.clog(fault.from, fault.to, fault.untilMs));
        return;
      case "slow":
        at(fault.atMs, () => this.#wire.slow(fault.from, fault.to, fault.factor));
        at(fault.untilMs, () => this.#wire.slow(fault.from, fault.to, 1 / fault.factor));
        return;
      case "filter":
        at(fault.atMs, () => {
          const filter = this.#wire.filter((_, to, packet) => to === fault.to && this.#isOfKind(packet, fault.what));
          at(fault.untilMs, () => filter[Symbol.dispose]());
        });
        return;
      case "bitFlip":
        at(fault.atMs, () => {
          if (machine?.image.flipBit(fault.part) === true) this.#sometimes.saw("bit_flipped");
        });
        return;
      case "misdirect":
        at(fault.atMs, () => machine?.image.misdirectNext());
        return;
      case "failSync":
        at(fault.atMs, () => machine?.image.failSyncs(1));
        return;
      case "full":
        at(fault.atMs, () => machine?.image.fillUntil(Math.min(fault.atMs + fault.forMs, this.#scenario.safetyMs)));
        return;
      case "hang":
        at(fault.atMs, () => machine?.image.hangUntil(fault.atMs + fault.forMs));
        return;
      case "rebuild":
        at(fault.atMs, () => this.#replaceDisk(present(machine, "machine"), fault.downMs));
        return;
      case "byzantine":
      case "twin":
        return;
      default:
        unreachable(fault);
    }
  }

  #spoil({ links, lossPerThousand, doublePerThousand }: Extract<Fault, { readonly kind: "spoil" }>, by: 1 | -1): void {
    for (const [from, to] of links)
      this.#wire.spoil(from, to, { lossPerThousand: lossPerThousand * by, doublePerThousand: doublePerThousand * by });
  }

  #end(machine: Machine, { mode, downMs }: { readonly mode: EndMode; readonly downMs: number }): void {
    machine.end(mode);
    this.#agenda.after(downMs, undefined, () => this.#operate(machine));
  }

  #arrangeBackup(machine: Machine, fault: Extract<Fault, { readonly kind: "oldBackup" }>): void {
    const backup = new DiskImage({ agenda: this.#agenda, random: this.#random.fork("backup"), syncMsMean: 1 });
    this.#agenda.at(fault.copiedAtMs, undefined, () => backup.copyOf(machine.image, "/home"));
    this.#agenda.at(fault.atMs, undefined, () => {
      machine.end("kill");
      machine.image.copyOf(backup, "/home");
      this.#sometimes.saw("old_backup_restored");
      this.#renew(machine.index);
      this.#agenda.after(fault.downMs, undefined, () => this.#operate(machine));
    });
  }

  #isOfKind(packet: Packet, what: string): boolean {
    if (packet.kind === what) return true;
    if (packet.kind !== "gossip") return false;
    if (packet.topic === what) return true;
    if (packet.topic !== "consensus") return false;
    if (this.#engine.hashesPerSecond !== undefined) return false;
    if (isCompact(packet.bytes)) return what === "proposal";
    const { codec } = this.#engine.tongue;
    const message = codec.parse(packet.bytes);
    return message.ok && codec.describe(message.value).statement.startsWith(what);
  }
}

function drawWire(random: Random): WireOptions {
  return { latencyMsMin: random.pick([0.5, 5, 30]), latencyMsMean: random.pick([1, 10, 40]), relaysMax: random.pick([0, 2, 3]) };
}

function dishonestyOf(behaviours: Extract<Fault, { readonly kind: "byzantine" }>["behaviours"]): NodeOptions {
  assert(behaviours.lieAboutHeight >= 0, "a lie about the height claims more");
  return { censors: behaviours.censor, liesAboutHeight: BigInt(behaviours.lieAboutHeight) };
}
