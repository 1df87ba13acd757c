use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, PathBuf};

use proptest::prelude::*;

use super::safe::{folded, shown};
use super::*;
use crate::source::image::{Field, Title};

fn text(names: Vec<OsString>) -> Vec<String> {
    names.into_iter().map(|name| name.into_string().expect("UTF-8")).collect()
}

/// Names of stores beside plain folders.
fn names(folders: &[&str], sources: &[(&str, &'static str)]) -> Vec<String> {
    let mut taken = Taken::default();
    let folders: Vec<&OsStr> = folders.iter().map(OsStr::new).collect();
    let _ = assign_folders(&mut taken, &folders);
    let candidates: Vec<Candidate> =
        sources.iter().map(|(source, ending)| candidate(source, ending)).collect();
    text(assign(&mut taken, &candidates))
}

fn candidate(source: impl Into<OsString>, ending: &'static str) -> Candidate {
    Candidate { source: source.into(), title: None, ending }
}

fn folders(sources: &[&str]) -> Vec<String> {
    let sources: Vec<&OsStr> = sources.iter().map(OsStr::new).collect();
    text(assign_folders(&mut Taken::default(), &sources))
}

fn file(source: &str) -> String {
    names(&[], &[(source, ".ims")]).remove(0)
}

#[test]
fn suffixes_are_dropped_in_any_case() {
    let sources = ["a.ome.zarr", "b.zarr", "c", ".zarr", "UP.ZARR", "up2.Ome.Zarr", "d.Zr"];
    let sources = sources.map(|source| (source, ".ims"));
    assert_eq!(
        names(&[], &sources),
        ["a.ims", "b.ims", "c.ims", ".zarr.ims", "UP.ims", "up2.ims", "d.ims"]
    );
}

#[test]
fn clashes_do_not_depend_on_the_order() {
    let sources = [("x", ".ims"), ("x.zarr", ".ims"), ("x.ome.zarr", ".ims")];
    assert_eq!(names(&[], &sources), ["x~2.ims", "x.zarr.ims", "x.ims"]);
    let reversed = [sources[2], sources[1], sources[0]];
    assert_eq!(names(&[], &reversed), ["x.ims", "x.zarr.ims", "x~2.ims"]);
    assert_eq!(names(&["x.ims"], &[("x.zarr", ".ims")]), ["x.zarr.ims"]);
    assert_eq!(names(&["x"], &[("x.zarr", ""), ("x.ome.zarr", "")]), ["x.zarr", "x.ome.zarr"]);
}

#[test]
fn names_that_differ_in_case_only_are_told_apart() {
    let sources = [("brain.zarr", ".ims"), ("Brain.zarr", ".ims"), ("BRAIN.ome.zarr", ".ims")];
    assert_eq!(names(&[], &sources), ["brain.zarr~2.ims", "Brain.zarr.ims", "BRAIN.ims"]);
    assert_eq!(names(&[], &[("\u{c4}.zr", ".ims"), ("\u{e4}.zr", ".ims")])[1], "\u{e4}.zr.ims");
    assert_eq!(names(&["X.ims"], &[("x.zarr", ".ims")]), ["x.zarr.ims"]);
    // A folder that is called so keeps its name before one that needs it.
    assert_eq!(folders(&["data", "Data", "data~2"]), ["data~3", "Data", "data~2"]);
    assert_eq!(folders(&["a:b", "a_b", "A?b"]), ["a_b~3", "a_b", "A_b~2"]);
}

#[test]
fn names_are_those_that_windows_takes() {
    assert_eq!(file("colon:1.zarr"), "colon_1.ims");
    assert_eq!(file("a<b>c\"d\\e|f?g*h.zarr"), "a_b_c_d_e_f_g_h.ims");
    assert_eq!(file("new\nline\u{7f}.zarr"), "new_line_.ims");
    assert_eq!(file("end .zarr"), "end .ims");
    assert_eq!(
        folders(&["end ", "end.", "e. .", ".", "ok.d"]),
        ["end_", "end.~2", "e___", "_", "ok.d"]
    );
    for (source, expected) in [
        ("CON.zarr", "CON_.ims"),
        ("con.tar.zarr", "con_.tar.ims"),
        ("Aux .ome.zarr", "Aux_ .ims"),
        ("lpt9", "lpt9_.ims"),
        ("COM\u{b2}.zr", "COM\u{b2}_.ims"),
        ("com0.zarr", "com0.ims"),
        ("com10.zarr", "com10.ims"),
        ("console.zarr", "console.ims"),
    ] {
        assert_eq!(file(source), expected);
    }
    assert_eq!(folders(&["nul", "prn.d"]), ["nul_", "prn_.d"]);
    let odd = OsStr::from_bytes(b"n\xff?");
    assert_eq!(assign_folders(&mut Taken::default(), &[odd]), [odd], "a folder stays as it is");
}

#[test]
fn long_names_are_cut_between_characters() {
    let long = "n".repeat(255);
    assert_eq!(file(&long), format!("{}.ims", "n".repeat(251)));
    let long = "\u{20ac}".repeat(85);
    assert_eq!(file(&long), format!("{}.ims", "\u{20ac}".repeat(83)));
    let device = format!("con.{}", "n".repeat(251));
    assert_eq!(folders(&[&device])[0].len(), 255);
}

#[test]
fn many_that_want_one_name_take_no_long_search() {
    let sources: Vec<OsString> = (0_u32..1 << 15)
        .map(|n| format!("{n:015b}").replace('0', "a").replace('1', "A").into())
        .collect();
    let candidates: Vec<Candidate> =
        sources.iter().map(|source| candidate(source, ".ims")).collect();
    let names = assign(&mut Taken::default(), &candidates);
    let different: HashSet<OsString> = names.iter().map(|name| folded(name)).collect();
    assert_eq!(different.len(), names.len());
}

fn image(image: &str) -> InStore<'_> {
    InStore { image, multiscale: 0, name: None, title: None, is_label: false }
}

fn label(path: &str) -> InStore<'_> {
    InStore { is_label: true, ..image(path) }
}

/// All paths of the images of a store `x`, in their order; `(only)` for one that is shown as `x.ims`.
fn paths(images: &[InStore<'_>]) -> Vec<String> {
    let contents = Contents::of(images);
    let mut paths = vec![String::new(); images.len()];
    if let Some(only) = contents.only() {
        paths[only] = "(only)".to_owned();
    }
    let inside =
        if contents.is_folder() { contents.in_folder(OsStr::new("x")) } else { Vec::new() };
    for (folder, (number, path)) in inside
        .into_iter()
        .map(|place| ("x", place))
        .chain(contents.beside().into_iter().map(|place| ("x_labels", place)))
    {
        assert!(path.components().all(|part| matches!(part, Component::Normal(_))), "{path:?}");
        assert!(paths[number].is_empty(), "two places for {number}");
        paths[number] = PathBuf::from(folder).join(path).display().to_string();
    }
    assert!(paths.iter().all(|path| !path.is_empty()), "{paths:?}");
    paths
}

#[test]
fn images_inside_a_store() {
    let path = |image, multiscale, name| {
        let one = InStore { image, multiscale, name, title: None, is_label: false };
        paths(&[self::image("other/one"), one]).remove(1)
    };
    assert_eq!(path("", 0, Some("vol")), "x/x.ims");
    assert_eq!(path("", 1, Some("overview")), "x/x_overview.ims");
    assert_eq!(path("", 2, Some("a/b")), "x/x_a_b.ims");
    assert_eq!(path("", 3, Some("..")), "x/x_3.ims");
    assert_eq!(path("", 4, Some("C:\\x?*")), "x/x_C__x__.ims");
    assert_eq!(path("A/1/0", 0, None), "x/A/1/0.ims");
    assert_eq!(path("tile_1.zarr", 0, None), "x/tile_1.ims");
    assert_eq!(path("con/t:0./Aux", 0, None), "x/con_/t_0_/Aux_.ims");
    let long = "n".repeat(400);
    assert_eq!(path("", 1, Some(&long)), format!("x/x_{}.ims", "n".repeat(120)));
}

#[test]
fn images_of_a_store_never_share_a_path() {
    let same = |multiscale| InStore { multiscale, name: Some("same"), ..image("") };
    let images = [image("a/0"), image("A/0"), image("a:/0"), image("a"), image("a.zarr")];
    let expected = ["x/a~2/0.ims", "x/A/0.ims", "x/a_/0.ims", "x/a~2.ims", "x/a.ims"];
    assert_eq!(paths(&images), expected);
    assert_eq!(paths(&[same(0), same(1), same(2)]), ["x/x.ims", "x/x_same.ims", "x/x_same~2.ims"]);
}

fn field(plate: &str, path: &str, well: &str) -> Title {
    let field = path.rsplit('/').next().unwrap_or_default().to_owned();
    let (plate, path, well) = (plate.to_owned(), path.to_owned(), well.to_owned());
    Title::Field(Field { plate, path, well, field, acquisition: None })
}

fn titled<'a>(path: &'a str, title: &'a Title) -> InStore<'a> {
    InStore { title: Some(title), ..image(path) }
}

#[test]
fn fields_of_a_plate_lie_in_one_folder_by_well() {
    let titles = [("A/1/0", "A01"), ("A/01/0", "A01"), ("B/12/3", "B12"), ("r:0/c/0", "A01")];
    let titles: Vec<(&str, Title)> =
        titles.iter().map(|(path, well)| (*path, field("", path, well))).collect();
    let images: Vec<InStore<'_>> = titles.iter().map(|(path, title)| titled(path, title)).collect();
    // Two wells of one name stay apart, by their paths.
    let expected = ["x/A_1_0.ims", "x/A01_0.ims", "x/B12_3.ims", "x/r_0_c_0.ims"];
    assert_eq!(paths(&images), expected);
    // A plate is a folder with its first field, and an image that is no field does not change its name.
    assert_eq!(paths(&images[..1]), ["x/A01_0.ims"]);
    let further = InStore { multiscale: 1, name: Some("raw"), ..images[0] };
    assert_eq!(
        paths(&[images[0], image("A01_0"), further, label("A/1/0/labels/cells")]),
        ["x/A_1_0.ims", "x/A01_0.ims", "x/A01_0_raw.ims", "x/A_1_0_labels/cells.ims"]
    );
    let nested = field("exp/p1", "A/1/0", "A01");
    assert_eq!(paths(&[titled("exp/p1/A/1/0", &nested)]), ["x/exp/p1/A01_0.ims"]);
}

#[test]
fn series_are_called_by_their_names() {
    let titles = ["macro", "Scene 1/2", "CON", "2"].map(|name| Title::Series(name.to_owned()));
    let numbers = ["0", "1", "b/2", "3"];
    let mut images: Vec<InStore<'_>> =
        numbers.iter().zip(&titles).map(|(path, title)| titled(path, title)).collect();
    let mut expected = vec!["x/macro.ims", "x/Scene 1_2.ims", "x/b/CON_.ims", "x/2.ims"];
    assert_eq!(paths(&images), expected);
    // One called by its path comes first.
    images.push(image("2"));
    expected[3] = "x/3.ims";
    expected.push("x/2.ims");
    assert_eq!(paths(&images), expected);
    // One series is the whole store.
    assert_eq!(paths(&images[..1]), ["(only)"]);
}

#[test]
fn labels_lie_beside_their_image_and_rename_nothing() {
    let one = [image(""), label("labels/nuclei"), label("labels/deep/er")];
    assert_eq!(paths(&one), ["(only)", "x_labels/nuclei.ims", "x_labels/deep/er.ims"]);
    // An image deeper in the store, its own labels, and those of no image.
    let one =
        [image("images/a"), label("images/a/labels/n"), label("labels/m"), label("images/mask")];
    assert_eq!(
        paths(&one),
        ["(only)", "x_labels/n.ims", "x_labels/m.ims", "x_labels/images/mask.ims"]
    );
    let several = [
        image("a"),
        image("b/0"),
        image("a_labels"),
        label("a/labels/n"),
        label("b/0/labels/n"),
        label("labels/loose"),
    ];
    let expected = [
        "x/a.ims",
        "x/b/0.ims",
        "x/a_labels.ims",
        "x/a_labels/n.ims",
        "x/b/0_labels/n.ims",
        "x_labels/loose.ims",
    ];
    assert_eq!(paths(&several), expected);
    assert_eq!(paths(&several[..3]), expected[..3]);
    // A folder that is called so comes first.
    let clash = [image("a"), image("a_labels/0"), label("a/labels/n")];
    assert_eq!(paths(&clash), ["x/a.ims", "x/a_labels/0.ims", "x/a_labels~2/n.ims"]);
    // A store that is nothing but a label image, and one of nothing but labels.
    assert_eq!(paths(&[label("")]), ["(only)"]);
    assert_eq!(paths(&[label("labels/a"), label("b")]), ["x_labels/a.ims", "x_labels/b.ims"]);
}

#[test]
fn names_that_differ_in_the_composition_of_accents_are_one() {
    // As HFS+ writes them, and as all others do.
    let (parts, whole) = ("e\u{301}te\u{301}.zarr", "\u{e9}t\u{e9}.zarr");
    assert_eq!(file(parts), "\u{e9}t\u{e9}.ims");
    let both = names(&[], &[(parts, ".ims"), (whole, ".ims")]);
    assert_eq!(both, ["\u{e9}t\u{e9}.ims", "\u{e9}t\u{e9}.zarr.ims"]);
    assert_eq!(folders(&["e\u{301}", "\u{e9}"]), ["\u{e9}~2", "\u{e9}"]);
    // A stroke makes another character of one that is forbidden.
    assert_eq!(folders(&["<\u{338}", "?\u{338}"]), ["\u{226e}", "_\u{338}"]);
    assert_eq!(names(&[], &[("\u{3c3}", ".ims"), ("\u{3c2}", ".ims")])[0], "\u{3c3}~2.ims");
}

/// Whether Windows takes a name, as it is.
fn is_fit(name: &str) -> bool {
    let base = name.split('.').next().unwrap_or_default().trim_end().to_uppercase();
    let digit = |rest: &str| {
        rest.chars().count() == 1
            && rest.contains(['1', '2', '3', '9', '\u{b9}', '\u{b2}', '\u{b3}'])
    };
    let is_port = ["COM", "LPT"].iter().any(|port| base.strip_prefix(port).is_some_and(digit));
    let is_device = is_port || ["CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"].contains(&&*base);
    let is_forbidden = |c: char| c.is_control() || "<>:\"/\\|?*".contains(c);
    !name.is_empty()
        && name.len() <= 255
        && !is_device
        && !name.contains(is_forbidden)
        && !name.ends_with([' ', '.'])
}

/// A part of a path in a store, or a name from metadata: no slash.
fn odd_part() -> impl Strategy<Value = String> {
    "(CON|com\u{b9}|lpt1|nul|e\u{301}|\u{e9}|\u{c9}|labels|[aAb01:?*<>|\"\\\\\n\u{7f} .~_\u{df}]|x{250}|\\.zarr|_labels){1,4}"
        .prop_filter("no step up or down", |part| part != "." && part != "..")
}

proptest! {
    /// Whatever a store holds and says: every image has a path, no two have one, whatever the case and the
    /// composition of accents, and Windows takes every part of it.
    #[test]
    fn paths_in_a_store_are_apart_and_fit(
        all in proptest::collection::btree_map(
            proptest::collection::vec(odd_part(), 1..4),
            (0_u8..4, proptest::option::of(odd_part()), 0_usize..3, odd_part()),
            1..10,
        ),
    ) {
        let entries: Vec<_> = all
            .into_iter()
            .map(|(parts, (kind, name, multiscale, well))| {
                let path = parts.join("/");
                let title = match kind {
                    0 => Some(field("", &path, &well)),
                    1 => Some(Title::Series(well)),
                    _ => None,
                };
                (path, title, name, multiscale, kind == 2)
            })
            .collect();
        let images: Vec<InStore<'_>> = entries
            .iter()
            .map(|(path, title, name, multiscale, is_label)| InStore {
                image: path,
                multiscale: *multiscale,
                name: name.as_deref(),
                title: title.as_ref(),
                is_label: *is_label,
            })
            .collect();
        let paths = paths(&images);
        let different: BTreeSet<OsString> = paths.iter().map(|path| folded(OsStr::new(path))).collect();
        prop_assert_eq!(different.len(), paths.len(), "{:?}", paths);
        let parts = paths.iter().filter(|path| *path != "(only)").flat_map(|path| path.split('/'));
        for part in parts {
            prop_assert!(is_fit(part), "{:?}", part);
        }
        // Without the labels, all others are called the same.
        let others: Vec<InStore<'_>> =
            images.iter().copied().filter(|image| !image.is_label).collect();
        let without = if others.is_empty() { Vec::new() } else { self::paths(&others) };
        let with = images.iter().zip(&paths).filter(|(image, _)| !image.is_label);
        prop_assert_eq!(with.map(|(_, path)| path.clone()).collect::<Vec<_>>(), without);
    }

    /// A name that is shown is one that is shown as it is.
    #[test]
    fn a_name_that_is_shown_stays_as_it_is(name in "\\PC{0,8}|(CON|aux|com1|\u{e9}|e\u{301}|[ .:/~\u{338}<]|x{200}){1,4}") {
        let once = shown(OsStr::new(&name), "", "");
        prop_assert_eq!(&shown(&once, "", ""), &once);
        prop_assert_eq!(&folded(&folded(&once)), &folded(&once));
        prop_assert!(name.is_empty() || is_fit(once.to_str().expect("UTF-8")), "{:?}", once);
    }
}

proptest! {
    /// Whatever the names and their order: names that Windows takes, and no two alike.
    #[test]
    fn names_are_a_function_of_the_names_beside_them(
        mut sources in proptest::collection::btree_set("[aAbB.:~2 \u{e4}\u{c4}\n]{1,5}(\\.zarr|\\.ZR|)", 1..12)
            .prop_map(|sources| sources.into_iter().collect::<Vec<String>>()).prop_shuffle(),
        split in 0_usize..12,
    ) {
        let all = |sources: &[String]| -> BTreeMap<String, String> {
            let mut taken = Taken::default();
            let is_folder = |source: &&String| (source.len() + split).is_multiple_of(3);
            let plain: Vec<&OsStr> = sources.iter().filter(is_folder).map(OsStr::new).collect();
            let stores: Vec<Candidate> = sources
                .iter()
                .filter(|source| !is_folder(source))
                .map(|source| candidate(source, if source.len().is_multiple_of(2) { ".ims" } else { "" }))
                .collect();
            let mut names = text(assign_folders(&mut taken, &plain));
            names.extend(text(assign(&mut taken, &stores)));
            let keys = plain.iter().map(|name| name.to_string_lossy().into_owned());
            let keys = keys.chain(stores.iter().map(|store| store.source.to_string_lossy().into_owned()));
            keys.zip(names).collect()
        };
        let names = all(&sources);
        let different: BTreeSet<String> = names.values().map(|name| name.to_lowercase()).collect();
        prop_assert_eq!(different.len(), sources.len());
        for name in names.values() {
            prop_assert!(!name.contains([':', '\n']) && !name.ends_with([' ', '.']), "{}", name);
        }
        sources.reverse();
        prop_assert_eq!(all(&sources), names);
    }
}

#[test]
fn what_a_folder_may_be_called_is_told_by_its_name_alone() {
    let may = |source: &str, name: &str| may_be_called(OsStr::new(source), OsStr::new(name));
    for source in ["x.zarr", "X.ome.zarr", "x", "x.ims", "x.zr"] {
        for name in ["x.ims", "x", "x.zarr.ims", "x~2.ims", "X.IMS"] {
            assert!(may(source, name), "{source} {name}");
        }
        assert!(!may(source, "y.ims") && !may(source, "desktop.ini"), "{source}");
    }
    assert!(may("a:b.zarr", "a_b.ims") && may("con.zarr", "con_.ims"));
    let long = "l".repeat(300);
    assert!(may(&long, &format!("{}.ims", "l".repeat(250))));
    // As names are given.
    for source in ["x.zarr", "a?.zarr", "COM1.zr", "dots..zarr", "i"] {
        let candidate = candidate(source, ".ims");
        let names = assign(&mut Taken::default(), &[candidate.clone(), candidate]);
        assert!(names.iter().all(|name| may(source, name.to_str().expect("UTF-8"))), "{source}");
    }
}
