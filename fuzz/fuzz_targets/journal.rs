//! The journal of the cache, and the start of a cache from it.
//!
//! First byte, the lower two bits: 0, the rest is the file; 1, it stands behind a right header; 2,
//! its records get right checksums as well; 3, it is numbers that say what is written and what
//! damage is done to it. With the third bit, a cache is started from the journal.

#![no_main]

use std::cell::OnceCell;
use std::collections::{BTreeSet, HashMap};
use std::fs::{self, File};
use std::path::Path;

use libfuzzer_sys::fuzz_target;
use xxhash_rust::xxh3::xxh3_64;
use zarrims::cache::disk::LocalDisk;
use zarrims::cache::fuzzing::copy_journal;
use zarrims::cache::{
    BrickCache, BrickKey, CacheLimits, FORMAT_VERSION, ImageId, MinFree, Slot, folder_name,
};
use zarrims_fuzz::{Numbers, Scratch};

/// A header or a record.
type Block = [u8; 64];

thread_local! {
    static SCRATCH: OnceCell<Scratch> = const { OnceCell::new() };
}

fuzz_target!(|data: &[u8]| {
    let Some((&mode, rest)) = data.split_first() else { return };
    let (bytes, written) = match mode & 3 {
        0 => (rest.to_vec(), None),
        1 => ([&header(), rest].concat(), None),
        2 => {
            let sealed = rest.chunks(64).flat_map(|piece| match piece.try_into() {
                Ok(block) => sealed(block).to_vec(),
                Err(_) => piece.to_vec(),
            });
            (header().into_iter().chain(sealed).collect(), None)
        }
        _ => {
            let mut input = Numbers::new(rest);
            let blocks = records(&mut input);
            (damaged(&blocks, &mut input), Some(blocks.into_iter().collect::<BTreeSet<_>>()))
        }
    };
    SCRATCH.with(|scratch| {
        let scratch = scratch.get_or_init(|| Scratch::new("journal"));
        let records = replay(scratch, &bytes);
        if let Some(written) = written {
            assert!(records.iter().all(|record| written.contains(record)), "a record from nowhere");
        }
        if mode & 4 != 0 {
            start(scratch.path(), &bytes, &records);
        }
    });
});

/// What the program reads from a file, compared with what the format says, told here again.
fn replay(scratch: &Scratch, bytes: &[u8]) -> Vec<Block> {
    let [from, to] = ["from", "to"].map(|name| scratch.path().join(name));
    fs::create_dir_all(&from).and_then(|()| fs::create_dir_all(&to)).expect("folders");
    let [journal, copy] = [&from, &to].map(|folder| folder.join("journal"));
    fs::write(&journal, bytes).expect("journal");
    drop(fs::remove_file(&copy));
    let skipped = copy_journal(&from, &to).expect("the disk works");
    let copy = fs::read(&copy).expect("the copy");
    let (blocks, rest) = bytes.as_chunks::<64>();
    let (copied, torn) = copy.as_chunks::<64>();
    assert!(torn.is_empty() && copied[0] == header());
    let Some(skipped) = skipped else {
        assert!(blocks.first() != Some(&header()) && copied.len() == 1);
        return Vec::new();
    };
    assert_eq!(blocks[0], header());
    let expected: Vec<Block> = blocks[1..].iter().filter_map(understood).collect();
    assert_eq!(copied[1..], expected);
    assert_eq!(skipped, (blocks.len() - copied.len()) as u64);
    let kept = fs::metadata(&journal).expect("the journal").len();
    assert_eq!(kept, (bytes.len() - rest.len()) as u64, "the torn tail is cut, and no more");
    expected
}

/// Starts a cache whose bricks are zeros, as far as the first few have a file at all: it hands out
/// those of which the journal has the right checksum.
fn start(scratch: &Path, journal: &[u8], records: &[Block]) {
    let dir = scratch.join("cache");
    let private = dir.join(folder_name());
    let images = private.join("images");
    drop(fs::remove_dir_all(&images));
    fs::create_dir_all(&images).expect("folder");
    fs::write(private.join("journal"), journal).expect("journal");
    let mut last = HashMap::new();
    for record in records {
        last.insert(key_of(record), record);
    }
    let bricks: Vec<(BrickKey, &Block)> =
        last.into_iter().filter(|(_, record)| record[0] == STORED).collect();
    for (key, record) in bricks.iter().take(MADE_SEGMENTS) {
        let stride = u64_at(record, SIZE).next_multiple_of(4096);
        let slots = SEGMENT_BYTES / stride;
        let folder = images.join(key.image.to_string());
        fs::create_dir_all(&folder).expect("folder");
        let file = folder.join(format!("{}-{}.bricks", key.space, key.index / slots));
        File::create(file).and_then(|file| file.set_len(slots * stride)).expect("sparse file");
    }
    let cap_bytes = 1 << (20 + journal.len() % 30);
    let limits = CacheLimits { cap_bytes, min_free: MinFree::Bytes(0) };
    let cache = BrickCache::open(&LocalDisk, &dir, limits).expect("the disk works");
    let stats = cache.stats();
    assert!(stats.used_bytes <= cap_bytes && stats.bricks <= bricks.len() as u64);
    for &(key, record) in &bricks {
        let length = u64_at(record, LENGTH);
        if length > READ_BYTES {
            continue;
        }
        let slot = Slot { key, slot_bytes: u64_at(record, SIZE), is_proven: false };
        let zeros = vec![0; usize::try_from(length).expect("checked")];
        if let Some(brick) = cache.get(slot) {
            assert_eq!(brick.len(), length);
            assert_eq!(xxh3_64(&zeros), u64_at(record, CHECKSUM), "not the brick that was stored");
        }
    }
    let left = cache.stats().bricks;
    drop(cache);
    let again = BrickCache::open(&LocalDisk, &dir, limits).expect("the disk works");
    assert_eq!(again.stats().bricks, left);
}

/// Number of bricks that get a segment file; the segments of the others are missing.
const MADE_SEGMENTS: usize = 4;

/// Bricks up to this length are read.
const READ_BYTES: u64 = 1 << 16;

const SEGMENT_BYTES: u64 = 1 << 40;

const STORED: u8 = 1;
const EVICTED: u8 = 2;

// Offsets in a record.
const PROVEN: usize = 1;
const SPACE: usize = 2;
const IMAGE: usize = 8;
const INDEX: usize = 24;
const SIZE: usize = 32;
const LENGTH: usize = 40;
const CHECKSUM: usize = 48;
const SEAL: usize = 56;

fn header() -> Block {
    let mut block = [0; 64];
    block[..8].copy_from_slice(b"ZIMBRICK");
    block[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
    block[12] = 64;
    sealed(block)
}

fn sealed(mut block: Block) -> Block {
    let sum = xxh3_64(&block[..SEAL]);
    put(&mut block, SEAL, sum);
    block
}

fn put(block: &mut Block, at: usize, number: u64) {
    block[at..at + 8].copy_from_slice(&number.to_le_bytes());
}

fn u64_at(block: &Block, at: usize) -> u64 {
    u64::from_le_bytes(block[at..at + 8].try_into().expect("eight bytes"))
}

fn key_of(block: &Block) -> BrickKey {
    let image = block[IMAGE..INDEX].try_into().expect("sixteen bytes");
    BrickKey {
        image: ImageId(u128::from_le_bytes(image)),
        space: u16::from_le_bytes([block[SPACE], block[SPACE + 1]]),
        index: u64_at(block, INDEX),
    }
}

/// A record that the program can have written; `None` for any other.
fn understood(block: &Block) -> Option<Block> {
    let is_zero = |range: std::ops::Range<usize>| block[range].iter().all(|byte| *byte == 0);
    let is_known = match block[0] {
        STORED => {
            let size = u64_at(block, SIZE);
            let fits = (1..=SEGMENT_BYTES).contains(&size);
            fits && (1..=size).contains(&u64_at(block, LENGTH)) && block[PROVEN] <= 1
        }
        EVICTED => block[PROVEN] == 0 && is_zero(SIZE..SEAL),
        _ => false,
    };
    (is_known && is_zero(4..IMAGE) && sealed(*block) == *block).then_some(*block)
}

/// Records as the program writes them. Few images, spaces and indices, so that keys come again.
fn records(input: &mut Numbers) -> Vec<Block> {
    (0..input.below(33))
        .map(|_| {
            let mut block = [0; 64];
            let what = input.byte();
            block[0] = if what & 3 == 0 { EVICTED } else { STORED };
            block[PROVEN] = u8::from(block[0] == STORED) & (what >> 5);
            block[SPACE] = what >> 2 & 1;
            block[IMAGE] = what >> 3 & 1;
            put(&mut block, INDEX, input.number());
            if block[0] == STORED {
                let size = input.length(39);
                let length = 1 + input.number() % size;
                let is_right = what & 16 != 0 && length <= READ_BYTES;
                put(&mut block, SIZE, size);
                put(&mut block, LENGTH, length);
                put(
                    &mut block,
                    CHECKSUM,
                    if is_right {
                        xxh3_64(&vec![0; usize::try_from(length).expect("checked")])
                    } else {
                        input.number()
                    },
                );
            }
            sealed(block)
        })
        .collect()
}

/// The journal of these records after what may happen to a file.
fn damaged(records: &[Block], input: &mut Numbers) -> Vec<u8> {
    let mut blocks = vec![header()];
    blocks.extend(records);
    let mut cut = 0;
    while !input.is_empty() {
        let damage = input.byte();
        let place = usize::from(input.byte()) % blocks.len();
        let other = usize::from(input.byte());
        match damage % 6 {
            0 => blocks[place][other % 64] ^= 1 << (damage / 6 % 8),
            1 => blocks[place] = [0; 64],
            2 => {
                let other = other % blocks.len();
                blocks.swap(place, other);
            }
            3 if blocks.len() < 64 => blocks.insert(other % blocks.len(), blocks[place]),
            4 if blocks.len() > 1 => drop(blocks.remove(place)),
            _ => cut = other,
        }
    }
    let mut bytes = blocks.concat();
    bytes.truncate(bytes.len().saturating_sub(cut));
    bytes
}
