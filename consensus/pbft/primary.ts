/**
 * Whose word a view waits for.
 *
 * Castro and Liskov 1999, section 4: the primary of view v is replica v mod n. Our views begin at 0 in each height, so
 * a height begins with whoever proposed the block before it: the primary is stable until it fails, and everybody
 * derives it from the decided chain.
 */

import { present } from "../../crypto/base/assert.ts";
import type { Header } from "../../chain/block/block.ts";
import { indexOfValidator, type Validator, type ValidatorSet } from "../../chain/block/validators.ts";

/**
 * The primary of a view of the height that `validators` decide.
 *
 * @param parent - the header of the height before; undefined at height 1
 * @param view - `0 <= view <= ROUND_MAX`
 */
export function primaryOf(validators: ValidatorSet, parent: Header | undefined, view: number): Validator {
  const members = validators.validators;
  const last = parent === undefined ? -1 : indexOfValidator(validators, parent.proposer);
  const first = last === -1 ? 0 : last;
  return present(members[(first + view) % members.length], "primary");
}
