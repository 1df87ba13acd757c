//! Which pages the kernel may have of a file.
//!
//! The kernel caches pages by inode, for all handles. An inode outlives a change of the chunks of its
//! store, but its pages may only ever show one state. So a handle that is opened on another state, while
//! other handles still read the pages of the last one, reads past the pages.

use std::sync::{Arc, Weak};

use crate::cache::ImageId;
use crate::fs::view::Paging;

/// Held by each handle that reads through the pages.
#[derive(Debug)]
pub(super) struct PageReader(());

/// The pages of one inode.
#[derive(Debug, Default)]
pub(super) struct Pages {
    /// The state that they show.
    state: Option<ImageId>,
    readers: Weak<PageReader>,
}

impl Pages {
    /// Whether a handle reads through the pages.
    pub(super) fn has_readers(&self) -> bool {
        self.readers.strong_count() > 0
    }

    /// Decides for a handle that is opened on a state of the store. `may_be_old`: pages of the same
    /// state may be older than their chunks, which nobody follows.
    pub(super) fn open(
        &mut self,
        state: ImageId,
        may_be_old: bool,
    ) -> (Paging, Option<Arc<PageReader>>) {
        let readers = self.readers.upgrade();
        let paging = decide(self.state == Some(state), readers.is_some(), may_be_old);
        if paging == Paging::Bypass {
            return (paging, None);
        }
        let reader = readers.unwrap_or_else(|| Arc::new(PageReader(())));
        *self = Self { state: Some(state), readers: Arc::downgrade(&reader) };
        (paging, Some(reader))
    }
}

fn decide(is_same_state: bool, has_readers: bool, may_be_old: bool) -> Paging {
    match (is_same_state, has_readers) {
        (true, _) if !may_be_old => Paging::Keep,
        (true, _) | (false, false) => Paging::Drop,
        (false, true) => Paging::Bypass,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_of_one_state() {
        for (is_same_state, has_readers, may_be_old, expected) in [
            (true, true, false, Paging::Keep),
            (true, false, false, Paging::Keep),
            (true, true, true, Paging::Drop),
            (true, false, true, Paging::Drop),
            (false, false, false, Paging::Drop),
            (false, false, true, Paging::Drop),
            (false, true, false, Paging::Bypass),
            (false, true, true, Paging::Bypass),
        ] {
            assert_eq!(
                decide(is_same_state, has_readers, may_be_old),
                expected,
                "{is_same_state} {has_readers} {may_be_old}"
            );
        }
    }

    #[test]
    fn a_new_state_gets_the_pages_when_the_readers_of_the_old_one_have_gone() {
        let mut pages = Pages::default();
        let [old, new] = [ImageId(1), ImageId(2)];
        let (paging, first) = pages.open(old, false);
        assert_eq!(paging, Paging::Drop);
        let (paging, second) = pages.open(old, false);
        assert_eq!(paging, Paging::Keep);
        assert_eq!(pages.open(new, false).0, Paging::Bypass);
        drop(first);
        assert_eq!(pages.open(new, false).0, Paging::Bypass, "one still reads");
        drop(second);
        let (paging, third) = pages.open(new, false);
        assert_eq!(paging, Paging::Drop);
        assert_eq!(pages.open(old, false).0, Paging::Bypass);
        drop(third);
        assert_eq!(pages.open(new, false).0, Paging::Keep, "nothing else was read since");
    }
}
