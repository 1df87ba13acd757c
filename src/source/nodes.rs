//! Nodes of OME-NGFF RFC-8 ("Collections and Extensibility", version 1 of August 2026, and the drafts before
//! it): images, their levels and collections of images, as they stand in the member `ome`.
//!
//! A node of type `multiscale` is rewritten as an entry of `multiscales`, so that one reader serves both. A
//! node that has a `path` instead of `nodes` stands for the node in that group; what the collection says of
//! it comes before what it says itself ("complements or overrides").

use serde_json::{Map, Value, json};

use super::json::text;
use super::systems::name_of;

/// Collections in collections that are entered.
const DEPTH_LIMIT: usize = 16;

/// Nodes of one document that are looked at.
const NODES_LIMIT: usize = 100_000;

/// A node of a collection that stands for another group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) name: String,
    /// Relative to the group of the collection, without `.`; `None` where it leads out of it.
    pub(crate) path: Option<String>,
    pub(crate) is_label: bool,
    pub(crate) is_image: bool,
}

/// What an `ome` object holds by RFC-8.
#[derive(Debug, Default)]
pub(crate) struct Nodes {
    /// Images whose levels the document lists, as entries of `multiscales`.
    pub(crate) images: Vec<Map<String, Value>>,
    pub(crate) links: Vec<Link>,
    /// Types of nodes that are none of RFC-8.
    pub(crate) unknown: Vec<String>,
    /// The document is a collection.
    pub(crate) is_collection: bool,
    left: usize,
}

impl Nodes {
    /// Reads the node at the root of a document; nothing where it is none.
    pub(crate) fn of(ome: &Map<String, Value>) -> Self {
        let mut found = Self { left: NODES_LIMIT, ..Self::default() };
        if ome.contains_key("multiscales") {
            return found;
        }
        match kind(ome) {
            "collection" => {
                found.is_collection = true;
                found.add_members(ome, DEPTH_LIMIT);
            }
            "multiscale" => found.images.extend(image(ome)),
            "singlescale" => found.images.push(level_alone(ome)),
            _ => {}
        }
        found
    }

    fn add_members(&mut self, collection: &Map<String, Value>, depth: usize) {
        for node in members(collection) {
            if self.left == 0 || depth == 0 {
                return;
            }
            self.left -= 1;
            match (kind(node), node.get("path")) {
                ("collection" | "multiscale", Some(path)) => self.links.push(Link {
                    name: node.get("name").and_then(text).unwrap_or_default(),
                    path: inside(path),
                    is_label: is_label(node),
                    is_image: kind(node) == "multiscale",
                }),
                ("collection", None) => self.add_members(node, depth - 1),
                ("multiscale", None) => match image(node) {
                    Some(image) => self.images.push(image),
                    None => self.unknown.push("multiscale, without nodes or path".to_owned()),
                },
                // Nodes of extensions have a prefix, and may be passed over.
                (other, _) if other.contains(':') => {}
                (other, _) => self.unknown.push(other.chars().take(64).collect()),
            }
        }
    }
}

fn kind(node: &Map<String, Value>) -> &str {
    node.get("type").and_then(Value::as_str).unwrap_or_default()
}

fn members(node: &Map<String, Value>) -> impl Iterator<Item = &Map<String, Value>> {
    node.get("nodes").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_object)
}

fn attributes(node: &Map<String, Value>) -> Option<&Map<String, Value>> {
    node.get("attributes")?.as_object()
}

fn attribute<'a>(node: &'a Map<String, Value>, names: [&str; 2]) -> Option<&'a Value> {
    let attributes = attributes(node)?;
    names.iter().find_map(|name| attributes.get(*name))
}

fn systems(node: &Map<String, Value>) -> Option<&Value> {
    attribute(node, ["coordinateSystems", "coordinate_systems"])
}

fn transforms(node: &Map<String, Value>) -> Option<&Value> {
    attribute(node, ["coordinateTransformations", "coordinate_transformations"])
}

/// Whether a node says that it is a label image.
pub(crate) fn is_label(node: &Map<String, Value>) -> bool {
    attributes(node).is_some_and(|attributes| attributes.contains_key("labels"))
}

/// A path within the hierarchy, relative to the document and without `.`; `None` for any other.
pub(crate) fn inside(path: &Value) -> Option<String> {
    let is_zarr = path.get("type").and_then(Value::as_str).is_none_or(|kind| kind == "zarr");
    let path = text(path).or_else(|| path.get("path").and_then(text)).filter(|_| is_zarr)?;
    let parts: Vec<&str> = path.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    let leads_out = path.starts_with('/') || path.contains("://") || parts.contains(&"..");
    (!leads_out).then(|| parts.join("/"))
}

/// The entry of `multiscales` for a node with levels; `None` where it lists none.
fn image(node: &Map<String, Value>) -> Option<Map<String, Value>> {
    node.get("nodes")?.as_array()?;
    let shared = transforms(node).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let is_of = |transform: &Value, level: &Map<String, Value>| {
        let input = transform.get("input").and_then(name_of);
        input.is_some() && ["id", "name"].iter().any(|it| level.get(*it).and_then(text) == input)
    };
    let datasets: Vec<Value> = members(node)
        .map(|level| {
            // Those of all levels may stand together in the node of the image.
            let own = shared.iter().filter(|transform| is_of(transform, level));
            let own = transforms(level).cloned().unwrap_or_else(|| own.cloned().collect());
            // A path that leads out is refused with the others, later.
            let path = level.get("path");
            let path = path.and_then(|path| text(path).or_else(|| path.get("path").and_then(text)));
            json!({"path": path, "coordinateTransformations": own})
        })
        .collect();
    let is_of_image = |transform: &&Value| !members(node).any(|level| is_of(transform, level));
    let of_image: Vec<&Value> = shared.iter().filter(is_of_image).collect();
    Some(entry(node, &json!(datasets), &json!(of_image)))
}

/// The same for the node of one level, which stands in the attributes of its array.
fn level_alone(node: &Map<String, Value>) -> Map<String, Value> {
    let dataset = json!({"path": ".", "coordinateTransformations": transforms(node)});
    entry(node, &json!([dataset]), &Value::Null)
}

fn entry(node: &Map<String, Value>, datasets: &Value, transforms: &Value) -> Map<String, Value> {
    let entry = json!({
        "name": node.get("name"),
        "datasets": datasets,
        "coordinateSystems": systems(node),
        "coordinateTransformations": transforms,
        "omero": attribute(node, ["omero", "omero"]),
    });
    let mut entry = entry.as_object().cloned().unwrap_or_default();
    if is_label(node) {
        entry.insert("image-label".to_owned(), json!({}));
    }
    entry
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(value: &Value) -> Nodes {
        Nodes::of(value.as_object().expect("an object"))
    }

    #[test]
    fn images_become_entries_of_multiscales() {
        let scale = json!([{"type": "scale", "scale": [3, 2, 1]}]);
        let image = json!({"type": "multiscale", "name": "raw", "attributes": {"coordinateSystems": [1]},
            "nodes": [{"type": "singlescale", "path": {"type": "zarr", "path": "./s0"},
                "attributes": {"coordinateTransformations": scale}}]});
        let found = nodes(&image);
        assert_eq!(found.images.len(), 1);
        let entry = Value::Object(found.images[0].clone());
        assert_eq!(entry["name"], "raw");
        assert_eq!(entry["coordinateSystems"], json!([1]));
        let dataset = json!({"path": "./s0", "coordinateTransformations": scale});
        assert_eq!(entry["datasets"], json!([dataset]));
        let collection = json!({"type": "collection", "nodes": [
            {"type": "collection", "nodes": [image]},
            {"type": "webknossos:mesh", "path": "m"},
            {"type": "table"},
            {"type": "multiscale", "name": "b", "path": {"type": "zarr", "path": "./b/"},
                "attributes": {"labels": {}}},
            {"type": "collection", "name": "c", "path": {"type": "json", "path": "c.json"}}]});
        let found = nodes(&collection);
        assert!(found.is_collection);
        assert_eq!((found.images.len(), found.unknown), (1, vec!["table".to_owned()]));
        let link = |name: &str, path: Option<&str>, is_image: bool| Link {
            name: name.to_owned(),
            path: path.map(str::to_owned),
            is_label: is_image,
            is_image,
        };
        assert_eq!(found.links, [link("b", Some("b"), true), link("c", None, false)]);
    }

    #[test]
    fn rubbish_holds_nothing() {
        let mut deep = json!({"type": "collection", "nodes": []});
        for _ in 0..100 {
            deep = json!({"type": "collection", "nodes": [deep]});
        }
        for rubbish in [
            deep,
            json!({}),
            json!({"type": "multiscale"}),
            json!({"type": "multiscale", "nodes": "x"}),
            json!({"type": 3, "nodes": [{"type": "multiscale", "nodes": []}]}),
            json!({"type": "collection", "nodes": {"type": "multiscale"}}),
        ] {
            assert!(nodes(&rubbish).images.is_empty(), "{rubbish}");
        }
    }

    #[test]
    fn paths_stay_in_the_hierarchy() {
        assert_eq!(inside(&json!("./a//b/.")), Some("a/b".to_owned()));
        assert_eq!(inside(&json!({"path": "a"})), Some("a".to_owned()));
        for out in [
            json!("../a"),
            json!("/a"),
            json!("https://host/a"),
            json!({"type": "json", "path": "a"}),
            json!(3.5e300),
            json!(null),
        ] {
            let found = inside(&out);
            assert!(found.is_none() || out.is_number(), "{out} {found:?}");
        }
    }
}
