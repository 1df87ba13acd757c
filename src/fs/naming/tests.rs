use proptest::prelude::*;

use super::*;

fn text(names: Vec<OsString>) -> Vec<String> {
    names.into_iter().map(|name| name.into_string().expect("UTF-8")).collect()
}

/// Names of stores beside plain folders.
fn names(folders: &[&str], sources: &[(&str, &'static str)]) -> Vec<String> {
    let mut taken = Taken::default();
    let folders: Vec<&OsStr> = folders.iter().map(OsStr::new).collect();
    let _ = assign_folders(&mut taken, &folders);
    let candidates: Vec<Candidate> = sources
        .iter()
        .map(|(source, ending)| Candidate { source: source.into(), ending })
        .collect();
    text(assign(&mut taken, &candidates))
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
        sources.into_iter().map(|source| Candidate { source, ending: ".ims" }).collect();
    let names = assign(&mut Taken::default(), &candidates);
    let different: HashSet<OsString> = names.iter().map(|name| folded(name)).collect();
    assert_eq!(different.len(), names.len());
}

#[test]
fn images_inside_a_store() {
    let path = |image, multiscale, name| {
        let images = [InStore { image, multiscale, name }];
        paths_in_store(OsStr::new("x"), &images).remove(0).display().to_string()
    };
    assert_eq!(path("", 0, Some("vol")), "x.ims");
    assert_eq!(path("", 1, Some("overview")), "x_overview.ims");
    assert_eq!(path("", 2, Some("a/b")), "x_a_b.ims");
    assert_eq!(path("", 3, Some("..")), "x_3.ims");
    assert_eq!(path("", 4, Some("C:\\x?*")), "x_C__x__.ims");
    assert_eq!(path("A/1/0", 0, None), "A/1/0.ims");
    assert_eq!(path("tile_1.zarr", 0, None), "tile_1.ims");
    assert_eq!(path("con/t:0./Aux", 0, None), "con_/t_0_/Aux_.ims");
}

#[test]
fn images_of_a_store_never_share_a_path() {
    let image = |image| InStore { image, multiscale: 0, name: None };
    let same = |multiscale| InStore { image: "", multiscale, name: Some("same") };
    let images = [image("a/0"), image("A/0"), image("a:/0"), image("a"), image("a.zarr")];
    let paths = paths_in_store(OsStr::new("x"), &images);
    let expected = ["a~2/0.ims", "A/0.ims", "a_/0.ims", "a~2.ims", "a.ims"];
    assert_eq!(paths, expected.map(PathBuf::from));
    let paths = paths_in_store(OsStr::new("x"), &[same(0), same(1), same(2)]);
    assert_eq!(paths, ["x.ims", "x_same.ims", "x_same~2.ims"].map(PathBuf::from));
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
                .map(|source| Candidate { source: source.into(), ending: if source.len().is_multiple_of(2) { ".ims" } else { "" } })
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
        let candidate = Candidate { source: source.into(), ending: ".ims" };
        let names = assign(&mut Taken::default(), &[candidate.clone(), candidate]);
        assert!(names.iter().all(|name| may(source, name.to_str().expect("UTF-8"))), "{source}");
    }
}
