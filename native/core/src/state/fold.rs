//! The hashes of the pages that a version makes. They are found once the pages are there, since where a page goes and what else
//! is on it does not depend on them: so eight pages at a time go through the lanes, those below before those above.

use std::ops::Range;

use super::hashing::{Node, node_hashes};
use super::page::{PAGE_ITEMS_MAX, Page};
use super::{HASH_SIZE, Location};
use crate::Hash;
use crate::lanes::LANES;

/// So many pages that wait for no other are hashed while they are near the processor.
const NEAR_COUNT: usize = 32;

/// The hash of a row or of a page.
#[derive(Clone, Copy)]
pub(super) enum Digest {
    Known(Hash),
    /// That of a page which the version makes, by its place among those.
    Made(usize),
}

/// The pages that a version makes, each behind those that it leads to.
#[derive(Default)]
pub(super) struct Made {
    pages: Vec<(Location, Page)>,
    /// The root hash of each that does not wait for it.
    hashes: Vec<Hash>,
    /// Of each, how many pages wait from it down, one on another.
    levels: Vec<usize>,
    /// Those that wait, by their level less 1.
    waiting: Vec<Vec<Waiting>>,
    /// Of those that wait: items, by their index, and the pages made before that they lead to.
    links: Vec<(usize, usize)>,
    /// The memory of those that are being hashed.
    folds: Vec<Fold>,
}

/// A page that waits for its hashes.
struct Waiting {
    page: usize,
    /// The items, a bit each, that differ from those that the hashes of its nodes are of.
    changed: u32,
    /// Of `Made::links`.
    links: Range<usize>,
}

impl Made {
    /// Takes a page whose root hash is known.
    pub(super) fn add_known(&mut self, location: Location, page: Page, hash: Hash) {
        self.pages.push((location, page));
        self.hashes.push(hash);
        self.levels.push(0);
    }

    /// Takes a page whose root hash is to be found.
    ///
    /// `changed`: the items, a bit each, that differ from those that the hashes of its nodes are of; `links`: those items that
    /// lead to pages which were added before, and to which.
    pub(super) fn add(
        &mut self,
        location: Location,
        page: Page,
        changed: u32,
        links: impl Iterator<Item = (usize, usize)>,
    ) -> Digest {
        let from = self.links.len();
        self.links.extend(links);
        let links = from..self.links.len();
        let below = self.links[from..].iter().map(|&(_, page)| self.levels[page]).max().unwrap_or(0);
        if self.waiting.len() == below {
            self.waiting.push(Vec::new());
        }
        let at = self.pages.len();
        self.waiting[below].push(Waiting { page: at, changed, links });
        self.pages.push((location, page));
        self.hashes.push([0; HASH_SIZE]);
        self.levels.push(below + 1);
        if self.waiting[0].len() == NEAR_COUNT {
            self.fold_level(0);
        }
        Digest::Made(at)
    }

    /// The hash behind a digest. If that waits, the hashes of all pages are found.
    pub(super) fn hash(&mut self, digest: Digest) -> Hash {
        match digest {
            Digest::Known(hash) => hash,
            Digest::Made(page) => {
                if self.levels[page] > 0 {
                    self.settle();
                }
                self.hashes[page]
            }
        }
    }

    /// Finds the hashes of all pages.
    pub(super) fn settle(&mut self) {
        for level in 0..self.waiting.len() {
            self.fold_level(level);
        }
        self.links.clear();
    }

    fn fold_level(&mut self, level: usize) {
        let mut pages = std::mem::take(&mut self.waiting[level]);
        self.fold(&pages);
        pages.clear();
        self.waiting[level] = pages;
    }

    /// The pages and where they go. Their hashes are theirs once they are settled.
    pub(super) fn pages(&self) -> &[(Location, Page)] {
        &self.pages
    }

    pub(super) fn into_pages(self) -> Vec<(Location, Page)> {
        self.pages
    }

    /// Hashes pages none of which leads to another: of eight at a time, a node each.
    fn fold(&mut self, pages: &[Waiting]) {
        let mut pages = pages.iter();
        let mut folds = std::mem::take(&mut self.folds);
        // Those that are under way come first.
        let mut count = 0;
        loop {
            while count < LANES
                && let Some(waiting) = pages.next()
            {
                if folds.len() == count {
                    folds.push(Fold::default());
                }
                if self.begin(waiting, &mut folds[count]) {
                    count += 1;
                }
            }
            if count == 0 {
                break;
            }
            let nodes: [Node<'_>; LANES] = std::array::from_fn(|lane| folds[if lane < count { lane } else { 0 }].node());
            let hashes = node_hashes(&nodes[..count]);
            for at in (0..count).rev() {
                if !self.join(&mut folds[at], &hashes[at]) {
                    count -= 1;
                    folds.swap(at, count);
                }
            }
        }
        self.folds = folds;
    }

    /// Whether a page has a node to hash. If not, its hash is known.
    fn begin(&mut self, Waiting { page: at, changed, links }: &Waiting, fold: &mut Fold) -> bool {
        let page = &mut self.pages[*at].1;
        for &(index, below) in &self.links[links.clone()] {
            page.put_hash(index, &self.hashes[below]);
        }
        fold.begin(*at, *changed, page);
        self.advance(fold)
    }

    /// Notes the hash of the node that a fold waits for. Whether there is another; if not, the hash of its page is known.
    fn join(&mut self, fold: &mut Fold, hash: &Hash) -> bool {
        fold.join(&mut self.pages[fold.page].1, hash);
        self.advance(fold)
    }

    fn advance(&mut self, fold: &mut Fold) -> bool {
        let page = &mut self.pages[fold.page].1;
        if fold.advance(page) {
            return true;
        }
        page.set_has_nodes();
        self.hashes[fold.page] = fold.hashes[0];
        self.levels[fold.page] = 0;
        false
    }
}

/// A page from left to right, subtrees that stand side by side on a stack: those that part at a deeper bit are joined first.
#[derive(Default)]
struct Fold {
    page: usize,
    /// Items of the page, and the branch bits between them.
    count: usize,
    bits: [u16; PAGE_ITEMS_MAX],
    /// The items, a bit each, that differ from those that the hashes of the page's nodes are of.
    changed: u32,
    /// The next item.
    next: usize,
    /// Of the last subtree.
    top: usize,
    hashes: [Hash; PAGE_ITEMS_MAX],
    /// Of each subtree but the first, the index of the bit at which it parts from the one before.
    parts: [u8; PAGE_ITEMS_MAX],
    /// Of each subtree, whether anything in it differs from what the hashes of the page's nodes are of.
    is_changed: [bool; PAGE_ITEMS_MAX],
}

impl Fold {
    fn begin(&mut self, at: usize, changed: u32, page: &Page) {
        (self.page, self.count, self.changed, self.next, self.top) = (at, page.count(), changed, 0, 0);
        for (index, bit) in self.bits[..self.count - 1].iter_mut().enumerate() {
            *bit = page.bit(index) as u16;
        }
        self.push(page);
    }

    fn push(&mut self, page: &Page) {
        self.hashes[self.top].copy_from_slice(page.hash(self.next));
        self.is_changed[self.top] = (self.changed >> self.next) & 1 == 1;
        self.next += 1;
    }

    /// The bit at which the last subtree parts from the one before.
    fn bit(&self) -> u16 {
        self.bits[self.parts[self.top] as usize]
    }

    /// Goes on until the last two subtrees make a node that is to be hashed; false once all are one.
    fn advance(&mut self, page: &Page) -> bool {
        loop {
            let is_joined = self.top > 0 && (self.next == self.count || self.bit() > self.bits[self.next - 1]);
            if !is_joined {
                if self.next == self.count {
                    return false;
                }
                self.top += 1;
                self.parts[self.top] = self.next as u8 - 1;
                self.push(page);
            } else if self.is_changed[self.top - 1] || self.is_changed[self.top] {
                return true;
            } else {
                self.hashes[self.top - 1].copy_from_slice(page.node(self.parts[self.top] as usize));
                self.top -= 1;
            }
        }
    }

    /// The node above the last two subtrees.
    fn node(&self) -> Node<'_> {
        (self.bit(), &self.hashes[self.top - 1], &self.hashes[self.top])
    }

    /// Puts that node, whose hash this is, in their place.
    fn join(&mut self, page: &mut Page, hash: &Hash) {
        page.put_node(self.parts[self.top] as usize, hash);
        self.top -= 1;
        self.hashes[self.top] = *hash;
        self.is_changed[self.top] = true;
    }
}
