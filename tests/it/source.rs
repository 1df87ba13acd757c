//! What the source allows, hides, and lets appear: what could not be read is shown once it can be, and
//! nobody reads through the mount what the source denies them.

mod appears;
mod moves;
mod permissions;
mod slow_listing;
mod stores;
mod times;
