//! The pages that a list of updates reaches, and which of the updates belong where on them: level by level, from the top down.
//!
//! Of a large tree nearly every page is far from the processor. One path after another would wait for each page in turn; the
//! pages of a level do not wait for each other, so all of a level are one wait.

use std::hint::black_box;
use std::ops::Range;

use super::memory::Pages;
use super::page::{Found, Page};
use super::{Fault, Location, ReadPage, Update};

/// Bytes that come near the processor together, or half as many.
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
    /// Below an item, which leads to a page: by its index in `Reach::pages`.
    Below { item: usize, page: usize },
}

/// What a list of updates reaches.
pub(super) struct Reach {
    /// The topmost first.
    pub(super) pages: Vec<Reached>,
    pub(super) places: Vec<Place>,
}

/// A page that is reached, and the updates that belong below it.
struct Descent {
    location: Location,
    updates: Range<usize>,
}

impl Pages {
    /// Follows updates, sorted by their keys, down the tree at a location.
    pub(super) fn reach<E>(
        &mut self,
        top: Option<Location>,
        updates: &[Update<'_>],
        read: ReadPage<'_, E>,
    ) -> Result<Reach, Fault<E>> {
        let page = match top {
            None => Page::empty(),
            Some(location) => self.get(location, &mut *read)?,
        };
        let mut reach = Reach { pages: Vec::new(), places: Vec::new() };
        reach.pages.push(Reached { page, location: top, places: 0..0 });
        let mut below = Vec::new();
        reach.sort(0, 0..updates.len(), updates, &mut below);
        while !below.is_empty() {
            let level = std::mem::take(&mut below);
            let first = reach.pages.len();
            for &Descent { location, .. } in &level {
                let page = self.get(location, &mut *read)?;
                reach.pages.push(Reached { page, location: Some(location), places: 0..0 });
            }
            touch(&reach.pages[first..]);
            for (at, descent) in level.into_iter().enumerate() {
                reach.sort(first + at, descent.updates, updates, &mut below);
            }
        }
        Ok(reach)
    }
}

impl Reach {
    /// Sorts a range of the updates to the items of a page, and adds the pages below that they lead to, which are to come behind
    /// all that are there.
    fn sort(&mut self, at: usize, range: Range<usize>, updates: &[Update<'_>], below: &mut Vec<Descent>) {
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
                    places.push(Place::Below { item, page: pages.len() + below.len() });
                    below.push(Descent { location: page.location(item), updates: start..next });
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
