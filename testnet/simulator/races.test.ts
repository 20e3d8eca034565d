import t from "tap";
import { History } from "./history/history.ts";
import { checkLinearizability } from "./history/linearizability.ts";
import { RACE, type RaceInput, type RaceOutput } from "./races.ts";

const INCLUDED: RaceOutput = { kind: "included", isApplied: true };
const IN_VAIN: RaceOutput = { kind: "included", isApplied: false };
const STALE: RaceOutput = { kind: "stale" };

/** A history of calls one after another. */
function told(...calls: readonly (readonly [bigint, RaceInput["what"], RaceOutput | undefined])[]): string {
  const history = new History<RaceInput, RaceOutput>({ operationsMax: 100 });
  for (const [index, [expected, what, output]] of calls.entries()) {
    const handle = history.begin(`r${index}`, { expected, what }, index);
    if (output === undefined) history.info(handle, index);
    else history.end(handle, output, index);
  }
  return checkLinearizability(RACE, history.operations()).kind;
}

t.test("one transaction of each number is included, and results tell what was there", (t) => {
  t.equal(told([0n, "create", INCLUDED], [0n, "create", STALE], [1n, "put", INCLUDED], [2n, "delete", INCLUDED]), "linearizable");
  t.equal(told([0n, "create", INCLUDED], [0n, "put", INCLUDED]), "violation", "two with one number");
  t.equal(told([0n, "create", INCLUDED], [1n, "create", INCLUDED]), "violation", "the table was there");
  t.equal(told([0n, "create", INCLUDED], [1n, "create", IN_VAIN]), "linearizable");
  t.equal(told([0n, "create", INCLUDED], [1n, "delete", INCLUDED]), "violation", "the row was not there");
  t.equal(told([0n, "create", INCLUDED], [1n, "delete", IN_VAIN], [2n, "put", INCLUDED]), "linearizable");
  t.equal(told([0n, "put", IN_VAIN], [1n, "create", INCLUDED]), "linearizable", "without a table nothing is put");
  t.end();
});

t.test("nobody is told that he lost before another has won, nor wins with a number that is still to come", (t) => {
  t.equal(told([0n, "create", STALE], [0n, "create", INCLUDED]), "violation");
  t.equal(told([1n, "put", INCLUDED], [0n, "create", INCLUDED]), "violation");
  t.equal(told([0n, "create", undefined], [0n, "create", STALE], [1n, "put", INCLUDED]), "linearizable", "who heard nothing won");
  t.equal(told([0n, "create", undefined], [0n, "create", STALE], [1n, "put", IN_VAIN]), "violation");
  t.end();
});
