use std::sync::mpsc;

use super::brick::{Keep, Whole};
use super::*;
use crate::cache::ImageId;
use crate::resources::buffer::Buffer;

fn engine() -> Arc<Engine> {
    let config = EngineConfig { cache: None, shared: None, memory_bytes: 1 << 20, threads: 2 };
    Engine::start(&config).expect("an engine")
}

fn slot(index: u64) -> Slot {
    let key = BrickKey { image: ImageId(7), space: 0, index };
    Slot { key, slot_bytes: 100, is_proven: false }
}

fn produced(keep: Keep) -> Produced {
    Produced::new(Arc::new(Buffer::from(vec![7; 100])), keep, false)
}

fn first_byte(result: FlightResult) -> Result<u8, String> {
    match result {
        Ok(Brick::Memory(Whole { bytes, .. })) => Ok(bytes[0]),
        Ok(Brick::Cached(_)) => Err("there is no cache".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

#[test]
fn a_brick_is_produced_once_for_all_who_ask() {
    let engine = engine();
    let (sender, answers) = mpsc::channel();
    let (open, door) = mpsc::channel::<()>();
    let mut door = Some(door);
    for _ in 0..5 {
        let (sender, door) = (sender.clone(), door.take());
        let produce = move || {
            door.expect("only the first produces").recv().expect("the door opens");
            Ok(produced(Keep::OnDisk))
        };
        let done = move |result| sender.send(first_byte(result)).expect("the test waits");
        engine.request(slot(1), Mode::default(), produce, Box::new(done));
    }
    assert!(engine.is_under_way(slot(1)));
    open.send(()).expect("it waits");
    let answers: Vec<_> = (0..5).map(|_| answers.recv().expect("an answer")).collect();
    assert_eq!(answers, vec![Ok(7); 5]);
    let stats = engine.stats();
    assert_eq!((stats.filled, stats.filled_bytes, stats.failed), (1, 100, 0));
    assert!(engine.kept().get_ready(slot(1)).is_some());
}

#[test]
fn an_error_and_a_panic_reach_all_readers_and_nothing_is_kept() {
    let engine = engine();
    let ask = |produce: fn() -> Result<Produced, ImageError>| {
        let (sender, answer) = mpsc::channel();
        let done = move |result| sender.send(first_byte(result)).expect("the test waits");
        engine.request(slot(1), Mode::default(), produce, Box::new(done));
        answer.recv().expect("an answer")
    };
    assert_eq!(ask(|| Err(ImageError::TooLarge)), Err(ImageError::TooLarge.to_string()));
    assert_eq!(ask(|| panic!("on purpose")), Err(ImageError::Abandoned.to_string()));
    assert_eq!(ask(|| Ok(produced(Keep::FLEETING))), Ok(7));
    assert_eq!(engine.stats().failed, 1);
}

#[test]
fn a_brick_made_ahead_is_made_only_where_there_is_none() {
    let engine = engine();
    assert!(engine.make_ahead(slot(1), None, || Ok(produced(Keep::OnDisk))));
    assert!(!engine.make_ahead(slot(1), None, || panic!("it is there")));
    let lead = engine.lead(slot(2).key, Box::new(drop));
    assert!(lead.is_ok());
    assert!(!engine.make_ahead(slot(2), None, || panic!("it is in production")));
    drop(lead);
    // A guess that comes to nothing is no failure.
    assert!(engine.make_ahead(slot(2), None, || Err(ImageError::Abandoned)));
    assert_eq!(engine.stats().failed, 0);
}

#[test]
fn after_the_end_requests_are_abandoned() {
    let engine = engine();
    engine.stop();
    let (sender, answer) = mpsc::channel();
    let done = move |result| sender.send(first_byte(result)).expect("the test waits");
    let produce = || panic!("no thread runs any more");
    engine.request(slot(1), Mode::default(), produce, Box::new(done));
    assert_eq!(answer.recv(), Ok(Err(ImageError::Abandoned.to_string())));
    assert!(engine.resources().reserve(1).is_none());
}

/// What a status page reads.
#[test]
fn the_counters_are_plain_data() {
    let engine = engine();
    assert!(engine.make_ahead(slot(1), None, || Ok(produced(Keep::OnDisk))));
    let stats = serde_json::to_value(engine.stats()).expect("plain data");
    assert_eq!(stats["filled"], 1);
    assert_eq!(stats["recent_bytes"], 100);
    assert_eq!(stats["memory"]["budget_bytes"], 1 << 20);
    assert_eq!(stats["unwritten"]["is_stalled"], false);
}
