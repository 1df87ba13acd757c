//! The best that could be reached, measured beside each case.
//!
//! * **D**: `zarrs` decodes the same chunks in memory on all cores and drops them.
//! * **N**: the same bytes come from an ordinary file on the same disk, out of the page cache.
//! * **C**: the same bytes are copied once from memory to memory.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use zarrs::array::{
    Array, ArrayBytes, ArrayShardedExt, ArrayShardedReadableExt, ArrayShardedReadableExtCache,
    ArraySubset, CodecOptions,
};
use zarrs::filesystem::FilesystemStore;

use crate::measure::machine;
use crate::measure::stores::{Store, position};

/// A chunk of a level, or a chunk within a shard.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Unit {
    level: usize,
    at: Vec<u64>,
}

/// Seconds that something took, and seconds of processor time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cost {
    pub(crate) seconds: f64,
    pub(crate) cpu: f64,
}

/// How the shards of a store are decoded fastest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// One chunk, or chunk within a shard, per core.
    Units,
    /// One shard after the other, each by all cores.
    Shards,
}

/// The arrays of a store as `zarrs` opens them.
pub(crate) struct Decoder {
    arrays: Vec<Array<FilesystemStore>>,
    pub(crate) way: Way,
}

impl Decoder {
    pub(crate) fn open(store: &Store) -> Self {
        let storage = Arc::new(FilesystemStore::new(store.path()).expect("a folder"));
        let open = |level| {
            Array::open(storage.clone(), &format!("/{level}")).expect("metadata zarrs takes")
        };
        let arrays: Vec<_> = (0..store.declared.levels().len()).map(open).collect();
        let mut decoder = Self { arrays, way: Way::Units };
        // The first pass brings the files into the page cache.
        let units = decoder.all();
        decoder.decode(&units, machine::cores());
        if decoder.arrays[0].is_sharded() {
            let by_units = decoder.decode_all();
            decoder.way = Way::Shards;
            let by_shards = decoder.decode_all();
            if by_units.seconds < by_shards.seconds {
                decoder.way = Way::Units;
            }
            eprintln!(
                "D of shards: {:.2} s by chunks, {:.2} s by shards",
                by_units.seconds, by_shards.seconds
            );
        }
        decoder
    }

    pub(crate) fn levels(&self) -> usize {
        self.arrays.len()
    }

    /// All chunks of all levels, or chunks within shards.
    pub(crate) fn all(&self) -> Vec<Unit> {
        let of_level = |(level, array): (usize, &Array<FilesystemStore>)| {
            let grid = array.subchunk_grid_shape();
            let shape = array.effective_subchunk_shape().unwrap_or_else(|| {
                array.chunk_shape(&vec![0; grid.len()]).expect("a regular grid")
            });
            // A shard may reach beyond the array.
            let inside = move |unit: &Unit| {
                let ends = unit.at.iter().zip(&shape).zip(array.shape());
                ends.into_iter().all(|((at, chunk), length)| at * chunk.get() < *length)
            };
            let count = grid.iter().product::<u64>();
            let units = (0..count).map(move |n| Unit { level, at: position(&grid, n) });
            units.filter(inside).collect::<Vec<_>>()
        };
        self.arrays.iter().enumerate().flat_map(of_level).collect()
    }

    /// The chunks that hold the voxels of a box, given as ranges in the order of the array.
    pub(crate) fn units_of(&self, level: usize, ranges: &[std::ops::Range<u64>]) -> Vec<Unit> {
        let array = &self.arrays[level];
        let shape = array
            .effective_subchunk_shape()
            .unwrap_or_else(|| array.chunk_shape(&vec![0; ranges.len()]).expect("a regular grid"));
        let spans: Vec<_> = ranges
            .iter()
            .zip(&shape)
            .map(|(range, chunk)| range.start / chunk.get()..range.end.div_ceil(chunk.get()))
            .collect();
        let lengths: Vec<u64> = spans.iter().map(|span| span.end - span.start).collect();
        let unit = |number| {
            let at =
                position(&lengths, number).iter().zip(&spans).map(|(n, s)| n + s.start).collect();
            Unit { level, at }
        };
        (0..lengths.iter().product()).map(unit).collect()
    }

    /// D of all levels.
    pub(crate) fn decode_all(&self) -> Cost {
        match self.way {
            Way::Units => self.decode(&self.all(), machine::cores()),
            Way::Shards => timed(|| {
                let options = CodecOptions::default().with_concurrent_target(machine::cores());
                for array in &self.arrays {
                    let grid = array.chunk_grid_shape();
                    for number in 0..grid.iter().product() {
                        let at = position(grid, number);
                        let bytes: ArrayBytes<'_> =
                            array.retrieve_chunk_opt(&at, &options).expect("decodes");
                        black_box(bytes);
                    }
                }
            }),
        }
    }

    /// D: decodes some chunks on `threads` threads.
    pub(crate) fn decode(&self, units: &[Unit], threads: usize) -> Cost {
        let caches: Vec<_> = self.arrays.iter().map(ArrayShardedReadableExtCache::new).collect();
        let options = CodecOptions::default().with_concurrent_target(1);
        let next = AtomicUsize::new(0);
        timed(|| {
            thread::scope(|scope| {
                for _ in 0..threads {
                    scope.spawn(|| {
                        while let Some(unit) = units.get(next.fetch_add(1, Ordering::Relaxed)) {
                            let Unit { level, at } = unit;
                            let (array, cache) = (&self.arrays[*level], &caches[*level]);
                            let bytes: ArrayBytes<'_> =
                                array.retrieve_subchunk_opt(cache, at, &options).expect("decodes");
                            black_box(bytes);
                        }
                    });
                }
            });
        })
    }

    /// Shape of a level in the order of the array.
    pub(crate) fn shape(&self, level: usize) -> &[u64] {
        self.arrays[level].shape()
    }

    /// The voxels of a box in the order of the array.
    pub(crate) fn voxels(&self, level: usize, ranges: &[std::ops::Range<u64>]) -> Vec<u8> {
        let subset = ArraySubset::new_with_ranges(ranges);
        let bytes: ArrayBytes<'_> =
            self.arrays[level].retrieve_array_subset(&subset).expect("decodes");
        bytes.into_fixed().expect("voxels have a size").into_owned()
    }
}

/// C: copies `bytes` on `threads` threads, out of more memory than the processor's caches hold.
pub(crate) fn copy(memory: &[u8], bytes: u64, threads: usize) -> Cost {
    const PIECE: usize = 1 << 20;
    let pieces = usize::try_from(bytes).expect("64 bits") / PIECE;
    let next = AtomicUsize::new(0);
    timed(|| {
        thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    let mut out = vec![1; PIECE];
                    loop {
                        let piece = next.fetch_add(1, Ordering::Relaxed);
                        if piece >= pieces {
                            return;
                        }
                        let start = piece * PIECE % (memory.len() - PIECE);
                        out.copy_from_slice(&memory[start..start + PIECE]);
                        black_box(&mut out);
                    }
                });
            }
        });
    })
}

/// Runs something and measures it.
pub(crate) fn timed(work: impl FnOnce()) -> Cost {
    let cpu = machine::own_cpu_seconds();
    let started = Instant::now();
    work();
    Cost { seconds: started.elapsed().as_secs_f64(), cpu: machine::own_cpu_seconds() - cpu }
}
