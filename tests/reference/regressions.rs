//! Fixed cases: what random stores do not reach, and what they have found.

use super::libhdf5_agrees;
use super::opened::OnDisk;
use super::store::{Codec, Dtype, StoreBuilder};

/// Random stores have fewer chunks than one node of the chunk index holds.
#[test]
fn an_index_of_two_levels() {
    // A prime unit leaves only chunks of about its own size.
    let mut store = StoreBuilder::new(Dtype::U8, "zyx", &[67, 300, 520]);
    store.unit = vec![1, 509, 509];
    store.codec = Codec::Zstd;
    store.left_out = 3;
    let on_disk = OnDisk::new(&store);
    let opened = on_disk.open(None);
    let index = &opened.file.plan().layout.levels()[0].index;
    assert!(index.node_count() > 2, "{} nodes", index.node_count());
    drop(opened);
    on_disk.checked_image();
    libhdf5_agrees(&store);
}
