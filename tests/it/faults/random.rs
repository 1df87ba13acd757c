//! The property: whatever fails, no read is wrong; if only the disk of the cache fails, no read fails.

use std::time::Instant;

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::world::World;
use crate::reference::cases::{Case, Picks, any_case};

/// Operations of a whole run, and the stores they are spread over.
const OPERATIONS: u64 = 10_000;
const STORES: u64 = 20;

/// The case that a number stands for.
fn case(seed: u64) -> Case {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    any_case().new_tree(&mut runner).expect("a case").current()
}

#[test]
fn no_read_is_wrong_and_the_cache_disk_fails_none() {
    let mut seeds = Picks::of_test("faults");
    let begun = Instant::now();
    let [mut operations, mut reads, mut failed] = [0; 3];
    for number in 0..STORES {
        println!("store {number}");
        let mut world = World::new(&case(seeds.below(u64::MAX)));
        world.run(OPERATIONS / STORES);
        operations += world.operations;
        reads += world.reads;
        failed += world.failed_reads;
    }
    println!("{operations} operations, {reads} reads, {failed} failed; {:?}", begun.elapsed());
    assert!(operations >= OPERATIONS, "{operations} operations");
    assert!(failed * 3 < reads, "{failed} of {reads} reads failed");
}
