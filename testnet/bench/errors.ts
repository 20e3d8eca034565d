/** What can go wrong with a measurement, and what to look at. */

export const BENCH_CODES = {
  bench_load_short: "fewer items were made than the rate asked for: measure again",
  peer_failed: "another database's program failed; what it said is in the message",
  peer_timeout: "another database did not come up in time; the end of its log is in the message",
  peer_answer: "another database answered with an error, which is in the message",
  peer_config: "another database's configuration file has not the key that was to be set; its version may be unknown to us",
  report_line: "a line is not what a benchmark prints with --json",
  report_mixed: "the lines are of several machines or commits, whose figures say nothing about each other",
  report_twice: "the lines hold one benchmark twice: leave one out",
  report_edited: "the page is not what the lines in it make: write it again, from a run or with report PERFORMANCE.md",
} as const satisfies Record<string, string>;
