//! Orders of axes: the dimension that each place is taken from.

/// Whether each dimension occurs once.
pub(super) fn is_permutation(order: &[usize], dimensions: usize) -> bool {
    let mut sorted = order.to_vec();
    sorted.sort_unstable();
    sorted.into_iter().eq(0..dimensions)
}

/// An order worth keeping: none where each axis stays in its place.
pub(super) fn kept(order: Vec<usize>) -> Vec<usize> {
    if order.iter().copied().eq(0..order.len()) { Vec::new() } else { order }
}

/// A list in this order, by dimension.
pub(super) fn spread<T: Clone>(list: &[Option<T>], order: &[usize]) -> Vec<Option<T>> {
    let mut spread = vec![None; order.len()];
    for (value, &at) in list.iter().zip(order) {
        spread[at].clone_from(value);
    }
    spread
}
