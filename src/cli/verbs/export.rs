//! `export STORE OUT.ims`: the bytes of the mount without a mount.

use std::ops::Range;
use std::path::PathBuf;

use clap::{Arg, ArgMatches, Command, value_parser};

use crate::by_hand::{Asked, AskedChannel};
use crate::export::{Packing, Part};

pub(super) const NAME: &str = "export";

const AFTER: &str = "\
While it is written, the file is called OUT.ims.part, with a journal beside it. The same command goes on where an \
earlier one was stopped, killed, or met a full disk.

Exit status: 0 the file is there and complete; 1 it is not, for the reason that is printed; 2 the command line is \
wrong; 130 it was stopped by a signal.";

/// The arguments of `export`.
#[derive(Debug, Clone)]
pub struct Export {
    /// What is made.
    pub made: Made,
    /// Which image, of a source with several: its path in the mount, or its name.
    pub image: Option<String>,
    /// Files that are there are replaced.
    pub force: bool,
    /// What was written is read again and compared.
    pub verify: bool,
    /// What of the image is taken.
    pub asked: Asked,
    /// How chunks are compressed.
    pub packing: Option<Packing>,
    /// Events as JSON.
    pub as_json: bool,
}

/// What an export makes.
#[derive(Debug, Clone)]
pub enum Made {
    /// One file.
    File(PathBuf),
    /// A part of one file.
    Part(PathBuf, Part),
    /// One file of its parts.
    Joined(PathBuf),
    /// A file for each image, below a folder.
    All(PathBuf),
}

pub(super) fn command() -> Command {
    let command = super::verb(NAME, "Write what the mount would show to a file, without a mount");
    let help = "A Zarr store; or a folder or address with some, or the path that a file of the mount would have there";
    let command = super::with_source(command, help)
        .mut_arg("source", |arg| arg.required(false).value_name("STORE|FILE"));
    let path = |name: &'static str| Arg::new(name).value_parser(value_parser!(PathBuf));
    let text = |name: &'static str| Arg::new(name).long(name);
    command
        .arg(path("out").value_name("OUT.ims").help("The file to write"))
        .arg(text("image").value_name("NAME").help(
            "Which image, of several: its path in the mount, with or without folders and .ims, or its name",
        ))
        .arg(path("all").long("all").value_name("DIR").help(
            "Write a file for each image below DIR, named as in the mount; those that are there are left alone",
        ))
        .arg(super::switch("force").help("Replace files that are there"))
        .arg(super::switch("verify").help("Read what was written from the disk, and compare it"))
        .arg(text("part").value_name("I/N").help(
            "Write part I of N of the file, beside it, as a job of a cluster; --join makes one file of all",
        ))
        .arg(path("join").long("join").value_name("OUT.ims").help(
            "Make one file of its parts, which are beside it, and remove them",
        ))
        .arg(text("crop").value_name("X0:X1,Y0:Y1,Z0:Z1").help(
            "Only these voxels of the finest level; the ends are not included, and : stands for a whole axis",
        ))
        .arg(text("channels").value_name("LIST").help(
            "Only these channels, in this order: numbers from 0 on, or labels, such as 0,DAPI",
        ))
        .arg(text("levels").value_name("LIST").help(
            "Use these levels of the store, 0 first, such as 0,2; missing ones are computed",
        ))
        .arg(text("gzip").value_name("1-9").value_parser(value_parser!(u8).range(1..=9)).help(
            "Compress chunks with gzip as Imaris does, which takes 2",
        ))
        .arg(super::switch("lz4").conflicts_with("gzip").help(
            "Compress chunks with LZ4, which Imaris 9.6 and newer read",
        ))
        .after_help(AFTER)
}

impl Export {
    pub(super) fn read(matches: &ArgMatches) -> Result<Self, String> {
        let gzip = matches.get_one::<u8>("gzip").map(|level| Packing::Gzip(*level));
        let packing = gzip.or_else(|| matches.get_flag("lz4").then_some(Packing::Lz4));
        let text = |name: &str| matches.get_one::<String>(name).cloned();
        let list = |name: &str| {
            let text = text(name);
            let parts = text.map(|text| text.split(',').map(str::to_owned).collect::<Vec<_>>());
            parts.unwrap_or_default()
        };
        let levels = list("levels");
        let number = |text: &String| {
            let number = text.parse::<u64>();
            number.map_err(|_| format!("--levels {}: is not a list such as 0,2", levels.join(",")))
        };
        let found = Self {
            made: made(matches)?,
            image: text("image"),
            force: matches.get_flag("force"),
            verify: matches.get_flag("verify"),
            asked: Asked {
                space: text("crop").map_or(Ok(Default::default()), |text| crop(&text))?,
                channels: list("channels")
                    .iter()
                    .map(|text| channel(text))
                    .collect::<Result<_, _>>()?,
                levels: levels.iter().map(number).collect::<Result<_, _>>()?,
            },
            packing,
            as_json: matches.get_flag("json"),
        };
        found.mistake().map_or(Ok(found), Err)
    }

    /// What does not go together.
    fn mistake(&self) -> Option<String> {
        let takes_part = self.asked != Asked::default();
        let line = match &self.made {
            Made::Part(..) if self.packing.is_some() => {
                "--part: compressed files are written as a whole; leave --gzip or --lz4 out"
            }
            Made::Joined(_) if self.packing.is_some() || takes_part || self.image.is_some() => {
                "--join: parts are joined as they are; it takes --force, --verify and --json only"
            }
            Made::All(_) if takes_part || self.image.is_some() => {
                "--all: --image, --crop, --channels and --levels are about one image; leave --all or these out"
            }
            _ => return None,
        };
        Some(line.to_owned())
    }
}

fn made(matches: &ArgMatches) -> Result<Made, String> {
    let path = |name: &str| matches.get_one::<PathBuf>(name).cloned();
    let part = matches.get_one::<String>("part");
    let parsed =
        |text: &String| Part::parse(text).map_err(|words| format!("--part {text}: {words}"));
    let part = part.map(parsed).transpose()?;
    let found = match (path("source"), path("out"), path("all"), path("join")) {
        (Some(_), Some(out), None, None) => match part {
            Some(part) => return Ok(Made::Part(out, part)),
            None => Made::File(out),
        },
        (Some(_), None, Some(folder), None) => Made::All(folder),
        (None, None, None, Some(out)) => Made::Joined(out),
        (None, ..) => return Err("export: STORE is missing; see export --help".to_owned()),
        (Some(_), None, None, None) => {
            return Err("export: OUT.ims is missing, or --all DIR; see export --help".to_owned());
        }
        _ => {
            let line =
                "export: give STORE with OUT.ims, STORE with --all DIR, or --join OUT.ims alone";
            return Err(line.to_owned());
        }
    };
    match part {
        Some(_) => Err("--part: is a part of one file; it needs STORE and OUT.ims".to_owned()),
        None => Ok(found),
    }
}

fn crop(text: &str) -> Result<[Option<Range<u64>>; 3], String> {
    let wrong = || format!("--crop {text}: is not three ranges such as 0:512,0:512,10:20");
    let range = |part: &str| -> Option<Option<Range<u64>>> {
        let (from, to) = part.split_once(':')?;
        if from.is_empty() && to.is_empty() {
            return Some(None);
        }
        let (from, to) = (from.parse().ok()?, to.parse().ok()?);
        (from < to).then_some(Some(from..to))
    };
    let ranges: Option<Vec<_>> = text.split(',').map(range).collect();
    ranges.and_then(|ranges| ranges.try_into().ok()).ok_or_else(wrong)
}

fn channel(text: &str) -> Result<AskedChannel, String> {
    if text.is_empty() {
        return Err("--channels: has an empty entry; it is a list such as 0,DAPI".to_owned());
    }
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    let number = is_number.then(|| text.parse().ok()).flatten();
    Ok(number.map_or_else(|| AskedChannel::Label(text.to_owned()), AskedChannel::Number))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(args: &[&str]) -> Result<Export, String> {
        let words = ["export"].iter().chain(args);
        let matches = command().try_get_matches_from(words).map_err(|error| error.to_string())?;
        Export::read(&matches)
    }

    #[test]
    fn what_is_asked_for_is_read() {
        let found =
            read(&["s", "o", "--crop", "1:2,:,3:40", "--channels", "2,GFP", "--levels", "0,2"]);
        let Asked { space, channels, levels } = found.expect("valid").asked;
        assert_eq!(space, [Some(1..2), None, Some(3..40)]);
        assert_eq!(channels, [AskedChannel::Number(2), AskedChannel::Label("GFP".to_owned())]);
        assert_eq!(levels, [0, 2]);
        assert!(matches!(read(&["--join", "o"]).expect("valid").made, Made::Joined(_)));
        assert!(matches!(read(&["s", "--all", "d"]).expect("valid").made, Made::All(_)));
        let part = read(&["s", "o", "--part", "2/3"]).expect("valid").made;
        assert!(matches!(part, Made::Part(_, part) if part.to_string() == "2/3"));
        let packing = |args: &[&str]| read(&[&["s", "o"], args].concat()).expect("valid").packing;
        assert_eq!(packing(&["--gzip", "2"]), Some(Packing::Gzip(2)));
        assert_eq!(packing(&["--lz4"]), Some(Packing::Lz4));
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        for args in [
            &[][..],
            &["s"],
            &["s", "o", "--all", "d"],
            &["s", "--join", "o"],
            &["s", "--all", "d", "--part", "1/2"],
            &["s", "--all", "d", "--crop", "0:1,:,:"],
            &["s", "o", "--part", "0/2"],
            &["s", "o", "--part", "1/2", "--lz4"],
            &["s", "o", "--gzip", "0"],
            &["s", "o", "--gzip", "2", "--lz4"],
            &["s", "o", "--crop", "0:1,0:1"],
            &["s", "o", "--crop", "5:5,:,:"],
            &["s", "o", "--crop", "-1:5,:,:"],
            &["s", "o", "--levels", "0,x"],
            &["s", "o", "--channels", "0,,1"],
        ] {
            assert!(read(args).is_err(), "{args:?}");
        }
    }
}
