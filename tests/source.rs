//! What the source allows, hides, and lets appear: what could not be read is shown once it can be, and
//! nobody reads through the mount what the source denies them.

mod common;

#[path = "source/appears.rs"]
mod appears;
#[path = "source/moves.rs"]
mod moves;
#[path = "source/permissions.rs"]
mod permissions;
#[path = "source/slow_listing.rs"]
mod slow_listing;
#[path = "source/stores.rs"]
mod stores;
#[path = "source/times.rs"]
mod times;
