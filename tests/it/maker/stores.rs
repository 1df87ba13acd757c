//! The images of `ImarisWriter`'s reference files, and Zarr stores of them: laid out as bioformats2raw
//! does, which is the one layout with room for all of their metadata.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::common::ims::Voxel;
use crate::common::tiny::write_json;

/// The name that `ImarisWriter` writes where none is given.
const NO_NAME: &str = "(name not specified)";

/// One image: `shared/reference/ims/README.md` and the `attrs.txt` beside the file.
#[derive(Debug)]
pub(crate) struct Image {
    /// Name of the reference file, without `.ims`.
    pub(crate) file: &'static str,
    pub(crate) voxel: Voxel,
    pub(crate) time_points: usize,
    /// Order (x, y, z).
    pub(crate) size: [usize; 3],
    /// Order (x, y, z), in micrometres.
    pub(crate) voxel_um: [f64; 3],
    /// Outer corner of the first voxel, order (x, y, z), in micrometres.
    pub(crate) origin_um: [f64; 3],
    /// Chunk of level 0, order (z, y, x).
    pub(crate) chunk: [usize; 3],
    /// Names, times, wavelengths and a section of free text are given.
    pub(crate) is_described: bool,
    /// Per channel: colour, and the range displayed.
    pub(crate) channels: &'static [(&'static str, [f64; 2])],
    /// CRC-32 of the voxels of each level.
    pub(crate) checksums: &'static [u32],
}

pub(crate) const IMAGES: [Image; 8] = [
    Image {
        file: "u8_c1_t1_3lev_gzip2",
        voxel: Voxel::U8,
        time_points: 1,
        size: [1101, 905, 5],
        voxel_um: [0.325, 0.325, 2.0],
        origin_um: [0.0; 3],
        chunk: [4, 512, 512],
        is_described: false,
        channels: &[("00FF00", [0.0, 255.0])],
        checksums: &[0x9931_38a9, 0x7100_45ab, 0xfc79_c6ee],
    },
    Image {
        file: "u16_c1_t1_3lev_3d_gzip2",
        voxel: Voxel::U16,
        time_points: 1,
        size: [215, 199, 103],
        voxel_um: [1.1; 3],
        origin_um: [0.0; 3],
        chunk: [32, 128, 128],
        is_described: true,
        channels: &[("00FF00", [750.059, 1530.0])],
        checksums: &[0x7af3_14ce, 0x6ec0_20e9, 0x54eb_6172],
    },
    Image {
        file: "f32_c1_t1_3lev_3d_gzip2",
        voxel: Voxel::F32,
        time_points: 1,
        size: [161, 151, 97],
        voxel_um: [0.8, 0.8, 1.2],
        origin_um: [0.0; 3],
        chunk: [64, 64, 64],
        is_described: false,
        channels: &[("00FF00", [44.98, 164.0])],
        checksums: &[0x23f7_4daf, 0xa433_a06d, 0x5395_e271],
    },
    Image {
        file: "u16_c2_t2_2lev_gzip2",
        voxel: Voxel::U16,
        time_points: 2,
        size: [215, 199, 53],
        voxel_um: [0.5, 0.5, 2.0],
        origin_um: [10.0, 20.0, 30.0],
        chunk: [32, 128, 128],
        is_described: true,
        channels: &[("00FF00", [539.473, 1388.0]), ("FF0000", [1539.199, 2180.0])],
        checksums: &[0x1fe4_f4bb, 0x0118_edd2],
    },
    Image {
        file: "u16_c3_t4_1lev_gzip2",
        voxel: Voxel::U16,
        time_points: 4,
        size: [133, 97, 21],
        voxel_um: [0.5, 0.25, 1.75],
        origin_um: [100.0, -20.0, 3.5],
        chunk: [32, 128, 128],
        is_described: true,
        channels: &[
            ("00FF00", [135.867, 4092.0]),
            ("FF0000", [1144.975, 1578.0]),
            ("3366FF", [2144.977, 2578.0]),
        ],
        checksums: &[0xb400_6411],
    },
    Image {
        file: "u8_c2_t1_2d_nocomp_table",
        voxel: Voxel::U8,
        time_points: 1,
        size: [301, 201, 1],
        voxel_um: [0.65, 0.65, 1.0],
        origin_um: [-0.325, -0.325, -0.5],
        chunk: [1, 256, 512],
        is_described: true,
        // The second has a table of 256 colours, from blue to red; this is the last of them.
        channels: &[("00FF00", [0.0, 255.0]), ("FF0000", [0.0, 255.0])],
        checksums: &[0xad45_c518],
    },
    Image {
        file: "u32_c1_t1_1lev_shuffle_lz4",
        voxel: Voxel::U32,
        time_points: 1,
        size: [65, 33, 17],
        voxel_um: [2.0, 3.0, 4.0],
        origin_um: [0.0; 3],
        chunk: [32, 64, 64],
        is_described: false,
        channels: &[("00FF00", [0.0, 2_259_155.0])],
        checksums: &[0xb622_0a71],
    },
    Image {
        file: "u16_c1_t1_1lev_shuffle_gzip3_lowvalues",
        voxel: Voxel::U16,
        time_points: 1,
        size: [40, 30, 3],
        voxel_um: [2.0, 3.0, 4.0],
        origin_um: [0.0; 3],
        chunk: [4, 64, 64],
        is_described: false,
        channels: &[("00FF00", [0.0, 164.0])],
        checksums: &[0x9eb8_224e],
    },
];

impl Image {
    /// The voxel at (t, c, z, y, x), little-endian: README, section "Content".
    fn voxel_at(&self, [t, c, z, y, x]: [usize; 5]) -> Vec<u8> {
        let whole = |number: usize| u32::try_from(number).expect("small").to_le_bytes();
        match self.voxel {
            Voxel::U8 => {
                whole((x / 4 + 2 * (y / 4) + 16 * z + 40 * c + 90 * t) % 251)[..1].to_vec()
            }
            Voxel::U16 => {
                let sum = 3 * (x / 2) + 5 * (y / 2) + 7 * z + 1000 * c + 4000 * t;
                whole(sum % 4093)[..2].to_vec()
            }
            Voxel::U32 => {
                let position = 70_000 * (x / 2) + 11 * (y / 2) + 1300 * z;
                whole(position + 5_000_000 * c + 9_000_000 * t).to_vec()
            }
            Voxel::F32 => {
                let [t, c, z, y, x] =
                    [t, c, z, y / 2, x / 2].map(|n| f32::from(u16::try_from(n).expect("small")));
                (0.25 * x - 0.5 * y + 1.5 * z + 10.0 * c + 20.0 * t).to_le_bytes().to_vec()
            }
        }
    }

    /// All time points with all channels, in the order of the checksums.
    pub(crate) fn time_points_and_channels(&self) -> impl Iterator<Item = (usize, usize)> {
        let channels = self.channels.len();
        (0..self.time_points).flat_map(move |t| (0..channels).map(move |c| (t, c)))
    }

    /// All voxels of level 0 of one time point and channel, order (z, y, x).
    pub(crate) fn voxels(&self, t: usize, c: usize) -> Vec<u8> {
        let [nx, ny, nz] = self.size;
        let at = |i: usize| [t, c, i / (ny * nx), i / nx % ny, i % nx];
        (0..nz * ny * nx).flat_map(|i| self.voxel_at(at(i))).collect()
    }

    /// Writes level 0 of the image as the only series of a store: Zarr v2, OME-NGFF 0.4.
    pub(crate) fn write(&self, store: &Path) {
        let group = json!({"zarr_format": 2});
        for folder in ["", "0", "OME"] {
            write_json(&store.join(folder).join(".zgroup"), &group);
        }
        write_json(&store.join(".zattrs"), &json!({"bioformats2raw.layout": 3}));
        write_json(&store.join("OME/.zattrs"), &json!({"series": ["0"]}));
        fs::write(store.join("OME/METADATA.ome.xml"), self.xml()).expect("a file");
        write_json(&store.join("0/.zattrs"), &self.attributes());
        self.write_array(&store.join("0/0"));
    }

    fn write_array(&self, folder: &Path) {
        let ([nx, ny, nz], [cz, cy, cx]) = (self.size, self.chunk);
        let shape = [self.time_points, self.channels.len(), nz, ny, nx];
        let kind = match self.voxel {
            Voxel::U8 => "|u1",
            Voxel::U16 => "<u2",
            Voxel::U32 => "<u4",
            Voxel::F32 => "<f4",
        };
        let array = json!({"zarr_format": 2, "shape": shape, "chunks": [1, 1, cz, cy, cx],
            "dtype": kind, "compressor": null, "fill_value": 0, "filters": null, "order": "C",
            "dimension_separator": "/"});
        write_json(&folder.join(".zarray"), &array);
        let grid = [nz.div_ceil(cz), ny.div_ceil(cy), nx.div_ceil(cx)];
        for number in 0..shape[0] * shape[1] * grid.iter().product::<usize>() {
            let (plane, x) = (number / grid[2], number % grid[2]);
            let (slab, y) = (plane / grid[1], plane % grid[1]);
            let (image, z) = (slab / grid[0], slab % grid[0]);
            let (t, c) = (image / shape[1], image % shape[1]);
            let path = folder.join(format!("{t}/{c}/{z}/{y}/{x}"));
            fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            fs::write(path, self.chunk_bytes([t, c], [z, y, x])).expect("a chunk");
        }
    }

    /// The stored bytes of a chunk; positions outside of the array are zero.
    fn chunk_bytes(&self, [t, c]: [usize; 2], at: [usize; 3]) -> Vec<u8> {
        let ([nx, ny, nz], [cz, cy, cx]) = (self.size, self.chunk);
        let mut bytes = Vec::with_capacity(cz * cy * cx * self.voxel.bytes());
        for i in 0..cz * cy * cx {
            let [z, y, x] =
                [at[0] * cz + i / (cy * cx), at[1] * cy + i / cx % cy, at[2] * cx + i % cx];
            if z < nz && y < ny && x < nx {
                bytes.extend(self.voxel_at([t, c, z, y, x]));
            } else {
                bytes.resize(bytes.len() + self.voxel.bytes(), 0);
            }
        }
        bytes
    }

    fn attributes(&self) -> Value {
        let step = if self.is_described { 2.5 } else { 1.0 };
        let ([x, y, z], [left, top, front]) = (self.voxel_um, self.origin_um);
        let space = |name| json!({"name": name, "type": "space", "unit": "micrometer"});
        let channels = self.channels.iter().enumerate().map(|(c, (color, [start, end]))| {
            let label = if self.is_described { format!("Ch {c}") } else { NO_NAME.to_owned() };
            json!({"label": label, "color": color, "active": true,
                "window": {"min": 0, "max": 65535, "start": start, "end": end}})
        });
        let channels: Vec<Value> = channels.collect();
        let mut attributes = json!({
            "multiscales": [{
                "version": "0.4",
                "name": if self.is_described { "reference image" } else { NO_NAME },
                "axes": [{"name": "t", "type": "time", "unit": "second"},
                    {"name": "c", "type": "channel"}, space("z"), space("y"), space("x")],
                "datasets": [{"path": "0", "coordinateTransformations": [
                    {"type": "scale", "scale": [step, 1.0, z, y, x]},
                    {"type": "translation", "translation": [0.0, 0.0, front, top, left]},
                ]}],
            }],
            "omero": {"channels": channels},
        });
        if self.is_described {
            attributes["Custom/Section 100%"] =
                json!({"a key": "a value", "long": "L".repeat(1500)});
        }
        attributes
    }

    fn xml(&self) -> String {
        let (image, channels) = if self.is_described {
            let image = "<AcquisitionDate>2022-01-01T08:30:00</AcquisitionDate>\
                <Description>synthetic ramp</Description>";
            let channel = |c| format!(r#"<Channel EmissionWavelength="{}"/>"#, 500 + 50 * c);
            (image, (0..self.channels.len()).map(channel).collect::<String>())
        } else {
            ("", "<Channel/>".repeat(self.channels.len()))
        };
        format!(
            r#"<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">
            <Image ID="Image:0">{image}<Pixels ID="Pixels:0">{channels}</Pixels></Image></OME>"#
        )
    }
}
