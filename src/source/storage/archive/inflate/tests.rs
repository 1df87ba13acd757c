use std::io::Write;

use flate2::Compression;
use flate2::write::DeflateEncoder;
use proptest::prelude::*;

use super::super::super::stamp::Stamp;
use super::*;

#[derive(Debug)]
struct InMemory(Vec<u8>);

impl OpenFile for InMemory {
    fn stamp(&self) -> io::Result<Stamp> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn read_exact_at(&self, out: &mut [u8], offset: u64) -> io::Result<()> {
        let start = usize::try_from(offset).expect("small");
        let found = self.0.get(start..start + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(found);
        Ok(())
    }
}

fn deflated(bytes: &[u8]) -> (InMemory, u32) {
    let mut encoder = DeflateEncoder::new(vec![9; 7], Compression::fast());
    encoder.write_all(bytes).expect("in memory");
    let mut crc = Crc::new();
    crc.update(bytes);
    (InMemory(encoder.finish().expect("in memory")), crc.sum())
}

fn packed(file: &InMemory, size: usize, crc: u32) -> Packed<'_> {
    Packed { file, range: 7..file.0.len() as u64, size: size as u64, crc }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn every_part_is_that_of_the_whole(
        seed in prop::collection::vec(any::<u8>(), 1..2000),
        repeats in 1_usize..3000,
        places in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..200_000), 1..8),
    ) {
        let mut bytes = Vec::new();
        for round in 0..repeats {
            bytes.extend(seed.iter().map(|byte| byte.wrapping_mul(round.to_le_bytes()[0] | 1)));
        }
        let (file, crc) = deflated(&bytes);
        let packed = packed(&file, bytes.len(), crc);
        let mut whole = vec![0; bytes.len()];
        packed.read_whole(&mut whole).expect("whole");
        prop_assert!(whole == bytes);
        let points = packed.look_through().expect("whole");
        prop_assert!(points.0.len() as u64 <= MOST_POINTS);
        for (place, len) in places {
            let start = place.index(bytes.len());
            let mut part = vec![0; len.min(bytes.len() - start)];
            packed.read_part(&points, &mut part, start as u64).expect("a part");
            prop_assert!(part == bytes[start..start + part.len()]);
        }
    }
}

#[test]
fn what_is_not_as_stated_is_an_error() {
    let bytes = vec![5; 100_000];
    let (file, crc) = deflated(&bytes);
    let told = |packed: &Packed<'_>| {
        let size = usize::try_from(packed.size).expect("small");
        let whole = packed.read_whole(&mut vec![0; size]).map_err(|error| error.to_string());
        let parts = packed.look_through().map(|_| ()).map_err(|error| error.to_string());
        assert_eq!(whole, parts);
        whole.expect_err("an error")
    };
    let right = packed(&file, bytes.len(), crc);
    right.read_whole(&mut bytes.clone()).expect("right");
    assert!(told(&Packed { size: 99_999, ..right.clone() }).contains("99999 bytes"), "a bomb");
    assert!(told(&Packed { size: 100_001, ..right.clone() }).contains("100001 bytes"));
    assert!(told(&Packed { crc: !crc, ..right.clone() }).contains("CRC-32"));
    assert!(told(&Packed { range: 7..right.range.end - 5, ..right.clone() }).contains("cut off"));
    assert!(told(&Packed { range: 3..9, size: 6000, ..right.clone() }).contains("damaged"));
    assert!(told(&Packed { range: 7..8, size: 1 << 20, ..right.clone() }).contains("cannot make"));
    assert!(told(&Packed { range: 7..7, size: 0, crc: 0, ..right }).contains("cut off"));
}
