use super::beside::parse;
use super::document::Document;
use super::store::Place;
use super::*;

pub(super) fn configured(text: &str) -> Result<Tables, Mistake> {
    let document = Document::new("/f", text);
    Tables::parse_all(&document, document.parse()?.get_ref(), Place::Configuration)
}

#[test]
fn a_table_becomes_numbers_in_one_unit() {
    let text = "[[store]]\npath = \"**/e*.zarr\"\nvoxel_size = { x = 100, y = 1_00.0, z = 0.5e3 }\n\
        origin = { z = -20 }\nunit = \"nm\"\ntime_step = 1.5\ntime_unit = \"min\"\naxes = \"CZYX\"\n\
        name = \"embryo\"\nlevels = [0, 2]\npyramid = \"source\"\nint16 = \"keep\"\n\
        uint32 = \"keep\"\nchunk = \"8,64,64\"\nhidden = false\nimage = \"\"\n\
        channels = [\"DAPI\", {}, { name = \"GFP\", color = \"#0f0\", range = [0, 2.5] }]\n";
    let tables = configured(text).expect("valid");
    let [table] = &tables.stores[..] else { panic!("one table: {tables:?}") };
    assert_eq!(table.hidden.as_ref().map(|said| said.value), Some(false));
    let said = &table.correction;
    let near = |found: Option<f64>, um: f64| {
        assert!(found.is_some_and(|found| (found - um).abs() < 1e-9), "{found:?} {um}");
    };
    near(said.voxel_um[0], 0.1);
    near(said.voxel_um[1], 0.1);
    near(said.voxel_um[2], 0.5);
    near(said.origin_um[2], -0.02);
    assert_eq!(said.origin_um[..2], [None, None]);
    near(said.time_step_s, 90.0);
    assert_eq!(said.axes.as_ref().map(|said| said.value.as_str()), Some("czyx"));
    assert_eq!(said.chunk, Some(crate::image::ChunkShape::Given([8, 64, 64])));
    let channels = said.channels.as_ref().expect("channels");
    assert_eq!(channels.origin.to_string(), "/f:17");
    assert_eq!(channels.value[0].name.as_deref(), Some("DAPI"));
    assert_eq!(channels.value[1], correction::ChannelCorrection::default());
    assert_eq!(channels.value[2].color, Some([0, 255, 0]));
    assert_eq!(channels.value[2].window, Some((0.0, 2.5)));
}

#[test]
fn later_tables_count_more_key_by_key() {
    let text = "[[store]]\npath = \"*\"\nvoxel_size = { x = 1, y = 2 }\nname = \"a\"\n\
        [[store]]\npath = \"*\"\nvoxel_size = { y = 3, z = 4 }\n";
    let tables = configured(text).expect("valid");
    let mut all = correction::Correction::default();
    tables.stores.iter().for_each(|table| all.overlay(&table.correction));
    assert_eq!(all.voxel_um, [Some(1.0), Some(3.0), Some(4.0)]);
    assert_eq!(all.name.as_deref(), Some("a"));
}

const STORE: &str = "[[store]]\npath = \"*\"\n";
const VIEW: &str = "[[view]]\nname = \"v\"\nof = \"a.zarr\"\n";

/// Mistakes: what a table begins with, how it goes on, and the line that says what is wrong.
const MISTAKES: &[(&str, &str, &str)] = &[
    (
        "",
        "[[store]]\n",
        "/f:1: [[store]]: path is missing: which stores this is about, such as \"**/embryo*.zarr\"",
    ),
    ("", "store = 1\n", "/f:1: store: write [[store]], with two brackets"),
    ("", "[store]\npath = \"*\"\n", "/f:1: store: write [[store]], with two brackets"),
    ("", "[[stores]]\n", "/f:1: stores: no such table; similar: [[store]]"),
    ("", "x = = 1\n", "/f:1: "),
    ("", "\"a\\nb\" = 1\n", "/f:1: a?b: no such table; keys stand in [[store]] or [[view]]"),
    (STORE, "voxel_sise = 1\n", "/f:3: voxel_sise: no such key in [[store]]; similar: voxel_size"),
    (STORE, "voxel_size = [1, 2, 3]\n", "/f:3: voxel_size: write { x = 0.1, y = 0.1, z = 0.5 }"),
    (
        STORE,
        "chunk = \"64,64\"\n",
        "/f:3: chunk = \"64,64\": is neither auto nor three lengths Z,Y,X from 1 on, such as 16,256,256",
    ),
    (STORE, "voxel_size = {}\n", "/f:3: voxel_size: write { x = 0.1, y = 0.1, z = 0.5 }"),
    (STORE, "voxel_size = { x = 0 }\n", "/f:3: voxel_size = 0: is not a number above 0"),
    (STORE, "voxel_size = { x = \"1\" }\n", "/f:3: voxel_size = \"1\": is not a number above 0"),
    (
        STORE,
        "voxel_size = { c = 1 }\n",
        "/f:3: voxel_size: c is none of x, y, z; write { x = 0.1, y = 0.1, z = 0.5 }",
    ),
    (STORE, "voxel_size = { x = nan }\n", "/f:3: voxel_size = nan: is not a number above 0"),
    (
        STORE,
        "unit = \"m\"\nvoxel_size = { x = 1e9 }\n",
        "/f:4: voxel_size: is no size between a picometre and a kilometre; is the unit right?",
    ),
    (STORE, "unit = \"s\"\n", "/f:3: unit = \"s\": is not a unit such as um, mm or nanometer"),
    (STORE, "time_unit = \"s\"\n", "/f:3: time_unit: has no effect without time_step"),
    (STORE, "time_step = -1\n", "/f:3: time_step = -1: is not a number above 0"),
    (STORE, "axes = \"tczyy\"\n", "/f:3: axes = \"tczyy\": has a letter twice"),
    (STORE, "axes = \"tcz\"\n", "/f:3: axes = \"tcz\": has no y or no x"),
    (
        STORE,
        "levels = [1]\n",
        "/f:3: levels: is not a list of levels such as [0, 2]: the finest is 0, and is the first",
    ),
    (STORE, "channels = []\n", "/f:3: channels: is empty, or longer than any image has channels"),
    (STORE, "channels = [1]\n", "/f:3: an entry of channels: is no table of keys"),
    (
        STORE,
        "channels = [\n{ colour = \"red\" }]\n",
        "/f:4: colour: no such key in an entry of channels; similar: color",
    ),
    (
        STORE,
        "channels = [{ color = \"reddish\" }]\n",
        "/f:3: color = \"reddish\": is not a colour such as \"#00FF00\" or \"lime\"",
    ),
    (
        STORE,
        "channels = [{ range = [2, 1] }]\n",
        "/f:3: range: is not a range of values such as [100, 4000], the lower one first",
    ),
    (STORE, "hidden = \"yes\"\n", "/f:3: hidden = \"yes\": is neither true nor false"),
    (
        STORE,
        "pyramid = \"sorce\"\n",
        "/f:3: pyramid = \"sorce\": is none of auto, source, imaris; similar: source",
    ),
    (
        "",
        "[[store]]\npath = \"../x\"\n",
        "/f:2: path = \"../x\": leads out of the folder with \"..\"",
    ),
    (
        "",
        "[[store]]\npath = \"/x\"\n",
        "/f:2: path = \"/x\": begins with /; write the path below SOURCE",
    ),
    (
        "",
        "[[view]]\nof = \"a\"\n",
        "/f:1: [[view]]: name is missing: the name of the file in the mount",
    ),
    ("", "[[view]]\nname = \"v\"\n", "/f:1: of is missing: which stores it is made of"),
    (
        "",
        "[[view]]\nname = \"../v\"\nof = \"a\"\n",
        "/f:2: name = \"../v\": leads out of the folder with \"..\"",
    ),
    (
        "",
        "[[view]]\nname = \".ims\"\nof = \"a\"\n",
        "/f:2: name = \".ims\": is not the name of a file",
    ),
    (
        "",
        "[[view]]\nname = \"v\"\nof = [\"a\", \"b\"]\n",
        "/f:1: as is missing: what several images become: \"channels\", \"time points\", \"mosaic\"",
    ),
    (
        "",
        "[[view]]\nname = \"v\"\nof = \"t*.zarr\"\n",
        "/f:1: as is missing: what several images become: \"channels\", \"time points\", \"mosaic\"",
    ),
    (
        "",
        "[[view]]\nname = \"v\"\nof = [1]\n",
        "/f:3: of = 1: is not a path in quotes, or a list of them",
    ),
    (
        "",
        "[[view]]\nname = \"v\"\nof = [\n\"a\",\n\"/b\"]\n",
        "/f:5: of = \"/b\": begins with /; write the path below SOURCE",
    ),
    (
        VIEW,
        "x = [0, 512, 2]\n",
        "/f:4: x: is not a range such as [0, 512]: the first, and the one behind the last",
    ),
    (VIEW, "x = [5, 5]\n", "/f:4: x: is empty: 5 to 5, where the last number is not included"),
    (VIEW, "x = [-1, 5]\n", "/f:4: x = -1: is not a whole number from 0 on"),
    (VIEW, "channel = [0]\n", "/f:4: channel: no such key in [[view]]; similar: channels"),
    (
        VIEW,
        "t = [0, 2]\ntime_points = [0]\n",
        "/f:5: time_points: t is given as well; give one of them",
    ),
    (
        VIEW,
        "as = \"channel\"\n",
        "/f:4: as = \"channel\": is none of channels, time points, mosaic; similar: channels",
    ),
    (
        VIEW,
        "channels = [{ name = \"a\" }]\n",
        "/f:4: channels: channel is missing: the number or the label of one",
    ),
];

#[test]
fn mistakes_name_their_line_their_key_and_what_is_expected() {
    for (head, rest, line) in MISTAKES {
        let text = format!("{head}{rest}");
        let mistake = configured(&text).expect_err(&text).to_string();
        assert!(
            if line.ends_with(": ") { mistake.starts_with(*line) } else { mistake == *line },
            "{text}{mistake}"
        );
    }
}

#[test]
fn a_file_beside_a_store_is_about_that_store() {
    let tables = parse("x", "[[store]]\nname = \"n\"\n[[view]]\nname = \"v.IMS\"\nx = [0, 5]\n");
    let tables = tables.expect("valid");
    assert_eq!(tables.stores[0].path, None);
    assert_eq!(tables.views[0].name, std::path::Path::new("v"));
    for (text, line) in [
        ("[[store]]\npath = \"*\"\n", "x:2: path: no such key in [[store]]"),
        ("[[view]]\nname = \"a/v\"\n", "x:2: name = \"a/v\": has a slash"),
        (&"[[store]]\n".repeat(101), "x:1: has more than 100 tables of a kind"),
    ] {
        let mistake = parse("x", text).expect_err(text).to_string();
        assert!(mistake.starts_with(line), "{mistake}");
    }
}

#[test]
fn views_lie_within_views_to_some_depth() {
    let nested = |depth: usize| {
        let open = "{ of = [".repeat(depth);
        let close = "] }".repeat(depth);
        parse("x", &format!("[[view]]\nname = \"v\"\nof = [{open}\"a.zarr\"{close}]\n"))
    };
    assert!(nested(4).is_ok());
    assert!(nested(5).is_err());
    assert!(nested(1000).is_err());
}

/// Each of these would need a stack of its own depth.
#[test]
fn deep_documents_are_refused() {
    let deep = |part: &str| part.repeat(20_000);
    for text in [
        format!("{}a = 1", deep("a.")),
        format!("[{}a]", deep("a.")),
        format!("[[{}a]]", deep("a.")),
        format!("a = {}", deep("[")),
        format!("a = {}", deep("{a=")),
        format!("[[view]]\nname = \"v\"\nof = {}", deep("[{of=")),
    ] {
        assert!(parse("x", &text).is_err(), "{}", &text[..40]);
    }
}
