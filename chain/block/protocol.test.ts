/** What a network file may say about its protocol, and which choices are refused because they cannot be safe. */

import t from "tap";
import { encodeNetworkFile, networkHash, type NetworkFile, parseNetworkFile } from "./genesis.ts";
import {
  encodeProtocol,
  ENGINE_NAMES,
  isQuorumOf,
  type Protocol,
  PROTOCOL_DEFAULTS,
  type ProtocolOf,
  quorumRuleOf,
} from "./protocol.ts";
import { networkOf } from "./testing/fixtures.ts";
import { toHex } from "../../crypto/base/bytes.ts";

function networkWith(engine: Protocol, changed: Partial<NetworkFile> = {}): NetworkFile {
  const powers = engine.name === "pow" ? [] : [1n, 1n, 1n, 1n];
  return { ...networkOf({ powers }), engine, ...changed };
}

function refusalOf(network: NetworkFile): string {
  const parsed = parseNetworkFile(encodeNetworkFile(network));
  return parsed.ok ? "ok" : `${parsed.error.field}: ${parsed.error.reason ?? ""}`;
}

t.test("every protocol with its defaults comes back from its network file as it went in", (t) => {
  const hashes = new Set<string>();
  for (const name of ENGINE_NAMES) {
    const network = networkWith(PROTOCOL_DEFAULTS[name]);
    const parsed = parseNetworkFile(encodeNetworkFile(network));
    t.ok(parsed.ok, name);
    if (parsed.ok) t.same(parsed.value.engine, network.engine);
    hashes.add(toHex(networkHash(network)));
  }
  t.equal(hashes.size, ENGINE_NAMES.length, "each is a network of its own");
  t.end();
});

t.test("each parameter of a protocol is part of what the network is", (t) => {
  for (const name of ENGINE_NAMES) {
    const protocol = PROTOCOL_DEFAULTS[name];
    const before = toHex(encodeProtocol(protocol));
    for (const [key, value] of Object.entries(protocol)) {
      if (key === "name") continue;
      const changed = typeof value === "bigint" ? value + 1n : typeof value === "number" ? value + 1 : "window";
      t.not(toHex(encodeProtocol({ ...protocol, [key]: changed } as Protocol)), before, `${name}.${key}`);
    }
  }
  t.end();
});

t.test("a network that cannot be safe is refused with the reason, and a lab may ask for it", (t) => {
  const dev = { ...networkOf({}).parameters, dev: true };
  for (const name of ["tendermint", "pbft", "pos"] as const) {
    const three = networkOf({ powers: [1n, 1n, 1n] }).validators;
    const network = networkWith(PROTOCOL_DEFAULTS[name], { validators: three });
    t.match(refusalOf(network), /^validators: fewer than 4 tolerate no fault/, name);
    t.equal(refusalOf({ ...network, parameters: dev }), "ok");
    t.match(refusalOf({ ...network, validators: [], parameters: dev }), /^validators: none/);
  }
  const two = networkOf({ powers: [1n, 1n] }).validators;
  t.match(refusalOf(networkWith(PROTOCOL_DEFAULTS.raft, { validators: two })), /^validators: fewer than 3 stop/);
  t.equal(refusalOf(networkWith(PROTOCOL_DEFAULTS.raft, { validators: two, parameters: dev })), "ok");
  const weighted = networkOf({ powers: [1n, 1n, 2n] }).validators;
  t.match(refusalOf(networkWith(PROTOCOL_DEFAULTS.raft, { validators: weighted })), /Raft counts heads/);
  t.match(refusalOf(networkWith(PROTOCOL_DEFAULTS.pow, { validators: two })), /nobody validates but by work/);
  t.match(refusalOf(networkWith({ ...PROTOCOL_DEFAULTS.raft, electionTicks: 2, heartbeatTicks: 2 })), /^engine.electionTicks/);
  t.match(refusalOf(networkWith({ ...PROTOCOL_DEFAULTS.pow, reorgDepthMax: 5 })), /^engine.reorgDepthMax/);
  for (const [targetBitsMax, isFine] of [
    [0x20_7f_ff_ff, true],
    [0x1f_00_ff_ff, true],
    [0, false],
    [0x01_80_34_56, false],
    [0x04_92_34_56, false],
    [0x1f_00_00_ff, false],
  ] as const) {
    const refusal = refusalOf(networkWith({ ...PROTOCOL_DEFAULTS.pow, targetBitsMax }));
    if (isFine) t.equal(refusal, "ok", targetBitsMax.toString(16));
    else t.match(refusal, /^engine.targetBitsMax: is not the compact form/, targetBitsMax.toString(16));
  }
  const staked = (changed: Partial<ProtocolOf<"pos">>): string =>
    refusalOf(networkWith({ ...PROTOCOL_DEFAULTS.pos, ...changed }));
  t.equal(staked({ powerUnit: 5n, selfBondMin: 5n, activeMax: 4 }), "ok");
  t.match(staked({ powerUnit: 4n, selfBondMin: 5n }), /^validators: power times engine.powerUnit.* less than engine.selfBondMin/);
  t.match(staked({ activeMax: 3 }), /^validators: more than engine.activeMax/);
  t.equal(staked({ powerUnit: ((1n << 64n) - 1n - 1_000_000n) / 4n }), "ok");
  t.match(staked({ powerUnit: (1n << 62n) - 1n }), /^validators: accounts and stake pass 2\^64 - 1 tokens/);
  t.match(staked({ powerUnit: 0n }), /^engine.powerUnit/);
  t.match(refusalOf(networkWith({ ...PROTOCOL_DEFAULTS.pbft, viewTimeoutMsMax: 3_999 })), /^engine.viewTimeoutMsMax/);
  t.end();
});

t.test("a quorum is more than two thirds where somebody may lie, and more than half where nobody does", (t) => {
  t.equal(quorumRuleOf("raft"), "majority");
  t.equal(quorumRuleOf("pow"), undefined);
  t.equal(quorumRuleOf("pbft"), "twoThirds");
  t.notOk(isQuorumOf("twoThirds", 2n, 3n));
  t.ok(isQuorumOf("twoThirds", 3n, 4n));
  t.notOk(isQuorumOf("majority", 2n, 4n));
  t.ok(isQuorumOf("majority", 3n, 4n));
  t.end();
});
