//! Production of computed levels: passes over the pyramid that read each brick they need once.
//!
//! A brick of a computed level is made from the bricks under it in the level above, and these perhaps
//! from others. A `Pass` walks that tree depth first: it opens a brick, produces its children one
//! after the other, and closes it when the last one has come. So all levels between are built by one
//! pass, each brick of the store is decoded once, and few bricks are open at a time: one per level
//! and some for the tasks under way. Bricks of computed levels go to the cache as they are closed, and
//! a subtree whose brick is in the cache is not walked again: that is how a pass is resumed after a
//! restart. Bricks of the store only pass through.
//!
//! No thread waits here: every child comes by a callback. A pass leaves a brick that is in production to the
//! pass or the reader that produces it. A pass that waits for its turn gives up its root to one that needs it.
//! Since a brick waits for finer ones only, no two passes wait for each other.
//!
//! With a `Visitor` a pass shows it bricks, each exactly once: every one of every level, cached or not, or some of
//! a stored level.

mod children;
mod chores;
mod cost;
mod errand;
mod join;
mod open;
mod pass;
mod request;
mod visitor;
mod walk;

pub(super) use chores::{bricks_of, keep_all, show_from_store};
pub(super) use cost::most_open_bytes;
pub(super) use request::{request, visit_all, visit_some};
pub(super) use visitor::Visitor;

#[cfg(test)]
mod tests;
