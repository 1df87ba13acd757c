//! The cases, in the order in which they run.

mod asked;
mod cached;
mod computed;
mod copying;
mod crowd;
mod listing;
mod opening;
mod random;
mod sequential;
mod series;
mod warm;

use crate::bench::Bench;

/// Something that is measured; its table has the same name.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    pub(crate) run: fn(&Bench),
}

pub(crate) const ALL: &[Case] = &[
    Case {
        name: sequential::NAME,
        what: "a whole file from an empty cache, against D",
        run: sequential::run,
    },
    Case {
        name: random::NAME,
        what: "chunks at random places from an empty cache, against D; bricks filled for them",
        run: random::run,
    },
    Case {
        name: warm::NAME,
        what: "a whole file from the kernel's page cache, against N",
        run: warm::sequential,
    },
    Case {
        name: warm::RANDOM,
        what: "random reads from the kernel's page cache, against N",
        run: warm::random,
    },
    Case {
        name: cached::NAME,
        what: "a whole file from the daemon's cache, against N",
        run: cached::run,
    },
    Case {
        name: opening::NAME,
        what: "from the start to the first slice, 1 GiB and 1 TiB",
        run: opening::run,
    },
    Case {
        name: copying::NAME,
        what: "cp of a whole file from an empty cache, against D",
        run: copying::run,
    },
    Case {
        name: computed::NAME,
        what: "missing levels and exact statistics, against D",
        run: computed::run,
    },
    Case { name: listing::NAME, what: "find -ls over 10 000 stores", run: listing::run },
    Case { name: crowd::NAME, what: "64 readers of one image against one", run: crowd::run },
    Case { name: series::NAME, what: "200 time points at the coarsest level", run: series::run },
    Case {
        name: asked::NAME,
        what: "status with 1000 handles and 64 readers at work",
        run: asked::run,
    },
];

/// The names of all cases, in their order.
pub(crate) fn names() -> Vec<&'static str> {
    ALL.iter().map(|case| case.name).collect()
}
