//! The symbol table of a group: its B-tree, symbol table nodes and local heap, computed for any range of bytes.
//!
//! All names are known beforehand, so every node is full but the last ones, and the place of each follows from
//! its number. Sources: HDF5 specification, sections III.A.1 (B-trees), III.B (symbol table nodes) and III.D
//! (local heaps).

use super::names::{Name, Names};
use super::window::Window;

/// The address that means "none".
const UNDEFINED_ADDRESS: u64 = u64::MAX;

/// Group internal node K of the superblock: what the library chooses.
pub(super) const GROUP_INTERNAL_K: u16 = 16;

/// Group leaf node K of the superblock: what the library chooses.
pub(super) const GROUP_LEAF_K: u16 = 4;

/// Children of a node of the B-tree.
const NODE_CHILDREN: u64 = 2 * GROUP_INTERNAL_K as u64;

/// Entries of a symbol table node.
const SYMBOLS: u64 = 2 * GROUP_LEAF_K as u64;

/// Header, children, and one key more.
const NODE_BYTES: u64 = 24 + NODE_CHILDREN * 8 + (NODE_CHILDREN + 1) * 8;

/// Header, and entries of 40 bytes.
const SYMBOL_NODE_BYTES: u64 = 8 + SYMBOLS * 40;

/// Local heap: header before its data segment.
const HEAP_HEADER_BYTES: u64 = 32;

/// What the library writes where a heap has no free block (`H5HLpkg.h`, `H5HL_FREE_NULL`).
const NO_FREE_BLOCK: u64 = 1;

/// The symbol table of a group with these members.
#[derive(Debug, Clone)]
pub(super) struct SymbolTable {
    names: Names,
}

/// The nodes of one height of the B-tree, counted from the lowest ones.
struct Height {
    number: u8,
    /// How many there are.
    nodes: u64,
    /// Names below a child of one.
    child_names: u64,
    /// Children of all nodes together.
    children: u64,
    /// Where the first one lies, from the begin of the table on.
    at: u64,
    /// Where its first child lies.
    children_at: u64,
    child_bytes: u64,
}

/// Where the two parts of a symbol table lie that its group names.
#[derive(Debug, Clone, Copy)]
pub(super) struct TableAddresses {
    pub(super) tree: u64,
    pub(super) heap: u64,
}

impl SymbolTable {
    pub(super) fn new(names: Names) -> Self {
        Self { names }
    }

    /// Bytes of the table.
    pub(super) fn bytes(&self) -> u64 {
        self.symbols_at() + self.leaves() * SYMBOL_NODE_BYTES
    }

    /// The addresses of the parts of a table at `at`.
    pub(super) fn addresses(&self, at: u64) -> TableAddresses {
        TableAddresses { tree: at, heap: at + self.heap_at() }
    }

    /// Writes what is wanted of the table, which lies at `at`. `child` gives the address of the object header of
    /// each member.
    pub(super) fn write(&self, window: &mut Window, at: u64, child: &dyn Fn(Name) -> u64) {
        if !window.wants(at, self.bytes()) {
            return;
        }
        for height in self.heights() {
            let first = at + height.at;
            for node in window.wanted(first, NODE_BYTES, height.nodes) {
                window.put(first + node * NODE_BYTES, &self.node(&height, node, at));
            }
        }
        self.write_heap(window, at + self.heap_at());
        let first = at + self.symbols_at();
        for node in window.wanted(first, SYMBOL_NODE_BYTES, self.leaves()) {
            window.put(first + node * SYMBOL_NODE_BYTES, &self.symbol_node(node, child));
        }
    }

    /// Symbol table nodes: none where there is no name.
    fn leaves(&self) -> u64 {
        self.names.len().div_ceil(SYMBOLS)
    }

    fn heap_at(&self) -> u64 {
        let nodes: u64 = node_counts(self.leaves()).iter().sum();
        nodes * NODE_BYTES
    }

    fn symbols_at(&self) -> u64 {
        self.heap_at() + HEAP_HEADER_BYTES + self.names.heap_bytes()
    }

    /// From the root down. The root is the first thing of the table.
    fn heights(&self) -> Vec<Height> {
        let counts = node_counts(self.leaves());
        let mut heights = Vec::with_capacity(counts.len());
        let (mut at, mut child_names, mut children) = (self.heap_at(), SYMBOLS, self.leaves());
        let (mut children_at, mut child_bytes) = (self.symbols_at(), SYMBOL_NODE_BYTES);
        for (number, &nodes) in (0..).zip(&counts) {
            at -= nodes * NODE_BYTES;
            heights.push(Height {
                number,
                nodes,
                child_names,
                children,
                at,
                children_at,
                child_bytes,
            });
            (children, child_names) = (nodes, child_names * NODE_CHILDREN);
            (children_at, child_bytes) = (at, NODE_BYTES);
        }
        heights
    }

    /// A node of the B-tree of a table that lies at `table`.
    fn node(&self, of: &Height, node: u64, table: u64) -> Vec<u8> {
        let first = node * NODE_CHILDREN;
        let end = of.children.min(first + NODE_CHILDREN);
        let address = |node: u64| table + of.at + node * NODE_BYTES;
        let mut out = Vec::with_capacity(usize::try_from(NODE_BYTES).unwrap_or(0));
        out.extend(b"TREE");
        out.extend([0, of.number]);
        out.extend(u16::try_from(end - first).expect("a node has few children").to_le_bytes());
        let left = node.checked_sub(1).map_or(UNDEFINED_ADDRESS, address);
        let right = if node + 1 < of.nodes { address(node + 1) } else { UNDEFINED_ADDRESS };
        out.extend(left.to_le_bytes());
        out.extend(right.to_le_bytes());
        for child in first..end {
            out.extend(self.key(child * of.child_names).to_le_bytes());
            let child = table + of.children_at + child * of.child_bytes;
            out.extend(child.to_le_bytes());
        }
        out.extend(self.key(end * of.child_names).to_le_bytes());
        out.resize(out.capacity(), 0);
        out
    }

    /// The key between the names before a rank and those from it on: the last one before, and the empty name
    /// before all.
    fn key(&self, rank: u64) -> u64 {
        let before = rank.min(self.names.len()).checked_sub(1);
        before.map_or(0, |last| self.names.heap_offset(self.names.at(last)))
    }

    fn symbol_node(&self, node: u64, child: &dyn Fn(Name) -> u64) -> Vec<u8> {
        let first = node * SYMBOLS;
        let end = self.names.len().min(first + SYMBOLS);
        let mut out = Vec::with_capacity(usize::try_from(SYMBOL_NODE_BYTES).unwrap_or(0));
        out.extend(b"SNOD");
        out.extend([1, 0]);
        out.extend(u16::try_from(end - first).expect("a node has few entries").to_le_bytes());
        for rank in first..end {
            let name = self.names.at(rank);
            out.extend(self.names.heap_offset(name).to_le_bytes());
            out.extend(child(name).to_le_bytes());
            // Nothing of the member is cached here: readers look at its header.
            out.extend([0; 24]);
        }
        out.resize(out.capacity(), 0);
        out
    }

    fn write_heap(&self, window: &mut Window, at: u64) {
        let data = at + HEAP_HEADER_BYTES;
        let mut header = b"HEAP".to_vec();
        header.extend([0; 4]);
        header.extend(self.names.heap_bytes().to_le_bytes());
        header.extend(NO_FREE_BLOCK.to_le_bytes());
        header.extend(data.to_le_bytes());
        window.put(at, &header);
        if window.wants(data, self.names.heap_bytes()) {
            let (first, stride, count) = self.names.numbered_in_heap();
            let wanted = window.wanted(data + first, stride, count);
            self.names.each(wanted, &mut |offset, name| window.put(data + offset, name));
        }
    }
}

/// Nodes of each height, from the lowest up: a group has one even if it has no member.
fn node_counts(leaves: u64) -> Vec<u64> {
    let mut counts = vec![leaves.div_ceil(NODE_CHILDREN).max(1)];
    while let Some(&last) = counts.last()
        && last > 1
    {
        counts.push(last.div_ceil(NODE_CHILDREN));
    }
    counts
}
