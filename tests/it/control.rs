//! The daemon can be asked what it does, and steered, while it serves.

mod asked;
mod folder;
mod listen;
mod logs;
mod reload;
