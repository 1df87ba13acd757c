//! Objects of a shared cache: made-up bytes, as they are and behind a right key and checksum. What is not an
//! object of the brick that its name stands for is none.

#![no_main]

use libfuzzer_sys::fuzz_target;
use zarrims::shared_cache::fuzzing::decode_object;

fuzz_target!(|data: &[u8]| decode_object(data));
