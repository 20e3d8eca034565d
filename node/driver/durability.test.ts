/** What this node has said survives crashes, and is never said twice differently: the log and the guard. */

import { appendFileSync, cpSync, mkdtempSync, readFileSync, renameSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t, { type Test } from "tap";
import { present } from "../../crypto/base/assert.ts";
import { codeOf } from "../../crypto/base/error.ts";
import { utf8 } from "../../crypto/base/bytes.ts";
import { blake3 } from "../../crypto/backend/blake3.ts";
import { Writer } from "../../crypto/codec/writer.ts";
import { keyPairFromSeed, verifySignature } from "../../crypto/sign/key.ts";
import { GENESIS_HEIGHT, heightOf } from "../../chain/block/height.ts";
import { SYSTEM_DISK } from "../ports/disk.ts";
import { SignGuard, type SignRequest } from "./guard.ts";
import { WriteAheadLog } from "./wal.ts";

const KEY_PAIR = keyPairFromSeed("ed25519", new Uint8Array(32).fill(7));

function temporaryDirectory(test: Test): string {
  const directory = mkdtempSync(join(tmpdir(), "pyralog-driver-"));
  test.teardown(() => rmSync(directory, { recursive: true }));
  return directory;
}

const request = (height: bigint, round: number, step: SignRequest["step"], text: string): SignRequest => ({
  height: heightOf(height),
  round,
  step,
  bytes: utf8(text),
});

t.test("the guard remembers the latest term spoken in, beside what was signed, and reads files of before", async (t) => {
  const path = join(temporaryDirectory(t), "sign-state");
  const open = async (isNew: boolean): Promise<SignGuard> =>
    await SignGuard.open({ path, disk: SYSTEM_DISK, keyPair: KEY_PAIR, isNew });
  const guard = await open(true);
  t.equal(guard.term, 0n);
  await Promise.all([guard.raiseTerm(3n), guard.raiseTerm(2n), guard.sign(request(7n, 1, "precommit", "a"))]);
  await guard.raiseTerm(1n);
  const again = await open(false);
  t.equal(again.term, 3n, "the highest, whatever the order");
  t.same(again.newest, { height: 7n, round: 1 });
  await again.witness({ height: heightOf(8n), round: 0, step: "precommit" });
  t.equal((await open(false)).term, 3n);

  const old = new Writer().array(6).text("some file").uint(9n).uint(2n).uint(3n).bytes(utf8("b")).bytes(utf8("c")).finish();
  writeFileSync(path, Buffer.concat([blake3(old).subarray(0, 16), old]));
  const upgraded = await open(false);
  t.equal(upgraded.term, 0n);
  t.same(upgraded.newest, { height: 9n, round: 2 });
  await upgraded.raiseTerm(1n);
  t.same((await open(false)).newest, { height: 9n, round: 2 }, "what was signed stays");
});

t.test("the write-ahead log", async (t) => {
  t.test("gives back what it made durable, in order", async (t) => {
    const directory = temporaryDirectory(t);
    {
      await using log = new WriteAheadLog(directory, SYSTEM_DISK);
      t.same(await log.start(heightOf(5n)), []);
      await Promise.all(["a", "bb", "ccc"].map(async (text) => await log.append(heightOf(5n), utf8(text))));
    }
    await using log = new WriteAheadLog(directory, SYSTEM_DISK);
    t.same(await log.start(heightOf(5n)), ["a", "bb", "ccc"].map(utf8));
  });

  t.test("cuts a tail torn at any byte back to whole records, and goes on from there", async (t) => {
    const directory = temporaryDirectory(t);
    const path = join(directory, "1.log");
    {
      await using log = new WriteAheadLog(directory, SYSTEM_DISK);
      await log.start(heightOf(1n));
      await log.append(heightOf(1n), utf8("first"));
      await log.append(heightOf(1n), utf8("second"));
    }
    const whole = readFileSync(path);
    const firstSize = 12 + 5;
    for (let size = whole.length - 1; size >= 0; size -= 1) {
      writeFileSync(path, whole);
      truncateSync(path, size);
      {
        await using log = new WriteAheadLog(directory, SYSTEM_DISK);
        const records = await log.start(heightOf(1n));
        t.equal(records.length, size >= firstSize ? 1 : 0, `cut at ${size}`);
        await log.append(heightOf(1n), utf8("after"));
      }
      await using log = new WriteAheadLog(directory, SYSTEM_DISK);
      t.same((await log.start(heightOf(1n))).at(-1), utf8("after"));
    }
  });

  t.test("stops at a record with one wrong bit", async (t) => {
    const directory = temporaryDirectory(t);
    const path = join(directory, "1.log");
    {
      await using log = new WriteAheadLog(directory, SYSTEM_DISK);
      await log.start(heightOf(1n));
      await log.append(heightOf(1n), utf8("first"));
      await log.append(heightOf(1n), utf8("second"));
    }
    const bytes = readFileSync(path);
    bytes[bytes.length - 1] = present(bytes[bytes.length - 1], "last byte") ^ 1;
    writeFileSync(path, bytes);
    await using log = new WriteAheadLog(directory, SYSTEM_DISK);
    t.same(await log.start(heightOf(1n)), [utf8("first")]);
  });

  t.test("refuses damage to what was durable, whichever bit of it, and says where", async (t) => {
    const directory = temporaryDirectory(t);
    const path = join(directory, "1.log");
    {
      await using log = new WriteAheadLog(directory, SYSTEM_DISK);
      await log.start(heightOf(1n));
      for (const text of ["first", "second", "third"]) await log.append(heightOf(1n), utf8(text));
    }
    const whole = readFileSync(path);
    // Behind the second record, and before the third, a seal says that both are durable.
    const sealed = whole.length - (12 + 5) - 16;
    for (let at = 0; at < sealed; at += 1) {
      const bytes = Uint8Array.from(whole);
      bytes[at] = present(bytes[at], "byte") ^ (1 << (at % 8));
      writeFileSync(path, bytes);
      await using log = new WriteAheadLog(directory, SYSTEM_DISK);
      await t.rejects(log.start(heightOf(1n)), { code: "wal_corrupt" }, `bit of byte ${at}`);
      t.ok(readFileSync(path).equals(bytes), "nothing was cut off");
    }
    writeFileSync(path, whole);
    await using log = new WriteAheadLog(directory, SYSTEM_DISK);
    t.same(await log.start(heightOf(1n)), ["first", "second", "third"].map(utf8));
  });

  t.test("takes no bytes of a record for a seal, wherever they stand", async (t) => {
    const directory = temporaryDirectory(t);
    const path = join(directory, "1.log");
    {
      await using log = new WriteAheadLog(directory, SYSTEM_DISK);
      await log.start(heightOf(1n));
      for (const text of ["first", "second"]) await log.append(heightOf(1n), utf8(text));
    }
    // A true seal, moved into a record that is torn in front of it.
    const seal = readFileSync(path).subarray(17, 33);
    writeFileSync(path, Buffer.concat([readFileSync(path).subarray(0, 17), Buffer.alloc(12, 7), seal]));
    await using log = new WriteAheadLog(directory, SYSTEM_DISK);
    t.same(await log.start(heightOf(1n)), [utf8("first")]);
  });

  t.test("does not take garbage for a record of four gigabytes", async (t) => {
    const directory = temporaryDirectory(t);
    appendFileSync(join(directory, "1.log"), new Uint8Array(64).fill(0xff));
    await using log = new WriteAheadLog(directory, SYSTEM_DISK);
    t.same(await log.start(heightOf(1n)), []);
  });

  t.test("of a continuous engine keeps a replacement and what came after it, and nothing before", async (t) => {
    const directory = temporaryDirectory(t);
    {
      await using log = new WriteAheadLog(directory, SYSTEM_DISK);
      await log.start("engine");
      await log.append("engine", utf8("old"));
      // Asked for in this order and waited for in none: what stands behind a replacement is not swept away by it.
      await Promise.all([
        log.append("engine", utf8("older than the replacement")),
        log.replace("engine", utf8("all so far")),
        log.append("engine", utf8("after")),
        log.replace("engine", utf8("all again")),
        log.append("engine", utf8("last")),
      ]);
    }
    await using log = new WriteAheadLog(directory, SYSTEM_DISK);
    t.same(await log.start("engine"), ["all again", "last"].map(utf8));
    await log.start(heightOf(9n));
    t.same(await log.start("engine"), ["all again", "last"].map(utf8), "the log of a height has nothing to do with it");
  });

  t.test("that was replaced half and half is the old one", async (t) => {
    const directory = temporaryDirectory(t);
    {
      await using log = new WriteAheadLog(directory, SYSTEM_DISK);
      await log.start("engine");
      await log.append("engine", utf8("old"));
    }
    // What a crash before the rename leaves beside it.
    appendFileSync(join(directory, "engine.log.tmp"), utf8("half of a replacement"));
    await using log = new WriteAheadLog(directory, SYSTEM_DISK);
    t.same(await log.start("engine"), ["old"].map(utf8));
    await log.replace("engine", utf8("new"));
    t.same(await log.start("engine"), ["new"].map(utf8));
  });

  t.test("forgets the heights that are decided", async (t) => {
    const directory = temporaryDirectory(t);
    await using log = new WriteAheadLog(directory, SYSTEM_DISK);
    await log.start(heightOf(1n));
    await log.append(heightOf(1n), utf8("old"));
    await log.start(heightOf(2n));
    t.throws(() => readFileSync(join(directory, "1.log")), { code: "ENOENT" });
  });
});

t.test("the double-sign guard", async (t) => {
  t.test("signs forward and nothing else", async (t) => {
    const path = join(temporaryDirectory(t), "sign-state");
    const guard = await SignGuard.open({ path, disk: SYSTEM_DISK, keyPair: KEY_PAIR, isNew: true });
    const signed = await guard.sign(request(1n, 0, "prevote", "block A"));
    t.ok(signed.ok && verifySignature(KEY_PAIR.publicKey, utf8("block A"), signed.value));
    t.same(await guard.sign(request(1n, 0, "prevote", "block A")), signed, "the same again gives the same signature");
    t.same(await guard.sign(request(1n, 0, "prevote", "block B")), { ok: false, error: { code: "sign_conflict" } });
    t.ok((await guard.sign(request(1n, 0, "precommit", "block A"))).ok);
    t.same(await guard.sign(request(1n, 0, "prevote", "block A")), { ok: false, error: { code: "sign_regression" } });
    t.ok((await guard.sign(request(1n, 1, "proposal", "block C"))).ok);
    t.ok((await guard.sign(request(2n, 0, "proposal", "block D"))).ok);
    t.same(await guard.sign(request(1n, 9, "precommit", "block C")), { ok: false, error: { code: "sign_regression" } });
  });

  t.test("answers two requests for one step at the same time with one signature", async (t) => {
    const guard = await SignGuard.open({
      path: join(temporaryDirectory(t), "sign-state"),
      disk: SYSTEM_DISK,
      keyPair: KEY_PAIR,
      isNew: true,
    });
    const [first, second] = await Promise.all([
      guard.sign(request(1n, 0, "prevote", "block A")),
      guard.sign(request(1n, 0, "prevote", "block B")),
    ]);
    t.ok(first.ok);
    t.same(second, { ok: false, error: { code: "sign_conflict" } });
  });

  t.test("remembers across a restart", async (t) => {
    const path = join(temporaryDirectory(t), "sign-state");
    const before = await SignGuard.open({ path, disk: SYSTEM_DISK, keyPair: KEY_PAIR, isNew: true });
    const signed = await before.sign(request(3n, 1, "precommit", "block A"));
    const after = await SignGuard.open({ path, disk: SYSTEM_DISK, keyPair: KEY_PAIR, isNew: false });
    t.same(await after.sign(request(3n, 1, "precommit", "block B")), { ok: false, error: { code: "sign_conflict" } });
    t.same(await after.sign(request(3n, 1, "precommit", "block A")), signed);
  });

  t.test("stops the validator when its record is damaged, torn or gone", async (t) => {
    const path = join(temporaryDirectory(t), "sign-state");
    const guard = await SignGuard.open({ path, disk: SYSTEM_DISK, keyPair: KEY_PAIR, isNew: true });
    await guard.sign(request(3n, 1, "precommit", "block A"));
    const whole = readFileSync(path);
    for (let size = 0; size < whole.length; size += 1) {
      writeFileSync(path, whole.subarray(0, size));
      const code = await SignGuard.open({ path, disk: SYSTEM_DISK, keyPair: KEY_PAIR, isNew: false }).then(
        () => "opened",
        codeOf,
      );
      t.equal(code, "sign_state_corrupt", `torn at ${size}`);
    }
    for (let index = 0; index < whole.length; index += 1) {
      const flipped = Uint8Array.from(whole);
      flipped[index] = present(flipped[index], "byte") ^ 1;
      writeFileSync(path, flipped);
      const code = await SignGuard.open({ path, disk: SYSTEM_DISK, keyPair: KEY_PAIR, isNew: false }).then(
        () => "opened",
        codeOf,
      );
      t.equal(code, "sign_state_corrupt", `bit of byte ${index} flipped`);
    }
    rmSync(path);
    t.equal(
      await SignGuard.open({ path, disk: SYSTEM_DISK, keyPair: KEY_PAIR, isNew: false }).then(() => "opened", codeOf),
      "sign_state_missing",
    );
  });

  t.test("tells its own record from a copy of it, however alike they are", async (t) => {
    const directory = temporaryDirectory(t);
    const path = join(directory, "sign-state");
    const open = async (at = path): Promise<SignGuard> =>
      await SignGuard.open({ path: at, disk: SYSTEM_DISK, keyPair: KEY_PAIR, isNew: true });
    t.notOk((await open()).isCopy, "one that was just made");
    const guard = await open();
    t.ok((await guard.sign(request(1n, 0, "prevote", "a"))).ok);
    t.notOk((await open()).isCopy, "replaced by a rename, it is still its own");
    for (let turn = 0; turn < 20; turn += 1) {
      // Numbers of files are given out again, so a copy may well have the number of what it was copied from.
      const backup = join(directory, "backup");
      cpSync(path, backup, { preserveTimestamps: true });
      rmSync(path);
      cpSync(backup, path, { preserveTimestamps: true });
      rmSync(backup);
      const restored = await open();
      t.ok(restored.isCopy, `restored ${turn}`);
      t.ok((await restored.sign(request(2n, turn, "prevote", "b"))).ok, "what is forbidden is for the node to say");
      const again = await open();
      t.ok(again.isCopy, "which it may not have come to before it fell again");
      await again.settle(GENESIS_HEIGHT);
      t.notOk((await open()).isCopy, "what was settled is its own");
    }
    const other = temporaryDirectory(t);
    renameSync(path, join(other, "sign-state"));
    t.notOk((await open(join(other, "sign-state"))).isCopy, "a home that was moved within its disk");
  });

  t.test("signs nothing at heights that a restored backup may have forgotten", async (t) => {
    const guard = await SignGuard.open({
      path: join(temporaryDirectory(t), "sign-state"),
      disk: SYSTEM_DISK,
      keyPair: KEY_PAIR,
      isNew: true,
    });
    guard.raiseFloor(heightOf(7n));
    t.same(await guard.sign(request(7n, 0, "prevote", "block A")), { ok: false, error: { code: "sign_floor" } });
    t.ok((await guard.sign(request(8n, 0, "prevote", "block A"))).ok);
  });

  t.test("signs nothing at heights of which it knows that it does not know, after a restart either", async (t) => {
    const path = join(temporaryDirectory(t), "sign-state");
    const open = async (isNew: boolean): Promise<SignGuard> =>
      await SignGuard.open({ path, disk: SYSTEM_DISK, keyPair: KEY_PAIR, isNew });
    await (await open(true)).settle(heightOf(7n));
    for (let boot = 0; boot < 2; boot += 1) {
      const guard = await open(false);
      guard.liftFloor();
      t.equal(guard.unknownHeight, 7n);
      t.same(await guard.sign(request(7n, 5, "prevote", "block A")), { ok: false, error: { code: "sign_floor" } });
      t.notOk((await guard.signStatement(utf8("a view-change"), { height: heightOf(7n), round: 4 })).ok);
    }
    const guard = await open(false);
    t.ok((await guard.sign(request(8n, 0, "prevote", "block A"))).ok);
    await guard.settle(GENESIS_HEIGHT);
    t.same(await guard.sign(request(7n, 5, "prevote", "block A")), { ok: false, error: { code: "sign_regression" } });
  });

  t.test("lets nobody say less of its past than it signed", async (t) => {
    const path = join(temporaryDirectory(t), "sign-state");
    const guard = await SignGuard.open({ path, disk: SYSTEM_DISK, keyPair: KEY_PAIR, isNew: true });
    const recall = async (height: bigint, round: number): Promise<string> => {
      const signed = await guard.signStatement(utf8("a view-change"), { height: heightOf(height), round });
      return signed.ok ? "signed" : signed.error.code;
    };
    guard.raiseFloor(heightOf(3n));
    t.equal(await recall(3n, -1), "sign_floor", "at a height that a backup may have forgotten");
    t.equal(await recall(4n, -1), "signed");
    t.ok((await guard.signStatement(utf8("anything else"), undefined)).ok, "what tells nothing of the past");
    t.ok((await guard.sign(request(4n, 0, "prevote", "block A"))).ok);
    t.equal(await recall(4n, -1), "signed", "who only prepared has nothing to tell");
    t.ok((await guard.sign(request(4n, 1, "precommit", "block A"))).ok);
    t.equal(await recall(4n, 0), "sign_conflict", "one less than it committed");
    t.equal(await recall(4n, 1), "signed");
    t.equal(await recall(3n, 5), "sign_floor");
    guard.liftFloor();
    t.equal(await recall(3n, 5), "sign_regression", "of a height that is over");
    await guard.witness({ height: heightOf(5n), round: 2, step: "prevote" });
    t.equal(await recall(5n, 4), "sign_floor", "what it signed at this height it does not know");
    t.ok((await guard.sign(request(5n, 3, "prevote", "block B"))).ok);
    t.equal(await recall(5n, 4), "sign_floor", "and goes on not knowing");
    const after = await SignGuard.open({ path, disk: SYSTEM_DISK, keyPair: KEY_PAIR, isNew: false });
    t.notOk((await after.signStatement(utf8("a view-change"), { height: heightOf(5n), round: 4 })).ok, "after a restart too");
    t.ok((await after.signStatement(utf8("a view-change"), { height: heightOf(6n), round: -1 })).ok);
  });

  t.test("learns from its own vote, seen in the hands of a peer", async (t) => {
    const path = join(temporaryDirectory(t), "sign-state");
    const guard = await SignGuard.open({ path, disk: SYSTEM_DISK, keyPair: KEY_PAIR, isNew: true });
    await guard.witness({ height: heightOf(4n), round: 2, step: "precommit" });
    t.same(await guard.sign(request(4n, 2, "precommit", "block A")), { ok: false, error: { code: "sign_conflict" } });
    t.same(await guard.sign(request(4n, 1, "precommit", "block A")), { ok: false, error: { code: "sign_regression" } });
    const after = await SignGuard.open({ path, disk: SYSTEM_DISK, keyPair: KEY_PAIR, isNew: false });
    t.same(await after.sign(request(4n, 2, "precommit", "block A")), { ok: false, error: { code: "sign_conflict" } });
    t.ok((await after.sign(request(4n, 3, "prevote", "block A"))).ok);
  });
});
