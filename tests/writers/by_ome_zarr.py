# /// script
# requires-python = ">=3.11"
# dependencies = ["ome-zarr"]
# ///
"""ome-zarr-py."""

from pathlib import Path

import numpy as np
import zarr
from ome_zarr import OMEZarrImage, OMEZarrLabels, OMEZarrMultiscale, OMEZarrScene
from ome_zarr.format import FormatV04, FormatV05
from ome_zarr.writer import write_image, write_labels, write_multiscale, write_plate_metadata, write_well_metadata
from ome_zarr_models.v06.coordinate_transforms import Axis, CoordinateSystem, CoordinateSystemIdentifier, Translation
from truth import SECONDS, Image, Writer, micrometres, pattern

writer = Writer("ome-zarr", "zarr")
FORMATS = {"0.4": FormatV04(), "0.5": FormatV05()}


def group(path: Path, ngff: str) -> zarr.Group:
    return zarr.open_group(str(path), mode="w", zarr_format=2 if ngff == "0.4" else 3)


def read(path: Path, inside: str = "", label: bool = False) -> Image:
    """The image as the library reads it."""
    node = (OMEZarrLabels if label else OMEZarrMultiscale).from_ome_zarr(str(path / inside))
    first = node.images[0]
    axes = "".join(first.axes)
    units = [(first.axes_units or {}).get(axis) for axis in axes]
    scale = [first.scale[axis] for axis in axes]
    time = axes.find("t")
    channels = [] if label or node.omero is None else node.omero.channels
    return Image(
        axes,
        [np.asarray(image.data) for image in node.images],
        inside,
        voxel=micrometres(axes, scale, units),
        time_step=scale[time] * SECONDS[units[time]] if time >= 0 and units[time] else None,
        channels=[channel.label for channel in channels],
        colours=[channel.color for channel in channels],
        windows=[(channel.window.start, channel.window.end) for channel in channels if channel.window],
        label=label,
    )


@writer.store("all by default.zarr")
def _(path: Path) -> list[Image]:
    write_image(pattern((3, 64, 70)), group(path, "0.5"), axes="zyx")
    return [read(path)]


for dtype, axes, shape in (
    ("uint8", "yx", (257, 301)),
    ("uint16", "tyx", (3, 60, 71)),
    ("float32", "czyx", (2, 9, 50, 70)),
    ("int16", "tczyx", (2, 2, 5, 40, 44)),
):
    for ngff in ("0.4", "0.5", "0.6"):

        @writer.store(f"{axes}_{ngff}.ome.zarr")
        def _(
            path: Path, dtype: str = dtype, axes: str = axes, shape: tuple[int, ...] = shape, ngff: str = ngff
        ) -> list[Image]:
            lengths = {"t": 30.0, "c": 1.0, "z": 2.0, "y": 325.0, "x": 325.0}
            units = {"t": "second", "z": "micrometer", "y": "nanometer", "x": "nanometer"}
            image = OMEZarrImage(
                pattern(shape, dtype),
                axes,
                scale={axis: lengths[axis] for axis in axes},
                axes_units={axis: unit for axis, unit in units.items() if axis in axes},
                name="an image",
            )
            channels = {}
            if "c" in axes:
                channels = {
                    "channel_names": ["β-tubulin", "DNA"],
                    "channel_colors": ["00FF7F", "FF0000"],
                    "contrast_limits": [(3, 200), (4, 100)],
                }
            OMEZarrMultiscale(image, scale_factors=[2, 4], **channels).to_ome_zarr(str(path), version=ngff)
            return [read(path)]


@writer.store("labels.zarr")
def _(path: Path) -> list[Image]:
    root = group(path, "0.5")
    lengths = {"z": 1.0, "y": 0.25, "x": 0.25}
    units = {axis: "micrometer" for axis in "zyx"}
    write_image(pattern((6, 48, 64)), root, axes="zyx", scale=lengths, axes_units=units)
    labels = (pattern((6, 48, 64), "uint32") // 100_000).astype("uint32")
    write_labels(labels, root, name="nuclei", axes="zyx", scale=lengths, axes_units=units)
    return [read(path), read(path, "labels/nuclei", label=True)]


for ngff in FORMATS:

    @writer.store(f"plate_{ngff}.zarr")
    def _(path: Path, ngff: str = ngff) -> list[Image]:
        root = group(path, ngff)
        wells = ["A/1", "B/3"]
        write_plate_metadata(root, ["A", "B"], ["1", "2", "3"], wells, fmt=FORMATS[ngff], name="plate 7")
        images = []
        for w, well in enumerate(wells):
            folder = root.require_group(well)
            write_well_metadata(folder, ["0", "1"], fmt=FORMATS[ngff])
            for field in range(2):
                data = pattern((2, 40, 56), seed=2 * w + field)
                write_image(data, folder.require_group(str(field)), fmt=FORMATS[ngff], axes="cyx", scale_factors=(2,))
                images.append(read(path, f"{well}/{field}"))
        return images


@writer.store("uneven pyramid.zarr")
def _(path: Path) -> list[Image]:
    data = pattern((11, 67, 91), "int16")
    levels = [data, data[:, ::3, ::3], data[::2, :45:3, :63:3]]
    steps = [[{"type": "scale", "scale": scale}] for scale in ([2, 0.4, 0.4], [2, 1.2, 1.2], [4, 1.8, 1.8])]
    axes = [{"name": axis, "type": "space", "unit": "micrometer"} for axis in "zyx"]
    write_multiscale(levels, group(path, "0.5"), axes=axes, coordinate_transformations=steps)
    return [read(path)]


@writer.store("scene.zarr")
def _(path: Path) -> list[Image]:
    axes = tuple(Axis(name=axis, type="space", unit="micrometer") for axis in "zyx")
    tiles, steps = {}, []
    for number, name in enumerate(("left", "right")):
        image = OMEZarrImage(
            pattern((5, 40, 50), seed=number),
            "zyx",
            scale={"z": 2.0, "y": 0.5, "x": 0.5},
            axes_units={axis: "micrometer" for axis in "zyx"},
            name=name,
        )
        tiles[name] = OMEZarrMultiscale(image, scale_factors=[2])
        steps.append(
            Translation(
                type="translation",
                translation=(1.0, 2.0, 20.0 * number),
                input=CoordinateSystemIdentifier(path=name, name="physical"),
                output=CoordinateSystemIdentifier(name="world"),
            )
        )
    OMEZarrScene(tiles, steps, [CoordinateSystem(name="world", axes=axes)]).to_ome_zarr(str(path))
    scene = OMEZarrScene.from_ome_zarr(str(path))
    images = []
    for step in scene.coordinate_transformations:
        image = read(path, step.input.path)
        image.origin = dict(zip("zyx", step.translation))
        images.append(image)
    return images


if __name__ == "__main__":
    writer.run()
