"""Every form of a mask and every conversion between forms.

From the annotation to the loss; nothing returns to an earlier form. N objects of an image, R runs, M bits or pixels:

| form | shape and dtype | made by | taken by |
|------|-----------------|---------|----------|
| segmentation of the file | lists of numbers, or an RLE | JSON | the reader, `pack_segmentation` |
| packed segmentation | a polygon: bytes of float64 x y x y ...; or an RLE | the same | `runs_from_segmentations` |
| `Counts`, of RLEs | (K, 2) int64 | `decode_counts`, `pair_counts` | `runs_from_counts` |
| `ColumnRuns` | (R,), (2, R) int64 | `runs_from_polygons`, `runs_from_counts` | `InstanceMasks` |
| `InstanceMasks`: runs and `AxisMaps` | and (H + 1,), (W + 1,) int64 | `LoadInstances` | transforms, `PackSample` |
| `TransformedRuns` | (2, R), (2, R) int64 | `transform_runs` | `areas_and_centers`, `downsample_windows` |
| `WindowBitmaps` | (M,) bool, (N, 4) int64 | `downsample_windows`, `rasterise_windows` | `pack_windows` |
| `MaskWindows` | (M / 8,) uint8, (N, 4) int32 | `pack_windows`, in `PackSample` | `unpack_masks`, in the assigner |
| bitmaps at a stride | (sum of N, h, w) bool, on the device | `unpack_masks` | the criterion |

From the network to the result; D detections of an image of (H, W) pixels:

| form | shape and dtype | made by | taken by |
|------|-----------------|---------|----------|
| probabilities | (D, h, w) float | the decoders | `binarise_masks`, `resize_masks`, `encode_resized` |
| probabilities of an exported model | (D, h, w) uint8 or float32 arrays | `solo.runtime` | `encode_resized_arrays` |
| bitmaps at stride 4 | (D, h, w) bool | `binarise_masks` | Matrix NMS, `boxes_from_masks` |
| `ResizedPart` | (n, rows, columns) float, a window | `resized_parts` | `resize_masks`, `encode_resized` |
| bitmaps | (D, H, W) bool | `resize_masks`, `decode_masks` | users, `encode_bitmaps`, `encode_masks` |
| `Ring` | (P, 2) int64 x y along pixel edges | `trace_rings` | users |
| `RLE` | text | `encode_resized`, `encode_bitmaps`, ..., `encode_runs` | evaluation, files, `decode_masks` |

A box of a mask comes from the form at hand: `ColumnRuns.tight_boxes`, `TransformedRuns.tight_boxes`,
`boxes_from_masks` of bitmaps, and `EncodedMasks.boxes` or `EncodedArrays.boxes`.

Modules of column runs, segmentations, transformed runs, RLEs and arrays need numpy and OpenCV alone.
"""
