//! Scenes: where the images of one hierarchy lie beside each other.
//!
//! Sources: OME-NGFF 0.6 (RFC-5), "scene" metadata: `ome.scene`; RFC-8, "Scene attribute":
//! `ome.attributes.scene`; the drafts before 0.6, which have the members in `ome` itself and references as
//! strings. Transforms lead from one coordinate system to another; each system is that of an image (a path
//! and a name) or of the scene (a name).
//!
//! All images are placed in one system: the first that the scene lists (0.6, "Which coordinate system to
//! display?"), else the one that the first transform leads to. An image from which no transforms lead there is
//! where its own metadata puts it.

use std::collections::{BTreeSet, VecDeque};

use serde_json::{Map, Value};

use super::axes::Axis;
use super::json::text;
use super::nodes;
use super::systems::{self, System, name_of};
use super::transform::Step;

/// Transforms of a scene that are looked at.
const TRANSFORMS_LIMIT: usize = 20_000;

/// A scene.
#[derive(Debug)]
pub(crate) struct Scene {
    systems: Vec<System>,
    edges: Vec<Edge>,
}

/// One end of a transform.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct End {
    /// Path of an image, relative to the group of the scene; empty for a system of the scene.
    path: String,
    name: String,
}

#[derive(Debug)]
struct Edge {
    input: End,
    output: End,
    transform: Value,
}

/// How an image is placed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Placement {
    /// The system of the image that the steps begin in; empty where the scene does not name it.
    pub(crate) system: String,
    pub(crate) steps: Vec<Step>,
    /// Axes of the system that the steps lead to, where the scene lists them.
    pub(crate) axes: Option<Vec<Axis>>,
}

impl Scene {
    /// The scene in an `ome` object.
    pub(crate) fn parse(ome: &Map<String, Value>) -> Option<Self> {
        let attributes = ome.get("attributes").and_then(Value::as_object);
        let named = |place: &Map<String, Value>| place.get("scene").cloned();
        let named = named(ome).or_else(|| attributes.and_then(named));
        let scene = match &named {
            Some(scene) => scene.as_object()?,
            None if ome.contains_key("multiscales") || ome.contains_key("type") => return None,
            None => ome,
        };
        let edges: Vec<Edge> = systems::transforms(scene)
            .into_iter()
            .take(TRANSFORMS_LIMIT)
            .filter_map(|transform| {
                let input = End::parse(transform.get("input")?)?;
                let output = End::parse(transform.get("output")?)?;
                Some(Edge { input, output, transform })
            })
            .collect();
        let systems = systems::list(scene.get("coordinateSystems"));
        (!edges.is_empty()).then_some(Self { systems, edges })
    }

    /// How the image at a path relative to the scene's group is placed.
    pub(crate) fn placement(&self, image: &str) -> Option<Placement> {
        let target = match self.systems.first() {
            Some(first) => End { path: String::new(), name: first.name.clone() },
            None => self.edges.first()?.output.clone(),
        };
        if target.path == image {
            return None;
        }
        let ends = self.edges.iter().flat_map(|edge| [&edge.input, &edge.output]);
        let starts: BTreeSet<&End> = ends.filter(|end| end.is_of(image)).collect();
        starts.into_iter().find_map(|start| {
            let steps = self.way(start, &target)?;
            let axes = systems::find(&self.systems, &target.name);
            let axes = axes.filter(|_| target.path.is_empty()).map(|system| system.axes.clone());
            Some(Placement { system: start.name_in(image).to_owned(), steps, axes })
        })
    }

    /// The shortest way along transforms, in either direction.
    fn way(&self, start: &End, target: &End) -> Option<Vec<Step>> {
        let mut seen: BTreeSet<&End> = BTreeSet::from([start]);
        let mut waiting = VecDeque::from([(start, Vec::new())]);
        while let Some((here, steps)) = waiting.pop_front() {
            if self.is_same(here, target) {
                return Some(steps);
            }
            for edge in &self.edges {
                let (next, is_inverse) = if self.is_same(&edge.input, here) {
                    (&edge.output, false)
                } else if self.is_same(&edge.output, here) {
                    (&edge.input, true)
                } else {
                    continue;
                };
                if seen.insert(next) {
                    let mut steps = steps.clone();
                    steps.push(Step { value: edge.transform.clone(), is_inverse });
                    waiting.push_back((next, steps));
                }
            }
        }
        None
    }

    /// Whether two ends are one; a system of the scene has two names in RFC-8.
    fn is_same(&self, a: &End, b: &End) -> bool {
        let system = |end: &End| systems::find(&self.systems, &end.name).map(|it| &it.name);
        a == b
            || (a.path.is_empty()
                && b.path.is_empty()
                && system(a).is_some()
                && system(a) == system(b))
    }
}

impl End {
    fn parse(reference: &Value) -> Option<Self> {
        if let Value::String(name) = reference {
            // Before 0.6: the path of an image, of a system in it, or the name of a system.
            let name = name.trim_matches('/').to_owned();
            return Some(Self { path: String::new(), name });
        }
        let path = match reference.get("path") {
            None | Some(Value::Null) => String::new(),
            Some(path) => nodes::inside(path)?,
        };
        Some(Self {
            path,
            name: name_of(reference).or_else(|| reference.get("path").and_then(text))?,
        })
    }

    fn is_of(&self, image: &str) -> bool {
        if self.path.is_empty() {
            let below = self.name.strip_prefix(image);
            below.is_some_and(|below| below.is_empty() || below.starts_with('/'))
        } else {
            self.path == image
        }
    }

    /// The name of the system within the image.
    fn name_in(&self, image: &str) -> &str {
        if self.path.is_empty() {
            self.name.get(image.len()..).unwrap_or_default().trim_start_matches('/')
        } else {
            &self.name
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn placed(scene: &Value, image: &str) -> Option<Placement> {
        let ome = json!({"scene": scene});
        Scene::parse(ome.as_object().expect("an object"))?.placement(image)
    }

    fn shift(by: f64, input: &Value, output: &Value) -> Value {
        json!({"type": "translation", "translation": [0, by], "input": input, "output": output})
    }

    #[test]
    fn tiles_are_placed_in_the_first_system_of_the_scene() {
        let world = json!({"name": "world"});
        let tile = |n: u32| json!({"path": format!("./tile_{n}"), "name": "physical"});
        let axes = json!([{"name": "y", "unit": "um"}, {"name": "x", "unit": "um"}]);
        let scene = json!({"coordinateSystems": [{"name": "world", "axes": axes}],
            "coordinateTransformations": [shift(0.0, &tile(0), &world), shift(10.0, &tile(1), &world)]});
        let found = placed(&scene, "tile_1").expect("placed");
        assert_eq!(found.system, "physical");
        assert_eq!(found.steps, [Step::forward(shift(10.0, &tile(1), &world))]);
        assert_eq!(found.axes.map(|axes| axes.len()), Some(2));
        assert_eq!(placed(&scene, "tile_2"), None);
        assert_eq!(placed(&scene, "tile"), None);
    }

    #[test]
    fn ways_lead_over_other_images_and_back() {
        let of = |n: u32| json!({"path": {"type": "zarr", "path": format!("m{n}")}, "id": "p"});
        let scene = json!({"coordinateTransformations": [
            shift(1.0, &of(1), &of(2)), shift(2.0, &of(3), &of(2)), shift(4.0, &of(3), &of(4))]});
        let directions = |image: &str| {
            let found = placed(&scene, image)?;
            Some(found.steps.iter().map(|step| step.is_inverse).collect::<Vec<_>>())
        };
        assert_eq!(directions("m1"), Some(vec![false]));
        assert_eq!(directions("m2"), None, "all others are placed in its system");
        assert_eq!(directions("m3"), Some(vec![false]));
        assert_eq!(directions("m4"), Some(vec![true, false]));
    }

    #[test]
    fn drafts_have_strings() {
        let ome = json!({"coordinateTransformations": [
            shift(3.0, &json!("/tile_1/physical"), &json!("world")),
            shift(5.0, &json!("tile_2"), &json!("world"))]});
        let scene = Scene::parse(ome.as_object().expect("an object")).expect("a scene");
        assert_eq!(scene.placement("tile_1").expect("placed").system, "physical");
        assert_eq!(scene.placement("tile_2").expect("placed").system, "");
        for rubbish in [json!({}), json!({"coordinateTransformations": [{"input": 1}]}), json!(3)] {
            assert_eq!(placed(&rubbish, "a"), None);
        }
    }
}
