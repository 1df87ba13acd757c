//! Puts tables into `doc/PERFORMANCE.md`, each between its own marks.
//!
//! ```text
//! <!-- bench: name -->
//! anything
//! <!-- end -->
//! ```

use std::fs;
use std::path::Path;

use super::machine;

/// Where the tables are.
const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/doc/PERFORMANCE.md");

/// Prints a table; with `write` puts it into the document as well. `how` says in what state and how
/// often it was measured.
pub fn publish(name: &str, how: &str, table: &str, write: bool) {
    let block = format!("*{}; {how}.*\n\n{}", machine::describe(), table.trim_end());
    println!("\n{name}\n\n{block}\n");
    if !write {
        return;
    }
    let document = Path::new(DOCUMENT);
    let text = fs::read_to_string(document).expect("the document is readable");
    match replaced(&text, name, &block) {
        Some(text) => fs::write(document, text).expect("the document is writable"),
        None => eprintln!("{name}: not written: doc/PERFORMANCE.md has no marks for it"),
    }
}

fn replaced(text: &str, name: &str, block: &str) -> Option<String> {
    let start = format!("<!-- bench: {name} -->\n");
    let (before, rest) = text.split_once(&start)?;
    let (_, after) = rest.split_once("<!-- end -->")?;
    Some(format!("{before}{start}\n{block}\n\n<!-- end -->{after}"))
}
