//! Memory for pages: a counted block each, and the blocks of pages that went, for those that come.
//!
//! A version replaces as many pages as it makes, and most of them by pages of their size. A general allocator looks for
//! room for each among a hundred thousand holes, which took a third of an update's time at 10^6 rows.

use std::rc::Rc;

/// Blocks are multiples of this: pages of one size but for a few bytes may have each other's.
const GRAIN: usize = 16;
/// How much is kept for pages to come: what a version of 1,000 updates replaces.
pub(super) const SPARE_SIZE_MAX: usize = 2 << 20;

/// Blocks that nobody holds, by how many grains they have.
#[derive(Default)]
pub(super) struct Spare {
    blocks: Vec<Vec<Rc<[u8]>>>,
    size: usize,
}

impl Spare {
    /// A block of `size` bytes or a few more, with anything in it.
    pub(super) fn take(&mut self, size: usize) -> Rc<[u8]> {
        let grains = size.div_ceil(GRAIN);
        match self.blocks.get_mut(grains).and_then(Vec::pop) {
            Some(block) => {
                self.size -= block.len();
                block
            }
            None => std::iter::repeat_n(0, grains * GRAIN).collect(),
        }
    }

    /// Lets go of all: what the last version had no use for, the next will not have either.
    pub(super) fn clear(&mut self) {
        self.blocks.iter_mut().for_each(Vec::clear);
        self.size = 0;
    }

    /// Keeps a block, unless somebody still holds it or there are enough.
    pub(super) fn give(&mut self, block: Rc<[u8]>) {
        if Rc::strong_count(&block) > 1 || self.size + block.len() > SPARE_SIZE_MAX {
            return;
        }
        self.size += block.len();
        let grains = block.len() / GRAIN;
        if self.blocks.len() <= grains {
            self.blocks.resize_with(grains + 1, Vec::new);
        }
        self.blocks[grains].push(block);
    }
}
