/** Configuration: strict, helpful when it refuses, and documented from one schema. */

import fc from "fast-check";
import t from "tap";
import { utf8 } from "../../crypto/base/bytes.ts";
import { configReference, configText, configToml } from "./document.ts";
import { CONFIG_DEFAULT, CONFIG_SIZE_BYTES_MAX, parseConfig } from "./load.ts";
import { editDistance, nearestName } from "./nearest.ts";
import { KEYS } from "./schema.ts";
import { drawnSeed } from "../../crypto/testing/property.ts";

const SEED = drawnSeed();

t.test("an empty file is a complete configuration", async (t) => {
  t.strictSame(parseConfig(utf8("")), { ok: true, value: CONFIG_DEFAULT });
  t.strictSame(CONFIG_DEFAULT.rpc.port, 26_680);
});

t.test("the generated default file means the same as an empty one, and its overrides come through", async (t) => {
  t.strictSame(parseConfig(utf8(configText())), { ok: true, value: CONFIG_DEFAULT });
  const changed = parseConfig(utf8(configText({ rpc: { port: 1 }, network: { listen: ["/ip4/0.0.0.0/tcp/1"] } })));
  t.ok(changed.ok && changed.value.rpc.port === 1 && changed.value.network.listen[0] === "/ip4/0.0.0.0/tcp/1");
});

t.test("every key uncommented in the default file is accepted with its default", async (t) => {
  const uncommented = configText().replaceAll(/^# ([a-zA-Z]+ = )/gm, "$1");
  t.strictSame(parseConfig(utf8(uncommented)), { ok: true, value: CONFIG_DEFAULT });
});

t.test("a configuration written out in full reads back as itself", async (t) => {
  t.strictSame(parseConfig(utf8(configToml(CONFIG_DEFAULT))), { ok: true, value: CONFIG_DEFAULT });
});

t.test("the reference names every key with a sentence and an environment variable", async (t) => {
  const reference = configReference();
  for (const key of KEYS) {
    t.match(key.description, /\.$/, `${key.section}.${key.key} is described`);
    t.ok(reference.includes(`| \`${key.key}\` |`) && reference.includes(`\`${key.environment}\``));
  }
});

t.test("an unknown key is refused with the name that was probably meant", async (t) => {
  const cases = [
    ["[rpc]\nprot = 3", "rpc.prot", "rpc.port"],
    ["[rcp]\nport = 3", "rcp", "rpc"],
    ["port = 3", "port", "rpc.port"],
    ["[network]\ncacheSizeByte = 3", "network.cacheSizeByte", "storage.cacheSizeBytes"],
    ["[rpc]\n__proto__ = 3", "rpc.__proto__", undefined],
    ["constructor = 3", "constructor", undefined],
  ] as const;
  for (const [text, field, nearest] of cases) {
    const parsed = parseConfig(utf8(text));
    t.match(parsed, { ok: false, error: { code: "config_unknown_key", field } }, text);
    t.equal(parsed.ok || !("nearest" in parsed.error) ? undefined : parsed.error.nearest, nearest, `${field} is near ${nearest}`);
  }
});

t.test("a value outside its bounds is refused by the name of its key", async (t) => {
  t.ok(parseConfig(utf8("[rpc]\nport = 65535")).ok);
  t.match(parseConfig(utf8("[rpc]\nport = 65536")), { ok: false, error: { code: "config_value", field: "rpc.port" } });
  t.match(parseConfig(utf8("[rpc]\nport = 1.5")), { ok: false, error: { code: "config_value", field: "rpc.port" } });
  t.match(parseConfig(utf8('[rpc]\nport = "1"')), { ok: false, error: { code: "config_value", field: "rpc.port" } });
  t.match(parseConfig(utf8("rpc = 3")), { ok: false, error: { code: "config_value", field: "rpc" } });
  t.match(parseConfig(utf8('[network]\nlisten = ["127.0.0.1:26600"]')), {
    ok: false,
    error: { code: "config_value", field: "network.listen.0" },
  });
});

t.test("what is not TOML, not UTF-8 or too large is refused before anything is believed", async (t) => {
  t.match(parseConfig(utf8("[rpc\n")), { ok: false, error: { code: "config_syntax", line: 1 } });
  t.match(parseConfig(utf8("a = 1\na = 2")), { ok: false, error: { code: "config_syntax", line: 2 } });
  t.match(parseConfig(utf8(`x = ${"[".repeat(5000)}`)), { ok: false, error: { code: "config_syntax" } });
  t.match(parseConfig(Uint8Array.of(0xff)), { ok: false, error: { code: "config_syntax" } });
  t.match(parseConfig(new Uint8Array(CONFIG_SIZE_BYTES_MAX + 1)), { ok: false, error: { code: "config_size" } });
});

t.test("the environment overrides the file, kind by kind", async (t) => {
  const environment = {
    PYRALOG_RPC_PORT: "17",
    PYRALOG_RPC_ENABLED: "false",
    PYRALOG_RPC_CORS: "https://a.example, https://b.example",
    PYRALOG_LOG_LEVEL: "debug",
  };
  const parsed = parseConfig(utf8("[rpc]\nport = 3\nhost = 'localhost'"), environment);
  t.match(parsed, {
    ok: true,
    value: {
      rpc: { port: 17, enabled: false, host: "localhost", cors: ["https://a.example", "https://b.example"] },
      log: { level: "debug" },
    },
  });
});

t.test("a misspelt or ill-typed variable is refused, and other programs' variables are not ours to judge", async (t) => {
  t.match(parseConfig(utf8(""), { PYRALOG_RPC_PROT: "1" }), {
    ok: false,
    error: { code: "config_unknown_key", nearest: "PYRALOG_RPC_PORT" },
  });
  t.match(parseConfig(utf8(""), { PYRALOG_RPC_PORT: "x" }), {
    ok: false,
    error: { code: "config_environment", field: "rpc.port" },
  });
  t.match(parseConfig(utf8(""), { PYRALOG_RPC_PORT: "99999" }), {
    ok: false,
    error: { code: "config_value", field: "rpc.port" },
  });
  t.ok(parseConfig(utf8(""), { PYRALOG_HOME: "/x", PYRALOG_PASSPHRASE: "secret", PATH: "/bin" }).ok);
});

t.test(`hostile bytes are refused and never thrown on (seed ${SEED})`, async () => {
  const valid = utf8(configText({ rpc: { port: 1 }, log: { level: "debug" } }));
  const mutation = fc.record({ at: fc.nat(valid.length - 1), byte: fc.nat(255), cut: fc.nat(valid.length) });
  fc.assert(
    fc.property(mutation, ({ at, byte, cut }) => {
      const mutated = valid.slice(0, cut);
      if (at < mutated.length) mutated[at] = byte;
      const parsed = parseConfig(mutated);
      return parsed.ok ? parseConfig(utf8(configToml(parsed.value))).ok : typeof parsed.error.message === "string";
    }),
    { seed: SEED, numRuns: 500 },
  );
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => typeof parseConfig(bytes).ok === "boolean"),
    { seed: SEED, numRuns: 500 },
  );
});

t.test("the nearest name is near: a swap is one edit, a stranger is none of them", async (t) => {
  t.equal(editDistance("prot", "port"), 1);
  t.equal(editDistance("", "abc"), 3);
  t.equal(nearestName("peers-max", ["peersMax", "peersMin"]), "peersMax");
  t.equal(nearestName("elephant", ["port", "host"]), undefined);
  t.equal(nearestName("x".repeat(100_000), ["port"]), undefined);
});
