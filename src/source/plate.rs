//! Plates: which images are fields of which well, and what wells are called.
//!
//! Sources: OME-NGFF 0.1 to 0.5, "plate" and "well". Wells that a plate does not list do not exist, nor do
//! fields that a well does not list. A list without usable entries says nothing.
//!
//! A well is called by its row and column, the column with two digits at least, so that names sort: `A01`.
//! The names are those of its path if the plate lists them, else those of its indices, else the parts of its
//! path. Where row and column would run together, as two numbers do, a dash parts them: `0-01`.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map, Value};

use super::fingerprint::Fingerprint;
use super::json::text;
use super::metadata::{ZarrNode, read_node};
use super::place::join;
use super::root::SourceRoot;
use super::title::Field;

/// What the plate above an image says of it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Membership {
    /// There is no plate.
    NoPlate,
    /// It is one of the fields that the plate lists.
    Listed(Field),
    /// The plate does not list it.
    NotListed,
}

/// The plates and wells of a store, each read once for all images below it.
#[derive(Debug, Default)]
pub(crate) struct Plates {
    /// Groups above the last image, by their paths within the store.
    known: HashMap<PathBuf, Arc<Group>>,
}

/// What a group says of plates.
#[derive(Debug, Default)]
struct Group {
    plate: Option<Plate>,
    well: Option<Well>,
}

#[derive(Debug, Default)]
struct Plate {
    rows: Vec<String>,
    columns: Vec<String>,
    /// By path. Empty: the plate lists none.
    wells: HashMap<String, Indices>,
    /// The first acquisition, where there are several.
    first_acquisition: Option<u64>,
}

/// Where a well is in the lists of rows and columns.
#[derive(Debug, Default)]
struct Indices {
    row: Option<usize>,
    column: Option<usize>,
}

/// The acquisitions of the fields of a well, by path.
#[derive(Debug, Default)]
struct Well(HashMap<String, Option<u64>>);

impl Plates {
    /// Notes a group of the store that was read already.
    pub(crate) fn learn(&mut self, inside: &Path, attributes: &Map<String, Value>) {
        // A walk needs those above it only.
        self.known.retain(|known, _| inside.starts_with(known));
        self.known.insert(inside.to_path_buf(), Arc::new(Group::parse(attributes)));
    }

    /// What the plate above an image says of it. Groups that are not known are read. Their files are not
    /// part of the state of the image: a plate that grows must not change its other images.
    pub(crate) fn membership(
        &mut self,
        root: &SourceRoot,
        store: &Path,
        image: &str,
    ) -> Membership {
        let inside = Path::new(image);
        // A field lies in a well, and a well in a plate.
        for above in inside.ancestors().skip(2) {
            let group = self.group(root, store, above);
            let Some(plate) = &group.plate else { continue };
            let Some(path) = inside.strip_prefix(above).ok().and_then(Path::to_str) else { break };
            let mut splits = path.rmatch_indices('/').map(|(at, _)| (&path[..at], &path[at + 1..]));
            let found = splits.find(|(well, _)| plate.has(well));
            let Some((well_path, field)) = found else {
                let lists_none = plate.wells.is_empty();
                return if lists_none { Membership::NoPlate } else { Membership::NotListed };
            };
            let group = self.group(root, store, &above.join(well_path));
            let acquisition = match &group.well {
                Some(well) => match well.0.get(field) {
                    Some(acquisition) => *acquisition,
                    None => return Membership::NotListed,
                },
                None => None,
            };
            let is_first = plate.first_acquisition.is_none_or(|first| acquisition == Some(first));
            return Membership::Listed(Field {
                plate: above.to_string_lossy().into_owned(),
                path: path.to_owned(),
                well: plate.name(well_path),
                field: field.to_owned(),
                acquisition: acquisition.filter(|_| !is_first),
            });
        }
        Membership::NoPlate
    }

    fn group(&mut self, root: &SourceRoot, store: &Path, inside: &Path) -> Arc<Group> {
        if let Some(known) = self.known.get(inside) {
            return known.clone();
        }
        let node = read_node(root, &join(store, inside), &mut Fingerprint::default());
        let group = match node {
            Ok(Some(ZarrNode::Group(attributes))) => Group::parse(&attributes),
            _ => Group::default(),
        };
        let group = Arc::new(group);
        self.known.insert(inside.to_path_buf(), group.clone());
        group
    }
}

impl Group {
    fn parse(attributes: &Map<String, Value>) -> Self {
        let ome = attributes.get("ome").and_then(Value::as_object);
        let member = |name: &str| {
            let below = ome.and_then(|ome| ome.get(name));
            below.or_else(|| attributes.get(name)).and_then(Value::as_object)
        };
        Self {
            plate: member("plate").map(Plate::parse),
            well: member("well").and_then(Well::parse),
        }
    }
}

impl Plate {
    fn parse(plate: &Map<String, Value>) -> Self {
        let names = |member: &str| {
            entries(plate, member)
                .map(|entry| entry.get("name").and_then(text).unwrap_or_default())
                .collect()
        };
        let wells = entries(plate, "wells").filter_map(|well| {
            let index = |names: [&str; 2]| {
                let value = names.iter().find_map(|name| well.get(*name))?;
                usize::try_from(value.as_u64()?).ok()
            };
            let path = path_of(well)?;
            let row = index(["rowIndex", "row_index"]);
            Some((path, Indices { row, column: index(["columnIndex", "column_index"]) }))
        });
        let acquisitions: Vec<u64> =
            entries(plate, "acquisitions").filter_map(|entry| whole(entry.get("id")?)).collect();
        let first_acquisition = match acquisitions.as_slice() {
            [first, rest @ ..] if rest.iter().any(|other| other != first) => Some(*first),
            _ => None,
        };
        Self {
            rows: names("rows"),
            columns: names("columns"),
            wells: wells.collect(),
            first_acquisition,
        }
    }

    /// Whether a path is that of a well.
    fn has(&self, path: &str) -> bool {
        if self.wells.is_empty() {
            path.split('/').count() == 2
        } else {
            self.wells.contains_key(path)
        }
    }

    /// What a well is called.
    fn name(&self, path: &str) -> String {
        let parts = path.split_once('/').filter(|(_, column)| !column.contains('/'));
        let is_stated = |(row, column): &(&str, &str)| {
            self.rows.iter().any(|name| name == row)
                && self.columns.iter().any(|name| name == column)
        };
        let by_index = || {
            let Indices { row, column } = self.wells.get(path)?;
            let row = self.rows.get((*row)?).filter(|name| !name.is_empty())?;
            let column = self.columns.get((*column)?).filter(|name| !name.is_empty())?;
            Some((row.as_str(), column.as_str()))
        };
        let (row, column) =
            parts.filter(is_stated).or_else(by_index).or(parts).unwrap_or(("", path));
        let is_number = !column.is_empty() && column.bytes().all(|byte| byte.is_ascii_digit());
        let column = if is_number { format!("{column:0>2}") } else { column.replace('/', "-") };
        let runs_together = !is_number || row.ends_with(|c: char| c.is_ascii_digit());
        let between = if runs_together && !row.is_empty() { "-" } else { "" };
        format!("{row}{between}{column}")
    }
}

impl Well {
    fn parse(well: &Map<String, Value>) -> Option<Self> {
        let acquisition = |image: &Map<String, Value>| whole(image.get("acquisition")?);
        let images = entries(well, "images");
        let images: HashMap<_, _> =
            images.filter_map(|image| Some((path_of(image)?, acquisition(image)))).collect();
        (!images.is_empty()).then_some(Self(images))
    }
}

/// The objects of a list.
fn entries<'a>(
    object: &'a Map<String, Value>,
    member: &str,
) -> impl Iterator<Item = &'a Map<String, Value>> {
    let list = object.get(member).and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Value::as_object)
}

fn path_of(entry: &Map<String, Value>) -> Option<String> {
    let path = entry.get("path").and_then(text)?;
    let parts: Vec<&str> =
        path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    (!parts.is_empty()).then(|| parts.join("/"))
}

/// A whole number, also as a text.
fn whole(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| text(value)?.parse().ok())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::source::storage::Memory;

    /// What a plate with these attributes says of an image `p/PATH`, and the well with its own.
    fn field(plate: &Value, wells: &[(&str, Value)], path: &str) -> Membership {
        let memory = Memory::default();
        let put = |path: &str, attributes: &Value| {
            let group = json!({"zarr_format": 3, "node_type": "group", "attributes": attributes});
            memory.put(format!("a.zarr/{path}/zarr.json"), group.to_string().as_bytes());
        };
        put("p", plate);
        for (path, attributes) in wells {
            put(&format!("p/{path}"), attributes);
        }
        let root = SourceRoot::in_memory(memory);
        Plates::default().membership(&root, Path::new("a.zarr"), &format!("p/{path}"))
    }

    fn name(plate: &Value, path: &str) -> String {
        let Membership::Listed(field) = field(plate, &[], path) else { return "none".to_owned() };
        crate::source::title::Title::Field(field).text("_")
    }

    fn plate(rows: &[&str], columns: &[&str], wells: &Value) -> Value {
        let names = |names: &[&str]| names.iter().map(|n| json!({"name": n})).collect::<Vec<_>>();
        json!({"plate": {"rows": names(rows), "columns": names(columns), "wells": wells}})
    }

    #[test]
    fn wells_are_called_by_row_and_column() {
        let rows = ["A", "B", "AF", "1"];
        let columns = ["1", "02", "24", "x"];
        let wells = ["A/1", "AF/24", "B/02", "1/1", "A/x", "A/1/deep"];
        let listed: Vec<Value> = wells.iter().map(|path| json!({"path": path})).collect();
        let plate = plate(&rows, &columns, &json!(listed));
        for (path, expected) in [
            ("A/1/0", "A01_0"),
            ("AF/24/Pos001", "AF24_Pos001"),
            ("B/02/3", "B02_3"),
            ("1/1/0", "1-01_0"),
            ("A/x/0", "A-x_0"),
            ("A/1/deep/0", "A-1-deep_0"),
            ("B/1/0", "none"),
        ] {
            assert_eq!(name(&plate, path), expected, "{path}");
        }
    }

    #[test]
    fn indices_name_wells_whose_path_does_not() {
        let wells = json!([{"path": "r0/c1", "rowIndex": 0, "columnIndex": 1},
            {"path": "r0/c2", "row_index": 0, "column_index": 9}, {"path": "A/2", "rowIndex": 1, "columnIndex": 0}]);
        let plate = plate(&["A", "B"], &["1", "2"], &wells);
        assert_eq!(name(&plate, "r0/c1/0"), "A02_0");
        assert_eq!(name(&plate, "r0/c2/0"), "r0-c2_0");
        // The path of the data counts more than what the plate states.
        assert_eq!(name(&plate, "A/2/0"), "A02_0");
    }

    #[test]
    fn what_is_not_listed_is_no_field() {
        let listed = plate(&["A"], &["1"], &json!([{"path": "/A/1/"}]));
        let well = json!({"well": {"images": [{"path": "0", "acquisition": 1}, {"path": 1}]}});
        let of = |path: &str| field(&listed, &[("A/1", well.clone())], path);
        assert!(matches!(of("A/1/0"), Membership::Listed(_)));
        assert!(matches!(of("A/1/1"), Membership::Listed(_)));
        assert_eq!(
            [of("A/1/2"), of("A/2/0"), of("extra")].map(|it| it == Membership::NotListed),
            [true, true, false]
        );
        // Without a usable list, all wells and fields that are there count.
        let none = json!({"well": {"images": [3]}});
        assert!(matches!(field(&listed, &[("A/1", none)], "A/1/7"), Membership::Listed(_)));
        let empty = plate(&[], &[], &json!([]));
        let names = ["C/3/0", "C/3/0/1", "C/3"].map(|path| name(&empty, path));
        assert_eq!(names, ["C03_0", "C03_0/1", "none"]);
    }

    #[test]
    fn acquisitions_after_the_first_are_named() {
        let mut plate = plate(&["A"], &["1"], &json!([{"path": "A/1"}]));
        let images = json!([{"path": "0", "acquisition": 5}, {"path": "1", "acquisition": "7"}, {"path": "2"}]);
        let well = [("A/1", json!({"well": {"images": images}}))];
        let acquisition = |plate: &Value, path: &str| match field(plate, &well, path) {
            Membership::Listed(field) => field.acquisition,
            other => panic!("{other:?}"),
        };
        assert_eq!(acquisition(&plate, "A/1/1"), None);
        plate["plate"]["acquisitions"] = json!([{"id": 5}, {"id": 7}]);
        let found = ["A/1/0", "A/1/1", "A/1/2"].map(|path| acquisition(&plate, path));
        assert_eq!(found, [None, Some(7), None]);
    }
}
