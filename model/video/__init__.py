"""Video files read and written in this process, and what is drawn on their frames."""

from model.video.arrays import ArrayVideo
from model.video.errors import VideoError
from model.video.index import VideoIndex, index_video
from model.video.reader import Frame, Video, open_video

__all__ = ["ArrayVideo", "Frame", "Video", "VideoError", "VideoIndex", "index_video", "open_video"]
