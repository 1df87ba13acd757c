"""The way Imaris wants text: arrays of one-byte strings, null-terminated, ASCII."""

from collections.abc import Iterator
from pathlib import Path

import h5py
from h5py import h5a, h5f, h5g, h5o, h5s, h5t

NUMBER = (b"/", b"NumberOfDataSets")
"""The one attribute that is not text."""


def faults(path: Path) -> Iterator[str]:
    """A message for each attribute and each text dataset that is stored in another way."""
    file = h5f.open(bytes(path), h5f.ACC_RDONLY)
    root = h5o.open(file, b"/")
    found = [b"/"]
    h5o.visit(root, lambda name: found.append(b"/" + name))
    attributes = 0
    for name in found:
        node = h5o.open(file, name)
        for index in range(h5a.get_num_attrs(node)):
            attribute = h5a.open(node, index=index)
            attributes += 1
            fault = (
                _not_number(attribute) if (name, attribute.name) == NUMBER else _not_text(attribute)
            )
            if fault:
                yield f"{name.decode()}@{attribute.name.decode('utf-8', 'replace')}: {fault}"
        if name.startswith(b"/DataSetInfo/") and not isinstance(node, h5g.GroupID):
            fault = _not_text(node)
            if fault:
                yield f"{name.decode()}: {fault}"
    if not attributes or not h5a.exists(root, NUMBER[1]):
        yield "no attributes, or no NumberOfDataSets"


def _not_text(item: h5a.AttrID | h5py.h5d.DatasetID) -> str | None:
    kind, space = item.get_type(), item.get_space()
    if not isinstance(kind, h5t.TypeStringID) or kind.is_variable_str() or kind.get_size() != 1:
        return "not strings of one byte"
    if kind.get_strpad() != h5t.STR_NULLTERM:
        return "not null-terminated"
    if kind.get_cset() != h5t.CSET_ASCII:
        return "not ASCII"
    if space.get_simple_extent_type() != h5s.SIMPLE or space.get_simple_extent_ndims() != 1:
        return "not of rank 1"
    if space.get_simple_extent_dims()[0] < 1:
        return "empty"
    return None


def _not_number(attribute: h5a.AttrID) -> str | None:
    kind, space = attribute.get_type(), attribute.get_space()
    if not kind.equal(h5t.STD_U32LE) or space.get_simple_extent_dims() != (1,):
        return "not uint32[1]"
    return None
