//! Time stamps of time points that are chosen, or joined to a series.

use crate::source::image::ImageSource;

/// Least seconds between two time stamps of a file.
const LEAST_STEP_S: f64 = 0.001;

/// Seconds from the acquisition to each time point of an image, where it states them.
fn times(image: &ImageSource) -> Option<Vec<f64>> {
    let [count, ..] = image.levels[0].shape();
    if let Some(times) = image.times_s.as_ref().filter(|times| times.len() as u64 == count) {
        return Some(times.clone());
    }
    let step = match image.time_step_s {
        Some(step) => step,
        None if count == 1 => 0.0,
        None => return None,
    };
    #[expect(clippy::cast_precision_loss, reason = "time points are far below 2^53")]
    Some((0..count).map(|t| t as f64 * step).collect())
}

fn increase(times: &[f64]) -> bool {
    times.windows(2).all(|pair| pair[1] - pair[0] >= LEAST_STEP_S)
}

/// Keeps the times of some time points. `image` has its chosen levels already.
pub(super) fn choose(image: &mut ImageSource, chosen: &[u64]) {
    let own = image.times_s.take();
    let step = image.time_step_s.take();
    #[expect(clippy::cast_precision_loss, reason = "time points are far below 2^53")]
    let time = |&t: &u64| match (&own, step) {
        (Some(own), _) => own.get(usize::try_from(t).ok()?).copied(),
        (None, step) => Some(t as f64 * step?),
    };
    let Some(times) = chosen.iter().map(time).collect::<Option<Vec<f64>>>() else { return };
    if increase(&times) {
        image.times_s = Some(times);
    } else {
        image
            .notes
            .push("time points are not in the order of time; their times are not shown".into());
    }
}

/// The times of a series of images: from their acquisitions if all are stated and increase, else the time step
/// that all of them state.
pub(super) fn join(series: &mut ImageSource, images: &[&ImageSource]) {
    let first = images[0];
    series.times_s = joined(images);
    let is_same = images.iter().all(|image| image.time_step_s == first.time_step_s);
    series.time_step_s = first.time_step_s.filter(|_| is_same && series.times_s.is_none());
}

fn joined(images: &[&ImageSource]) -> Option<Vec<f64>> {
    let began = images[0].acquired_ms?;
    let mut all = Vec::new();
    for image in images {
        #[expect(clippy::cast_precision_loss, reason = "a century has 2^42 milliseconds")]
        let after = (image.acquired_ms?.saturating_sub(began)) as f64 / 1000.0;
        all.extend(times(image)?.into_iter().map(|time| after + time));
    }
    increase(&all).then_some(all)
}
