//! Rights and changes of the source: a store appears once it can be read, and nobody reads through the
//! mount what the source denies them.

mod appears;
mod moves;
mod permissions;
mod remote;
mod slow_listing;
mod stores;
mod times;
mod zips;
