"""The loops over the pixels of one mask, compiled, and without Python's lock, so that threads finish masks at once."""

from __future__ import annotations

import numpy as np

from model.caches import compiled

_WORD = 8  # pixels that are compared at a time


@compiled()
def cut_resized(
    probability: np.ndarray,
    threshold: float,
    box: tuple[int, int, int, int],
    steps: np.ndarray,
    starts: np.ndarray,
    width: int,
    height: int,
) -> np.ndarray:
    """Resize a probability map linearly, with -1 around it, and cut it at a threshold.

    The numbers are those of OpenCV's `warpAffine` (5.0) in float32. Between four neighbours on one side of the
    threshold every value is on that side too, so only cells whose corners disagree are interpolated.

    Args:
        probability: float32 [M, N].
        threshold: pixels with a greater value are 1.
        box: x, y, w, h about the map's values above the threshold.
        steps, starts: float32 [2], of x and y: pixel i lies at i * step + start of the map. Steps are above 0.
        width, height: of the result.

    Returns:
        uint8 [height + 2, W] of 0 and 1, W the width rounded up to a multiple of 8; the first row, the last row and
        what lies beyond the width are 0.
    """
    rows, columns = probability.shape
    left, top, box_width, box_height = box
    padded = (width + _WORD - 1) // _WORD * _WORD
    pixels = np.zeros((height + 2) * padded, np.uint8)
    cut = np.float32(threshold)
    weights = np.empty(width, np.float32)
    # The pixels of the cell between map columns c - 1 and c are firsts[c] to firsts[c + 1].
    firsts = np.full(columns + 2, width, np.int64)
    cell = -1
    for x in range(width):
        place = np.float32(np.float64(steps[0]) * x + np.float64(starts[0]))
        floor = np.floor(place)
        weights[x] = place - floor
        while cell < min(int(floor) + 1, columns + 1):
            cell += 1
            firsts[cell] = x
    line = np.full((2, columns + 2), np.float32(-1))
    spans = np.empty((columns + 1, 3), np.int64)  # first and last pixel, and the cell where the corners disagree
    count, before = 0, -(2**62)
    for y in range(height):
        place = np.float32(np.float64(steps[1]) * y + np.float64(starts[1]))
        floor = np.floor(place)
        row, weight = int(floor), np.float64(place - floor)
        if not top - 1 <= row < top + box_height:
            continue
        if row != before:
            before = row
            for i in range(2):
                inside = 0 <= row + i < rows
                for column in range(max(left - 1, 0), min(left + box_width + 1, columns)):
                    line[i, column + 1] = probability[row + i, column] if inside else np.float32(-1)
            count = _spans(line, cut, firsts, left, left + box_width + 1, spans)
        base = (y + 1) * padded
        for i in range(count):
            first, end, cell = spans[i, 0], spans[i, 1], spans[i, 2]
            if cell < 0:
                for pixel in range(base + first, base + end):
                    pixels[pixel] = 1
                continue
            a, b, c, d = line[0, cell], line[0, cell + 1], line[1, cell], line[1, cell + 1]
            for x in range(first, end):
                # Each of the three is one fused multiplication and addition.
                share = np.float64(weights[x])
                over = np.float32(share * np.float64(b - a) + np.float64(a))
                under = np.float32(share * np.float64(d - c) + np.float64(c))
                pixels[base + x] = np.float32(weight * np.float64(under - over) + np.float64(over)) > cut
    return pixels.reshape(height + 2, padded)


@compiled()
def _spans(line: np.ndarray, cut: np.floating, firsts: np.ndarray, left: int, right: int, spans: np.ndarray) -> int:
    """Fill in the spans of pixels between two lines of a map that are 1 or have to be interpolated.

    Args:
        line: float32 [2, N + 2], the lines with -1 at either end.
        cut: the threshold.
        firsts: the first pixel of each cell.
        left, right: cells to look at.
        spans: takes first pixel, end and cell; the cell is -1 where all pixels are 1.

    Returns:
        how many there are.
    """
    count = 0
    for cell in range(left, right):
        first, end = firsts[cell], firsts[cell + 1]
        above = (line[0, cell] > cut) + (line[0, cell + 1] > cut) + (line[1, cell] > cut) + (line[1, cell + 1] > cut)
        if above == 0 or first == end:
            continue
        if above == 4 and count and spans[count - 1, 2] < 0 and spans[count - 1, 1] == first:
            spans[count - 1, 1] = end
        else:
            spans[count, 0], spans[count, 1], spans[count, 2] = first, end, -1 if above == 4 else cell
            count += 1
    return count


@compiled()
def frame_runs(pixels: np.ndarray, x: int, y: int, frame_height: int, frame_width: int) -> np.ndarray:
    """Run lengths, column by column, of a frame that is empty outside a window.

    Args:
        pixels: uint8 [h + 2, w] of 0 and 1, contiguous, w a multiple of 8, as `cut_resized` returns it: the window
            between two rows of 0, and 0 beyond the window's last column.
        x, y: frame coordinates of the window's top-left pixel.
        frame_height, frame_width: the frame's size.

    Returns:
        int64 [n], zeros first, summing to the frame's pixels.
    """
    height, width = pixels.shape
    line = width // _WORD
    words = pixels.reshape(-1).view(np.uint64)
    # Where a pixel differs from the one above it, a run begins or ends: found by rows, then put in order of columns.
    most = 0
    for i in range(len(words) - line):
        most += _WORD * (words[i] != words[i + line])
    columns, edges_by_row = np.empty(most, np.int64), np.empty(most, np.int64)
    count = 0
    offsets = np.zeros(width + 1, np.int64)
    for row in range(height - 1):
        for word in range(line):
            differ = words[row * line + word] ^ words[(row + 1) * line + word]
            if differ:
                for column in range(word * _WORD, word * _WORD + _WORD):
                    if differ & np.uint64(1):
                        columns[count], edges_by_row[count] = column, (column + x) * frame_height + row + y
                        offsets[column + 1] += 1
                        count += 1
                    differ >>= np.uint64(8)
    for column in range(width):
        offsets[column + 1] += offsets[column]
    edges = np.empty(count, np.int64)
    for i in range(count):
        column = columns[i]
        edges[offsets[column]] = edges_by_row[i]
        offsets[column] += 1
    runs = np.empty(count + 1, np.int64)
    count, last = 0, 0
    for edge in edges:
        if count and edge == last:  # a run that ends at the bottom of a column goes on at the top of the next
            count -= 1
            last -= int(runs[count])
        else:
            runs[count] = edge - last
            count += 1
            last = int(edge)
    rest = frame_height * frame_width - last
    if rest or count == 0:
        runs[count] = rest
        count += 1
    return runs[:count]
