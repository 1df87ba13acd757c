import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.util.HexFormat;
import loci.common.DebugTools;
import loci.formats.FormatTools;
import loci.formats.MetadataTools;
import loci.formats.in.ImarisHDFReader;
import loci.formats.meta.IMetadata;
import ome.units.UNITS;
import ome.units.quantity.Length;
import org.json.JSONArray;
import org.json.JSONObject;

/**
 * Reads Imaris files with Bio-Formats. Takes one path a line on standard input and answers with one JSON
 * object a line on standard output.
 */
public final class BioFormats {
    public static void main(String[] args) throws Exception {
        DebugTools.setRootLevel("OFF");
        var paths = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        var out = new PrintStream(System.out, true, StandardCharsets.UTF_8);
        for (String path = paths.readLine(); path != null; path = paths.readLine()) {
            JSONObject answer;
            try (var reader = new ImarisHDFReader()) {
                answer = describe(reader, path);
            } catch (Throwable error) {
                answer = new JSONObject().put("error", error.toString());
            }
            out.println(answer.put("path", path));
        }
    }

    private static JSONObject describe(ImarisHDFReader reader, String path) throws Exception {
        IMetadata metadata = MetadataTools.createOMEXMLMetadata();
        reader.setMetadataStore(metadata);
        reader.setFlattenedResolutions(false);
        reader.setId(path);
        var names = new JSONArray();
        for (int c = 0; c < reader.getSizeC(); c++) {
            names.put(metadata.getChannelName(0, c));
        }
        // Levels of another Z than level 0 are series of their own; the order stays that of the levels.
        var levels = new JSONArray();
        for (int series = 0; series < reader.getSeriesCount(); series++) {
            reader.setSeries(series);
            for (int resolution = 0; resolution < reader.getResolutionCount(); resolution++) {
                reader.setResolution(resolution);
                JSONObject level = level(reader);
                if (resolution == 0) {
                    level.put("voxel", new JSONArray()
                            .put(micrometres(metadata.getPixelsPhysicalSizeZ(series)))
                            .put(micrometres(metadata.getPixelsPhysicalSizeY(series)))
                            .put(micrometres(metadata.getPixelsPhysicalSizeX(series))));
                }
                levels.put(level);
            }
        }
        return new JSONObject().put("names", names).put("levels", levels);
    }

    private static JSONObject level(ImarisHDFReader reader) throws Exception {
        return new JSONObject()
                .put("type", FormatTools.getPixelTypeString(reader.getPixelType()))
                .put("shape", new JSONArray(new int[] {
                    reader.getSizeT(), reader.getSizeC(), reader.getSizeZ(), reader.getSizeY(),
                    reader.getSizeX()}))
                .put("hashes", hashes(reader));
    }

    /** SHA-256 of each volume, by time point and channel. */
    private static JSONArray hashes(ImarisHDFReader reader) throws Exception {
        if (!reader.isLittleEndian()) {
            throw new IllegalStateException("planes come big-endian");
        }
        var byTime = new JSONArray();
        for (int t = 0; t < reader.getSizeT(); t++) {
            var byChannel = new JSONArray();
            for (int c = 0; c < reader.getSizeC(); c++) {
                MessageDigest digest = MessageDigest.getInstance("SHA-256");
                for (int z = 0; z < reader.getSizeZ(); z++) {
                    digest.update(reader.openBytes(reader.getIndex(z, c, t)));
                }
                byChannel.put(HexFormat.of().formatHex(digest.digest()));
            }
            byTime.put(byChannel);
        }
        return byTime;
    }

    private static Object micrometres(Length length) {
        return length == null ? JSONObject.NULL : length.value(UNITS.MICROMETER);
    }
}
