//! Reads the middle plane of every level of an `.ims` file through libhdf5 and prints what it took.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::Context;
use clap::Parser;
use hdf5_metno as hdf5;

#[derive(Debug, Parser)]
struct Options {
    /// An .ims file
    file: PathBuf,
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let started = Instant::now();
    let file = hdf5::File::open(&options.file)
        .with_context(|| format!("cannot open {}", options.file.display()))?;
    let levels = file.group("DataSet")?.member_names()?.len();
    println!("opened in {:.1} ms: {levels} levels", milliseconds(started));
    for level in 0..levels {
        let group =
            file.group(&format!("DataSet/ResolutionLevel {level}/TimePoint 0/Channel 0"))?;
        let size = |axis: &str| -> anyhow::Result<usize> {
            let text = group
                .attr(&format!("ImageSize{axis}"))?
                .read_raw::<hdf5::types::FixedAscii<1>>()?;
            let text: String = text.iter().map(hdf5::types::FixedAscii::as_str).collect();
            Ok(text.parse()?)
        };
        let (z, y, x) = (size("Z")?, size("Y")?, size("X")?);
        let started = Instant::now();
        let plane = group.dataset("Data")?.read_slice_2d::<f32, _>((z / 2, 0..y, 0..x))?;
        let took = milliseconds(started);
        let highest = plane.iter().copied().fold(f32::MIN, f32::max);
        let mean = plane.mean().unwrap_or(0.0);
        println!(
            "level {level}: {x} x {y} x {z} voxels, plane {}: mean {mean:.1}, highest {highest}, {took:.1} ms",
            z / 2
        );
    }
    Ok(())
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1000.0
}
