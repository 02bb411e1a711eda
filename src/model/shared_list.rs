//! A list that shares with the one before it what did not change.

use std::ops::Index;
use std::sync::Arc;

/// Items of one block, which is shared or made anew as a whole.
const BLOCK: usize = 64;

/// A list whose copies cost little. One that follows another shares the blocks in which nothing is different: with thousands of
/// agents, what happens to one of them must not cost a touch of each.
#[derive(Debug)]
pub struct SharedList<T> {
    /// Of [`BLOCK`] items each, but for the last one.
    blocks: Vec<Arc<[Arc<T>]>>,
}

impl<T> SharedList<T> {
    /// The list of these. What it can it shares with `before`.
    pub fn following<'i>(before: &SharedList<T>, items: impl Iterator<Item = &'i Arc<T>>) -> SharedList<T>
    where
        T: 'i,
    {
        let mut blocks = Vec::with_capacity(before.blocks.len());
        let mut items = items.peekable();
        let mut block = Vec::with_capacity(BLOCK);
        while items.peek().is_some() {
            block.clear();
            block.extend(items.by_ref().take(BLOCK));
            let is_same = |old: &&Arc<[Arc<T>]>| {
                old.len() == block.len() && old.iter().zip(&block).all(|(old, new)| Arc::ptr_eq(old, new))
            };
            let same = before.blocks.get(blocks.len()).filter(is_same).map(Arc::clone);
            blocks.push(same.unwrap_or_else(|| block.iter().map(|item| Arc::clone(item)).collect()));
        }
        SharedList { blocks }
    }

    /// Puts another item in the place of one. Panics beyond the last one.
    pub fn replace(&mut self, place: usize, item: Arc<T>) {
        Arc::make_mut(&mut self.blocks[place / BLOCK])[place % BLOCK] = item;
    }

    /// All of them, in their order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<T>> {
        self.blocks.iter().flat_map(|block| block.iter())
    }

    /// Both lists without the blocks that they share: what is in only one of them, and some of what is in both, in order.
    pub fn apart<'l>(
        before: &'l SharedList<T>,
        now: &'l SharedList<T>,
    ) -> (impl Iterator<Item = &'l Arc<T>>, impl Iterator<Item = &'l Arc<T>>) {
        let own = |list: &'l SharedList<T>, other: &'l SharedList<T>| {
            let is_own = |(place, block): &(usize, &Arc<[Arc<T>]>)| {
                other.blocks.get(*place).is_none_or(|other| !Arc::ptr_eq(other, block))
            };
            list.blocks.iter().enumerate().filter(is_own).flat_map(|(_, block)| block.iter())
        };
        (own(before, now), own(now, before))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.blocks.iter().map(|block| block.len()).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }
}

impl<T> Default for SharedList<T> {
    fn default() -> SharedList<T> {
        SharedList { blocks: Vec::new() }
    }
}

impl<T> Clone for SharedList<T> {
    fn clone(&self) -> SharedList<T> {
        SharedList { blocks: self.blocks.clone() }
    }
}

impl<T> FromIterator<Arc<T>> for SharedList<T> {
    fn from_iter<I: IntoIterator<Item = Arc<T>>>(items: I) -> SharedList<T> {
        let items: Vec<Arc<T>> = items.into_iter().collect();
        SharedList::following(&SharedList::default(), items.iter())
    }
}

/// By its place. Panics beyond the last one.
impl<T> Index<usize> for SharedList<T> {
    type Output = Arc<T>;

    fn index(&self, place: usize) -> &Arc<T> {
        &self.blocks[place / BLOCK][place % BLOCK]
    }
}

impl<T: PartialEq> PartialEq for SharedList<T> {
    fn eq(&self, other: &SharedList<T>) -> bool {
        self.iter().eq(other.iter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_did_not_change_is_shared_a_block_at_a_time() {
        let shared = |before: &SharedList<u32>, now: &SharedList<u32>| -> Vec<bool> {
            now.blocks.iter().zip(&before.blocks).map(|(now, before)| Arc::ptr_eq(now, before)).collect()
        };
        let mut items: Vec<Arc<u32>> = (0..150).map(Arc::new).collect();
        let first = SharedList::from_iter(items.clone());
        assert_eq!((first.len(), first.blocks.len(), *first[149]), (150, 3, 149));
        assert!(first.iter().eq(&items));

        items[70] = Arc::new(70);
        let second = SharedList::following(&first, items.iter());
        assert_eq!(shared(&first, &second), [true, false, true]);
        assert!(second == first && Arc::ptr_eq(&second[70], &items[70]), "another one that says the same");

        let mut edited = second.clone();
        edited.replace(149, Arc::new(7));
        assert_eq!((*edited[149], *second[149], shared(&second, &edited)), (7, 149, vec![true, true, false]));
        let (old, new) = SharedList::apart(&second, &edited);
        assert!(old.map(|item| **item).eq(128..150) && new.map(|item| **item).eq((128..149).chain([7])));
        assert_eq!(SharedList::apart(&first, &SharedList::default()).0.count(), 150);

        items.remove(0);
        let third = SharedList::following(&second, items.iter());
        assert_eq!(shared(&second, &third), [false; 3]);
        assert!(third != second && third.iter().eq(&items));
        items.truncate(BLOCK);
        let fourth = SharedList::following(&third, items.iter());
        assert_eq!((shared(&third, &fourth), fourth.len()), (vec![true], BLOCK));
        assert!(SharedList::following(&fourth, [].iter()).is_empty());
    }
}
