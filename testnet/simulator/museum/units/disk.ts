/**
 * The write-ahead log and the double-sign guard on the simulator's disk: power cuts of every kind in the middle of
 * things, syncs that fail, bits that flip, and backups that are put back.
 */

import { bytesEqual, concatBytes, toHex, u64 } from "../../../../crypto/base/bytes.ts";
import { CodedError, codeOf } from "../../../../crypto/base/error.ts";
import { heightOf } from "../../../../chain/block/height.ts";
import { keyPairAt } from "../../../../chain/block/testing/fixtures.ts";
import { SignGuard, STEP, type Step } from "../../../../node/driver/guard.ts";
import { WriteAheadLog } from "../../../../node/driver/wal.ts";
import type { Disk } from "../../../../node/ports/disk.ts";
import { Agenda, settled } from "../../agenda.ts";
import { type CutMode, DiskImage } from "../../disk.ts";
import { Random } from "../../random.ts";
import { holds } from "../property.ts";

const CUT_MODES: readonly CutMode[] = ["lost", "kept", "torn", "scattered"];
const LIVES = 6;
/** With nothing to happen for so long, nothing will. */
const IDLE_MS = 60_000;

/** A machine whose processes die and begin again on one disk. */
class Machine {
  readonly agenda = new Agenda();
  readonly random: Random;
  readonly image: DiskImage;
  #life: { isAlive: boolean; readonly pausedUntilMs: number } = { isAlive: false, pausedUntilMs: 0 };

  constructor(name: string) {
    this.random = new Random(name);
    this.image = new DiskImage({ agenda: this.agenda, random: this.random.fork("disk"), syncMsMean: 1 });
  }

  /** A new process. */
  boot(): Disk {
    this.#life = { isAlive: true, pausedUntilMs: 0 };
    return this.image.mount(this.#life, () => undefined);
  }

  /** The process ends, and with it the power. */
  cut(mode: CutMode): void {
    this.#life.isAlive = false;
    this.image.cut(mode);
  }

  /** Simulated time goes on for so many events, or until nothing is left to happen. */
  async advance(events: number): Promise<void> {
    await settled();
    for (let done = 0; done < events && this.agenda.step(this.agenda.nowMs + IDLE_MS); done += 1) await settled();
  }

  /** What comes of the work once all that it waits for has happened; `undefined` when it waits for a dead process. */
  async finished<T>(work: Promise<T>): Promise<{ readonly value?: T; readonly error?: unknown } | undefined> {
    let outcome: { readonly value?: T; readonly error?: unknown } | undefined;
    work.then(
      (value) => (outcome = { value }),
      (error: unknown) => (outcome = { error }),
    );
    await this.advance(10_000);
    return outcome;
  }
}

/**
 * After any crash the log gives back what was appended, from the first record on, in order and unchanged, and at least
 * all that it said was durable. A log that has failed says of nothing more that it is.
 */
export async function logKeepsWhatItSaidItHad(seed: number): Promise<void> {
  const machine = new Machine(`wal ${seed}`);
  const { random } = machine;
  const name = heightOf(1n);
  /** What a reader of the disk may find: what survived so far, and then what was written since. */
  let written: Uint8Array[] = [];
  let durable = 0;
  const setUp = machine.boot();
  await machine.finished(setUp.makeDirectory("/wal").then(async () => await setUp.syncDirectory("/")));
  for (let life = 0; life < LIVES; life += 1) {
    const log = new WriteAheadLog("/wal", machine.boot());
    const harmed = machine.image.damages.length;
    const started = await machine.finished(log.start(name));
    if (started?.error !== undefined && machine.image.damages.length > harmed) {
      // A sync that was to fail failed now. What it was about to save is where it was.
      holds(codeOf(started.error) === "wal_io", "a log says that its disk fails", () => codeOf(started.error));
      machine.cut(random.pick(CUT_MODES));
      await settled();
      continue;
    }
    const found = (started?.value ?? []) as readonly Uint8Array[];
    holds(started?.error === undefined, "a log can be read after a crash", () => codeOf(started?.error));
    holds(found.length >= durable, "what was said to be durable is there", () => `${found.length} of ${durable}`);
    const isPrefix = found.every((record, at) => written[at] !== undefined && bytesEqual(record, written[at]));
    holds(isPrefix, "a log gives back what was written and nothing else", () => `${found.length} of ${written.length}`);
    written = [...found];
    durable = found.length;
    for (let count = random.between(1, 6); count > 0; count -= 1) {
      if (random.happens(60)) machine.image.failSyncs(1);
      const record = random.bytes(random.pick([3, 40, 600, 1500]));
      written.push(record);
      const index = written.length;
      const done = log.append(name, record);
      done.then(
        () => (durable = Math.max(durable, index)),
        () => undefined, // Not durable is what it says.
      );
      await machine.advance(random.between(0, 3));
    }
    if (random.happens(300)) await machine.advance(1000);
    machine.cut(random.pick(CUT_MODES));
    await settled();
  }
}

/**
 * Whatever happens to the machine, no two different words of one height, round and step were ever signed. A file that
 * was damaged or lost stops the validator; after a backup was put back, the heights that others may have seen it in
 * are left out.
 */
export async function guardSignsOnce(seed: number): Promise<void> {
  const machine = new Machine(`guard ${seed}`);
  const { random } = machine;
  const keyPair = keyPairAt(1);
  const path = "/data/sign-state";
  const signed = new Map<string, string>();
  const said: { readonly slot: string; readonly word: string }[] = [];
  let backup: DiskImage | undefined;
  let height = 1n;
  let floor = 0n;
  let isNew = true;
  let isHarmed = false;
  for (let life = 0; life < LIVES; life += 1) {
    const disk = machine.boot();
    if (isNew) await machine.finished(disk.makeDirectory("/data").then(async () => await disk.syncDirectory("/")));
    const opened = await machine.finished(SignGuard.open({ path, disk, keyPair, isNew }));
    isNew = false;
    if (opened?.value === undefined) {
      holds(opened?.error instanceof CodedError, "a guard says why it does not open", () => codeOf(opened?.error));
      holds(isHarmed, "a power cut alone does no harm to the record of what was signed", () => codeOf(opened?.error));
      return;
    }
    const guard = opened.value;
    guard.raiseFloor(heightOf(floor));
    for (let count = random.between(1, 8); count > 0; count -= 1) {
      if (random.happens(300)) height += 1n;
      const request = {
        height: heightOf(random.happens(150) && height > 1n ? height - 1n : height),
        round: random.between(0, 1),
        step: random.pick(Object.keys(STEP) as Step[]),
        bytes: concatBytes(u64(height), random.bytes(1)),
      };
      const answer = guard.sign(request);
      answer.then(
        (result) => {
          if (result.ok) said.push({ slot: `${request.height}/${request.round}/${request.step}`, word: toHex(request.bytes) });
        },
        () => undefined, // It has not signed.
      );
      await machine.advance(random.pick([0, 1, 2, 3, 50]));
      for (const { slot, word } of said.splice(0)) note(signed, slot, word);
      if (random.happens(100)) {
        backup = new DiskImage({ agenda: machine.agenda, random: random.fork(`backup ${life} ${count}`), syncMsMean: 1 });
        backup.copyOf(machine.image, "/data");
      }
    }
    machine.cut(random.pick(CUT_MODES));
    await settled();
    if (random.happens(160)) {
      isHarmed = true;
      if (random.happens(600)) machine.image.flipBit("sign-state");
      else machine.image.wipe("/data/sign-state");
    } else if (backup !== undefined && random.happens(250)) {
      machine.image.wipe("/data");
      machine.image.copyOf(backup, "/data");
      floor = height;
    }
  }
}

function note(signed: Map<string, string>, slot: string, word: string): void {
  const before = signed.get(slot) ?? word;
  holds(before === word, "one word is signed for a height, round and step", () => `${slot}: ${before}, then ${word}`);
  signed.set(slot, word);
}
