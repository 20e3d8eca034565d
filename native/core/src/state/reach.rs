//! The pages that a list of updates reaches, and which of the updates belong where on them.
//!
//! Of a large tree nearly every page is far from the processor. One path after another would wait for each page in turn; the
//! pages of a level do not wait for each other, so all of a level are one wait. But no more at a time than stay near until they
//! are changed.

use std::hint::black_box;
use std::ops::Range;

use super::memory::Pages;
use super::page::{Found, Page};
use super::{Fault, Location, ReadPage, Update};

/// A subtree that at most so many updates reach is followed down at once. Each brings some three pages of a kilobyte.
const NEAR_UPDATES: usize = 128;
/// Bytes that come near the processor together.
const LINE_SIZE: usize = 64;

/// A page and where it is. What an empty tree is changed from is nowhere.
pub(super) struct Reached {
    pub(super) page: Page,
    pub(super) location: Option<Location>,
    /// Of `Reach::places`, in the order of its items.
    pub(super) places: Range<usize>,
}

/// A place on a page, and the updates that belong there, by their index.
pub(super) enum Place {
    /// Before an item.
    Before { item: usize, updates: Range<usize> },
    /// The row that an item is.
    Row { item: usize, update: usize },
    /// Below an item, which leads to a page: by its index in `Reach::pages`, once it is reached.
    Below { item: usize, updates: Range<usize>, page: Option<usize> },
}

/// What updates reach.
#[derive(Default)]
pub(super) struct Reach {
    pub(super) pages: Vec<Reached>,
    pub(super) places: Vec<Place>,
}

/// A page that is to be reached, and the updates that belong below it.
struct Descent {
    location: Location,
    updates: Range<usize>,
}

impl Pages {
    /// Follows a range of the updates, which are sorted by their keys, down the tree at a location: to its topmost page, whose
    /// index it returns, or if they are few to all pages.
    pub(super) fn reach<E>(
        &mut self,
        top: Option<Location>,
        range: Range<usize>,
        updates: &[Update<'_>],
        reach: &mut Reach,
        read: ReadPage<'_, E>,
    ) -> Result<usize, Fault<E>> {
        let page = match top {
            None => Page::empty(),
            Some(location) => self.get(location, &mut *read)?,
        };
        let index = reach.pages.len();
        reach.pages.push(Reached { page, location: top, places: 0..0 });
        let is_near = range.len() <= NEAR_UPDATES;
        let mut below = Vec::new();
        reach.sort(index, range, updates, is_near.then_some(&mut below));
        while !below.is_empty() {
            let level = std::mem::take(&mut below);
            let first = reach.pages.len();
            for &Descent { location, .. } in &level {
                let page = self.get(location, &mut *read)?;
                reach.pages.push(Reached { page, location: Some(location), places: 0..0 });
            }
            touch(&reach.pages[first..]);
            for (at, descent) in level.into_iter().enumerate() {
                reach.sort(first + at, descent.updates, updates, Some(&mut below));
            }
        }
        Ok(index)
    }
}

impl Reach {
    /// Forgets a page and all that were reached after it.
    pub(super) fn forget(&mut self, page: usize) {
        self.places.truncate(self.pages[page].places.start);
        self.pages.truncate(page);
    }

    /// Sorts a range of the updates to the items of a page. `below`: the pages that are reached next, behind all that are there.
    fn sort(&mut self, at: usize, range: Range<usize>, updates: &[Update<'_>], mut below: Option<&mut Vec<Descent>>) {
        let Self { pages, places } = self;
        let page = &pages[at].page;
        let from = places.len();
        let (mut first, mut next) = (0, range.start);
        while next < range.end {
            let start = next;
            next += 1;
            match page.find(updates[start].key, first) {
                Found::Before(item) => {
                    first = item;
                    while next < range.end && (item == page.count() || page.compare(item, updates[next].key).is_lt()) {
                        next += 1;
                    }
                    places.push(Place::Before { item, updates: start..next });
                }
                Found::At(item) => {
                    first = item + 1;
                    if page.is_entry(item) {
                        places.push(Place::Row { item, update: start });
                        continue;
                    }
                    while next < range.end && page.compare(item, updates[next].key).is_eq() {
                        next += 1;
                    }
                    let reached = below.as_mut().map(|below| {
                        below.push(Descent { location: page.location(item), updates: start..next });
                        pages.len() + below.len() - 1
                    });
                    places.push(Place::Below { item, updates: start..next, page: reached });
                }
            }
        }
        pages[at].places = from..places.len();
    }
}

/// Brings pages near the processor. None of these reads waits for another.
fn touch(pages: &[Reached]) {
    let mut seen = 0;
    for Reached { page, .. } in pages {
        for line in page.block().chunks(LINE_SIZE) {
            seen ^= line[0];
        }
    }
    black_box(seen);
}
