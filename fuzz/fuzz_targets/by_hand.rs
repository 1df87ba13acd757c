//! A file beside a store, in which anybody who may write there says what is wrong with the store.
//!
//! The input is its text.

#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use zarrims::by_hand::{Tables, parse};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = str::from_utf8(data) else { return };
    match parse("x.zarrims.toml", text) {
        Ok(Tables { stores, views }) => {
            assert!(stores.len() <= 100 && views.len() <= 100);
            for table in &stores {
                assert!(table.path.is_none(), "a file beside a store is about that store");
                let _ = table.image.as_ref().map(|image| image.is_match(Path::new("A/1/0")));
            }
            for view in &views {
                assert_eq!(view.name.components().count(), 1, "it lies beside the store");
            }
        }
        Err(mistake) => {
            let line = mistake.to_string();
            assert!(!line.contains('\n') && line.starts_with("x.zarrims.toml:"), "{line:?}");
        }
    }
});
