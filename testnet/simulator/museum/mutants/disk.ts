/** What must survive a crash: the write-ahead log and the double-sign guard. */

import type { Mutant } from "../mutant.ts";

/** See the file's head. */
export const DISK_MUTANTS: readonly Mutant[] = [
  {
    name: "rename_without_directory_sync",
    story:
      "The record of what a key has signed is replaced by a rename that is not made durable; after a power cut the old one is back, and the key signs again.",
    source: "cometbft/cometbft issue 6031 (2026); gnolang/gno 5915 and iqlusioninc/tmkms pull 1220; Pillai et al., OSDI 2014",
    file: "node/ports/disk.ts",
    find: "  await disk.syncDirectory(directoryOf(path));",
    replace: "",
    hunt: { kind: "unit", unit: "guard", seeds: 1000 },
  },
  {
    name: "replaced_without_file_sync",
    story:
      "The new file is renamed into place before its bytes are durable: after a power cut there is an empty file under the right name.",
    source:
      "tendermint/tendermint issue 10108; the zero-length files of ext4 (Ubuntu bug 317781, 2009); Pillai et al., OSDI 2014",
    file: "node/ports/disk.ts",
    find: "    await file.sync();\n  } finally {",
    replace: "  } finally {",
    hunt: { kind: "unit", unit: "guard", seeds: 1000 },
  },
  {
    name: "signed_before_recorded",
    story: "The signature leaves while the record of it is still being written.",
    source: "gnolang/gno issue 5915, finding 1.1 of an audit of tmkms, on the order of the two; tendermint/tendermint 10108",
    file: "node/driver/guard.ts",
    find: "      await this.#store({ height: request.height, round: request.round, step, bytes: request.bytes, signature });",
    replace: "      void this.#store({ height: request.height, round: request.round, step, bytes: request.bytes, signature });",
    hunt: { kind: "unit", unit: "guard", seeds: 1000 },
  },
  {
    name: "damaged_guard_taken_for_empty",
    story: "A record of signatures that does not check is taken for one of a key that has signed nothing.",
    source: "tendermint/tendermint issue 3418 and 3089: a state file made anew, or edited, lets the validator sign twice",
    file: "node/driver/guard.ts",
    find: '  if (!bytesEqual(bytes.subarray(0, CHECKSUM_SIZE_BYTES), blake3(body).subarray(0, CHECKSUM_SIZE_BYTES))) {\n    return fail({ code: "sign_state_corrupt" });',
    replace:
      '  if (!bytesEqual(bytes.subarray(0, CHECKSUM_SIZE_BYTES), blake3(body).subarray(0, CHECKSUM_SIZE_BYTES))) {\n    return ok({ identity: "", state: INITIAL });',
    hunt: { kind: "unit", unit: "guard", seeds: 2000 },
  },
  {
    name: "lost_guard_made_anew",
    story: "A home with blocks and without a record of signatures gets a new, empty one.",
    source:
      "shutter-network/rolling-shutter pull 694 (2026), in review: silently resetting the signing state of a node that is not new; tendermint 3418",
    file: "node/driver/guard.ts",
    find: "      if (!isNew)\n",
    replace: '      if (path === "")\n',
    hunt: { kind: "unit", unit: "guard", seeds: 2000 },
  },
  {
    name: "backup_not_sat_out",
    story: "After a backup was put back the validator votes at once at heights where others may already hold its votes.",
    source: "tendermint ADR-051, double signing risk reduction (2019)",
    file: "node/driver/guard.ts",
    find: "if (request.height <= this.#floor || request.height <= this.#state.unknownHeight)",
    replace: "if (request.height <= this.#state.unknownHeight)",
    hunt: { kind: "unit", unit: "guard", seeds: 2000 },
  },
  {
    name: "same_step_signed_again",
    story: "The guard remembers which step it signed and not what: asked for the same step with another block it signs.",
    source:
      "cometbft/cometbft issue 6031 says what the record is for: height, round, step, signature and sign bytes, to reject conflicting requests",
    file: "node/driver/guard.ts",
    find: "      if (order === 0) {",
    replace: "      if (order === 0 && bytesEqual(request.bytes, this.#state.bytes)) {",
    hunt: { kind: "unit", unit: "guard", seeds: 500 },
  },
  {
    name: "torn_tail_accepted",
    story: "A record at the end of the log that was only partly written is read back as if it were whole.",
    source: "etcd-io/etcd issue 5230 (2016), write tearing in its log; Alagappan et al., Protocol-Aware Recovery, FAST 2018",
    file: "node/driver/wal.ts",
    find: "    if (!bytesEqual(checksum, checksumOf(u32(length), record))) break;",
    replace: "    if (checksum.length === 0) break;",
    hunt: { kind: "unit", unit: "wal", seeds: 1000 },
  },
  {
    name: "torn_tail_not_cut",
    story:
      "After a crash the log is continued behind a torn record, and at the next start everything behind it is thought torn too.",
    source: "etcd-io/etcd pull 2597 (2015): truncate the last entry to repair the log; etcd issues 5230 and 6515 on torn sectors",
    file: "node/driver/wal.ts",
    find: "    file.truncate(sizeBytes);\n",
    replace: "    void sizeBytes;\n",
    hunt: { kind: "unit", unit: "wal", seeds: 1000 },
  },
  {
    name: "failed_sync_swallowed",
    story: "A sync fails, the pages are dropped, and the writer goes on as if they were safe.",
    source: "PostgreSQL's fsyncgate, 2018; Rebello et al., Can Applications Recover from fsync Failures?, ATC 2020",
    file: "node/driver/wal.ts",
    find: "trying again would lie (Rebello et al., ATC 2020).\n      throw this.#fail(cause);",
    replace: "trying again would lie (Rebello et al., ATC 2020).\n      void cause;",
    hunt: { kind: "unit", unit: "wal", seeds: 1000 },
  },
  {
    name: "failed_sync_tried_again",
    story:
      "After a sync that failed the log is used on: the next one succeeds, and what the first should have saved is missing in the middle.",
    source: "Rebello et al., ATC 2020; PostgreSQL's fsyncgate, 2018",
    file: "node/driver/wal.ts",
    find: '    this.#failed ??= new CodedError("wal_io", { log: `${this.#name}` }, { cause });\n    return this.#failed;',
    replace: '    return new CodedError("wal_io", { log: `${this.#name}` }, { cause });',
    hunt: { kind: "unit", unit: "wal", seeds: 1000 },
  },
  {
    name: "write_rides_on_earlier_sync",
    story: "Writers that share syncs take the end of one that had begun before their write for their own.",
    source: "group commit as in DeWitt et al., SIGMOD 1984; the race that each implementation of it has to rule out",
    file: "node/driver/wal.ts",
    find: "      this.#flushing ??= this.#sync(file);\n      await this.#flushing;\n      return;",
    replace: "      return;",
    hunt: { kind: "unit", unit: "wal", seeds: 1000 },
  },
];
