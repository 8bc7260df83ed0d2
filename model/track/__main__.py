"""Track objects through one video and draw the result, without a cluster:

python -m model.track my.mp4 --box 412,230,96,60 --out overlay.mp4
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated

import typer

SHEET_FRAMES = 9

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def track(
    video: Annotated[Path, typer.Argument(help="A local video file.", metavar="VIDEO", show_default=False)],
    box: Annotated[
        list[str] | None,
        typer.Option(
            help="An object to track, in pixels of the first frame; ID= names it, @FRAME starts it there. Give one a "
            "object; without any, a picture to read boxes off is written.",
            metavar="[ID=]X,Y,W,H[@FRAME]",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The video to draw [VIDEO's name and -overlay.mp4].", metavar="FILE.mp4")
    ] = None,
    start: Annotated[int, typer.Option(help="First frame.")] = 0,
    end: Annotated[int | None, typer.Option(help="Frame to stop before [the video's end].")] = None,
    weights: Annotated[
        Path | None, typer.Option(help="Our safetensors or a public SiamMask .pth [the bundled model].", metavar="FILE")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    precision: Annotated[str, typer.Option(help="auto, fp32, bf16 or fp16.")] = "auto",
    preset: Annotated[
        str | None, typer.Option(help="Tracker: vot, vot18, davis, robust or a JSON file [the weights' own].")
    ] = None,
    rotated_box: Annotated[str, typer.Option(help="minmax, mbr, opt or ellipse.")] = "mbr",
) -> None:
    """Track objects through VIDEO from their boxes; write an overlay video and a picture of some frames."""
    from model.track.one_video import track_video
    from model.track.start_box import BoxError, parse_boxes
    from model.video import VideoError, open_video
    from model.weights import WeightsError

    if not box:
        _draw_rulers(video, start)
        return
    out = out or Path(f"{video.stem}-overlay.mp4")
    try:
        if out.suffix.lower() != ".mp4":
            raise ValueError(f"--out {out}: expected a name that ends in .mp4")
        if out.resolve() == video.resolve():
            raise ValueError(f"--out {out} is the video itself: give another name")
        opened = open_video(video)
        results = track_video(
            video,
            parse_boxes(box),
            start_frame=start,
            end_frame=end,
            weights=weights,
            device=device,
            precision=precision,
            preset=preset,
            rotated_box=rotated_box,
            images=True,
            progress=True,
        )
    except (BoxError, VideoError, WeightsError, ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None

    from model.video.contact_sheet import spread
    from model.video.writer import VideoWriter

    wanted = set(spread(range(start, min(end or opened.frames, opened.frames)), SHEET_FRAMES))
    began, frames, pictures, captions = time.monotonic(), 0, [], []
    try:
        with VideoWriter(out, opened.fps or 25) as writer:
            for result in results:
                drawn = result.overlay()
                writer.write(drawn, result.pts_s)
                frames += 1
                if result.frame_index in wanted:
                    pictures.append(drawn)
                    captions.append(f"frame {result.frame_index}")
    except (VideoError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    seconds = time.monotonic() - began
    picture = _write_sheet(out.with_suffix(".png"), pictures, captions)
    print(f"{frames} frames of {opened.width}x{opened.height} in {seconds:.1f} s ({frames / seconds:.1f} frames/s)")
    print(f"overlay  {out}")
    print(f"picture  {picture}")


def _draw_rulers(video: Path, frame: int) -> None:
    """Write the frame with rulers, and say how to go on."""
    import cv2

    from model.video import VideoError, open_video
    from model.video.ruler import with_rulers

    picture = Path(f"{video.stem}-frame{frame}.png")
    try:
        image = next((decoded.image for decoded in open_video(video).read(frame, frame + 1)), None)
        if image is None:
            raise VideoError("decode", "InvalidData", f"{video} has no frame {frame} that can be decoded")
    except VideoError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    cv2.imwrite(str(picture), with_rulers(image)[..., ::-1])
    print(f"picture  {picture}")
    print("read the left side, top, width and height of an object off it, in pixels, and go on with")
    print(f"         python -m model.track {video} --box x,y,w,h" + (f"@{frame}" if frame else ""))


def _write_sheet(path: Path, pictures: list, captions: list[str]) -> Path:
    import cv2

    from model.video.contact_sheet import contact_sheet

    cv2.imwrite(str(path), contact_sheet(pictures, captions)[..., ::-1])
    return path


if __name__ == "__main__":
    app()
